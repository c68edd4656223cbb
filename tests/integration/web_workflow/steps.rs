//! The ten steps of the web workflow.

use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::Endpoint;

const CART: &str = "/shopping-cart?item=7&size=a%20b";

#[tokio::test]
async fn step_3_a_live_jwt_is_forwarded_with_identity_headers_and_without_the_provider() {
    for setup in [Setup::plain(), Setup::over_tls()] {
        let doorward = setup.start();
        let mut browser = doorward.logged_in("alice", CART).await;
        let calls = calls(&doorward);
        let page = load(&doorward, &mut browser).await;
        assert_eq!(page.json()["target"], CART);
        assert_eq!(doorward.store_saw().as_deref(), Some("alice-id"));
        assert_eq!(calls, self::calls(&doorward));
    }
}

fn calls(doorward: &Doorward) -> usize {
    Endpoint::ALL.iter().map(|endpoint| doorward.provider.calls(*endpoint)).sum()
}

async fn load(doorward: &Doorward, browser: &mut Browser) -> crate::support::browser::Page {
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    page
}
