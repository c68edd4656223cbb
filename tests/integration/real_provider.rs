//! The web workflow against the certified provider from npm: PKCE required, refresh tokens rotated,
//! tokens that live for seconds; with the access token and with the ID token as session JWT. The
//! provider uses the system clock; Doorward's clock can run ahead of it.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doorward::config::{self, SealingKey};
use doorward::server::Server;
use doorward::types::time::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::browser::{Browser, Page};
use crate::support::eventually;
use crate::support::journey::{self, Site};
use crate::support::real_provider::{RealProvider, registration, secret_of};

const STORE: &str = "http://store.localhost";
const FORUM: &str = "http://forum.localhost";
const CART: &str = "http://store.localhost/shopping-cart";

/// The token in the JWT cookie.
#[derive(Clone, Copy)]
enum SessionJwt {
    AccessToken,
    IdToken,
}

/// The provider, the backends, and the replicas that a test starts.
struct Environment {
    provider: RealProvider,
    backend: Backend,
    clock: Arc<RunsAhead>,
    jwt_lifetime: Duration,
    folder: TempDir,
}

/// A running Doorward; it drains when dropped.
struct Replica {
    server: Option<Server>,
    port: u16,
}

/// The system time plus an offset in seconds.
#[derive(Default)]
struct RunsAhead(AtomicU64);

