//! FusionAuth's `/oauth2/token` with three grant types, and `/oauth2/userinfo`. Errors have an
//! `error_reason`, token responses a `refresh_token_id` and `userId`. A refresh returns a refresh
//! token only with one-time use.

use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::claims::{AuthenticationType, TokenContext};
use crate::demo::provider::core::{Counters, Provider};
use crate::demo::provider::error::InternalError;
use crate::demo::provider::event::Event;
use crate::demo::provider::keys::random_token;
use crate::demo::provider::metadata::private_json;
use crate::demo::provider::params::Params;
use crate::demo::provider::settings::{Client, FusionAuth};
use crate::demo::provider::state::{Grant, GrantError};
use crate::demo::serve::{HttpRequest, HttpResponse, empty};
use crate::types::oauth::{PkceVerifier, Subject};
use crate::types::time::Timestamp;

/// An error response of the OAuth endpoints.
struct Problem {
    error: &'static str,
    reason: &'static str,
}

/// An error of the client or of the provider.
enum Outcome {
    GrantError(Problem),
    Failed(InternalError),
}

impl From<InternalError> for Outcome {
    fn from(failure: InternalError) -> Self {
        Self::Failed(failure)
    }
}

const fn refused(error: &'static str, reason: &'static str) -> Outcome {
    Outcome::GrantError(Problem { error, reason })
}

impl Provider {
    pub(super) fn fusionauth_token(
        &self,
        fusionauth: &FusionAuth,
        request: &HttpRequest,
    ) -> Result<HttpResponse, InternalError> {
        match self.fusionauth_grant(fusionauth, request) {
            Ok(tokens) => Ok(private_json(StatusCode::OK, &tokens)),
            Err(Outcome::GrantError(problem)) => Ok(problem.into_response()),
            Err(Outcome::Failed(failure)) => Err(failure),
        }
    }

    fn fusionauth_grant(
        &self,
        fusionauth: &FusionAuth,
        request: &HttpRequest,
    ) -> Result<Value, Outcome> {
        let params = Params::read(&request.body);
        if !request.is_form() || params.repeats() {
            return Err(refused("invalid_request", "missing_grant_type"));
        }
        if params
            .get("tenantId")
            .is_some_and(|tenant| tenant != fusionauth.tenant_id)
        {
            return Err(refused("invalid_request", "invalid_tenant_id"));
        }
        let grant_type = params.get("grant_type").unwrap_or_default();
        match grant_type {
            "authorization_code" => Counters::count(&self.counters.code),
            "refresh_token" => Counters::count(&self.counters.refresh),
            "password" => Counters::count(&self.counters.password),
            _ => {}
        }
        let client = self
            .authenticate_client(request, &params)
            .map_err(|_| refused("invalid_client", "invalid_client_authentication"))?;
        let now = self.now();
        match grant_type {
            "authorization_code" => self.fusionauth_code(fusionauth, client, &params, now),
            "refresh_token" => self.fusionauth_refresh(fusionauth, client, &params, now),
            "password" => self.fusionauth_password(fusionauth, client, &params, now),
            "" => Err(refused("invalid_request", "missing_grant_type")),
            _ => Err(refused("unsupported_grant_type", "invalid_grant_type")),
        }
    }

    fn fusionauth_code(
        &self,
        fusionauth: &FusionAuth,
        client: &Client,
        params: &Params,
        now: Timestamp,
    ) -> Result<Value, Outcome> {
        let required = |name, reason| params.get(name).ok_or(refused("invalid_request", reason));
        let code = required("code", "missing_code")?;
        let redirect_uri = required("redirect_uri", "missing_redirect_uri")?;
        let verifier = required("code_verifier", "missing_code_verifier")?;
        let challenge = PkceVerifier::from_sealed(verifier.to_owned()).challenge_s256();
        let grant_id = self.new_id()?;
        let redeemed =
            self.state()
                .redeem(code, &client.id, redirect_uri, &challenge, grant_id, now);
        let (grant, nonce) = redeemed.map_err(|error| {
            self.emit(Event::CodeRefused {
                client: client.name.clone(),
                reason: error.reason(),
            });
            refused("invalid_grant", "auth_code_not_found")
        })?;
        self.emit(Event::CodeExchanged {
            user: self.username(&grant.subject),
            client: client.name.clone(),
        });
        let refresh_token = self.first_refresh_token(&grant, now)?;
        self.token_response(
            fusionauth,
            &grant,
            AuthenticationType::Password,
            nonce.as_deref(),
            refresh_token,
            now,
        )
    }

    fn fusionauth_refresh(
        &self,
        fusionauth: &FusionAuth,
        client: &Client,
        params: &Params,
        now: Timestamp,
    ) -> Result<Value, Outcome> {
        let token = params
            .get("refresh_token")
            .ok_or(refused("invalid_request", "missing_refresh_token"))?;
        let (grant, next) = self
            .refreshed(fusionauth, token, Some(client), now)?
            .map_err(|_| refused("invalid_grant", "refresh_token_not_found"))?;
        self.token_response(
            fusionauth,
            &grant,
            AuthenticationType::RefreshToken,
            None,
            next,
            now,
        )
    }

