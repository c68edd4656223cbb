//! Tests of the browser harness: host names, TLS, cookie prefixes, screenshots.

use crate::chromium::Chromium;
use crate::support::backend::{Answer, Backend, Content};
use crate::support::tls::Authority;

const FORM: &[u8] = b"<!doctype html><title>Shop</title><p id=visitor>alice</p>\
    <form method=post action=/posted><input name=username><button>Go</button></form>";

fn page(content: &[u8]) -> Answer {
    let response = Answer {
        body: Content::Bytes(content.to_vec()),
        ..Answer::default()
    };
    response.with_header("Content-Type", "text/html")
}

#[tokio::test]
async fn plain_http_localhost_names_accept_cookies() {
    let backend = Backend::start();
    let cookie = "doorward_jwt=sealed; Path=/; HttpOnly; SameSite=Lax";
    backend.response("/form", page(FORM).with_header("Set-Cookie", cookie));
    backend.response(
        "/posted",
        Answer {
            status: 403,
            ..page(b"<!doctype html><h1>No</h1>")
        },
    );
    let store = backend.url_as("store.localhost");
    let chromium = Chromium::start(&[]).await;
    chromium.open(&format!("{store}/form")).await;
    assert_eq!(chromium.text("#visitor").await, "alice");
    let cookies = chromium.cookies().await;
    assert_eq!(
        (cookies.len(), cookies[0]["httpOnly"].as_bool()),
        (1, Some(true)),
        "{cookies:?}"
    );
    chromium.type_into("input[name=username]", "bob").await;
    chromium.click("form button").await;
    let posted = chromium
        .arrives("posted", |address| address.ends_with("/posted"))
        .await;
    assert_eq!(
        (posted, chromium.status().await),
        (format!("{store}/posted"), 403)
    );
    assert!(!chromium.has("#visitor").await);
    let posts: Vec<_> = backend
        .received()
        .into_iter()
        .filter(|received| received.method == "POST")
        .collect();
    assert_eq!(posts[0].body, b"username=bob");
    assert_eq!(posts[0].header("cookie"), Some("doorward_jwt=sealed"));
    assert_eq!(posts[0].header("sec-fetch-site"), Some("same-origin"));
    let picture = std::fs::read(chromium.screenshot("harness").await).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
    chromium.close().await;
}

#[tokio::test]
async fn tls_on_test_names_accepts_prefixed_cookies() {
    let authority = Authority::fresh();
    let certificate = authority.certificate_for(&["store.test", "forum.test"]);
    let backend = Backend::start_tls(&certificate);
    let response = page(FORM).with_header(
        "Set-Cookie",
        "__Host-doorward_jwt=sealed; Path=/; Secure; HttpOnly; SameSite=Lax",
    );
    let response = response.with_header(
        "Set-Cookie",
        "__Host-wide=refused; Path=/; Secure; Domain=store.test",
    );
    backend.response("/form", response);
    let chromium = Chromium::start(&[&certificate]).await;
    chromium
        .open(&format!("{}/form", backend.url_as("store.test")))
        .await;
    let cookies = chromium.cookies().await;
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert_eq!(
        (cookies[0]["name"].as_str(), cookies[0]["secure"].as_bool()),
        (Some("__Host-doorward_jwt"), Some(true))
    );
    chromium.reload().await;
    let received = backend.received();
    let last = received
        .iter()
        .rfind(|received| received.target == "/form")
        .unwrap();
    assert_eq!(last.header("cookie"), Some("__Host-doorward_jwt=sealed"));
    chromium.open(&backend.url_as("forum.test")).await;
    let received = backend.received();
    let elsewhere = received
        .iter()
        .rfind(|received| received.target == "/")
        .unwrap();
    assert_eq!(elsewhere.header("cookie"), None);
    chromium.close().await;
}

#[tokio::test]
async fn untrusted_certificate_is_rejected() {
    let authority = Authority::fresh();
    let backend = Backend::start_tls(&authority.certificate_for(&["store.test"]));
    let other = Authority::fresh().certificate_for(&["store.test"]);
    let chromium = Chromium::start(&[&other]).await;
    // Some drivers report the error; others succeed and show a warning.
    let outcome = chromium.client().goto(&backend.url_as("store.test")).await;
    assert!(
        outcome.is_err()
            || chromium
                .source()
                .await
                .contains("ERR_CERT_AUTHORITY_INVALID")
    );
    assert_eq!(backend.count(), 0);
}
