//! Affinity of browsers to one of several upstream addresses.

use super::{RULES, list};
use crate::support::assertions::{Dialogue, Reply};
use crate::support::backend::Backend;
use crate::support::doorward::{Doorward, Setup};

const COOKIE: &str = "doorward_upstream";

/// A store with two instances and affinity.
struct Store {
    doorward: Doorward,
    instances: [Backend; 2],
}

impl Store {
    async fn start() -> Self {
        let instances = [Backend::start(), Backend::start()];
        let first = instances[0].url();
        let setup = Setup::plain()
            .store("upstream_affinity = true")
            .store_rules(RULES)
            .store_upstream(&first);
        let doorward = setup.start();
        doorward.edit(
            &format!("upstream = \"{first}\""),
            &format!("upstream = {}", list(&instances)),
        );
        doorward.reload_changes().await;
        Self {
            doorward,
            instances,
        }
    }

    async fn get(&self, cookie: Option<&str>) -> Reply {
        let store = &self.doorward.site().store;
        let mut dialogue = Dialogue::with(&self.doorward.browser(), store).await;
        let cookie = cookie.map(|cookie| format!("Cookie: theme=dark; {COOKIE}={cookie}\r\n"));
        let cookie = cookie.unwrap_or_default();
        let request =
            format!("GET /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\n{cookie}\r\n");
        let reply = dialogue.request("GET", request).await;
        assert_eq!(reply.status(), 200);
        reply
    }

    fn counts(&self) -> [usize; 2] {
        self.instances.each_ref().map(Backend::count)
    }
}

/// The value of the affinity cookie that a response sets.
fn set(reply: &Reply) -> Option<String> {
    let cookies = reply.head.all("set-cookie");
    let mut values = cookies.iter().filter_map(|cookie| {
        let value = cookie.strip_prefix(COOKIE)?.strip_prefix('=')?;
        assert!(
            value.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
            "{value}"
        );
        value.split(';').next().map(str::to_owned)
    });
    values.next()
}

#[tokio::test]
async fn browser_keeps_to_the_address_of_its_cookie() {
    let store = Store::start().await;
    let mut used = [false, false];
    while used != [true, true] {
        let before = store.counts();
        let first = store.get(None).await;
        let caching = first.head.header("cache-control");
        assert!(
            caching.is_some_and(|caching| caching.contains("private")),
            "{caching:?}"
        );
        let cookie = set(&first).expect("a cookie");
        let at = usize::from(store.counts()[1] > before[1]);
        used[at] = true;
        for _ in 0..10 {
            let reply = store.get(Some(&cookie)).await;
            assert_eq!(set(&reply), None, "it is set once");
        }
        assert_eq!(store.counts()[at], before[at] + 11);
        let seen = store.instances[at].last();
        assert_eq!(seen.head.all("cookie"), ["theme=dark"]);
    }
}

#[tokio::test]
async fn forged_cookie_selects_nothing_and_is_replaced() {
    let store = Store::start().await;
    let genuine = set(&store.get(None).await).expect("a cookie");
    let half = genuine.split_at(genuine.len() / 2).0;
    let address = store.instances[0].url();
    for forged in [half, "http://127.0.0.1:1", &address, "AAAA", ""] {
        assert!(set(&store.get(Some(forged)).await).is_some(), "{forged}");
    }
    assert!(!genuine.contains("127"), "{genuine}");
}

#[tokio::test]
async fn browser_of_an_address_that_is_gone_moves_to_another() {
    let mut store = Store::start().await;
    let before = store.counts();
    let cookie = set(&store.get(None).await).expect("a cookie");
    let at = usize::from(store.counts()[1] > before[1]);
    store.instances[at].stop();
    let moved = set(&store.get(Some(&cookie)).await).expect("another cookie");
    assert_ne!(moved, cookie);
    let other = store.counts()[1 - at];
    for _ in 0..10 {
        assert_eq!(set(&store.get(Some(&moved)).await), None);
    }
    assert_eq!(store.counts()[1 - at], other + 10);
}
