//! Provider responses to a password grant: stable error codes for the app, and nothing that reveals
//! more than the provider does.

use std::time::Duration;

use serde_json::{Value, json};

use super::{CART, PASSWORD, Phone, shows_the_cart, started, store};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, Fault, Flaw};

async fn answered(doorward: &Doorward, status: u16, response: &Value) -> (u16, Value, u16, Value) {
    doorward
        .provider
        .behave(|provider| provider.password_answer = Some((status, response.clone())));
    let mut phone = Phone::of(doorward);
    let by_json = phone.log_in("alice", PASSWORD).await;
    let by_form = phone
        .post_form(&[
            ("grant_type", "password"),
            ("username", "alice"),
            ("password", PASSWORD),
        ])
        .await;
    doorward.advance_secs(3600);
    (
        by_json.status(),
        by_json.json(),
        by_form.status(),
        by_form.json(),
    )
}

#[tokio::test]
async fn provider_refusals_map_to_stable_codes() {
    let doorward = started(store(""));
    let fusionauth = |error: &str, reason: &str| json!({ "error": error, "error_reason": reason, "error_description": "x" });
    let cases = [
        (
            400,
            fusionauth("invalid_grant", "invalid_user_credentials"),
            "wrong_credentials",
        ),
        (
            400,
            fusionauth("change_password_required", "change_password_breached"),
            "change_password_required",
        ),
        (
            400,
            fusionauth("invalid_grant", "email_verification_required"),
            "verification_required",
        ),
        (
            400,
            fusionauth("invalid_grant", "user_locked"),
            "account_locked",
        ),
        (
            400,
            fusionauth("invalid_grant", "user_expired"),
            "account_expired",
        ),
        (
            400,
            fusionauth("invalid_grant", "login_prevented"),
            "login_prevented",
        ),
        (
            400,
            fusionauth("two_factor_required", "unknown"),
            "two_factor_required",
        ),
        (
            403,
            json!({ "error": "mfa_required", "mfa_token": "t" }),
            "two_factor_required",
        ),
        (
            400,
            json!({ "error": "invalid_grant", "error_description": "Account disabled" }),
            "account_locked",
        ),
    ];
    for (status, response, code) in cases {
        let (json_status, by_json, form_status, by_form) =
            answered(&doorward, status, &response).await;
        assert_eq!(
            (json_status, form_status),
            (
                if code == "wrong_credentials" {
                    401
                } else {
                    403
                },
                400
            ),
            "{by_json}"
        );
        assert_eq!(
            (by_json["code"].as_str(), by_form["code"].as_str()),
            (Some(code), Some(code))
        );
        assert_eq!(
            by_form["error"].as_str(),
            Some("invalid_grant"),
            "any client library knows this word: {by_form}"
        );
        assert!(
            by_json["login_url"]
                .as_str()
                .is_some_and(|url| url.contains("/.doorward/login")),
            "{by_json}"
        );
        assert!(!by_json.to_string().contains("mfa_token"), "{by_json}");
    }
}

#[tokio::test]
async fn two_factor_details_are_passed_on() {
    let doorward = started(store(""));
    let response = json!({
        "error": "two_factor_required", "error_reason": "two_factor_required", "two_factor_id": "Yk-QY5",
        "two_factor_methods": [{ "id": "X4", "method": "email", "email": "alice@example.com" }], "secret": "s",
    });
    let (_, by_json, _, by_form) = answered(&doorward, 400, &response).await;
    for told in [by_json, by_form] {
        assert_eq!(told["two_factor_id"].as_str(), Some("Yk-QY5"));
        assert_eq!(
            told["two_factor_methods"],
            json!([{ "id": "X4", "method": "email" }])
        );
        assert!(
            told.get("secret").is_none() && !told.to_string().contains("alice@"),
            "{told}"
        );
    }
    let response = json!({ "error": "change_password_required", "change_password_id": "gIMrXt" });
    let (_, by_json, _, _) = answered(&doorward, 400, &response).await;
    assert_eq!(
        (
            by_json["code"].as_str(),
            by_json["change_password_id"].as_str()
        ),
        (Some("change_password_required"), Some("gIMrXt"))
    );
}