impl Clock for RunsAhead {
    fn now(&self) -> Timestamp {
        SystemClock
            .now()
            .plus(Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }
}

#[tokio::test]
async fn journey_with_jwt_access_tokens() {
    whole_journey(SessionJwt::AccessToken).await;
}

#[tokio::test]
async fn journey_with_id_tokens_and_opaque_access_tokens() {
    whole_journey(SessionJwt::IdToken).await;
}

async fn whole_journey(jwt: SessionJwt) {
    let environment = Environment::build(jwt, 5);
    let doorward = environment.doorward();
    let mut browser = doorward.browser(&environment);
    let site = Site {
        store: STORE.to_owned(),
        forum: FORUM.to_owned(),
    };
    journey::whole(&mut browser, &site, "alice", async || {
        environment.past_the_jwt().await
    })
    .await;

    // At the beginning and after the logout.
    environment.tells("form", None, 2).await;
    environment.tells("login", None, 1).await;
    environment
        .tells("grant.success", Some("authorization_code"), 2)
        .await;
    environment
        .tells("grant.success", Some("refresh_token"), 2)
        .await;
    environment.tells("grant.revoked", None, 1).await;
    environment.tells("end_session.success", None, 1).await;
    let events = environment.provider.events();
    let trouble = events.iter().filter(|event| {
        event["event"]
            .as_str()
            .is_some_and(|name| name.ends_with("error"))
    });
    assert_eq!(trouble.count(), 0, "{events:?}");

    let mut bob = doorward.browser(&environment);
    let admin = journey::log_in(&mut bob, &format!("{STORE}/admin"), "bob").await;
    let received = environment.backend.last();
    assert_eq!(received.target, "/admin", "{admin}");
    assert_eq!(received.header("x-forwarded-user"), Some("bob"));
    assert_eq!(
        received.header("x-forwarded-email"),
        Some("bob@example.com")
    );
    assert_eq!(
        received.header("x-forwarded-groups"),
        Some("customers,staff")
    );
    environment
        .backend
        .assert_never_saw(&["doorward_", "eyJhbGciOi", "Bearer"]);
}

#[tokio::test]
async fn stolen_refresh_cookie_after_rotation_ends_session_locally() {
    let environment = Environment::build(SessionJwt::AccessToken, 2);
    let doorward = environment.doorward();
    let mut owner = doorward.browser(&environment);
    journey::log_in(&mut owner, CART, "alice").await;
    let mut thief = owner.clone();
    environment.past_the_jwt().await;
    journey::load_with_refresh(&mut owner, CART, "alice").await;
    // The next request shows that the browser has the new cookies.
    assert_eq!(owner.step(CART).await.status(), 200);

    // Within the grace period a copied cookie is indistinguishable from a late request.
    let calls = environment
        .provider
        .count("grant.success", Some("refresh_token"));
    let mut quick = thief.clone();
    assert_eq!(quick.step(CART).await.status(), 200);
    environment.clock.0.store(60, Ordering::SeqCst);
    environment.sent_to_log_in(&thief.step(CART).await);
    environment.tells("grant.revoked", None, 1).await;
    environment.sent_to_log_in(&owner.step(CART).await);
    environment.sent_to_log_in(&quick.step(CART).await);
    assert!(
        environment
            .provider
            .count("grant.success", Some("refresh_token"))
            <= calls + 1
    );
    assert_eq!(
        environment.provider.count("grant.error", None),
        0,
        "{:?}",
        environment.provider.events()
    );
}

#[tokio::test]
async fn provider_detects_stolen_refresh_cookie_without_shared_store() {
    let environment = Environment::build(SessionJwt::IdToken, 2);
    let (doorward, other) = (environment.doorward(), environment.doorward());
    let mut owner = doorward.browser(&environment);
    journey::log_in(&mut owner, CART, "alice").await;
    let mut thief = owner.clone().with_port(80, other.port);
    environment.past_the_jwt().await;
    journey::load_with_refresh(&mut owner, CART, "alice").await;

    // The other replica has the key but does not know that this token was superseded.
    environment.sent_to_log_in(&thief.step(CART).await);
    environment
        .tells("grant.error", Some("refresh_token"), 1)
        .await;
    environment.tells("grant.revoked", None, 1).await;
    environment.past_the_jwt().await;
    environment.sent_to_log_in(&owner.step(CART).await);
}

#[tokio::test]
async fn copied_cookies_are_rejected_after_logout() {
    let environment = Environment::build(SessionJwt::AccessToken, 2);
    let (doorward, other) = (environment.doorward(), environment.doorward());
    let mut owner = doorward.browser(&environment);
    journey::log_in(&mut owner, CART, "alice").await;
    let (mut thief, mut elsewhere) = (owner.clone(), owner.clone().with_port(80, other.port));
    journey::log_out(&mut owner, STORE).await;
    environment.sent_to_log_in(&thief.step(CART).await);

    // A replica without the revocation serves the JWT until it expires and cannot refresh it.
    environment.past_the_jwt().await;
    environment.sent_to_log_in(&elsewhere.step(CART).await);
    environment
        .tells("grant.error", Some("refresh_token"), 1)
        .await;
    assert_eq!(
        environment
            .provider
            .count("grant.success", Some("refresh_token")),
        0
    );
}

#[tokio::test]
async fn another_network_is_confirmed_by_the_session_at_the_provider_only() {
    let environment = Environment::build(SessionJwt::AccessToken, 60);
    let doorward = environment.doorward();
    let mut owner = doorward.browser(&environment);
    journey::log_in(&mut owner, CART, "alice").await;
    let elsewhere = Ipv4Addr::new(127, 0, 9, 1);
    let mut thief = doorward.browser(&environment).from_address(elsewhere);
    for name in ["doorward_jwt", "doorward_refresh", "doorward_activity"] {
        let cookie = owner.jar.get("store.localhost", name);
        thief
            .jar
            .plant(cookie.expect("a cookie of the session").clone());
    }
    environment.sent_to_log_in(&thief.step(CART).await);
    let form = thief.visit(CART).await;
    assert!(
        form.url.as_str().starts_with(environment.provider.issuer()),
        "{form}"
    );
    assert_eq!(form.status(), 200, "{form}");

    owner = owner.from_address(elsewhere);
    environment.sent_to_log_in(&owner.step(CART).await);
    journey::arrive_without_form(&mut owner, CART, "alice").await;
    journey::load(&mut owner, CART, "alice").await;
}

#[tokio::test]
async fn backchannel_logout_by_sid_ends_other_app_session() {
    the_other_app_is_told(true).await;
}

#[tokio::test]
async fn backchannel_logout_by_sub_ends_other_app_session() {
    the_other_app_is_told(false).await;
}

/// The provider ends the forum's session by back-channel logout after a logout at the store.
async fn the_other_app_is_told(by_sid: bool) {
    let clients = [("store", STORE), ("forum", FORUM)].map(|(id, public_url)| {
        let mut client = registration(id, public_url);
        client["backchannel_logout_uri"] =
            json!(format!("{public_url}/.doorward/backchannel-logout"));
        client["backchannel_logout_session_required"] = json!(by_sid);
        client
    });
    let environment = Environment::build_for(SessionJwt::AccessToken, 60, clients);
    let doorward = environment.doorward();
    environment.provider.finds_apps_at(doorward.port);
    let posts = format!("{FORUM}/posts");
    let (mut alice, mut bob) = (
        doorward.browser(&environment),
        doorward.browser(&environment),
    );
    journey::log_in(&mut bob, &posts, "bob").await;
    journey::log_in(&mut alice, CART, "alice").await;
    journey::arrive_without_form(&mut alice, &posts, "alice").await;

    journey::log_out(&mut alice, STORE).await;
    environment.tells("backchannel.success", None, 2).await;
    environment.sent_to_log_in(&alice.step(&posts).await);
    journey::load(&mut bob, &posts, "bob").await;
    assert_eq!(
        environment.provider.count("backchannel.error", None),
        0,
        "{:?}",
        environment.provider.events()
    );
    for outcome in ["grant.success", "grant.error"] {
        assert_eq!(
            environment.provider.count(outcome, Some("refresh_token")),
            0,
            "nobody had to ask the provider"
        );
    }
}

impl Environment {
    fn build(jwt: SessionJwt, jwt_lifetime: u64) -> Self {
        Self::build_for(
            jwt,
            jwt_lifetime,
            [registration("store", STORE), registration("forum", FORUM)],
        )
    }

