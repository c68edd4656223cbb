//! Token response tests: standard responses, and variations of providers.

use serde_json::json;
use zeroize::Zeroizing;

use super::*;
use crate::oidc::error::Endpoint;
use crate::oidc::testing::with;

fn response() -> Value {
    json!({"access_token": "at", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt", "id_token": "id"})
}

fn parse(response: &Value) -> Result<TokenResponse, TokenError> {
    parse_response(Grant::Code, 200, response.to_string().as_bytes())
}

#[test]
fn parse_response_accepts_provider_variations() {
    let all = parse(&response()).unwrap();
    assert_eq!(
        (all.access_token.expose(), all.token_type),
        ("at", TokenType::Bearer)
    );
    assert_eq!(all.expires_in, Some(Duration::from_secs(3600)));
    assert_eq!(
        (
            all.refresh_token.unwrap().expose(),
            all.id_token.unwrap().expose()
        ),
        ("rt", "id")
    );
    for (kind, read) in [
        ("bearer", TokenType::Bearer),
        ("BEARER", TokenType::Bearer),
        ("dpop", TokenType::DPoP),
    ] {
        assert_eq!(
            parse(&with(&response(), "token_type", Some(json!(kind))))
                .unwrap()
                .token_type,
            read
        );
    }
    for (value, seconds) in [
        (json!("3600"), Some(3600)),
        (json!("3600.0"), Some(3600)),
        (json!(" 3600 "), Some(3600)),
        (json!(0), None),
        (json!(0.5), None),
        (json!(-1), None),
        (json!("0"), None),
        (json!("-1"), None),
        (json!("soon"), None),
        (json!("inf"), None),
        (json!("NaN"), None),
        (json!({}), None),
        (json!([3600]), None),
        (json!(true), None),
        (json!(59.9), Some(59)),
        (json!(1e300), Some(MAX_LIFETIME.as_secs())),
        (json!("18446744073709551615"), Some(MAX_LIFETIME.as_secs())),
        (Value::Null, None),
    ] {
        let read = parse(&with(&response(), "expires_in", Some(value.clone())))
            .unwrap()
            .expires_in;
        assert_eq!(read.map(|life| life.as_secs()), seconds, "{value}");
    }
    for none in [Some(json!("")), Some(Value::Null), None] {
        assert!(
            parse(&with(&response(), "refresh_token", none))
                .unwrap()
                .refresh_token
                .is_none()
        );
    }
    for no_error in [Value::Null, json!("")] {
        let tokens = parse(&with(&response(), "error", Some(no_error.clone())));
        assert!(tokens.is_ok(), "{no_error}: {tokens:?}");
    }
    let listed = parse(&with(
        &response(),
        "scope",
        Some(json!(["openid", "email"])),
    ))
    .unwrap();
    assert_eq!(listed.scope.as_deref(), Some("openid email"));
}

#[test]
fn invalid_response_is_neither_tokens_nor_a_rejection() {
    let cases = [
        ("access_token", None),
        ("access_token", Some(json!(""))),
        ("access_token", Some(json!(7))),
        ("token_type", None),
        ("token_type", Some(json!("mac"))),
        ("token_type", Some(json!(["Bearer"]))),
        ("refresh_token", Some(json!(["rt"]))),
        ("id_token", Some(json!({}))),
        ("scope", Some(json!(7))),
    ];
    for (name, value) in cases {
        let result = parse(&with(&response(), name, value.clone()));
        assert!(
            matches!(result, Err(TokenError::BadResponse(_))),
            "{name} {value:?}"
        );
    }
    for (status, body) in [(400, "<html>"), (404, "not here")] {
        for grant in [Grant::Code, Grant::Refresh] {
            let result = parse_response(grant, status, body.as_bytes());
            assert!(
                matches!(result, Err(TokenError::BadResponse(_))),
                "{status} {body}"
            );
        }
    }
}

#[test]
fn gateway_in_front_of_the_provider_is_an_outage_for_sessions() {
    for (status, body) in [
        (200, "<html>"),
        (200, ""),
        (200, "[]"),
        (302, ""),
        (307, r#"{"error":"moved"}"#),
    ] {
        let code = |grant| code_of(grant, status, body);
        assert_eq!(code(Grant::Refresh), "provider_unavailable", "{status}");
        // At a login the operator should look at the URL.
        assert_eq!(code(Grant::Code), "token_response_malformed", "{status}");
    }
}

fn code_of(grant: Grant, status: u16, body: &str) -> &'static str {
    parse_response(grant, status, body.as_bytes())
        .unwrap_err()
        .code()
}

#[test]
fn only_rejected_grants_end_a_session() {
    let cases = [
        (400, r#"{"error":"invalid_grant"}"#, "grant_rejected"),
        (401, r#"{"error":"invalid_grant"}"#, "grant_rejected"),
        (200, r#"{"error":"invalid_grant"}"#, "grant_rejected"),
        (400, r#"{"error":"access_denied"}"#, "grant_rejected"),
        (400, r#"{"error":"login_required"}"#, "grant_rejected"),
        (403, r#"{"error":"invalid_grant"}"#, "grant_rejected"),
        (404, r#"{"error":"invalid_grant"}"#, "grant_rejected"),
        (
            403,
            r#"{"error":"refresh_token_expired"}"#,
            "grant_rejected",
        ),
        (400, r#"{"code":"bad_refresh_token"}"#, "grant_rejected"),
        (400, "", "grant_rejected"),
        (403, "", "grant_rejected"),
        (403, r#"{"message":"blocked"}"#, "token_response_malformed"),
        (404, r#"{"message":"no route"}"#, "token_response_malformed"),
        (404, "", "token_response_malformed"),
        (
            400,
            r#"{"error":"invalid_request","error_reason":"refresh_token_not_found"}"#,
            "client_rejected",
        ),
        (401, r#"{"error":"invalid_client"}"#, "client_rejected"),
        (400, r#"{"error":"invalid_client"}"#, "client_rejected"),
        (400, r#"{"error":"unauthorized_client"}"#, "client_rejected"),
        (400, r#"{"error":"invalid_scope"}"#, "client_rejected"),
        (400, r#"{"error":"invalid_request"}"#, "client_rejected"),
        (401, "", "client_rejected"),
        (400, r#"{"error":"use_dpop_nonce"}"#, "client_rejected"),
        // Unknown ones may be of a gateway.
        (403, r#"{"error":"Forbidden"}"#, "client_rejected"),
        (400, r#"{"error":"rate_limit_exceeded"}"#, "client_rejected"),
        (
            400,
            r#"{"error":"temporarily_unavailable"}"#,
            "provider_unavailable",
        ),
        (400, r#"{"error":"server_error"}"#, "provider_unavailable"),
        (200, r#"{"error":"server_error"}"#, "provider_unavailable"),
        (500, r#"{"error":"invalid_grant"}"#, "provider_unavailable"),
        (503, "<html>", "provider_unavailable"),
        (408, "<html>", "provider_unavailable"),
        (425, "", "provider_unavailable"),
        (429, "", "provider_unavailable"),
        (405, "", "token_response_malformed"),
        (
            404,
            "<html>default backend</html>",
            "token_response_malformed",
        ),
        (400, r#"{"error":7}"#, "grant_rejected"),
    ];
    for (status, body, code) in cases {
        assert_eq!(
            code_of(Grant::Refresh, status, body),
            code,
            "{status} {body}"
        );
    }
    assert_eq!(code_of(Grant::Code, 404, ""), "token_response_malformed");
    assert_eq!(
        code_of(Grant::Code, 400, r#"{"error":"invalid_grant"}"#),
        "grant_rejected"
    );
}

#[test]
fn error_descriptions_are_safe_to_display() {
    let body = json!({"error": "invalid_grant", "error_description": format!("a\n\u{1b}[0m{}", "b".repeat(900))});
    let error = parse_response(Grant::Refresh, 400, body.to_string().as_bytes()).unwrap_err();
    let TokenError::GrantRejected {
        description: Some(description),
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert!(
        description.len() == 300 && description.starts_with("a[0mb"),
        "{description}"
    );
}

#[test]
fn error_text_has_the_providers_description() {
    let body = r#"{"error":"NAME","error_description":"The secret expired."}"#;
    for (status, name) in [
        (400, "invalid_grant"),
        (401, "invalid_client"),
        (503, "server_error"),
        (400, "temporarily_unavailable"),
    ] {
        let body = body.replace("NAME", name);
        let error = parse_response(Grant::Refresh, status, body.as_bytes()).unwrap_err();
        let shown = error.to_string();
        assert!(
            shown.contains(name) && shown.contains("The secret expired."),
            "{shown}"
        );
    }
    let bare = parse_response(Grant::Refresh, 503, b"<html>").unwrap_err();
    assert_eq!(bare.to_string(), "the provider is unavailable (status 503)");
}

#[test]
fn revocation_outcome_distinguishes_results() {
    let outcome = |status, body: &str| {
        revocation_outcome(ProviderResponse {
            endpoint: Endpoint::Revocation,
            url: String::from("https://login.example.com/revoke"),
            status,
            retry_after: None,
            location: None,
            etag: None,
            dpop_nonce: None,
            challenge: None,
            body: Zeroizing::new(body.as_bytes().to_vec()),
        })
    };
    let unsupported = r#"{"error":"unsupported_token_type"}"#;
    assert_eq!(outcome(200, "").unwrap(), Revoked::Done);
    assert_eq!(outcome(400, unsupported).unwrap(), Revoked::NotOffered);
    for (status, body) in [(400, "{}"), (401, ""), (500, ""), (302, "")] {
        assert!(outcome(status, body).is_err(), "{status}");
    }
    let described = r#"{"error":"invalid_client","error_description":"no\nclient"}"#;
    let error = outcome(401, described).unwrap_err().to_string();
    assert!(
        error.ends_with("status 401: invalid_client: noclient"),
        "{error}"
    );
}
