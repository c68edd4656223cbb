//! The fake browser stores and sends cookies as Chromium does, and sends the same fetch metadata.

use std::sync::Arc;
use std::time::Duration;

use doorward::types::time::{ManualClock, SystemClock, Timestamp};
use url::Url;

use crate::support::backend::{Answer, Backend, Content};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::cookies::{Cookie, CookieContext, Jar};
use crate::support::tls::Authority;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const TYPED: CookieContext = CookieContext {
    same_site: true,
    top_level: true,
    safe_method: true,
};

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn browser() -> Browser {
    Browser::new(Arc::new(SystemClock))
}

/// Stores the `Set-Cookie` value `line` at `at`, and returns the `Cookie` header sent to `to`.
fn kept(at: &str, line: &str, to: &str) -> Option<String> {
    let mut jar = Jar::default();
    jar.take(&url(at), line, NOW, TYPED).ok()?;
    jar.header(&url(to), NOW, TYPED)
}

#[test]
fn cookies_follow_their_scope() {
    const STORE: &str = "https://store.example.test/cart/x";
    let cases = [
        ("a=1", "https://store.example.test/cart/", true),
        ("a=1", "https://store.example.test/cart", true),
        ("a=1", "https://store.example.test/carts", false),
        ("a=1; Path=/", "https://store.example.test:444/", true),
        ("a=1; Path=/", "https://forum.example.test/", false),
        ("a=1; Path=/", "https://x.store.example.test/", false),
        (
            "a=1; Path=/; Domain=example.test",
            "https://forum.example.test/",
            true,
        ),
        (
            "a=1; Path=/; Domain=.Example.test",
            "https://example.test/",
            true,
        ),
        ("a=1; Path=/; Domain=ample.test", STORE, false),
        ("a=1; Path=/; Domain=test", STORE, false),
        ("a=1; Path=/; Domain=forum.example.test", STORE, false),
        ("a=1; Path=/", "http://store.example.test/", true),
        ("a=1; Path=/; Secure", "http://store.example.test/", false),
        ("a=1; Path=/; Max-Age=0", STORE, false),
        ("a=1; Path=/; Max-Age=-1", STORE, false),
        (
            "a=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            STORE,
            false,
        ),
        (
            "a=1; Path=/; Expires=Fri, 01-Jan-2100 00:00:00 GMT",
            STORE,
            true,
        ),
        (
            "a=1; Path=/; Max-Age=5; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            STORE,
            true,
        ),
        ("a=1; Path=/; SameSite=None", STORE, false),
        ("__Host-a=1; Path=/; Secure", STORE, true),
        ("__Host-a=1; Path=/", STORE, false),
        ("__Host-a=1; Secure", STORE, false),
        (
            "__Host-a=1; Path=/; Secure; Domain=store.example.test",
            STORE,
            false,
        ),
        (
            "__hOST-a=1; Path=/; Domain=store.example.test; Secure",
            STORE,
            false,
        ),
        (
            "__Secure-a=1; Path=/; Secure; Domain=example.test",
            STORE,
            true,
        ),
        ("__Secure-a=1; Path=/", STORE, false),
    ];
    for (line, to, sent) in cases {
        assert_eq!(kept(STORE, line, to).is_some(), sent, "{line} to {to}");
    }
    assert_eq!(
        kept("http://store.example.test/", "a=1; Path=/; Secure", STORE),
        None,
        "Secure on plain http"
    );
    assert_eq!(
        kept(STORE, &format!("a={}", "x".repeat(4096)), STORE),
        None,
        "too long"
    );
    assert_eq!(kept(STORE, "a=1\u{7}", STORE), None, "a control character");
    assert_eq!(kept(STORE, "nothing", STORE), None, "no name");
}

#[test]
fn same_site_depends_on_the_initiator() {
    let cross = |top_level, safe_method| CookieContext {
        same_site: false,
        top_level,
        safe_method,
    };
    let store = url("https://store.test/");
    let mut jar = Jar::default();
    for line in [
        "lax=1; SameSite=Lax",
        "strict=1; SameSite=Strict",
        "none=1; SameSite=None; Secure",
        "unsaid=1",
    ] {
        jar.take(&store, line, NOW, TYPED).unwrap();
    }
    let sent = |situation| jar.header(&store, NOW, situation).unwrap();
    assert_eq!(sent(TYPED), "lax=1; strict=1; none=1; unsaid=1");
    assert_eq!(sent(cross(true, true)), "lax=1; none=1; unsaid=1");
    assert_eq!(sent(cross(true, false)), "none=1");
    assert_eq!(sent(cross(false, true)), "none=1");
    assert!(
        Jar::default()
            .take(&store, "a=1", NOW, cross(false, true))
            .is_err()
    );
}

