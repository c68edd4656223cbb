//! One identity provider: its documents as snapshots, its endpoints as calls.
//!
//! Nothing is fetched before it is needed, and what was fetched is kept when the provider goes down. A
//! call is one request: whether to try again is the caller's decision, who knows what a token is worth.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde_json::{Map, Value};

use super::access_token::{self, AccessTokenProfile};
use super::cached::Cached;
use super::discovery::{Metadata, PlainHttp};
use super::error::{Endpoint, ProviderError, TokenRejected};
use super::fusionauth::RefreshBy;
use super::fusionauth::sender::{Checked, Sender, SenderError};
use super::http::{Answer, Http};
use super::id_token::{self, IdTokenExpectation, IdTokenProfile};
use super::introspection::{self, Introspected};
use super::json;
use super::jwks::KeySet;
use super::jws::{Jws, Signed};
use super::logout_token::{self, LogoutToken, LogoutTokenProfile};
use super::password::{PasswordError, read_password_answer};
use super::presented_token::{self, PresentedToken, PresentedTokenProfile};
use super::settings::{ClientSettings, ProviderSettings};
use super::token::{Grant, Revoked, TokenError, TokenResponse, client_proof, revocation_outcome};
use super::verified::VerifiedToken;
use crate::types::oauth::{
    AccessToken, AuthorizationCode, ClientId, IdToken, Password, PkceVerifier, RefreshToken,
    Subject,
};
use crate::types::time::Clock;

/// The first and the longest pause between attempts to find a provider that is down.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How old a logout token without `exp` may be.
pub const LOGOUT_TOKEN_MAX_AGE: Duration = Duration::from_secs(300);

/// A provider, shared by the apps that log in there. Lives on one runtime, as its connections do; only
/// [`Provider::keys`] and [`Provider::known_metadata`] may be read from anywhere.
pub struct Provider {
    settings: ProviderSettings,
    clock: Arc<dyn Clock>,
    http: Http,
    metadata: Cached<Metadata>,
    keys: Cached<KeySet>,
}

/// For whom a token that a program presents has to be.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'a> {
    /// The app's own registration.
    pub client_id: &'a ClientId,
    /// The `aud` values of which the token must carry one.
    pub audiences: &'a [String],
}

impl Provider {
    /// A provider of which nothing is known yet; makes no connection.
    pub fn new(settings: ProviderSettings, clock: Arc<dyn Clock>) -> Arc<Self> {
        let http = Http::new(&settings, Arc::clone(&clock));
        Arc::new(Self {
            settings,
            clock,
            http,
            metadata: Cached::empty(),
            keys: Cached::empty(),
        })
    }

    /// What the operator said about it.
    pub const fn settings(&self) -> &ProviderSettings {
        &self.settings
    }

    /// The metadata, if they were ever fetched.
    pub fn known_metadata(&self) -> Option<Arc<Metadata>> {
        self.metadata.known()
    }

