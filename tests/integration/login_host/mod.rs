//! Logins through a login host: the store and the forum below one domain and the wiki below another
//! share it. The wiki uses the store's registration.

use url::Url;

use crate::support::backend::Backend;
use crate::support::browser::{Browser, Page};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Client, Endpoint};

mod attacks;
mod journey;
mod logout;
mod many_hosts;
mod replicas;
mod wildcard;

const LOGIN: &str = "https://signin.example.test";
const LOGIN_HOST: &str = "signin.example.test";
const WIKI: &str = "https://wiki.other.test";
const CART: &str = "/shopping-cart?item=7";

/// A Doorward whose apps share a login host.
struct Shared {
    doorward: Doorward,
    wiki: Backend,
}

impl std::ops::Deref for Shared {
    type Target = Doorward;

    fn deref(&self) -> &Doorward {
        &self.doorward
    }
}

fn shared() -> Shared {
    shared_with(Setup::over_tls())
}

fn shared_with(setup: Setup) -> Shared {
    let wiki = Backend::start();
    let doorward = setup
        .provider(&format!("login_url = \"{LOGIN}\""))
        .more(&format!(
            "[apps.wiki]\nprovider = \"login\"\npublic_url = \"{WIKI}\"\nupstream = \"{}\"\n\
             client_id = \"store\"\nclient_secret_file = \"store.secret\"\n",
            wiki.url()
        ))
        .start();
    for id in ["store", "forum"] {
        doorward.provider.register(Client::of_app(id, LOGIN));
    }
    Shared { doorward, wiki }
}

impl Shared {
    fn wiki_saw(&self) -> Option<String> {
        let last = self.wiki.last();
        last.header("x-forwarded-user").map(str::to_owned)
    }

    /// Starts a login at this URL and stops before the hand-over. Returns the response that carries
    /// the hand-over code.
    async fn handed_over(&self, browser: &mut Browser, url: &str) -> Page {
        let start = browser.step(url).await;
        assert!(
            location(&start).starts_with(&format!("{LOGIN}/.doorward/login?request=")),
            "{start}"
        );
        let at_host = browser.next(&start).await;
        let authorize = self.provider.url(Endpoint::Authorize);
        assert!(location(&at_host).starts_with(&authorize), "{at_host}");
        let at_provider = browser.next(&at_host).await;
        let callback = browser.next(&at_provider).await;
        assert!(
            location(&callback).contains("/.doorward/callback?handover="),
            "{callback}"
        );
        callback
    }

    /// Whether the store answers this browser as a signed-in user.
    async fn is_signed_in(&self, browser: &mut Browser, url: &str) -> bool {
        browser.step(url).await.status() == 200
    }
}

/// The target of a redirect or refresh.
fn location(page: &Page) -> &str {
    page.target()
        .unwrap_or_else(|| panic!("no redirect: {page}"))
}

/// The names of the cookies that a response sets.
fn set(page: &Page) -> Vec<String> {
    let lines = page.head.all("set-cookie").into_iter();
    let pairs = lines.filter_map(|line| line.split(';').next()?.split_once('='));
    let set = pairs.filter(|(_, value)| !value.is_empty());
    set.map(|(name, _)| name.to_owned()).collect()
}

fn sets_session(page: &Page) -> bool {
    set(page)
        .iter()
        .any(|name| name.ends_with("_jwt") || name.ends_with("_refresh"))
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    let mut pairs = url.query_pairs();
    let (_, value) = pairs.find(|(found, _)| found == name)?;
    Some(value.into_owned())
}
