//! Device-bound sessions in a real Chromium, which keeps keys in software with a feature flag. The server's
//! clock is advanced, so that proofs end without waiting.

use fantoccini::cookies::Cookie;
use serde_json::{Value, json};

use crate::chromium::{Chromium, Launch};
use crate::rendering::emulate;
use crate::support::backend::{Answer, Content};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;
use crate::support::provider::{Endpoint, User};

const HOST: &str = "store.example.test";
const CART: &str = "/shopping-cart";
const WITH_QUOTA: &str =
    "DeviceBoundSessions,EnableBoundSessionCredentialsSoftwareKeysForManualTesting";
const WITHOUT_QUOTA: &str = "DeviceBoundSessions:RefreshQuota/false,EnableBoundSessionCredentialsSoftwareKeysForManualTesting";
const SOON: std::time::Duration = std::time::Duration::from_secs(20);

/// A store whose pages have a style sheet, and alice, who logs in with a form.
fn store() -> Doorward {
    store_with("strict = [\"/account/**\"]")
}

/// The same with these keys of its table.
fn store_with(keys: &str) -> Doorward {
    let doorward = Setup::over_tls()
        .store(&format!("device_binding = {{ mode = \"offer\", {keys} }}"))
        .start();
    let page = "<!doctype html><link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"/style.css\"><h1>cart</h1>";
    for (path, kind, text) in [
        (CART, "text/html", page),
        ("/style.css", "text/css", "h1 { color: green }"),
    ] {
        let answer = Answer {
            body: Content::Bytes(text.as_bytes().to_vec()),
            ..Answer::default()
        };
        let answer = answer.with_header("Content-Type", kind);
        doorward.store.response(path, answer);
    }
    doorward
}

async fn chromium(doorward: &Doorward, features: &str) -> Chromium {
    let launch = Launch {
        trusted_keys: vec![doorward.spki_sha256()],
        ports: vec![(HOST, doorward.port_of(0))],
        features: Some(features),
    };
    Chromium::launch(&launch).await
}

/// Opens the cart and logs in by a redirect through the provider, which is another site.
async fn log_in(doorward: &Doorward, chromium: &Chromium) {
    doorward.provider.sign_in(User::new("alice", &[]));
    chromium.open(&doorward.store_url(CART)).await;
    chromium.says("h1", "cart").await;
}

/// The response to a script of the page: status, whether it was redirected, and the text.
async fn fetch(chromium: &Chromium, method: &str, path: &str, body_length: usize) -> Value {
    let script = "const [method, path, length, done] = arguments;
        const body = length ? 'x'.repeat(length) : undefined;
        fetch(path, { method, body }).then(
            async (response) => done({ status: response.status, redirected: response.redirected, text: await response.text() }),
            (error) => done({ status: 0, text: String(error) }));";
    let arguments = vec![json!(method), json!(path), json!(body_length)];
    let fetched = chromium.client().execute_async(script, arguments).await;
    fetched.expect("a script runs")
}

async fn is_bound(chromium: &Chromium) -> bool {
    let session = fetch(chromium, "GET", "/.doorward/session", 0).await;
    let text = session["text"].as_str().unwrap_or_default();
    let session: Value = serde_json::from_str(text).unwrap_or_default();
    session["device_bound"] == true
}

async fn becomes_bound(chromium: &Chromium) {
    eventually_async("the session is bound", SOON, async || {
        is_bound(chromium).await
    })
    .await;
}

/// Chromium with a bound session of alice.
async fn bound(doorward: &Doorward, features: &str) -> Chromium {
    let chromium = chromium(doorward, features).await;
    log_in(doorward, &chromium).await;
    becomes_bound(&chromium).await;
    chromium
}

async fn forget(chromium: &Chromium, kinds: &[&str]) {
    for kind in kinds {
        let name = format!("__Host-doorward_{kind}");
        let deleted = chromium.client().delete_cookie(&name).await;
        deleted.expect("a cookie is deleted");
    }
}

fn logins(doorward: &Doorward) -> usize {
    doorward.provider.calls(Endpoint::Authorize)
}

