//! Logins, refreshes and logouts of apps that share an origin.

use std::time::Duration;

use url::form_urlencoded::byte_serialize;

use super::{CALLBACK, HOST, ORIGIN, cookies, shared, shared_with, url};
use crate::support::assertions::{assert_error_page, assert_problem, fetched};
use crate::support::backend::Answer;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;

#[tokio::test]
async fn each_app_has_its_own_login_session_and_backend() {
    let shared = shared();
    let mut browser = shared.browser();
    for (path, base, issuer) in [
        ("/shop/cart?a=b", "/shop", shared.provider.issuer()),
        ("/wiki/page", "/wiki", shared.members.issuer()),
        ("/cart", "", shared.provider.issuer()),
    ] {
        let page = browser.clone().step(&url(path)).await;
        let location = page.header("location").unwrap();
        assert!(location.starts_with(issuer), "{location}");
        let callback = format!("{ORIGIN}{base}{CALLBACK}");
        let callback: String = byte_serialize(callback.as_bytes()).collect();
        assert!(location.contains(&callback), "{location}");
        shared.open(&mut browser, path).await;
    }
    for (path, user) in [
        ("/", "alice-id"),
        ("/shop/cart", "alice-id"),
        ("/shop", "alice-id"),
        ("/wiki/", "bob-id"),
        ("/shopping", "alice-id"),
    ] {
        assert_eq!(shared.user_at(&mut browser, path).await, user, "{path}");
    }
    assert_eq!(shared.store.last().target, "/shopping");
    for backend in [&shared.store, &shared.shop, &shared.wiki] {
        backend.assert_never_saw(&["doorward"]);
    }
}

#[tokio::test]
async fn cookies_are_named_apart_and_have_the_path() {
    let shared = shared();
    let browser = shared.everywhere().await;
    for (names, path) in [
        ("__Host-doorward_", "/"),
        ("__Secure-doorward-shop_", "/shop"),
        ("__Secure-doorward-wiki_", "/wiki"),
    ] {
        let found = cookies(&browser, names);
        for kind in ["jwt", "refresh", "activity", "browser"] {
            let name = format!("{names}{kind}");
            let cookie = found.iter().find(|cookie| cookie.name == name);
            let cookie = cookie.unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(
                (cookie.path.as_str(), cookie.host_only),
                (path, true),
                "{name}"
            );
        }
    }
    let hint = cookies(&browser, "__Secure-doorward-shop_id_token_hint");
    assert_eq!(hint[0].path, "/shop/.doorward/logout");
}

#[tokio::test]
async fn sessions_are_refreshed_apart() {
    let shared = shared();
    let mut browser = shared.everywhere().await;
    shared.advance_secs(300);
    shared.members_clock.advance(Duration::from_secs(300));
    for (path, user) in [
        ("/shop/cart", "alice-id"),
        ("/wiki/page", "bob-id"),
        ("/cart", "alice-id"),
    ] {
        assert_eq!(shared.user_at(&mut browser, path).await, user, "{path}");
    }
    assert_eq!(shared.provider.grants("refresh_token"), 2);
    assert_eq!(shared.members.grants("refresh_token"), 1);
}

#[tokio::test]
async fn logout_of_one_app_leaves_the_others() {
    let shared = shared();
    let mut browser = shared.everywhere().await;
    let form = browser.visit(&url("/shop/.doorward/logout")).await;
    assert!(
        form.links().iter().any(|(href, _)| href == "/shop/"),
        "{form}"
    );
    let mut page = browser.submit(&form, &[]).await;
    for _ in 0..3 {
        if page.url.host_str() != Some(HOST) {
            page = browser.submit(&page, &[]).await;
        }
    }
    assert_eq!(page.url.path(), "/shop/.doorward/signed-out", "{page}");
    assert!(cookies(&browser, "doorward-shop_jwt").is_empty());
    assert!(shared.needs_login(&browser, "/shop/cart").await);
    assert_eq!(shared.user_at(&mut browser, "/").await, "alice-id");
    assert_eq!(shared.user_at(&mut browser, "/wiki/page").await, "bob-id");
}

#[tokio::test]
async fn endpoints_are_below_the_path() {
    let shared = shared();
    let mut browser = shared.everywhere().await;
    for (path, user) in [
        ("/.doorward/session", "alice-id"),
        ("/shop/.doorward/session", "alice-id"),
        ("/wiki/.doorward/session", "bob-id"),
    ] {
        let page = fetched(&mut browser, &url(path)).await;
        assert_eq!(page.json()["sub"], user, "{page}");
    }
    let page = browser.visit(&url("/shop/.doorward/sessions")).await;
    assert_eq!(page.status(), 200, "{page}");
    for form in page.forms() {
        assert!(form.action.starts_with("/shop/.doorward/"), "{page}");
    }
    let unknown = browser.step(&url("/shop/.doorward/x")).await;
    assert_error_page(&unknown, 404, "no_such_endpoint");
    let start = browser
        .visit(&url("/shop/.doorward/login?return_to=/shop/a"))
        .await;
    assert_eq!(start.url.as_str(), url("/shop/a"));
}

