//! Clients that know only Basic: a password is checked once by the provider's password grant, and the
//! app sees the user and no password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward::auth::revocation::command::RevocationTarget;
use doorward::server;
use doorward::types::oauth::Subject;
use doorward::types::time::Timestamp;
use serde_json::json;

use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, User};

mod attacks;
mod cache;
mod challenge;
mod placements;
mod real_clients;

const PASSWORD: &str = "correct horse & battery: %é";

const RULES: &str = r#"
[[apps.store.rules]]
paths = ["/dav/**"]
allow = "authenticated"
auth_methods = ["basic"]

[[apps.store.rules]]
paths = ["/admin/**"]
allow = { roles = ["admin"] }
auth_methods = ["basic"]

[[apps.store.rules]]
paths = ["/both/**"]
allow = "authenticated"
auth_methods = ["session", "basic"]

[[apps.store.rules]]
paths = ["/shared/**"]
allow = "public"
auth_methods = ["basic"]
"#;

/// A store with paths for Basic clients. Alice and bob have passwords.
fn started(setup: Setup) -> Doorward {
    let doorward = setup.store_rules(RULES).start();
    let provider = &doorward.provider;
    provider.add_user("alice", PASSWORD, User::new("alice", &[]));
    provider.add_user("bob", "bob", User::new("bob", &["admin"]));
    doorward
}

/// The value of `Authorization` for a name and a password.
fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// A client that sends its password with every request.
struct Client {
    http: Browser,
    store: String,
    authorization: String,
    /// The client address that a trusted proxy reports.
    address: Option<String>,
}

impl Client {
    fn new(doorward: &Doorward, name: &str, password: &str) -> Self {
        Self {
            http: doorward.browser(),
            store: doorward.site().store,
            authorization: basic(name, password),
            address: None,
        }
    }

    fn alice(doorward: &Doorward) -> Self {
        Self::new(doorward, "alice", PASSWORD)
    }

    async fn get(&mut self, path: &str) -> Page {
        let spec = RequestSpec::new(Kind::Program, &format!("{}{path}", self.store));
        self.send(spec).await
    }

    async fn send(&mut self, spec: RequestSpec) -> Page {
        let spec = spec.header("Authorization", &self.authorization);
        let spec = match &self.address {
            Some(address) => spec.header("X-Forwarded-For", address),
            None => spec,
        };
        self.http.send(spec).await
    }

    /// Asserts that the request is served.
    async fn is_served(&mut self, path: &str) {
        let page = self.get(path).await;
        assert_eq!(page.status(), 200, "{page}");
    }

    /// Asserts that the password is refused with this code.
    async fn is_refused(&mut self, path: &str, code: &str) {
        let page = self.get(path).await;
        assert_eq!(
            (page.status(), page.json()["code"].as_str()),
            (401, Some(code)),
            "{page}"
        );
    }
}

/// Blocks a user until this time, or unblocks the user.
async fn block(doorward: &Doorward, user: &str, until: Option<Timestamp>) {
    let apps = server::apps(&doorward.config()).expect("apps");
    let store = apps.iter().find(|app| app.app.name.as_str() == "store");
    let user = Subject::new(user);
    let target = match until {
        Some(until) => RevocationTarget::Blocked(user, until),
        None => RevocationTarget::Unblocked(user),
    };
    let command = target
        .sealed_commands(store.expect("the store"), doorward.now())
        .expect("a command");
    let spec = RequestSpec::new(
        Kind::Program,
        &format!("http://{}/revoke", doorward.admin_address()),
    )
    .method("POST")
    .body("text/plain", command);
    let page = Browser::new(doorward.clock.clone()).send(spec).await;
    assert_eq!(page.status(), 200, "{page}");
}

/// How many passwords the provider has checked.
fn checks(doorward: &Doorward) -> usize {
    doorward.provider.grants("password")
}

