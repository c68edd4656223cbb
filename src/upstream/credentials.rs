//! Credentials for the app: what Doorward adds to requests to protected paths, in place of the client's
//! fields of the same names.

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};

use crate::types::secret::Secret;

/// Credentials for an app, or for a part of it with an upstream of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamCredentials {
    /// The `Authorization` of all requests. Marked as sensitive, so that it is not printed.
    pub authorization: Option<HeaderValue>,
    /// Where the token of the user is.
    pub token: Option<TokenField>,
}

/// The field in which an app gets the token of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenField {
    /// `Authorization`, as a bearer token (RFC 6750).
    Authorization,
    /// A field with the token alone.
    Named(HeaderName),
}

impl UpstreamCredentials {
    /// Whether the `Authorization` of clients is replaced.
    pub(super) fn replace_authorization(&self) -> bool {
        self.authorization.is_some() || self.token == Some(TokenField::Authorization)
    }

    /// The name of the field of the token, if it is not `Authorization`.
    pub(super) const fn token_name(&self) -> Option<&HeaderName> {
        match &self.token {
            Some(TokenField::Named(name)) => Some(name),
            Some(TokenField::Authorization) | None => None,
        }
    }

    /// Calls `put` with each field. `token` is that of the user.
    pub(super) fn each_field(
        &self,
        token: Option<&Secret<String>>,
        mut put: impl FnMut(&HeaderName, &HeaderValue),
    ) {
        if let Some(authorization) = &self.authorization {
            put(&AUTHORIZATION, authorization);
        }
        let Some((field, token)) = self.token.as_ref().zip(token) else {
            return;
        };
        let token = token.expose();
        let (name, text) = match field {
            TokenField::Authorization => (&AUTHORIZATION, format!("Bearer {token}")),
            TokenField::Named(name) => (name, token.clone()),
        };
        if let Ok(mut value) = HeaderValue::try_from(text) {
            value.set_sensitive(true);
            put(name, &value);
        }
    }
}
