//! The success of a thief with copied cookies of a bound session.

use super::{assert_shown, bound, offering, pending, refreshes, thief};
use crate::support::assertions::{CART, assert_login_starts, fetched};
use crate::support::browser::Kind;
use crate::support::browser::RequestSpec;

#[tokio::test]
async fn copied_jar_works_until_the_proof_ends() {
    let doorward = offering();
    let mut owner = bound(&doorward).await;
    let url = doorward.store_url(CART);
    // At ten moments, while the owner uses the session.
    for moment in 0..10 {
        doorward.advance_secs(7 + moment);
        assert_shown(&owner.fetch("GET", &url).await);
        let copy = thief(&owner);
        let mut last_success = 0;
        for second in 0..60 {
            if second > 0 {
                doorward.advance_secs(1);
            }
            let page = fetched(&mut copy.clone(), &url).await;
            match page.status() {
                200 => last_success = second,
                status => assert_eq!(status, 307, "{page}"),
            }
        }
        assert!(last_success < 45, "{last_success} s");
    }
}

#[tokio::test]
async fn copied_jar_leads_to_a_login_and_never_to_a_refresh() {
    let doorward = offering();
    let owner = bound(&doorward).await;
    let url = doorward.store_url(CART);
    let before = refreshes(&doorward);
    for secs in [45, 200, 300, 600] {
        doorward.advance_secs(secs);
        let mut copy = thief(&owner);
        doorward.provider.sign_out();
        let mut page = copy.step(&url).await;
        while page.status() == 307 {
            page = copy.next(&page).await;
        }
        assert_login_starts(&doorward, &page);
    }
    assert_eq!(refreshes(&doorward), before);
}

#[tokio::test]
async fn session_cookies_without_the_proof_work_never() {
    let doorward = offering();
    let owner = bound(&doorward).await;
    let url = doorward.store_url(CART);
    for kinds in [&["jwt", "refresh", "activity"][..], &["jwt"], &["refresh"]] {
        let mut copy = doorward.browser();
        for kind in kinds {
            let name = doorward.cookie_name(kind);
            let cookie = owner.browser.jar.get(doorward.store_host(), &name);
            copy.jar.plant(cookie.expect("a cookie").clone());
        }
        let page = fetched(&mut copy, &url).await;
        assert_eq!(page.status(), 401, "{kinds:?}: {page}");
        // The headers that a browser sends are no proof.
        let forged = RequestSpec::new(Kind::Fetch, &url)
            .from(&url.parse().expect("an URL"))
            .header("Secure-Session-Skipped", "unreachable");
        let page = copy.send(forged).await;
        assert_eq!(page.status(), 503, "{kinds:?}: {page}");
        assert_login_starts(&doorward, &copy.step(&url).await);
    }
    assert_eq!(refreshes(&doorward), 1);
}

#[tokio::test]
async fn session_copied_before_registration_ends_for_all_when_it_is_used_later() {
    let doorward = offering();
    let mut owner = pending(&doorward).await;
    let mut copy = thief(&owner);
    let url = doorward.store_url(CART);
    owner.fetch("GET", &doorward.store_url("/style.css")).await;
    assert_shown(&owner.fetch("GET", &url).await);
    doorward.advance_secs(119);
    assert_shown(&fetched(&mut copy, &url).await);
    doorward.advance_secs(1);
    assert_login_starts(&doorward, &copy.step(&url).await);
    let reused = r#"doorward_refresh_tokens_reused_total{app="store",outcome="session_ended",provider="login"}"#;
    assert_eq!(doorward.metric(reused).await, 1.0);
    assert_login_starts(&doorward, &owner.browser.step(&url).await);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn session_copied_before_a_late_registration_gets_the_bound_one_only() {
    let doorward = offering();
    let mut owner = pending(&doorward).await;
    let mut copy = thief(&owner);
    let url = doorward.store_url(CART);
    doorward.advance_secs(110);
    owner.fetch("GET", &doorward.store_url("/style.css")).await;
    assert_shown(&owner.fetch("GET", &url).await);
    // Within the grace period of the replaced refresh token.
    doorward.advance_secs(10);
    for _ in 0..2 {
        let page = fetched(&mut copy, &url).await;
        assert_eq!(page.status(), 401, "{page}");
    }
    assert_shown(&owner.fetch("GET", &url).await);
    assert_eq!(refreshes(&doorward), 1);
}