#[tokio::test]
async fn password_is_checked_once_and_the_app_gets_the_user() {
    let doorward = started(Setup::plain());
    let mut alice = Client::alice(&doorward);
    for number in 0..5 {
        alice.is_served(&format!("/dav/{number}")).await;
    }
    assert_eq!(checks(&doorward), 1);
    let seen = doorward.store.last();
    assert_eq!(seen.header("x-forwarded-user"), Some("alice-id"));
    assert_eq!(seen.header("authorization"), None);
    let line = doorward.log.line("/dav/4", "forward").await;
    assert!(line["session"].is_string(), "{line}");
    for secret in [PASSWORD, &basic("alice", PASSWORD)] {
        assert!(!doorward.log.text().contains(secret), "{secret} in the log");
    }
    let checked = r#"doorward_password_logins_total{app="store",outcome="basic"}"#;
    assert!((doorward.metric(checked).await - 1.0).abs() < f64::EPSILON);
    assert!((doorward.metric("doorward_basic_cached_logins").await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn rules_apply_as_to_other_users() {
    let doorward = started(Setup::plain());
    let page = Client::alice(&doorward).get("/admin/x").await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (403, Some("forbidden"))
    );
    assert_eq!(page.header("www-authenticate"), None);
    let mut bob = Client::new(&doorward, "bob", "bob");
    bob.is_served("/admin/x").await;
    // Rules that do not list Basic accept no password, and the app does not get it either.
    let page = bob.get("/").await;
    assert_eq!(page.status(), 401, "{page}");
    let spec = RequestSpec::new(Kind::Program, &doorward.store_url("/shared/x"));
    let page = bob.send(spec).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(doorward.store.last().header("authorization"), None);
}

#[tokio::test]
async fn public_path_knows_checked_passwords_and_checks_none() {
    let doorward = started(Setup::plain());
    let mut alice = Client::alice(&doorward);
    alice.is_served("/shared/x").await;
    assert_eq!((checks(&doorward), doorward.store_saw()), (0, None));
    alice.is_served("/dav/x").await;
    alice.is_served("/shared/x").await;
    assert_eq!(doorward.store_saw().as_deref(), Some("alice-id"));
    Client::new(&doorward, "alice", "wrong")
        .is_served("/shared/x")
        .await;
    assert_eq!((checks(&doorward), doorward.store_saw()), (1, None));
}

#[tokio::test]
async fn session_wins_over_password() {
    let doorward = started(Setup::plain());
    let mut browser = doorward.logged_in("bob", "/both/page").await;
    let spec = RequestSpec::new(Kind::Navigation, &doorward.store_url("/both/page"))
        .header("Authorization", &basic("alice", PASSWORD));
    let page = browser.send(spec).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(doorward.store_saw().as_deref(), Some("bob-id"));
    assert_eq!(doorward.store.last().header("authorization"), None);
    assert_eq!(checks(&doorward), 0);
}

#[tokio::test]
async fn no_refresh_token_is_requested_or_used() {
    let doorward =
        started(Setup::plain().store("scopes = [\"openid\", \"profile\", \"offline_access\"]"));
    let mut alice = Client::alice(&doorward);
    alice.is_served("/dav/x").await;
    doorward.advance_secs(3600);
    alice.is_served("/dav/x").await;
    assert_eq!(
        (checks(&doorward), doorward.provider.grants("refresh_token")),
        (2, 0)
    );
    for visit in doorward.provider.visits(Endpoint::Token) {
        assert_eq!(visit.parameter("scope"), Some("openid profile"));
    }
}

#[tokio::test]
async fn password_of_another_app_is_checked_again() {
    let doorward = started(Setup::plain().more(
        "[[apps.forum.rules]]\npaths = [\"/dav/**\"]\nallow = \"authenticated\"\n\
         auth_methods = [\"basic\"]\n",
    ));
    let mut alice = Client::alice(&doorward);
    alice.is_served("/dav/x").await;
    alice.store = doorward.site().forum;
    alice.is_served("/dav/x").await;
    let visits = doorward.provider.visits(Endpoint::Token);
    assert_eq!(visits.len(), 2);
    assert_eq!(
        doorward.forum.last().header("x-forwarded-user"),
        Some("alice-id")
    );
}

#[tokio::test]
async fn user_that_must_act_in_a_browser_is_refused() {
    let doorward = started(Setup::plain());
    doorward.provider.behave(|behaviour| {
        let response = json!({ "error": "interaction_required" });
        behaviour.password_answer = Some((400, response));
    });
    Client::alice(&doorward)
        .is_refused("/dav/x", "interaction_required")
        .await;
}
