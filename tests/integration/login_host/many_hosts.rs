//! Fifty hosts under two domains with one registration at the certified provider from npm.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;

use doorward::config::{self, SealingKey};
use doorward::server::Server;
use doorward::types::time::SystemClock;
use serde_json::json;

use crate::support::backend::Backend;
use crate::support::browser::Browser;
use crate::support::journey;
use crate::support::real_provider::{RealProvider, registration, secret_of};

const LOGIN: &str = "http://signin.one.localhost";

fn origin(number: usize) -> String {
    let domain = if number.is_multiple_of(2) {
        "one"
    } else {
        "two"
    };
    format!("http://app-{number}.{domain}.localhost")
}

#[tokio::test]
async fn fifty_hosts_open_after_one_form_and_close_after_one_logout() {
    let provider = RealProvider::start(&json!({ "clients": [registration("shared", LOGIN)] }));
    let backend = Backend::start();
    let folder = tempfile::tempdir().expect("a folder");
    let key = SealingKey::generate().expect("a key").to_text();
    fs::write(folder.path().join("session.key"), key).expect("a file");
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nworkers = 2\n\
         [session]\nkey_files = [\"session.key\"]\n\
         [providers.login]\nissuer = \"{}\"\nlogin_url = \"{LOGIN}\"\n",
        provider.issuer()
    );
    for number in 0..50 {
        write!(
            text,
            "[apps.app-{number}]\nprovider = \"login\"\npublic_url = \"{}\"\nupstream = \"{}\"\n\
             client_id = \"shared\"\nclient_secret = \"{}\"\n\
             scopes = [\"openid\", \"email\", \"offline_access\"]\n",
            origin(number),
            backend.url(),
            secret_of("shared"),
        )
        .expect("a string");
    }
    let file = folder.path().join("doorward.toml");
    fs::write(&file, text).expect("a file");
    let loaded = config::load(&file, []).unwrap_or_else(|bad| panic!("{}", bad.render(false)));
    let server = Server::start(loaded, Arc::new(SystemClock), None).expect("it starts");
    let port = server.address().expect("a port").port();
    let mut browser = Browser::new(Arc::new(SystemClock)).with_port(80, port);

    journey::log_in(&mut browser, &format!("{}/page", origin(0)), "alice").await;
    for number in 1..50 {
        let url = format!("{}/page", origin(number));
        journey::arrive_without_form(&mut browser, &url, "alice").await;
    }
    assert_eq!(provider.count("form", None), 1, "{:?}", provider.events());

    let page = browser.step(&format!("{LOGIN}/.doorward/logout")).await;
    let words = page.words();
    for number in 0..50 {
        let host = origin(number).replace("http://", "");
        assert!(words.contains(&host), "{host}: {words}");
    }
    let confirmation = browser.submit(&page, &[]).await;
    let signed_out = browser.submit(&confirmation, &[("logout", "yes")]).await;
    assert_eq!(
        signed_out.url.as_str(),
        format!("{LOGIN}/.doorward/signed-out"),
        "{signed_out}"
    );
    for number in 0..50 {
        let page = browser.step(&format!("{}/page", origin(number))).await;
        assert_eq!(page.status(), 302, "{page}");
    }
    // `drop` blocks, which is not allowed on a runtime's thread.
    let ended = std::thread::spawn(|| server.shut_down()).join();
    assert!(ended.is_ok());
}
