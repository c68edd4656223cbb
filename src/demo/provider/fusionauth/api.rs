//! FusionAuth's JSON API: `/api/jwt/refresh`, which refreshes (`POST`) and revokes (`DELETE`), and
//! `/api/logout`. Errors have FusionAuth's own format, and the API key is sent without a scheme.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::claims::{AuthenticationType, TokenContext};
use crate::demo::provider::core::{Counters, Provider};
use crate::demo::provider::error::InternalError;
use crate::demo::provider::event::Event;
use crate::demo::provider::metadata::private_json;
use crate::demo::provider::params::Params;
use crate::demo::provider::settings::FusionAuth;
use crate::demo::provider::state::Grant;
use crate::demo::serve::{HttpRequest, HttpResponse, empty};
use crate::types::oauth::{ClientId, Subject};
use crate::types::secret::same_bytes;

impl Provider {
    /// `POST /api/jwt/refresh`: needs no client authentication. The response has neither an ID
    /// token nor a lifetime.
    pub(super) fn jwt_refresh(
        &self,
        fusionauth: &FusionAuth,
        request: &HttpRequest,
    ) -> Result<HttpResponse, InternalError> {
        Counters::count(&self.counters.refresh);
        let body = json_of(request);
        // The cookie takes precedence over the body.
        let in_body = body.get("refreshToken").and_then(Value::as_str);
        let Some(token) = request.cookie("refresh_token").or(in_body) else {
            return Ok(errors("[missing]refreshToken"));
        };
        let now = self.now();
        let Ok((grant, next)) = self.refreshed(fusionauth, token, None, now)? else {
            return Ok(errors("[invalid]refreshToken"));
        };
        let Some(user) = self.user(&grant.subject) else {
            return Ok(errors("[invalid]refreshToken"));
        };
        let issue = TokenContext {
            fusionauth,
            grant: &grant,
            user,
            by: AuthenticationType::RefreshToken,
            now,
        };
        let access_token = self.fusionauth_access_token(issue)?;
        let token = next.unwrap_or_else(|| token.to_owned());
        let response =
            json!({ "token": access_token, "refreshToken": token, "refreshTokenId": grant.id });
        Ok(private_json(StatusCode::OK, &response))
    }

    /// `POST /api/logout`: always 200, even without a token.
    pub(super) fn api_logout(
        &self,
        fusionauth: &FusionAuth,
        request: &HttpRequest,
    ) -> HttpResponse {
        Counters::count(&self.counters.revocations);
        let body = json_of(request);
        let query = Params::read(request.query.as_bytes());
        let in_body = body.get("refreshToken").and_then(Value::as_str);
        let token = request
            .cookie("refresh_token")
            .or(in_body)
            .or(query.get("refreshToken"));
        let global =
            body.get("global") == Some(&Value::Bool(true)) || query.get("global") == Some("true");
        let grant = token.and_then(|token| self.state().grant_of_refresh_token(token).cloned());
        if let Some(grant) = grant {
            let sent = if global {
                self.revoke_user(fusionauth, &grant.subject)
            } else {
                self.revoke_grant(fusionauth, &grant)
            };
            if sent.is_err() {
                return empty(StatusCode::INTERNAL_SERVER_ERROR);
            }
        }
        empty(StatusCode::OK)
    }

