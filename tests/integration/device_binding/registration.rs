//! Registration of a key.

use super::{assert_shown, bound, is_bound, offering, pending, refreshes, requiring};
use crate::support::assertions::{CART, fetched};
use crate::support::bound_browser::{BoundBrowser, DeviceKey, parameter};
use crate::support::browser::{Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, Fault};

const OFFER: &str = "secure-session-registration";

/// The response to a registration with this proof.
async fn register(doorward: &Doorward, browser: &mut BoundBrowser, proof: &str) -> Page {
    let url = doorward.store_url("/.doorward/device-binding/register");
    let request = RequestSpec::new(Kind::Fetch, &url)
        .method("POST")
        .from(&url.parse().expect("an URL"))
        .header("Secure-Session-Response", proof);
    browser.browser.send(request).await
}

/// The challenge that the store offers this browser now.
async fn challenge(doorward: &Doorward, browser: &mut BoundBrowser) -> String {
    doorward.advance_secs(5);
    let page = fetched(&mut browser.browser, &doorward.store_url(CART)).await;
    let offer = page
        .header(OFFER)
        .unwrap_or_else(|| panic!("no offer: {page}"));
    parameter(offer, "challenge").expect("a challenge")
}

fn assert_refused(page: &Page, code: &str) {
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (400, Some(code)),
        "{page}"
    );
    assert!(page.header("set-cookie").is_none(), "{page}");
}

#[tokio::test]
async fn first_request_of_own_page_binds_session() {
    let doorward = offering();
    let mut browser = pending(&doorward).await;
    assert!(!browser.statuses.is_empty() && refreshes(&doorward) == 0);
    let page = browser
        .fetch("GET", &doorward.store_url("/style.css"))
        .await;
    assert!(page.header(OFFER).is_some(), "{page}");
    assert!(browser.session.is_some());
    assert!(is_bound(&doorward, &mut browser).await);
    assert_shown(&browser.visit(&doorward.store_url(CART)).await);
    assert_eq!((refreshes(&doorward), browser.signatures), (1, 1));
    let bound = r#"doorward_device_registrations_total{app="store",outcome="bound"}"#;
    assert_eq!(doorward.metric(bound).await, 1.0);
}

#[tokio::test]
async fn session_is_bound_with_an_rsa_sized_identifier_and_no_token_reaches_the_app() {
    let doorward = offering();
    let mut browser = bound(&doorward).await;
    assert_shown(&browser.fetch("POST", &doorward.store_url("/api")).await);
    let canaries = doorward.provider.secrets();
    let mut canaries: Vec<&str> = canaries.iter().map(String::as_str).collect();
    let session = browser.session.clone().expect("a session");
    let cookie = doorward
        .cookie(&browser.browser, "device")
        .expect("a cookie");
    canaries.extend([session.id.as_str(), cookie.as_str()]);
    doorward.store.assert_never_saw(&canaries);
}

#[tokio::test]
async fn registration_is_offered_to_own_pages_once_per_interval() {
    let doorward = offering();
    let mut browser = pending(&doorward).await.browser;
    let typed = browser.step(&doorward.store_url(CART)).await;
    assert!(typed.header(OFFER).is_none(), "{typed}");
    for (secs, is_offered) in [
        (0, true),
        (0, false),
        (4, false),
        (1, true),
        (109, true),
        (6, false),
    ] {
        doorward.advance_secs(secs);
        let page = fetched(&mut browser, &doorward.store_url(CART)).await;
        assert_eq!(
            (page.status(), page.header(OFFER).is_some()),
            (200, is_offered),
            "{secs} {page}"
        );
    }
}

#[tokio::test]
async fn nothing_is_offered_by_default() {
    let doorward = Setup::over_tls().start();
    let mut browser = pending(&doorward).await;
    let page = browser.fetch("GET", &doorward.store_url(CART)).await;
    assert!(
        page.header(OFFER).is_none() && browser.session.is_none(),
        "{page}"
    );
    for endpoint in ["register", "refresh"] {
        let url = doorward.store_url(&format!("/.doorward/device-binding/{endpoint}"));
        assert_eq!(browser.fetch("POST", &url).await.status(), 404);
    }
    doorward.advance_secs(150);
    assert_shown(&browser.fetch("GET", &doorward.store_url(CART)).await);
    assert_eq!(refreshes(&doorward), 0);
}

