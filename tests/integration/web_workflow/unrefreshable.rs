//! A session that the provider does not refresh: its user is never locked out, and the provider is
//! not asked by every request.

use serde_json::json;

use super::{CART, is_sent_to_log_in, load, refreshes};
use crate::support::assertions::{assert_error_page, assert_login_starts, assert_problem, fetched};
use crate::support::browser::Page;
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, Fault, Flaw};

/// The provider's response to a refresh.
#[derive(Clone, Debug)]
enum Refusal {
    Response(Fault),
    Token(Flaw),
}

impl Refusal {
    fn apply(&self, doorward: &Doorward) {
        match self.clone() {
            Self::Response(fault) => doorward.provider.fault(Endpoint::Token, fault),
            Self::Token(flaw) => doorward
                .provider
                .behave(|provider| provider.id_token_flaws = vec![flaw]),
        }
    }

    fn end(doorward: &Doorward) {
        doorward.provider.heal(Endpoint::Token);
        doorward
            .provider
            .behave(|provider| provider.id_token_flaws.clear());
    }
}

fn refusals() -> Vec<Refusal> {
    let responses = [
        Fault::Json(400, r#"{"error":"invalid_request"}"#),
        Fault::Json(400, r#"{"error":"unauthorized_client"}"#),
        Fault::Json(401, r#"{"error":"invalid_client"}"#),
        Fault::Json(400, r#"{"error":"invalid_scope"}"#),
        Fault::Json(401, ""),
        Fault::Json(401, r#"{"message":"no"}"#),
        Fault::Page(400),
        Fault::Page(403),
        Fault::Page(404),
        Fault::Json(403, r#"{"error":"Forbidden","message":"by a gateway"}"#),
        Fault::Json(200, r#"{"status":"error"}"#),
    ];
    let tokens = [
        Flaw::Expired,
        Flaw::Claim("at_hash", json!("AAAA")),
        Flaw::WrongAudience,
    ];
    let responses = responses.into_iter().map(Refusal::Response);
    responses
        .chain(tokens.into_iter().map(Refusal::Token))
        .collect()
}

fn login_links(page: &Page) -> Vec<String> {
    let links = page.links().into_iter().map(|(target, _)| target);
    links
        .filter(|target| target.starts_with("/.doorward/login?return_to="))
        .collect()
}

#[tokio::test]
async fn refused_refresh_leads_to_a_login_the_second_time() {
    let doorward = Setup::plain().start();
    let cart = doorward.store_url(CART);
    for refusal in refusals() {
        let what = format!("{refusal:?}");
        let mut browser = doorward.logged_in("alice", CART).await;
        doorward.advance_secs(300);
        refusal.apply(&doorward);
        let page = browser.step(&cart).await;
        assert_eq!(page.status(), 503, "{what}: {page}");
        assert_eq!(login_links(&page).len(), 1, "{what}: {page}");
        let session = doorward.store_url("/.doorward/session");
        let response = fetched(&mut browser, &session).await;
        assert_eq!(response.status(), 503, "{what}: {response}");
        let login = doorward.store_url("/.doorward/login");
        assert_login_starts(&doorward, &browser.clone().step(&login).await);

        doorward.advance_secs(5);
        assert_problem(
            &fetched(&mut browser, &cart).await,
            401,
            "session_not_refreshed",
        );
        let mut kept = browser.clone();
        is_sent_to_log_in(&doorward, &mut browser).await;
        assert!(
            doorward.cookie(&browser, "refresh").is_some(),
            "{what}: the session is not over"
        );
        Refusal::end(&doorward);
        doorward.advance_secs(10);
        load(&doorward, &mut kept, "alice").await;
        let page = browser.visit(&cart).await;
        assert_eq!(page.status(), 200, "{what}: {page}");
    }
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn outage_keeps_the_session_however_long_it_lasts() {
    for fault in [
        Fault::Page(500),
        Fault::Status(503),
        Fault::Json(429, ""),
        Fault::Json(408, ""),
        Fault::Json(425, ""),
        Fault::Json(400, r#"{"error":"temporarily_unavailable"}"#),
        Fault::Html,
        Fault::BrokenJson,
        Fault::Redirect("https://status.example.com/".to_owned()),
        Fault::CutBefore,
    ] {
        let what = format!("{fault:?}");
        let doorward = Setup::plain().start();
        let mut browser = doorward.logged_in("alice", CART).await;
        doorward.advance_secs(300);
        doorward.provider.fault(Endpoint::Token, fault);
        for _ in 0..4 {
            let page = browser.step(&doorward.store_url(CART)).await;
            assert_eq!(page.status(), 503, "{what}: {page}");
            doorward.advance_secs(5);
        }
        let login = doorward.store_url("/.doorward/login");
        assert_login_starts(&doorward, &browser.clone().step(&login).await);
        doorward.provider.heal(Endpoint::Token);
        doorward.advance_secs(5);
        load(&doorward, &mut browser, "alice").await;
        doorward.provider.assert_no_dead_refresh_token_was_sent();
    }
}

#[tokio::test]
async fn page_names_what_failed_and_what_that_means() {
    let mut doorward = Setup::plain().without_provider().start();
    let stranger = doorward
        .browser()
        .step(&doorward.store_url(CART))
        .await
        .words();
    assert!(stranger.contains("The login service is not available"));
    assert!(!stranger.contains("logged out"), "{stranger}");
    doorward.provider.restart();
    doorward.advance_secs(3);
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    doorward.provider.fault(Endpoint::Token, Fault::Page(500));
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_error_page(&page, 503, "provider_unavailable");
    let words = page.words();
    assert!(
        words.contains("The login service is not available"),
        "{words}"
    );
    assert!(words.contains("You have not been logged out"), "{words}");
    doorward.advance_secs(5);
    let refusal = Fault::Json(401, r#"{"error":"invalid_client"}"#);
    doorward.provider.fault(Endpoint::Token, refusal);
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_error_page(&page, 503, "client_rejected");
    let words = page.words();
    assert!(words.contains("refused to renew your session"), "{words}");
}

#[tokio::test]
async fn failed_refresh_is_not_tried_by_every_request() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    doorward.provider.fault(Endpoint::Token, Fault::Status(503));
    for request in 0..30 {
        let page = browser.step(&doorward.store_url(CART)).await;
        assert_error_page(&page, 503, "provider_unavailable");
        let expected = if request < 20 { "5" } else { "2" };
        assert_eq!(page.header("retry-after"), Some(expected));
        if request == 19 {
            doorward.advance_secs(3);
        }
    }
    assert_eq!(refreshes(&doorward), 1);
    doorward.advance_secs(2);
    browser.step(&doorward.store_url(CART)).await;
    assert_eq!(refreshes(&doorward), 2);
}

#[tokio::test]
async fn open_circuit_lets_one_refresh_a_second_through() {
    const OPEN: &str = r#"doorward_provider_circuit_open{provider="login"}"#;
    let doorward = Setup::plain().start();
    let mut browsers = Vec::new();
    for user in 0..8 {
        browsers.push(doorward.logged_in(&format!("user{user}"), CART).await);
    }
    assert_eq!(doorward.metric(OPEN).await, 0.0);
    doorward.advance_secs(300);
    doorward.provider.fault(Endpoint::Token, Fault::Status(503));
    for (user, browser) in browsers.iter_mut().enumerate() {
        let page = browser.step(&doorward.store_url(CART)).await;
        let code = if user < 5 {
            "provider_unavailable"
        } else {
            "provider_circuit_open"
        };
        assert_error_page(&page, 503, code);
    }
    assert_eq!(
        (refreshes(&doorward), doorward.metric(OPEN).await),
        (5, 1.0)
    );
    doorward.advance_secs(5);
    for browser in &mut browsers {
        browser.step(&doorward.store_url(CART)).await;
    }
    assert_eq!(refreshes(&doorward), 6);
    doorward.provider.heal(Endpoint::Token);
    doorward.advance_secs(5);
    for (user, browser) in browsers.iter_mut().enumerate() {
        load(&doorward, browser, &format!("user{user}")).await;
    }
    assert_eq!(doorward.metric(OPEN).await, 0.0);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

/// A thief who refreshes often must not make the replacement of a stolen token look recent.
#[tokio::test]
async fn frequent_refreshes_do_not_hide_a_stolen_token() {
    let doorward = Setup::plain().start();
    let jwt = doorward.cookie_name("jwt");
    let mut browser = doorward.logged_in("alice", CART).await;
    let mut stolen = browser.clone();
    for _ in 0..14 {
        browser
            .jar
            .remove(doorward.store_host(), |cookie| cookie.name == jwt);
        load(&doorward, &mut browser, "alice").await;
        doorward.advance_secs(3);
    }
    let refreshed = refreshes(&doorward);
    assert!(refreshed > 10, "{refreshed}");
    stolen
        .jar
        .remove(doorward.store_host(), |cookie| cookie.name == jwt);
    is_sent_to_log_in(&doorward, &mut stolen).await;
    is_sent_to_log_in(&doorward, &mut browser).await;
    assert_eq!(refreshes(&doorward), refreshed);
}
