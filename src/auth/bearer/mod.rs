//! Bearer authentication by access token (RFC 6750, RFC 9449). A token is verified once, with the
//! keys of its issuer or by introspection, and validated at every request.

pub mod dpop;
pub mod introspection;

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use quick_cache::sync::Cache;
use serde_json::Map;

use crate::auth::app::AppAuth;
use crate::auth::bearer::dpop::{DpopError, DpopTarget};
use crate::auth::bearer::introspection::{Introspection, Verdict};
use crate::auth::{Auth, TIMEOUT, Unavailable};
use crate::identity::claims::Claims;
use crate::identity::credentials::{Credentials, Scheme};
use crate::identity::identity::Identity;
use crate::oidc::jws::is_jwt;
use crate::oidc::presented_token::{PresentedToken, TokenSubject};
use crate::oidc::provider::Audience;
use crate::oidc::{Provider, TokenRejected};
use crate::policy::app::{App, BearerPolicy};
use crate::policy::decide::Caller;
use crate::policy::request_info::RequestInfo;
use crate::policy::route::AppRef;
use crate::session::token::{LiveToken, Token, TokenError, TokenLimits, TokenRefusal, validate};
use crate::session::validity::{NoSessionReason, ValidityContext};
use crate::store::{RevokedSet, SessionKeyRef};
use crate::types::body::ValidityCheck;
use crate::types::oauth::{KeyFingerprint, ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// How access tokens are verified at one app.
pub struct BearerAuth {
    /// The accepted issuers of JWTs.
    pub providers: Vec<Arc<Provider>>,
    /// Accepted `aud` values. A token must have one of them.
    pub audiences: Vec<String>,
    /// Introspection of opaque tokens. `None`: they are rejected.
    pub introspection: Option<Introspection>,
    /// Whether DPoP proofs must carry a server nonce.
    pub dpop_nonce: bool,
}

/// The code for a token whose user is not registered for the app.
pub(in crate::auth) const NOT_REGISTERED: &str = "not_registered";

/// The SHA-256 of a token.
pub(in crate::auth) type TokenHash = [u8; 32];

/// Verified tokens by app and token hash, each with the index of its issuer. One cache per worker.
pub struct TokenCache(Cache<(usize, TokenHash), (usize, Arc<Token>)>);

impl TokenCache {
    /// Creates a cache of at most `tokens` entries.
    pub fn new(tokens: usize) -> Self {
        Self(Cache::new(tokens))
    }
}

/// The bearer credentials of a request.
#[derive(Clone, Copy, Debug)]
pub struct PresentedBearer<'r> {
    /// The access token.
    pub credentials: Credentials<'r>,
    /// The headers of the request, with a DPoP proof if there is one.
    pub headers: &'r HeaderMap,
    /// The request that a DPoP proof must match.
    pub info: &'r RequestInfo,
    /// Whether authentication may wait: false on public paths.
    pub may_wait: bool,
}

/// The result of bearer authentication.
#[derive(Debug)]
pub struct BearerAuthentication {
    /// The caller, or why it cannot be determined now.
    pub caller: Result<Caller, Unavailable>,
    /// The next `DPoP-Nonce`, if there is one.
    pub nonce: Option<HeaderValue>,
}

/// Why a token does not authenticate the request.
enum BearerError {
    /// The token is rejected.
    Refused(&'static str, TokenError),
    /// The token cannot be verified now.
    Unavailable(Unavailable),
    /// Not attempted: authentication may not wait.
    Skipped,
}

impl Auth {
    /// Authenticates a request by its access token.
    pub async fn by_token(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        shown: PresentedBearer<'_>,
        cache: &TokenCache,
    ) -> BearerAuthentication {
        let mut nonce = None;
        let live = match self.app(app_ref.index) {
            Some(app) => {
                self.live_token(app, app_ref.index, shown, cache, &mut nonce)
                    .await
            }
            None => Err(BearerError::Skipped),
        };
        let caller = match live {
            Ok(live) => Ok(Caller::Bearer(live)),
            Err(BearerError::Refused(code, error)) => {
                let scheme = shown.credentials.scheme;
                Ok(Caller::Anonymous(NoSessionReason::TokenRefused(
                    TokenRefusal {
                        code,
                        error,
                        scheme,
                    },
                )))
            }
            Err(BearerError::Unavailable(_)) if !shown.may_wait => {
                Ok(Caller::Anonymous(NoSessionReason::NoCookie))
            }
            Err(BearerError::Unavailable(outage)) => Err(outage),
            Err(BearerError::Skipped) => Ok(Caller::Anonymous(NoSessionReason::NoCookie)),
        };
        BearerAuthentication { caller, nonce }
    }

