//! Login hosts of several replicas.

use super::{CART, location, shared, shared_with};
use crate::support::assertions::assert_error_page;
use crate::support::doorward::Setup;
use crate::support::redis::RedisServer;

#[tokio::test]
async fn another_replica_completes_the_handover_from_a_shared_store() {
    let redis = RedisServer::start();
    let url = format!("url = \"{}\"", redis.url());
    let mut shared = shared_with(Setup::over_tls().remembering(&url));
    let other = shared.doorward.add_replica();
    shared.sign_in("alice");
    let mut browser = shared.browser();
    let callback = shared
        .handed_over(&mut browser, &shared.store_url(CART))
        .await;
    let stored = redis.command(&["KEYS", "*"]);
    assert!(stored.contains("handover/store/"), "{stored}");
    let mut thief = browser.clone();
    let mut browser = shared.moved_to(other, browser);
    let page = browser.visit(location(&callback)).await;
    assert_eq!(
        (page.status(), page.url.as_str()),
        (200, shared.store_url(CART).as_str()),
        "{page}"
    );
    // One replica claimed it for all.
    shared.provider.sign_out();
    let page = thief.step(location(&callback)).await;
    assert!(!super::sets_session(&page), "{page}");
    for (name, key) in redis
        .command(&["KEYS", "*"])
        .lines()
        .filter(|key| key.contains("handover/") || key.contains("signed-in/"))
        .map(|key| (key, redis.command(&["GET", key])))
    {
        for secret in shared.provider.secrets() {
            assert!(!key.contains(&secret), "{name}");
        }
    }
}

#[tokio::test]
async fn without_a_shared_store_another_replica_names_the_cause() {
    let mut shared = shared();
    let other = shared.doorward.add_replica();
    shared.sign_in("alice");
    let mut browser = shared.browser();
    for round in 0..2 {
        let callback = shared
            .handed_over(&mut browser, &shared.store_url(CART))
            .await;
        browser = shared.moved_to(other, browser);
        let page = browser.step(location(&callback)).await;
        browser = shared.moved_to(0, browser);
        assert!(!super::sets_session(&page), "{page}");
        if round == 1 {
            return;
        }
        // Begun once more, as after any lost attempt.
        let at_host = browser.next(&page).await;
        let at_provider = browser.next(&at_host).await;
        let callback = browser.next(&at_provider).await;
        browser = shared.moved_to(other, browser);
        let page = browser.step(location(&callback)).await;
        assert_error_page(&page, 400, "handover_code_unknown");
        browser = shared.moved_to(0, browser);
    }
}
