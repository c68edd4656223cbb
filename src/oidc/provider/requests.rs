//! Requests to the provider's token, revocation and introspection endpoints.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use super::Provider;
use super::client_requests::ClientRequest;
use super::dpop::bound_tokens;
use super::verification::Audience;
use crate::oidc::circuit_breaker::{Change, CircuitBreaker};
use crate::oidc::client::ClientSettings;
use crate::oidc::client_key::ClientKey;
use crate::oidc::dpop_client::DpopKeys;
use crate::oidc::error::{Endpoint, ProviderError, displayed_url};
use crate::oidc::fusionauth::{self, RefreshBy};
use crate::oidc::http::ProviderResponse;
use crate::oidc::introspection::{self, Introspected};
use crate::oidc::password::{PasswordError, refine_password_response};
use crate::oidc::token::{Grant, Revoked, TokenError, TokenResponse, revocation_outcome};
use crate::oidc::token_exchange::TokenExchangeRequest;
use crate::types::oauth::{
    AccessToken, AuthorizationCode, KeyFingerprint, Password, PkceVerifier, RefreshToken,
};

/// A refresh token with the client's key that it may be bound to (RFC 9449 section 5).
#[derive(Clone, Copy, Debug)]
pub struct BoundRefreshToken<'t> {
    /// The token.
    pub token: &'t RefreshToken,
    /// The key. `None`: not known, or the token is not bound.
    pub dpop_key: Option<&'t KeyFingerprint>,
}

impl<'t> BoundRefreshToken<'t> {
    /// A token of which no key is known.
    pub const fn unbound(token: &'t RefreshToken) -> Self {
        Self {
            token,
            dpop_key: None,
        }
    }
}

impl Provider {
    /// The URL of token requests, for logs. Empty while the metadata are unknown.
    pub fn token_url(&self) -> String {
        let metadata = self.known_metadata();
        metadata.map_or_else(String::new, |known| displayed_url(&known.token_endpoint))
    }

    /// The URL of refreshes, for logs. Empty while the metadata are unknown.
    pub fn refresh_url(&self) -> String {
        let by_api = self
            .settings
            .dialect
            .fusionauth()
            .is_some_and(|settings| settings.refresh_by == RefreshBy::JwtRefresh);
        match self.known_metadata() {
            Some(metadata) if by_api => displayed_url(&fusionauth::jwt_refresh_url(&metadata)),
            Some(_) | None => self.token_url(),
        }
    }