    async fn live_token(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        index: usize,
        shown: PresentedBearer<'_>,
        cache: &TokenCache,
        nonce: &mut Option<HeaderValue>,
    ) -> Result<LiveToken, BearerError> {
        let (Some(bearer), Some(policy)) = (&app.bearer, &app.app.bearer) else {
            return Err(BearerError::Skipped);
        };
        let token = shown.credentials.token.ok_or(refused("token_malformed"))?;
        let hash = hash_of(token);
        let key = (index, hash);
        let (issuer, verified) = match cache.0.get(&key) {
            Some(known) => known,
            None if is_jwt(token) => {
                let (issuer, verified) = self.verified(app, bearer, token, shown.may_wait).await?;
                let verified = (
                    issuer,
                    Arc::new(token_of(&app.app, policy, &verified, hash, None)),
                );
                cache.0.insert(key, verified.clone());
                verified
            }
            None => (
                0,
                self.introspected(app, (bearer, policy), (token, hash), shown.may_wait)
                    .await?,
            ),
        };
        self.require_synced(app).map_err(BearerError::Unavailable)?;
        let now = self.now();
        let limits = TokenLimits {
            sessions: app.app.limits,
            dpop_required: policy.dpop_required,
        };
        let outside = SessionValidity {
            provider: bearer.providers.get(issuer),
            revoked: app.revocations.snapshot(),
        };
        let live = validate(&verified, shown.credentials.scheme, now, &limits, &outside)
            .map_err(refused)?;
        if let (Scheme::DPoP, Some(jkt)) = (live.scheme(), &verified.bound_to) {
            if !shown.may_wait {
                return Err(BearerError::Skipped);
            }
            let app_ref = DpopTarget {
                method: shown.info.method.as_str(),
                path: shown.info.target.path(),
                access_token: Some(token),
            };
            let proof = self.check_proof(app, shown.headers, app_ref, bearer.dpop_nonce);
            let proof = proof.inspect_err(|error| {
                if error.wants_nonce() {
                    *nonce = self.new_nonce(app);
                }
            });
            let proof = proof.map_err(unproven)?;
            if proof.key != *jkt {
                return Err(unproven(DpopError::OtherKey));
            }
            self.spend_proof(app, &proof).await.map_err(unproven)?;
            if bearer.dpop_nonce && self.is_nonce_ageing(proof.counts_until) {
                *nonce = self.new_nonce(app);
            }
        }
        Ok(live)
    }

    /// Verifies an unknown JWT: with the cached keys, or on the background runtime if keys must be
    /// fetched.
    async fn verified(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        bearer: &BearerAuth,
        token: &str,
        may_wait: bool,
    ) -> Result<(usize, PresentedToken), BearerError> {
        let several = bearer.providers.len() > 1;
        let issuer = bearer
            .providers
            .iter()
            .position(|provider| !several || provider.is_named_by(token));
        let issuer = issuer.ok_or(refused("token_issuer_mismatch"))?;
        let provider = bearer.providers.get(issuer).ok_or(BearerError::Skipped)?;
        let audience = Audience {
            client_id: &app.client.client_id,
            audiences: &bearer.audiences,
        };
        let verdict = match provider.verify_presented_now(audience, token) {
            Some(verdict) => verdict,
            None if !may_wait => return Err(BearerError::Skipped),
            None => {
                let (app, provider, token) =
                    (Arc::clone(app), Arc::clone(provider), token.to_owned());
                let audiences = bearer.audiences.clone();
                let task = async move {
                    let audience = Audience {
                        client_id: &app.client.client_id,
                        audiences: &audiences,
                    };
                    provider.verify_presented(audience, &token).await
                };
                self.bearer_tasks
                    .run(TIMEOUT, task)
                    .await
                    .map_err(|no_result| BearerError::Unavailable(no_result.into()))?
            }
        };
        match verdict {
            Ok(verified) if is_admitted(app, provider, &verified) => Ok((issuer, verified)),
            Ok(_) => Err(refused(NOT_REGISTERED)),
            Err(rejected) => Err(self.rejected(app, &rejected)),
        }
    }

    fn rejected(&self, app: &AppAuth, rejected: &TokenRejected) -> BearerError {
        if rejected.is_outage() {
            tracing::warn!(app = %app.app.name, code = rejected.code(), error = %rejected, "token_not_verified");
            return BearerError::Unavailable(Unavailable::new(rejected.code()));
        }
        refused(rejected.code())
    }

