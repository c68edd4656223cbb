//! Host names: the app's canonical host, its aliases, unknown hosts.

use super::{CART, location};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;

#[tokio::test]
async fn alias_navigation_redirects_to_canonical_origin() {
    let doorward = Setup::over_tls()
        .store("aliases = [\"https://www.store.example.test\"]")
        .start();
    let mut browser = doorward.browser();
    let alias = format!("https://www.store.example.test{CART}");
    let page = browser.step(&alias).await;
    assert_eq!(
        (page.status(), location(&page)),
        (308, doorward.store_url(CART).as_str()),
        "{page}"
    );
    assert!(page.head.all("set-cookie").is_empty(), "{page}");
    let from = url::Url::parse("https://www.store.example.test/").unwrap();
    let page = browser
        .send(RequestSpec::new(Kind::Fetch, &alias).from(&from))
        .await;
    assert_eq!(page.status(), 421, "{page}");
    doorward.sign_in("alice");
    let page = browser.visit(&alias).await;
    assert_eq!(
        (page.status(), page.url.as_str()),
        (200, doorward.store_url(CART).as_str()),
        "{page}"
    );
}

#[tokio::test]
async fn unknown_host_gets_421_and_no_default_app() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.browser();
    let anonymous_tasks = [
        "evil.localhost",
        "localhost",
        "127.0.0.1",
        "store.localhost.evil.test",
        "xstore.localhost",
    ];
    for host in anonymous_tasks {
        for path in [
            "/",
            CART,
            "/.doorward/login",
            "/.doorward/callback?code=x&state=y",
            "/.doorward/logout",
        ] {
            let page = browser.step(&format!("http://{host}:8080{path}")).await;
            assert_eq!(
                (page.status(), page.head.all("set-cookie").len()),
                (421, 0),
                "{host}{path}: {page}"
            );
        }
    }
    assert_eq!((doorward.store.count(), doorward.forum.count()), (0, 0));
}
