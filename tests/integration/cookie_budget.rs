//! The cookie budget: Doorward's cookies never exceed 7 KiB in any request, whatever the tokens
//! contain. What does not fit is refused at login, naming the claim.

use doorward::session::cookie::MAX_ALL;
use serde_json::{Value, json};

use crate::support::assertions::{CART, alice, assert_error_page, signed_in};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::cookies::CookieContext;
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, Flaw, User};

/// The longest `Cookie` header that this browser sends to the store: to a page, the callback, the
/// logout.
fn most_sent(doorward: &Doorward, browser: &Browser) -> usize {
    let situation = CookieContext {
        same_site: true,
        top_level: true,
        safe_method: true,
    };
    let paths = [CART, "/.doorward/callback", "/.doorward/logout"];
    let fields = paths.iter().map(|path| {
        let url = doorward.store_url(path).parse().expect("an URL");
        browser
            .jar
            .header(&url, doorward.now(), situation)
            .unwrap_or_default()
    });
    fields.map(|field| field.len()).max().unwrap_or_default()
}

/// A user with large claims.
fn well_known(bytes: usize) -> User {
    User::new("alice", &[]).with_claim("portrait", json!("x".repeat(bytes)))
}

#[tokio::test]
async fn request_cookies_never_exceed_the_budget() {
    let doorward = Setup::over_tls().start();
    let (mut fitted, mut refused) = (0, 0);
    for bytes in (0..6_000).step_by(250) {
        let mut browser = doorward.browser();
        browser.step(&doorward.store_url(CART)).await;
        doorward.provider.sign_out();
        for tab in 0..7 {
            browser
                .step(&doorward.store_url(&format!("/tab/{tab}")))
                .await;
        }
        doorward.provider.sign_in(well_known(bytes));
        let page = browser.visit(&doorward.store_url(CART)).await;
        let sent = most_sent(&doorward, &browser);
        assert!(
            sent <= MAX_ALL,
            "{bytes} bytes of claims: {sent} bytes of cookies"
        );
        match page.status() {
            200 => fitted += 1,
            _ => refused += 1,
        }
    }
    assert!(
        fitted >= 10 && refused >= 2,
        "{fitted} fitted, {refused} did not"
    );
}

#[tokio::test]
async fn login_tab_evicted_by_budget_still_reaches_its_page() {
    let doorward = Setup::over_tls().start();
    let mut browser = doorward.browser();
    browser.step(&doorward.store_url(CART)).await;
    let mut tabs = Vec::new();
    for tab in 0..6 {
        tabs.push(
            browser
                .step(&doorward.store_url(&format!("/tab/{tab}")))
                .await,
        );
    }
    doorward.provider.sign_in(well_known(3_900));
    assert_eq!(browser.visit(&doorward.store_url(CART)).await.status(), 200);
    for (number, tab) in tabs.iter().enumerate() {
        let at_provider = browser.next(tab).await;
        let page = browser
            .visit(at_provider.header("location").expect("a redirect"))
            .await;
        assert_eq!(
            (page.status(), page.url.path()),
            (200, format!("/tab/{number}").as_str()),
            "{page}"
        );
    }
}

