//! Three replicas that share a real Redis: one refresh for all, whatever fails meanwhile,
//! and replicated revocations.

use std::time::{Duration, Instant};

use url::Url;

use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::Doorward;
use crate::support::provider::FakeProvider;
use crate::support::redis::RedisServer;

mod catch_up;
mod forged;
mod forgetful;
mod killed;
mod order;
mod publication;
mod refresh;
mod revocations;
mod session_list;
mod store_down;

const CART: &str = "/shopping-cart";

/// The limit for the replication of a revocation.
const BOUND: Duration = Duration::from_secs(1);

/// The lines that configure this Redis as store.
fn store(redis: &RedisServer) -> String {
    format!("url = \"{}\"", redis.url())
}

fn refreshes(provider: &FakeProvider) -> usize {
    provider.grants("refresh_token")
}

/// Loads this page concurrently with copies of these browsers in turn. Returns the status of each
/// response, and the browser with the last response.
async fn all_at_once(browsers: &[Browser], count: usize, url: &str) -> (Vec<u16>, Browser) {
    let mut running = tokio::task::JoinSet::new();
    for browser in browsers.iter().cycle().take(count) {
        let (mut browser, url) = (browser.clone(), url.to_owned());
        running.spawn(async move {
            let status = browser.step(&url).await.status();
            (status, browser)
        });
    }
    let (mut statuses, mut last) = (Vec::new(), None);
    while let Some(ended) = running.join_next().await {
        let (status, browser) = ended.expect("a request");
        statuses.push(status);
        if status == 200 {
            last = Some(browser);
        }
    }
    (statuses, last.unwrap_or_else(|| browsers[0].clone()))
}

/// Logs out at the first replica through the confirmation form.
async fn log_out(doorward: &Doorward, browser: Browser) {
    let mut browser = doorward.moved_to(0, browser);
    let form = browser
        .visit(&doorward.store_url("/.doorward/logout"))
        .await;
    let url = Url::parse(&doorward.store_url("/.doorward/logout")).expect("an URL");
    let request = RequestSpec::new(Kind::Navigation, url.as_str())
        .method("POST")
        .from(&form.url);
    let page = browser.send(request).await;
    assert_eq!(page.status(), 303, "{page}");
}

/// Loads the page until the status is not 200, and returns the elapsed time.
async fn until_refused(browser: &mut Browser, url: &str) -> Duration {
    let begun = Instant::now();
    loop {
        let status = browser.clone().step(url).await.status();
        if status != 200 {
            assert_eq!(status, 302, "it is refused by sending to the login");
            return begun.elapsed();
        }
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "it is never refused"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
