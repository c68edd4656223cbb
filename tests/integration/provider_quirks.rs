//! Unusual provider behaviour seen in practice: none of it breaks a login or a refresh, or causes a
//! login loop.

use serde_json::json;

use crate::support::assertions::{
    CART, alice, assert_error_page, assert_problem, fetched, metric_reaches,
};
use crate::support::doorward::Setup;
use crate::support::provider::{Endpoint, ExpiresIn, Fault, Flaw, User};

#[tokio::test]
async fn unchanged_refresh_token_is_no_reuse() {
    let door = Setup::plain().start();
    door.provider.behave(|provider| {
        provider.rotates_refresh_tokens = false;
        provider.repeats_refresh_token = true;
    });
    let mut browser = alice(&door).await;
    for round in 1..4 {
        door.advance_secs(301);
        assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
        assert_eq!(door.provider.grants("refresh_token"), round);
    }
    let presented = door.provider.presented();
    assert!(presented.windows(2).all(|two| two[0].token == two[1].token));
    assert_eq!(
        door.metric(
            "doorward_refresh_tokens_reused_total{app=\"store\",outcome=\"session_ended\"}"
        )
        .await,
        0.0
    );
}

#[tokio::test]
async fn unusual_claim_and_date_forms_are_accepted() {
    let now = 1_800_000_000.0;
    let flaws = [
        Flaw::Claim("auth_time", json!(now - 0.25)),
        Flaw::Claim("iat", json!(now + 0.75)),
        Flaw::Claim("exp", json!(now + 300.5)),
        Flaw::Claim("aud", json!(["store"])),
        Flaw::Claim("azp", json!("store")),
    ];
    for jwt in ["id", "access"] {
        let door = Setup::plain()
            .store(&format!("session_jwt = \"{jwt}\""))
            .start();
        door.provider.behave(|provider| {
            provider.id_token_flaws = flaws.to_vec();
            provider.access_token_flaws =
                [&flaws[..3], &[Flaw::Claim("aud", json!(["api", "store"]))]].concat();
        });
        let mut browser = alice(&door).await;
        assert_eq!(
            browser.step(&door.store_url(CART)).await.status(),
            200,
            "{jwt}"
        );
    }
}

#[tokio::test]
async fn audience_list_is_accepted_with_azp() {
    let door = Setup::plain().start();
    let audiences = Flaw::Claim("aud", json!(["api", "store"]));
    door.provider.behave(|provider| {
        provider.id_token_flaws = vec![audiences, Flaw::Claim("azp", json!("store"))]
    });
    alice(&door).await;
}

#[tokio::test]
async fn opaque_token_without_lifetime_or_id_token_refreshes() {
    let door = Setup::plain().start();
    door.provider.behave(|provider| {
        provider.opaque_access_token = true;
        provider.refresh_brings_id_token = false;
        provider.expires_in = ExpiresIn::Missing;
        provider.rotates_refresh_tokens = false;
    });
    let mut browser = alice(&door).await;
    for round in 1..3 {
        door.advance_secs(301);
        assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
        assert_eq!(door.store_saw().as_deref(), Some("alice-id"));
        assert_eq!(door.provider.grants("refresh_token"), round);
    }
}

