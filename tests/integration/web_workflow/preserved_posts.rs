//! Preserved POSTs: a POST without a valid session is preserved and, after the login and a
//! confirmation, sent once and unmodified. Otherwise the user is told the reason.

use std::net::Ipv4Addr;

use super::{CART, is_sent_to_log_in, location, sets_session};
use crate::support::assertions::{Dialogue, assert_error_page, metric_reaches};
use crate::support::backend::Received;
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::Endpoint;

const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const ORDERS: &str = "/orders?list=a%20b";
/// Encoded in a form that no serializer would produce, so that re-encoding is detected.
pub(super) const BODY: &[u8] = b"item=7&note=Gr%C3%BC%C3%9Fe+%E4%0D%0A%00&a=1&a=%31&=x&empty=&b&&amount=0007&token=s3cr3t-field";
pub(super) const TWENTY_MINUTES: u64 = 20 * 60;

/// A form submission to the store from one of its own pages.
pub(super) fn form(doorward: &Doorward, path: &str) -> RequestSpec {
    let page = doorward.store_url("/orders/new").parse().expect("an URL");
    RequestSpec::new(Kind::Navigation, &doorward.store_url(path))
        .method("POST")
        .from(&page)
        .body(FORM, BODY)
}

/// Alice with an expired session.
pub(super) async fn idle_alice(doorward: &Doorward) -> Browser {
    let browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(31 * 60);
    browser
}

/// Submits the form and logs in on the way. Returns the confirmation page.
pub(super) async fn asked_to_send(doorward: &Doorward, browser: &mut Browser) -> Page {
    let page = browser.send(form(doorward, ORDERS).following()).await;
    assert_eq!(
        (page.status(), page.url.path()),
        (200, "/.doorward/form"),
        "{page}"
    );
    assert_eq!(page.forms().len(), 1, "{page}");
    page
}

