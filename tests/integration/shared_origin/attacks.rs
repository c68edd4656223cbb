//! Apps that share an origin do not get each other's sessions.

use super::{HOST, cookies, shared, shared_with, url};
use crate::support::assertions::Dialogue;
use crate::support::backend::Answer;
use crate::support::browser::Browser;
use crate::support::cookies::Cookie;
use crate::support::doorward::Setup;

/// Copies the cookies of one app to the names and the path of another.
fn copy_cookies(browser: &mut Browser, from: (&str, &str), to: (&str, &str)) {
    let copies: Vec<Cookie> = cookies(browser, from.0)
        .into_iter()
        .map(|cookie| Cookie {
            name: cookie.name.replacen(from.0, to.0, 1),
            path: cookie.path.replacen(from.1, to.1, 1),
            ..cookie.clone()
        })
        .collect();
    assert!(copies.len() >= 3, "no session: {copies:?}");
    browser
        .jar
        .remove(HOST, |cookie| cookie.name.contains(to.0));
    for copy in copies {
        browser.jar.plant(copy);
    }
}

#[tokio::test]
async fn cookies_of_one_app_are_no_session_at_another() {
    const STORE: (&str, &str) = ("__Host-doorward_", "/");
    const SHOP: (&str, &str) = ("__Secure-doorward-shop_", "/shop");
    const WIKI: (&str, &str) = ("__Secure-doorward-wiki_", "/wiki");
    let shared = shared();
    let browser = shared.everywhere().await;
    for (from, to, path) in [
        (SHOP, WIKI, "/wiki/page"),
        (WIKI, SHOP, "/shop/cart"),
        (STORE, SHOP, "/shop/cart"),
        (SHOP, STORE, "/cart"),
    ] {
        let mut browser = browser.clone();
        copy_cookies(&mut browser, from, to);
        assert!(shared.needs_login(&browser, path).await, "{from:?} {to:?}");
        // Under their own names at the path of the other they are not read.
        let mut browser = browser.clone();
        browser
            .jar
            .remove(HOST, |cookie| cookie.name.contains(to.0));
        for cookie in cookies(&browser.clone(), from.0) {
            browser.jar.plant(Cookie {
                path: to.1.to_owned(),
                ..cookie.clone()
            });
        }
        assert!(shared.needs_login(&browser, path).await, "{from:?} {to:?}");
    }
}

/// Every spelling of `/shop/secret` that some server reads as that path: none leads to a backend.
#[tokio::test]
async fn spelling_of_another_apps_path_reaches_no_backend() {
    let lines = "allow_ambiguous_paths = [\"double-slash\", \"encoded-slash\", \"semicolon\", \
                 \"encoded-percent\", \"encoded-delimiter\", \"non-utf8\", \"lookalike-slash\", \
                 \"trailing-dot\", \"ntfs-stream\", \"not-normalized\"]";
    // The most that the store can allow.
    let shared = shared_with(Setup::over_tls().store(lines), "");
    let browser = shared.everywhere().await;
    let cookie = browser.jar.of(HOST).into_iter();
    let cookie = cookie.map(|cookie| format!("{}={}", cookie.name, cookie.value));
    let cookie = cookie.collect::<Vec<_>>().join("; ");
    let before = shared.counts();
    for spelling in [
        "//shop/secret",
        "///shop/secret",
        "/SHOP/secret",
        "/Shop",
        "/shop%2Fsecret",
        "/shop%252Fsecret",
        "/%2Fshop/secret",
        "/%2573hop/secret",
        "/shop;/secret",
        "/shop;a=b/secret",
        "/shop%3B/secret",
        "/;/shop/secret",
        "/shop%3Fsecret",
        "/shop%23secret",
        "/shop./secret",
        "/shop%20/secret",
        "/shop::$INDEX_ALLOCATION/secret",
        "/%EF%BD%93hop/secret",
        "/%C5%BFhop/secret",
        "/shop%EF%BC%8Fsecret",
        "/shop%E2%88%95secret",
        "/shop%C0%AFsecret",
        "/a/../shop/secret",
        "/a/%2e%2e/shop/secret",
        "/a/..;/shop/secret",
        "/a/..%2Fshop/secret",
        "/a/..%5Cshop/secret",
        "/./shop/secret",
        "/shop/../wiki/page",
        "/shop/%2e%2e/wiki/page",
        "/shop/..%2Fwiki/page",
        "/shop/..;/wiki/page",
        "/shop\\secret",
        "/shop%00/secret",
    ] {
        let mut dialogue = Dialogue::with(&browser, super::ORIGIN).await;
        let request =
            format!("GET {spelling} HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\n\r\n");
        let status = dialogue.request("GET", request).await.status();
        assert!(matches!(status, 400 | 404), "{spelling}: {status}");
    }
    assert_eq!(shared.counts(), before);
}

#[tokio::test]
async fn ambiguous_rest_of_a_path_stays_in_its_app() {
    let lines = "allow_ambiguous_paths = [\"double-slash\", \"encoded-slash\", \"semicolon\"]";
    let shared = shared_with(Setup::over_tls(), lines);
    let mut browser = shared.everywhere().await;
    for path in [
        "/shop/a//b",
        "/shop/a%2Fb",
        "/shop/a;b",
        "/shop//wiki/page",
        "/shop/WIKI",
    ] {
        assert_eq!(
            shared.user_at(&mut browser, path).await,
            "alice-id",
            "{path}"
        );
    }
}

