//! Invalid callbacks: replayed, duplicated, declined, malformed.

use super::{CART, arrive, exchanges, is_sent_to_log_in, load, location, sets_session};
use crate::support::assertions::assert_login_starts;
use crate::support::browser::{Browser, Page};
use crate::support::doorward::{Doorward, Setup};
use crate::support::gate::Gate;
use crate::support::provider::{Endpoint, Fault, IssParameter};

/// Follows the login up to the redirect to the callback.
async fn before_callback(doorward: &Doorward) -> (Browser, Page) {
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    let start = is_sent_to_log_in(doorward, &mut browser).await;
    let page = browser.next(&start).await;
    (browser, page)
}

/// The callback URL with a modified query.
fn changed(page: &Page, change: impl Fn(&mut Vec<(String, String)>)) -> String {
    let mut url = url::Url::parse(location(page)).expect("an URL");
    let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    change(&mut pairs);
    url.query_pairs_mut().clear().extend_pairs(pairs);
    url.to_string()
}

#[tokio::test]
async fn replayed_callback_redirects_without_redeeming() {
    let doorward = Setup::plain().start();
    let (mut browser, at_provider) = before_callback(&doorward).await;
    let first = browser.next(&at_provider).await;
    assert!(sets_session(&first), "{first}");
    let again = browser.step(location(&at_provider)).await;
    assert_eq!(
        (again.status(), location(&again)),
        (302, doorward.store_url(CART).as_str()),
        "{again}"
    );
    assert!(!sets_session(&again), "{again}");
    assert_eq!(exchanges(&doorward), 1);
    load(&doorward, &mut browser, "alice").await;
}

#[tokio::test]
async fn concurrent_duplicate_callbacks_share_one_exchange() {
    let doorward = Setup::over_tls().start();
    let (mut browser, at_provider) = before_callback(&doorward).await;
    let gate = Gate::default();
    doorward
        .provider
        .fault_once(Endpoint::Token, Fault::Held(gate.clone()));
    let mut tab = browser.clone();
    let callback = at_provider.clone();
    let first = tokio::spawn(async move { tab.next(&callback).await });
    gate.reached(1).await;
    let (mut tab, callback) = (browser.clone(), at_provider.clone());
    let second = tokio::spawn(async move { tab.next(&callback).await });
    let mut third = browser.clone();
    load_public(&doorward, &mut third).await;
    gate.open();
    for page in [
        first.await.expect("an answer"),
        second.await.expect("an answer"),
    ] {
        assert_eq!(
            (page.status(), location(&page)),
            (302, doorward.store_url(CART).as_str()),
            "{page}"
        );
        assert!(sets_session(&page), "{page}");
        arrive(&doorward, &mut browser, &page);
        load(&doorward, &mut browser.clone(), "alice").await;
    }
    assert_eq!(exchanges(&doorward), 1);
}

async fn load_public(doorward: &Doorward, browser: &mut Browser) {
    let page = browser.step(&doorward.store_url("/public/x")).await;
    assert_eq!(page.status(), 200, "{page}");
}

#[tokio::test]
async fn declined_login_is_shown_and_not_retried() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    doorward
        .provider
        .behave(|provider| provider.authorize_error = Some("access_denied"));
    let mut browser = doorward.browser();
    let page = browser.visit(&doorward.store_url(CART)).await;
    assert_eq!(
        (page.status(), page.url.path()),
        (403, "/.doorward/callback"),
        "{page}"
    );
    assert!(
        page.text().contains("declined_by_provider") && !sets_session(&page),
        "{page}"
    );
    assert_eq!(
        attempts(&doorward, &browser),
        0,
        "a finished attempt leaves no cookie"
    );
    assert_eq!(
        (
            exchanges(&doorward),
            doorward.provider.calls(Endpoint::Authorize)
        ),
        (0, 1)
    );
    doorward
        .provider
        .behave(|provider| provider.authorize_error = None);
    let login = page
        .links()
        .into_iter()
        .find(|(target, _)| target.contains("/.doorward/login"))
        .expect("a link");
    assert_eq!(browser.click(&page, &login.0).await.status(), 200);
    load(&doorward, &mut browser, "alice").await;
}

/// The error responses that a new attempt cures: error and description.
const CURABLE: [(&str, &str); 4] = [
    ("temporarily_unavailable", ""),
    ("login_required", ""),
    ("interaction_required", ""),
    ("access_denied", "authentication_expired"),
];

fn respond_with(doorward: &Doorward, error: Option<(&'static str, &'static str)>) {
    doorward.provider.behave(|provider| {
        provider.authorize_error = error.map(|(error, _)| error);
        provider.extra_callback_parameters = error
            .filter(|(_, description)| !description.is_empty())
            .map(|(_, description)| ("error_description".to_owned(), description.to_owned()))
            .into_iter()
            .collect();
    });
}

#[tokio::test]
async fn curable_error_begins_the_login_once_more() {
    for error in CURABLE {
        let doorward = Setup::plain().start();
        doorward.sign_in("alice");
        respond_with(&doorward, Some(error));
        let mut browser = doorward.browser();
        let start = is_sent_to_log_in(&doorward, &mut browser).await;
        let at_provider = browser.next(&start).await;
        respond_with(&doorward, None);
        let restarted = browser.next(&at_provider).await;
        assert_login_starts(&doorward, &restarted);
        assert_eq!(
            attempts(&doorward, &browser),
            1,
            "{error:?}: the old one is gone"
        );
        let page = browser.next(&restarted).await;
        let page = browser.next(&page).await;
        assert_eq!(
            location(&page),
            doorward.store_url(CART),
            "{error:?}: {page}"
        );
        load(&doorward, &mut browser, "alice").await;
    }
}