    fn build_for(jwt: SessionJwt, jwt_lifetime: u64, clients: [Value; 2]) -> Self {
        let (access_token, session_jwt) = match jwt {
            SessionJwt::AccessToken => ("jwt", "access"),
            SessionJwt::IdToken => ("opaque", "id"),
        };
        let provider = RealProvider::start(&json!({
            "clients": clients,
            "access_token": access_token,
            "access_token_ttl": jwt_lifetime,
        }));
        let backend = Backend::start();
        let folder = tempfile::tempdir().expect("a folder");
        let write =
            |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
        write(
            "session.key",
            &SealingKey::generate().expect("a key").to_text(),
        );
        write(
            "doorward.toml",
            &config(provider.issuer(), &backend.url(), session_jwt),
        );
        let (clock, jwt_lifetime) = (
            Arc::new(RunsAhead::default()),
            Duration::from_secs(jwt_lifetime),
        );
        Self {
            provider,
            backend,
            clock,
            jwt_lifetime,
            folder,
        }
    }

    /// One more Doorward with the same key and no shared state.
    fn doorward(&self) -> Replica {
        let loaded = config::load(&self.folder.path().join("doorward.toml"), []);
        let loaded = loaded.unwrap_or_else(|diagnosis| panic!("{}", diagnosis.render(false)));
        let server =
            Server::start(loaded, Arc::<RunsAhead>::clone(&self.clock), None).expect("it starts");
        let port = server.address().expect("a port").port();
        Replica {
            server: Some(server),
            port,
        }
    }

    async fn past_the_jwt(&self) {
        tokio::time::sleep(self.jwt_lifetime + Duration::from_millis(100)).await;
    }

    /// Waits for at least `count` of these events; the provider emits them shortly after its
    /// response.
    async fn tells(&self, event: &str, grant_type: Option<&str>, least: usize) {
        eventually(event, || self.provider.count(event, grant_type) >= least).await;
    }

    fn sent_to_log_in(&self, page: &Page) {
        let location = page.header("location").unwrap_or_default();
        assert!(location.starts_with(self.provider.issuer()), "{page}");
    }
}

impl Replica {
    fn browser(&self, environment: &Environment) -> Browser {
        Browser::new(Arc::<RunsAhead>::clone(&environment.clock)).with_port(80, self.port)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        // `drop` blocks, which is not allowed on a runtime's thread.
        let _ended = std::thread::spawn(|| server.shut_down()).join();
    }
}

fn config(issuer: &str, upstream: &str, session_jwt: &str) -> String {
    let mut text = format!(
        r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
workers = 2

[session]
key_files = ["session.key"]

[providers.login]
issuer = "{issuer}"
"#
    );
    for (app, public_url) in [("store", STORE), ("forum", FORUM)] {
        text.push_str(&format!(
            r#"
[apps.{app}]
provider = "login"
public_url = "{public_url}"
upstream = "{upstream}"
client_id = "{app}"
client_secret = "{secret}"
scopes = ["openid", "email", "profile", "groups", "offline_access"]
session_jwt = "{session_jwt}"
unbound_sessions = {{ client_change = "enforce" }}

[[apps.{app}.rules]]
paths = ["/admin"]
allow = {{ roles = ["admin"] }}
"#,
            secret = secret_of(app),
        ));
    }
    text
}
