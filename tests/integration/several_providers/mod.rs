//! An app with several providers: the wiki, whose users log in at `login` or at `members`. Both have a
//! client `wiki` and a user with the same `sub`.

use std::sync::Arc;
use std::time::Duration;

use doorward::types::time::ManualClock;
use url::Url;

use crate::support::backend::Backend;
use crate::support::browser::{Browser, Page};
use crate::support::doorward::{BEGIN, Doorward, Setup};
use crate::support::journey;
use crate::support::provider::{Client, Endpoint, FakeProvider, User};

mod attacks;
mod choice;
mod logout;
mod migration;
mod placements;
mod real;
mod sessions;
mod tokens;

const WIKI: &str = "http://wiki.localhost:8080";
const PAGE: &str = "http://wiki.localhost:8080/page?id=7";
const LOGIN: &str = "http://wiki.localhost:8080/.doorward/login";

/// A Doorward with such an app.
struct Several {
    doorward: Doorward,
    members: FakeProvider,
    members_clock: Arc<ManualClock>,
    wiki: Backend,
}

impl std::ops::Deref for Several {
    type Target = Doorward;

    fn deref(&self) -> &Doorward {
        &self.doorward
    }
}

fn several() -> Several {
    several_with(Setup::plain(), "")
}

/// The same with these lines of the app.
fn several_with(setup: Setup, lines: &str) -> Several {
    let members_clock = Arc::new(ManualClock::starting_at(BEGIN));
    let members = FakeProvider::start_as("members.localhost", members_clock.clone());
    let wiki = Backend::start();
    let registration = |name: &str| {
        format!(
            "[apps.wiki.registrations.{name}]\nclient_id = \"wiki\"\nclient_secret = \"wiki-secret\"\n"
        )
    };
    let doorward = setup
        .provider("title = \"Staff <&>\"\nlogin_hint_domains = [\"staff.example\"]")
        .more(&format!(
            "[providers.members]\nissuer = \"{}\"\nlogin_hint_domains = [\"members.example\"]\n\
             [apps.wiki]\nproviders = [\"login\", \"members\"]\npublic_url = \"{WIKI}\"\n\
             upstream = \"{}\"\n{lines}\n{}{}",
            members.issuer(),
            wiki.url(),
            registration("login"),
            registration("members"),
        ))
        .start();
    for (provider, name) in [(&doorward.provider, "login"), (&members, "members")] {
        let mut client = Client::of_app("wiki", WIKI);
        client.redirect_uris = vec![callback(name)];
        provider.register(client);
        provider.sign_in(User::new("alice", &[]));
    }
    Several {
        doorward,
        members,
        members_clock,
        wiki,
    }
}

/// The callback of one provider.
fn callback(provider: &str) -> String {
    format!("{WIKI}/.doorward/callback/{provider}")
}

impl Several {
    /// The provider of this name.
    fn at(&self, name: &str) -> &FakeProvider {
        match name {
            "login" => &self.doorward.provider,
            _ => &self.members,
        }
    }

    /// Opens the page, chooses a provider by its link, and returns to the page.
    async fn log_in(&self, browser: &mut Browser, provider: &str) -> Page {
        let choice = browser.visit(PAGE).await;
        let page = self.choose(browser, &choice, provider).await;
        assert_eq!((page.status(), page.url.as_str()), (200, PAGE), "{page}");
        page
    }

    async fn choose(&self, browser: &mut Browser, choice: &Page, provider: &str) -> Page {
        let link = link_to(choice, provider);
        browser.click(choice, &link).await
    }

    /// Starts a login and stops before the callback: the redirect of the provider.
    async fn before_callback(&self, browser: &mut Browser, provider: &str) -> Page {
        let start = browser
            .step(&format!("{LOGIN}?return_to=%2F&provider={provider}"))
            .await;
        let authorize = self.at(provider).url(Endpoint::Authorize);
        assert!(location(&start).starts_with(&authorize), "{start}");
        browser.next(&start).await
    }

    /// Whether the wiki answers this browser as alice.
    async fn is_signed_in(&self, browser: &mut Browser) -> bool {
        browser.step(PAGE).await.status() == 200
    }

    fn code_exchanges(&self) -> [usize; 2] {
        ["login", "members"].map(|name| self.at(name).grants("authorization_code"))
    }

    fn advance_secs(&self, secs: u64) {
        self.doorward.advance_secs(secs);
        self.members_clock.advance(Duration::from_secs(secs));
    }
}

/// The link of the page of choice to this provider.
fn link_to(choice: &Page, provider: &str) -> String {
    let wanted = format!("provider={provider}");
    let mut links = choice.links().into_iter().map(|(target, _)| target);
    let link = links.find(|target| target.contains(&wanted));
    link.unwrap_or_else(|| panic!("no link to {provider}: {choice}"))
}

fn location(page: &Page) -> &str {
    page.header("location")
        .unwrap_or_else(|| panic!("no redirect: {page}"))
}

fn sets_session(page: &Page) -> bool {
    let lines = page.head.all("set-cookie").into_iter();
    let names = lines.filter_map(|line| line.split_once('='));
    names
        .into_iter()
        .any(|(name, _)| name.ends_with("_jwt") || name.ends_with("_refresh"))
}

fn cookie(browser: &Browser, kind: &str) -> Option<String> {
    journey::cookie(browser, "wiki.localhost", kind)
}

/// A URL with other values of its parameters.
fn with_parameters(url: &str, change: impl Fn(&mut Vec<(String, String)>)) -> String {
    let mut url = Url::parse(url).expect("a URL");
    let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    change(&mut pairs);
    url.query_pairs_mut().clear().extend_pairs(pairs);
    url.to_string()
}