#[tokio::test]
async fn path_of_no_app_is_not_found() {
    const SIGN_IN: &str = "https://signin.example.test";
    let app = format!(
        "[apps.blog]\nprovider = \"login\"\npublic_url = \"{SIGN_IN}/blog\"\n\
         upstream = \"http://127.0.0.1:9\"\nclient_id = \"store\"\nclient_secret = \"store-secret\"\n"
    );
    let shared = shared_with(Setup::over_tls().more(&app), "");
    let mut browser = shared.browser();
    for path in [
        "/",
        "/blogs",
        "/Blog",
        "/.doorward/login",
        "/blog%2Fx",
        "//blog",
    ] {
        let url = format!("{SIGN_IN}{path}");
        assert_error_page(&browser.step(&url).await, 404, "no_app_at_path");
        assert_problem(&fetched(&mut browser, &url).await, 404, "no_app_at_path");
    }
    for path in ["/blog", "/blog/", "/%62log/x"] {
        let page = browser.step(&format!("{SIGN_IN}{path}")).await;
        assert_eq!(page.status(), 302, "{page}");
    }
    // Of the other apps, one has the root.
    assert_eq!(browser.step(&url("/blog")).await.status(), 302);
}

#[tokio::test]
async fn login_leads_back_into_the_app_only() {
    let shared = shared();
    let mut browser = shared.everywhere().await;
    for (link, expected) in [
        ("/shop/.doorward/login?return_to=/shop/a?b", "/shop/a?b"),
        (
            "/shop/.doorward/login?return_to=/wiki/.doorward/logout",
            "/shop/",
        ),
        ("/shop/.doorward/login?return_to=/cart", "/shop/"),
        ("/shop/.doorward/login?return_to=//evil.example", "/shop/"),
        ("/shop/.doorward/login", "/shop/"),
        ("/.doorward/login?return_to=/shop/.doorward/logout", "/"),
        ("/.doorward/login?return_to=/cart", "/cart"),
    ] {
        let page = browser.visit(&url(link)).await;
        assert_eq!(page.url.as_str(), url(expected), "{link}");
    }
}

#[tokio::test]
async fn form_is_preserved_during_a_login_below_the_path() {
    let shared = shared();
    let mut browser = shared.browser();
    let form = RequestSpec::new(Kind::Navigation, &url("/shop/order"))
        .method("POST")
        .body("application/x-www-form-urlencoded", "item=7")
        .from(&url("/shop/cart").parse().unwrap())
        .following();
    let confirm = browser.send(form).await;
    assert_eq!(confirm.url.path(), "/shop/.doorward/form", "{confirm}");
    browser.submit(&confirm, &[]).await;
    let seen = shared.shop.last();
    assert_eq!(
        (seen.target.as_str(), &*seen.body),
        ("/shop/order", &b"item=7"[..])
    );
}

#[tokio::test]
async fn plain_http_and_aliases_lead_to_the_same_path() {
    let shared = shared_with(
        Setup::over_tls().listeners(&["tls = true", "redirect_to_https = true"]),
        "aliases = [\"https://www.store.example.test\"]",
    );
    let mut browser = shared.browser();
    for path in ["/shop/x?y", "/other", "/wiki"] {
        let alias = format!("https://www.store.example.test{path}");
        let page = browser.step(&alias).await;
        assert_eq!(
            (page.status(), page.header("location")),
            (308, Some(&*url(path)))
        );
    }
    let mut plain = shared.browser().with_port(80, shared.listener_port(1));
    for path in ["/shop/x?y", "/other"] {
        let page = plain.step(&format!("http://{HOST}{path}")).await;
        assert_eq!(
            (page.status(), page.header("location")),
            (308, Some(&*url(path)))
        );
    }
}

#[tokio::test]
async fn route_strips_the_path_and_cookies_of_the_app_keep_it() {
    let shared = shared_with(
        Setup::over_tls(),
        "[[apps.shop.routes]]\npath = \"/shop/**\"\nstrip_prefix = \"/shop\"",
    );
    let mut browser = shared.browser();
    let answer = Answer::default()
        .with_header("set-cookie", "cart=7; Path=/")
        .with_header("location", "/checkout");
    shared.shop.response("/cart", answer);
    let page = browser.visit(&url("/shop/cart")).await;
    assert_eq!(page.header("location"), Some("/shop/checkout"), "{page}");
    assert_eq!(browser.jar.get(HOST, "cart").unwrap().path, "/shop");
    assert_eq!(
        shared.shop.last().header("x-forwarded-prefix"),
        Some("/shop")
    );
    shared.open(&mut browser, "/shop/.hidden").await;
    assert_eq!(shared.shop.last().target, "/.hidden");
    let endpoint = browser.step(&url("/shop/.doorward/session")).await;
    assert_eq!(endpoint.status(), 200);
}