    /// The keys, if they were ever fetched.
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        self.keys.known()
    }

    /// How many seconds the provider's clock is ahead of ours, by its last answer.
    pub fn clock_skew(&self) -> Option<i64> {
        self.http.clock_skew()
    }

    /// The metadata, fetched if they are not known. A failure is remembered for up to two seconds.
    ///
    /// # Errors
    /// They are not known and cannot be had.
    pub async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        self.metadata.get(&*self.clock, self.fetch_metadata()).await
    }

    /// Keeps metadata and keys fresh, and finds a provider that was down; runs until it is dropped.
    pub async fn keep_fresh(self: Arc<Self>) {
        let (mut pause, mut is_found) = (FIRST_PAUSE, false);
        loop {
            match self.freshen().await {
                Ok(()) => {
                    if !is_found {
                        tracing::info!(provider = %self.settings.name, "provider_discovered");
                    }
                    (pause, is_found) = (FIRST_PAUSE, true);
                    tokio::time::sleep(self.settings.keys_max_age.max(FIRST_PAUSE)).await;
                }
                Err(error) => {
                    tracing::warn!(provider = %self.settings.name, code = error.code(), %error, "provider_refresh_failed");
                    is_found = false;
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// Exchanges a code for tokens (RFC 6749 section 4.1.3, RFC 7636 section 4.5). One call, no retry.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn exchange_code(
        &self,
        client: &ClientSettings,
        code: AuthorizationCode,
        verifier: PkceVerifier,
    ) -> Result<TokenResponse, TokenError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", client.redirect_uri.as_str()),
            ("code_verifier", verifier.expose()),
        ];
        self.call_token(Grant::Code, client, &form, self.settings.request_timeout)
            .await
    }

    /// Exchanges a refresh token (RFC 6749 section 6). One call, no retry: a token sent twice may end the session.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn refresh(
        &self,
        client: &ClientSettings,
        token: &RefreshToken,
    ) -> Result<TokenResponse, TokenError> {
        let timeout = self.settings.refresh_timeout;
        if let Some(own) = self
            .settings
            .dialect
            .fusionauth()
            .filter(|own| own.refresh_by == RefreshBy::JwtRefresh)
        {
            let metadata = self.metadata().await.map_err(TokenError::Unreachable)?;
            return own.refresh(&self.http, &metadata, token, timeout).await;
        }
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token.expose()),
        ];
        self.call_token(Grant::Refresh, client, &form, timeout)
            .await
    }

    /// Exchanges a person's name and password for tokens (RFC 6749 section 4.3.2). One call, no retry.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn password_grant(
        &self,
        client: &ClientSettings,
        username: &str,
        password: &Password,
        scope: &str,
    ) -> Result<TokenResponse, PasswordError> {
        let form = [
            ("grant_type", "password"),
            ("username", username),
            ("password", password.expose()),
            ("scope", scope),
        ];
        let answer = self
            .post_token(client, &form, self.settings.request_timeout)
            .await;
        let answer = answer.map_err(PasswordError::Failed)?;
        let parsed =
            self.settings
                .dialect
                .parse_response(Grant::Password, answer.status, &answer.body);
        read_password_answer(parsed, &answer.body)
    }

    /// Revokes a refresh token (RFC 7009, or as the dialect does).
    ///
    /// # Errors
    /// The provider offers it and did not do it.
    pub async fn revoke(
        &self,
        client: &ClientSettings,
        token: &RefreshToken,
    ) -> Result<Revoked, ProviderError> {
        let metadata = self.metadata().await?;
        if let Some(own) = self.settings.dialect.fusionauth() {
            return own
                .revoke(&self.http, &metadata, token, self.settings.request_timeout)
                .await;
        }
        let Some(url) = &metadata.revocation_endpoint else {
            return Ok(Revoked::NotOffered);
        };
        let proof = client_proof(client);
        let mut form = vec![
            ("token", token.expose()),
            ("token_type_hint", "refresh_token"),
        ];
        form.extend(&proof.parameters);
        let authorization = proof.authorization.as_ref().map(|value| value.as_str());
        let answer = self
            .http
            .post(
                Endpoint::Revocation,
                url,
                &form,
                authorization,
                self.settings.request_timeout,
            )
            .await?;
        revocation_outcome(answer.status, &answer.body)
    }

    /// Asks for the claims of the person that `token` speaks for (OpenID Connect Core section 5.3).
    ///
    /// # Errors
    /// No such endpoint, no JSON, or an answer about somebody other than `expected`.
    pub async fn userinfo(
        &self,
        token: &AccessToken,
        expected: &Subject,
    ) -> Result<Map<String, Value>, ProviderError> {
        let endpoint = Endpoint::UserInfo;
        let metadata = self.metadata().await?;
        let url = metadata
            .userinfo_endpoint
            .as_ref()
            .ok_or(ProviderError::NotOffered { endpoint })?;
        let body = self
            .http
            .get_as_bearer(endpoint, url, token.expose())
            .await?
            .ok()?;
        let claims = json::object(&body).ok_or(ProviderError::NotJson { endpoint })?;
        if claims.get("sub").and_then(Value::as_str) != Some(expected.as_str()) {
            return Err(ProviderError::OtherSubject);
        }
        Ok(claims)
    }

    /// Verifies an ID token: signature, and every claim of [`id_token::check`].
    ///
    /// # Errors
    /// The token is bad, or ([`TokenRejected::is_outage`]) it cannot be told.
    pub async fn verify_id_token(
        &self,
        client: &ClientSettings,
        token: &IdToken,
        expected: IdTokenExpectation<'_>,
    ) -> Result<VerifiedToken, TokenRejected> {
        let signed = self.verify_signature(token.expose()).await?;
        let (issuer, leeway) = (&self.settings.issuer, self.settings.leeway);
        let profile = IdTokenProfile {
            issuer,
            client_id: &client.client_id,
            leeway,
        };
        Ok(id_token::check(
            signed,
            profile,
            expected,
            self.clock.now(),
        )?)
    }

    /// Verifies an access token that is a JWT: signature, and every claim of [`access_token::check`].
    ///
    /// # Errors
    /// The token is bad, or ([`TokenRejected::is_outage`]) it cannot be told.
    pub async fn verify_access_token(
        &self,
        client: &ClientSettings,
        token: &AccessToken,
    ) -> Result<VerifiedToken, TokenRejected> {
        let signed = self.verify_signature(token.expose()).await?;
        let (issuer, leeway) = (&self.settings.issuer, self.settings.leeway);
        let profile = AccessTokenProfile {
            issuer,
            audiences: &client.audiences,
            leeway,
        };
        Ok(access_token::check(signed, profile, self.clock.now())?)
    }

    /// Verifies a JWT that a program presented as its access token, with the keys at hand: signature, and every claim
    /// of [`presented_token::check`]. `None`: it may take keys that are not at hand.
    pub fn verify_presented_now(
        &self,
        audience: Audience<'_>,
        token: &str,
    ) -> Option<Result<PresentedToken, TokenRejected>> {
        let jws = match Jws::parse(token, &self.settings.algorithms) {
            Ok(jws) => jws,
            Err(error) => return Some(Err(error.into())),
        };
        match jws.verify(&*self.keys()?) {
            Ok(signed) => Some(self.check_presented(signed, audience)),
            Err(error) if jws.is_cured_by_new_keys(error) => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    /// The same, with keys that are fetched if need be.
    ///
    /// # Errors
    /// The token is bad, or ([`TokenRejected::is_outage`]) it cannot be told.
    pub async fn verify_presented(
        &self,
        audience: Audience<'_>,
        token: &str,
    ) -> Result<PresentedToken, TokenRejected> {
        let signed = self.verify_signature(token).await?;
        self.check_presented(signed, audience)
    }

    fn check_presented(
        &self,
        signed: Signed,
        audience: Audience<'_>,
    ) -> Result<PresentedToken, TokenRejected> {
        Ok(presented_token::check(
            signed,
            self.profile(audience),
            self.clock.now(),
        )?)
    }

    const fn profile<'p>(&'p self, audience: Audience<'p>) -> PresentedTokenProfile<'p> {
        let (issuer, leeway) = (&self.settings.issuer, self.settings.leeway);
        let Audience {
            client_id,
            audiences,
        } = audience;
        PresentedTokenProfile {
            issuer,
            audiences,
            client_id,
            leeway,
        }
    }

    /// Whether `token` says of itself that this provider issued it: whose keys are worth trying, and no more.
    pub fn is_named_by(&self, token: &str) -> bool {
        let claims =
            Jws::parse(token, &self.settings.algorithms).and_then(|jws| jws.unverified_claims());
        claims.is_ok_and(|claims| {
            claims.get("iss").and_then(Value::as_str) == Some(self.settings.issuer.as_str())
        })
    }

    /// Asks about an opaque access token (RFC 7662).
    ///
    /// # Errors
    /// No such endpoint, or no answer that says whether the token is good.
    pub async fn introspect(
        &self,
        client: &ClientSettings,
        audiences: &[String],
        token: &AccessToken,
    ) -> Result<Introspected, ProviderError> {
        let endpoint = Endpoint::Introspection;
        let url = match &self.settings.introspection_endpoint {
            Some(url) => url.clone(),
            None => {
                let offered = self
                    .settings
                    .dialect
                    .introspection_endpoint(&*self.metadata().await?);
                offered.ok_or(ProviderError::NotOffered { endpoint })?
            }
        };
        let proof = client_proof(client);
        let mut form = vec![
            ("token", token.expose()),
            ("token_type_hint", "access_token"),
        ];
        form.extend(&proof.parameters);
        form.extend(self.settings.dialect.parameters());
        let authorization = proof.authorization.as_ref().map(|value| value.as_str());
        let answer = self
            .http
            .post(
                endpoint,
                &url,
                &form,
                authorization,
                self.settings.request_timeout,
            )
            .await?;
        let profile = self.profile(Audience {
            client_id: &client.client_id,
            audiences,
        });
        Ok(introspection::parse(
            &answer.ok()?,
            profile,
            self.clock.now(),
        )?)
    }

    /// Verifies a logout token: signature, and every claim of [`logout_token::check`].
    ///
    /// # Errors
    /// The token is bad, or ([`TokenRejected::is_outage`]) it cannot be told.
    pub async fn verify_logout_token(
        &self,
        client: &ClientSettings,
        token: &str,
    ) -> Result<LogoutToken, TokenRejected> {
        let signed = self.verify_signature(token).await?;
        let (issuer, leeway) = (&self.settings.issuer, self.settings.leeway);
        let profile = LogoutTokenProfile {
            issuer,
            client_id: &client.client_id,
            leeway,
            max_age: LOGOUT_TOKEN_MAX_AGE,
        };
        Ok(logout_token::check(&signed, profile, self.clock.now())?)
    }

    /// Whether a webhook with these `headers` was sent by this provider, as far as that can be told without its keys.
    ///
    /// # Errors
    /// It was not.
    pub fn check_webhook(&self, headers: &HeaderMap) -> Result<Checked, SenderError> {
        let proofs = self
            .settings
            .dialect
            .fusionauth()
            .and_then(|own| own.webhooks.as_ref());
        proofs.ok_or(SenderError::NotExpected)?.check(headers)
    }

    /// Verifies the signature of a webhook with the provider's keys.
    ///
    /// # Errors
    /// It is none, or ([`SenderError::is_outage`]) it cannot be told.
    pub async fn verify_webhook_signature(&self, signature: &str) -> Result<Sender, SenderError> {
        Sender::of_claims(&self.verify_signature(signature).await?.claims)
    }

    /// With the keys at hand and, if the token may be signed by a newer one, once more with keys fetched anew.
    async fn verify_signature(&self, token: &str) -> Result<Signed, TokenRejected> {
        let jws = Jws::parse(token, &self.settings.algorithms)?;
        let keys = self
            .keys
            .get(&*self.clock, self.fetch_keys())
            .await
            .map_err(TokenRejected::KeysUnavailable)?;
        let error = match jws.verify(&keys) {
            Ok(signed) => return Ok(signed),
            Err(error) if jws.is_cured_by_new_keys(error) => error,
            Err(error) => return Err(error.into()),
        };
        let pause = self.settings.keys_min_refetch;
        let newer = self
            .keys
            .renew(Some(&keys), &*self.clock, pause, self.fetch_keys())
            .await;
        let newer = newer.map_err(TokenRejected::KeysUnavailable)?;
        if Arc::ptr_eq(&keys, &newer) {
            return Err(error.into());
        }
        Ok(jws.verify(&newer)?)
    }

    async fn call_token(
        &self,
        grant: Grant,
        client: &ClientSettings,
        grant_form: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<TokenResponse, TokenError> {
        let answer = self.post_token(client, grant_form, timeout).await?;
        self.settings
            .dialect
            .parse_response(grant, answer.status, &answer.body)
    }

    async fn post_token(
        &self,
        client: &ClientSettings,
        grant_form: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Answer, TokenError> {
        // Without metadata nothing is sent to the token endpoint, whatever happened to that request.
        let metadata = self.metadata().await.map_err(TokenError::Unreachable)?;
        let proof = client_proof(client);
        let own = self.settings.dialect.parameters();
        let form: Vec<(&str, &str)> = grant_form
            .iter()
            .copied()
            .chain(proof.parameters.iter().copied())
            .chain(own)
            .collect();
        let authorization = proof.authorization.as_ref().map(|value| value.as_str());
        Ok(self
            .http
            .post(
                Endpoint::Token,
                &metadata.token_endpoint,
                &form,
                authorization,
                timeout,
            )
            .await?)
    }

    async fn freshen(&self) -> Result<(), ProviderError> {
        let known = self.metadata.known();
        let metadata = self
            .metadata
            .renew(
                known.as_ref(),
                &*self.clock,
                Duration::ZERO,
                self.fetch_metadata(),
            )
            .await;
        // Also where discovery fails: keys change more often than the place where they are.
        let known = self.keys.known();
        let keys = self
            .keys
            .renew(
                known.as_ref(),
                &*self.clock,
                Duration::ZERO,
                self.fetch_keys(),
            )
            .await;
        metadata?;
        keys?;
        Ok(())
    }

    async fn fetch_metadata(&self) -> Result<Metadata, ProviderError> {
        let url = self
            .settings
            .dialect
            .discovery_url(&self.settings.discovery_url);
        let document = self.http.get(Endpoint::Discovery, &url).await?.ok()?;
        let plain_http = PlainHttp::for_provider(&url, self.settings.allow_insecure_http);
        Ok(Metadata::parse(
            &document,
            &self.settings.issuer,
            plain_http,
        )?)
    }

    async fn fetch_keys(&self) -> Result<KeySet, ProviderError> {
        let metadata = self.metadata().await?;
        let document = self
            .http
            .get(Endpoint::Keys, &metadata.jwks_uri)
            .await?
            .ok()?;
        let keys = KeySet::parse(&document)?;
        for skipped in keys.skipped() {
            let kid = skipped.kid.as_deref().unwrap_or_default();
            tracing::warn!(provider = %self.settings.name, kid, reason = skipped.reason.code(), "provider_key_skipped");
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests;
