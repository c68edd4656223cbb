//! A provider that is down when Doorward starts: who is signed in stays so, public pages are served, and it is found
//! again without help.

use super::{CART, is_sent_to_log_in, load, shown};
use crate::support::browser::{Ask, Kind};
use crate::support::doorward::Setup;
use crate::support::eventually;
use crate::support::provider::Endpoint;

#[tokio::test]
async fn without_the_provider_living_sessions_and_public_pages_are_served() {
    let mut doorward = Setup::plain().start();
    let browser = doorward.logged_in("alice", CART).await;
    doorward.provider.stop();
    let replica = doorward.add_replica();
    let mut browser = doorward.moved_to(replica, browser);
    load(&doorward, &mut browser, "alice").await;
    let mut stranger = doorward.browser_of(replica);
    let page = stranger.step(&doorward.store_url("/public/x")).await;
    assert_eq!((page.status(), shown(&page)), (200, None), "{page}");
    let page = stranger.step(&doorward.store_url(CART)).await;
    assert_eq!((page.status(), page.head.all("set-cookie").len()), (503, 0), "{page}");
    assert!(page.header("retry-after").is_some(), "{page}");
    let from = url::Url::parse(&doorward.store_url("/")).unwrap();
    let page = stranger.send(Ask::new(Kind::Fetch, &doorward.store_url(CART)).from(&from)).await;
    assert_eq!(page.status(), 401, "a script is told where to log in without the provider: {page}");
}

#[tokio::test]
async fn without_the_provider_an_expired_jwt_waits_and_is_not_lost() {
    let mut doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.provider.stop();
    doorward.pass(300);
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!((page.status(), page.head.all("set-cookie").len()), (503, 0), "{page}");
    doorward.provider.restart();
    load(&doorward, &mut browser, "alice").await;
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn a_provider_that_was_down_at_the_start_is_found_by_itself() {
    let mut doorward = Setup::plain().without_provider().start();
    let page = doorward.browser().step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 503, "{page}");
    doorward.provider.restart();
    eventually("the keys are fetched", || doorward.provider.calls(Endpoint::Jwks) > 0).await;
    is_sent_to_log_in(&doorward, &mut doorward.browser()).await;
    let mut browser = doorward.logged_in("alice", CART).await;
    load(&doorward, &mut browser, "alice").await;
}
