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

async fn old_sessions_become(door: &Doorward, replica: usize, number: f64) {
    eventually_async(&format!("{OLD_KEYS} is {number}"), SOON, async || {
        door.metric_of(replica, OLD_KEYS).await == number
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
    let mut door = Setup::plain().start();
    let mut browsers = Vec::new();
    for number in 0..SESSIONS {
        browsers.push(door.logged_in(&format!("person-{number}"), CART).await);
    }
    let both = door.add_replica_with_keys(&["new.key", "doorward.key"]);
    let finished = door.add_replica_with_keys(&["new.key"]);
    let before = (
        door.provider.calls(Endpoint::Authorize),
        door.provider.calls(Endpoint::Token),
    );

    let (to, enough) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let ports: Vec<u16> = [0, both, finished]
        .iter()
        .map(|replica| door.port_of(*replica))
        .collect();
    let clickers: Vec<Clicker> = browsers
        .into_iter()
        .map(|browser| {
            Clicker::start(
                browser,
                door.store_url("/item"),
                ports.clone(),
                to.clone(),
                enough.clone(),
            )
        })
        .collect();
    door.clicked(SESSIONS * 5).await;
    // An absent session keeps the gauge above zero.
    let mut absent = alice(&door).await;
    to.store(1, Ordering::SeqCst);
    door.clicked(SESSIONS * 5).await;
    let first = door
        .moved_to(both, absent.clone())
        .step(&door.store_url(CART))
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
    old_sessions_become(&door, both, 1.0).await;
    absent = door.moved_to(both, absent);
    assert_eq!(absent.step(&door.store_url(CART)).await.status(), 200);
    let again = absent.step(&door.store_url(CART)).await;
    assert!(
        again.head.all("set-cookie").is_empty(),
        "once is enough: {again}"
    );
    old_sessions_become(&door, both, 0.0).await;

    to.store(2, Ordering::SeqCst);
    door.clicked(SESSIONS * 5).await;
    enough.store(true, Ordering::SeqCst);
    for clicker in clickers {
        let mut browser = clicker.clicking.await.expect("nobody was logged out");
        let page = browser.step(&door.store_url(CART)).await;
        assert!(
            page.status() == 200 && page.head.all("set-cookie").is_empty(),
            "{page}"
        );
    }
    assert_eq!(
        door.moved_to(finished, absent)
            .step(&door.store_url(CART))
            .await
            .status(),
        200
    );
    let after = (
        door.provider.calls(Endpoint::Authorize),
        door.provider.calls(Endpoint::Token),
    );
    assert_eq!(
        after,
        (before.0 + 1, before.1 + 1),
        "nothing but one login was asked of the provider"
    );
}

#[tokio::test]
async fn reencryption_preserves_the_session_where_cookies_can_be_set() {
    let mut door = Setup::plain().start();
    let old = alice(&door).await;
    let both = door.add_replica_with_keys(&["new.key", "doorward.key"]);
    let mut browser = door.moved_to(both, old.clone());
    for path in ["/", "/public/x", "/.doorward/signed-out"] {
        let page = browser.step(&door.store_url(path)).await;
        assert!(
            page.status() == 200 && page.head.all("set-cookie").is_empty(),
            "{page}"
        );
    }
    old_sessions_become(&door, both, 1.0).await;
    let mut half = browser.clone();
    half.jar.remove(door.store_host(), |cookie| {
        cookie.name == "doorward_refresh"
    });
    half.jar.plant(Cookie::host_only(
        door.store_host(),
        "doorward_refresh",
        "garbage",
    ));
    let page = half.step(&door.store_url(CART)).await;
    assert!(
        page.status() == 200 && page.head.all("set-cookie").is_empty(),
        "what cannot be read stays: {page}"
    );
    // Shortly before the last fifth of the JWT's lifetime a refresh is due soon, which encrypts
    // anew.
    door.advance_secs(231);
    let page = browser.step(&door.store_url(CART)).await;
    assert!(
        !page
            .head
            .all("set-cookie")
            .iter()
            .any(|line| !line.starts_with("doorward_activity=")),
        "{page}"
    );
    door.advance_secs(69);
    assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
    assert_eq!(door.provider.grants("refresh_token"), 1);
    old_sessions_become(&door, both, 1.0).await;
    assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
    old_sessions_become(&door, both, 0.0).await;
    door.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn abandoned_sessions_under_previous_key_expire_from_gauge() {
    let mut door = Setup::plain().session("idle_timeout = \"4m\"").start();
    let old = alice(&door).await;
    let both = door.add_replica_with_keys(&["new.key", "doorward.key"]);
    assert_eq!(
        door.moved_to(both, old.clone())
            .step(&door.store_url(CART))
            .await
            .status(),
        200
    );
    old_sessions_become(&door, both, 1.0).await;
    door.advance_secs(241);
    let idle = door.moved_to(both, old).step(&door.store_url(CART)).await;
    assert_eq!(idle.status(), 302, "{idle}");
    // Expired entries are removed every ten seconds.
    eventually_async("the expired session is removed", SOON * 2, async || {
        door.metric_of(both, OLD_KEYS).await == 0.0
    })
    .await;
}