    fn fusionauth_password(
        &self,
        fusionauth: &FusionAuth,
        client: &Client,
        params: &Params,
        now: Timestamp,
    ) -> Result<Value, Outcome> {
        let [username, password] =
            ["username", "password"].map(|name| params.get(name).unwrap_or_default());
        let Some(user) = self.check_password(username, password) else {
            self.emit(Event::SignInRefused {
                client: client.name.clone(),
            });
            return Err(refused("invalid_grant", "invalid_user_credentials"));
        };
        let ids = [self.new_id()?, self.new_id()?];
        let grant =
            self.state()
                .grant_directly(ids, &client.id, &user.subject, params.list("scope"), now);
        self.emit(Event::PasswordGranted {
            user: user.username.clone(),
            client: client.name.clone(),
        });
        let refresh_token = self.first_refresh_token(&grant, now)?;
        self.token_response(
            fusionauth,
            &grant,
            AuthenticationType::Password,
            None,
            refresh_token,
            now,
        )
    }

    /// Uses a refresh token at either endpoint. Returns its grant and, with one-time use, the
    /// rotated token. A reused token revokes its family, which a webhook reports.
    pub(super) fn refreshed(
        &self,
        fusionauth: &FusionAuth,
        token: &str,
        client: Option<&Client>,
        now: Timestamp,
    ) -> Result<Result<(Grant, Option<String>), GrantError>, InternalError> {
        let id = client.map(|client| &client.id);
        let before = self.state().grant_of_refresh_token(token).cloned();
        let used = self
            .state()
            .use_refresh_token(token, id, fusionauth.one_time_use, now);
        let name = |grant: &Option<Grant>| {
            let of_grant = grant
                .as_ref()
                .and_then(|grant| self.client(grant.client.as_str()));
            client
                .or(of_grant)
                .map_or_else(String::new, |client| client.name.clone())
        };
        let grant = match used {
            Ok(grant) => grant,
            Err(GrantError::Reused(subject)) => {
                self.emit(Event::ReuseDetected {
                    user: self.username(&subject),
                    client: name(&before),
                });
                if let Some(grant) = &before {
                    self.notify_token_revoked(fusionauth, grant)?;
                }
                return Ok(Err(GrantError::Reused(subject)));
            }
            Err(error) => {
                self.emit(Event::RefreshRefused {
                    client: name(&before),
                    reason: error.reason(),
                });
                return Ok(Err(error));
            }
        };
        let next = if fusionauth.one_time_use {
            self.first_refresh_token(&grant, now)?
        } else {
            None
        };
        self.emit(Event::Refreshed {
            user: self.username(&grant.subject),
            client: name(&Some(grant.clone())),
        });
        Ok(Ok((grant, next)))
    }

    fn first_refresh_token(
        &self,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Option<String>, InternalError> {
        if !grant.scope.iter().any(|item| item == "offline_access") {
            return Ok(None);
        }
        let token = random_token()?;
        self.state().issue_refresh_token(
            token.clone(),
            grant,
            now.plus(self.settings.refresh_lifetime),
        );
        Ok(Some(token))
    }

    fn token_response(
        &self,
        fusionauth: &FusionAuth,
        grant: &Grant,
        by: AuthenticationType,
        nonce: Option<&str>,
        refresh_token: Option<String>,
        now: Timestamp,
    ) -> Result<Value, Outcome> {
        let user = self
            .user(&grant.subject)
            .ok_or(refused("invalid_grant", "user_not_found"))?;
        let issue = TokenContext {
            fusionauth,
            grant,
            user,
            by,
            now,
        };
        let access_token = self.fusionauth_access_token(issue)?;
        let mut response = Map::from_iter([
            ("token_type".into(), json!("Bearer")),
            (
                "expires_in".into(),
                json!(self.settings.jwt_lifetime.as_secs()),
            ),
            ("userId".into(), json!(grant.subject)),
        ]);
        if by == AuthenticationType::Password {
            response.insert("scope".into(), json!(grant.scope.join(" ")));
        }
        if grant.scope.iter().any(|item| item == "openid") {
            let token = self.fusionauth_id_token(issue, nonce, &access_token)?;
            response.insert("id_token".into(), json!(token));
        }
        if let Some(token) = refresh_token {
            response.insert("refresh_token".into(), json!(token));
            response.insert("refresh_token_id".into(), json!(grant.id));
        }
        response.insert("access_token".into(), json!(access_token));
        Ok(Value::Object(response))
    }

    /// The claims of the access token, as in FusionAuth's scope mode `Compatibility`.
    pub(super) fn fusionauth_userinfo(
        &self,
        fusionauth: &FusionAuth,
        request: &HttpRequest,
    ) -> HttpResponse {
        let token = request
            .header("authorization")
            .and_then(|field| field.strip_prefix("Bearer "));
        let claims = token.and_then(|token| self.fusionauth_live(token, self.now()));
        let subject = claims
            .as_ref()
            .and_then(|claims| claims.get("sub")?.as_str())
            .map(Subject::new);
        let Some((user, Some(Value::Object(mut claims)))) =
            subject.and_then(|sub| self.user(&sub)).zip(Some(claims))
        else {
            return empty(StatusCode::UNAUTHORIZED);
        };
        claims.insert("name".into(), json!(user.name));
        claims.insert("tid".into(), json!(fusionauth.tenant_id));
        private_json(StatusCode::OK, &Value::Object(claims))
    }
}

impl Problem {
    fn into_response(self) -> HttpResponse {
        let unknown_client = self.error == "invalid_client";
        let status = if unknown_client {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::BAD_REQUEST
        };
        let body = json!({
            "error": self.error, "error_reason": self.reason, "error_description": "The request was not granted.",
        });
        let mut response = private_json(status, &body);
        if unknown_client {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"provider\""),
            );
        }
        response
    }
}
