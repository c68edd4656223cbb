//! Sealed cookies, tokens and store entries that an earlier version wrote: this version must accept
//! them, so that an upgrade logs nobody out. The fixtures were recorded once and never change;
//! `README.md` beside them says how.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::support::assertions::{CART, assert_login_starts};
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::cookies::Cookie;
use crate::support::deployment::Deployment;
use crate::support::doorward::{BEGIN, Doorward, Setup};
use crate::support::provider::{Endpoint, User};
use crate::support::redis::RedisServer;

const DEPLOYMENT: &str = include_str!("fixtures/sealed_before_rename/deployment.json");
const SESSIONS: &str = include_str!("fixtures/sealed_before_rename/sessions.json");
const NATIVE_SESSION: &str = include_str!("fixtures/sealed_before_rename/native.json");
const LOGIN: &str = include_str!("fixtures/sealed_before_rename/login.json");
const JOURNAL: &str = include_str!("fixtures/sealed_before_rename/revocations.journal");
const REDIS: &str = include_str!("fixtures/sealed_before_rename/redis.json");

const NATIVE: &str = "\n[apps.store.native]\npassword_grant = true\n";

/// A browser session.
#[derive(Deserialize)]
struct RecordedSession {
    /// Name and value of each cookie at the store.
    cookies: BTreeMap<String, String>,
    /// The tokens that the provider issued.
    refresh_token: String,
    provider_sid: String,
}

/// A native session.
#[derive(Deserialize)]
struct RecordedTokens {
    access_token: String,
    refresh_token: String,
    device_token: String,
    /// The tokens that the provider issued.
    provider_refresh_token: String,
    provider_sid: String,
}

/// A login whose browser is at the provider.
#[derive(Deserialize)]
struct RecordedLogin {
    cookies: BTreeMap<String, String>,
    /// The query of the authorization request.
    authorization_request: String,
}

/// All that is in a Redis.
#[derive(Deserialize)]
struct RecordedRedis {
    sessions: HashMap<String, RecordedSession>,
    /// Strings, in base64.
    entries: BTreeMap<String, String>,
    streams: Vec<RecordedStream>,
    hashes: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RecordedStream {
    stream: String,
    items: Vec<Vec<String>>,
}

fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("a fixture")
}

fn sessions() -> HashMap<String, RecordedSession> {
    read(SESSIONS)
}

/// The recorded deployment, served by this version.
fn upgraded() -> Setup {
    let deployment: Deployment = read(DEPLOYMENT);
    assert_eq!(
        deployment.recorded_at,
        BEGIN.secs(),
        "cookies are as old as the test's clock expects"
    );
    Setup::plain()
        .deployed_as(deployment)
        .store("session_jwt = \"access\"")
        .more(NATIVE)
}

/// A browser with these cookies.
fn browser_with(doorward: &Doorward, cookies: &BTreeMap<String, String>) -> Browser {
    let mut browser = doorward.browser();
    for (name, value) in cookies {
        browser
            .jar
            .plant(Cookie::host_only(doorward.store_host(), name, value));
    }
    browser
}

/// The provider still knows the grant of this session.
fn restore_grant(doorward: &Doorward, name: &str, session: &RecordedSession) {
    let person = User::new(name, &[]);
    doorward.provider.restore_refresh_token(
        &session.refresh_token,
        "store",
        person,
        &session.provider_sid,
    );
}

async fn native_call(doorward: &Doorward, endpoint: &str, body: &serde_json::Value) -> Page {
    let url = doorward.store_url(&format!("/.doorward/native/{endpoint}"));
    let request = RequestSpec::new(Kind::Program, &url)
        .method("POST")
        .body("application/json", body.to_string());
    doorward.browser().send(request).await
}

async fn load_with_token(doorward: &Doorward, access_token: &str) -> Page {
    let request = RequestSpec::new(Kind::Program, &doorward.store_url(CART));
    doorward
        .browser()
        .send(request.header("Authorization", &format!("Bearer {access_token}")))
        .await
}

#[tokio::test]
async fn old_sealed_session_is_accepted() {
    let doorward = upgraded().start();
    // Bob's JWT is so long that its cookie is split into chunks.
    for name in ["alice", "bob"] {
        let mut browser = browser_with(&doorward, &sessions()[name].cookies);
        let page = browser.step(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 200, "{page}");
        assert_eq!(doorward.store_saw(), Some(format!("{name}-id")));
        let email = doorward
            .store
            .last()
            .header("x-forwarded-email")
            .map(str::to_owned);
        assert_eq!(email, Some(format!("{name}@example.com")));
    }
    assert_eq!(
        doorward.provider.calls(Endpoint::Token),
        0,
        "the session is valid without a refresh"
    );
    assert_eq!(doorward.provider.calls(Endpoint::Authorize), 0);
}

