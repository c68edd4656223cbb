//! The revocation endpoint (RFC 7009). Either token revokes the whole token family.

use http::StatusCode;

use super::client_auth::TokenError;
use super::core::{Counters, Provider};
use super::event::Event;
use super::params::Params;
use super::state::Grant;
use super::tokens::{ACCESS_TOKEN, grant_id};
use crate::demo::serve::{HttpRequest, HttpResponse, empty};

impl Provider {
    pub(super) fn revoke(&self, request: &HttpRequest) -> HttpResponse {
        Counters::count(&self.counters.revocations);
        match self.try_revoke(request) {
            // An unknown token is treated as revoked (section 2.2).
            Ok(()) => empty(StatusCode::OK),
            Err(error) => error.into_response(),
        }
    }

    fn try_revoke(&self, request: &HttpRequest) -> Result<(), TokenError> {
        let params = Params::read(&request.body);
        if !request.is_form() || params.repeats() {
            return Err(TokenError::new(
                "invalid_request",
                "the body must be a form without repeated parameters",
            ));
        }
        let client = self.authenticate_client(request, &params)?;
        let token = params
            .get("token")
            .ok_or(TokenError::new("invalid_request", "token is missing"))?;
        let Some(grant) = self.grant_of_any_token(token) else {
            return Ok(());
        };
        if grant.client != client.id {
            return Err(TokenError::new(
                "invalid_request",
                "the token belongs to another client",
            ));
        }
        if self.state().revoke(&grant.id) {
            self.emit(Event::Revoked {
                user: self.username(&grant.subject),
                client: client.name.clone(),
            });
        }
        Ok(())
    }

    /// The grant of an access or refresh token; `token_type_hint` is not needed.
    fn grant_of_any_token(&self, token: &str) -> Option<Grant> {
        let claims = self.key.verify(ACCESS_TOKEN, token);
        let state = self.state();
        let of_access_token = || state.grant(grant_id(claims.as_ref()?)?);
        state
            .grant_of_refresh_token(token)
            .or_else(of_access_token)
            .cloned()
    }
}
