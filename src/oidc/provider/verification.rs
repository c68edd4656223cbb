//! Verification of the provider's tokens and webhook signatures with its keys.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;

use super::Provider;
use crate::oidc::access_token::{self, AccessTokenProfile};
use crate::oidc::cached::MinInterval;
use crate::oidc::callback::{Callback, CallbackError};
use crate::oidc::client::ClientSettings;
use crate::oidc::error::TokenRejected;
use crate::oidc::fusionauth::sender::{Sender, SenderCheck, SenderError};
use crate::oidc::id_token::{self, IdTokenExpectation, IdTokenProfile};
use crate::oidc::jws::{Jws, Signed};
use crate::oidc::logout_token::{self, LogoutToken, LogoutTokenProfile};
use crate::oidc::presented_token::{self, AccessTokenClaim, PresentedToken, PresentedTokenProfile};
use crate::oidc::settings::ProviderSettings;
use crate::oidc::verified::VerifiedToken;
use crate::types::oauth::{AccessToken, ClientId, IdToken, Issuer};

/// Maximum age of a logout token without `exp`, where those are allowed.
pub const LOGOUT_TOKEN_MAX_AGE: Duration = Duration::from_secs(300);

/// The app for which a bearer token must have been issued.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'a> {
    /// The app's own client.
    pub client_id: &'a ClientId,
    /// Accepted `aud` values.
    pub audiences: &'a [String],
    /// The configured mark of access tokens.
    pub mark: Option<&'a AccessTokenClaim>,
}

/// Where a token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenSource {
    /// A response of the provider's token endpoint.
    Provider,
    /// A request.
    Anybody,
}

impl Provider {
    /// Verifies an ID token: signature, and every claim of [`id_token::check`].
    ///
    /// # Errors
    /// The token is invalid, or it cannot be verified now ([`TokenRejected::is_outage`]).
    pub async fn verify_id_token(
        &self,
        client: &ClientSettings,
        token: &IdToken,
        expected: IdTokenExpectation<'_>,
    ) -> Result<VerifiedToken, TokenRejected> {
        let signed = self
            .verify_signature(token.expose(), TokenSource::Provider)
            .await?;
        let profile = IdTokenProfile {
            issuer: &self.settings.issuer,
            client_id: &client.client_id,
            leeway: self.settings.leeway,
        };
        let verified = id_token::check(signed, profile, expected, self.clock.now())?;
        self.record_tenant(verified.claims().get("tid"));
        Ok(verified)
    }

    /// Verifies a JWT access token: signature, and every claim of [`access_token::check`].
    ///
    /// # Errors
    /// The token is invalid, or it cannot be verified now ([`TokenRejected::is_outage`]).
    pub async fn verify_access_token(
        &self,
        client: &ClientSettings,
        token: &AccessToken,
    ) -> Result<VerifiedToken, TokenRejected> {
        let signed = self
            .verify_signature(token.expose(), TokenSource::Provider)
            .await?;
        let profile = AccessTokenProfile {
            issuer: &self.settings.issuer,
            audiences: &client.audiences,
            leeway: self.settings.leeway,
        };
        let verified = access_token::check(signed, profile, self.clock.now())?;
        self.record_tenant(verified.claims().get("tid"));
        Ok(verified)
    }

    /// Verifies a JWT bearer token with the current keys, without I/O: signature, and every claim
    /// of [`presented_token::check`]. Returns `None` if newer keys may be needed.
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
            Err(error) if jws.may_need_new_keys(error) => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Verifies a JWT bearer token as [`Self::verify_presented_now`] does, and fetches keys if
    /// necessary.
    ///
    /// # Errors
    /// The token is invalid, or it cannot be verified now ([`TokenRejected::is_outage`]).
    pub async fn verify_presented(
        &self,
        audience: Audience<'_>,
        token: &str,
    ) -> Result<PresentedToken, TokenRejected> {
        let signed = self.verify_signature(token, TokenSource::Anybody).await?;
        self.check_presented(signed, audience)
    }

    fn check_presented(
        &self,
        signed: Signed,
        audience: Audience<'_>,
    ) -> Result<PresentedToken, TokenRejected> {
        let verified = presented_token::check(signed, self.profile(audience), self.clock.now())?;
        self.record_tenant(verified.claims().get("tid"));
        Ok(verified)
    }

    /// Records `tid` of a verified token, or of a session that began before this process. With
    /// FusionAuth it is one of the app's tenants.
    pub fn record_tenant(&self, tid: Option<&Value>) {
        if self.settings.dialect.fusionauth().is_some()
            && let Some(tenant) = tid.and_then(Value::as_str)
        {
            self.tenants.record(tenant);
        }
    }