    /// Exchanges a code for tokens (RFC 6749 section 4.1.3, RFC 7636 section 4.5). One request, no
    /// retry.
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
        let timeout = self.settings.request_timeout;
        let key = client.dpop_keys.as_ref().map(DpopKeys::current);
        let response = self.token_request(Grant::Code, client, key, &form, timeout);
        self.observed(response.await)
    }

    /// Exchanges the refresh token of a session (RFC 6749 section 6). One request, no retry: a token
    /// sent twice may end the session. While the provider fails, at most one request a second is
    /// sent. If the client has keys for its tokens, a response without
    /// [`TokenResponse::dpop_key`] is not bound to them.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn refresh(
        &self,
        client: &ClientSettings,
        token: BoundRefreshToken<'_>,
    ) -> Result<TokenResponse, TokenError> {
        self.refresh_within(&self.breaker, client, token).await
    }

    /// As [`Self::refresh`], for a token that only the provider can tell from an invented one. Such
    /// tokens have a circuit breaker of their own: invented ones must not open that of the sessions.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn refresh_plain(
        &self,
        client: &ClientSettings,
        token: BoundRefreshToken<'_>,
    ) -> Result<TokenResponse, TokenError> {
        self.refresh_within(&self.plain_breaker, client, token)
            .await
    }

    async fn refresh_within(
        &self,
        breaker: &CircuitBreaker,
        client: &ClientSettings,
        token: BoundRefreshToken<'_>,
    ) -> Result<TokenResponse, TokenError> {
        if !breaker.permits(self.clock.now()) {
            return Err(TokenError::Unreachable(ProviderError::CircuitOpen));
        }
        let refreshed = self.observed(self.send_refresh(client, token).await);
        let mut session = DefaultHasher::new();
        token.token.expose().hash(&mut session);
        let responded = !matches!(
            refreshed,
            Err(TokenError::Unavailable { .. }
                | TokenError::Unreachable(_)
                | TokenError::OutcomeUnknown(_))
        );
        let provider = &self.settings.name;
        match breaker.record(session.finish(), responded, self.clock.now()) {
            Some(Change::Opened) => tracing::warn!(%provider, "provider_circuit_opened"),
            Some(Change::Closed { suppressed }) => {
                tracing::info!(%provider, suppressed, "provider_circuit_closed");
            }
            None => {}
        }
        refreshed
    }

    async fn send_refresh(
        &self,
        client: &ClientSettings,
        token: BoundRefreshToken<'_>,
    ) -> Result<TokenResponse, TokenError> {
        let timeout = self.settings.refresh_timeout;
        if let Some(fusionauth) = self
            .settings
            .dialect
            .fusionauth()
            .filter(|settings| settings.refresh_by == RefreshBy::JwtRefresh)
        {
            let metadata = self.metadata().await.map_err(TokenError::Unreachable)?;
            return fusionauth
                .refresh(&self.http, &metadata, token.token, timeout)
                .await;
        }
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token.token.expose()),
        ];
        let keys = client.dpop_keys.as_ref();
        let key = keys.map(|keys| keys.bound(token.dpop_key));
        self.token_request(Grant::Refresh, client, key, &form, timeout)
            .await
    }

    /// Exchanges a user's name and password for tokens (RFC 6749 section 4.3.2). One request, no
    /// retry.
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
        let granted = self.send_password(client, username, password, scope);
        self.observed(granted.await)
    }

    async fn send_password(
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
        let key = client.dpop_keys.as_ref().map(DpopKeys::current);
        let response = self
            .post_token(client, key, &form, self.settings.request_timeout)
            .await;
        let response = response.map_err(PasswordError::Failed)?;
        let parsed =
            self.settings
                .dialect
                .parse_response(Grant::Password, response.status, &response.body);
        let tokens = refine_password_response(parsed, &response.body)?;
        bound_tokens(Grant::Password, key, tokens).map_err(PasswordError::Failed)
    }

    /// Exchanges the token of a user for one of another audience (RFC 8693). One request, no retry.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn exchange_token(
        &self,
        client: &ClientSettings,
        request: TokenExchangeRequest<'_>,
    ) -> Result<TokenResponse, TokenError> {
        let form = request.form();
        let timeout = self.settings.request_timeout;
        let response = self.token_request(Grant::Exchange, client, None, &form, timeout);
        self.observed(response.await)
    }

    /// Revokes a refresh token (RFC 7009, or the dialect's API).
    ///
    /// # Errors
    /// The provider offers revocation, and it failed.
    pub async fn revoke(
        &self,
        client: &ClientSettings,
        token: &RefreshToken,
    ) -> Result<Revoked, ProviderError> {
        self.observed(self.send_revocation(client, token).await)
    }

    async fn send_revocation(
        &self,
        client: &ClientSettings,
        token: &RefreshToken,
    ) -> Result<Revoked, ProviderError> {
        let metadata = self.metadata().await?;
        if let Some(fusionauth) = self.settings.dialect.fusionauth() {
            return fusionauth
                .revoke(&self.http, &metadata, token, self.settings.request_timeout)
                .await;
        }
        let Some(url) = &metadata.revocation_endpoint else {
            return Ok(Revoked::NotOffered);
        };
        let form = [
            ("token", token.expose()),
            ("token_type_hint", "refresh_token"),
        ];
        let request = ClientRequest {
            endpoint: Endpoint::Revocation,
            client,
            url,
            form: &form,
            dpop_key: None,
            timeout: self.settings.request_timeout,
        };
        revocation_outcome(self.send_as_client(request).await?)
    }

    /// Introspects an opaque access token (RFC 7662).
    ///
    /// # Errors
    /// The provider has no such endpoint, or its response does not tell whether the token is
    /// active.
    pub async fn introspect(
        &self,
        client: &ClientSettings,
        audiences: &[String],
        token: &AccessToken,
    ) -> Result<Introspected, ProviderError> {
        self.observed(self.send_introspection(client, audiences, token).await)
    }

    async fn send_introspection(
        &self,
        client: &ClientSettings,
        audiences: &[String],
        token: &AccessToken,
    ) -> Result<Introspected, ProviderError> {
        let endpoint = Endpoint::Introspection;
        let metadata = self.metadata().await?;
        let offered = self.settings.dialect.introspection_endpoint(&metadata);
        let url = offered.ok_or(ProviderError::NotOffered { endpoint })?;
        let mut form = vec![
            ("token", token.expose()),
            ("token_type_hint", "access_token"),
        ];
        form.extend(self.settings.dialect.parameters());
        let request = ClientRequest {
            endpoint,
            client,
            url: &url,
            form: &form,
            dpop_key: None,
            timeout: self.settings.request_timeout,
        };
        let response = self.send_as_client(request).await?;
        let profile = self.profile(Audience {
            client_id: &client.client_id,
            audiences,
            mark: None,
        });
        introspection::parse(&response.ok()?, profile, self.clock.now()).map_err(|error| {
            ProviderError::NoVerdict {
                url: displayed_url(&url),
                error,
            }
        })
    }

    async fn token_request(
        &self,
        grant: Grant,
        client: &ClientSettings,
        key: Option<&ClientKey>,
        grant_form: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<TokenResponse, TokenError> {
        let response = self.post_token(client, key, grant_form, timeout).await?;
        self.settings
            .dialect
            .parse_response(grant, response.status, &response.body)
            .and_then(|tokens| bound_tokens(grant, key, tokens))
            .map_err(|error| error.with_retry_after(response.retry_after))
            .map_err(|error| error.with_client_auth(self.client_auth_method(client)))
    }

    async fn post_token(
        &self,
        client: &ClientSettings,
        dpop_key: Option<&ClientKey>,
        grant_form: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<ProviderResponse, TokenError> {
        // Without metadata nothing was sent to the token endpoint, whatever the error says.
        let metadata = self.metadata().await.map_err(TokenError::Unreachable)?;
        let dialect_parameters = self.settings.dialect.parameters();
        let form: Vec<(&str, &str)> = grant_form
            .iter()
            .copied()
            .chain(dialect_parameters)
            .chain(client.resource_parameters())
            .collect();
        let request = ClientRequest {
            endpoint: Endpoint::Token,
            client,
            url: &metadata.token_endpoint,
            form: &form,
            dpop_key,
            timeout,
        };
        Ok(self.send_as_client(request).await?)
    }
}
