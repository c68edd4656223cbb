//! `/userinfo` (OpenID Connect Core section 5.3): the claims of the person an access token is for.

use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::Provider;
use super::metadata::private_json;
use super::tokens::person;
use crate::demo::serve::{Answer, Asked, bare};

impl Provider {
    pub(super) fn userinfo(&self, asked: &Asked) -> Answer {
        let Some(token) = asked.header("authorization").and_then(bearer) else {
            return unauthorized(StatusCode::UNAUTHORIZED, "Bearer realm=\"provider\"");
        };
        let Some((grant, scope)) = self.live_access_token(token, self.now()) else {
            return unauthorized(
                StatusCode::UNAUTHORIZED,
                "Bearer realm=\"provider\", error=\"invalid_token\"",
            );
        };
        let user = self
            .user(&grant.subject)
            .filter(|_| scope.iter().any(|word| word == "openid"));
        let Some(user) = user else {
            let field = "Bearer realm=\"provider\", error=\"insufficient_scope\", scope=\"openid\"";
            return unauthorized(StatusCode::FORBIDDEN, field);
        };
        let mut claims = person(user, &scope);
        claims.insert("sub".into(), json!(user.subject));
        private_json(StatusCode::OK, &Value::Object(claims))
    }
}

fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// RFC 6750 section 3.
fn unauthorized(status: StatusCode, field: &'static str) -> Answer {
    let mut answer = bare(status);
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(field));
    answer
}
