//! Requests of bound sessions without a valid proof, by the state of the proof cookie.

use super::{assert_shown, bound, offering, pending, refreshes, requiring, thief};
use crate::support::assertions::{CART, assert_login_starts, fetched};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::provider::{Endpoint, Fault};
use crate::support::websocket::upgrade_headers;

#[tokio::test]
async fn stale_proof_is_renewed_and_request_repeated_with_its_body() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    for method in ["POST", "PUT", "GET"] {
        doorward.advance_secs(60);
        let url = doorward.store_url("/api?x=%20y");
        let request = RequestSpec::new(Kind::Fetch, &url)
            .method(method)
            .from(&url.parse().expect("an URL"));
        let body = if method == "GET" { "" } else { "some body" };
        let request = if body.is_empty() {
            request
        } else {
            request.body("text/plain", body)
        };
        let page = browser.send(request).await;
        let statuses: Vec<u16> = page.chain.iter().map(|hop| hop.status).collect();
        assert_eq!(statuses, [307, 200], "{page}");
        let seen = doorward.store.last();
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str(), &seen.body[..]),
            (method, "/api?x=%20y", body.as_bytes())
        );
    }
}

#[tokio::test]
async fn stale_proof_is_renewed_at_the_page_of_sessions() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    let logins = doorward.provider.calls(Endpoint::Authorize);
    let url = doorward.store_url("/.doorward/sessions");
    for method in ["GET", "POST"] {
        doorward.advance_secs(60);
        let request = RequestSpec::new(Kind::Navigation, &url)
            .method(method)
            .from(&url.parse().expect("an URL"));
        let page = browser.send(request).await;
        let first = page.chain.first().map(|hop| hop.status);
        assert_eq!(first, Some(307), "{method}: {page}");
        assert_ne!(page.status(), 302, "{method}: {page}");
    }
    assert_eq!(doorward.provider.calls(Endpoint::Authorize), logins);
}

#[tokio::test]
async fn big_upload_at_the_moment_of_staleness_arrives_once_and_whole() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    doorward.advance_secs(60);
    let before = doorward.store.count();
    let url = doorward.store_url("/upload");
    let request = RequestSpec::new(Kind::Fetch, &url)
        .method("POST")
        .from(&url.parse().expect("an URL"));
    let page = browser
        .send(request.body("application/octet-stream", vec![7; 10 * 1024 * 1024]))
        .await;
    assert_eq!(page.status(), 200);
    assert_eq!(doorward.store.count(), before + 1);
    assert_eq!(doorward.store.last().body.len(), 10 * 1024 * 1024);
}

#[tokio::test]
async fn absent_proof_is_renewed_before_the_request() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    doorward.advance_secs(200);
    let page = browser.visit(&doorward.store_url(CART)).await;
    assert_shown(&page);
    assert_eq!(page.chain.len(), 1, "{page}");
}

#[tokio::test]
async fn link_of_another_site_is_reloaded_by_the_app() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    doorward.advance_secs(200);
    for path in ["/public/x", CART] {
        let page = browser.follow_link(&doorward.store_url(path)).await;
        assert_shown(&page);
        doorward.advance_secs(200);
    }
    // The first response led to the second by itself, and the browser renewed the proof in between.
    let page = browser.follow_link(&doorward.store_url(CART)).await;
    let statuses: Vec<u16> = page.chain.iter().map(|hop| hop.status).collect();
    assert_eq!(statuses, [200, 200], "{page}");
}

#[tokio::test]
async fn browser_that_cannot_renew_gets_503_and_keeps_its_session() {
    let doorward = offering();
    let browser = bound(&doorward).await;
    doorward.advance_secs(200);
    let url = doorward.store_url(CART);
    let mut other = thief(&browser);
    for kind in [Kind::Navigation, Kind::Fetch] {
        let request = RequestSpec::new(kind, &url)
            .from(&url.parse().expect("an URL"))
            .header("Secure-Session-Skipped", "server_error");
        let page = other.send(request).await;
        assert_eq!(page.status(), 503, "{page}");
        assert!(page.header("retry-after").is_some(), "{page}");
        assert!(page.header("set-cookie").is_none(), "{page}");
    }
    let mut browser = browser;
    assert_shown(&browser.visit(&url).await);
}

