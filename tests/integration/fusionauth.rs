//! The web workflow with the demo's emulated FusionAuth: login, single sign-on, both kinds of
//! refresh, reuse, revocation by webhook, logout.

use crate::support::assertions::{SOON, assert_error_page};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::emulated::Emulated;
use crate::support::journey;
use crate::support::process::DemoProcess;
use crate::support::{eventually, eventually_async};

const JWT_REFRESH: (&str, &str) = ("refresh_by = \"token\"", "refresh_by = \"jwt-refresh\"");

/// Edit that removes the line with the API key.
async fn without_key(one_time_use: bool, more: &[(&str, &str)]) -> Emulated {
    let edits = [&[("api_key_file = ", "request_timeout = \"10s\" # ")], more].concat();
    Emulated::start(one_time_use, &edits).await
}

fn cart(fusionauth: &Emulated) -> String {
    format!("{}/shopping-cart", fusionauth.site().store)
}

fn posts(fusionauth: &Emulated) -> String {
    format!("{}/posts", fusionauth.site().forum)
}

/// A browser in which alice is logged in at both apps.
async fn at_both(fusionauth: &Emulated) -> Browser {
    let mut browser = fusionauth.browser();
    journey::log_in(&mut browser, &cart(fusionauth), "alice").await;
    journey::arrive_without_form(&mut browser, &posts(fusionauth), "alice").await;
    browser
}

async fn is_over(browser: &mut Browser, url: &str) -> bool {
    browser.step(url).await.status() == 302
}

/// Waits until the page starts a login.
async fn ends(browser: &mut Browser, url: &str) {
    eventually_async("the page starts a login", SOON, async || {
        is_over(browser, url).await
    })
    .await;
}

#[tokio::test]
async fn workflow_with_token_endpoint_refresh() {
    for (one_time_use, with_key) in [(true, true), (false, false)] {
        let fusionauth = if with_key {
            Emulated::start(one_time_use, &[]).await
        } else {
            without_key(one_time_use, &[]).await
        };
        let mut browser = fusionauth.browser();
        journey::whole(&mut browser, &fusionauth.site(), "alice", async || {
            fusionauth.advance_secs(61)
        })
        .await;
        assert_eq!(
            (
                fusionauth.provider().code_calls(),
                fusionauth.provider().refresh_calls()
            ),
            (2, 2)
        );
        assert_eq!(
            (
                fusionauth.provider().forms_shown(),
                fusionauth.provider().revocation_calls()
            ),
            (2, 1)
        );
    }
}

#[tokio::test]
async fn workflow_with_jwt_refresh_api() {
    for (one_time_use, with_key) in [(true, false), (false, true)] {
        let fusionauth = if with_key {
            Emulated::start(one_time_use, &[JWT_REFRESH]).await
        } else {
            without_key(one_time_use, &[JWT_REFRESH]).await
        };
        let mut browser = fusionauth.browser();
        journey::whole(&mut browser, &fusionauth.site(), "alice", async || {
            fusionauth.advance_secs(61)
        })
        .await;
        assert_eq!(
            (
                fusionauth.provider().code_calls(),
                fusionauth.provider().refresh_calls()
            ),
            (2, 2)
        );
        assert_eq!(fusionauth.provider().revocation_calls(), 1);
    }
}

#[tokio::test]
async fn repeated_refreshes_with_one_time_and_reusable_tokens() {
    for (one_time_use, edits) in [
        (true, vec![]),
        (false, vec![JWT_REFRESH]),
        (true, vec![JWT_REFRESH]),
        (false, vec![]),
    ] {
        let fusionauth = Emulated::start(one_time_use, &edits).await;
        let mut browser = at_both(&fusionauth).await;
        for round in 1..6 {
            fusionauth.advance_secs(61);
            journey::load_with_refresh(&mut browser, &cart(&fusionauth), "alice").await;
            journey::load(&mut browser, &cart(&fusionauth), "alice").await;
            assert_eq!(fusionauth.provider().refresh_calls(), round);
        }
        assert_eq!(fusionauth.provider().forms_shown(), 1);
    }
}