/// User enumeration: a different text for unknown users would reveal who has an account.
#[tokio::test]
async fn unknown_user_and_wrong_password_look_alike() {
    let doorward = started(store(""));
    let mut phone = Phone::of(&doorward);
    let mut told = Vec::new();
    for (name, password) in [
        ("alice", "wrong"),
        ("nobody", "wrong"),
        ("alice", PASSWORD),
        ("nobody", "wrong again"),
    ] {
        if password == PASSWORD {
            assert_eq!(phone.log_in(name, password).await.status(), 200);
            continue;
        }
        let page = phone.log_in(name, password).await;
        let mut body = page.json();
        body["request_id"] = json!("");
        let headers: Vec<_> = page
            .head
            .headers
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("date"))
            .cloned()
            .collect();
        told.push((page.status(), body, headers));
    }
    assert!(told.windows(2).all(|two| two[0] == two[1]), "{told:#?}");
    for reason in ["invalid_user_credentials", "user_not_found"] {
        let (_, mut by_json, _, _) = answered(
            &doorward,
            400,
            &json!({ "error": "invalid_grant", "error_reason": reason }),
        )
        .await;
        by_json["request_id"] = json!("");
        assert_eq!(by_json, told[0].1, "{reason}");
    }
}

#[tokio::test]
async fn provider_or_config_error_is_not_blamed_on_the_user() {
    let mut doorward = started(store("failures_per_account = 1"));
    let mut phone = Phone::of(&doorward);
    for (fault, status, error, code) in [
        (
            Fault::Status(503),
            503,
            "temporarily_unavailable",
            "provider_unavailable",
        ),
        (
            Fault::Status(429),
            503,
            "temporarily_unavailable",
            "provider_unavailable",
        ),
        (Fault::Html, 502, "server_error", "token_response_malformed"),
        (
            Fault::CutBefore,
            503,
            "temporarily_unavailable",
            "provider_no_response",
        ),
        (
            Fault::Huge(3_000_000),
            502,
            "server_error",
            "token_response_malformed",
        ),
    ] {
        doorward.provider.fault(Endpoint::Token, fault);
        let page = phone.log_in("alice", PASSWORD).await;
        assert_eq!(
            (page.status(), page.json()["code"].as_str()),
            (status, Some(code)),
            "{page}"
        );
        assert_eq!(
            page.header("retry-after").is_some(),
            status == 503,
            "{page}"
        );
        let page = phone
            .post_form(&[
                ("grant_type", "password"),
                ("username", "alice"),
                ("password", PASSWORD),
            ])
            .await;
        assert_eq!(
            (page.status(), page.json()["error"].as_str()),
            (status, Some(error)),
            "{page}"
        );
        doorward.provider.heal(Endpoint::Token);
    }
    for response in [
        json!({ "error": "invalid_client" }),
        json!({ "error": "unauthorized_client" }),
    ] {
        doorward
            .provider
            .behave(|provider| provider.password_answer = Some((401, response)));
        let page = phone.log_in("alice", PASSWORD).await;
        assert_eq!(
            (page.status(), page.json()["code"].as_str()),
            (502, Some("client_rejected")),
            "{page}"
        );
    }
    doorward
        .provider
        .behave(|provider| provider.password_answer = None);
    doorward.provider.stop();
    assert_eq!(phone.log_in("alice", PASSWORD).await.status(), 503);
    doorward.provider.restart();
    doorward.advance_secs(3);
    assert_eq!(
        phone.log_in("alice", PASSWORD).await.status(),
        200,
        "none of it was counted as a failure"
    );
}