    /// Whether an event about this tenant is not about the app's users: FusionAuth sends all of them
    /// to one address. Without `tenant_id` in the configuration, the tenants of tokens and sessions tell.
    pub fn is_other_tenant(&self, tenant: &str) -> bool {
        let fusionauth = self.settings.dialect.fusionauth();
        match fusionauth.and_then(|settings| settings.tenant_id.as_deref()) {
            Some(own) => !own.eq_ignore_ascii_case(tenant),
            None => self.tenants.excludes(tenant),
        }
    }

    pub(super) const fn profile<'p>(&'p self, audience: Audience<'p>) -> PresentedTokenProfile<'p> {
        PresentedTokenProfile {
            issuer: &self.settings.issuer,
            audiences: audience.audiences,
            client_id: audience.client_id,
            mark: audience.mark,
            leeway: self.settings.leeway,
        }
    }

    /// Whether this provider is the issuer of tokens that name `issuer`.
    pub fn is_issuer(&self, issuer: Option<&Issuer>) -> bool {
        issuer == Some(&self.settings.issuer)
    }

    /// Verifies a logout token: signature, and every claim of [`logout_token::check`].
    ///
    /// # Errors
    /// The token is invalid, or it cannot be verified now ([`TokenRejected::is_outage`]).
    pub async fn verify_logout_token(
        &self,
        audience: Audience<'_>,
        token: &str,
    ) -> Result<LogoutToken, TokenRejected> {
        let signed = self.verify_signature(token, TokenSource::Anybody).await?;
        let allows_missing_exp = self.settings.allow_logout_tokens_without_exp;
        let profile = LogoutTokenProfile {
            issuer: &self.settings.issuer,
            client_id: audience.client_id,
            audiences: audience.audiences,
            leeway: self.settings.leeway,
            max_age_without_exp: allows_missing_exp.then_some(LOGOUT_TOKEN_MAX_AGE),
        };
        Ok(logout_token::check(&signed, profile, self.clock.now())?)
    }

    /// Verifies the JWT of a signed authorization response (JARM section 2.4). The client for which it is
    /// signed is checked with its outcome.
    ///
    /// # Errors
    /// The response is invalid, or it cannot be verified now ([`CallbackError::is_outage`]).
    pub async fn verify_authorization_response(
        &self,
        token: &str,
    ) -> Result<Callback, CallbackError> {
        let signed = self.verify_signature(token, TokenSource::Anybody).await?;
        let ProviderSettings { issuer, leeway, .. } = &self.settings;
        Callback::of_signed(&signed, issuer, *leeway, self.clock.now())
    }

    /// Checks the sender of a webhook by its `headers`, without the provider's keys.
    ///
    /// # Errors
    /// It was not sent by this provider.
    pub fn check_webhook(&self, headers: &HeaderMap) -> Result<SenderCheck, SenderError> {
        let proofs = self
            .settings
            .dialect
            .fusionauth()
            .and_then(|settings| settings.webhooks.as_ref());
        proofs.ok_or(SenderError::NotExpected)?.check(headers)
    }

    /// Verifies the signature of a webhook with the provider's keys.
    ///
    /// # Errors
    /// The signature is invalid, or it cannot be verified now ([`SenderError::is_outage`]).
    pub async fn verify_webhook_signature(&self, signature: &str) -> Result<Sender, SenderError> {
        let signed = self
            .verify_signature(signature, TokenSource::Anybody)
            .await?;
        Sender::from_claims(&signed.claims)
    }

    /// Verifies a signature with the current keys, and again with newly fetched keys if the token
    /// may need them.
    ///
    /// Clients can send forged tokens with unknown keys, so such a token triggers at most one fetch
    /// of the keys per `keys_min_refetch`. A token from the provider's response is not subject to
    /// that limit, so forged tokens cannot delay its verification.
    async fn verify_signature(
        &self,
        token: &str,
        source: TokenSource,
    ) -> Result<Signed, TokenRejected> {
        let min_interval = match source {
            TokenSource::Provider => MinInterval::AFTER_FAILURE,
            TokenSource::Anybody => MinInterval::of(self.settings.keys_min_refetch),
        };
        let jws = Jws::parse(token, &self.settings.algorithms)?;
        let keys = self
            .keys
            .get(&*self.clock, self.fetch_keys())
            .await
            .map_err(TokenRejected::KeysUnavailable)?;
        let error = match jws.verify(&keys) {
            Ok(signed) => return Ok(signed),
            Err(error) if jws.may_need_new_keys(error) => error,
            Err(error) => return Err(error.into()),
        };
        let newer = self
            .keys
            .renew(Some(&keys), &*self.clock, min_interval, self.fetch_keys())
            .await;
        let newer = newer.map_err(TokenRejected::KeysUnavailable)?;
        if Arc::ptr_eq(&keys, &newer) {
            return Err(error.into());
        }
        Ok(jws.verify(&newer)?)
    }
}
