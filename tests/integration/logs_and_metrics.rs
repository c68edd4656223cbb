//! Access log, events and metrics: one valid log line per request, a request ID that connects error
//! pages and log lines, counters, and no secret in any log, metric or page.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::mobile_workflow::secrets;
use crate::support::assertions::{CART, Dialogue, alice, assert_error_page, fetched};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually;
use crate::support::exposition::{promtool, totals_among_series};
use crate::support::journey;
use crate::support::provider::{Endpoint, Fault, Flaw};

/// All events of this process, of every test: no test's secrets may occur in the events of another.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<u8>>>);

impl Write for Events {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panicked inside").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Events {
    /// Captures at level `trace`, including the libraries' events.
    fn capture() -> Self {
        let events = Self::default();
        let writer = events.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("trace")
            .with_ansi(false);
        subscriber
            .with_writer(move || writer.clone())
            .finish()
            .try_init()
            .expect("the only log of this process");
        events
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no test panicked inside")).into_owned()
    }
}

/// The output to the browser and the operator, and the secrets that it must not contain.
#[derive(Default)]
struct Gathered {
    pages: Vec<String>,
    secrets: Vec<String>,
}

impl Gathered {
    fn cookies(&mut self, browser: &Browser, doorward: &Doorward) {
        for host in [doorward.store_host(), doorward.forum_host()] {
            self.secrets.extend(
                browser
                    .jar
                    .of(host)
                    .iter()
                    .map(|cookie| cookie.value.clone()),
            );
        }
    }

    /// The values sent in URLs and to the token endpoint.
    fn parameters(&mut self, doorward: &Doorward) {
        const SECRET: [&str; 5] = ["state", "nonce", "code", "code_verifier", "refresh_token"];
        for endpoint in Endpoint::ALL {
            for visit in doorward.provider.visits(endpoint) {
                let named = visit
                    .parameters
                    .iter()
                    .filter(|(name, _)| SECRET.contains(&name.as_str()));
                self.secrets.extend(named.map(|(_, value)| value.clone()));
                self.secrets.extend(
                    visit
                        .header("authorization")
                        .and_then(|v| v.split(' ').nth(1))
                        .map(str::to_owned),
                );
            }
        }
    }

