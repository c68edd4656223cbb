//! Apps below a path in every placement: decisions for other proxies, device-bound sessions, native apps,
//! logouts by the provider, a login host, and wildcard hosts.

use serde_json::json;
use url::Url;

use super::{HOST, ORIGIN, shared, shared_with, url};
use crate::decisions::check::{Check, Dialect, HTML, decided_by};
use crate::mobile_workflow::{PASSWORD, Phone};
use crate::support::assertions::{assert_error_page, assert_problem};
use crate::support::backend::Backend;
use crate::support::bound_browser::BoundBrowser;
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::cookies::CookieContext;
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Client, User};

fn cookies(doorward: &Doorward, browser: &Browser, url: &str) -> String {
    let context = CookieContext {
        same_site: true,
        top_level: true,
        safe_method: true,
    };
    let url = Url::parse(url).expect("a URL");
    let header = browser.jar.header(&url, doorward.now(), context);
    header.expect("cookies of a session")
}

#[tokio::test]
async fn other_proxy_gets_the_decision_of_the_app_with_the_path() {
    const SHOP: &str = "http://store.localhost:8080/shop";
    let shop = Backend::start();
    let doorward = decided_by(Setup::plain())
        .more(&format!(
            "[apps.shop]\nprovider = \"login\"\npublic_url = \"{SHOP}\"\nupstream = \"{}\"\n\
             client_id = \"shop\"\nclient_secret = \"shop-secret\"\n\
             [apps.shop.headers]\nX-Shop-User = \"{{sub}}\"\n",
            shop.url()
        ))
        .start();
    doorward.provider.register(Client::of_app("shop", SHOP));
    let mut browser = doorward.logged_in("alice", "/cart").await;
    browser.visit(&format!("{SHOP}/cart")).await;
    let cookies = cookies(&doorward, &browser, &format!("{SHOP}/cart"));
    for (dialect, anonymous_status) in [
        (Dialect::AuthRequest, 401),
        (Dialect::ForwardAuth, 302),
        (Dialect::ExtAuthz, 302),
    ] {
        let check = |target: &str| Check::new(dialect, target).header("Accept", HTML);
        let anonymous = check("/shop/a").request(&doorward).await;
        assert_eq!(anonymous.status(), anonymous_status, "{dialect:?}");
        let login = format!("{SHOP}/.doorward/login?return_to=%2Fshop%2Fa");
        assert_eq!(anonymous.head.header("location"), Some(login.as_str()));
        let user = check("/shop/a").header("Cookie", &cookies);
        let user = user.request(&doorward).await;
        assert_eq!(user.status(), 200, "{dialect:?}");
        assert_eq!(user.head.all("x-shop-user"), ["alice-id"], "{dialect:?}");
        let store = check("/a").header("Cookie", &cookies);
        let store = store.request(&doorward).await;
        assert_eq!(
            store.head.all("x-forwarded-user"),
            ["alice-id"],
            "{dialect:?}"
        );
        assert!(store.head.all("x-shop-user").is_empty(), "{dialect:?}");
        for spelling in ["/SHOP/a", "//shop/a", "/shop%2Fa"] {
            let check = check(spelling).header("Cookie", &cookies);
            let status = check.request(&doorward).await.status();
            assert!(
                (400..500).contains(&status),
                "{dialect:?} {spelling}: {status}"
            );
        }
    }
}

#[tokio::test]
async fn device_bound_session_is_renewed_below_the_path() {
    let shared = shared_with(Setup::over_tls(), "device_binding = { mode = \"require\" }");
    let mut browser = BoundBrowser::new(shared.browser());
    browser.visit(&url("/shop/cart")).await;
    browser.fetch("GET", &url("/shop/style.css")).await;
    let session = browser.session.clone().expect("a registration");
    assert_eq!(session.cookie, "__Secure-doorward-shop_device");
    assert!(session.refresh_url.path().starts_with("/shop/.doorward/"));
    let cookie = browser
        .browser
        .jar
        .get(HOST, &session.cookie)
        .expect("a proof");
    assert_eq!(cookie.path, "/shop");
    let thief = browser.browser.clone();
    shared.advance_secs(200);
    let page = browser.fetch("GET", &url("/shop/cart")).await;
    assert_eq!(page.status(), 200, "{page}");
    assert!(browser.renewals > 0);
    let page = thief
        .clone()
        .fetch(&Url::parse(ORIGIN).unwrap(), "GET", &url("/shop/cart"))
        .await;
    assert_eq!(page.status(), 401, "{page}");
    // The sessions of the other apps are not bound.
    let page = browser.visit(&url("/cart")).await;
    assert_eq!(page.status(), 200, "{page}");
}

#[tokio::test]
async fn native_app_logs_in_below_the_path() {
    let native = "native = { password_grant = true }";
    let shared = shared_with(Setup::over_tls().store(native), native);
    shared
        .provider
        .add_user("alice", PASSWORD, User::new("alice", &[]));
    let mut phone = Phone::at(url("/shop"), shared.browser());
    let login = phone.log_in("alice", PASSWORD).await;
    assert_eq!(login.status(), 200, "{login}");
    let page = phone.load("/cart").await;
    assert_eq!(page.status(), 200, "{page}");
    let seen = shared.shop.last();
    assert_eq!(
        (seen.target.as_str(), seen.header("x-forwarded-user")),
        ("/shop/cart", Some("alice-id"))
    );
    assert_eq!(phone.refresh().await.status(), 200);
    // The store does not accept its token.
    let token = login.json()["access_token"].as_str().unwrap().to_owned();
    for (path, status) in [("/shop/cart", 200), ("/cart", 401)] {
        let request = RequestSpec::new(Kind::Program, &url(path));
        let request = request.header("authorization", &format!("Bearer {token}"));
        let page = shared.browser().send(request).await;
        assert_eq!(page.status(), status, "{path}: {page}");
    }
}

