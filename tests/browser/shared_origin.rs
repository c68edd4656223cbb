//! Apps that share an origin in a real Chromium: paths of cookies, sessions of different users at different
//! providers, and cookies that a script of one app plants for another.

use std::sync::Arc;

use doorward::types::time::ManualClock;
use serde_json::json;

use crate::chromium::{Chromium, Launch};
use crate::support::backend::{Answer, Backend, Content};
use crate::support::doorward::{BEGIN, Doorward, Setup};
use crate::support::provider::{Client, Endpoint, FakeProvider, User};

const ORIGIN: &str = "https://store.example.test";
const HOST: &str = "store.example.test";
/// A page of each app, the user that logs in there, and what its cookies begin with.
const APPS: [(&str, &str, &str); 3] = [
    ("/cart", "alice-id", "__Host-doorward_"),
    ("/shop/cart", "alice-id", "__Secure-doorward-shop_"),
    ("/wiki/page", "bob-id", "__Secure-doorward-wiki_"),
];

struct Shared {
    doorward: Doorward,
    _members: FakeProvider,
    shop: Backend,
    wiki: Backend,
}

/// The store at `/`, the shop at `/shop` and the wiki at `/wiki`, each with a page.
fn shared() -> Shared {
    let clock = Arc::new(ManualClock::starting_at(BEGIN));
    let members = FakeProvider::start_as("members.localhost", clock);
    let (shop, wiki) = (Backend::start(), Backend::start());
    let app = |name: &str, provider: &str, backend: &Backend| {
        format!(
            "[apps.{name}]\nprovider = \"{provider}\"\npublic_url = \"{ORIGIN}/{name}\"\n\
             upstream = \"{}\"\nclient_id = \"{name}\"\nclient_secret = \"{name}-secret\"\n",
            backend.url()
        )
    };
    let doorward = Setup::over_tls()
        .more(&format!(
            "[providers.members]\nissuer = \"{}\"\n{}{}",
            members.issuer(),
            app("shop", "login", &shop),
            app("wiki", "members", &wiki),
        ))
        .start();
    for (provider, name) in [(&doorward.provider, "shop"), (&members, "wiki")] {
        provider.register(Client::of_app(name, &format!("{ORIGIN}/{name}")));
    }
    doorward.provider.sign_in(User::new("alice", &[]));
    members.sign_in(User::new("bob", &[]));
    let shared = Shared {
        doorward,
        _members: members,
        shop,
        wiki,
    };
    for (path, _, _) in APPS {
        let page = format!("<!doctype html><link rel=icon href=data:,><h1>{path}</h1>");
        let answer = Answer {
            body: Content::Bytes(page.into_bytes()),
            ..Answer::default()
        };
        let answer = answer.with_header("Content-Type", "text/html");
        shared.backend(path).response(path, answer);
    }
    shared
}

impl Shared {
    fn backend(&self, path: &str) -> &Backend {
        match path.split('/').nth(1) {
            Some("shop") => &self.shop,
            Some("wiki") => &self.wiki,
            _ => &self.doorward.store,
        }
    }

    async fn chromium(&self) -> Chromium {
        let launch = Launch {
            trusted_keys: vec![self.doorward.spki_sha256()],
            ports: vec![(HOST, self.doorward.port_of(0))],
            features: None,
        };
        Chromium::launch(&launch).await
    }

    /// Opens a page, which logs in at the provider without a form if it has to.
    async fn open(&self, chromium: &Chromium, path: &str, user: &str) {
        let before = self.backend(path).count();
        chromium.open(&format!("{ORIGIN}{path}")).await;
        chromium.says("h1", path).await;
        assert_eq!(self.backend(path).count(), before + 1);
        let seen = self.backend(path).last();
        assert_eq!(seen.header("x-forwarded-user"), Some(user), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_of_one_origin_have_sessions_of_their_own() {
    let shared = shared();
    let chromium = shared.chromium().await;
    for (path, user, _) in APPS {
        shared.open(&chromium, path, user).await;
    }
    for (path, user, own) in APPS {
        shared.open(&chromium, path, user).await;
        let cookies = chromium.cookies().await;
        let names = cookies.iter().filter_map(|cookie| cookie["name"].as_str());
        let names: Vec<&str> = names.collect();
        for kind in ["jwt", "refresh", "activity", "browser"] {
            assert!(
                names.contains(&format!("{own}{kind}").as_str()),
                "{names:?}"
            );
        }
        // Those of an app at `/` are sent everywhere.
        let others = names.iter().filter(|name| !name.starts_with("__Host-"));
        assert!(
            others.into_iter().all(|name| name.starts_with(own)),
            "{names:?}"
        );
        assert_eq!(chromium.cookies_of_scripts().await, "");
    }
    for backend in [&shared.doorward.store, &shared.shop, &shared.wiki] {
        backend.assert_never_saw(&["doorward_", "doorward-"]);
    }

    chromium
        .open(&format!("{ORIGIN}/shop/.doorward/logout"))
        .await;
    chromium.click("form button").await;
    let signed_out = format!("{ORIGIN}/shop/.doorward/signed-out");
    let is_over = |address: &str| address.starts_with(&signed_out);
    chromium.arrives("the page after the logout", is_over).await;
    for (path, user, own) in APPS {
        chromium.open(&format!("{ORIGIN}{path}.none")).await;
        let jwt = format!("{own}jwt");
        let cookies = chromium.cookies().await;
        let has_session = cookies.iter().any(|cookie| cookie["name"] == *jwt);
        if path.starts_with("/shop") {
            assert!(!has_session, "{cookies:?}");
        } else {
            assert!(has_session, "{cookies:?}");
            shared.open(&chromium, path, user).await;
        }
    }
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_that_a_script_plants_for_another_app_are_ignored() {
    let shared = shared();
    let chromium = shared.chromium().await;
    for (path, user, _) in APPS {
        shared.open(&chromium, path, user).await;
    }
    // The page of the wiki is open.
    let script = "for (const kind of arguments[0])
        for (const value of ['x', '2.x', 'AAAAAAAAAAAAAAAAAAAAAA'])
            for (const path of ['/shop/cart', '/shop'])
                document.cookie = `__Secure-doorward-shop_${kind}=${value}; Secure; Path=${path}`;";
    let kinds = json!([
        "jwt",
        "jwt.1",
        "refresh",
        "activity",
        "browser",
        "login_loop"
    ]);
    let planted = chromium.client().execute(script, vec![kinds]).await;
    planted.expect("a script runs");
    shared.open(&chromium, "/shop/cart", "alice-id").await;
    let visible = chromium.cookies_of_scripts().await;
    assert!(
        visible.contains("__Secure-doorward-shop_jwt=AAAA"),
        "{visible}"
    );
    let logins = shared.doorward.provider.calls(Endpoint::Authorize);
    shared.open(&chromium, "/shop/cart", "alice-id").await;
    let after = shared.doorward.provider.calls(Endpoint::Authorize);
    assert_eq!(after, logins);
    chromium.close().await;
}
