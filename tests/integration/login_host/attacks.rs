//! Attacks on the hand-over: replayed, shared, stolen, at another host, by another browser.

use super::{CART, LOGIN, LOGIN_HOST, Shared, WIKI, location, parameter, sets_session, shared};
use crate::support::assertions::assert_error_page;
use crate::support::browser::{Browser, Page};

/// The response gives no session, and no redirect but to begin a login of its own.
fn assert_nothing(page: &Page) {
    assert!(!sets_session(page), "{page}");
    if let Some(location) = page.header("location") {
        let own = format!("{LOGIN}/.doorward/login?request=");
        assert!(location.starts_with(&own), "{page}");
    }
}

/// A sealed value with one other character.
fn changed(sealed: &str) -> String {
    let change = |(index, letter)| match (index, letter) {
        (40, 'A') => 'B',
        (40, _) => 'A',
        (_, letter) => letter,
    };
    sealed.chars().enumerate().map(change).collect()
}

/// Mallory begins at the store and stops there.
async fn begun_by_mallory(shared: &Shared) -> (Browser, Page) {
    let mut mallory = shared.browser();
    let start = mallory.step(&shared.store_url(CART)).await;
    (mallory, start)
}

#[tokio::test]
async fn replayed_code_gives_nothing_even_with_all_cookies() {
    let shared = shared();
    shared.sign_in("alice");
    let mut alice = shared.browser();
    let callback = shared
        .handed_over(&mut alice, &shared.store_url(CART))
        .await;
    let mut thief = alice.clone();
    let page = alice.visit(location(&callback)).await;
    assert_eq!(page.status(), 200, "{page}");
    shared.provider.sign_out();

    let replayed = thief.step(location(&callback)).await;
    assert_nothing(&replayed);
    assert!(
        !shared
            .is_signed_in(&mut thief, &shared.store_url(CART))
            .await
    );
    // The owner who reloads is still signed in.
    let page = alice.step(location(&callback)).await;
    assert_eq!(location(&page), shared.store_url(CART));
    assert_eq!(alice.step(&shared.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn shared_code_gives_nothing_and_is_used_up() {
    let shared = shared();
    shared.sign_in("alice");
    let mut alice = shared.browser();
    let callback = shared
        .handed_over(&mut alice, &shared.store_url(CART))
        .await;
    let mut stranger = shared.browser();
    assert_nothing(&stranger.step(location(&callback)).await);
    // A browser that has been here before.
    shared
        .handed_over(&mut stranger, &shared.store_url(CART))
        .await;
    assert_nothing(&stranger.step(location(&callback)).await);
    // The owner gets in by another login.
    assert_nothing(&alice.step(location(&callback)).await);
    let page = alice.visit(&shared.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(shared.store_saw().as_deref(), Some("alice-id"));
}

#[tokio::test]
async fn code_is_of_no_use_at_another_host() {
    let shared = shared();
    shared.sign_in("alice");
    let mut browser = shared.browser();
    let callback = shared
        .handed_over(&mut browser, &shared.store_url(CART))
        .await;
    // Attempts of the same browser at the other apps are in flight.
    shared
        .handed_over(&mut browser, &shared.forum_url("/posts"))
        .await;
    shared
        .handed_over(&mut browser, &format!("{WIKI}/start"))
        .await;
    let code = parameter(location(&callback), "handover").expect("a code");
    for origin in [shared.site().forum.as_str(), WIKI] {
        let page = browser
            .step(&format!("{origin}/.doorward/callback?handover={code}"))
            .await;
        assert_error_page(&page, 400, "handover_code_invalid");
        assert_nothing(&page);
    }
    // It is still good where it belongs.
    let page = browser.visit(location(&callback)).await;
    assert_eq!(page.status(), 200, "{page}");
}

#[tokio::test]
async fn code_is_valid_for_30_seconds() {
    let shared = shared();
    shared.sign_in("alice");
    let mut browser = shared.browser();
    let callback = shared
        .handed_over(&mut browser, &shared.store_url(CART))
        .await;
    shared.advance_secs(31);
    assert_nothing(&browser.step(location(&callback)).await);
    let callback = shared
        .handed_over(&mut browser, &shared.store_url(CART))
        .await;
    shared.advance_secs(29);
    assert!(sets_session(&browser.step(location(&callback)).await));
}

#[tokio::test]
async fn login_that_a_victim_completes_for_an_attacker_is_lost_to_both() {
    let shared = shared();
    let (mut mallory, start) = begun_by_mallory(&shared).await;
    shared.sign_in("alice");
    let mut alice = shared.browser();
    // Alice follows Mallory's link to the login host.
    let at_host = alice.step(location(&start)).await;
    let at_provider = alice.next(&at_host).await;
    let callback = alice.next(&at_provider).await;
    let handover = location(&callback).to_owned();
    assert_nothing(&alice.next(&callback).await);
    // Even if the code leaked after that.
    shared.provider.sign_out();
    assert_nothing(&mallory.step(&handover).await);
    assert!(
        !shared
            .is_signed_in(&mut mallory, &shared.store_url(CART))
            .await
    );
}

#[tokio::test]
async fn handover_of_an_attacker_does_not_sign_a_victim_in() {
    let shared = shared();
    shared.sign_in("mallory");
    let mut mallory = shared.browser();
    let callback = shared
        .handed_over(&mut mallory, &shared.store_url(CART))
        .await;
    shared.sign_in("alice");
    let known = {
        let mut known = shared.browser();
        shared
            .handed_over(&mut known, &shared.store_url(CART))
            .await;
        known
    };
    for mut alice in [shared.browser(), known] {
        assert_nothing(&alice.step(location(&callback)).await);
        let page = alice.visit(location(&callback)).await;
        assert_eq!(page.status(), 200, "{page}");
        assert_eq!(shared.store_saw().as_deref(), Some("alice-id"));
    }
}

#[tokio::test]
async fn signed_in_victim_keeps_its_session() {
    let shared = shared();
    let mut alice = shared.logged_in("alice", CART).await;
    shared.sign_in("mallory");
    let mut mallory = shared.browser();
    let callback = shared
        .handed_over(&mut mallory, &shared.store_url(CART))
        .await;
    let page = alice.step(location(&callback)).await;
    assert!(!sets_session(&page), "{page}");
    assert_eq!(location(&page), shared.store_url(CART));
    alice.step(&shared.store_url(CART)).await;
    assert_eq!(shared.store_saw().as_deref(), Some("alice-id"));
}

#[tokio::test]
async fn callback_of_an_attacker_at_the_login_host_is_not_redeemed() {
    let shared = shared();
    shared.sign_in("mallory");
    let (mut mallory, start) = begun_by_mallory(&shared).await;
    let at_host = mallory.next(&start).await;
    let at_provider = mallory.next(&at_host).await;
    shared.sign_in("alice");
    let known = shared.logged_in("alice", CART).await;
    for mut alice in [shared.browser(), known] {
        let before = shared.provider.grants("authorization_code");
        let page = alice.step(location(&at_provider)).await;
        assert!(!location(&page).contains("handover="), "{page}");
        assert_eq!(shared.provider.grants("authorization_code"), before);
    }
}

#[tokio::test]
async fn apps_do_not_redeem_authorization_codes_themselves() {
    let shared = shared();
    shared.sign_in("alice");
    let (mut browser, start) = begun_by_mallory(&shared).await;
    let at_host = browser.next(&start).await;
    let at_provider = browser.next(&at_host).await;
    let to_app = location(&at_provider).replace(LOGIN, &shared.site().store);
    let page = browser.step(&to_app).await;
    assert_error_page(&page, 400, "handover_code_invalid");
    assert_eq!(shared.provider.grants("authorization_code"), 0);
}

#[tokio::test]
async fn forged_requests_and_codes_lead_nowhere() {
    let shared = shared();
    shared.sign_in("alice");
    let mut browser = shared.browser();
    let start = browser.step(&shared.store_url(CART)).await;
    let request = parameter(location(&start), "request").expect("a request");
    let callback = shared
        .handed_over(&mut browser, &shared.store_url(CART))
        .await;
    let code = parameter(location(&callback), "handover").expect("a code");
    for query in [
        "request=".to_owned(),
        "request=AAAA".to_owned(),
        format!("request={}", changed(&request)),
        format!("request={code}"),
        format!("request={request}&request={request}"),
        "request=https%3A%2F%2Fevil.example%2F".to_owned(),
    ] {
        let page = browser
            .step(&format!("{LOGIN}/.doorward/login?{query}"))
            .await;
        assert_error_page(&page, 400, "login_request_invalid");
    }
    let at_store = format!("{}/.doorward/callback", shared.site().store);
    for query in [
        String::new(),
        "?handover=".to_owned(),
        format!("?handover={request}"),
        format!("?handover={code}&handover={code}"),
        format!("?handover={}", changed(&code)),
    ] {
        let page = browser.step(&format!("{at_store}{query}")).await;
        assert_error_page(&page, 400, "handover_code_invalid");
    }
    let forged = browser
        .step(&format!(
            "{LOGIN}/.doorward/callback?code=x&state={request}&iss={}",
            shared.provider.issuer()
        ))
        .await;
    assert_error_page(&forged, 400, "state_invalid");
}

#[tokio::test]
async fn code_is_refused_after_the_attempt_expired() {
    let shared = shared();
    let mut browser = shared.browser();
    let start = browser.step(&shared.store_url(CART)).await;
    let at_host = browser.next(&start).await;
    shared.advance_secs(601);
    shared.sign_in("alice");
    // Both legs begin once more, and the page is reached.
    let page = browser.visit(location(&at_host)).await;
    assert_eq!(
        (page.status(), page.url.as_str()),
        (200, shared.store_url(CART).as_str()),
        "{page}"
    );
}

#[tokio::test]
async fn sibling_site_cannot_plant_a_handover() {
    let shared = shared();
    shared.sign_in("mallory");
    let mut mallory = shared.browser();
    let callback = shared
        .handed_over(&mut mallory, &shared.store_url(CART))
        .await;
    shared.sign_in("alice");
    let mut alice = shared.browser();
    // The forum's backend sets Mallory's attempt cookie for all of `example.test`.
    for cookie in mallory.jar.of("store.example.test") {
        if cookie.name.contains("_login_") {
            let mut cookie = cookie.clone();
            cookie.host_only = false;
            cookie.domain = "example.test".to_owned();
            alice.jar.plant(cookie);
        }
    }
    assert_nothing(&alice.step(location(&callback)).await);
    assert!(alice.jar.get(LOGIN_HOST, "__Host-doorward_jwt").is_none());
}