    /// `DELETE /api/jwt/refresh`: revokes one token by id or value, with an API key or its owner's
    /// JWT; or, with an API key, all tokens of a user, of an application, or of a user at an
    /// application.
    pub(super) fn delete_refresh_tokens(
        &self,
        fusionauth: &FusionAuth,
        request: &HttpRequest,
    ) -> HttpResponse {
        Counters::count(&self.counters.revocations);
        let body = json_of(request);
        let form = if request.is_form() {
            Params::read(&request.body)
        } else {
            Params::read(b"")
        };
        let query = Params::read(request.query.as_bytes());
        let said = |name: &str| {
            let in_json = body.get(name).and_then(Value::as_str);
            query
                .get(name)
                .or(form.get(name))
                .or(in_json)
                .map(str::to_owned)
        };
        let by_id = request
            .path
            .strip_prefix("/api/jwt/refresh/")
            .filter(|id| !id.is_empty());
        let authorization = request.header("authorization").unwrap_or_default();
        let by_key = same_bytes(
            authorization.as_bytes(),
            fusionauth.api_key.expose().as_bytes(),
        );
        let owner = authorization
            .strip_prefix("Bearer ")
            .and_then(|jwt| self.fusionauth_live(jwt, self.now()));
        let owner = owner.and_then(|claims| claims.get("sub")?.as_str().map(Subject::new));
        if !by_key && owner.is_none() {
            return empty(StatusCode::UNAUTHORIZED);
        }
        let one = match (by_id, said("token")) {
            (Some(id), _) => Some(self.state().grant(id).cloned()),
            (None, Some(token)) => Some(self.state().grant_of_refresh_token(&token).cloned()),
            (None, None) => None,
        };
        let revoked = match (one, said("userId"), said("applicationId")) {
            (Some(None), ..) => return empty(StatusCode::NOT_FOUND),
            (Some(Some(grant)), ..) if by_key || owner.as_ref() == Some(&grant.subject) => {
                self.revoke_grant(fusionauth, &grant)
            }
            (Some(Some(_)), ..) => return empty(StatusCode::UNAUTHORIZED),
            (None, ..) if !by_key => return empty(StatusCode::UNAUTHORIZED),
            (None, Some(user), None) => self.revoke_user(fusionauth, &Subject::new(user)),
            (None, user, Some(application)) => self.revoke_application(
                fusionauth,
                user.map(Subject::new).as_ref(),
                &ClientId::new(application),
            ),
            (None, None, None) => return errors("[missing]token"),
        };
        empty(if revoked.is_ok() {
            StatusCode::OK
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        })
    }

    fn revoke_grant(&self, fusionauth: &FusionAuth, grant: &Grant) -> Result<(), InternalError> {
        if !self.state().revoke(&grant.id) {
            return Ok(());
        }
        let client = self
            .client(grant.client.as_str())
            .map_or_else(String::new, |client| client.name.clone());
        self.emit(Event::Revoked {
            user: self.username(&grant.subject),
            client,
        });
        self.notify_token_revoked(fusionauth, grant)
    }

    /// Revokes all refresh tokens of a user and ends the user's sessions.
    pub(super) fn revoke_user(
        &self,
        fusionauth: &FusionAuth,
        subject: &Subject,
    ) -> Result<(), InternalError> {
        let revoked = self.state().revoke_all_of(subject);
        if revoked == 0 {
            return Ok(());
        }
        self.emit(Event::SignedOut {
            user: self.username(subject),
        });
        self.notify_user_revoked(fusionauth, subject, None)
    }

    fn revoke_application(
        &self,
        fusionauth: &FusionAuth,
        subject: Option<&Subject>,
        application: &ClientId,
    ) -> Result<(), InternalError> {
        let revoked = self.state().revoke_where(|grant| {
            grant.client == *application && subject.is_none_or(|subject| grant.subject == *subject)
        });
        match (revoked, subject) {
            (0, _) => Ok(()),
            (_, Some(subject)) => self.notify_user_revoked(fusionauth, subject, Some(application)),
            (_, None) => self.notify_application_revoked(fusionauth, application),
        }
    }
}

fn json_of(request: &HttpRequest) -> Map<String, Value> {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

fn errors(code: &str) -> HttpResponse {
    let error = json!({ "code": code, "message": "The request was not granted." });
    private_json(
        StatusCode::BAD_REQUEST,
        &json!({ "fieldErrors": { "refreshToken": [error] } }),
    )
}
