//! The logout of all apps of a login host, and the logout of one.

use serde_json::json;

use super::{CART, LOGIN, LOGIN_HOST, Shared, WIKI, location, shared};
use crate::support::assertions::{assert_error_page, metric_reaches};
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::provider::Endpoint;

/// A browser that is signed in at the store and the wiki.
async fn at_two_apps(shared: &Shared) -> Browser {
    let mut browser = shared.logged_in("alice", CART).await;
    let page = browser.visit(&format!("{WIKI}/start")).await;
    assert_eq!(page.status(), 200, "{page}");
    browser
}

async fn list(browser: &mut Browser) -> Page {
    let page = browser.step(&format!("{LOGIN}/.doorward/logout")).await;
    assert_eq!(page.status(), 200, "{page}");
    page
}

#[tokio::test]
async fn page_lists_apps_and_logout_ends_all_of_them() {
    let shared = shared();
    let mut browser = at_two_apps(&shared).await;
    let page = list(&mut browser).await;
    let words = page.words();
    assert!(
        words.contains("store.example.test") && words.contains("wiki.other.test"),
        "{words}"
    );
    assert!(!words.contains("forum.example.test"), "{words}");

    let page = browser.submit(&page, &[]).await;
    assert_eq!(
        page.url.as_str(),
        format!("{LOGIN}/.doorward/signed-out"),
        "{page}"
    );
    let visits = shared.provider.visits(Endpoint::EndSession);
    assert_eq!(visits.len(), 1);
    assert!(visits[0].parameter("id_token_hint").is_some());
    let cookies: Vec<&str> = browser
        .jar
        .of(LOGIN_HOST)
        .into_iter()
        .map(|cookie| cookie.name.as_str())
        .collect();
    assert_eq!(cookies, ["__Host-doorward_browser"]);
    for url in [shared.store_url(CART), format!("{WIKI}/start")] {
        assert_eq!(browser.step(&url).await.status(), 302, "{url}");
    }
    assert!(
        list(&mut browser)
            .await
            .words()
            .contains("You are not signed in")
    );
    for app in ["store", "wiki"] {
        let series = format!(
            "doorward_logouts_total{{app=\"{app}\",outcome=\"logged_out_everywhere\",provider=\"login\"}}"
        );
        metric_reaches(&shared, &series, 1.0).await;
    }
}