#[tokio::test]
async fn browser_without_its_key_logs_in_again() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    doorward.advance_secs(200);
    browser.session = None;
    let script = browser.fetch("GET", &doorward.store_url(CART)).await;
    assert_eq!(script.status(), 401, "{script}");
    assert_eq!(script.json()["code"], "device_proof_missing", "{script}");
    let page = browser.browser.step(&doorward.store_url(CART)).await;
    assert_login_starts(&doorward, &page);
    assert_shown(&browser.visit(&doorward.store_url(CART)).await);
    browser
        .fetch("GET", &doorward.store_url("/style.css"))
        .await;
    assert!(browser.session.is_some());
}

#[tokio::test]
async fn websocket_with_stale_proof_is_refused_and_opens_after_renewal() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    doorward.advance_secs(60);
    let url = doorward.store_url("/chat");
    let mut request = RequestSpec::new(Kind::Fetch, &url).from(&url.parse().expect("an URL"));
    for (name, value) in upgrade_headers() {
        request = request.header(&name, &value);
    }
    request = request.header("Origin", &doorward.site().store);
    let page = browser.browser.send(request).await;
    assert_eq!(page.status(), 401, "{page}");
    assert_eq!(doorward.cookie(&browser.browser, "device"), None);
    assert_shown(&browser.fetch("GET", &doorward.store_url(CART)).await);
}

#[tokio::test]
async fn public_page_shows_the_user_after_renewal_and_nobody_without_proof() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    let url = doorward.store_url("/public/x");
    doorward.advance_secs(60);
    assert_shown(&browser.fetch("GET", &url).await);
    doorward.advance_secs(200);
    let page = fetched(&mut thief(&browser), &url).await;
    assert_eq!(page.status(), 200, "{page}");
    assert!(!page.text().contains("alice-id"), "{page}");
}

#[tokio::test]
async fn tampered_or_foreign_proof_is_renewed() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    let other = bound(&doorward).await;
    let name = doorward.cookie_name("device");
    let foreign = doorward.cookie(&other.browser, "device").expect("a cookie");
    for value in ["garbage".to_owned(), foreign] {
        let jar = &mut browser.browser.jar;
        jar.tamper(doorward.store_host(), &name, |_| value.clone());
        let page = fetched(&mut thief(&browser), &doorward.store_url(CART)).await;
        assert_eq!(page.status(), 307, "{page}");
        let page = browser.fetch("GET", &doorward.store_url(CART)).await;
        assert_shown(&page);
        assert_eq!(page.chain.len(), 2, "{page}");
    }
}

#[tokio::test]
async fn browser_that_cannot_bind_continues_unbound_after_one_refresh() {
    let doorward = offering();
    let mut browser = pending(&doorward).await.browser;
    let url = doorward.store_url(CART);
    for (secs, expected) in [(60, 0), (60, 1), (60, 1), (60, 1)] {
        doorward.advance_secs(secs);
        assert_shown(&fetched(&mut browser, &url).await);
        assert_eq!(refreshes(&doorward), expected);
    }
    let page = fetched(&mut browser, &doorward.store_url("/.doorward/session")).await;
    assert_eq!(page.json()["device_bound"], false, "{page}");
}

#[tokio::test]
async fn browser_that_cannot_bind_continues_during_provider_outage() {
    let doorward = offering();
    let mut browser = pending(&doorward).await.browser;
    doorward.provider.fault(Endpoint::Token, Fault::Status(503));
    doorward.advance_secs(150);
    let url = doorward.store_url(CART);
    assert_shown(&fetched(&mut browser, &url).await);
    let failed = refreshes(&doorward);
    doorward.provider.heal(Endpoint::Token);
    doorward.advance_secs(60);
    assert_shown(&fetched(&mut browser, &url).await);
    assert_eq!(refreshes(&doorward), failed + 1);
}

#[tokio::test]
async fn app_that_requires_binding_refuses_unbound_sessions() {
    let doorward = requiring();
    let mut browser = pending(&doorward).await.browser;
    let url = doorward.store_url(CART);
    doorward.advance_secs(119);
    assert_shown(&fetched(&mut browser, &url).await);
    doorward.advance_secs(1);
    let script = fetched(&mut browser, &url).await;
    assert_eq!(script.status(), 403, "{script}");
    assert_eq!(script.json()["code"], "device_not_bound", "{script}");
    let page = browser.step(&url).await;
    assert_eq!(page.status(), 403, "{page}");
    assert!(
        page.links()
            .iter()
            .any(|(target, _)| target.contains("/.doorward/login")),
        "{page}"
    );
    assert_eq!(refreshes(&doorward), 0);
}