#[tokio::test]
async fn rejected_refresh_token_ends_session_in_every_dialect() {
    let refusals = [
        Fault::Json(400, r#"{"error":"invalid_grant"}"#),
        Fault::Json(401, r#"{"error":"invalid_grant"}"#),
        Fault::Json(
            403,
            r#"{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}"#,
        ),
        Fault::Json(200, r#"{"error":"bad_refresh_token"}"#),
        Fault::Json(400, r#"{"error":"refresh_token_expired"}"#),
        Fault::Json(400, r#"{"error":"interaction_required"}"#),
        Fault::Json(400, r#"{"error":{"code":"token_revoked"}}"#),
        Fault::Json(
            400,
            r#"{"code":"E0000011","message":"Invalid token provided"}"#,
        ),
        Fault::Json(400, ""),
        Fault::Json(403, ""),
    ];
    for refusal in refusals {
        let door = Setup::plain().start();
        let mut browser = alice(&door).await;
        door.advance_secs(301);
        door.provider.fault(Endpoint::Token, refusal.clone());
        let answer = fetched(&mut browser, &door.store_url(CART)).await;
        assert_problem(&answer, 401, "refresh_rejected");
        assert_eq!(door.cookie(&browser, "refresh"), None, "{refusal:?}");
        door.provider.heal(Endpoint::Token);
        assert_eq!(
            browser.visit(&door.store_url(CART)).await.status(),
            200,
            "{refusal:?}: the next login"
        );
    }
}

#[tokio::test]
async fn missing_claims_are_fetched_from_userinfo() {
    for opaque in [true, false] {
        let jwt = if opaque { "id" } else { "access" };
        let door = Setup::plain()
            .store(&format!("session_jwt = \"{jwt}\""))
            .start();
        let missing = ["email", "preferred_username", "groups", "roles"].map(Flaw::Without);
        door.provider.behave(|provider| {
            provider.opaque_access_token = opaque;
            provider.id_token_flaws = missing.to_vec();
            provider.access_token_flaws = missing.to_vec();
        });
        door.provider.sign_in(User::new("alice", &["admin"]));
        let mut browser = door.browser();
        for round in 0..2 {
            let page = browser.visit(&door.store_url("/admin/orders")).await;
            assert_eq!(page.status(), 200, "{round}: {page}");
            assert_eq!(
                door.store.last().header("x-forwarded-email"),
                Some("alice@example.com"),
                "{round}"
            );
            assert_eq!(
                door.provider.calls(Endpoint::Userinfo),
                1,
                "at the login only"
            );
            door.advance_secs(301);
        }
    }
}

#[tokio::test]
async fn failing_userinfo_does_not_fail_login() {
    let door = Setup::plain().start();
    door.provider
        .behave(|provider| provider.id_token_flaws = vec![Flaw::Without("email")]);
    for fault in [
        Fault::Page(500),
        Fault::Json(403, ""),
        Fault::Json(200, r#"{"sub":"mallory-id"}"#),
    ] {
        door.provider.fault(Endpoint::Userinfo, fault.clone());
        alice(&door).await;
        assert_eq!(
            door.store.last().header("x-forwarded-email"),
            None,
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn prompt_none_answered_by_page_or_error_makes_no_loop() {
    let door = Setup::plain()
        .store("extra_authorization_params = { prompt = \"none\" }")
        .start();
    door.provider
        .behave(|provider| provider.ignores_prompt_none = true);
    let page = door.browser().visit(&door.store_url(CART)).await;
    assert_eq!(
        (page.status(), page.url.path()),
        (200, "/authorize"),
        "the person sees the form: {page}"
    );
    door.provider
        .behave(|provider| provider.ignores_prompt_none = false);
    let asked = door.provider.calls(Endpoint::Authorize);
    let page = door.browser().visit(&door.store_url(CART)).await;
    assert_error_page(&page, 403, "declined_by_provider");
    assert_eq!(
        door.provider.calls(Endpoint::Authorize),
        asked + 1,
        "the login ran in circles"
    );
    alice(&door).await;
}

#[tokio::test]
async fn extra_callback_parameters_are_ignored() {
    let door = Setup::plain().start();
    let added = [
        ("locale", "en"),
        ("userState", "AuthenticatedNotRegistered"),
        ("session_state", "x"),
        ("scope", "a b"),
    ];
    door.provider.behave(|provider| {
        let added = added
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        provider.extra_callback_parameters = added.collect();
    });
    alice(&door).await;
}

#[tokio::test]
async fn fusionauth_reasons_are_codes_in_pages_and_metrics() {
    let door = Setup::plain()
        .provider("kind = \"fusionauth\"\nrequire_registration = false")
        .start();
    door.provider.behave(|provider| {
        provider.authorize_error = Some("access_denied");
        provider.extra_callback_parameters =
            vec![("error_reason".to_owned(), "user_locked".to_owned())];
    });
    assert_error_page(
        &door.browser().visit(&door.store_url(CART)).await,
        403,
        "user_locked",
    );
    metric_reaches(
        &door,
        "doorward_logins_total{app=\"store\",outcome=\"user_locked\"}",
        1.0,
    )
    .await;
    // Unlisted values are not passed on.
    door.provider.behave(|provider| {
        provider.extra_callback_parameters =
            vec![("error_reason".to_owned(), "made_up".to_owned())];
    });
    assert_error_page(
        &door.browser().visit(&door.store_url(CART)).await,
        403,
        "declined_by_provider",
    );
    door.provider.behave(|provider| {
        provider.authorize_error = None;
        provider.extra_callback_parameters.clear();
    });
    let mut browser = alice(&door).await;
    door.advance_secs(301);
    let body = r#"{"error":"invalid_client","error_reason":"invalid_client_authentication"}"#;
    door.provider.fault(Endpoint::Token, Fault::Json(401, body));
    assert_error_page(
        &browser.step(&door.store_url(CART)).await,
        503,
        "invalid_client_authentication",
    );
    let body = r#"{"error":"invalid_request","error_reason":"refresh_token_not_found"}"#;
    door.provider.fault(Endpoint::Token, Fault::Json(400, body));
    assert_problem(
        &fetched(&mut browser, &door.store_url(CART)).await,
        401,
        "refresh_rejected",
    );
}

#[tokio::test]
async fn unregistered_user_is_rejected_unless_allowed() {
    let access = "session_jwt = \"access\"";
    for (lines, user, status) in [
        ("", User::new("alice", &[]), 403),
        (
            "",
            User::new("alice", &[]).with_claim("applicationId", json!("forum")),
            403,
        ),
        (
            "",
            User::new("alice", &[]).with_claim("applicationId", json!("store")),
            200,
        ),
        (
            "\nrequire_registration = false",
            User::new("alice", &[]),
            200,
        ),
    ] {
        let door = Setup::plain()
            .provider(&format!("kind = \"fusionauth\"{lines}"))
            .store(access)
            .forum(access)
            .start();
        door.provider.sign_in(user);
        let mut browser = door.browser();
        let page = browser.visit(&door.store_url(CART)).await;
        assert_eq!(page.status(), status, "{lines}: {page}");
        if status == 403 {
            assert_error_page(&page, 403, "not_registered");
            assert_eq!(
                (door.cookie(&browser, "jwt"), door.store.count()),
                (None, 0)
            );
        }
    }
}

#[tokio::test]
async fn withdrawn_registration_ends_session_at_next_refresh() {
    let access = "session_jwt = \"access\"";
    let door = Setup::plain()
        .provider("kind = \"fusionauth\"")
        .store(access)
        .forum(access)
        .start();
    let registered = Flaw::Claim("applicationId", json!("store"));
    door.provider
        .behave(|provider| provider.access_token_flaws = vec![registered]);
    let mut browser = alice(&door).await;
    door.advance_secs(301);
    assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
    door.advance_secs(301);
    door.provider
        .behave(|provider| provider.access_token_flaws.clear());
    let reached = door.store.count();
    assert_problem(
        &fetched(&mut browser, &door.store_url(CART)).await,
        401,
        "refresh_rejected",
    );
    assert_eq!(
        (door.store.count(), door.cookie(&browser, "refresh")),
        (reached, None)
    );
}