#[tokio::test]
async fn logout_leaves_sessions_of_other_browsers() {
    let shared = shared();
    let mut browser = at_two_apps(&shared).await;
    let mut other = shared.logged_in("alice", CART).await;
    let page = list(&mut browser).await;
    browser.submit(&page, &[]).await;
    assert_eq!(other.step(&shared.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn other_site_cannot_log_out() {
    let shared = shared();
    let mut browser = at_two_apps(&shared).await;
    for from in [shared.store_url("/"), "https://evil.example/".to_owned()] {
        let post = RequestSpec::new(Kind::Navigation, &format!("{LOGIN}/.doorward/logout"))
            .method("POST")
            .body("application/x-www-form-urlencoded", "")
            .from(&from.parse().expect("an URL"));
        assert_error_page(&browser.send(post).await, 403, "cross_site");
    }
    assert_eq!(browser.step(&shared.store_url(CART)).await.status(), 200);
    assert_eq!(browser.step(&format!("{WIKI}/start")).await.status(), 200);
}

#[tokio::test]
async fn tabs_that_finish_at_once_are_both_listed() {
    let shared = shared();
    shared.sign_in("alice");
    let mut browser = shared.browser();
    // So that the browser has its cookie of the login host.
    browser
        .step(&format!("{LOGIN}/.doorward/login?app=store"))
        .await;
    let first = browser.step(&shared.store_url(CART)).await;
    let first = browser.next(&first).await;
    let second = browser.step(&format!("{WIKI}/start")).await;
    let second = browser.next(&second).await;
    let (first, second) = (browser.next(&first).await, browser.next(&second).await);
    // Both callbacks are sent before either has a response.
    let mut other_tab = browser.clone();
    let page = other_tab.visit(location(&first)).await;
    assert_eq!(page.status(), 200, "{page}");
    let page = browser.visit(location(&second)).await;
    assert_eq!(page.status(), 200, "{page}");
    let words = list(&mut browser).await.words();
    assert!(
        words.contains("store.example.test") && words.contains("wiki.other.test"),
        "{words}"
    );
    let page = list(&mut browser).await;
    browser.submit(&page, &[]).await;
    assert_eq!(other_tab.step(&shared.store_url(CART)).await.status(), 302);
}

#[tokio::test]
async fn list_survives_the_store() {
    let shared = shared();
    let mut browser = at_two_apps(&shared).await;
    // The store keeps recent logins for ten minutes.
    shared.advance_secs(20 * 60);
    let words = list(&mut browser).await.words();
    assert!(
        words.contains("store.example.test") && words.contains("wiki.other.test"),
        "{words}"
    );
}

#[tokio::test]
async fn logout_of_one_app_leads_back_to_it() {
    let shared = shared();
    let mut browser = at_two_apps(&shared).await;
    let form = browser.visit(&shared.store_url("/.doorward/logout")).await;
    let page = browser.submit(&form, &[]).await;
    assert_eq!(
        page.url.as_str(),
        shared.store_url("/.doorward/signed-out"),
        "{page}"
    );
    let hosts: Vec<&str> = page
        .chain
        .iter()
        .map(|step| step.url.host_str().unwrap_or_default())
        .collect();
    assert_eq!(
        hosts,
        [
            "store.example.test",
            "login.localhost",
            LOGIN_HOST,
            "store.example.test"
        ]
    );
    // The wiki's session goes on until the user logs out there, too.
    assert_eq!(browser.step(&format!("{WIKI}/start")).await.status(), 200);
    let words = list(&mut browser).await.words();
    assert!(
        !words.contains("store.example.test") && words.contains("wiki.other.test"),
        "{words}"
    );
}

#[tokio::test]
async fn signed_out_page_leads_to_no_other_site() {
    let shared = shared();
    let mut browser = shared.browser();
    for state in ["", "evil", "https://evil.example/", "signin.example.test"] {
        let mut url: url::Url = format!("{LOGIN}/.doorward/signed-out")
            .parse()
            .expect("an URL");
        url.query_pairs_mut().append_pair("state", state);
        let page = browser.step(url.as_str()).await;
        assert_eq!((page.status(), page.target()), (200, None), "{page}");
    }
}

#[tokio::test]
async fn logout_token_at_the_login_host_ends_sessions_at_all_apps() {
    let shared = shared();
    let mut browser = at_two_apps(&shared).await;
    browser.visit(&shared.forum_url("/posts")).await;
    let token = shared
        .provider
        .logout_token("store", &json!({ "sub": "alice-id" }), &[]);
    let post = |token: &str| {
        RequestSpec::new(
            Kind::Program,
            &format!("{LOGIN}/.doorward/backchannel-logout"),
        )
        .method("POST")
        .body(
            "application/x-www-form-urlencoded",
            format!("logout_token={token}"),
        )
    };
    let page = shared.browser().send(post(&token)).await;
    assert_eq!(page.status(), 200, "{page}");
    for url in [shared.store_url(CART), format!("{WIKI}/start")] {
        assert_eq!(browser.step(&url).await.status(), 302, "{url}");
    }
    // The forum has another registration, for which the token was not issued.
    assert_eq!(
        browser.step(&shared.forum_url("/posts")).await.status(),
        200
    );
    for (token, code) in [
        (token.as_str(), "logout_token_replayed"),
        ("a.b.c", "malformed"),
    ] {
        let page = shared.browser().send(post(token)).await;
        assert_eq!(page.status(), 400, "{page}");
        assert!(page.text().contains(code), "{page}");
    }
}