#[tokio::test]
async fn old_sealed_refresh_token_refreshes_an_expired_session() {
    let doorward = upgraded().start();
    let recorded = &sessions()["alice"];
    restore_grant(&doorward, "alice", recorded);
    doorward.advance_secs(301);
    let mut browser = browser_with(&doorward, &recorded.cookies);
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(doorward.store_saw().as_deref(), Some("alice-id"));
    assert_eq!(doorward.provider.grants("refresh_token"), 1);
    for name in ["doorward_jwt", "doorward_refresh"] {
        let value = browser
            .jar
            .get(doorward.store_host(), name)
            .map(|cookie| &cookie.value);
        assert!(
            value.is_some() && value != recorded.cookies.get(name),
            "no new {name}: {page}"
        );
    }
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn old_sealed_session_keeps_its_absolute_timeout() {
    let doorward = upgraded()
        .session("idle_timeout = \"30m\"\nabsolute_timeout = \"1h\"")
        .start();
    let recorded = &sessions()["alice"];
    restore_grant(&doorward, "alice", recorded);
    let mut browser = browser_with(&doorward, &recorded.cookies);
    for _ in 0..3 {
        doorward.advance_secs(1199);
        assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    }
    doorward.advance_secs(4);
    assert_login_starts(&doorward, &browser.step(&doorward.store_url(CART)).await);
}

#[tokio::test]
async fn old_sealed_session_can_log_out() {
    let doorward = upgraded().start();
    let recorded = &sessions()["alice"];
    restore_grant(&doorward, "alice", recorded);
    let mut browser = browser_with(&doorward, &recorded.cookies);
    let form = browser
        .visit(&doorward.store_url("/.doorward/logout"))
        .await;
    browser.submit(&form, &[]).await;
    assert!(
        !doorward.provider.is_live(&recorded.refresh_token),
        "the provider revoked it"
    );
    let mut copy = browser_with(&doorward, &recorded.cookies);
    assert_login_starts(&doorward, &copy.step(&doorward.store_url(CART)).await);
}

/// An old refresh cookie does not name the provider session.
#[tokio::test]
async fn old_sealed_refresh_token_alone_ends_with_its_user() {
    let recorded = &sessions()["alice"];
    let sid = recorded.provider_sid.as_str();
    for (claims, is_over) in [
        (json!({ "sid": sid, "sub": "alice-id" }), true),
        (
            json!({ "sid": "of-another-browser", "sub": "alice-id" }),
            true,
        ),
        (
            json!({ "sid": "of-another-browser", "sub": "bob-id" }),
            false,
        ),
        // The refreshed tokens name it.
        (json!({ "sid": sid }), true),
    ] {
        let doorward = upgraded().start();
        restore_grant(&doorward, "alice", recorded);
        let token = doorward.provider.logout_token("store", &claims, &[]);
        let url = doorward.store_url("/.doorward/backchannel-logout");
        let form = format!("logout_token={token}");
        let request = RequestSpec::new(Kind::Program, &url)
            .method("POST")
            .body("application/x-www-form-urlencoded", form);
        assert_eq!(
            doorward.browser().send(request).await.status(),
            200,
            "{claims}"
        );
        let mut browser = browser_with(&doorward, &recorded.cookies);
        browser
            .jar
            .remove(doorward.store_host(), |cookie| cookie.name.contains("_jwt"));
        let page = browser.step(&doorward.store_url(CART)).await;
        assert_eq!(
            page.status(),
            if is_over { 302 } else { 200 },
            "{claims}: {page}"
        );
    }
}

#[tokio::test]
async fn old_native_tokens_are_accepted() {
    let doorward = upgraded().start();
    let recorded: RecordedTokens = read(NATIVE_SESSION);
    let grace = User::new("grace", &[]);
    doorward.provider.restore_refresh_token(
        &recorded.provider_refresh_token,
        "store",
        grace,
        &recorded.provider_sid,
    );
    let page = load_with_token(&doorward, &recorded.access_token).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(doorward.store_saw().as_deref(), Some("grace-id"));

    doorward.advance_secs(301);
    let page = native_call(
        &doorward,
        "refresh",
        &json!({ "refresh_token": recorded.refresh_token }),
    )
    .await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(doorward.provider.grants("refresh_token"), 1);
    let tokens = page.json();
    let page = load_with_token(
        &doorward,
        tokens["access_token"].as_str().expect("an access token"),
    )
    .await;
    assert_eq!(page.status(), 200, "{page}");
}

#[tokio::test]
async fn old_device_token_exempts_from_the_account_throttle() {
    let doorward = upgraded().start();
    let recorded: RecordedTokens = read(NATIVE_SESSION);
    doorward
        .provider
        .add_user("grace", "secret", User::new("grace", &[]));
    let login = async |password: &str, device_token: Option<&str>| {
        let mut body = json!({ "username": "grace", "password": password });
        if let Some(token) = device_token {
            body["device_token"] = json!(token);
        }
        native_call(&doorward, "login", &body).await.status()
    };
    while login("wrong", None).await != 429 {}
    assert_eq!(login("secret", None).await, 429);
    assert_eq!(login("secret", Some(&recorded.device_token)).await, 200);
}

#[tokio::test]
async fn old_login_attempt_finishes() {
    let doorward = upgraded().start();
    let recorded: RecordedLogin = read(LOGIN);
    doorward.sign_in("alice");
    let mut browser = browser_with(&doorward, &recorded.cookies);
    let authorize = doorward.provider.url(Endpoint::Authorize);
    let page = browser
        .visit(&format!("{authorize}?{}", recorded.authorization_request))
        .await;
    assert_eq!((page.status(), page.url.path()), (200, CART), "{page}");
    assert_eq!(doorward.store_saw().as_deref(), Some("alice-id"));
    assert_eq!(
        doorward.provider.calls(Endpoint::Authorize),
        1,
        "the login did not start again"
    );
}

#[tokio::test]
async fn old_journal_keeps_sessions_revoked() {
    let doorward = upgraded()
        .remembering("journal_file = \"ended.journal\"")
        .file("ended.journal", JOURNAL)
        .start();
    // By logout, by `sub`, by the provider's `sid`.
    for name in ["carol", "erin", "frank"] {
        let mut browser = browser_with(&doorward, &sessions()[name].cookies);
        assert_login_starts(&doorward, &browser.step(&doorward.store_url(CART)).await);
    }
    let mut alice = browser_with(&doorward, &sessions()["alice"].cookies);
    assert_eq!(
        alice.step(&doorward.store_url(CART)).await.status(),
        200,
        "not revoked"
    );
}

#[tokio::test]
async fn old_sessions_of_the_journal_are_accepted_without_it() {
    // Otherwise the test above would pass with cookies that do not open.
    let doorward = upgraded().start();
    for name in ["carol", "erin", "frank"] {
        let mut browser = browser_with(&doorward, &sessions()[name].cookies);
        assert_eq!(
            browser.step(&doorward.store_url(CART)).await.status(),
            200,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_redis_entries_are_accepted() {
    let redis = RedisServer::start();
    let recorded: RecordedRedis = read(REDIS);
    fill(&redis, &recorded).await;
    let doorward = upgraded()
        .remembering(&format!("url = \"{}\"", redis.url()))
        .start();
    let mut gina = browser_with(&doorward, &recorded.sessions["gina"].cookies);
    assert_login_starts(&doorward, &gina.step(&doorward.store_url(CART)).await);

    // Dave's refresh token was rotated, and the response was lost: the store holds its successor.
    doorward.advance_secs(301);
    let mut dave = browser_with(&doorward, &recorded.sessions["dave"].cookies);
    let page = dave.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(doorward.store_saw().as_deref(), Some("dave-id"));
    assert_eq!(
        doorward.provider.calls(Endpoint::Token),
        0,
        "the stored successor is used"
    );
}

#[tokio::test]
async fn old_sessions_of_the_redis_are_accepted_without_it() {
    let recorded: RecordedRedis = read(REDIS);
    let doorward = upgraded().start();
    for name in ["gina", "dave"] {
        let mut browser = browser_with(&doorward, &recorded.sessions[name].cookies);
        assert_eq!(
            browser.step(&doorward.store_url(CART)).await.status(),
            200,
            "{name}"
        );
    }
}

async fn fill(server: &RedisServer, recorded: &RecordedRedis) {
    let mut pipeline = redis::pipe();
    for (key, value) in &recorded.entries {
        pipeline.set_ex(key, STANDARD.decode(value).expect("base64"), 3600);
    }
    for RecordedStream { stream, items } in &recorded.streams {
        for item in items {
            pipeline.cmd("XADD").arg(stream).arg("*").arg(item);
        }
    }
    for (key, fields) in &recorded.hashes {
        pipeline.cmd("HSET").arg(key);
        for (field, value) in fields {
            pipeline.arg(field).arg(value);
        }
    }
    let client = redis::Client::open(server.url()).expect("a client");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("a connection");
    let () = pipeline
        .query_async(&mut connection)
        .await
        .expect("it is filled");
}