    /// Verifies an opaque token by introspection.
    async fn introspected(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        (bearer, policy): (&BearerAuth, &BearerPolicy),
        (token, hash): (&str, TokenHash),
        may_wait: bool,
    ) -> Result<Arc<Token>, BearerError> {
        let introspection = bearer
            .introspection
            .as_ref()
            .ok_or(refused("token_malformed"))?;
        let verdict = match introspection.known(&hash, self.now()) {
            Some(verdict) => verdict,
            None if !may_wait => return Err(BearerError::Skipped),
            None => {
                let make = |verified: &PresentedToken, asked_until| {
                    Arc::new(token_of(
                        &app.app,
                        policy,
                        verified,
                        hash,
                        Some(asked_until),
                    ))
                };
                self.introspect_token(app, introspection, (token, hash), make)
                    .await
                    .map_err(BearerError::Unavailable)?
            }
        };
        match verdict {
            Verdict::Active(token) => Ok(token),
            Verdict::Refused(code) => Err(refused(code)),
        }
    }

    /// Returns a check for streams: false once the token expires or is revoked.
    pub fn token_holds(self: &Arc<Self>, app_ref: AppRef<'_>, live: &LiveToken) -> ValidityCheck {
        let (auth, index, token) = (Arc::clone(self), app_ref.index, Arc::clone(live.token()));
        ValidityCheck::new(move || {
            let Some(app) = auth.app(index) else {
                return false;
            };
            let outside = SessionValidity {
                provider: None,
                revoked: app.revocations.snapshot(),
            };
            auth.now() < token.ends_at && !outside.has_ended(&token)
        })
    }
}

struct SessionValidity<'a> {
    provider: Option<&'a Arc<Provider>>,
    revoked: Arc<RevokedSet>,
}

impl SessionValidity<'_> {
    fn has_ended(&self, token: &Token) -> bool {
        self.is_revoked(
            &token.name,
            &token.identity.subject,
            token.provider_sid.as_ref(),
            token.issued_at,
        )
    }
}

impl ValidityContext for SessionValidity<'_> {
    fn is_revoked(
        &self,
        sid: &SessionId,
        subject: &Subject,
        provider_sid: Option<&ProviderSid>,
        started_at: Timestamp,
    ) -> bool {
        self.revoked.contains(SessionKeyRef {
            sid,
            provider_sid,
            subject,
            started_at,
        })
    }

    /// Without a key set no token is trusted. Unlike a session it has no seal.
    fn is_known_key(&self, key: &KeyFingerprint) -> bool {
        self.provider
            .and_then(|provider| provider.keys())
            .is_some_and(|keys| keys.contains(key))
    }
}

/// The verified token as the app uses it. `asked_until`: when its introspection result expires.
fn token_of(
    app: &App,
    policy: &BearerPolicy,
    verified: &PresentedToken,
    hash: TokenHash,
    asked_until: Option<Timestamp>,
) -> Token {
    let (claims, templates) = (verified.claims().clone(), &app.headers);
    let (identity, is_user) = match verified.holder() {
        TokenSubject::Person(subject) => (
            Identity::new(subject.clone(), Claims::new(claims, Map::new()), templates),
            true,
        ),
        TokenSubject::Client(client_id) => (
            Identity::of_client(client_id, claims, templates, &policy.client_header),
            false,
        ),
    };
    let mut name = URL_SAFE_NO_PAD.encode(hash);
    name.truncate(16);
    // An opaque token may have no known expiry. Its streams then last as long as a session could.
    let ends_at = verified
        .ends_at()
        .or_else(|| Some(asked_until?.plus(app.limits.absolute)))
        .unwrap_or_default();
    Token {
        identity: Arc::new(identity),
        is_user,
        key: verified.key(),
        valid_until: asked_until.map_or(ends_at, |until| until.min(ends_at)),
        ends_at,
        issued_at: verified.issued_at().unwrap_or_default(),
        provider_sid: verified.sid().cloned(),
        name: SessionId::new(name),
        bound_to: verified.bound_to().cloned(),
    }
}

/// Whether the provider registers the token's user for the app.
pub(in crate::auth) fn is_admitted(
    app: &AppAuth,
    provider: &Provider,
    verified: &PresentedToken,
) -> bool {
    match verified.holder() {
        TokenSubject::Person(_) => provider
            .settings()
            .dialect
            .admits(&app.client.client_id, verified.claims()),
        TokenSubject::Client(_) => true,
    }
}

fn hash_of(token: &str) -> TokenHash {
    digest::digest(&digest::SHA256, token.as_bytes())
        .as_ref()
        .try_into()
        .unwrap_or_default()
}

const fn refused(code: &'static str) -> BearerError {
    BearerError::Refused(code, TokenError::InvalidToken)
}

fn unproven(error: DpopError) -> BearerError {
    match error {
        DpopError::Unavailable(outage) => BearerError::Unavailable(outage),
        DpopError::Missing
        | DpopError::Repeated
        | DpopError::Refused(_)
        | DpopError::OtherKey
        | DpopError::Replayed => {
            let kind = if error.wants_nonce() {
                TokenError::UseDpopNonce
            } else {
                TokenError::InvalidDpopProof
            };
            BearerError::Refused(error.code(), kind)
        }
    }
}