#[test]
fn longer_paths_first_and_secure_cookies_not_overlaid() {
    let store = url("https://store.test/a/b");
    let mut jar = Jar::default();
    jar.take(&store, "x=root; Path=/; Secure", NOW, TYPED)
        .unwrap();
    jar.take(&store, "x=deep; Path=/a", NOW, TYPED).unwrap();
    assert_eq!(jar.header(&store, NOW, TYPED).unwrap(), "x=deep; x=root");
    assert!(
        jar.take(&url("http://store.test/"), "x=planted; Path=/", NOW, TYPED)
            .is_err()
    );
    jar.take(&store, "x=; Path=/a; Max-Age=0", NOW, TYPED)
        .unwrap();
    assert_eq!(jar.header(&store, NOW, TYPED).unwrap(), "x=root");
    jar.take(&store, "y=1; Max-Age=9", NOW, TYPED).unwrap();
    jar.remove_session_cookies();
    assert_eq!(jar.of("store.test").len(), 1);
}

#[tokio::test]
async fn max_age_follows_the_clock_and_jar_can_be_copied() {
    let clock = Arc::new(ManualClock::starting_at(NOW));
    let backend = Backend::start();
    backend.response(
        "/set",
        Answer::default().with_header("Set-Cookie", "a=1; Max-Age=60; Path=/; HttpOnly"),
    );
    let home = backend.url_as("store.localhost");
    let mut browser = Browser::new(Arc::<ManualClock>::clone(&clock));
    browser.visit(&format!("{home}/set")).await;
    let mut thief = browser.clone();
    thief
        .jar
        .tamper("store.localhost", "a", |value| format!("{value}2"));
    thief.visit(&home).await;
    assert_eq!(backend.last().header("cookie"), Some("a=12"));
    browser.visit(&home).await;
    assert_eq!(backend.last().header("cookie"), Some("a=1"));
    assert!(browser.jar.get("store.localhost", "a").unwrap().http_only);
    clock.advance(Duration::from_secs(60));
    browser.visit(&home).await;
    assert_eq!(backend.last().header("cookie"), None);
    browser
        .jar
        .plant(Cookie::host_only("store.localhost", "tossed", "x"));
    browser
        .jar
        .remove("store.localhost", |cookie| cookie.name == "a");
    browser.visit(&home).await;
    assert_eq!(backend.last().header("cookie"), Some("tossed=x"));
}

#[tokio::test]
async fn fetch_metadata_is_sent() {
    let backend = Backend::start();
    let store = backend.url_as("store.localhost");
    let forum = backend.url_as("forum.localhost");
    let cases = [
        (
            RequestSpec::new(Kind::Navigation, &store),
            [Some("none"), Some("navigate"), Some("document"), None],
        ),
        (
            RequestSpec::new(Kind::Navigation, &store).from(&url(&store)),
            [
                Some("same-origin"),
                Some("navigate"),
                Some("document"),
                None,
            ],
        ),
        (
            RequestSpec::new(Kind::Fetch, &store).from(&url(&store)),
            [Some("same-origin"), Some("cors"), Some("empty"), None],
        ),
        (
            RequestSpec::new(Kind::Fetch, &store).from(&url(&forum)),
            [
                Some("cross-site"),
                Some("cors"),
                Some("empty"),
                Some(forum.as_str()),
            ],
        ),
        (
            RequestSpec::new(Kind::Image, &store).from(&url(&forum)),
            [Some("cross-site"), Some("no-cors"), Some("image"), None],
        ),
        (
            RequestSpec::new(Kind::Frame, &store).from(&url("http://www.store.localhost/")),
            [Some("same-site"), Some("navigate"), Some("iframe"), None],
        ),
        (
            RequestSpec::new(Kind::Navigation, &store)
                .from(&url(&forum))
                .method("POST"),
            [
                Some("cross-site"),
                Some("navigate"),
                Some("document"),
                Some(forum.as_str()),
            ],
        ),
        (
            RequestSpec::new(Kind::Navigation, &backend.url_as("store.test")),
            [None, None, None, None],
        ),
        (
            RequestSpec::new(Kind::Program, &store),
            [None, None, None, None],
        ),
    ];
    for (request, expected) in cases {
        browser().send(request.clone()).await;
        let seen = backend.last();
        let said = [
            "sec-fetch-site",
            "sec-fetch-mode",
            "sec-fetch-dest",
            "origin",
        ]
        .map(|name| seen.header(name));
        assert_eq!(said, expected, "{request:?}");
    }
}

