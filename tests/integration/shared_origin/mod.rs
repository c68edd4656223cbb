//! Apps that share an origin: the store has `https://store.example.test`, the shop and the wiki have
//! paths of it. The wiki has another provider than the others.

mod attacks;
mod journey;
mod placements;

use std::sync::Arc;

use doorward::types::time::ManualClock;

use crate::support::backend::Backend;
use crate::support::browser::Browser;
use crate::support::cookies::Cookie;
use crate::support::doorward::{BEGIN, Doorward, Setup};
use crate::support::page::Page;
use crate::support::provider::{Client, FakeProvider, User};

const ORIGIN: &str = "https://store.example.test";
const HOST: &str = "store.example.test";
const CALLBACK: &str = "/.doorward/callback";

/// A Doorward with such apps.
struct Shared {
    doorward: Doorward,
    members: FakeProvider,
    members_clock: Arc<ManualClock>,
    shop: Backend,
    wiki: Backend,
}

impl std::ops::Deref for Shared {
    type Target = Doorward;

    fn deref(&self) -> &Doorward {
        &self.doorward
    }
}

fn shared() -> Shared {
    shared_with(Setup::over_tls(), "")
}

/// The same with these lines of the shop.
fn shared_with(setup: Setup, lines: &str) -> Shared {
    let members_clock = Arc::new(ManualClock::starting_at(BEGIN));
    let members = FakeProvider::start_as("members.localhost", members_clock.clone());
    let (shop, wiki) = (Backend::start(), Backend::start());
    let app = |name: &str, provider: &str, backend: &Backend, lines: &str| {
        format!(
            "[apps.{name}]\nprovider = \"{provider}\"\npublic_url = \"{ORIGIN}/{name}\"\n\
             upstream = \"{}\"\nclient_id = \"{name}\"\nclient_secret = \"{name}-secret\"\n{lines}\n\
             [[apps.{name}.rules]]\npaths = [\"/{name}/public/**\"]\nallow = \"public\"\n",
            backend.url()
        )
    };
    let doorward = setup
        .more(&format!(
            "[providers.members]\nissuer = \"{}\"\n{}{}",
            members.issuer(),
            app("shop", "login", &shop, lines),
            app("wiki", "members", &wiki, ""),
        ))
        .start();
    for (provider, name) in [(&doorward.provider, "shop"), (&members, "wiki")] {
        provider.register(Client::of_app(name, &format!("{ORIGIN}/{name}")));
    }
    doorward.sign_in("alice");
    members.sign_in(User::new("bob", &[]));
    Shared {
        doorward,
        members,
        members_clock,
        shop,
        wiki,
    }
}

fn url(path: &str) -> String {
    format!("{ORIGIN}{path}")
}

impl Shared {
    /// The backend of the app that this path belongs to.
    fn backend(&self, path: &str) -> &Backend {
        match path.split('/').nth(1) {
            Some("shop") => &self.shop,
            Some("wiki") => &self.wiki,
            _ => &self.store,
        }
    }

    /// The requests that each backend has got: store, shop, wiki.
    fn counts(&self) -> [usize; 3] {
        [&self.store, &self.shop, &self.wiki].map(Backend::count)
    }

    /// Opens a page, with a login if there is no session.
    async fn open(&self, browser: &mut Browser, path: &str) -> Page {
        let page = browser.visit(&url(path)).await;
        assert_eq!(
            (page.status(), page.url.as_str()),
            (200, &*url(path)),
            "{page}"
        );
        page
    }

    /// Opens a page and returns whom the backend saw. Fails unless one response without a redirect
    /// shows it.
    async fn user_at(&self, browser: &mut Browser, path: &str) -> String {
        let page = browser.step(&url(path)).await;
        assert_eq!(page.status(), 200, "{page}");
        let seen = self.backend(path).last();
        assert_eq!(seen.target, path);
        let user = seen.header("x-forwarded-user");
        user.expect("a user").to_owned()
    }

    /// Whether a page starts a login.
    async fn needs_login(&self, browser: &Browser, path: &str) -> bool {
        let before = self.counts();
        let page = browser.clone().step(&url(path)).await;
        let is_login = page.status() == 302;
        if is_login {
            assert_eq!(self.counts(), before, "{page}");
        }
        is_login
    }

    /// A browser with a session at each app.
    async fn everywhere(&self) -> Browser {
        let mut browser = self.browser();
        for path in ["/cart", "/shop/cart", "/wiki/page"] {
            self.open(&mut browser, path).await;
        }
        browser
    }
}

/// The cookies of this app, by the beginning of their names.
fn cookies<'b>(browser: &'b Browser, app: &str) -> Vec<&'b Cookie> {
    let cookies = browser.jar.of(HOST).into_iter();
    cookies.filter(|cookie| cookie.name.contains(app)).collect()
}
