//! The success of a thief with copied cookies of a session that is bound to no device.

use super::{
    ENFORCED, FIREFOX, OTHER_NETWORK, SAME_NETWORK, assert_changes, assert_shown, enforcing,
    logged_in,
};
use crate::support::assertions::{CART, assert_login_starts, fetched};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::websocket::WebSocket;

/// Another machine with all cookies of the owner for the store. The provider does not know it.
fn thief(doorward: &Doorward, owner: &Browser) -> Browser {
    doorward.provider.sign_out();
    owner.clone()
}

/// Asserts that nothing reaches the app with these cookies, and that the owner notices nothing.
async fn assert_useless(doorward: &Doorward, mut thief: Browser, code: &str) {
    let url = doorward.store_url(CART);
    let seen = doorward.store.count();
    let refused = fetched(&mut thief, &url).await;
    assert_eq!(refused.status(), 401, "{refused}");
    assert_eq!(refused.json()["code"], code, "{refused}");
    let page = doorward.store_url("/").parse().expect("an URL");
    let socket = RequestSpec::new(Kind::Fetch, &doorward.store_url("/chat")).from(&page);
    let refused = WebSocket::open(&mut thief, socket).await;
    assert_eq!(refused.err().map(|head| head.status()), Some(401));
    for endpoint in ["/.doorward/session", "/.doorward/sessions"] {
        let refused = fetched(&mut thief, &doorward.store_url(endpoint)).await;
        assert_eq!(refused.status(), 401, "{refused}");
    }
    assert_login_starts(doorward, &thief.step(&url).await);
    let forms = doorward.provider.forms_shown();
    thief.visit(&url).await;
    assert_eq!(doorward.provider.forms_shown(), forms + 1);
    assert_eq!(doorward.store.count(), seen);
}

#[tokio::test]
async fn copied_jar_is_useless_in_another_network_or_browser() {
    let doorward = enforcing();
    let mut owner = logged_in(&doorward, "alice").await;
    let url = doorward.store_url(CART);
    // With a valid JWT, and with one that has to be refreshed first.
    for secs in [0, 400] {
        doorward.advance_secs(secs);
        let copy = thief(&doorward, &owner);
        let refreshes = doorward.provider.grants("refresh_token");
        let elsewhere = copy.clone().from_address(OTHER_NETWORK);
        assert_useless(&doorward, elsewhere, "network_changed").await;
        let other = copy.clone().sending("user-agent", FIREFOX);
        assert_useless(&doorward, other, "browser_changed").await;
        let program = copy.sending("user-agent", "curl/8.5.0");
        assert_useless(&doorward, program, "browser_changed").await;
        assert_eq!(doorward.provider.grants("refresh_token"), refreshes);
        assert_shown(&owner.step(&url).await);
    }
    assert_changes(&doorward, "confirmed", 0).await;
}

#[tokio::test]
async fn single_copied_cookies_are_useless_in_another_network() {
    let doorward = enforcing();
    let owner = logged_in(&doorward, "alice").await;
    doorward.provider.sign_out();
    for kind in ["jwt", "refresh"] {
        let cookie = owner
            .jar
            .get(doorward.store_host(), &doorward.cookie_name(kind));
        let mut copy = doorward.browser().from_address(OTHER_NETWORK);
        copy.jar.plant(cookie.expect("a cookie").clone());
        assert_useless(&doorward, copy, "network_changed").await;
    }
    assert_eq!(doorward.provider.grants("refresh_token"), 0);
}

#[tokio::test]
async fn copied_jar_works_in_the_same_network_with_the_same_browser() {
    let doorward = enforcing();
    let owner = logged_in(&doorward, "alice").await;
    let mut copy = thief(&doorward, &owner).from_address(SAME_NETWORK);
    assert_shown(&copy.step(&doorward.store_url(CART)).await);
}

#[tokio::test]
async fn copied_jar_works_anywhere_by_default_and_is_recorded() {
    let doorward = Setup::over_tls().start();
    let owner = logged_in(&doorward, "alice").await;
    let mut copy = thief(&doorward, &owner).from_address(OTHER_NETWORK);
    assert_shown(&copy.step(&doorward.store_url(CART)).await);
    assert_changes(&doorward, "network_observed", 1).await;
}

#[tokio::test]
async fn login_of_a_thief_gives_no_access_to_the_session() {
    let doorward = Setup::over_tls().store(ENFORCED).start();
    let owner = logged_in(&doorward, "alice").await;
    let mut copy = thief(&doorward, &owner).from_address(OTHER_NETWORK);
    doorward.sign_in("mallory");
    let page = copy.visit(&doorward.store_url(CART)).await;
    assert!(page.text().contains("mallory-id"), "{page}");
    assert_changes(&doorward, "confirmed", 0).await;
    // As any login, it ends the session that the browser had.
    let mut again = owner.from_address(OTHER_NETWORK);
    let refused = fetched(&mut again, &doorward.store_url(CART)).await;
    assert_eq!(refused.json()["code"], "session_revoked", "{refused}");
}