#[tokio::test]
async fn redirects_are_followed_across_hosts_and_recorded() {
    let backend = Backend::start();
    let to = |status, target: String| {
        Answer {
            status,
            ..Answer::default()
        }
        .with_header("Location", &target)
    };
    backend.response(
        "/login",
        to(302, backend.url_as("login.localhost") + "/authorize")
            .with_header("Set-Cookie", "bad=1; Secure"),
    );
    backend.response(
        "/authorize",
        to(303, backend.url_as("store.localhost") + "/back"),
    );
    backend.response("/again", to(307, "/end".to_owned()));
    let mut browser = browser();
    let page = browser.visit(&backend.url_as("store.localhost")).await;
    assert_eq!(page.hosts(), ["store.localhost"]);
    backend.response(
        "/form",
        Answer {
            body: Content::Bytes(
                br#"<form method=post action=/login><input name=a value=1></form>"#.to_vec(),
            ),
            ..Answer::default()
        },
    );
    let form = browser.click(&page, "/form").await;
    let page = browser.submit(&form, &[("a", "2 3")]).await;
    assert_eq!(
        page.hosts(),
        ["store.localhost", "login.localhost", "store.localhost"]
    );
    assert_eq!(page.chain[0].status, 302);
    assert_eq!(
        page.chain[0].refused.len(),
        1,
        "{:?}",
        page.chain[0].set_cookies
    );
    let received = backend.received();
    let ways: Vec<(&str, &str)> = received
        .iter()
        .map(|r| (r.method.as_str(), r.target.as_str()))
        .collect();
    assert_eq!(
        ways[2..],
        [("POST", "/login"), ("GET", "/authorize"), ("GET", "/back")]
    );
    assert_eq!(received[2].body, b"a=2+3");
    assert_eq!(received[4].header("sec-fetch-site"), Some("cross-site"));
    let kept = RequestSpec::new(Kind::Navigation, &backend.url_as("store.localhost"))
        .method("POST")
        .body("text/plain", "kept");
    let first = browser
        .send(RequestSpec {
            url: url(&(backend.url() + "/again")),
            ..kept
        })
        .await;
    let second = browser.next(&first).await;
    assert_eq!(
        (second.chain.len(), backend.last().body.as_slice()),
        (2, b"kept".as_slice())
    );
    assert_eq!(second.chain[0].location.as_deref(), Some("/end"));
}

#[tokio::test]
async fn fetches_and_steps_work() {
    let backend = Backend::start();
    backend.response(
        "/moved",
        Answer {
            status: 302,
            ..Answer::default()
        }
        .with_header("Location", "/"),
    );
    let mut browser = browser();
    assert_eq!(
        browser
            .step(&format!("{}/moved", backend.url()))
            .await
            .status(),
        302
    );
    let page = browser
        .fetch(
            &url(&backend.url()),
            "PATCH",
            &format!("{}/x", backend.url()),
        )
        .await;
    assert_eq!(
        (page.json()["method"].as_str(), page.header("content-type")),
        (Some("PATCH"), Some("application/json"))
    );
    assert_eq!(backend.last().header("content-length"), Some("0"));
}

#[tokio::test]
async fn tls_with_own_authority_works() {
    let authority = Authority::fresh();
    let backend = Backend::start_tls(&authority.certificate_for(&["store.test"]));
    backend.response(
        "/set",
        Answer::default().with_header("Set-Cookie", "__Host-a=1; Secure; Path=/"),
    );
    let mut trusting = browser().trusting(&authority);
    trusting
        .visit(&(backend.url_as("store.test") + "/set"))
        .await;
    trusting.visit(&backend.url_as("store.test")).await;
    assert_eq!(backend.last().header("cookie"), Some("__Host-a=1"));
    assert!(
        trusting
            .try_send(RequestSpec::new(Kind::Fetch, &backend.url_as("forum.test")))
            .await
            .is_err(),
        "another name"
    );
    let mut stranger = browser().trusting(&Authority::fresh());
    assert!(
        stranger
            .try_send(RequestSpec::new(Kind::Fetch, &backend.url_as("store.test")))
            .await
            .is_err(),
        "another authority"
    );
    assert!(authority.pem().contains("BEGIN CERTIFICATE"));
}