#[tokio::test]
async fn backend_neither_gets_nor_sets_cookies_of_any_app_at_the_host() {
    let shared = shared();
    let mut browser = shared.everywhere().await;
    browser.jar.plant(Cookie {
        secure: true,
        ..Cookie::host_only(HOST, "own", "1")
    });
    for (path, name) in [
        ("/cart", "__Secure-doorward-shop_jwt"),
        ("/shop/cart", "__Host-doorward_jwt"),
        ("/shop/cart", "__Secure-doorward-wiki_jwt"),
        ("/wiki/page", "__secure-doorward-shop_login_x"),
        ("/wiki/page", "doorward_jwt"),
    ] {
        // Also if the browser sends a cookie to a path that is not its own.
        browser.jar.plant(Cookie {
            secure: true,
            ..Cookie::host_only(HOST, "__Secure-doorward-shop_planted", "x")
        });
        let answer = Answer::default()
            .with_header("set-cookie", &format!("{name}=x; Path=/; Secure"))
            .with_header("set-cookie", "theirs=1; Secure");
        shared.backend(path).response(path, answer);
        let page = browser.step(&url(path)).await;
        assert_eq!(page.status(), 200, "{page}");
        let set: Vec<&str> = page.head.all("set-cookie");
        assert!(
            set.iter().any(|line| line.starts_with("theirs=")),
            "{set:?}"
        );
        assert!(
            !set.iter()
                .any(|line| line.starts_with(&format!("{name}=x"))),
            "{set:?}"
        );
        let seen = shared.backend(path).last();
        let sent = seen.header("cookie").unwrap_or_default();
        assert!(
            sent.contains("own=1") && !sent.contains("doorward"),
            "{sent}"
        );
    }
}

#[tokio::test]
async fn callback_of_another_app_refuses_the_response() {
    let shared = shared();
    let mut browser = shared.browser();
    let login = browser.step(&url("/shop/cart")).await;
    let back = browser.next(&login).await;
    let callback = back.header("location").unwrap();
    let path = callback.strip_prefix(super::ORIGIN).unwrap();
    let query = path.strip_prefix("/shop").unwrap();
    for other in ["/wiki", ""] {
        let page = browser.clone().step(&url(&format!("{other}{query}"))).await;
        assert_eq!(page.status(), 400, "{page}");
        assert!(
            page.chain[0]
                .set_cookies
                .iter()
                .all(|line| !line.contains("_jwt=")),
            "{page}"
        );
    }
    let page = browser.next(&back).await;
    assert_eq!(
        page.header("location"),
        Some(url("/shop/cart").as_str()),
        "{page}"
    );
}

/// A browser with these cookies in addition, as a sibling host could plant them.
fn with_planted(browser: &Browser, planted: Vec<Cookie>) -> Browser {
    let mut browser = browser.clone();
    for cookie in planted {
        browser.jar.plant(cookie);
    }
    browser
}

fn sibling(name: &str, value: &str, path: &str) -> Cookie {
    Cookie {
        domain: "example.test".to_owned(),
        host_only: false,
        path: path.to_owned(),
        secure: true,
        ..Cookie::host_only(HOST, name, value)
    }
}

#[tokio::test]
async fn planted_cookies_that_open_nowhere_do_not_break_a_session() {
    const NAME: &str = "__Secure-doorward-shop_";
    let shared = shared();
    let browser = shared.everywhere().await;
    let wiki = cookies(&browser, "__Secure-doorward-wiki_jwt")[0]
        .value
        .clone();
    let planted: Vec<Cookie> = ["jwt", "refresh", "activity", "browser", "login_loop"]
        .into_iter()
        .flat_map(|kind| {
            ["x", "2.x", &wiki, "AAAAAAAAAAAAAAAAAAAAAA"]
                .map(|value| sibling(&format!("{NAME}{kind}"), value, "/shop/cart"))
        })
        .chain([sibling(&format!("{NAME}jwt.1"), "y", "/shop/cart")])
        .collect();
    let mut browser = with_planted(&browser, planted);
    assert_eq!(shared.user_at(&mut browser, "/shop/cart").await, "alice-id");
    shared.advance_secs(300);
    assert_eq!(shared.user_at(&mut browser, "/shop/cart").await, "alice-id");
    assert_eq!(shared.provider.grants("refresh_token"), 1);
    // A login completes too.
    browser.jar.remove(HOST, |cookie| {
        cookie.host_only && cookie.name.starts_with(NAME)
    });
    shared.open(&mut browser, "/shop/cart").await;
}

#[tokio::test]
async fn two_sessions_at_once_are_none() {
    let shared = shared();
    let victim = shared.everywhere().await;
    shared.sign_in("mallory");
    let thief = shared.everywhere().await;
    let planted: Vec<Cookie> = cookies(&thief, "__Secure-doorward-shop_")
        .into_iter()
        .map(|cookie| sibling(&cookie.name, &cookie.value, "/shop/cart"))
        .collect();
    let browser = with_planted(&victim, planted);
    assert!(shared.needs_login(&browser, "/shop/cart").await);
    let mut elsewhere = browser.clone();
    assert_eq!(
        shared.user_at(&mut elsewhere, "/shop/other").await,
        "alice-id"
    );
}
