//! Client authentication: `client_secret_basic` or `client_secret_post` (RFC 6749 section 2.3.1),
//! never both.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use url::form_urlencoded;

use super::core::Provider;
use super::keys::sha256;
use super::metadata::private_json;
use super::params::Params;
use super::settings::Client;
use crate::demo::serve::{HttpRequest, HttpResponse};
use crate::types::secret::same_bytes;

/// An error response of the token and revocation endpoints (RFC 6749 section 5.2).
pub(super) struct TokenError {
    pub(super) error: &'static str,
    pub(super) description: &'static str,
}

impl TokenError {
    pub(super) const fn new(error: &'static str, description: &'static str) -> Self {
        Self { error, description }
    }

    pub(super) fn into_response(self) -> HttpResponse {
        let unknown_client = self.error == "invalid_client";
        let status = if unknown_client {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::BAD_REQUEST
        };
        let mut response = private_json(
            status,
            &json!({ "error": self.error, "error_description": self.description }),
        );
        if unknown_client {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"provider\""),
            );
        }
        response
    }
}

impl Provider {
    /// Authenticates the client of this request.
    pub(super) fn authenticate_client(
        &self,
        request: &HttpRequest,
        params: &Params,
    ) -> Result<&Client, TokenError> {
        let basic = request.header("authorization").map(basic_credentials);
        let (id, secret) = match (basic, params.get("client_secret")) {
            (Some(_), Some(_)) => {
                return Err(TokenError::new(
                    "invalid_request",
                    "the client authenticates with two methods",
                ));
            }
            (Some(credentials), None) => credentials.unwrap_or_default(),
            (None, Some(secret)) => (
                params.get("client_id").unwrap_or_default().to_owned(),
                secret.to_owned(),
            ),
            (None, None) => Default::default(),
        };
        let named = params.get("client_id").is_none_or(|named| named == id);
        let client = self.client(&id).filter(|client| {
            same_bytes(
                &sha256(client.secret.expose().as_bytes()),
                &sha256(secret.as_bytes()),
            )
        });
        client.filter(|_| named).ok_or(TokenError::new(
            "invalid_client",
            "unknown client id or wrong secret",
        ))
    }
}

/// Client id and secret of a `Basic` header; both are form-encoded inside it.
fn basic_credentials(field: &str) -> Option<(String, String)> {
    let (scheme, encoded) = field.split_once(' ')?;
    let decoded = STANDARD
        .decode(encoded.trim())
        .ok()
        .filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((form_decode(id), form_decode(secret)))
}

fn form_decode(text: &str) -> String {
    // The text parses as a name without a value: form-encoded text contains no `=` and no `&`.
    form_urlencoded::parse(text.as_bytes())
        .map(|(name, _)| name.into_owned())
        .next()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_form_decoded() {
        for (plain, id, secret) in [
            ("store:s3cret", "store", "s3cret"),
            ("a%3Ab:c+d%2B%3D", "a:b", "c d+="),
        ] {
            let field = format!("Basic {}", STANDARD.encode(plain));
            assert_eq!(
                basic_credentials(&field),
                Some((id.to_owned(), secret.to_owned())),
                "{plain}"
            );
        }
        for field in ["Basic", "Basic !!", "Bearer YTpi", "Basic YWI="] {
            assert_eq!(basic_credentials(field), None, "{field}");
        }
    }
}