#[tokio::test]
async fn back_channel_logout_ends_the_session_of_one_app() {
    let shared = shared();
    let mut browser = shared.everywhere().await;
    let user = json!({ "sub": "alice-id" });
    let told = async |path: &str, client: &str| {
        let token = shared.provider.logout_token(client, &user, &[]);
        let request = RequestSpec::new(Kind::Program, &url(path))
            .method("POST")
            .body(
                "application/x-www-form-urlencoded",
                format!("logout_token={token}"),
            );
        shared.browser().send(request).await.status()
    };
    assert_eq!(
        told("/shop/.doorward/backchannel-logout", "store").await,
        400
    );
    assert_eq!(
        told("/wiki/.doorward/backchannel-logout", "shop").await,
        400
    );
    assert_eq!(shared.user_at(&mut browser, "/shop/cart").await, "alice-id");
    assert_eq!(
        told("/shop/.doorward/backchannel-logout", "shop").await,
        200
    );
    assert!(shared.needs_login(&browser, "/shop/cart").await);
    assert_eq!(shared.user_at(&mut browser, "/cart").await, "alice-id");
}

#[tokio::test]
async fn front_channel_logout_ends_the_session_of_one_app() {
    let shared = shared_with(Setup::over_tls(), "frontchannel_logout = true");
    let mut browser = shared.everywhere().await;
    let page = Url::parse("https://login.example.test/logout").unwrap();
    let frame = RequestSpec::new(Kind::Frame, &url("/shop/.doorward/frontchannel-logout"));
    let response = browser.send(frame.from(&page)).await;
    assert_eq!(response.status(), 200, "{response}");
    assert!(shared.needs_login(&browser, "/shop/cart").await);
    assert_eq!(shared.user_at(&mut browser, "/cart").await, "alice-id");
    assert_eq!(shared.user_at(&mut browser, "/wiki/page").await, "bob-id");
}

#[tokio::test]
async fn login_host_serves_apps_below_a_path() {
    const LOGIN: &str = "https://signin.example.test";
    let setup = Setup::over_tls().provider(&format!("login_url = \"{LOGIN}\""));
    let shared = shared_with(setup, "");
    for id in ["store", "shop"] {
        shared.provider.register(Client::of_app(id, LOGIN));
    }
    let mut browser = shared.everywhere().await;
    let page = browser.step(&format!("{LOGIN}/.doorward/logout")).await;
    let words = page.words();
    assert!(words.contains("store.example.test/shop"), "{words}");
    browser.submit(&page, &[]).await;
    for path in ["/cart", "/shop/cart"] {
        assert!(shared.needs_login(&browser, path).await, "{path}");
    }
    assert_eq!(shared.user_at(&mut browser, "/wiki/page").await, "bob-id");
}

#[tokio::test]
async fn hosts_of_a_wildcard_have_apps_below_a_path() {
    let backend = Backend::start();
    let app = format!(
        "[apps.tenants]\nprovider = \"login\"\npublic_url = \"https://*.tenants.test/shop\"\n\
         upstream = \"{}\"\nclient_id = \"tenants\"\nclient_secret = \"tenants-secret\"\n",
        backend.url()
    );
    let shared = shared_with(Setup::over_tls().more(&app), "");
    let mut client = Client::of_app("tenants", "https://*.tenants.test/shop");
    for uris in [
        &mut client.redirect_uris,
        &mut client.post_logout_redirect_uris,
    ] {
        let pattern = uris.remove(0);
        uris.extend(["one", "two"].map(|label| pattern.replace('*', label)));
    }
    shared.provider.register(client);
    let mut browser = shared.browser();
    let cart = |label: &str| format!("https://{label}.tenants.test/shop/cart");
    let page = browser.visit(&cart("one")).await;
    assert_eq!(
        (page.status(), page.url.as_str()),
        (200, &*cart("one")),
        "{page}"
    );
    assert_eq!(browser.step(&cart("two")).await.status(), 302);
    for path in ["/", "/shopping", "/SHOP/cart"] {
        let page = browser
            .step(&format!("https://one.tenants.test{path}"))
            .await;
        assert_error_page(&page, 404, "no_app_at_path");
    }
}

#[tokio::test]
async fn refusals_name_the_app_and_lead_to_its_login() {
    let shared = shared();
    let mut browser = shared.browser();
    let page = browser
        .fetch(&Url::parse(ORIGIN).unwrap(), "GET", &url("/shop/api"))
        .await;
    assert_problem(&page, 401, "no_session");
    let login = page.json()["login_url"].as_str().unwrap().to_owned();
    assert!(
        login.starts_with(&url("/shop/.doorward/login?return_to=")),
        "{login}"
    );
}
