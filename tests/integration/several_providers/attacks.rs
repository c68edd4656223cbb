//! Mix-up attacks (RFC 9700 section 4.4), and tokens and cookies of one provider used with the other.

use serde_json::json;

use super::{
    PAGE, Several, WIKI, callback, cookie, location, sets_session, several, with_parameters,
};
use crate::support::assertions::assert_error_page;
use crate::support::browser::Browser;
use crate::support::cookies::Cookie;
use crate::support::provider::{Endpoint, IssParameter};

/// Delivers a response that must be refused with this code, without any call of a token endpoint.
async fn assert_refused(wiki: &Several, browser: &mut Browser, url: &str, code: &str) {
    let before = wiki.code_exchanges();
    let page = browser.step(url).await;
    assert_error_page(&page, 400, code);
    assert!(!sets_session(&page), "{page}");
    assert_eq!(wiki.code_exchanges(), before, "a code was sent: {url}");
}

fn parameter(url: &str, name: &str) -> String {
    let url = url::Url::parse(url).expect("a URL");
    let mut pairs = url.query_pairs();
    let (_, value) = pairs.find(|(found, _)| found == name).expect(name);
    value.into_owned()
}

fn set(pairs: &mut [(String, String)], name: &str, value: &str) {
    let mut pairs = pairs.iter_mut();
    let pair = pairs.find(|(found, _)| found == name).expect("a parameter");
    value.clone_into(&mut pair.1);
}

#[tokio::test]
async fn response_with_the_issuer_of_the_other_provider_is_refused() {
    let wiki = several();
    for (own, other) in [("login", "members"), ("members", "login")] {
        let mut browser = wiki.browser();
        let response = wiki.before_callback(&mut browser, own).await;
        let issuer = wiki.at(other).issuer().to_owned();
        let url = with_parameters(location(&response), |pairs| set(pairs, "iss", &issuer));
        assert_refused(&wiki, &mut browser, &url, "callback_issuer_mismatch").await;
        // The honest response still completes the login.
        let page = browser.next(&response).await;
        assert!(sets_session(&page), "{page}");
    }
}

#[tokio::test]
async fn response_without_the_announced_issuer_is_refused() {
    let wiki = several();
    wiki.members
        .behave(|provider| provider.iss_parameter = IssParameter::Missing);
    let mut browser = wiki.browser();
    let response = wiki.before_callback(&mut browser, "members").await;
    let url = location(&response).to_owned();
    assert_refused(&wiki, &mut browser, &url, "callback_issuer_missing").await;
}

/// The user chose `members`, which an attacker runs. It sends the browser on to `login`, so that the
/// honest provider's code comes back for the attempt at the attacker's.
#[tokio::test]
async fn code_of_the_honest_provider_never_reaches_the_attacker() {
    let wiki = several();
    let mut browser = wiki.browser();
    let start = browser
        .step(&format!("{WIKI}/.doorward/login?provider=members"))
        .await;
    let attempt = location(&start).to_owned();
    let query = attempt.split_once('?').expect("a query").1;
    let honest = format!("{}?{query}", wiki.provider.url(Endpoint::Authorize));
    // The honest provider knows no redirect URI but its own.
    let refused = browser.step(&honest).await;
    assert_eq!(refused.status(), 400, "{refused}");
    let own = with_parameters(&honest, |pairs| {
        set(pairs, "redirect_uri", &callback("login"));
    });
    let response = browser.step(&own).await;
    let url = location(&response).to_owned();
    assert!(url.starts_with(&callback("login")), "{response}");
    assert_refused(&wiki, &mut browser, &url, "state_invalid").await;
    let without_iss = with_parameters(&url, |pairs| pairs.retain(|(name, _)| name != "iss"));
    assert_refused(&wiki, &mut browser, &without_iss, "callback_issuer_missing").await;
    assert_eq!(wiki.members.calls(Endpoint::Token), 0);
}

