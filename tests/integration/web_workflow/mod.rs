//! The web workflow with the fake provider and echo backends: each step and its failure cases.

use url::Url;

use crate::support::browser::{Browser, Page};
use crate::support::cookies::CookieContext;
use crate::support::doorward::Doorward;
use crate::support::provider::Endpoint;

mod attempts;
mod callback;
mod client_kinds;
mod deep_links;
mod hosts;
mod late_responses;
mod limits;
mod login_csrf;
mod login_links;
mod logout;
mod loops;
mod no_refresh_token;
mod outage_grace;
mod post_replay;
mod preserved_posts;
mod provider_down;
mod refresh;
mod refresh_ahead;
mod refresh_responses;
mod return_targets;
mod reuse;
mod steps;
mod stolen;
mod tabs;
mod unrefreshable;
mod user_switch;

const CART: &str = "/shopping-cart?item=7&size=a%20b";

/// A query parameter of a URL.
fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    url.query_pairs()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.into_owned())
}

/// The redirect target of a response.
fn location(page: &Page) -> &str {
    page.header("location")
        .unwrap_or_else(|| panic!("no redirect: {page}"))
}

/// The names of the cookies that a response sets.
fn set(page: &Page) -> Vec<String> {
    named(page, |value| !value.is_empty())
}

/// The names of the cookies that a response deletes.
fn expired(page: &Page) -> Vec<String> {
    named(page, str::is_empty)
}

fn named(page: &Page, which: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = page.head.all("set-cookie").into_iter();
    let pairs = lines.filter_map(|line| line.split(';').next()?.split_once('='));
    pairs
        .filter(|(_, value)| which(value))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Whether a response sets a session cookie.
fn sets_session(page: &Page) -> bool {
    set(page).iter().any(|name| {
        ["_jwt", "_refresh", "_activity"]
            .iter()
            .any(|end| name.ends_with(end))
    })
}

/// Delivers the response that another tab waited for: stores its cookies in the shared jar.
fn arrive(doorward: &Doorward, browser: &mut Browser, page: &Page) {
    let situation = CookieContext {
        same_site: true,
        top_level: true,
        safe_method: true,
    };
    for line in page.head.all("set-cookie") {
        browser
            .jar
            .take(&page.url, line, doorward.now(), situation)
            .unwrap_or_else(|why| panic!("{line}: {why}"));
    }
}

/// Loads the cart without redirects, as `name`.
async fn load(doorward: &Doorward, browser: &mut Browser, name: &str) -> Page {
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(shown(&page), Some(format!("{name}-id")), "{page}");
    page
}

/// The user that the echo backend received.
fn shown(page: &Page) -> Option<String> {
    let headers = page.json()["headers"].as_array()?.clone();
    let user = headers.into_iter().find(|pair| {
        pair[0]
            .as_str()
            .is_some_and(|n| n.eq_ignore_ascii_case("x-forwarded-user"))
    })?;
    user[1].as_str().map(str::to_owned)
}

/// Requests a page without a session and asserts the redirect to the provider.
async fn is_sent_to_log_in(doorward: &Doorward, browser: &mut Browser) -> Page {
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 302, "{page}");
    assert!(
        location(&page).starts_with(&doorward.provider.url(Endpoint::Authorize)),
        "{page}"
    );
    page
}

/// The number of calls to the provider.
fn calls(doorward: &Doorward) -> usize {
    Endpoint::ALL
        .iter()
        .map(|endpoint| doorward.provider.calls(*endpoint))
        .sum()
}

/// The number of refreshes.
fn refreshes(doorward: &Doorward) -> usize {
    doorward.provider.grants("refresh_token")
}

/// The number of code exchanges.
fn exchanges(doorward: &Doorward) -> usize {
    doorward.provider.grants("authorization_code")
}
