//! Where the claims of a session come from: the newest token that has them, else userinfo, at the
//! login and at every refresh.

use serde_json::{Value, json};

use crate::support::assertions::{CART, SOON, alice, signed_in};
use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;
use crate::support::provider::{Behaviour, Endpoint, Fault, Flaw, User};

/// Needs the role `admin`.
const ORDERS: &str = "/admin/orders";

/// How soon a userinfo endpoint that failed is asked again, in seconds.
const BACKOFF: u64 = 5;

async fn admin(doorward: &Doorward) -> Browser {
    signed_in(doorward, User::new("alice", &["admin"])).await
}

async fn status(doorward: &Doorward, browser: &mut Browser) -> u16 {
    browser.step(&doorward.store_url(ORDERS)).await.status()
}

/// Waits until a refresh beside the requests was delivered.
async fn status_becomes(doorward: &Doorward, browser: &mut Browser, expected: u16) {
    eventually_async(&format!("status {expected}"), SOON, async || {
        status(doorward, browser).await == expected
    })
    .await;
}

fn take_roles_away(doorward: &Doorward) {
    doorward.provider.change_user("alice-id", |user| {
        drop(user.claims.insert("roles".to_owned(), json!([])))
    });
}

fn only_in_userinfo(provider: &mut Behaviour) {
    let missing = ["email", "preferred_username", "groups", "roles"].map(Flaw::Without);
    provider.id_token_flaws = missing.to_vec();
    provider.access_token_flaws = missing.to_vec();
}

#[tokio::test]
async fn missing_claims_are_fetched_from_userinfo() {
    for opaque in [true, false] {
        let jwt = if opaque { "id" } else { "access" };
        let doorward = Setup::plain()
            .store(&format!("session_jwt = \"{jwt}\""))
            .start();
        doorward.provider.behave(|provider| {
            provider.opaque_access_token = opaque;
            only_in_userinfo(provider);
        });
        doorward.provider.sign_in(User::new("alice", &["admin"]));
        let mut browser = doorward.browser();
        for round in 0..2 {
            let page = browser.visit(&doorward.store_url(ORDERS)).await;
            assert_eq!(page.status(), 200, "{round}: {page}");
            assert_eq!(
                doorward.store.last().header("x-forwarded-email"),
                Some("alice@example.com"),
                "{round}"
            );
            assert_eq!(
                doorward.provider.calls(Endpoint::Userinfo),
                round + 1,
                "at the login and at each refresh"
            );
            doorward.advance_secs(301);
        }
    }
}

#[tokio::test]
async fn complete_tokens_need_no_userinfo() {
    let doorward = Setup::plain().start();
    let mut browser = admin(&doorward).await;
    doorward.advance_secs(301);
    assert_eq!(status(&doorward, &mut browser).await, 200);
    assert_eq!(doorward.provider.calls(Endpoint::Userinfo), 0);
}

#[tokio::test]
async fn role_that_is_taken_away_is_gone_at_the_next_refresh() {
    type Change = fn(&mut Behaviour);
    let in_id_token_only: Change = |provider| {
        provider.has_userinfo = false;
        provider.access_token_flaws = vec![Flaw::Without("roles")];
    };
    let cases: [(&str, &str, Change, Change); 7] = [
        ("null in userinfo", "id", only_in_userinfo, |provider| {
            provider.userinfo_claims = vec![("roles", Value::Null)];
        }),
        ("from userinfo", "id", only_in_userinfo, |_| {}),
        (
            "from userinfo beside an access token",
            "access",
            only_in_userinfo,
            |_| {},
        ),
        ("from the ID token", "access", in_id_token_only, |_| {}),
        (
            "absent from the ID token",
            "access",
            in_id_token_only,
            |provider| {
                provider.id_token_flaws = vec![Flaw::Without("roles")];
            },
        ),
        (
            "null in the ID token",
            "access",
            in_id_token_only,
            |provider| {
                provider.id_token_flaws = vec![Flaw::Claim("roles", Value::Null)];
            },
        ),
        (
            "no new ID token",
            "id",
            |provider| provider.refresh_brings_id_token = false,
            |_| {},
        ),
    ];
    for (what, jwt, at_login, at_refresh) in cases {
        let doorward = Setup::plain()
            .store(&format!("session_jwt = \"{jwt}\""))
            .start();
        doorward.provider.behave(at_login);
        let mut browser = admin(&doorward).await;
        assert_eq!(status(&doorward, &mut browser).await, 200, "{what}");
        doorward.advance_secs(301);
        assert_eq!(
            status(&doorward, &mut browser).await,
            200,
            "{what}: unchanged"
        );
        take_roles_away(&doorward);
        doorward.provider.behave(at_refresh);
        doorward.advance_secs(301);
        assert_eq!(status(&doorward, &mut browser).await, 403, "{what}");
        assert_eq!(
            browser.step(&doorward.store_url(CART)).await.status(),
            200,
            "{what}"
        );
    }
}

#[tokio::test]
async fn claim_stays_if_the_provider_has_no_newer_source() {
    for (jwt, opaque) in [("id", true), ("access", false)] {
        let doorward = Setup::plain()
            .store(&format!("session_jwt = \"{jwt}\"\nuserinfo = \"never\""))
            .start();
        doorward.provider.behave(|provider| {
            provider.opaque_access_token = opaque;
            provider.access_token_flaws = vec![Flaw::Without("roles")];
            provider.refresh_brings_id_token = false;
        });
        let mut browser = admin(&doorward).await;
        for _ in 0..2 {
            doorward.advance_secs(301);
            assert_eq!(status(&doorward, &mut browser).await, 200, "{jwt}");
        }
        assert_eq!(doorward.provider.calls(Endpoint::Userinfo), 0, "{jwt}");
    }
}