    /// Whole secrets, and each part of a JWT separately.
    fn canaries(&self) -> Vec<String> {
        let parts = self
            .secrets
            .iter()
            .flat_map(|secret| secret.split('.').map(str::to_owned));
        let mut all: Vec<String> = parts
            .chain(self.secrets.iter().cloned())
            .filter(|part| part.len() >= 16)
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

async fn metrics(doorward: &Doorward) -> String {
    let url = format!("http://{}/metrics", doorward.admin_address());
    Browser::new(doorward.clock.clone())
        .visit(&url)
        .await
        .text()
}

/// A login, loads, a refresh, single sign-on, failures of every kind, a logout.
async fn whole_life(doorward: &mut Doorward, gathered: &mut Gathered) {
    let mut browser = alice(doorward).await;
    gathered.cookies(&browser, doorward);
    let script = browser
        .step(&doorward.store_url("/.doorward/session"))
        .await;
    assert_eq!(script.status(), 200, "{script}");
    gathered.pages.push(script.text());
    doorward.advance_secs(301);
    browser.step(&doorward.store_url(CART)).await;
    gathered.cookies(&browser, doorward);
    assert_eq!(
        browser.visit(&doorward.forum_url("/posts")).await.status(),
        200
    );
    gathered.cookies(&browser, doorward);
    gathered
        .pages
        .push(browser.step(&doorward.store_url("/admin")).await.text());
    for fault in [
        Fault::Status(500),
        Fault::Html,
        Fault::CutBefore,
        Fault::Huge(3_000_000),
    ] {
        doorward.advance_secs(301);
        doorward.provider.fault(Endpoint::Token, fault);
        gathered
            .pages
            .push(browser.step(&doorward.store_url(CART)).await.text());
        gathered.pages.push(
            fetched(&mut browser, &doorward.store_url(CART))
                .await
                .text(),
        );
        let mut stranger = doorward.browser();
        gathered
            .pages
            .push(stranger.visit(&doorward.store_url(CART)).await.text());
        gathered.cookies(&stranger, doorward);
        doorward.provider.heal(Endpoint::Token);
    }
    // The backoff of the session ends.
    doorward.advance_secs(10);
    for flaw in [Flaw::WrongSignature, Flaw::WrongNonce, Flaw::WrongAudience] {
        doorward
            .provider
            .behave(|provider| provider.id_token_flaws = vec![flaw]);
        let mut stranger = doorward.browser();
        gathered
            .pages
            .push(stranger.visit(&doorward.store_url(CART)).await.text());
        gathered.cookies(&stranger, doorward);
    }
    doorward
        .provider
        .behave(|provider| provider.id_token_flaws.clear());
    let replayed = format!(
        "{}?code=stolen-code-0123456789&state=stolen-state-0123456789",
        "/.doorward/callback"
    );
    gathered.secrets.extend([
        "stolen-code-0123456789".to_owned(),
        "stolen-state-0123456789".to_owned(),
    ]);
    let page = browser
        .step(&doorward.store_url(&format!("{replayed}&iss={}", doorward.provider.issuer())))
        .await;
    gathered.pages.push(page.text());
    doorward.store.stop();
    gathered.pages.push(
        browser
            .step(&doorward.store_url("/public/x?token=in-the-query-0123456789"))
            .await
            .text(),
    );
    gathered.secrets.push("in-the-query-0123456789".to_owned());
    doorward.store.restart();
    assert_eq!(
        browser.step(&doorward.store_url(CART)).await.status(),
        200,
        "the session lives through it all"
    );
    gathered.cookies(&browser, doorward);
    doorward.advance_secs(31 * 60);
    let field = "a-field-that-nobody-may-see-0123456789";
    gathered.secrets.push(field.to_owned());
    let form = RequestSpec::new(Kind::Navigation, &doorward.store_url(CART))
        .method("POST")
        .from(&page.url);
    let form = form
        .body(
            "application/x-www-form-urlencoded",
            format!("comment={field}"),
        )
        .following();
    let page = browser.send(form).await;
    assert_eq!(page.url.path(), "/.doorward/form", "{page}");
    gathered.pages.push(page.text());
    gathered.cookies(&browser, doorward);
    assert_eq!(browser.submit(&page, &[]).await.status(), 200);
    let page = journey::log_out(&mut browser, &doorward.site().store).await;
    gathered.pages.push(page.text());
    gathered.parameters(doorward);
    gathered.secrets.extend(doorward.provider.secrets());
    gathered
        .secrets
        .extend(["store-secret", "forum-secret"].map(str::to_owned));
}

#[tokio::test]
async fn no_secret_in_logs_metrics_or_pages() {
    let events = Events::capture();
    let mut doorward = Setup::plain().more(secrets::NATIVE).start();
    let mut gathered = Gathered::default();
    whole_life(&mut doorward, &mut gathered).await;
    let (held, responses) = secrets::live(&doorward).await;
    gathered.secrets.extend(held);
    gathered.pages.extend(responses);
    eventually("the log has the logout", || {
        doorward.log.text().contains("/.doorward/signed-out")
    })
    .await;
    let canaries: Vec<String> = gathered
        .canaries()
        .into_iter()
        .chain(["store-secret".to_owned()])
        .collect();
    assert!(canaries.len() > 60, "only {} canaries", canaries.len());
    let (log, numbers, told) = (doorward.log.text(), metrics(&doorward).await, events.text());
    assert!(
        told.contains("login_finished")
            && told.contains("refresh_failed")
            && told.contains("password_login"),
        "the events were not captured"
    );
    let places = [
        ("access log", &log),
        ("metrics", &numbers),
        ("events", &told),
    ];
    let pages = gathered.pages.iter().map(|page| ("page", page));
    for (place, text) in places.into_iter().chain(pages) {
        for canary in &canaries {
            let found = text.lines().find(|line| line.contains(canary.as_str()));
            assert!(found.is_none(), "`{canary}` in the {place}: {found:?}");
        }
    }
    for line in doorward.log.lines() {
        assert!(
            line["request_id"].is_string()
                && line["status"].is_u64()
                && line["decision"].is_string(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn counters_match_the_traffic() {
    let mut doorward = Setup::plain().start();
    let mut gathered = Gathered::default();
    whole_life(&mut doorward, &mut gathered).await;
    let expected = [
        (
            r#"doorward_logins_total{app="store",outcome="signed_in",provider="login"}"#,
            2.0,
        ),
        (
            r#"doorward_post_replays_total{app="store",outcome="sent"}"#,
            1.0,
        ),
        (
            r#"doorward_logins_total{app="forum",outcome="signed_in",provider="login"}"#,
            1.0,
        ),
        (
            r#"doorward_logins_total{app="store",outcome="token_signature_invalid",provider="login"}"#,
            1.0,
        ),
        (
            r#"doorward_logins_total{app="store",outcome="provider_unavailable",provider="login"}"#,
            1.0,
        ),
        (
            r#"doorward_logins_total{app="store",outcome="state_invalid",provider="login"}"#,
            1.0,
        ),
        (
            r#"doorward_refreshes_total{app="store",outcome="provider_unavailable",provider="login"}"#,
            2.0,
        ),
        (
            r#"doorward_logouts_total{app="store",outcome="refresh_token_revoked",provider="login"}"#,
            1.0,
        ),
        (
            r#"doorward_requests_total{app="store",decision="forbidden",status_class="4xx"}"#,
            1.0,
        ),
        (r#"doorward_access_log_dropped_total"#, 0.0),
        (
            r#"doorward_login_duration_seconds_count{app="store",provider="login"}"#,
            2.0,
        ),
        (
            r#"doorward_provider_calls_total{endpoint="introspection",outcome="ok",provider="login"}"#,
            0.0,
        ),
        (
            concat!(
                r#"doorward_build_info{version=""#,
                env!("CARGO_PKG_VERSION"),
                r#""}"#
            ),
            1.0,
        ),
    ];
    let text = metrics(&doorward).await;
    assert_eq!(promtool(&text), Ok(()));
    assert_eq!(
        totals_among_series(&text),
        Vec::<String>::new(),
        "in\n{text}"
    );
    for (series, value) in expected {
        assert_eq!(doorward.metric(series).await, value, "{series} in\n{text}");
    }
    for series in [
        r#"doorward_logins_started_total{app="store",outcome="first",provider="login"}"#,
        r#"doorward_provider_calls_total{endpoint="jwks",outcome="ok",provider="login"}"#,
        r#"doorward_provider_call_duration_seconds_count{endpoint="token",provider="login"}"#,
        r#"doorward_provider_last_fetch_timestamp_seconds{provider="login"}"#,
    ] {
        assert!(doorward.metric(series).await >= 1.0, "{series} in\n{text}");
    }
    assert!(
        doorward
            .metric(r#"doorward_refreshes_total{app="store",outcome="renewed",provider="login"}"#)
            .await
            >= 2.0,
        "{text}"
    );
    assert!(
        doorward
            .metric(r#"doorward_requests_total{app="store",decision="forward",status_class="2xx"}"#)
            .await
            >= 3.0,
        "{text}"
    );
    assert!(
        doorward
            .metric(r#"doorward_request_duration_seconds_count{app="store"}"#)
            .await
            >= 10.0,
        "{text}"
    );
    assert!(
        doorward.metric("doorward_connections_accepted_total").await >= 10.0,
        "{text}"
    );
}

#[tokio::test]
async fn every_log_line_is_one_json_object() {
    let doorward = Setup::plain().start();
    let browser = doorward.browser();
    let long = "x".repeat(7_000);
    let requests = [
        "GET /public/%0d%0a{\"forged\":1} HTTP/1.1\r\nHost: store.localhost:8080\r\n\r\n".to_owned(),
        "GET /public/\"quote\\back HTTP/1.1\r\nHost: store.localhost:8080\r\n\r\n".to_owned(),
        "GET /public/%1b[31mred HTTP/1.1\r\nHost: store.localhost:8080\r\n\r\n".to_owned(),
        "GET /public/\u{1b}[31mred HTTP/1.1\r\nHost: store.localhost:8080\r\n\r\n".to_owned(),
        "GET /public/Grüße\u{2028}\u{202e} HTTP/1.1\r\nHost: store.localhost:8080\r\n\r\n".to_owned(),
        "GET /public/x HTTP/1.1\r\nHost: \"}{\"\r\n\r\n".to_owned(),
        "GET /public/x HTTP/1.1\r\nHost: evil\u{1b}[2J.example\r\n\r\n".to_owned(),
        "GET /public/x HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-For: \"\r\nUser-Agent: \u{1b}[31m\"\r\n\r\n"
            .to_owned(),
        "M'!#$%&*+-.^_`|~ /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\n\r\n".to_owned(),
        format!("GET /public/{long} HTTP/1.1\r\nHost: store.localhost:8080\r\n\r\n"),
        "GET http://store.localhost:8080/public/a?secret=query HTTP/1.1\r\nHost: store.localhost:8080\r\n\r\n"
            .to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: store.localhost:8080\r\n\r\n".to_owned(),
    ];
    for bytes in &requests {
        let mut dialogue = Dialogue::with(&browser, &doorward.site().store).await;
        dialogue.say(bytes).await;
        if let Some(reply) = dialogue.try_hear("GET").await {
            assert!(
                reply.status() < 500 || reply.status() == 501,
                "{bytes:?}: {:?}",
                reply.head.start
            );
        }
    }
    assert_eq!(
        doorward
            .browser()
            .step(&doorward.store_url("/public/last"))
            .await
            .status(),
        200
    );
    doorward.log.line("/public/last", "forward").await;
    let text = doorward.log.text();
    assert!(
        text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')),
        "raw bytes of a client: {text:?}"
    );
    assert!(!text.contains("secret=query"), "{text}");
    for line in doorward.log.lines() {
        assert!(line.is_object() && line.get("forged").is_none(), "{line}");
        assert!(line.to_string().len() < 4_096, "{line}");
    }
}

/// The parts until the response head are the whole of it, and only calls that were made have a part.
#[tokio::test]
async fn entry_tells_where_the_time_went() {
    let more = "\n[log]\nuser_agent = true\n";
    let doorward = Setup::plain().more(more).start();
    let mut browser = alice(&doorward).await;
    let millis = |line: &Value, name: &str| line[name].as_f64();
    let is_callback = |line: &Value| line["path"] == "/.doorward/callback";
    let callback = || doorward.log.lines().into_iter().find(is_callback);
    eventually("the login is logged", || callback().is_some()).await;
    let callback = callback().expect("it is there");
    assert!(millis(&callback, "provider_ms") > Some(0.0), "{callback}");
    assert_eq!(millis(&callback, "upstream_ms"), None, "{callback}");
    let agent = RequestSpec::new(Kind::Program, &doorward.store_url("/public/x"));
    doorward.browser().send(agent).await;
    let plain = doorward.log.line("/public/x", "forward").await;
    for name in ["provider_ms", "store_ms"] {
        assert_eq!(plain.get(name), None, "{plain}");
    }
    assert_eq!(plain["user_agent"], "program/1");
    let parts = millis(&plain, "own_ms").zip(millis(&plain, "upstream_ms"));
    let (own, upstream) = parts.expect("both");
    assert!(
        own + upstream <= millis(&plain, "duration_ms").expect("a duration"),
        "{plain}"
    );
    doorward.advance_secs(301);
    doorward
        .provider
        .fault(Endpoint::Token, Fault::Slow(Duration::from_millis(300)));
    browser.step(&doorward.store_url("/cart/slow")).await;
    let refreshed = doorward.log.line("/cart/slow", "forward").await;
    assert!(
        millis(&refreshed, "provider_ms") >= Some(300.0),
        "{refreshed}"
    );
    assert!(millis(&refreshed, "own_ms") < Some(300.0), "{refreshed}");
}

/// The server drops the body of a page, which looks like a client that disconnects.
#[tokio::test]
async fn head_of_own_page_is_logged_with_its_decision() {
    let doorward = Setup::plain().start();
    for (path, code) in [
        ("/cart", "no_session"),
        ("/public/a;b", "unsupported_path"),
        ("/.doorward/x", "no_such_endpoint"),
    ] {
        let url = doorward.store_url(path);
        let head = RequestSpec::new(Kind::Program, &url).method("HEAD");
        let page = doorward.browser().send(head).await;
        let connection = TcpStream::connect(doorward.address())
            .await
            .expect("a port");
        let (mut client, connection) = h2::client::handshake(connection).await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = http::Request::head(&url).body(()).expect("a request");
        let (response, _) = client.send_request(request, true).expect("sent");
        let http2 = response.await.expect("an answer");
        assert_eq!(http2.status().as_u16(), page.status());
        let logged = || {
            doorward
                .log
                .lines()
                .into_iter()
                .filter(|line| line["path"] == path)
        };
        eventually("both requests are logged", || logged().count() == 2).await;
        for line in logged() {
            assert_eq!(
                (line["decision"].as_str(), line["bytes_out"].as_u64()),
                (Some(code), Some(0))
            );
        }
    }
}

#[tokio::test]
async fn request_id_on_page_finds_its_log_line() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let cases = [
        ("/admin/1", 403, "forbidden"),
        ("/public/a;b", 400, "unsupported_path"),
        ("/.doorward/x", 404, "no_such_endpoint"),
    ];
    for (path, status, code) in cases {
        let reference =
            assert_error_page(&browser.step(&doorward.store_url(path)).await, status, code);
        let line = doorward.log.line(path, code).await;
        assert_eq!(
            (line["request_id"].as_str(), line["status"].as_u64()),
            (Some(reference.as_str()), Some(u64::from(status)))
        );
        assert_eq!(
            (line["app"].as_str(), line["method"].as_str()),
            (Some("store"), Some("GET"))
        );
        let problem = browser
            .send(RequestSpec::new(Kind::Program, &doorward.store_url(path)))
            .await
            .json();
        assert_ne!(
            problem["request_id"],
            reference.as_str(),
            "a reference names one request"
        );
    }
}