#[tokio::test]
async fn code_of_one_provider_with_the_state_of_the_other_is_of_no_use() {
    let wiki = several();
    let mut browser = wiki.browser();
    let at_login = wiki.before_callback(&mut browser, "login").await;
    let at_members = wiki.before_callback(&mut browser, "members").await;
    let (login, members) = (location(&at_login), location(&at_members));
    // At the callback of the provider of the code.
    let state = parameter(members, "state");
    let url = with_parameters(login, |pairs| set(pairs, "state", &state));
    assert_refused(&wiki, &mut browser, &url, "state_invalid").await;
    // At the callback of the provider of the state, with its issuer: a code that an attacker has.
    let code = parameter(login, "code");
    let url = with_parameters(members, |pairs| set(pairs, "code", &code));
    let page = browser.step(&url).await;
    assert_error_page(&page, 400, "code_rejected");
    assert!(!sets_session(&page), "{page}");
    assert_eq!(wiki.provider.calls(Endpoint::Token), 0);
    // The whole response at the other callback.
    for (response, other) in [(login, "members"), (members, "login")] {
        let query = response.split_once('?').expect("a query").1;
        let url = format!("{}?{query}", callback(other));
        assert_refused(&wiki, &mut browser, &url, "callback_issuer_mismatch").await;
        let issuer = wiki.at(other).issuer().to_owned();
        let url = with_parameters(&url, |pairs| set(pairs, "iss", &issuer));
        assert_refused(&wiki, &mut browser, &url, "state_invalid").await;
    }
}

/// Puts the cookie of this kind of another browser in place of this one's.
fn exchange(browser: &mut Browser, other: &Browser, kind: &str) {
    let value = cookie(other, kind).expect("a cookie");
    let name = format!("doorward_{kind}");
    browser.jar.tamper("wiki.localhost", &name, |_| value);
}

#[tokio::test]
async fn jwt_cookie_of_one_provider_never_meets_the_refresh_token_of_the_other() {
    let wiki = several();
    let (mut browser, mut other) = (wiki.browser(), wiki.browser());
    wiki.log_in(&mut browser, "login").await;
    wiki.log_in(&mut other, "members").await;
    let mut with_other_refresh = browser.clone();
    exchange(&mut with_other_refresh, &other, "refresh");
    let mut with_other_jwt = browser.clone();
    exchange(&mut with_other_jwt, &other, "jwt");
    wiki.advance_secs(600);
    for browser in [&mut with_other_refresh, &mut with_other_jwt] {
        assert!(!wiki.is_signed_in(browser).await);
    }
    for provider in [&wiki.provider, &wiki.members] {
        assert_eq!(provider.grants("refresh_token"), 0);
    }
    // Neither session has suffered.
    assert!(wiki.is_signed_in(&mut browser).await && wiki.is_signed_in(&mut other).await);
}

#[tokio::test]
async fn sessions_at_two_providers_at_once_are_none() {
    let wiki = several();
    let (mut staff, mut member) = (wiki.browser(), wiki.browser());
    wiki.log_in(&mut staff, "login").await;
    wiki.log_in(&mut member, "members").await;
    for (mut browser, other) in [(staff.clone(), &member), (member.clone(), &staff)] {
        for planted in other.jar.of("wiki.localhost") {
            browser.jar.plant(Cookie {
                path: "/page".to_owned(),
                ..planted.clone()
            });
        }
        assert!(!wiki.is_signed_in(&mut browser).await);
    }
}

#[tokio::test]
async fn logout_ends_both_sessions_of_mixed_cookies() {
    let wiki = several();
    let (mut browser, mut other) = (wiki.browser(), wiki.browser());
    wiki.log_in(&mut browser, "login").await;
    wiki.log_in(&mut other, "members").await;
    let mut mixed = browser.clone();
    exchange(&mut mixed, &other, "refresh");
    let form = mixed.visit(&format!("{WIKI}/.doorward/logout")).await;
    mixed.send(form.filled(&[])).await;
    assert!(!wiki.is_signed_in(&mut browser).await);
    wiki.advance_secs(600);
    assert!(!wiki.is_signed_in(&mut other).await);
}

#[tokio::test]
async fn bare_token_in_a_session_cookie_is_unreadable() {
    let wiki = several();
    let mut browser = wiki.browser();
    wiki.log_in(&mut browser, "login").await;
    let token = wiki.members.access_token(&json!({ "aud": "wiki" }), &[]);
    browser
        .jar
        .tamper("wiki.localhost", "doorward_jwt", |_| token.clone());
    browser
        .jar
        .remove("wiki.localhost", |cookie| cookie.name == "doorward_refresh");
    let reached = wiki.wiki.count();
    let page = browser.step(PAGE).await;
    assert_eq!(page.status(), 302, "{page}");
    assert_eq!(wiki.wiki.count(), reached);
}
