//! Renewal of proofs: the endpoint, browsing for a while, further logins.

use super::{assert_shown, bound, is_bound, offering, refreshes, thief};
use crate::support::assertions::{CART, assert_login_starts, fetched};
use crate::support::bound_browser::{BoundBrowser, DeviceKey};
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};

const ENDPOINT: &str = "/.doorward/device-binding/refresh";

/// The response to a renewal with this identifier and proof.
async fn renew(doorward: &Doorward, browser: &mut Browser, id: &str, proof: Option<&str>) -> Page {
    let url = doorward.store_url(ENDPOINT);
    let request = RequestSpec::new(Kind::Fetch, &url)
        .method("POST")
        .from(&url.parse().expect("an URL"))
        .header("Sec-Secure-Session-Id", id);
    let request = match proof {
        Some(proof) => request.header("Secure-Session-Response", proof),
        None => request,
    };
    browser.send(request).await
}

fn challenge(page: &Page) -> String {
    let header = page
        .header("secure-session-challenge")
        .expect("a challenge");
    let mut parts = header.split('"');
    parts.nth(1).expect("a string").to_owned()
}

#[tokio::test]
async fn continuous_use_meets_no_refusal_and_few_signatures() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    let before = refreshes(&doorward);
    browser.statuses.clear();
    for _ in 0..135 {
        doorward.advance_secs(4);
        assert_shown(&browser.fetch("GET", &doorward.store_url(CART)).await);
    }
    assert!(browser.statuses.iter().all(|status| *status == 200));
    // Chromium's quota: six signatures in nine minutes, of which one was the registration.
    assert!(browser.signatures <= 5, "{} signatures", browser.signatures);
    assert!(browser.renewals <= 20, "{} renewals", browser.renewals);
    assert!(
        refreshes(&doorward) > before,
        "the JWT was refreshed meanwhile"
    );
    assert!(is_bound(&doorward, &mut browser).await);
}

#[tokio::test]
async fn session_continues_after_a_long_sleep_or_another_browser_start() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    doorward.advance_secs(1500);
    browser.statuses.clear();
    assert_shown(&browser.visit(&doorward.store_url(CART)).await);
    assert_eq!(browser.statuses, [200]);
    if let Some(session) = &mut browser.session {
        session.challenge = None;
    }
    doorward.advance_secs(200);
    assert_shown(&browser.visit(&doorward.store_url(CART)).await);
}

#[tokio::test]
async fn renewal_without_the_key_gets_no_proof() {
    let doorward = offering();
    let browser = bound(&doorward).await;
    let session = browser.session.clone().expect("a session");
    let mut thief = thief(&browser);
    let asked = renew(&doorward, &mut thief, &session.id, None).await;
    assert_eq!(asked.status(), 403, "{asked}");
    let challenge = challenge(&asked);
    let other = DeviceKey::new();
    let none = {
        let proof = browser.key.proof(&challenge, false);
        let (_, rest) = proof.split_once('.').expect("a header");
        format!("eyJhbGciOiJub25lIiwidHlwIjoiZGJzYytqd3QifQ.{rest}")
    };
    for proof in [
        other.proof(&challenge, false),
        other.proof(&challenge, true),
        none,
        "garbage".to_owned(),
    ] {
        let page = renew(&doorward, &mut thief, &session.id, Some(&proof)).await;
        assert_eq!(page.status(), 401, "{page}");
        assert!(page.header("set-cookie").is_none(), "{page}");
    }
    let refused = r#"doorward_device_proofs_total{app="store",outcome="device_signature_invalid"}"#;
    assert_eq!(doorward.metric(refused).await, 1.0);
    // The owner's proof of an invented or old challenge does not count.
    for stale in ["invented".to_owned(), challenge.clone()] {
        doorward.advance_secs(200);
        doorward.advance_secs(200);
        let proof = browser.key.proof(&stale, false);
        let page = renew(&doorward, &mut thief, &session.id, Some(&proof)).await;
        assert_eq!(page.status(), 403, "{page}");
        assert!(page.header("set-cookie").is_none(), "{page}");
    }
}

