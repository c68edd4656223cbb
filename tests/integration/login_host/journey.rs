//! Logins through the login host, from the first request to the page.

use super::{CART, LOGIN, LOGIN_HOST, WIKI, location, parameter, shared, shared_with};
use crate::support::assertions::{assert_error_page, assert_problem, metric_reaches};
use crate::support::backend::Answer;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;
use crate::support::provider::{Endpoint, Fault};

#[tokio::test]
async fn login_leads_to_the_page_by_way_of_the_login_host() {
    let shared = shared();
    shared.sign_in("alice");
    let mut browser = shared.browser();
    let page = browser.visit(&shared.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(page.url.as_str(), shared.store_url(CART));
    assert_eq!(shared.store_saw().as_deref(), Some("alice-id"));

    let steps: Vec<String> = page
        .chain
        .iter()
        .map(|step| {
            format!(
                "{}{}",
                step.url.host_str().unwrap_or_default(),
                step.url.path()
            )
        })
        .collect();
    assert_eq!(
        steps,
        [
            "store.example.test/shopping-cart",
            "signin.example.test/.doorward/login",
            "login.localhost/authorize",
            "signin.example.test/.doorward/callback",
            "store.example.test/.doorward/callback",
            "store.example.test/shopping-cart",
        ]
    );
    let visits = shared.provider.visits(Endpoint::Authorize);
    assert_eq!(
        visits[0].parameter("redirect_uri"),
        Some(format!("{LOGIN}/.doorward/callback").as_str())
    );
    for step in &page.chain {
        assert!(step.refused.is_empty(), "{:?}", step.refused);
        for cookie in &step.set_cookies {
            assert!(!cookie.to_ascii_lowercase().contains("domain="), "{cookie}");
        }
        // The provider's own redirect carries its code.
        let is_of_provider = step
            .url
            .query()
            .is_some_and(|query| query.starts_with("code="));
        for secret in shared.provider.secrets() {
            let shows = step.url.as_str().contains(&secret);
            assert!(is_of_provider || !shows, "{}", step.url);
        }
    }
    // The login host has no session, and the app no cookie of the login host.
    let names = |host: &str| -> Vec<String> {
        let cookies = browser.jar.of(host).into_iter();
        let mut names: Vec<String> = cookies.map(|cookie| cookie.name.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(
        names(LOGIN_HOST),
        [
            "__Host-doorward_browser",
            "__Secure-doorward_id_token_hint",
            "__Secure-doorward_signed_in",
        ]
    );
    assert_eq!(
        names("store.example.test"),
        [
            "__Host-doorward_activity",
            "__Host-doorward_browser",
            "__Host-doorward_jwt",
            "__Host-doorward_refresh",
            "__Secure-doorward_id_token_hint",
        ]
    );
}

#[tokio::test]
async fn handover_page_is_not_cached_and_sends_no_referrer() {
    let shared = shared();
    shared.sign_in("alice");
    let mut browser = shared.browser();
    let page = shared
        .handed_over(&mut browser, &shared.store_url(CART))
        .await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(page.header("location"), None);
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    let policy = page.header("content-security-policy").expect("a policy");
    for directive in ["default-src 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(directive), "{policy}");
    }
    // For browsers that follow no refresh.
    let (link, text) = &page.links()[0];
    assert_eq!(text, "Continue to store.example.test");
    assert_eq!(link, location(&page));
    let cart = browser.click(&page, link).await;
    assert_eq!(cart.status(), 200, "{cart}");
    assert_eq!(cart.url.as_str(), shared.store_url(CART));
}

#[tokio::test]
async fn other_apps_open_without_another_login() {
    let shared = shared();
    let mut browser = shared.logged_in("alice", CART).await;
    for url in [shared.forum_url("/posts"), format!("{WIKI}/start")] {
        let page = browser.visit(&url).await;
        assert_eq!(
            (page.status(), page.url.as_str()),
            (200, url.as_str()),
            "{page}"
        );
    }
    assert_eq!(shared.wiki_saw().as_deref(), Some("alice-id"));
    assert_eq!(shared.provider.forms_shown(), 0);
    // Sessions are refreshed at the app's host, as ever.
    shared.advance_secs(400);
    assert_eq!(browser.step(&format!("{WIKI}/start")).await.status(), 200);
    assert_eq!(shared.provider.grants("refresh_token"), 1);
}

#[tokio::test]
async fn long_page_is_reached() {
    let shared = shared();
    shared.sign_in("alice");
    let url = shared.store_url(&format!("/search?q={}", "x".repeat(5000)));
    let page = shared.browser().visit(&url).await;
    assert_eq!(
        (page.status(), page.url.as_str()),
        (200, url.as_str()),
        "{page}"
    );
}

#[tokio::test]
async fn preserved_form_is_sent_after_the_login() {
    let shared = shared();
    let mut browser = shared.logged_in("alice", CART).await;
    shared.advance_secs(31 * 60);
    let form = RequestSpec::new(Kind::Navigation, &shared.store_url("/orders"))
        .method("POST")
        .body("application/x-www-form-urlencoded", "item=7&size=a")
        .from(&shared.store_url(CART).parse().expect("an URL"))
        .following();
    let confirmation = browser.send(form).await;
    assert_eq!(confirmation.status(), 200, "{confirmation}");
    let page = browser.submit(&confirmation, &[]).await;
    assert_eq!(page.status(), 200, "{page}");
    let received = shared.store.last();
    assert_eq!(
        (received.method.as_str(), received.target.as_str()),
        ("POST", "/orders")
    );
    assert_eq!(received.body, b"item=7&size=a");
}

#[tokio::test]
async fn refused_login_links_to_another_one_for_the_page() {
    let shared = shared();
    shared
        .provider
        .behave(|behaviour| behaviour.authorize_error = Some("access_denied"));
    shared.sign_in("alice");
    let mut browser = shared.browser();
    let page = browser.visit(&shared.store_url(CART)).await;
    assert_error_page(&page, 403, "declined_by_provider");
    assert_eq!(page.url.host_str(), Some(LOGIN_HOST));
    shared
        .provider
        .behave(|behaviour| behaviour.authorize_error = None);
    let (again, _) = page.links().remove(0);
    let page = browser.click(&page, &again).await;
    assert_eq!(
        (page.status(), page.url.as_str()),
        (200, shared.store_url(CART).as_str()),
        "{page}"
    );
}

#[tokio::test]
async fn login_begins_once_more_if_the_provider_was_overloaded() {
    let shared = shared();
    shared.provider.behave(|behaviour| {
        behaviour.authorize_error = Some("temporarily_unavailable");
    });
    shared.sign_in("alice");
    let mut browser = shared.browser();
    let page = browser.visit(&shared.store_url(CART)).await;
    assert_error_page(&page, 502, "declined_by_provider");
    assert_eq!(shared.provider.calls(Endpoint::Authorize), 2);
}

#[tokio::test]
async fn failed_code_exchange_is_an_error_page_of_the_login_host() {
    let shared = shared();
    shared.sign_in("alice");
    shared.provider.fault(Endpoint::Token, Fault::Status(500));
    let mut browser = shared.browser();
    let page = browser.visit(&shared.store_url(CART)).await;
    assert_eq!(
        (page.status(), page.url.host_str()),
        (503, Some(LOGIN_HOST)),
        "{page}"
    );
    shared.provider.heal(Endpoint::Token);
    let (again, _) = page.links().remove(0);
    let page = browser.click(&page, &again).await;
    assert_eq!(
        (page.status(), page.url.as_str()),
        (200, shared.store_url(CART).as_str()),
        "{page}"
    );
}

#[tokio::test]
async fn other_user_does_not_get_the_apps_cookies_of_the_first() {
    let shared = shared_with(Setup::over_tls().store("app_cookies = [{ name = \"SHOPSESSID\" }]"));
    let response = Answer::default().with_header("Set-Cookie", "SHOPSESSID=alices; Path=/");
    shared.store.response("/shopping-cart", response);
    let mut browser = shared.logged_in("alice", CART).await;
    assert!(
        browser
            .jar
            .get("store.example.test", "SHOPSESSID")
            .is_some()
    );
    shared.advance_secs(31 * 60);
    shared.sign_in("bob");
    let page = browser.visit(&shared.store_url("/other")).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(shared.store_saw().as_deref(), Some("bob-id"));
    assert!(
        browser
            .jar
            .get("store.example.test", "SHOPSESSID")
            .is_none()
    );
}

#[tokio::test]
async fn login_without_app_cookies_ends_on_a_page_that_names_the_cause() {
    let shared = shared();
    shared.sign_in("alice");
    let mut browser = shared.browser();
    let mut url = shared.store_url(CART);
    // The browser refuses all cookies of the app.
    for _ in 0..20 {
        let page = browser.step(&url).await;
        browser.jar.remove("store.example.test", |_| true);
        match page.target() {
            Some(next) => next.clone_into(&mut url),
            None => {
                assert_error_page(&page, 400, "login_cookie_missing");
                return;
            }
        }
    }
    panic!("redirected in circles");
}

#[tokio::test]
async fn login_host_without_its_cookie_begins_once_more_then_names_the_cause() {
    let shared = shared();
    shared.sign_in("alice");
    let mut browser = shared.browser();
    let mut url = shared.store_url(CART);
    for _ in 0..20 {
        let page = browser.step(&url).await;
        browser.jar.remove(LOGIN_HOST, |_| true);
        match page.target() {
            Some(next) => next.clone_into(&mut url),
            None => {
                assert_error_page(&page, 400, "login_cookie_missing");
                assert_eq!(shared.provider.calls(Endpoint::Authorize), 2);
                assert_eq!(shared.provider.grants("authorization_code"), 0);
                return;
            }
        }
    }
    panic!("redirected in circles");
}

#[tokio::test]
async fn many_tabs_of_one_browser_log_in_at_once() {
    let shared = shared();
    shared.sign_in("alice");
    let mut browser = shared.browser();
    let urls = [
        shared.store_url(CART),
        shared.forum_url("/posts"),
        format!("{WIKI}/start"),
    ];
    // All of them begin before the first finishes.
    let mut tabs = Vec::new();
    for url in &urls {
        let start = browser.step(url).await;
        tabs.push(browser.next(&start).await);
    }
    let mut callbacks = Vec::new();
    for tab in &tabs {
        callbacks.push(browser.next(tab).await);
    }
    for (url, callback) in urls.iter().zip(&callbacks) {
        let page = browser.visit(location(callback)).await;
        assert_eq!(
            (page.status(), page.url.as_str()),
            (200, url.as_str()),
            "{page}"
        );
    }
    assert_eq!(shared.provider.grants("authorization_code"), 3);
}

#[tokio::test]
async fn login_host_has_nothing_but_its_endpoints() {
    let shared = shared();
    let mut browser = shared.browser();
    for path in [
        "/",
        "/index.html",
        "/.doorward",
        "/.doorward/session",
        "/.doorward/form",
    ] {
        let page = browser.step(&format!("{LOGIN}{path}")).await;
        assert_error_page(&page, 404, "no_such_endpoint");
    }
    let script = RequestSpec::new(Kind::Fetch, &format!("{LOGIN}/.doorward/login?app=store"))
        .from(&shared.store_url(CART).parse().expect("an URL"));
    assert_problem(&browser.send(script).await, 401, "no_session");
    for method in ["POST", "HEAD"] {
        let login = RequestSpec::new(Kind::Navigation, &format!("{LOGIN}/.doorward/login"));
        assert_eq!(browser.send(login.method(method)).await.status(), 405);
    }
}

#[tokio::test]
async fn link_that_names_an_app_leads_to_its_login() {
    let shared = shared();
    let mut browser = shared.browser();
    for (query, expected) in [
        (
            "app=store&return_to=%2Fa",
            "https://store.example.test/.doorward/login?return_to=%2Fa",
        ),
        (
            "app=wiki",
            "https://wiki.other.test/.doorward/login?return_to=%2F",
        ),
        (
            "app=store&return_to=%2F%2Fevil.example",
            "https://store.example.test/.doorward/login?return_to=%2F",
        ),
        (
            "app=store&return_to=https%3A%2F%2Fevil.example%2F",
            "https://store.example.test/.doorward/login?return_to=%2F",
        ),
    ] {
        let page = browser
            .step(&format!("{LOGIN}/.doorward/login?{query}"))
            .await;
        assert_eq!(location(&page), expected);
    }
    for query in [
        "",
        "app=",
        "app=evil",
        "app=signin.example.test",
        "app=store&app=wiki",
    ] {
        let page = browser
            .step(&format!("{LOGIN}/.doorward/login?{query}"))
            .await;
        assert_error_page(&page, 400, "login_request_invalid");
        assert!(page.header("location").is_none());
    }
}

#[tokio::test]
async fn login_host_is_measured_and_logged_under_its_name() {
    let shared = shared();
    shared.logged_in("alice", CART).await;
    let series = |app: &str, outcome: &str| {
        format!("doorward_logins_total{{app=\"{app}\",outcome=\"{outcome}\",provider=\"login\"}}")
    };
    metric_reaches(&shared, &series(LOGIN_HOST, "handed_over"), 1.0).await;
    metric_reaches(&shared, &series("store", "signed_in"), 1.0).await;
    let line = shared.log.line("/.doorward/callback", "handed_over").await;
    assert_eq!(line["app"], LOGIN_HOST);
    let text = shared.log.text();
    for name in ["handover", "request"] {
        assert!(!text.contains(&format!("{name}=")), "{text}");
    }
}

#[tokio::test]
async fn endpoint_prefix_of_the_login_host_is_its_own() {
    let shared = shared_with(
        Setup::over_tls()
            .provider("login_endpoint_prefix = \"/sso\"")
            .store("endpoint_prefix = \"/auth\""),
    );
    shared.sign_in("alice");
    let mut browser = shared.browser();
    let start = browser.step(&shared.store_url(CART)).await;
    assert!(
        location(&start).starts_with(&format!("{LOGIN}/sso/login?request=")),
        "{start}"
    );
    let page = browser.next(&start).await;
    assert_eq!(
        parameter(location(&page), "redirect_uri").as_deref(),
        Some("https://signin.example.test/sso/callback")
    );
}
