//! `/oauth2/token` with its three grants, and `/oauth2/userinfo`: errors have an `error_reason`, answers a
//! `refresh_token_id` and `userId`, and a refresh brings a refresh token only where each is good for one use.

use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::FusionAuth;
use super::claims::{By, Issue};
use crate::demo::provider::keys::random_word;
use crate::demo::provider::metadata::private_json;
use crate::demo::provider::params::Params;
use crate::demo::provider::settings::Client;
use crate::demo::provider::state::{Grant, Refused};
use crate::demo::provider::{Counters, Event, Failure, Provider};
use crate::demo::serve::{Answer, Asked, bare};
use crate::types::oauth::{PkceVerifier, Subject};
use crate::types::time::Timestamp;

/// An error of the OAuth endpoints.
struct Problem {
    error: &'static str,
    reason: &'static str,
}

/// Either an answer that the client caused, or a failure of our own.
enum Outcome {
    Refused(Problem),
    Failed(Failure),
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

const fn refused(error: &'static str, reason: &'static str) -> Outcome {
    Outcome::Refused(Problem { error, reason })
}

impl Provider {
    pub(super) fn fusionauth_token(
        &self,
        own: &FusionAuth,
        asked: &Asked,
    ) -> Result<Answer, Failure> {
        match self.fusionauth_grant(own, asked) {
            Ok(tokens) => Ok(private_json(StatusCode::OK, &tokens)),
            Err(Outcome::Refused(problem)) => Ok(problem.into_answer()),
            Err(Outcome::Failed(failure)) => Err(failure),
        }
    }

    fn fusionauth_grant(&self, own: &FusionAuth, asked: &Asked) -> Result<Value, Outcome> {
        let params = Params::read(&asked.body);
        if !asked.is_form() || params.repeats() {
            return Err(refused("invalid_request", "missing_grant_type"));
        }
        if params
            .get("tenantId")
            .is_some_and(|tenant| tenant != own.tenant_id)
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
            .calling_client(asked, &params)
            .map_err(|_| refused("invalid_client", "invalid_client_authentication"))?;
        let now = self.now();
        match grant_type {
            "authorization_code" => self.fusionauth_code(own, client, &params, now),
            "refresh_token" => self.fusionauth_refresh(own, client, &params, now),
            "password" => self.fusionauth_password(own, client, &params, now),
            "" => Err(refused("invalid_request", "missing_grant_type")),
            _ => Err(refused("unsupported_grant_type", "invalid_grant_type")),
        }
    }

    fn fusionauth_code(
        &self,
        own: &FusionAuth,
        client: &Client,
        params: &Params,
        now: Timestamp,
    ) -> Result<Value, Outcome> {
        let needed = |name, reason| params.get(name).ok_or(refused("invalid_request", reason));
        let code = needed("code", "missing_code")?;
        let redirect_uri = needed("redirect_uri", "missing_redirect_uri")?;
        let verifier = needed("code_verifier", "missing_code_verifier")?;
        let challenge = PkceVerifier::from_sealed(verifier.to_owned()).challenge_s256();
        let grant_id = self.new_id()?;
        let redeemed =
            self.state()
                .redeem(code, &client.id, redirect_uri, &challenge, grant_id, now);
        let (grant, nonce) = redeemed.map_err(|error| {
            self.tell(Event::CodeRefused {
                client: client.name.clone(),
                reason: error.reason(),
            });
            refused("invalid_grant", "auth_code_not_found")
        })?;
        self.tell(Event::CodeExchanged {
            user: self.username(&grant.subject),
            client: client.name.clone(),
        });
        let refresh_token = self.first_refresh_token(&grant, now)?;
        self.fusionauth_answer(
            own,
            &grant,
            By::Password,
            nonce.as_deref(),
            refresh_token,
            now,
        )
    }

    fn fusionauth_refresh(
        &self,
        own: &FusionAuth,
        client: &Client,
        params: &Params,
        now: Timestamp,
    ) -> Result<Value, Outcome> {
        let token = params
            .get("refresh_token")
            .ok_or(refused("invalid_request", "missing_refresh_token"))?;
        let (grant, next) = self
            .refreshed(own, token, Some(client), now)?
            .map_err(|_| refused("invalid_grant", "refresh_token_not_found"))?;
        self.fusionauth_answer(own, &grant, By::RefreshToken, None, next, now)
    }

