//! Bound sessions at several replicas without a shared store, and while the sealing key is replaced.

use super::{assert_shown, bound, offering, pending};
use crate::support::assertions::CART;
use crate::support::bound_browser::BoundBrowser;
use crate::support::doorward::Doorward;

/// Sends the requests of a browser to this replica from now on.
fn move_to(doorward: &Doorward, browser: &mut BoundBrowser, replica: usize) {
    browser.browser = doorward.moved_to(replica, browser.browser.clone());
}

#[tokio::test]
async fn each_step_may_be_at_another_replica() {
    let mut doorward = offering();
    let second = doorward.add_replica();
    let mut browser = pending(&doorward).await;
    move_to(&doorward, &mut browser, second);
    browser
        .fetch("GET", &doorward.store_url("/style.css"))
        .await;
    assert!(browser.session.is_some());
    // Without a shared store, two replicas must not refresh at once: the JWT lives for longer.
    for step in 0..30 {
        move_to(&doorward, &mut browser, step % 2);
        doorward.advance_secs(7);
        let page = browser.fetch("GET", &doorward.store_url(CART)).await;
        assert_shown(&page);
        assert_eq!(page.chain.len(), 1, "{page}");
    }
    assert!(browser.signatures <= 4, "{} signatures", browser.signatures);
}

#[tokio::test]
async fn rolling_key_rotation_keeps_bound_sessions() {
    let mut doorward = offering();
    let mut browser = bound(&doorward).await;
    let opens_both = doorward.add_replica_with_keys(&["doorward.key", "new.key"]);
    let seals_new = doorward.add_replica_with_keys(&["new.key", "doorward.key"]);
    let only_new = doorward.add_replica_with_keys(&["new.key"]);
    let steps = [
        0, opens_both, 0, opens_both, seals_new, opens_both, seals_new, seals_new, only_new,
        seals_new, only_new, only_new,
    ];
    for (step, replica) in steps.into_iter().enumerate() {
        move_to(&doorward, &mut browser, replica);
        doorward.advance_secs(20);
        let page = browser.fetch("GET", &doorward.store_url(CART)).await;
        assert_shown(&page);
        assert!(browser.session.is_some(), "{step}: {page}");
    }
}