async fn proofs(doorward: &Doorward, outcome: &str) -> f64 {
    let series = format!("doorward_device_proofs_total{{app=\"store\",outcome=\"{outcome}\"}}");
    doorward.metric(&series).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_at_another_site_binds_session_without_a_refused_request() {
    let doorward = store();
    let chromium = bound(&doorward, WITHOUT_QUOTA).await;
    let bound = r#"doorward_device_registrations_total{app="store",outcome="bound"}"#;
    assert_eq!(doorward.metric(bound).await, 1.0);
    let log = doorward.log.text();
    for refused in ["\"status\":401", "\"status\":403", "\"status\":503"] {
        let lines = log.lines().filter(|line| line.contains(refused));
        let lines: Vec<&str> = lines
            .filter(|line| !line.contains("device_challenge"))
            .collect();
        assert!(lines.is_empty(), "{lines:?}");
    }
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_proof_is_renewed_and_requests_arrive_whole() {
    let doorward = store();
    let chromium = bound(&doorward, WITHOUT_QUOTA).await;
    let before = logins(&doorward);
    for (method, length) in [("GET", 0), ("POST", 9), ("PUT", 10 * 1024 * 1024)] {
        doorward.advance_secs(60);
        let response = fetch(&chromium, method, "/upload", length).await;
        assert_eq!(response["status"], 200, "{method}: {response}");
        assert_eq!(response["redirected"], true, "{method}");
        let seen = doorward.store.last();
        assert_eq!((seen.method.as_str(), seen.body.len()), (method, length));
    }
    doorward.advance_secs(60);
    chromium.open(&doorward.store_url(CART)).await;
    chromium.says("h1", "cart").await;
    assert_eq!(logins(&doorward), before);
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_of_another_site_reaches_the_page_without_a_login() {
    let doorward = store();
    let chromium = bound(&doorward, WITHOUT_QUOTA).await;
    let before = logins(&doorward);
    let link = format!(
        "data:text/html,<a id=link href={}>cart</a>",
        doorward.store_url(CART)
    );
    forget(&chromium, &["device"]).await;
    chromium.open(&link).await;
    chromium.click("#link").await;
    chromium.says("h1", "cart").await;
    assert_eq!(logins(&doorward), before);
    assert!(doorward.log.text().contains("device_proof_reload"));
    assert!(is_bound(&chromium).await);
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_login_in_the_same_browser_is_bound_and_stays() {
    let doorward = store();
    let chromium = bound(&doorward, WITHOUT_QUOTA).await;
    forget(&chromium, &["jwt", "refresh"]).await;
    log_in(&doorward, &chromium).await;
    becomes_bound(&chromium).await;
    let before = logins(&doorward);
    for _ in 0..4 {
        doorward.advance_secs(60);
        let response = fetch(&chromium, "GET", "/api", 0).await;
        assert_eq!(response["status"], 200, "{response}");
        forget(&chromium, &["device"]).await;
        let response = fetch(&chromium, "GET", "/api", 0).await;
        assert_eq!(response["status"], 200, "{response}");
    }
    assert_eq!(logins(&doorward), before);
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsing_for_a_while_stays_within_the_default_quota() {
    let doorward = store();
    let chromium = bound(&doorward, WITH_QUOTA).await;
    for step in 0..25 {
        doorward.advance_secs(20);
        let response = fetch(&chromium, "GET", "/api", 0).await;
        assert_eq!(response["status"], 200, "{step}: {response}");
    }
    assert!(is_bound(&chromium).await);
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookie_is_recognized_by_its_announced_attributes() {
    let doorward = store();
    let chromium = bound(&doorward, WITHOUT_QUOTA).await;
    for _ in 0..20 {
        let response = fetch(&chromium, "GET", "/api", 0).await;
        assert_eq!(response["status"], 200, "{response}");
    }
    // Otherwise each request would renew it.
    let renewed = proofs(&doorward, "device_proof_renewed").await;
    assert!(renewed < 5.0, "{renewed}");
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_without_the_feature_keeps_its_unbound_session() {
    let doorward = store();
    let chromium = Chromium::launch(&Launch {
        trusted_keys: vec![doorward.spki_sha256()],
        ports: vec![(HOST, doorward.port_of(0))],
        features: None,
    })
    .await;
    log_in(&doorward, &chromium).await;
    doorward.advance_secs(150);
    let response = fetch(&chromium, "GET", "/api", 0).await;
    assert_eq!(response["status"], 200, "{response}");
    assert!(!is_bound(&chromium).await);
    chromium.close().await;
}

/// The cookies of the store, with those that no script sees.
async fn jar(chromium: &Chromium) -> Vec<Cookie<'static>> {
    let cookies = chromium.client().get_all_cookies().await;
    cookies.expect("cookies")
}

async fn plant(chromium: &Chromium, jar: &[Cookie<'static>]) {
    for cookie in jar {
        // With a URL in place of a domain, the cookie is one of this host only, as `__Host-` requires.
        let parameters = json!({
            "name": cookie.name(),
            "value": cookie.value(),
            "url": format!("https://{HOST}"),
            "path": cookie.path(),
            "secure": true,
            "httpOnly": true,
            "sameSite": "Lax",
        });
        emulate(chromium, "Network.setCookie", parameters).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jar_in_a_second_chromium_works_until_the_proof_ends() {
    let doorward = store();
    let owner = bound(&doorward, WITHOUT_QUOTA).await;
    let thief = chromium(&doorward, WITHOUT_QUOTA).await;
    thief.open(&doorward.store_url("/public/x")).await;
    for moment in [3, 11] {
        doorward.advance_secs(60 + moment);
        let response = fetch(&owner, "GET", "/account/card", 0).await;
        assert_eq!(response["status"], 200, "{response}");
        let copy = jar(&owner).await;
        plant(&thief, &copy).await;
        for (secs, path, works) in [
            (2, "/account/card", true),
            (1, CART, true),
            (41, CART, true),
            (1, CART, false),
        ] {
            doorward.advance_secs(secs);
            let response = fetch(&thief, "GET", path, 0).await;
            assert_eq!(
                response["status"] == 200,
                works,
                "{secs} {path}: {response}"
            );
        }
    }
    let response = fetch(&owner, "GET", CART, 0).await;
    assert_eq!(response["status"], 200, "{response}");
    thief.close().await;
    owner.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jar_on_strict_path_in_a_second_chromium_works_for_seconds() {
    let doorward = store();
    let owner = bound(&doorward, WITHOUT_QUOTA).await;
    let thief = chromium(&doorward, WITHOUT_QUOTA).await;
    thief.open(&doorward.store_url("/public/x")).await;
    doorward.advance_secs(60);
    let response = fetch(&owner, "GET", "/account/card", 0).await;
    assert_eq!(response["status"], 200, "{response}");
    plant(&thief, &jar(&owner).await).await;
    doorward.advance_secs(3);
    let response = fetch(&thief, "GET", "/account/card", 0).await;
    assert_ne!(response["status"], 200, "{response}");
    thief.close().await;
    owner.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_requests_arrive_whole_and_within_the_default_quota() {
    let doorward = store();
    let chromium = bound(&doorward, WITH_QUOTA).await;
    for step in 0..12 {
        doorward.advance_secs(10);
        let response = fetch(&chromium, "POST", "/account/card", 9).await;
        assert_eq!(response["status"], 200, "{step}: {response}");
        assert_eq!(response["redirected"], true, "{step}: {response}");
        assert_eq!(doorward.store.last().body.len(), 9);
    }
    assert!(is_bound(&chromium).await);
    chromium.close().await;
}

/// Sends all further requests as another browser, as after a change of network.
async fn become_another_program(chromium: &Chromium, name: &str) {
    let agent = json!({ "userAgent": format!("Mozilla/5.0 ({name})") });
    emulate(chromium, "Network.setUserAgentOverride", agent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_of_the_hint_is_proven_without_the_user() {
    let doorward = store();
    let chromium = bound(&doorward, WITH_QUOTA).await;
    let before = logins(&doorward);
    become_another_program(&chromium, "another").await;
    for (method, length) in [("GET", 0), ("POST", 10 * 1024 * 1024)] {
        let response = fetch(&chromium, method, "/upload", length).await;
        assert_eq!(response["status"], 200, "{method}: {response}");
        assert_eq!(doorward.store.last().body.len(), length);
    }
    chromium.open(&doorward.store_url(CART)).await;
    chromium.says("h1", "cart").await;
    assert_eq!(logins(&doorward), before);
    assert!(is_bound(&chromium).await);
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewals_that_fail_leave_the_session() {
    let doorward = store();
    let chromium = bound(&doorward, WITHOUT_QUOTA).await;
    let before = logins(&doorward);
    let whole = jar(&chromium).await;
    let broken = whole
        .iter()
        .filter(|cookie| cookie.name().ends_with("_jwt") || cookie.name().ends_with("_refresh"));
    let broken: Vec<Cookie<'static>> = broken
        .map(|cookie| {
            let mut cookie = cookie.clone();
            cookie.set_value("unreadable");
            cookie
        })
        .collect();
    plant(&chromium, &broken).await;
    forget(&chromium, &["device"]).await;
    let response = fetch(&chromium, "GET", "/api", 0).await;
    assert_ne!(response["status"], 200, "{response}");
    assert!(proofs(&doorward, "device_session_unreadable").await > 0.0);
    plant(&chromium, &whole).await;
    forget(&chromium, &["device"]).await;
    let response = fetch(&chromium, "GET", "/api", 0).await;
    assert_eq!(response["status"], 200, "{response}");
    assert_eq!(logins(&doorward), before);
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_during_the_registration_are_served() {
    let doorward = store();
    let page = "<!doctype html><link rel=\"icon\" href=\"data:,\"><h1>cart</h1><p id=\"seen\"></p><script>
        const requests = Array.from({ length: 40 }, (_, index) =>
            new Promise((done) => setTimeout(done, 25 * index)).then(() => fetch('/api')));
        Promise.all(requests).then((responses) => document.querySelector('#seen').textContent =
            responses.map((response) => response.status).filter((status) => status !== 200).length + ' refused');
        </script>";
    let answer = Answer {
        body: Content::Bytes(page.as_bytes().to_vec()),
        ..Answer::default()
    };
    let answer = answer.with_header("Content-Type", "text/html");
    doorward.store.response(CART, answer);
    let chromium = chromium(&doorward, WITHOUT_QUOTA).await;
    log_in(&doorward, &chromium).await;
    chromium.says("#seen", "0 refused").await;
    becomes_bound(&chromium).await;
    chromium.close().await;
}

/// A page with a service worker that passes everything on, a WebSocket, an event stream and an upload.
const APP: &str = "<!doctype html><link rel=\"icon\" href=\"data:,\"><h1>app</h1>
    <p id=\"worker\"></p><p id=\"socket\"></p><p id=\"events\"></p><p id=\"upload\"></p><script>
    const show = (id, text) => document.getElementById(id).textContent = text;
    const start = async () => {
        await navigator.serviceWorker.register('/worker.js');
        await navigator.serviceWorker.ready;
        if (!navigator.serviceWorker.controller) {
            await new Promise((done) => navigator.serviceWorker.oncontrollerchange = done);
        }
        show('worker', 'controlled');
        const open = () => {
            const socket = new WebSocket('wss://' + location.host + '/chat');
            socket.onopen = () => socket.send('hello');
            socket.onmessage = (event) => show('socket', event.data);
            socket.onerror = () => setTimeout(open, 200);
        };
        open();
        const events = new EventSource('/events');
        events.onmessage = () => show('events', 'open');
        const upload = await fetch('/upload', { method: 'POST', body: 'x'.repeat(1000000) });
        show('upload', String(upload.status));
    };
    start();
    </script>";
const WORKER: &str = "self.addEventListener('install', () => self.skipWaiting());
    self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));
    self.addEventListener('fetch', (event) => event.respondWith(fetch(event.request)));";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_with_service_worker_and_streams_works_at_each_state_of_the_proof() {
    let doorward = store();
    for (path, kind, text) in [
        ("/app", "text/html", APP),
        ("/worker.js", "text/javascript", WORKER),
    ] {
        let answer = Answer {
            body: Content::Bytes(text.as_bytes().to_vec()),
            ..Answer::default()
        };
        let answer = answer.with_header("Content-Type", kind);
        doorward.store.response(path, answer);
    }
    let body = Content::Events {
        count: 1000,
        every: std::time::Duration::from_millis(100),
    };
    let events = Answer {
        body,
        ..Answer::default()
    };
    doorward.store.response("/events", events);
    let chromium = bound(&doorward, WITHOUT_QUOTA).await;
    let before = logins(&doorward);
    for is_absent in [false, false, true, true] {
        chromium.open(&doorward.store_url("/app")).await;
        for (id, text) in [
            ("#worker", "controlled"),
            ("#socket", "hello"),
            ("#events", "open"),
            ("#upload", "200"),
        ] {
            chromium.says(id, text).await;
        }
        doorward.advance_secs(60);
        if is_absent {
            forget(&chromium, &["device"]).await;
        }
    }
    assert_eq!(logins(&doorward), before);
    chromium.close().await;
}
