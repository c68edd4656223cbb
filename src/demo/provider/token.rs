//! The token endpoint (RFC 6749 section 3.2) with its three grants. Refresh tokens are spent at each use;
//! one that comes again ends its family.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::client_auth::TokenError;
use super::keys::random_word;
use super::metadata::private_json;
use super::params::Params;
use super::settings::Client;
use super::state::{Grant, Refused};
use super::{Counters, Event, Failure, Provider};
use crate::demo::serve::{Answer, Asked};
use crate::types::oauth::PkceVerifier;
use crate::types::time::Timestamp;

/// Either an answer that the client caused, or a failure of our own.
enum Outcome {
    Refused(TokenError),
    Failed(Failure),
}

impl From<TokenError> for Outcome {
    fn from(error: TokenError) -> Self {
        Self::Refused(error)
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Provider {
    pub(super) fn token(&self, asked: &Asked) -> Result<Answer, Failure> {
        match self.grant_tokens(asked) {
            Ok(tokens) => Ok(private_json(StatusCode::OK, &tokens)),
            Err(Outcome::Refused(error)) => Ok(error.into_answer()),
            Err(Outcome::Failed(failure)) => Err(failure),
        }
    }

    fn grant_tokens(&self, asked: &Asked) -> Result<Value, Outcome> {
        let params = Params::read(&asked.body);
        if !asked.is_form() || params.repeats() {
            return Err(TokenError::new(
                "invalid_request",
                "a form is wanted, with each parameter once",
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
        let client = self.calling_client(asked, &params)?;
        let now = self.now();
        match grant_type {
            "authorization_code" => self.exchange_code(client, &params, now),
            "refresh_token" => self.refresh(client, &params, now),
            "password" => self.grant_for_password(client, &params, now),
            "" => Err(TokenError::new("invalid_request", "grant_type is missing").into()),
            _ => Err(TokenError::new("unsupported_grant_type", "this grant is not offered").into()),
        }
    }

    fn exchange_code(
        &self,
        client: &Client,
        params: &Params,
        now: Timestamp,
    ) -> Result<Value, Outcome> {
        let code = needed(params, "code", "code is missing")?;
        let redirect_uri = needed(params, "redirect_uri", "redirect_uri is missing")?;
        let verifier = needed(params, "code_verifier", "code_verifier is missing")?;
        let challenge = PkceVerifier::from_sealed(verifier.to_owned()).challenge_s256();
        let grant_id = random_word()?;
        let redeemed =
            self.state()
                .redeem(code, &client.id, redirect_uri, &challenge, grant_id, now);
        let (grant, nonce) = redeemed.map_err(|refused| {
            self.tell(Event::CodeRefused {
                client: client.name.clone(),
                reason: refused.reason(),
            });
            TokenError::new("invalid_grant", refused.reason())
        })?;
        let tokens = self.tokens(&grant, &grant.scope, nonce.as_deref(), now)?;
        self.tell(Event::CodeExchanged {
            user: self.username(&grant.subject),
            client: client.name.clone(),
        });
        Ok(tokens)
    }

    fn refresh(&self, client: &Client, params: &Params, now: Timestamp) -> Result<Value, Outcome> {
        let token = needed(params, "refresh_token", "refresh_token is missing")?;
        let wanted = params.words("scope");
        let granted = self
            .state()
            .grant_of_refresh_token(token)
            .map(|grant| grant.scope.clone());
        // Asked before the token is spent, so that a client may correct itself.
        if granted.is_some_and(|granted| wanted.iter().any(|word| !granted.contains(word))) {
            return Err(
                TokenError::new("invalid_scope", "scope is wider than what was granted").into(),
            );
        }
        let spent = self
            .state()
            .use_refresh_token(token, Some(&client.id), true, now);
        let grant = spent.map_err(|refused| {
            let name = client.name.clone();
            self.tell(match &refused {
                Refused::Reused(subject) => Event::ReuseDetected {
                    user: self.username(subject),
                    client: name,
                },
                Refused::Unknown
                | Refused::Expired
                | Refused::Replayed
                | Refused::Mismatch
                | Refused::Revoked => Event::RefreshRefused {
                    client: name,
                    reason: refused.reason(),
                },
            });
            TokenError::new("invalid_grant", refused.reason())
        })?;
        let scope = if wanted.is_empty() {
            &grant.scope
        } else {
            &wanted
        };
        let tokens = self.tokens(&grant, scope, None, now)?;
        self.tell(Event::Refreshed {
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
        let username = needed(params, "username", "username is missing")?;
        let password = needed(params, "password", "password is missing")?;
        let Some(user) = self.check_password(username, password) else {
            self.tell(Event::SignInRefused {
                client: client.name.clone(),
            });
            return Err(TokenError::new(
                "invalid_grant",
                "the user name or the password is not right",
            )
            .into());
        };
        let words = [random_word()?, random_word()?];
        let grant = self.state().grant_directly(
            words,
            &client.id,
            &user.subject,
            params.words("scope"),
            now,
        );
        let tokens = self.tokens(&grant, &grant.scope, None, now)?;
        self.tell(Event::PasswordGranted {
            user: user.username.clone(),
            client: client.name.clone(),
        });
        Ok(tokens)
    }

    /// A token answer (RFC 6749 section 5.1, OpenID Connect Core section 3.1.3.3). A refresh token comes along where
    /// the grant has the scope `offline_access`, an ID token where it has `openid`.
    fn tokens(
        &self,
        grant: &Grant,
        scope: &[String],
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<Value, Outcome> {
        let gone = || TokenError::new("invalid_grant", "the person is gone");
        let user = self.user(&grant.subject).ok_or_else(gone)?;
        let access_token = self.access_token(grant, user, scope, now)?;
        let mut answer = Map::from_iter([
            ("token_type".into(), json!("Bearer")),
            (
                "expires_in".into(),
                json!(self.settings.jwt_lifetime.as_secs()),
            ),
            ("scope".into(), json!(scope.join(" "))),
        ]);
        if scope.iter().any(|word| word == "openid") {
            let token = self.id_token(grant, user, scope, nonce, &access_token, now)?;
            answer.insert("id_token".into(), json!(token));
        }
        if grant.scope.iter().any(|word| word == "offline_access") {
            let token = random_word()?;
            let expires = now.plus(self.settings.refresh_lifetime);
            self.state()
                .issue_refresh_token(token.clone(), grant, expires);
            answer.insert("refresh_token".into(), json!(token));
        }
        answer.insert("access_token".into(), json!(access_token));
        Ok(Value::Object(answer))
    }
}

fn needed<'a>(
    params: &'a Params,
    name: &str,
    missing: &'static str,
) -> Result<&'a str, TokenError> {
    params
        .get(name)
        .ok_or(TokenError::new("invalid_request", missing))
}
