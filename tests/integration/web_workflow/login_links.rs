//! Parameters of login links and targets of logouts.

use super::{location, parameter};
use crate::support::assertions::{CART, alice, assert_error_page, assert_problem};
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Client, Endpoint, User};

const LOGIN: &str = "https://signin.example.test";
const ELSEWHERE: &str = "https://www.example.test/goodbye";

fn permissive() -> Setup {
    Setup::plain().store(
        "login_parameters = { prompt = [\"login\", \"select_account\"], acr_values = [\"gold\"], \
         login_hint = true, ui_locales = true }",
    )
}

async fn linked(doorward: &Doorward, browser: &mut Browser, query: &str) -> Page {
    let url = doorward.store_url(&format!("/.doorward/login?return_to={CART}&{query}"));
    browser.step(&url).await
}

#[tokio::test]
async fn allowed_parameters_reach_the_provider() {
    let doorward = permissive().start();
    let query = "prompt=login%20select_account&login_hint=alice%2Bx%40example.com&\
                 ui_locales=de-CH%20en&acr_values=gold&utm_source=mail";
    let page = linked(&doorward, &mut doorward.browser(), query).await;
    let authorize = location(&page);
    assert!(
        authorize.starts_with(&doorward.provider.url(Endpoint::Authorize)),
        "{page}"
    );
    for (name, value) in [
        ("prompt", Some("login select_account")),
        ("login_hint", Some("alice+x@example.com")),
        ("ui_locales", Some("de-CH en")),
        ("acr_values", Some("gold")),
        ("utm_source", None),
    ] {
        assert_eq!(parameter(authorize, name).as_deref(), value, "{name}");
    }
}

#[tokio::test]
async fn parameters_that_are_not_allowed_are_rejected() {
    let strict = Setup::plain().start();
    let permissive = permissive().start();
    for (doorward, query) in [
        (&strict, "prompt=select_account"),
        (&strict, "login_hint=alice"),
        (&strict, "ui_locales=de"),
        (&strict, "acr_values=gold"),
        (&strict, "max_age=0"),
        (&strict, "prompt=login&prompt=login"),
        (&permissive, "prompt=none"),
        (&permissive, "prompt=login%20consent"),
        (&permissive, "prompt="),
        (&permissive, "acr_values=gold%20bronze"),
        (&permissive, "max_age=300"),
        (&permissive, "ui_locales=de%0a"),
        (&permissive, "login_hint=a%0d%0ab"),
    ] {
        let mut browser = doorward.browser();
        let page = linked(doorward, &mut browser, query).await;
        assert_error_page(&page, 400, "login_parameter_not_allowed");
        assert!(page.head.all("set-cookie").is_empty(), "{query}");
        let url = doorward.store_url(&format!("/.doorward/login?{query}"));
        let script = browser.send(RequestSpec::new(Kind::Program, &url)).await;
        assert_problem(&script, 400, "login_parameter_not_allowed");
        assert_eq!(doorward.provider.calls(Endpoint::Authorize), 0, "{query}");
    }
}

#[tokio::test]
async fn link_with_prompt_logs_in_although_there_is_a_session() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let page = linked(&doorward, &mut browser, "").await;
    assert_eq!(
        location(&page),
        doorward.store_url(CART),
        "already signed in"
    );

    doorward.sign_in("bob");
    let page = linked(&doorward, &mut browser, "prompt=login").await;
    assert_eq!(
        parameter(location(&page), "prompt").as_deref(),
        Some("login")
    );
    let page = browser.visit(location(&page)).await;
    assert_eq!((page.status(), page.url.path()), (200, CART), "{page}");
    assert_eq!(doorward.store_saw().as_deref(), Some("bob-id"));
}