#[tokio::test]
async fn forged_registration_is_refused() {
    let doorward = offering();
    let mut browser = pending(&doorward).await;
    let mut other = pending(&doorward).await;
    let (own, of_other) = (
        challenge(&doorward, &mut browser).await,
        challenge(&doorward, &mut other).await,
    );
    let key = DeviceKey::new();
    for (proof, code) in [
        (key.proof("invented", true), "device_challenge_invalid"),
        (key.proof(&of_other, true), "device_session_mismatch"),
        (key.proof(&own, false), "device_key_unusable"),
        ("no proof".to_owned(), "device_proof_malformed"),
    ] {
        assert_refused(&register(&doorward, &mut browser, &proof).await, code);
    }
    let valid = key.proof(&own, true);
    let (head, _) = valid.rsplit_once('.').expect("a signature");
    let (_, signature) = key
        .proof(&of_other, true)
        .rsplit_once('.')
        .map(|(head, signature)| (head.to_owned(), signature.to_owned()))
        .expect("a signature");
    let tampered = register(&doorward, &mut browser, &format!("{head}.{signature}")).await;
    assert_refused(&tampered, "device_signature_invalid");
    assert_eq!(refreshes(&doorward), 0);
    let registered = register(&doorward, &mut browser, &valid).await;
    assert_eq!(registered.status(), 200, "{registered}");
    let again = register(&doorward, &mut browser, &DeviceKey::new().proof(&own, true)).await;
    assert_refused(&again, "device_registration_late");
}

#[tokio::test]
async fn registration_after_pending_window_is_refused() {
    let doorward = offering();
    let mut browser = pending(&doorward).await;
    let challenge = challenge(&doorward, &mut browser).await;
    doorward.advance_secs(115);
    let late = register(
        &doorward,
        &mut browser,
        &DeviceKey::new().proof(&challenge, true),
    )
    .await;
    assert_refused(&late, "device_registration_late");
}

#[tokio::test]
async fn second_key_for_a_copied_pending_session_is_refused() {
    let doorward = offering();
    let mut browser = pending(&doorward).await;
    let mut copy = BoundBrowser::new(browser.browser.clone());
    let challenge = challenge(&doorward, &mut copy).await;
    doorward.advance_secs(5);
    browser
        .fetch("GET", &doorward.store_url("/style.css"))
        .await;
    assert!(browser.session.is_some());
    let second = register(
        &doorward,
        &mut copy,
        &DeviceKey::new().proof(&challenge, true),
    )
    .await;
    assert_refused(&second, "device_registration_late");
}

#[tokio::test]
async fn registration_during_provider_outage_is_offered_again() {
    let doorward = offering();
    let mut browser = pending(&doorward).await;
    doorward.provider.fault(Endpoint::Token, Fault::Status(503));
    browser
        .fetch("GET", &doorward.store_url("/style.css"))
        .await;
    assert!(browser.session.is_none());
    assert_shown(&browser.fetch("GET", &doorward.store_url(CART)).await);
    doorward.provider.heal(Endpoint::Token);
    doorward.advance_secs(30);
    browser
        .fetch("GET", &doorward.store_url("/style.css"))
        .await;
    assert!(browser.session.is_some());
    assert!(is_bound(&doorward, &mut browser).await);
}

#[tokio::test]
async fn app_that_requires_binding_accepts_bound_sessions() {
    let doorward = requiring();
    let mut browser = bound(&doorward).await;
    for _ in 0..20 {
        doorward.advance_secs(20);
        assert_shown(&browser.fetch("GET", &doorward.store_url(CART)).await);
    }
}

#[tokio::test]
async fn other_client_binds_no_session_where_clients_are_enforced() {
    let doorward = Setup::over_tls()
        .store(
            "device_binding = { mode = \"offer\" }\n\
             unbound_sessions = { client_change = \"enforce\" }",
        )
        .start();
    let mut owner = pending(&doorward).await;
    let challenge = challenge(&doorward, &mut owner).await;
    let mut thief = BoundBrowser::new(owner.browser.clone());
    thief.move_to([127, 0, 9, 1].into());
    let proof = thief.key.proof(&challenge, true);
    let page = register(&doorward, &mut thief, &proof).await;
    assert_refused(&page, "network_changed");
    let proof = owner.key.proof(&challenge, true);
    let page = register(&doorward, &mut owner, &proof).await;
    assert_eq!(page.status(), 200, "{page}");
}
