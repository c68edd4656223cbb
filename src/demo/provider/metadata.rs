//! The provider's metadata (OpenID Connect Discovery 1.0) and key set.

use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::core::Provider;
use crate::demo::serve::{HttpResponse, with_body};

impl Provider {
    /// `/.well-known/openid-configuration`. Only ES256 is supported. Section 3 requires RS256 too,
    /// whose larger signatures the demo does not need.
    pub(super) fn configuration(&self) -> HttpResponse {
        let issuer = self.settings.issuer.to_string();
        cacheable(&json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "userinfo_endpoint": format!("{issuer}/userinfo"),
            "jwks_uri": format!("{issuer}/jwks.json"),
            "revocation_endpoint": format!("{issuer}/revoke"),
            "end_session_endpoint": format!("{issuer}/end_session"),
            "scopes_supported": ["openid", "email", "profile", "offline_access"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token", "password"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "prompt_values_supported": ["none", "login", "select_account", "consent"],
            "claims_supported": [
                "iss", "sub", "aud", "azp", "exp", "iat", "auth_time", "nonce", "at_hash", "sid", "email",
                "email_verified", "preferred_username", "name", "roles",
            ],
            "authorization_response_iss_parameter_supported": true,
            "claims_parameter_supported": false,
            "request_parameter_supported": false,
            "request_uri_parameter_supported": false,
        }))
    }

    /// `/jwks.json`.
    pub(super) fn jwks(&self) -> HttpResponse {
        cacheable(&self.key.jwks())
    }
}

pub(super) fn cacheable(value: &Value) -> HttpResponse {
    let mut response = with_body(StatusCode::OK, "application/json", value.to_string());
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=60"),
    );
    response
}

/// A JSON response that must not be cached (RFC 6749 section 5.1).
pub(super) fn private_json(status: StatusCode, value: &Value) -> HttpResponse {
    let mut response = with_body(status, "application/json", value.to_string());
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
        .headers_mut()
        .insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
