//! The API beside the OAuth endpoints: `/api/jwt/refresh`, which refreshes by `POST` and revokes by `DELETE`, and
//! `/api/logout`. JSON, with errors of a form of their own, and an API key without a scheme word.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::FusionAuth;
use super::claims::{By, Issue};
use crate::demo::provider::metadata::private_json;
use crate::demo::provider::params::Params;
use crate::demo::provider::state::Grant;
use crate::demo::provider::{Counters, Event, Failure, Provider};
use crate::demo::serve::{Answer, Asked, bare};
use crate::types::oauth::{ClientId, Subject};
use crate::types::secret::same_bytes;

impl Provider {
    /// `POST /api/jwt/refresh`: nobody but the token is asked who it is, and there is neither ID token nor lifetime.
    pub(super) fn jwt_refresh(&self, own: &FusionAuth, asked: &Asked) -> Result<Answer, Failure> {
        Counters::count(&self.counters.refresh);
        let body = json_of(asked);
        // The cookie wins over the body.
        let in_body = body.get("refreshToken").and_then(Value::as_str);
        let Some(token) = asked.cookie("refresh_token").or(in_body) else {
            return Ok(errors("[missing]refreshToken"));
        };
        let now = self.now();
        let Ok((grant, next)) = self.refreshed(own, token, None, now)? else {
            return Ok(errors("[invalid]refreshToken"));
        };
        let Some(user) = self.user(&grant.subject) else {
            return Ok(errors("[invalid]refreshToken"));
        };
        let issue = Issue {
            own,
            grant: &grant,
            user,
            by: By::RefreshToken,
            now,
        };
        let access_token = self.fusionauth_access_token(issue)?;
        let token = next.unwrap_or_else(|| token.to_owned());
        let answer =
            json!({ "token": access_token, "refreshToken": token, "refreshTokenId": grant.id });
        Ok(private_json(StatusCode::OK, &answer))
    }

    /// `POST /api/logout`: 200, also where there was nothing to do.
    pub(super) fn api_logout(&self, own: &FusionAuth, asked: &Asked) -> Answer {
        Counters::count(&self.counters.revocations);
        let body = json_of(asked);
        let query = Params::read(asked.query.as_bytes());
        let in_body = body.get("refreshToken").and_then(Value::as_str);
        let token = asked
            .cookie("refresh_token")
            .or(in_body)
            .or(query.get("refreshToken"));
        let global =
            body.get("global") == Some(&Value::Bool(true)) || query.get("global") == Some("true");
        let grant = token.and_then(|token| self.state().grant_of_refresh_token(token).cloned());
        if let Some(grant) = grant {
            let told = if global {
                self.revoke_person(own, &grant.subject)
            } else {
                self.revoke_grant(own, &grant)
            };
            if told.is_err() {
                return bare(StatusCode::INTERNAL_SERVER_ERROR);
            }
        }
        bare(StatusCode::OK)
    }

    /// `DELETE /api/jwt/refresh` in its shapes: one token by id or value, by an API key or its owner's JWT; all of a
    /// person, of an application, or of a person there, by an API key.
    pub(super) fn delete_refresh_tokens(&self, own: &FusionAuth, asked: &Asked) -> Answer {
        Counters::count(&self.counters.revocations);
        let body = json_of(asked);
        let form = if asked.is_form() {
            Params::read(&asked.body)
        } else {
            Params::read(b"")
        };
        let query = Params::read(asked.query.as_bytes());
        let said = |name: &str| {
            let in_json = body.get(name).and_then(Value::as_str);
            query
                .get(name)
                .or(form.get(name))
                .or(in_json)
                .map(str::to_owned)
        };
        let by_id = asked
            .path
            .strip_prefix("/api/jwt/refresh/")
            .filter(|id| !id.is_empty());
        let authorization = asked.header("authorization").unwrap_or_default();
        let by_key = same_bytes(authorization.as_bytes(), own.api_key.expose().as_bytes());
        let owner = authorization
            .strip_prefix("Bearer ")
            .and_then(|jwt| self.fusionauth_live(jwt, self.now()));
        let owner = owner.and_then(|claims| claims.get("sub")?.as_str().map(Subject::new));
        if !by_key && owner.is_none() {
            return bare(StatusCode::UNAUTHORIZED);
        }
        let one = match (by_id, said("token")) {
            (Some(id), _) => Some(self.state().grant(id).cloned()),
            (None, Some(token)) => Some(self.state().grant_of_refresh_token(&token).cloned()),
            (None, None) => None,
        };
        let revoked = match (one, said("userId"), said("applicationId")) {
            (Some(None), ..) => return bare(StatusCode::NOT_FOUND),
            (Some(Some(grant)), ..) if by_key || owner.as_ref() == Some(&grant.subject) => {
                self.revoke_grant(own, &grant)
            }
            (Some(Some(_)), ..) => return bare(StatusCode::UNAUTHORIZED),
            (None, ..) if !by_key => return bare(StatusCode::UNAUTHORIZED),
            (None, Some(user), None) => self.revoke_person(own, &Subject::new(user)),
            (None, user, Some(application)) => self.revoke_application(
                own,
                user.map(Subject::new).as_ref(),
                &ClientId::new(application),
            ),
            (None, None, None) => return errors("[missing]token"),
        };
        bare(if revoked.is_ok() {
            StatusCode::OK
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        })
    }

    fn revoke_grant(&self, own: &FusionAuth, grant: &Grant) -> Result<(), Failure> {
        if !self.state().revoke(&grant.id) {
            return Ok(());
        }
        let client = self
            .client(grant.client.as_str())
            .map_or_else(String::new, |client| client.name.clone());
        self.tell(Event::Revoked {
            user: self.username(&grant.subject),
            client,
        });
        self.webhooks_tell_of_token(own, grant)
    }

    /// All refresh tokens of a person, that of the session at the provider among them.
    pub(super) fn revoke_person(&self, own: &FusionAuth, subject: &Subject) -> Result<(), Failure> {
        let revoked = self.state().revoke_all_of(subject);
        if revoked == 0 {
            return Ok(());
        }
        self.tell(Event::SignedOut {
            user: self.username(subject),
        });
        self.webhooks_tell_of_person(own, subject, None)
    }

    fn revoke_application(
        &self,
        own: &FusionAuth,
        subject: Option<&Subject>,
        application: &ClientId,
    ) -> Result<(), Failure> {
        let revoked = self.state().revoke_where(|grant| {
            grant.client == *application && subject.is_none_or(|subject| grant.subject == *subject)
        });
        match (revoked, subject) {
            (0, _) => Ok(()),
            (_, Some(subject)) => self.webhooks_tell_of_person(own, subject, Some(application)),
            (_, None) => self.webhooks_tell_of_application(own, application),
        }
    }
}

fn json_of(asked: &Asked) -> Map<String, Value> {
    serde_json::from_slice(&asked.body).unwrap_or_default()
}

fn errors(code: &str) -> Answer {
    let error = json!({ "code": code, "message": "The request was not granted." });
    private_json(
        StatusCode::BAD_REQUEST,
        &json!({ "fieldErrors": { "refreshToken": [error] } }),
    )
}