#[tokio::test]
async fn roles_come_from_access_token_and_registration_is_required() {
    let fusionauth = Emulated::start(true, &[]).await;
    let admin = format!("{}/admin", fusionauth.site().store);
    let mut browser = fusionauth.browser();
    journey::log_in(&mut browser, &admin, "bob").await;
    fusionauth.advance_secs(61);
    journey::load_with_refresh(&mut browser, &admin, "bob").await;
    let mut browser = fusionauth.browser();
    let form = journey::is_requested(&mut browser, &cart(&fusionauth)).await;
    let page = browser
        .submit(&form, &[("username", "carol"), ("password", "carol")])
        .await;
    assert!(
        page.url
            .query()
            .is_some_and(|query| query.contains("userState=AuthenticatedNotRegistered")),
        "{page}"
    );
    assert_error_page(&page, 403, "not_registered");
    let edit = [("refresh_by = \"token\"", "require_registration = false")];
    let fusionauth = Emulated::start(true, &edit).await;
    let mut browser = fusionauth.browser();
    journey::log_in(&mut browser, &cart(&fusionauth), "carol").await;
    assert_eq!(
        browser
            .step(&format!("{}/admin", fusionauth.site().store))
            .await
            .status(),
        403
    );
}

#[tokio::test]
async fn revoked_user_tokens_webhook_ends_sessions_at_both_apps() {
    let fusionauth = Emulated::start(true, &[]).await;
    let mut browser = at_both(&fusionauth).await;
    let mut bob = fusionauth.browser();
    journey::log_in(&mut bob, &cart(&fusionauth), "bob").await;
    assert_eq!(fusionauth.provider().revoke_all_of("alice"), 2);
    ends(&mut browser, &cart(&fusionauth)).await;
    assert!(is_over(&mut browser, &posts(&fusionauth)).await);
    journey::load(&mut bob, &cart(&fusionauth), "bob").await;
    assert_eq!(
        fusionauth.provider().refresh_calls(),
        0,
        "nobody had to ask"
    );
    // The session at the provider has ended too; a new login succeeds.
    fusionauth.advance_secs(1);
    journey::log_in(&mut browser, &cart(&fusionauth), "alice").await;
    journey::load(&mut browser, &cart(&fusionauth), "alice").await;
}

#[tokio::test]
async fn revoked_application_tokens_webhook_ends_its_sessions_only() {
    let fusionauth = Emulated::start(true, &[]).await;
    let mut browser = at_both(&fusionauth).await;
    let mut bob = fusionauth.browser();
    journey::log_in(&mut bob, &posts(&fusionauth), "bob").await;
    let forum = "85a03867-dccf-4882-adde-1a79aeec50df";
    let of_alice = format!("/api/jwt/refresh?userId=user-1001&applicationId={forum}");
    assert_eq!(fusionauth.call_api("DELETE", &of_alice).await.status(), 200);
    ends(&mut browser, &posts(&fusionauth)).await;
    journey::load(&mut browser, &cart(&fusionauth), "alice").await;
    journey::load(&mut bob, &posts(&fusionauth), "bob").await;
    fusionauth.advance_secs(1);
    let of_all = format!("/api/jwt/refresh?applicationId={forum}");
    assert_eq!(fusionauth.call_api("DELETE", &of_all).await.status(), 200);
    ends(&mut bob, &posts(&fusionauth)).await;
    journey::load(&mut browser, &cart(&fusionauth), "alice").await;
}

