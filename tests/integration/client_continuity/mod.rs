//! Sessions that are bound to no device: requests from another network or another browser.

use std::net::Ipv4Addr;

use crate::support::assertions::CART;
use crate::support::browser::{Browser, Page};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::Endpoint;

mod continuity;
mod listed;
mod placements;
mod theft;
mod timeouts;

/// Addresses of the network in which browsers begin.
const SAME_NETWORK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 99);
const OTHER_NETWORK: Ipv4Addr = Ipv4Addr::new(127, 0, 9, 1);

const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/145.0.0.0 Safari/537.36";
const CHROME_UPDATED: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/146.0.0.0 Safari/537.36";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";

/// A store whose sessions are accepted from their own client only.
fn enforcing() -> Doorward {
    Setup::over_tls().store(ENFORCED).start()
}

const ENFORCED: &str = "unbound_sessions = { client_change = \"enforce\" }";

/// A browser that `name` has logged in with.
async fn logged_in(doorward: &Doorward, name: &str) -> Browser {
    doorward.sign_in(name);
    let mut browser = doorward.browser().sending("user-agent", CHROME);
    let page = browser.visit(&doorward.store_url(CART)).await;
    assert_shown(&page);
    browser
}

/// Asserts a response of the app to a request of alice.
fn assert_shown(page: &Page) {
    assert_eq!((page.status(), page.url.path()), (200, CART), "{page}");
    assert!(page.text().contains("alice-id"), "{page}");
}

/// The `prompt` of each authorization request.
fn prompts(doorward: &Doorward) -> Vec<Option<String>> {
    let visits = doorward.provider.visits(Endpoint::Authorize).into_iter();
    let prompts = visits.filter(|visit| visit.method == "GET");
    prompts
        .map(|visit| visit.parameter("prompt").map(str::to_owned))
        .collect()
}

/// How often this outcome was recorded.
async fn changes(doorward: &Doorward, outcome: &str) -> f64 {
    let series = format!(r#"doorward_client_changes_total{{app="store",outcome="{outcome}"}}"#);
    doorward.metric(&series).await
}

async fn assert_changes(doorward: &Doorward, outcome: &str, expected: u32) {
    let found = changes(doorward, outcome).await;
    assert!(
        (found - f64::from(expected)).abs() < 0.5,
        "{found} of {outcome}"
    );
}

/// Asserts that no request came from another client.
async fn assert_no_change(doorward: &Doorward) {
    for kind in ["network", "browser"] {
        for result in ["observed", "refused"] {
            let count = changes(doorward, &format!("{kind}_{result}")).await;
            assert!(count < 1.0, "{count} of {kind}_{result}");
        }
    }
}