    fn fusionauth_password(
        &self,
        own: &FusionAuth,
        client: &Client,
        params: &Params,
        now: Timestamp,
    ) -> Result<Value, Outcome> {
        let [username, password] =
            ["username", "password"].map(|name| params.get(name).unwrap_or_default());
        let Some(user) = self.check_password(username, password) else {
            self.tell(Event::SignInRefused {
                client: client.name.clone(),
            });
            return Err(refused("invalid_grant", "invalid_user_credentials"));
        };
        let ids = [self.new_id()?, self.new_id()?];
        let grant =
            self.state()
                .grant_directly(ids, &client.id, &user.subject, params.words("scope"), now);
        self.tell(Event::PasswordGranted {
            user: user.username.clone(),
            client: client.name.clone(),
        });
        let refresh_token = self.first_refresh_token(&grant, now)?;
        self.fusionauth_answer(own, &grant, By::Password, None, refresh_token, now)
    }

    /// Uses a refresh token at either endpoint: its grant, and what takes its place where each is good for one use.
    /// One that comes again is revoked with all that came of it, which the webhook tells.
    pub(super) fn refreshed(
        &self,
        own: &FusionAuth,
        token: &str,
        client: Option<&Client>,
        now: Timestamp,
    ) -> Result<Result<(Grant, Option<String>), Refused>, Failure> {
        let id = client.map(|client| &client.id);
        let before = self.state().grant_of_refresh_token(token).cloned();
        let used = self
            .state()
            .use_refresh_token(token, id, own.one_time_use, now);
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
            Err(Refused::Reused(subject)) => {
                self.tell(Event::ReuseDetected {
                    user: self.username(&subject),
                    client: name(&before),
                });
                if let Some(grant) = &before {
                    self.webhooks_tell_of_token(own, grant)?;
                }
                return Ok(Err(Refused::Reused(subject)));
            }
            Err(error) => {
                self.tell(Event::RefreshRefused {
                    client: name(&before),
                    reason: error.reason(),
                });
                return Ok(Err(error));
            }
        };
        let next = if own.one_time_use {
            self.first_refresh_token(&grant, now)?
        } else {
            None
        };
        self.tell(Event::Refreshed {
            user: self.username(&grant.subject),
            client: name(&Some(grant.clone())),
        });
        Ok(Ok((grant, next)))
    }

    fn first_refresh_token(
        &self,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Option<String>, Failure> {
        if !grant.scope.iter().any(|word| word == "offline_access") {
            return Ok(None);
        }
        let token = random_word()?;
        self.state().issue_refresh_token(
            token.clone(),
            grant,
            now.plus(self.settings.refresh_lifetime),
        );
        Ok(Some(token))
    }

    fn fusionauth_answer(
        &self,
        own: &FusionAuth,
        grant: &Grant,
        by: By,
        nonce: Option<&str>,
        refresh_token: Option<String>,
        now: Timestamp,
    ) -> Result<Value, Outcome> {
        let user = self
            .user(&grant.subject)
            .ok_or(refused("invalid_grant", "user_not_found"))?;
        let issue = Issue {
            own,
            grant,
            user,
            by,
            now,
        };
        let access_token = self.fusionauth_access_token(issue)?;
        let mut answer = Map::from_iter([
            ("token_type".into(), json!("Bearer")),
            (
                "expires_in".into(),
                json!(self.settings.jwt_lifetime.as_secs()),
            ),
            ("userId".into(), json!(grant.subject)),
        ]);
        if by == By::Password {
            answer.insert("scope".into(), json!(grant.scope.join(" ")));
        }
        if grant.scope.iter().any(|word| word == "openid") {
            let token = self.fusionauth_id_token(issue, nonce, &access_token)?;
            answer.insert("id_token".into(), json!(token));
        }
        if let Some(token) = refresh_token {
            answer.insert("refresh_token".into(), json!(token));
            answer.insert("refresh_token_id".into(), json!(grant.id));
        }
        answer.insert("access_token".into(), json!(access_token));
        Ok(Value::Object(answer))
    }

    /// The claims of the token, as in the `Compatibility` mode of scopes.
    pub(super) fn fusionauth_userinfo(&self, own: &FusionAuth, asked: &Asked) -> Answer {
        let token = asked
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
            return bare(StatusCode::UNAUTHORIZED);
        };
        claims.insert("name".into(), json!(user.name));
        claims.insert("tid".into(), json!(own.tenant_id));
        private_json(StatusCode::OK, &Value::Object(claims))
    }
}

impl Problem {
    fn into_answer(self) -> Answer {
        let unknown_client = self.error == "invalid_client";
        let status = if unknown_client {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::BAD_REQUEST
        };
        let body = json!({
            "error": self.error, "error_reason": self.reason, "error_description": "The request was not granted.",
        });
        let mut answer = private_json(status, &body);
        if unknown_client {
            answer.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"provider\""),
            );
        }
        answer
    }
}
