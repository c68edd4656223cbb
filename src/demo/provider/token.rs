//! The token endpoint (RFC 6749 section 3.2) with three grant types. Refresh tokens are rotated;
//! reuse revokes the token family.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::client_auth::TokenError;
use super::core::{Counters, Provider};
use super::error::InternalError;
use super::event::Event;
use super::keys::random_token;
use super::metadata::private_json;
use super::params::Params;
use super::settings::Client;
use super::state::{Grant, GrantError};
use crate::demo::serve::{HttpRequest, HttpResponse};
use crate::types::oauth::PkceVerifier;
use crate::types::time::Timestamp;

/// An error of the client or of the provider.
enum Outcome {
    GrantError(TokenError),
    Failed(InternalError),
}

impl From<TokenError> for Outcome {
    fn from(error: TokenError) -> Self {
        Self::GrantError(error)
    }
}

impl From<InternalError> for Outcome {
    fn from(failure: InternalError) -> Self {
        Self::Failed(failure)
    }
}

impl Provider {
    pub(super) fn token(&self, request: &HttpRequest) -> Result<HttpResponse, InternalError> {
        match self.grant_tokens(request) {
            Ok(tokens) => Ok(private_json(StatusCode::OK, &tokens)),
            Err(Outcome::GrantError(error)) => Ok(error.into_response()),
            Err(Outcome::Failed(failure)) => Err(failure),
        }
    }

    fn grant_tokens(&self, request: &HttpRequest) -> Result<Value, Outcome> {
        let params = Params::read(&request.body);
        if !request.is_form() || params.repeats() {
            return Err(TokenError::new(
                "invalid_request",
                "the body must be a form without repeated parameters",
            )
            .into());
        }
        let grant_type = params.get("grant_type").unwrap_or_default();
        match grant_type {
            "authorization_code" => Counters::count(&self.counters.code),
            "refresh_token" => Counters::count(&self.counters.refresh),
            "password" => Counters::count(&self.counters.password),
            _ => {}
        }
        let client = self.authenticate_client(request, &params)?;
        let now = self.now();
        match grant_type {
            "authorization_code" => self.exchange_code(client, &params, now),
            "refresh_token" => self.refresh(client, &params, now),
            "password" => self.grant_for_password(client, &params, now),
            "" => Err(TokenError::new("invalid_request", "grant_type is missing").into()),
            _ => Err(
                TokenError::new("unsupported_grant_type", "this grant type is not supported")
                    .into(),
            ),
        }
    }

    fn exchange_code(
        &self,
        client: &Client,
        params: &Params,
        now: Timestamp,
    ) -> Result<Value, Outcome> {
        let code = required(params, "code", "code is missing")?;
        let redirect_uri = required(params, "redirect_uri", "redirect_uri is missing")?;
        let verifier = required(params, "code_verifier", "code_verifier is missing")?;
        let challenge = PkceVerifier::from_sealed(verifier.to_owned()).challenge_s256();
        let grant_id = random_token()?;
        let redeemed =
            self.state()
                .redeem(code, &client.id, redirect_uri, &challenge, grant_id, now);
        let (grant, nonce) = redeemed.map_err(|error| {
            self.emit(Event::CodeRefused {
                client: client.name.clone(),
                reason: error.reason(),
            });
            TokenError::new("invalid_grant", error.reason())
        })?;
        let tokens = self.tokens(&grant, &grant.scope, nonce.as_deref(), now)?;
        self.emit(Event::CodeExchanged {
            user: self.username(&grant.subject),
            client: client.name.clone(),
        });
        Ok(tokens)
    }

    fn refresh(&self, client: &Client, params: &Params, now: Timestamp) -> Result<Value, Outcome> {
        let token = required(params, "refresh_token", "refresh_token is missing")?;
        let wanted = params.list("scope");
        let granted = self
            .state()
            .grant_of_refresh_token(token)
            .map(|grant| grant.scope.clone());
        // Checked before the token is used, so that the client can retry with another scope.
        if granted.is_some_and(|granted| wanted.iter().any(|item| !granted.contains(item))) {
            return Err(TokenError::new("invalid_scope", "scope exceeds the granted scope").into());
        }
        let spent = self
            .state()
            .use_refresh_token(token, Some(&client.id), true, now);
        let grant = spent.map_err(|error| {
            let name = client.name.clone();
            self.emit(match &error {
                GrantError::Reused(subject) => Event::ReuseDetected {
                    user: self.username(subject),
                    client: name,
                },
                GrantError::Unknown
                | GrantError::Expired
                | GrantError::Replayed
                | GrantError::Mismatch
                | GrantError::Revoked => Event::RefreshRefused {
                    client: name,
                    reason: error.reason(),
                },
            });
            TokenError::new("invalid_grant", error.reason())
        })?;
        let scope = if wanted.is_empty() {
            &grant.scope
        } else {
            &wanted
        };
        let tokens = self.tokens(&grant, scope, None, now)?;
        self.emit(Event::Refreshed {
            user: self.username(&grant.subject),
            client: client.name.clone(),
        });
        Ok(tokens)
    }

    fn grant_for_password(
        &self,
        client: &Client,
        params: &Params,
        now: Timestamp,
    ) -> Result<Value, Outcome> {
        let username = required(params, "username", "username is missing")?;
        let password = required(params, "password", "password is missing")?;
        let Some(user) = self.check_password(username, password) else {
            self.emit(Event::SignInRefused {
                client: client.name.clone(),
            });
            return Err(TokenError::new("invalid_grant", "wrong user name or password").into());
        };
        let list = [random_token()?, random_token()?];
        let grant =
            self.state()
                .grant_directly(list, &client.id, &user.subject, params.list("scope"), now);
        let tokens = self.tokens(&grant, &grant.scope, None, now)?;
        self.emit(Event::PasswordGranted {
            user: user.username.clone(),
            client: client.name.clone(),
        });
        Ok(tokens)
    }

    /// A token response (RFC 6749 section 5.1, OpenID Connect Core section 3.1.3.3). The scope
    /// `offline_access` adds a refresh token, `openid` an ID token.
    fn tokens(
        &self,
        grant: &Grant,
        scope: &[String],
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<Value, Outcome> {
        let gone = || TokenError::new("invalid_grant", "unknown user");
        let user = self.user(&grant.subject).ok_or_else(gone)?;
        let access_token = self.access_token(grant, user, scope, now)?;
        let mut response = Map::from_iter([
            ("token_type".into(), json!("Bearer")),
            (
                "expires_in".into(),
                json!(self.settings.jwt_lifetime.as_secs()),
            ),
            ("scope".into(), json!(scope.join(" "))),
        ]);
        if scope.iter().any(|item| item == "openid") {
            let token = self.id_token(grant, user, scope, nonce, &access_token, now)?;
            response.insert("id_token".into(), json!(token));
        }
        if grant.scope.iter().any(|item| item == "offline_access") {
            let token = random_token()?;
            let expires = now.plus(self.settings.refresh_lifetime);
            self.state()
                .issue_refresh_token(token.clone(), grant, expires);
            response.insert("refresh_token".into(), json!(token));
        }
        response.insert("access_token".into(), json!(access_token));
        Ok(Value::Object(response))
    }
}

fn required<'a>(
    params: &'a Params,
    name: &str,
    missing: &'static str,
) -> Result<&'a str, TokenError> {
    params
        .get(name)
        .ok_or(TokenError::new("invalid_request", missing))
}
