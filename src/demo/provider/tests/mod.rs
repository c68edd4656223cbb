//! The provider over HTTP, with the requests of clients and browsers.

mod authorization;
mod fusionauth;
mod logout;
mod tokens;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::net::TcpListener;
use url::form_urlencoded;

use super::{Client, Event, Provider, RunningProvider, Settings, User};
use crate::demo::test_client::{Browser, Reply};
use crate::types::net::Origin;
use crate::types::oauth::{ClientId, ClientSecret, PkceVerifier};
use crate::types::time::{ManualClock, Timestamp};

const ISSUER: &str = "http://login.localhost:8090";
const CALLBACK: &str = "http://store.localhost:8080/.doorward/callback";
const FORUM_CALLBACK: &str = "http://forum.localhost:8080/.doorward/callback";
const SIGNED_OUT: &str = "http://store.localhost:8080/.doorward/signed-out";
const START: u64 = 1_800_000_000;
const SCOPE: &str = "openid email profile offline_access";

/// A provider with a manual clock, and its events.
struct Setup {
    provider: RunningProvider,
    clock: Arc<ManualClock>,
    events: Arc<Mutex<Vec<Event>>>,
}

async fn setup() -> Setup {
    setup_at(ISSUER).await
}

async fn setup_at(issuer: &str) -> Setup {
    setup_with(issuer, |_| ()).await
}

async fn setup_with(issuer: &str, change: impl FnOnce(&mut Settings)) -> Setup {
    let clock = Arc::new(ManualClock::starting_at(Timestamp::from_secs(START)));
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let client = |id: &str, secret: &str| Client {
        id: ClientId::new(id),
        secret: ClientSecret::new(secret),
        name: id.to_owned(),
        redirect_uris: vec![format!("http://{id}.localhost:8080/.doorward/callback")],
        post_logout_redirect_uris: vec![format!("http://{id}.localhost:8080/.doorward/signed-out")],
    };
    let mut settings = Settings {
        issuer: Origin::parse(issuer).unwrap(),
        clients: vec![
            client("store", "store s3cret+"),
            client("forum", "forum-secret"),
        ],
        users: User::alice_and_bob(),
        jwt_lifetime: Duration::from_secs(60),
        refresh_lifetime: Duration::from_secs(600),
        sign_on_lifetime: Duration::from_secs(3600),
        fusionauth: None,
        clock: clock.clone(),
        events: Arc::new(move |event| told.lock().unwrap().push(event)),
    };
    change(&mut settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Setup {
        provider: Provider::start(settings, listener).unwrap(),
        clock,
        events,
    }
}

impl Setup {
    fn browser(&self) -> Browser {
        Browser::new(self.provider.address())
    }

    /// A request to a back-channel endpoint, authenticated with `client_secret_basic`.
    async fn call(&self, client: &str, path: &str, form: &[(&str, &str)]) -> Reply {
        let secret = if client == "store" {
            "store+s3cret%2B"
        } else {
            "forum-secret"
        };
        let mut http = self.browser();
        http.headers.push((
            "authorization",
            format!("Basic {}", STANDARD.encode(format!("{client}:{secret}"))),
        ));
        http.post(path, form).await
    }

    async fn exchange(&self, client: &str, code: &str) -> Reply {
        let callback = if client == "store" {
            CALLBACK
        } else {
            FORUM_CALLBACK
        };
        let verifier = verifier();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", callback),
            ("code_verifier", verifier.expose()),
        ];
        self.call(client, "/token", &form).await
    }

    async fn refresh(&self, client: &str, token: &str) -> Reply {
        self.call(
            client,
            "/token",
            &[("grant_type", "refresh_token"), ("refresh_token", token)],
        )
        .await
    }

    /// Submits the login form for `user`. Returns the redirect to the client.
    async fn sign_in(
        &self,
        browser: &mut Browser,
        user: &str,
        client: &str,
    ) -> BTreeMap<String, String> {
        let form = browser.get(&authorize(client, &[])).await;
        let reply = submit(browser, &form, user, user).await;
        assert_eq!(reply.status, 303, "{}", reply.text);
        reply.location().1
    }

    /// A complete login at the store. Returns the tokens.
    async fn log_in(&self, browser: &mut Browser, user: &str, client: &str) -> Value {
        let response = self.sign_in(browser, user, client).await;
        let reply = self.exchange(client, &response["code"]).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }

    fn events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }
}

fn verifier() -> PkceVerifier {
    PkceVerifier::from_entropy([7; 32])
}

/// An authorization request. `changes` replaces parameters; an empty value removes one.
fn authorize(client: &str, changes: &[(&str, &str)]) -> String {
    let challenge = verifier().challenge_s256();
    let callback = if client == "store" {
        CALLBACK
    } else {
        FORUM_CALLBACK
    };
    let mut params = BTreeMap::from([
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", callback),
        ("scope", SCOPE),
        ("state", "a state & more"),
        ("nonce", "a nonce"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    params.extend(changes.iter().copied());
    params.retain(|_, value| !value.is_empty());
    format!(
        "/authorize?{}",
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(params)
            .finish()
    )
}

async fn submit(browser: &mut Browser, form: &Reply, username: &str, password: &str) -> Reply {
    let (action, token) = (
        form.attribute("action=\""),
        form.attribute("name=\"form_token\" value=\""),
    );
    browser
        .post(
            &action,
            &[
                ("form_token", &token),
                ("username", username),
                ("password", password),
            ],
        )
        .await
}

/// The header and claims of a JWT, without verification.
fn opened(token: &Value) -> (Value, Value) {
    let part = |text: &str| {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(text)
            .unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    let parts: Vec<&str> = token.as_str().unwrap().split('.').collect();
    (part(parts[0]), part(parts[1]))
}
