//! The userinfo endpoint (OpenID Connect Core section 5.3): claims of the access token's user.

use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::core::Provider;
use super::metadata::private_json;
use super::tokens::user_claims;
use crate::demo::serve::{HttpRequest, HttpResponse, empty};

impl Provider {
    pub(super) fn userinfo(&self, request: &HttpRequest) -> HttpResponse {
        let Some(token) = request.header("authorization").and_then(bearer) else {
            return unauthorized(StatusCode::UNAUTHORIZED, "Bearer realm=\"provider\"");
        };
        let Some((grant, scope)) = self.active_access_token(token, self.now()) else {
            return unauthorized(
                StatusCode::UNAUTHORIZED,
                "Bearer realm=\"provider\", error=\"invalid_token\"",
            );
        };
        let user = self
            .user(&grant.subject)
            .filter(|_| scope.iter().any(|item| item == "openid"));
        let Some(user) = user else {
            let field = "Bearer realm=\"provider\", error=\"insufficient_scope\", scope=\"openid\"";
            return unauthorized(StatusCode::FORBIDDEN, field);
        };
        let mut claims = user_claims(user, &scope);
        claims.insert("sub".into(), json!(user.subject));
        private_json(StatusCode::OK, &Value::Object(claims))
    }
}

fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// An error response with a challenge (RFC 6750 section 3).
fn unauthorized(status: StatusCode, field: &'static str) -> HttpResponse {
    let mut response = empty(status);
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(field));
    response
}