#[tokio::test]
async fn challenge_of_another_session_is_not_accepted() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    let other = bound(&doorward).await;
    let session = browser.session.clone().expect("a session");
    let of_other = other.session.clone().expect("a session").challenge;
    let proof = browser.key.proof(&of_other.expect("a challenge"), false);
    let page = renew(&doorward, &mut browser.browser, &session.id, Some(&proof)).await;
    assert_eq!(page.status(), 403, "{page}");
}

#[tokio::test]
async fn renewal_for_other_or_no_session_ends_the_browsers_session() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    let id = browser.session.clone().expect("a session").id;
    let mut empty = doorward.browser();
    for (browser, id) in [(&mut browser.browser, "another"), (&mut empty, &*id)] {
        let page = renew(&doorward, browser, id, None).await;
        assert_eq!(page.status(), 200, "{page}");
        assert_eq!(page.json()["continue"], false, "{page}");
        assert!(page.header("set-cookie").is_none(), "{page}");
    }
    let long = "a".repeat(65);
    for id in ["", "no identifier", &long] {
        let page = renew(&doorward, &mut browser.browser, id, None).await;
        assert_eq!(page.status(), 401, "{page}");
    }
    let get = fetched(&mut browser.browser, &doorward.store_url(ENDPOINT)).await;
    assert_eq!(get.status(), 405, "{get}");
}

#[tokio::test]
async fn unreadable_session_keeps_the_browsers_session() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    let id = browser.session.clone().expect("a session").id;
    for kind in ["jwt", "refresh"] {
        let name = doorward.cookie_name(kind);
        let jar = &mut browser.browser.jar;
        jar.tamper(doorward.store_host(), &name, |value| {
            value.replace('A', "B")
        });
    }
    let page = renew(&doorward, &mut browser.browser, &id, None).await;
    assert_eq!(page.status(), 503, "{page}");
}

#[tokio::test]
async fn renewal_beyond_a_clients_limit_gets_503_and_keeps_the_session() {
    let doorward = Setup::over_tls()
        .store(
            "device_binding = { mode = \"offer\" }\n\
             client_limits.address = { requests_per_second = 0.01, burst = 20 }",
        )
        .start();
    let mut browser = bound(&doorward).await;
    let mut rejected = false;
    for _ in 0..20 {
        let page = fetched(&mut browser.browser, &doorward.store_url(CART)).await;
        rejected |= page.status() == 429;
    }
    assert!(rejected);
    let id = browser.session.clone().expect("a session").id;
    let page = renew(&doorward, &mut browser.browser, &id, None).await;
    assert_eq!(page.status(), 503, "{page}");
    assert!(page.header("retry-after").is_some(), "{page}");
}

#[tokio::test]
async fn second_login_binds_again_and_old_identifier_ends() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    let first = browser.session.clone().expect("a session");
    let again = doorward.store_url("/.doorward/login?return_to=/shopping-cart");
    browser.browser.jar.remove(doorward.store_host(), |cookie| {
        cookie.name.contains("_jwt") || cookie.name.contains("_refresh")
    });
    assert_shown(&browser.visit(&again).await);
    browser
        .fetch("GET", &doorward.store_url("/style.css"))
        .await;
    let second = browser.session.clone().expect("a session");
    assert_ne!(first.id, second.id);
    let page = renew(&doorward, &mut browser.browser, &first.id, None).await;
    assert_eq!(page.json()["continue"], false, "{page}");
    for _ in 0..10 {
        doorward.advance_secs(40);
        assert_shown(&browser.fetch("GET", &doorward.store_url(CART)).await);
    }
}

#[tokio::test]
async fn logout_ends_the_session_and_login_binds_another() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    let form = browser
        .visit(&doorward.store_url("/.doorward/logout"))
        .await;
    browser.browser.submit(&form, &[]).await;
    assert_eq!(doorward.cookie(&browser.browser, "device"), None);
    let mut copy = BoundBrowser::new(browser.browser.clone());
    let page = copy.browser.step(&doorward.store_url(CART)).await;
    assert_login_starts(&doorward, &page);
    doorward.sign_in("alice");
    assert_shown(&browser.visit(&doorward.store_url(CART)).await);
    browser
        .fetch("GET", &doorward.store_url("/style.css"))
        .await;
    assert!(is_bound(&doorward, &mut browser).await);
}