#[tokio::test]
async fn logout_ends_own_session_here_and_at_the_provider() {
    let fusionauth = Emulated::start(true, &[]).await;
    let mut browser = at_both(&fusionauth).await;
    let mut copy = browser.clone();
    let mut elsewhere = fusionauth.browser();
    journey::log_in(&mut elsewhere, &cart(&fusionauth), "alice").await;
    journey::log_out(&mut browser, &fusionauth.site().store).await;
    assert!(is_over(&mut copy, &cart(&fusionauth)).await);
    // FusionAuth ends its own session in that browser, so the login form is shown; the refresh
    // token of the other app remains valid.
    journey::is_requested(&mut browser, &cart(&fusionauth)).await;
    journey::load(&mut browser, &posts(&fusionauth), "alice").await;
    fusionauth.advance_secs(61);
    journey::load_with_refresh(&mut browser, &posts(&fusionauth), "alice").await;
    journey::load_with_refresh(&mut elsewhere, &cart(&fusionauth), "alice").await;
}

#[tokio::test]
async fn replayed_refresh_cookie_ends_session_of_both() {
    for edits in [vec![], vec![JWT_REFRESH]] {
        let fusionauth = Emulated::start(true, &edits).await;
        let mut browser = at_both(&fusionauth).await;
        let mut thief = browser.clone();
        fusionauth.advance_secs(61);
        journey::load_with_refresh(&mut browser, &cart(&fusionauth), "alice").await;
        journey::load(&mut browser, &cart(&fusionauth), "alice").await;
        fusionauth.advance_secs(31);
        assert!(is_over(&mut thief, &cart(&fusionauth)).await);
        assert!(is_over(&mut browser, &cart(&fusionauth)).await);
        assert_eq!(
            fusionauth.provider().refresh_calls(),
            1,
            "a used token was never sent"
        );
        eventually("the newest token is revoked", || {
            fusionauth.provider().revocation_calls() == 1
        })
        .await;
        journey::load_with_refresh(&mut browser, &posts(&fusionauth), "alice").await;
    }
}

#[tokio::test]
async fn provider_logout_page_ends_all_sessions() {
    let fusionauth = Emulated::start(true, &[]).await;
    let mut browser = at_both(&fusionauth).await;
    let welcome = browser.visit(&fusionauth.at_provider("/")).await;
    let after = browser.submit(&welcome, &[]).await;
    assert!(after.text().contains("Not signed in"), "{after}");
    ends(&mut browser, &cart(&fusionauth)).await;
    assert!(is_over(&mut browser, &posts(&fusionauth)).await);
    fusionauth.advance_secs(1);
    journey::is_requested(&mut browser, &cart(&fusionauth)).await;
}

#[tokio::test]
async fn stream_ends_with_session_ended_by_webhook() {
    let fusionauth = Emulated::start(true, &[("\"/clock\", \"/ticker\", ", "")]).await;
    let mut browser = at_both(&fusionauth).await;
    let ticker = format!("{}/ticker", fusionauth.site().store);
    let page = browser
        .step(&format!("{}/clock", fusionauth.site().store))
        .await;
    assert_eq!(page.status(), 200, "{page}");
    let mut stream = browser
        .stream(RequestSpec::new(Kind::Fetch, &ticker).from(&page.url))
        .await
        .expect("a stream");
    assert_eq!(stream.head.status(), 200);
    assert!(stream.next().await.is_ok_and(|tick| tick.is_some()));
    fusionauth.provider().revoke_all_of("alice");
    let cut = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while stream.next().await.is_ok_and(|tick| tick.is_some()) {}
    });
    cut.await.expect("the stream is cut");
}

#[tokio::test]
async fn demo_emulates_fusionauth_by_option() {
    let demo = DemoProcess::start_with(60, &["--fusionauth"]);
    demo.process.line_with("carol / carol");
    demo.process.line_with("emulates FusionAuth");
    let mut browser = Browser::new(std::sync::Arc::new(doorward::types::time::SystemClock));
    let cart = format!("{}/shopping-cart", demo.store);
    journey::log_in(&mut browser, &cart, "alice").await;
    let welcome = browser.visit(&format!("{}/", demo.provider)).await;
    browser.submit(&welcome, &[]).await;
    demo.process
        .line_with("sent to the apps: tokens were revoked");
    ends(&mut browser, &cart).await;
}
