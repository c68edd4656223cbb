//! The mobile workflow with the fake provider and echo backends: a native app with its own login
//! form, step by step with the failure cases.

use serde_json::{Value, json};

use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, User};

mod dpop;
mod endpoints;
mod pages;
mod replicas;
mod responses;
pub(crate) mod secrets;
mod steps;
mod stolen;
mod throttling;
mod web_view;

pub(crate) const CART: &str = "/shopping-cart";
pub(crate) const PASSWORD: &str = "correct horse & battery+staple %é";

/// A phone with the store's app, which stores the tokens it receives.
#[derive(Clone)]
pub(crate) struct Phone {
    http: Browser,
    store: String,
    access_token: String,
    refresh_token: String,
    device_token: Option<String>,
    /// The client address that a trusted proxy reports.
    address: Option<String>,
}

/// A store whose native app may use the password grant; `lines` adds to its native settings.
pub(crate) fn store(lines: &str) -> Setup {
    Setup::plain()
        .store("session_jwt = \"access\"")
        .more(&native(lines))
}

fn native(lines: &str) -> String {
    format!("\n[apps.store.native]\npassword_grant = true\n{lines}\n")
}

/// Starts the setup; alice and bob have passwords.
pub(crate) fn started(setup: Setup) -> Doorward {
    let doorward = setup.start();
    doorward
        .provider
        .add_user("alice", PASSWORD, User::new("alice", &[]));
    doorward
        .provider
        .add_user("bob", "bob", User::new("bob", &["admin"]));
    doorward
}

impl Phone {
    pub(crate) fn of(doorward: &Doorward) -> Self {
        Self::at(doorward.site().store, doorward.browser())
    }

    /// A phone without tokens, whose app calls the store at this URL.
    pub(crate) fn at(store: String, http: Browser) -> Self {
        Self {
            http,
            store,
            access_token: String::new(),
            refresh_token: String::new(),
            device_token: None,
            address: None,
        }
    }

    /// A phone that has just logged in as alice.
    pub(crate) async fn logged_in(doorward: &Doorward) -> Self {
        let mut phone = Self::of(doorward);
        let page = phone.log_in("alice", PASSWORD).await;
        assert_eq!(page.status(), 200, "{page}");
        phone
    }

    /// Another phone with the same tokens.
    fn copy(&self) -> Self {
        self.clone()
    }

    fn request(&self, method: &str, path: &str) -> RequestSpec {
        let request =
            RequestSpec::new(Kind::Program, &format!("{}{path}", self.store)).method(method);
        match &self.address {
            Some(address) => request.header("X-Forwarded-For", address),
            None => request,
        }
    }

    async fn send(&mut self, request: RequestSpec) -> Page {
        self.http.send(request).await
    }

    async fn post_json(&mut self, endpoint: &str, body: &Value) -> Page {
        let request = self.request("POST", &format!("/.doorward/{endpoint}"));
        self.send(request.body("application/json", body.to_string()))
            .await
    }

    async fn post_form(&mut self, fields: &[(&str, &str)]) -> Page {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = self
            .request("POST", "/.doorward/token")
            .body("application/x-www-form-urlencoded", body);
        self.send(request).await
    }

    /// Calls the login endpoint and stores the returned tokens.
    pub(crate) async fn log_in(&mut self, username: &str, password: &str) -> Page {
        let mut body = json!({ "username": username, "password": password });
        if let Some(device_token) = &self.device_token {
            body["device_token"] = json!(device_token);
        }
        let page = self.post_json("native/login", &body).await;
        if page.status() == 200 {
            self.keep(&page.json());
        }
        page
    }

    /// Calls the refresh endpoint and stores the returned tokens.
    pub(crate) async fn refresh(&mut self) -> Page {
        let page = self
            .post_json(
                "native/refresh",
                &json!({ "refresh_token": self.refresh_token }),
            )
            .await;
        if page.status() == 200 {
            self.keep(&page.json());
        }
        page
    }

    fn keep(&mut self, tokens: &Value) {
        let text = |name: &str| tokens[name].as_str().map(str::to_owned);
        self.access_token = text("access_token").expect("an access token");
        self.refresh_token = text("refresh_token").unwrap_or_default();
        self.device_token = text("device_token").or(self.device_token.take());
    }

    /// Loads a page with the access token only.
    pub(crate) async fn load(&mut self, path: &str) -> Page {
        let request = self
            .request("GET", path)
            .header("Authorization", &format!("Bearer {}", self.access_token));
        self.send(request).await
    }

    /// Loads a page with both tokens and stores the new ones if any are returned.
    async fn load_with_both(&mut self, path: &str) -> Page {
        let request = self
            .request("GET", path)
            .header("Authorization", &format!("Bearer {}", self.access_token));
        let page = self
            .send(request.header("Doorward-Refresh-Token", &self.refresh_token))
            .await;
        if let Some(token) = page.header("doorward-access-token") {
            token.clone_into(&mut self.access_token);
        }
        if let Some(token) = page.header("doorward-refresh-token") {
            token.clone_into(&mut self.refresh_token);
        }
        page
    }
}

/// Asserts that the response is the cart that the store's backend served to alice.
fn shows_the_cart(page: &Page) {
    assert_eq!(
        (page.status(), page.json()["target"].as_str()),
        (200, Some(CART)),
        "{page}"
    );
    let headers = page.json()["headers"].to_string();
    assert!(
        headers.contains(r#"["x-forwarded-user","alice-id"]"#),
        "{headers}"
    );
}

/// Asserts a 401 with a problem document that names the login endpoint, and the challenge of RFC
/// 6750.
fn is_told_to_log_in(page: &Page, code: &str) {
    assert_eq!(
        (page.status(), page.header("content-type")),
        (401, Some("application/problem+json")),
        "{page}"
    );
    let challenge = page.header("www-authenticate").unwrap_or_default();
    assert!(
        challenge.starts_with("Bearer realm=") && challenge.contains("error=\"invalid_token\""),
        "{page}"
    );
    assert_eq!(page.json()["code"].as_str(), Some(code), "{page}");
    let login_url = page.json()["login_url"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(login_url.contains("/.doorward/login"), "{page}");
    assert_eq!(
        (
            page.header("set-cookie"),
            page.header("doorward-access-token")
        ),
        (None, None),
        "{page}"
    );
}

/// The number of password grants and of refreshes at the provider.
fn calls(doorward: &Doorward) -> (usize, usize) {
    (
        doorward.provider.grants("password"),
        doorward.provider.grants("refresh_token"),
    )
}

/// A parameter of the last call of the token endpoint.
fn last_request(doorward: &Doorward, name: &str) -> Option<String> {
    let visits = doorward.provider.visits(Endpoint::Token);
    visits
        .last()
        .and_then(|visit| visit.parameter(name))
        .map(str::to_owned)
}