#[tokio::test]
async fn thinner_refreshed_id_token_is_completed_from_userinfo() {
    let doorward = Setup::plain().start();
    let mut browser = admin(&doorward).await;
    doorward.provider.behave(only_in_userinfo);
    doorward.advance_secs(301);
    assert_eq!(status(&doorward, &mut browser).await, 200);
    let email = doorward
        .store
        .last()
        .header("x-forwarded-email")
        .map(str::to_owned);
    assert_eq!(email.as_deref(), Some("alice@example.com"));
    assert_eq!(doorward.provider.calls(Endpoint::Userinfo), 1);
}

#[tokio::test]
async fn transient_userinfo_failure_keeps_claims_and_is_retried() {
    let faults = [
        Fault::Page(500),
        Fault::Status(429),
        Fault::Html,
        Fault::BrokenJson,
        Fault::CutBefore,
    ];
    for fault in faults {
        let doorward = Setup::plain().start();
        doorward.provider.behave(only_in_userinfo);
        let mut browser = admin(&doorward).await;
        doorward.provider.fault(Endpoint::Userinfo, fault.clone());
        take_roles_away(&doorward);
        doorward.advance_secs(301);
        assert_eq!(
            status(&doorward, &mut browser).await,
            200,
            "{fault:?}: kept"
        );
        let asked = doorward.provider.calls(Endpoint::Userinfo);
        doorward.advance_secs(BACKOFF - 1);
        assert_eq!(status(&doorward, &mut browser).await, 200, "{fault:?}");
        assert_eq!(
            doorward.provider.calls(Endpoint::Userinfo),
            asked,
            "{fault:?}: backoff"
        );
        doorward.provider.heal(Endpoint::Userinfo);
        doorward.advance_secs(1);
        status_becomes(&doorward, &mut browser, 403).await;
        doorward.provider.assert_no_dead_refresh_token_was_sent();
    }
}

#[tokio::test]
async fn userinfo_that_fails_for_an_hour_preserves_no_role() {
    let doorward = Setup::plain().start();
    doorward.provider.behave(only_in_userinfo);
    let mut browser = admin(&doorward).await;
    doorward
        .provider
        .fault(Endpoint::Userinfo, Fault::Page(500));
    for minutes in (0..60).step_by(5) {
        doorward.advance_secs(301);
        assert_eq!(status(&doorward, &mut browser).await, 200, "{minutes}");
    }
    doorward.advance_secs(301);
    assert_eq!(status(&doorward, &mut browser).await, 403);
    doorward.provider.heal(Endpoint::Userinfo);
    doorward.advance_secs(301);
    status_becomes(&doorward, &mut browser, 200).await;
}

#[tokio::test]
async fn refusing_userinfo_removes_claims() {
    for fault in [
        Fault::Json(403, ""),
        Fault::Status(401),
        Fault::Json(200, r#"{"sub":"mallory-id","roles":["admin"]}"#),
    ] {
        let doorward = Setup::plain().start();
        doorward.provider.behave(only_in_userinfo);
        let mut browser = admin(&doorward).await;
        doorward.provider.fault(Endpoint::Userinfo, fault.clone());
        doorward.advance_secs(301);
        assert_eq!(status(&doorward, &mut browser).await, 403, "{fault:?}");
        let refreshed = doorward.provider.grants("refresh_token");
        doorward.advance_secs(60);
        assert_eq!(status(&doorward, &mut browser).await, 403, "{fault:?}");
        assert_eq!(
            doorward.provider.grants("refresh_token"),
            refreshed,
            "{fault:?}"
        );
        doorward.provider.heal(Endpoint::Userinfo);
        doorward.advance_secs(301);
        assert_eq!(
            status(&doorward, &mut browser).await,
            200,
            "{fault:?}: healed"
        );
    }
}

#[tokio::test]
async fn failing_userinfo_does_not_fail_login() {
    let doorward = Setup::plain().start();
    doorward
        .provider
        .behave(|provider| provider.id_token_flaws = vec![Flaw::Without("email")]);
    for fault in [
        Fault::Page(500),
        Fault::Json(403, ""),
        Fault::Json(200, r#"{"sub":"mallory-id"}"#),
    ] {
        doorward.provider.fault(Endpoint::Userinfo, fault.clone());
        alice(&doorward).await;
        assert_eq!(
            doorward.store.last().header("x-forwarded-email"),
            None,
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn userinfo_that_failed_at_login_is_asked_again() {
    let doorward = Setup::plain().start();
    doorward.provider.behave(only_in_userinfo);
    doorward
        .provider
        .fault_once(Endpoint::Userinfo, Fault::Page(500));
    let mut browser = admin(&doorward).await;
    assert_eq!(status(&doorward, &mut browser).await, 403);
    assert_eq!(doorward.provider.calls(Endpoint::Userinfo), 1);
    doorward.advance_secs(BACKOFF);
    status_becomes(&doorward, &mut browser, 200).await;
    assert_eq!(doorward.provider.calls(Endpoint::Userinfo), 2);
    doorward.advance_secs(60);
    assert_eq!(status(&doorward, &mut browser).await, 200);
    assert_eq!(
        doorward.provider.grants("refresh_token"),
        1,
        "the identity is complete"
    );
}