#[tokio::test]
async fn login_tokens_are_verified() {
    let doorward = started(store(""));
    let flaws = [
        (Flaw::WrongSignature, "token_signature_invalid"),
        (Flaw::WrongAudience, "token_audience_mismatch"),
        (Flaw::WrongIssuer, "token_issuer_mismatch"),
        (Flaw::Expired, "token_expired"),
        (Flaw::AlgNone, "token_malformed"),
    ];
    let mut phone = Phone::of(&doorward);
    for (flaw, code) in flaws {
        for in_id_token in [true, false] {
            doorward.provider.behave(|provider| {
                let flaws = vec![flaw.clone()];
                (provider.id_token_flaws, provider.access_token_flaws) = if in_id_token {
                    (flaws, Vec::new())
                } else {
                    (Vec::new(), flaws)
                };
            });
            let page = phone.log_in("alice", PASSWORD).await;
            let told = page.json()["code"].as_str().unwrap_or_default().to_owned();
            assert_eq!((page.status(), told.as_str()), (502, code), "{page}");
        }
    }
    doorward.provider.behave(|provider| {
        provider.id_token_flaws = vec![Flaw::Claim("sub", json!("mallory"))];
        provider.access_token_flaws = Vec::new();
    });
    let page = phone.log_in("alice", PASSWORD).await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (502, Some("subject_changed")),
        "{page}"
    );
}

#[tokio::test]
async fn optional_tokens_may_be_opaque_or_missing() {
    for (session_jwt, opaque, id_token, works) in [
        ("access", false, false, true),
        ("access", true, true, false),
        ("id", true, true, true),
        ("id", false, false, false),
    ] {
        let setup = Setup::plain()
            .store(&format!("session_jwt = \"{session_jwt}\""))
            .more(&super::native(""));
        let doorward = started(setup);
        doorward.provider.behave(|provider| {
            provider.opaque_access_token = opaque;
            provider.password_brings_id_token = id_token;
        });
        let mut phone = Phone::of(&doorward);
        let page = phone.log_in("alice", PASSWORD).await;
        assert_eq!(
            page.status(),
            if works { 200 } else { 502 },
            "{session_jwt} {opaque} {id_token} {page}"
        );
        if works {
            shows_the_cart(&phone.load(CART).await);
        }
    }
}

#[tokio::test]
async fn missing_refresh_token_ends_session_with_jwt() {
    let doorward = started(store("inline_refresh = true"));
    doorward
        .provider
        .behave(|provider| provider.grants_refresh_token = false);
    let mut phone = Phone::of(&doorward);
    let page = phone.log_in("alice", PASSWORD).await;
    assert!(
        page.status() == 200 && page.json().get("refresh_token").is_none(),
        "{page}"
    );
    shows_the_cart(&phone.load(CART).await);
    doorward.advance_secs(300);
    assert_eq!(phone.load_with_both(CART).await.status(), 401);
}

#[tokio::test]
async fn oversized_tokens_are_refused_by_name() {
    let doorward = started(store(""));
    let huge = Flaw::Claim("entitlements", json!("x".repeat(9000)));
    doorward
        .provider
        .behave(|provider| provider.access_token_flaws = vec![huge]);
    let page = Phone::of(&doorward).log_in("alice", PASSWORD).await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (502, Some("session_too_large")),
        "{page}"
    );
}

#[tokio::test]
async fn login_completes_and_counts_after_client_disconnect() {
    let doorward = started(store("failures_per_account = 2"));
    let phone = Phone::of(&doorward);
    doorward
        .provider
        .fault_once(Endpoint::Token, Fault::Slow(Duration::from_millis(200)));
    let mut gone = phone.copy();
    let hung_up =
        tokio::time::timeout(Duration::from_millis(50), gone.log_in("alice", "wrong")).await;
    assert!(hung_up.is_err());
    crate::support::eventually("the provider was asked", || {
        doorward.provider.grants("password") == 1
    })
    .await;
    let mut other = phone.copy();
    assert_eq!(other.log_in("alice", "wrong").await.status(), 401);
    assert_eq!(
        other.log_in("alice", PASSWORD).await.status(),
        429,
        "the one that nobody waited for was the second"
    );
}
