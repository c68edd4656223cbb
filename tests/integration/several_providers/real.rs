//! Two instances of the certified provider from npm for one app.

use std::fs;
use std::sync::Arc;

use doorward::config::{self, SealingKey};
use doorward::server::Server;
use doorward::types::time::{Clock, SystemClock};
use serde_json::json;

use super::{link_to, location, sets_session, with_parameters};
use crate::support::assertions::assert_error_page;
use crate::support::backend::Backend;
use crate::support::browser::{Browser, Page};
use crate::support::journey;
use crate::support::real_provider::{RealProvider, registration, secret_of};

const WIKI: &str = "http://wiki.localhost";
const NAMES: [&str; 2] = ["staff", "members"];

fn provider(name: &str) -> RealProvider {
    let mut client = registration("wiki", WIKI);
    client["redirect_uris"] = json!([format!("{WIKI}/.doorward/callback/{name}")]);
    // Each has its own cookies.
    RealProvider::start(&json!({ "clients": [client], "host": format!("{name}.localhost") }))
}

fn table(name: &str, issuer: &str) -> String {
    let secret = secret_of("wiki");
    format!(
        "[providers.{name}]\nissuer = \"{issuer}\"\n[apps.wiki.registrations.{name}]\n\
         client_id = \"wiki\"\nclient_secret = \"{secret}\"\n"
    )
}

/// Chooses a provider. Returns its form.
async fn form_of(browser: &mut Browser, name: &str) -> Page {
    let choice = browser.visit(&format!("{WIKI}/page")).await;
    let link = link_to(&choice, name);
    browser.click(&choice, &link).await
}

/// Logs in by the form, up to the redirect to the callback.
async fn before_callback(browser: &mut Browser, name: &str, user: &str) -> Page {
    let form = form_of(browser, name).await;
    let fields = [("username", user), ("password", user)];
    let mut page = browser.send(form.filled(&fields)).await;
    while !location(&page).starts_with(WIKI) {
        page = browser.next(&page).await;
    }
    page
}

#[tokio::test]
async fn two_real_providers_serve_one_app_and_are_not_mixed_up() {
    let providers = NAMES.map(provider);
    let backend = Backend::start();
    let folder = tempfile::tempdir().expect("a folder");
    let key = SealingKey::generate().expect("a key").to_text();
    fs::write(folder.path().join("session.key"), key).expect("a file");
    let file = folder.path().join("doorward.toml");
    let [staff, members] = &providers;
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nworkers = 1\n\
         [session]\nkey_files = [\"session.key\"]\n[apps.wiki]\nproviders = [\"staff\", \"members\"]\n\
         public_url = \"{WIKI}\"\nupstream = \"{}\"\n{}{}",
        backend.url(),
        table("staff", staff.issuer()),
        table("members", members.issuer()),
    );
    fs::write(&file, text).expect("a file");
    let loaded = config::load(&file, []).unwrap_or_else(|found| panic!("{}", found.render(false)));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let server = Server::start(loaded, Arc::clone(&clock), None).expect("it starts");
    let port = server.address().expect("a port").port();
    let new_browser = || Browser::new(Arc::clone(&clock)).with_port(80, port);

    for (name, user) in NAMES.into_iter().zip(["alice", "bob"]) {
        let mut browser = new_browser();
        let response = before_callback(&mut browser, name, user).await;
        let page = browser.next(&response).await;
        assert!(sets_session(&page), "{page}");
        let page = browser.visit(&format!("{WIKI}/page")).await;
        assert_eq!(page.status(), 200, "{page}");
        assert_eq!(backend.last().header("x-forwarded-user"), Some(user));
        let page = journey::log_out(&mut browser, WIKI).await;
        assert_eq!(page.status(), 200, "{page}");
    }
    let exchanges = || {
        providers
            .each_ref()
            .map(|one| one.count("grant.success", None))
    };
    assert_eq!(exchanges(), [1, 1]);

    // The response of one provider, in the name and at the callback of the other.
    let mut browser = new_browser();
    let of_staff = before_callback(&mut browser, "staff", "alice").await;
    let of_members = before_callback(&mut browser, "members", "alice").await;
    let (staff_url, members_url) = (location(&of_staff), location(&of_members));
    let with = |url: &str, name: &'static str, value: &str| {
        let value = value.to_owned();
        with_parameters(url, move |pairs| {
            for pair in pairs.iter_mut().filter(|(found, _)| found == name) {
                pair.1.clone_from(&value);
            }
        })
    };
    let state = |url: &str| {
        let url = url::Url::parse(url).expect("a URL");
        let mut pairs = url.query_pairs();
        let (_, state) = pairs.find(|(name, _)| name == "state").expect("a state");
        state.into_owned()
    };
    let moved = members_url.replace("callback/members", "callback/staff");
    for (url, code) in [
        (
            with(staff_url, "iss", members.issuer()),
            "callback_issuer_mismatch",
        ),
        (
            with(staff_url, "state", &state(members_url)),
            "state_invalid",
        ),
        (moved.clone(), "callback_issuer_mismatch"),
        (with(&moved, "iss", staff.issuer()), "state_invalid"),
    ] {
        let page = browser.step(&url).await;
        assert_error_page(&page, 400, code);
    }
    assert_eq!(exchanges(), [1, 1], "no code was sent");
    for provider in &providers {
        assert_eq!(provider.count("grant.error", None), 0);
    }
    // `drop` blocks, which is not allowed on a runtime's thread.
    let ended = std::thread::spawn(|| server.shut_down()).join();
    assert!(ended.is_ok());
}