#[tokio::test]
async fn oversized_claim_is_named_and_counted() {
    let doorward = Setup::plain().start();
    let groups: Vec<String> = (0..600).map(|number| format!("group-{number}")).collect();
    let bytes = json!(groups).to_string().len();
    let cases = [
        (
            json!({ "groups": groups }),
            format!("the claim `groups` ({bytes} bytes)"),
        ),
        (
            json!({ "realm_access": { "roles": groups, "x": 1 } }),
            format!("the claim `realm_access.roles` ({bytes} bytes)"),
        ),
    ];
    for (claims, named) in cases {
        let mut user = User::new("alice", &[]);
        user.claims
            .extend(claims.as_object().expect("an object").clone());
        doorward.provider.sign_in(user);
        let page = doorward.browser().visit(&doorward.store_url(CART)).await;
        assert_error_page(&page, 502, "session_too_large");
        assert!(
            page.words()
                .contains(&format!("The largest part is {named}.")),
            "{page}"
        );
    }
    alice(&doorward).await;
    for (series, expected) in [
        (
            r#"doorward_logins_total{app="store",outcome="session_too_large",provider="login"}"#,
            2.0,
        ),
        (
            r#"doorward_session_cookie_bytes_bucket{app="store",le="3072"}"#,
            1.0,
        ),
        (
            r#"doorward_session_cookie_bytes_bucket{app="store",le="7168"}"#,
            1.0,
        ),
        (r#"doorward_session_cookie_bytes_count{app="store"}"#, 3.0),
    ] {
        assert_eq!(doorward.metric(series).await, expected, "{series}");
    }
}

#[tokio::test]
async fn id_token_hint_is_dropped_when_it_does_not_fit() {
    let doorward = Setup::over_tls().start();
    for (bytes, has_hint) in [(0, true), (2_500, false)] {
        let mut browser = signed_in(&doorward, well_known(bytes)).await;
        assert_eq!(
            browser
                .jar
                .get(doorward.store_host(), "__Secure-doorward_id_token_hint")
                .is_some(),
            has_hint,
            "{bytes} bytes"
        );
        assert!(most_sent(&doorward, &browser) <= MAX_ALL);
        let form = browser
            .visit(&doorward.store_url("/.doorward/logout"))
            .await;
        let page = browser.submit(&form, &[]).await;
        assert_eq!(page.url.path(), "/.doorward/signed-out", "{page}");
    }
}

/// The app uses one member of a large object in the ID token: only that member is kept.
#[tokio::test]
async fn only_claims_in_use_are_kept() {
    let doorward = Setup::plain()
        .store("session_jwt = \"access\"")
        .more(
            "[apps.store.headers]\nX-Forwarded-User = \"{sub}\"\nX-Roles = \"{apps.store.roles}\"",
        )
        .start();
    doorward
        .provider
        .behave(|provider| provider.access_token_flaws = vec![Flaw::Without("apps")]);
    let apps = json!({ "store": { "roles": ["a", "b"], "x": 1 }, "forum": { "roles": vec!["moderator"; 500] } });
    let mut browser = signed_in(&doorward, User::new("alice", &[]).with_claim("apps", apps)).await;
    assert_eq!(doorward.store.last().header("x-roles"), Some("a,b"));
    doorward.advance_secs(300);
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    assert_eq!(
        doorward.store.last().header("x-roles"),
        Some("a,b"),
        "after a refresh"
    );
}

#[tokio::test]
async fn non_navigation_starts_no_login_attempt() {
    let doorward = Setup::over_tls().start();
    let cart = doorward.store_url(CART);
    let page = doorward.store_url("/").parse().expect("an URL");
    let mut requests: Vec<RequestSpec> = [Kind::Frame, Kind::Fetch, Kind::Image, Kind::Program]
        .into_iter()
        .flat_map(|kind| {
            [&cart, &doorward.store_url("/.doorward/login?return_to=/x")]
                .map(|url| RequestSpec::new(kind, url).from(&page))
        })
        .collect();
    requests.push(
        RequestSpec::new(Kind::Navigation, &cart)
            .method("POST")
            .from(&page),
    );
    requests.push(
        RequestSpec::new(Kind::Navigation, &cart)
            .method("HEAD")
            .from(&page),
    );
    requests.push(
        RequestSpec::new(Kind::Navigation, &cart)
            .header("Sec-Purpose", "prefetch;prerender")
            .from(&page),
    );
    for request in requests {
        let what = format!(
            "{:?} {} {:?}",
            request.kind, request.method, request.headers
        );
        let response = doorward.browser().send(request).await;
        assert_eq!(
            (response.status(), response.head.all("set-cookie").len()),
            (401, 0),
            "{what}: {response}"
        );
    }
    assert_eq!(doorward.provider.calls(Endpoint::Authorize), 0);
    assert_eq!(doorward.metric("doorward_store_entries").await, 0.0);
    let script: Value = doorward
        .browser()
        .send(RequestSpec::new(Kind::Fetch, &cart).from(&page))
        .await
        .json();
    assert_eq!(script["code"], "no_session");
}