#[tokio::test]
async fn switch_account_on_the_forbidden_page_asks_for_another_login() {
    for (setup, prompt) in [(Setup::plain(), "login"), (permissive(), "select_account")] {
        let doorward = setup.start();
        let mut browser = alice(&doorward).await;
        let page = browser.step(&doorward.store_url("/admin")).await;
        assert_error_page(&page, 403, "forbidden");
        let links = page.links();
        let (switch, _) = links
            .iter()
            .find(|(href, _)| href.contains("/login?"))
            .unwrap_or_else(|| panic!("{links:?}"));
        doorward.provider.sign_in(User::new("root", &["admin"]));
        let page = browser.click(&page, switch).await;
        assert_eq!((page.status(), page.url.path()), (200, "/admin"), "{page}");
        let visits = doorward.provider.visits(Endpoint::Authorize);
        assert_eq!(visits[1].parameter("prompt"), Some(prompt));
    }
}

async fn logged_out(browser: &mut Browser, url: &str) -> Page {
    let confirm = browser.visit(url).await;
    assert_eq!(confirm.status(), 200, "{confirm}");
    let logout = browser.send(confirm.filled(&[])).await;
    assert_eq!(logout.status(), 303, "{logout}");
    logout
}

/// Where a redirect, or a page that moves on by itself, leads.
fn next_of(page: &Page) -> Option<String> {
    let refresh = page.header("refresh");
    let refresh = refresh.and_then(|refresh| refresh.strip_prefix("0; url="));
    page.header("location").or(refresh).map(str::to_owned)
}

/// The last redirect of a logout with this target.
async fn target_of(doorward: &Doorward, target: &str) -> Option<String> {
    let mut browser = alice(doorward).await;
    let query: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
    let url = doorward.store_url(&format!("/.doorward/logout?return_to={query}"));
    let mut page = logged_out(&mut browser, &url).await;
    // The other site is not there.
    while let Some(next) = next_of(&page) {
        if next == target || next == doorward.store_url(target) {
            // A redirect after a form of the provider must not leave the app's host.
            let is_elsewhere = next == target;
            assert_eq!(page.header("refresh").is_some(), is_elsewhere, "{page}");
            return Some(next);
        }
        page = browser.step(&next).await;
    }
    assert_eq!(page.url.path(), "/.doorward/signed-out", "{page}");
    None
}

#[tokio::test]
async fn logout_leads_to_own_pages_and_listed_urls_only() {
    let listed = format!("logout_return_to = [\"{ELSEWHERE}\"]");
    for setup in [
        Setup::plain().store(&listed),
        Setup::over_tls()
            .store(&listed)
            .provider(&format!("login_url = \"{LOGIN}\"")),
    ] {
        let doorward = setup.start();
        if doorward.store_host().ends_with(".test") {
            doorward.provider.register(Client::of_app("store", LOGIN));
        }
        for allowed in ["/public/bye?a=b", ELSEWHERE] {
            assert!(target_of(&doorward, allowed).await.is_some(), "{allowed}");
        }
        for refused in [
            "https://evil.example/goodbye",
            "https://www.example.test/goodbye2",
            "http://www.example.test/goodbye",
            "https://www.example.test@evil.example/goodbye",
            "//evil.example",
            "/\\evil.example",
            "/.doorward/logout",
            "javascript:alert(1)",
        ] {
            assert_eq!(target_of(&doorward, refused).await, None, "{refused}");
        }
    }
}

#[tokio::test]
async fn forged_page_after_a_logout_leads_nowhere_else() {
    let doorward = Setup::plain().start();
    for query in [
        "return_to=https://evil.example/",
        "state=https://evil.example/",
        "state=store%20https://evil.example/",
        "return_to=//evil.example&state=/x",
    ] {
        let url = doorward.store_url(&format!("/.doorward/signed-out?{query}"));
        let page = doorward.browser().step(&url).await;
        assert_eq!(page.status(), 200, "{query}: {page}");
        assert_eq!(page.header("refresh"), None, "{query}: {page}");
        assert!(!page.text().contains("evil.example"), "{query}: {page}");
    }
}