pub(super) async fn load_cart(doorward: &Doorward, browser: &mut Browser) {
    let page = browser.visit(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
}

pub(super) fn received(doorward: &Doorward) -> Vec<Received> {
    doorward
        .store
        .received()
        .into_iter()
        .filter(|one| one.method == "POST")
        .collect()
}

pub(super) fn outcome(outcome: &str) -> String {
    format!(r#"doorward_post_replays_total{{app="store",outcome="{outcome}"}}"#)
}

#[tokio::test]
async fn post_with_ended_session_is_replayed_once_after_login() {
    for doorward in [Setup::plain().start(), Setup::over_tls().start()] {
        let mut browser = idle_alice(&doorward).await;
        let kept = browser.send(form(&doorward, ORDERS)).await;
        assert_eq!(
            (kept.status(), kept.header("cache-control")),
            (303, Some("no-store")),
            "{kept}"
        );
        assert!(
            location(&kept).starts_with(&doorward.provider.url(Endpoint::Authorize)),
            "{kept}"
        );
        doorward.log.line("/orders", "post_preserved").await;
        let at_provider = browser.next(&kept).await;
        let back = browser.next(&at_provider).await;
        assert!(sets_session(&back), "{back}");
        let page = browser.visit(location(&back)).await;
        assert_eq!(page.status(), 200, "{page}");
        let words = page.words();
        for part in [
            "Do you want to send your form now?",
            ORDERS,
            "alice",
            "item",
            "note",
            "amount",
            "token",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        assert!(
            !page.text().contains("s3cr3t-field") && !page.text().contains("0007"),
            "no value stands on it: {page}"
        );
        assert!(
            page.header("content-security-policy")
                .is_some_and(|csp| csp.contains("frame-ancestors 'none'"))
        );
        assert!(
            received(&doorward).is_empty(),
            "nothing is sent before the person says so"
        );

        let sent = browser.submit(&page, &[]).await;
        assert_eq!(
            (sent.status(), sent.url.as_str()),
            (200, doorward.store_url(ORDERS).as_str()),
            "{sent}"
        );
        let [one] = received(&doorward).try_into().expect("sent once");
        assert_eq!((one.target.as_str(), one.body.as_slice()), (ORDERS, BODY));
        for (name, value) in [
            ("content-type", Some(FORM)),
            ("content-length", Some(BODY.len().to_string().as_str())),
            ("transfer-encoding", None),
            ("origin", Some(doorward.site().store.as_str())),
            ("referer", Some(doorward.store_url("/orders/new").as_str())),
            ("x-forwarded-user", Some("alice-id")),
            ("cookie", None),
        ] {
            assert_eq!(one.header(name), value, "{name}");
        }
        doorward.log.line("/orders", "post_replayed").await;

        // The page is reloaded, or the button pressed twice.
        for _ in 0..2 {
            assert_error_page(
                &browser.send(page.filled(&[])).await,
                404,
                "no_preserved_post",
            );
        }
        assert_error_page(
            &browser.step(page.url.as_str()).await,
            404,
            "no_preserved_post",
        );
        assert_eq!(received(&doorward).len(), 1);
        for (what, count) in [("kept", 1.0), ("sent", 1.0)] {
            metric_reaches(&doorward, &outcome(what), count).await;
        }
    }
}

#[tokio::test]
async fn post_of_first_time_visitor_is_preserved() {
    let doorward = Setup::over_tls().start();
    let mut browser = doorward.browser();
    doorward.sign_in("bob");
    let page = asked_to_send(&doorward, &mut browser).await;
    browser.submit(&page, &[]).await;
    let [one] = received(&doorward).try_into().expect("sent once");
    assert_eq!(
        (one.body.as_slice(), one.header("x-forwarded-user")),
        (BODY, Some("bob-id"))
    );
}

#[tokio::test]
async fn post_is_bound_to_its_browser() {
    let doorward = Setup::over_tls().start();
    let mut browser = idle_alice(&doorward).await;
    let page = asked_to_send(&doorward, &mut browser).await;
    let mut thief = doorward.logged_in("alice", CART).await;
    assert_error_page(
        &thief.step(page.url.as_str()).await,
        404,
        "no_preserved_post",
    );
    assert_error_page(
        &thief.send(page.filled(&[])).await,
        404,
        "no_preserved_post",
    );
    assert!(received(&doorward).is_empty());
    browser.submit(&page, &[]).await;
    assert_eq!(received(&doorward).len(), 1, "the thief took nothing away");
}

#[tokio::test]
async fn cross_site_post_is_neither_preserved_nor_replayed() {
    let doorward = Setup::over_tls().start();
    let mut browser = idle_alice(&doorward).await;
    let page = asked_to_send(&doorward, &mut browser.clone()).await;
    let call = page.filled(&[]);
    let of = |from: &str| from.parse::<url::Url>().expect("an URL");
    for elsewhere in [
        "https://evil.test/",
        "https://forum.example.test/",
        "http://store.example.test/",
    ] {
        for request in [form(&doorward, ORDERS), call.clone()] {
            let response = browser.send(request.from(&of(elsewhere))).await;
            assert_error_page(&response, 401, "post_not_preserved");
            assert!(
                response
                    .words()
                    .contains("doesn't appear to have been submitted from this site"),
                "{response}"
            );
            assert!(
                !response.chain[0]
                    .set_cookies
                    .iter()
                    .any(|line| line.contains("_login_")),
                "{response}"
            );
        }
    }
    let (origin, page) = (doorward.site().store, doorward.store_url("/x"));
    let old_browser = |lines: &[(&str, &str)]| {
        let request = RequestSpec {
            kind: Kind::Program,
            initiator: None,
            ..form(&doorward, ORDERS)
        }
        .header("Accept", "text/html");
        lines.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        })
    };
    for (lines, status) in [
        (vec![], 401),
        (vec![("Origin", "null")], 401),
        (vec![("Referer", page.as_str())], 401),
        (
            vec![
                ("Origin", origin.as_str()),
                ("Referer", "https://evil.test/x"),
            ],
            401,
        ),
        (
            vec![
                ("Origin", origin.as_str()),
                ("Referer", "https://store.example.test.evil.test/x"),
            ],
            401,
        ),
        (
            vec![("Origin", origin.as_str()), ("Origin", "https://evil.test")],
            401,
        ),
        (
            vec![
                ("Origin", origin.as_str()),
                ("Sec-Fetch-Site", "cross-site"),
            ],
            401,
        ),
        (
            vec![("Origin", origin.as_str()), ("Referer", page.as_str())],
            303,
        ),
        (vec![("Origin", origin.as_str())], 303),
    ] {
        assert_eq!(
            browser.send(old_browser(&lines)).await.status(),
            status,
            "{lines:?}"
        );
    }
    // With a valid session too, only Doorward's own page can trigger a replay.
    let mut live = doorward.logged_in("alice", CART).await;
    let mut request = call.clone().from(&of("https://evil.test/"));
    request
        .headers
        .push(("Cookie".to_owned(), cookies(&doorward, &live)));
    live.jar.remove(doorward.store_host(), |_| true);
    let response = live.send(request).await;
    assert_eq!(response.status(), 200, "{response}");
    let [one] = received(&doorward).try_into().expect("the call itself");
    assert_eq!(
        one.body, call.body,
        "what another site sends is what the app gets"
    );
}

/// The `Cookie` header that the browser would send with a same-site request to the store.
fn cookies(doorward: &Doorward, browser: &Browser) -> String {
    let pairs = browser
        .jar
        .of(doorward.store_host())
        .into_iter()
        .filter(|cookie| cookie.path == "/");
    pairs
        .map(|cookie| format!("{}={}", cookie.name, cookie.value))
        .collect::<Vec<_>>()
        .join("; ")
}

#[tokio::test]
async fn unsuitable_post_gets_reason_for_not_being_preserved() {
    let doorward = Setup::over_tls()
        .store("preserve_post_max_bytes = 2048")
        .start();
    let mut browser = idle_alice(&doorward).await;
    let plain = || form(&doorward, ORDERS);
    let kind = |kind: &str| {
        let mut request = plain();
        request.headers.retain(|(name, _)| name != "content-type");
        request.header("content-type", kind)
    };
    let much = vec![b'x'; 2049];
    let cases = [
        (
            kind("multipart/form-data; boundary=x"),
            "contains files or has an unsupported format",
            "wrong_type",
        ),
        (
            kind("application/json"),
            "contains files or has an unsupported format",
            "wrong_type",
        ),
        (
            kind("text/plain"),
            "contains files or has an unsupported format",
            "wrong_type",
        ),
        (
            plain().header("Content-Encoding", "gzip"),
            "contains files or has an unsupported format",
            "wrong_type",
        ),
        (
            RequestSpec {
                body: much,
                ..plain()
            },
            "it is too large",
            "too_large",
        ),
        (
            form(&doorward, &format!("/orders?{}", "x".repeat(5000))),
            "it is too large",
            "too_large",
        ),
    ];
    for (request, words, why) in cases {
        let response = browser.send(request).await;
        assert_error_page(&response, 401, "post_not_preserved");
        assert!(response.words().contains(words), "{why}: {response}");
    }
    for (why, count) in [("wrong_type", 4.0), ("too_large", 2.0)] {
        metric_reaches(&doorward, &outcome(why), count).await;
    }
    let most = RequestSpec {
        body: vec![b'x'; 2048],
        ..plain()
    };
    assert_eq!(browser.send(most).await.status(), 303);
    assert!(received(&doorward).is_empty());
}

/// A request head for a form submission with exactly these fields.
fn head(doorward: &Doorward, fields: &str) -> String {
    let origin = doorward.site().store;
    let host = origin.trim_start_matches("http://");
    format!(
        "POST {ORDERS} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nAccept: text/html\r\nContent-Type: {FORM}\r\n\
         {fields}\r\n\r\n"
    )
}

#[tokio::test]
async fn post_without_length_is_not_preserved() {
    let doorward = Setup::plain().start();
    let browser = idle_alice(&doorward).await;
    let mut dialogue = Dialogue::with(&browser, &doorward.site().store).await;
    // The body is not read.
    let reply = dialogue
        .request("POST", head(&doorward, "Transfer-Encoding: chunked"))
        .await;
    assert_eq!(reply.status(), 401, "{}", reply.text());
    assert!(reply.text().contains("send its length"), "{}", reply.text());
    metric_reaches(&doorward, &outcome("length_unknown"), 1.0).await;
}

#[tokio::test]
async fn post_body_is_read_only_with_reserved_quota() {
    let doorward = Setup::plain().start();
    let browser = doorward.browser();
    let half = head(&doorward, "Content-Length: 60000") + "a=b";
    let mut arriving = Vec::new();
    // Half of the uploads without a session, which are half of all.
    for _ in 0..33 {
        let mut dialogue = Dialogue::with(&browser, &doorward.site().store).await;
        dialogue.say(&half).await;
        arriving.push(dialogue);
    }
    metric_reaches(&doorward, "doorward_preserved_posts", 33.0).await;
    assert!(
        doorward.metric("doorward_preserved_post_bytes").await > 33.0 * 60_000.0,
        "by the length that was said"
    );
    let reply = Dialogue::with(&browser, &doorward.site().store)
        .await
        .request("POST", &half)
        .await;
    assert_eq!(reply.status(), 401, "{}", reply.text());
    assert!(
        reply.text().contains("our storage for forms is full"),
        "{}",
        reply.text()
    );
    // Other clients and requests with a valid session are not affected, and a cancelled upload
    // releases its quota.
    let elsewhere = doorward.browser().from_address(Ipv4Addr::new(127, 0, 0, 8));
    let whole = head(&doorward, "Content-Length: 3") + "a=b";
    let mut dialogue = Dialogue::with(&elsewhere, &doorward.site().store).await;
    assert_eq!(dialogue.request("POST", &whole).await.status(), 303);
    assert_eq!(
        doorward
            .logged_in("bob", CART)
            .await
            .send(form(&doorward, ORDERS))
            .await
            .status(),
        200
    );
    drop(arriving);
    metric_reaches(&doorward, "doorward_preserved_posts", 1.0).await;
    let mut dialogue = Dialogue::with(&browser, &doorward.site().store).await;
    assert_eq!(dialogue.request("POST", whole).await.status(), 303);
}

#[tokio::test]
async fn anonymous_empty_posts_do_not_block_logins() {
    let doorward = Setup::plain().remembering("max_entries = 80").start();
    let mut stranger = doorward.browser();
    let empty = || RequestSpec {
        body: Vec::new(),
        ..form(&doorward, ORDERS)
    };
    let mut statuses = Vec::new();
    for _ in 0..100 {
        statuses.push(
            stranger
                .send(empty().header("Content-Length", "0"))
                .await
                .status(),
        );
    }
    assert_eq!(
        statuses.iter().filter(|status| **status == 303).count(),
        6,
        "the share of one client in a half of a quarter: {statuses:?}"
    );
    assert_eq!(doorward.metric("doorward_preserved_posts").await, 6.0);
    let mut alice = doorward.logged_in("alice", CART).await;
    load_cart(&doorward, &mut alice).await;
}

#[tokio::test]
async fn post_to_unlinkable_target_is_not_preserved() {
    let doorward = Setup::over_tls()
        .store("allow_ambiguous_paths = [\"double-slash\"]")
        .start();
    let mut browser = idle_alice(&doorward).await;
    let response = browser.send(form(&doorward, "//x/y")).await;
    assert_error_page(&response, 401, "post_not_preserved");
    assert!(
        response
            .words()
            .contains("its address has an unsupported format"),
        "{response}"
    );
    metric_reaches(&doorward, &outcome("address_invalid"), 1.0).await;
    let page = browser.send(form(&doorward, "/x//y").following()).await;
    assert_eq!(
        (page.status(), page.url.path()),
        (200, "/.doorward/form"),
        "{page}"
    );
}

#[tokio::test]
async fn disabled_preservation_preserves_nothing() {
    let doorward = Setup::over_tls()
        .store("preserve_post_max_bytes = 0")
        .start();
    let mut browser = idle_alice(&doorward).await;
    let response = browser.send(form(&doorward, ORDERS)).await;
    assert_error_page(&response, 401, "post_not_preserved");
    assert!(!response.words().contains("couldn't save"), "{response}");
    load_cart(&doorward, &mut browser).await;
    let call = RequestSpec {
        body: b"doorward-form=AbCdEfGhIjKlMnOpQrSt-_".to_vec(),
        ..form(&doorward, ORDERS)
    };
    assert_eq!(browser.send(call.clone()).await.status(), 200);
    assert_eq!(
        received(&doorward).pop().expect("the call itself").body,
        call.body
    );
}

#[tokio::test]
async fn two_posts_are_preserved_independently() {
    let doorward = Setup::over_tls().start();
    let mut browser = idle_alice(&doorward).await;
    let one = browser.send(form(&doorward, "/orders/1")).await;
    let two = browser.send(form(&doorward, "/orders/2")).await;
    let mut pages = Vec::new();
    for start in [&one, &two] {
        let at_provider = browser.next(start).await;
        pages.push(browser.visit(location(&at_provider)).await);
    }
    for page in pages.iter().rev() {
        assert_eq!(
            (page.status(), page.url.path()),
            (200, "/.doorward/form"),
            "{page}"
        );
        browser.submit(page, &[]).await;
    }
    let targets: Vec<String> = received(&doorward)
        .into_iter()
        .map(|one| one.target)
        .collect();
    assert_eq!(targets, ["/orders/2", "/orders/1"]);
}

#[tokio::test]
async fn provider_outage_preserves_nothing_and_is_reported() {
    let doorward = Setup::over_tls().without_provider().start();
    assert_error_page(
        &doorward.browser().send(form(&doorward, ORDERS)).await,
        503,
        "provider_unreachable",
    );
    assert!(received(&doorward).is_empty());
}

#[tokio::test]
async fn scripts_and_frames_get_no_preservation() {
    let doorward = Setup::over_tls().start();
    let mut browser = idle_alice(&doorward).await;
    let page = asked_to_send(&doorward, &mut browser).await;
    browser.jar.remove(doorward.store_host(), |cookie| {
        cookie.name.ends_with("_jwt") || cookie.name.ends_with("_refresh")
    });
    for kind in [Kind::Fetch, Kind::Frame, Kind::Program] {
        let response = browser
            .send(RequestSpec::new(kind, page.url.as_str()).from(&page.url))
            .await;
        assert_eq!(response.status(), 401, "{kind:?}: {response}");
    }
    is_sent_to_log_in(&doorward, &mut browser).await;
    for bad in [
        "/.doorward/form",
        "/.doorward/form?id=x",
        "/.doorward/form?x=1",
    ] {
        assert_error_page(
            &browser.step(&doorward.store_url(bad)).await,
            404,
            "no_preserved_post",
        );
    }
    let post =
        RequestSpec::new(Kind::Navigation, &doorward.store_url("/.doorward/form")).method("POST");
    assert_error_page(
        &browser.send(post.from(&page.url)).await,
        405,
        "method_not_allowed",
    );
}
