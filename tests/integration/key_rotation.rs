//! Rotation of the sealing key under load: old and new processes side by side, then without the old
//! key. Sessions survive, and a gauge shows when the old key can be removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::assertions::{CART, SOON, alice};
use crate::support::browser::Browser;
use crate::support::cookies::Cookie;
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;
use crate::support::provider::Endpoint;

const OLD_KEYS: &str = "doorward_sessions_on_previous_keys";

async fn old_sessions_become(doorward: &Doorward, replica: usize, number: f64) {
    eventually_async(&format!("{OLD_KEYS} is {number}"), SOON, async || {
        doorward.metric_of(replica, OLD_KEYS).await == number
    })
    .await;
}

/// A user who sends requests continuously through the load balancer.
struct Clicker {
    clicking: tokio::task::JoinHandle<Browser>,
}

impl Clicker {
    fn start(
        mut browser: Browser,
        url: String,
        ports: Vec<u16>,
        to: Arc<AtomicUsize>,
        enough: Arc<AtomicBool>,
    ) -> Self {
        Self {
            clicking: tokio::spawn(async move {
                let mut clicks = 0;
                while !enough.load(Ordering::SeqCst) {
                    browser = browser.with_port(8080, ports[to.load(Ordering::SeqCst)]);
                    let page = browser.step(&format!("{url}/{clicks}")).await;
                    assert_eq!(page.status(), 200, "after {clicks} clicks: {page}");
                    clicks += 1;
                }
                browser
            }),
        }
    }
}

#[tokio::test]
async fn rotation_under_load_logs_nobody_out_and_gauge_reaches_zero() {
    const SESSIONS: usize = 12;
    let mut doorward = Setup::plain().start();
    let mut browsers = Vec::new();
    for number in 0..SESSIONS {
        browsers.push(doorward.logged_in(&format!("person-{number}"), CART).await);
    }
    let both = doorward.add_replica_with_keys(&["new.key", "doorward.key"]);
    let finished = doorward.add_replica_with_keys(&["new.key"]);
    let before = (
        doorward.provider.calls(Endpoint::Authorize),
        doorward.provider.calls(Endpoint::Token),
    );

    let (to, enough) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let ports: Vec<u16> = [0, both, finished]
        .iter()
        .map(|replica| doorward.port_of(*replica))
        .collect();
    let clickers: Vec<Clicker> = browsers
        .into_iter()
        .map(|browser| {
            Clicker::start(
                browser,
                doorward.store_url("/item"),
                ports.clone(),
                to.clone(),
                enough.clone(),
            )
        })
        .collect();
    doorward.clicked(SESSIONS * 5).await;
    // An absent session keeps the gauge above zero.
    let mut absent = alice(&doorward).await;
    to.store(1, Ordering::SeqCst);
    doorward.clicked(SESSIONS * 5).await;
    let first = doorward
        .moved_to(both, absent.clone())
        .step(&doorward.store_url(CART))
        .await;
    assert!(
        first
            .head
            .all("set-cookie")
            .iter()
            .any(|line| line.contains("doorward_refresh=")),
        "{first}"
    );
    assert_eq!(first.header("cache-control"), Some("no-store"));
    old_sessions_become(&doorward, both, 1.0).await;
    absent = doorward.moved_to(both, absent);
    assert_eq!(absent.step(&doorward.store_url(CART)).await.status(), 200);
    let again = absent.step(&doorward.store_url(CART)).await;
    assert!(
        again.head.all("set-cookie").is_empty(),
        "once is enough: {again}"
    );
    old_sessions_become(&doorward, both, 0.0).await;

    to.store(2, Ordering::SeqCst);
    doorward.clicked(SESSIONS * 5).await;
    enough.store(true, Ordering::SeqCst);
    for clicker in clickers {
        let mut browser = clicker.clicking.await.expect("nobody was logged out");
        let page = browser.step(&doorward.store_url(CART)).await;
        assert!(
            page.status() == 200 && page.head.all("set-cookie").is_empty(),
            "{page}"
        );
    }
    assert_eq!(
        doorward
            .moved_to(finished, absent)
            .step(&doorward.store_url(CART))
            .await
            .status(),
        200
    );
    let after = (
        doorward.provider.calls(Endpoint::Authorize),
        doorward.provider.calls(Endpoint::Token),
    );
    assert_eq!(
        after,
        (before.0 + 1, before.1 + 1),
        "nothing but one login was asked of the provider"
    );
}

#[tokio::test]
async fn reencryption_preserves_the_session_where_cookies_can_be_set() {
    let mut doorward = Setup::plain().start();
    let old = alice(&doorward).await;
    let both = doorward.add_replica_with_keys(&["new.key", "doorward.key"]);
    let mut browser = doorward.moved_to(both, old.clone());
    for path in ["/", "/public/x", "/.doorward/signed-out"] {
        let page = browser.step(&doorward.store_url(path)).await;
        assert!(
            page.status() == 200 && page.head.all("set-cookie").is_empty(),
            "{page}"
        );
    }
    old_sessions_become(&doorward, both, 1.0).await;
    let mut half = browser.clone();
    half.jar.remove(doorward.store_host(), |cookie| {
        cookie.name == "doorward_refresh"
    });
    half.jar.plant(Cookie::host_only(
        doorward.store_host(),
        "doorward_refresh",
        "garbage",
    ));
    let page = half.step(&doorward.store_url(CART)).await;
    assert!(
        page.status() == 200 && page.head.all("set-cookie").is_empty(),
        "what cannot be read stays: {page}"
    );
    // Shortly before the last fifth of the JWT's lifetime a refresh is due soon, which encrypts
    // anew.
    doorward.advance_secs(231);
    let page = browser.step(&doorward.store_url(CART)).await;
    assert!(
        !page
            .head
            .all("set-cookie")
            .iter()
            .any(|line| !line.starts_with("doorward_activity=")),
        "{page}"
    );
    doorward.advance_secs(69);
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    assert_eq!(doorward.provider.grants("refresh_token"), 1);
    old_sessions_become(&doorward, both, 1.0).await;
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    old_sessions_become(&doorward, both, 0.0).await;
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn abandoned_sessions_under_previous_key_expire_from_gauge() {
    let mut doorward = Setup::plain().session("idle_timeout = \"4m\"").start();
    let old = alice(&doorward).await;
    let both = doorward.add_replica_with_keys(&["new.key", "doorward.key"]);
    assert_eq!(
        doorward
            .moved_to(both, old.clone())
            .step(&doorward.store_url(CART))
            .await
            .status(),
        200
    );
    old_sessions_become(&doorward, both, 1.0).await;
    doorward.advance_secs(241);
    let idle = doorward
        .moved_to(both, old)
        .step(&doorward.store_url(CART))
        .await;
    assert_eq!(idle.status(), 302, "{idle}");
    // Expired entries are removed every ten seconds.
    eventually_async("the expired session is removed", SOON * 2, async || {
        doorward.metric_of(both, OLD_KEYS).await == 0.0
    })
    .await;
}
