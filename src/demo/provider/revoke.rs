//! Token revocation (RFC 7009): either token of a family ends the whole family.

use http::StatusCode;

use super::client_auth::TokenError;
use super::params::Params;
use super::state::Grant;
use super::tokens::{ACCESS_TOKEN, grant_id};
use super::{Counters, Event, Provider};
use crate::demo::serve::{Answer, Asked, bare};

impl Provider {
    pub(super) fn revoke(&self, asked: &Asked) -> Answer {
        Counters::count(&self.counters.revocations);
        match self.try_revoke(asked) {
            // A token that is not known is as good as revoked (section 2.2).
            Ok(()) => bare(StatusCode::OK),
            Err(error) => error.into_answer(),
        }
    }

    fn try_revoke(&self, asked: &Asked) -> Result<(), TokenError> {
        let params = Params::read(&asked.body);
        if !asked.is_form() || params.repeats() {
            return Err(TokenError::new(
                "invalid_request",
                "a form is wanted, with each parameter once",
            ));
        }
        let client = self.calling_client(asked, &params)?;
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
            self.tell(Event::Revoked {
                user: self.username(&grant.subject),
                client: client.name.clone(),
            });
        }
        Ok(())
    }

    /// `token_type_hint` is not needed to tell the two kinds apart.
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