#[tokio::test]
async fn curable_error_that_comes_again_is_shown() {
    for error in CURABLE {
        let doorward = Setup::plain().start();
        doorward.sign_in("alice");
        respond_with(&doorward, Some(error));
        let page = doorward.browser().visit(&doorward.store_url(CART)).await;
        assert!(matches!(page.status(), 403 | 502), "{error:?}: {page}");
        assert!(page.text().contains("declined_by_provider"), "{page}");
        assert_eq!(doorward.provider.calls(Endpoint::Authorize), 2, "{error:?}");
    }
}

#[tokio::test]
async fn curable_error_in_a_signed_in_browser_leads_to_the_page() {
    for error in CURABLE {
        let doorward = Setup::plain().start();
        doorward.sign_in("alice");
        respond_with(&doorward, Some(error));
        let mut browser = doorward.browser();
        let start = is_sent_to_log_in(&doorward, &mut browser).await;
        let at_provider = browser.next(&start).await;
        // The login of another tab succeeds meanwhile.
        respond_with(&doorward, None);
        browser.visit(&doorward.store_url("/other")).await;
        let asked = doorward.provider.calls(Endpoint::Authorize);
        let page = browser.next(&at_provider).await;
        assert_eq!(
            (page.status(), location(&page)),
            (302, doorward.store_url(CART).as_str()),
            "{error:?}: {page}"
        );
        assert!(!sets_session(&page), "{page}");
        assert_eq!(attempts(&doorward, &browser), 0, "{error:?}");
        assert_eq!(doorward.provider.calls(Endpoint::Authorize), asked);
    }
}

#[tokio::test]
async fn unknown_callback_parameter_is_ignored() {
    let doorward = Setup::plain().start();
    let extra = [
        ("session_state", "abc"),
        ("scope", "openid"),
        ("hd", "example.com"),
        ("x", "%00 y"),
    ];
    doorward.provider.behave(|provider| {
        provider.extra_callback_parameters = extra
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
    });
    let mut browser = doorward.logged_in("alice", CART).await;
    load(&doorward, &mut browser, "alice").await;
}

#[tokio::test]
async fn malformed_callback_is_refused_by_name() {
    let doorward = Setup::plain().start();
    let (mut browser, page) = before_callback(&doorward).await;
    let push = |pairs: &mut Vec<(String, String)>, name: &str, value: &str| {
        pairs.push((name.to_owned(), value.to_owned()));
    };
    let drop_one =
        |pairs: &mut Vec<(String, String)>, name: &str| pairs.retain(|(found, _)| found != name);
    let repeated = "callback_parameter_repeated";
    let cases = [
        (
            changed(&page, |pairs| push(pairs, "code", "other")),
            repeated,
        ),
        (
            changed(&page, |pairs| push(pairs, "state", "other")),
            repeated,
        ),
        (
            changed(&page, |pairs| push(pairs, "iss", "https://x.test")),
            repeated,
        ),
        (
            changed(&page, |pairs| drop_one(pairs, "state")),
            "callback_state_missing",
        ),
        (
            changed(&page, |pairs| drop_one(pairs, "code")),
            "callback_malformed",
        ),
        (
            changed(&page, |pairs| push(pairs, "error", "access_denied")),
            "callback_malformed",
        ),
        (
            changed(&page, |pairs| drop_one(pairs, "iss")),
            "callback_issuer_missing",
        ),
        (
            doorward.store_url("/.doorward/callback"),
            "callback_issuer_missing",
        ),
        (
            changed(&page, |pairs| pairs[1].1 = "garbage".to_owned()),
            "state_invalid",
        ),
        (
            changed(&page, |pairs| pairs[1].1.truncate(40)),
            "state_invalid",
        ),
        (
            changed(&page, |pairs| pairs[1].1 = "A".repeat(9000)),
            "state_invalid",
        ),
    ];
    for (url, code) in cases {
        let response = browser.step(&url).await;
        assert_eq!(response.status(), 400, "{code}: {response}");
        assert!(
            response.text().contains(code) && !sets_session(&response),
            "{code}: {response}"
        );
    }
    assert_eq!(exchanges(&doorward), 0);
    let good = browser.next(&page).await;
    assert!(
        sets_session(&good),
        "none of it used the attempt up: {good}"
    );
}

#[tokio::test]
async fn callback_iss_mismatch_or_absence_is_refused() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let cases = [
        (IssParameter::Wrong, "callback_issuer_mismatch"),
        (IssParameter::Missing, "callback_issuer_missing"),
    ];
    for (iss, code) in cases {
        doorward
            .provider
            .behave(|provider| provider.iss_parameter = iss);
        let page = doorward.browser().visit(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 400, "{page}");
        assert!(page.text().contains(code), "{page}");
        doorward.log.line("/.doorward/callback", code).await;
    }
    assert_eq!(exchanges(&doorward), 0);
}

#[tokio::test]
async fn state_of_other_app_is_invalid() {
    let doorward = Setup::over_tls().start();
    let (mut browser, page) = before_callback(&doorward).await;
    let url = location(&page).replace(&doorward.site().store, &doorward.site().forum);
    let response = browser.step(&url).await;
    assert_eq!(response.status(), 400, "{response}");
    assert!(response.text().contains("state_invalid"), "{response}");
}

fn attempts(doorward: &Doorward, browser: &Browser) -> usize {
    browser
        .jar
        .of(doorward.store_host())
        .iter()
        .filter(|cookie| cookie.name.contains("_login_") && !cookie.name.ends_with("_loop"))
        .count()
}
