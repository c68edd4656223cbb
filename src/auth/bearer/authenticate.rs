//! Authentication by access token.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use quick_cache::sync::Cache;

use super::dpop::{DpopError, DpopTarget, DpopVerifier};
use super::introspection::{Introspection, NOT_REGISTERED, TokenHash, Verdict};
use super::token_identity::{IdentityHeaders, TokenIdentity};
use crate::auth::app::{AppAuth, BearerAuth, claim_source};
use crate::auth::context::Context;
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::auth::revocation::replication::RevocationReplicator;
use crate::auth::session_validity::{SessionValidity, key_of_token};
use crate::identity::credentials::{Credentials, Scheme};
use crate::limits::ClientKey;
use crate::oidc::jws::{is_jwt, unverified_issuer};
use crate::oidc::presented_token::PresentedToken;
use crate::oidc::provider::Audience;
use crate::oidc::{Provider, TokenRejected};
use crate::policy::app::BearerPolicy;
use crate::policy::decide::Caller;
use crate::policy::login_providers::ProviderIndex;
use crate::policy::route::AppRef;
use crate::runtime::BackgroundRuntime;
use crate::session::token::{LiveToken, Token, TokenError, TokenLimits, TokenRefusal, validate};
use crate::session::validity::NoSessionReason;
use crate::types::body::StreamSession;
use crate::types::host_label::HostLabel;
use crate::types::oauth::{JwkThumbprint, SessionId};
use crate::types::time::Timestamp;

/// Verified tokens by app and token hash. One cache per worker.
pub struct TokenCache(Cache<(usize, TokenHash), CachedToken>);

impl TokenCache {
    /// Creates a cache of at most `tokens` entries.
    pub fn new(tokens: usize) -> Self {
        Self(Cache::new(tokens))
    }
}

#[derive(Clone)]
struct CachedToken {
    /// The index of its issuer among the accepted ones.
    issuer: usize,
    token: Arc<Token>,
}

/// The bearer credentials of a request.
#[derive(Clone, Copy, Debug)]
pub struct PresentedBearer<'r> {
    /// The access token.
    pub credentials: Credentials<'r>,
    /// The request that a DPoP proof must match.
    pub target: DpopTarget<'r>,
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
    /// The login provider that issued the token, or else the first one.
    pub provider: ProviderIndex,
}

/// Why a token does not authenticate the request.
enum BearerError {
    /// The token is rejected.
    Rejected {
        code: &'static str,
        error: TokenError,
        nonce: Option<HeaderValue>,
    },
    /// The token cannot be verified now.
    Unavailable(Unavailable),
    /// Not attempted: authentication may not wait.
    Skipped,
}

/// A token that may be used now.
struct LiveBearer {
    live: LiveToken,
    /// The next `DPoP-Nonce`, if the current one is about to expire.
    nonce: Option<HeaderValue>,
}

struct VerifiedJwt {
    /// The index of its issuer among the accepted ones.
    issuer: usize,
    token: PresentedToken,
}

/// An access token at an app that accepts them.
struct TokenRequest<'r> {
    app: &'r Arc<AppAuth>,
    /// See [`Context::position`].
    position: usize,
    bearer: &'r BearerAuth,
    policy: &'r BearerPolicy,
    token: &'r str,
    hash: TokenHash,
    may_wait: bool,
}

/// Authenticates requests by access token.
///
/// Whatever waits for the provider or the store has a future of its own on the heap, so that the
/// future of a request with a known token, or with known keys, stays small.
pub struct BearerAuthenticator {
    context: Arc<Context>,
    replicator: RevocationReplicator,
    dpop: DpopVerifier,
    tasks: BackgroundRuntime,
    /// By position of the app.
    introspections: Vec<Option<Introspection>>,
}

impl BearerAuthenticator {
    pub(in crate::auth) fn new(
        context: Arc<Context>,
        replicator: RevocationReplicator,
        dpop: DpopVerifier,
    ) -> Self {
        let tasks = context.bearer_tasks.clone();
        let introspection = |app: &Arc<AppAuth>| {
            let settings = app.bearer.as_ref()?.introspection?;
            let context = Arc::clone(&context);
            Some(Introspection::new(context, tasks.clone(), settings))
        };
        let introspections = context.apps.iter().map(introspection).collect();
        Self {
            context,
            replicator,
            dpop,
            tasks,
            introspections,
        }
    }

    /// Authenticates a request by its access token.
    pub async fn authenticate(
        &self,
        app_ref: AppRef<'_>,
        presented: PresentedBearer<'_>,
        cache: &TokenCache,
    ) -> BearerAuthentication {
        let provider = self.issuer_of(app_ref, presented);
        let app_ref = app_ref.at(provider);
        let (caller, nonce) = match self.live_token(app_ref, presented, cache).await {
            Ok(LiveBearer { live, nonce }) => (Ok(Caller::Bearer(live)), nonce),
            Err(BearerError::Rejected { code, error, nonce }) => {
                let refusal = TokenRefusal {
                    code,
                    error,
                    scheme: presented.credentials.scheme,
                };
                let reason = NoSessionReason::TokenRefused(refusal);
                (Ok(Caller::Anonymous(reason)), nonce)
            }
            Err(BearerError::Unavailable(outage)) if presented.may_wait => (Err(outage), None),
            Err(BearerError::Unavailable(_) | BearerError::Skipped) => {
                (Ok(Caller::Anonymous(NoSessionReason::NoCookie)), None)
            }
        };
        BearerAuthentication {
            caller,
            nonce,
            provider,
        }
    }

    /// The provider that the token names, unverified: which app verifies it, with its own provider
    /// only. An app with one provider verifies those of other issuers too.
    fn issuer_of(&self, app_ref: AppRef<'_>, presented: PresentedBearer<'_>) -> ProviderIndex {
        let providers = &app_ref.app.providers;
        if let Some(only) = providers.only() {
            return only;
        }
        let token = presented.credentials.token.unwrap_or_default();
        let issuer = unverified_issuer(token);
        let named = providers.indices().find(|index| {
            let app = self.context.app(app_ref.at(*index));
            app.is_some_and(|app| app.provider.is_issuer(issuer.as_ref()))
        });
        named.unwrap_or_default()
    }

    /// How many introspection results are cached.
    pub fn cached_introspections(&self) -> usize {
        let introspections = self.introspections.iter().flatten();
        introspections.map(Introspection::cached).sum()
    }

    /// Returns a check for streams: false once the token expires or is revoked.
    pub fn stream_session(&self, app_ref: AppRef<'_>, live: &LiveToken) -> StreamSession {
        let context = Arc::clone(&self.context);
        let position = context.position(app_ref).unwrap_or(usize::MAX);
        let token = Arc::clone(live.token());
        StreamSession::new(move || {
            let Some(app) = context.configured_app(position) else {
                return false;
            };
            let revoked = app.revocations.snapshot();
            !app.revocations.is_removed()
                && context.now() < token.ends_at
                && !revoked.contains(key_of_token(&token))
        })
    }

    /// A check for uploads that the token permitted: they end if it is revoked, not when it
    /// expires.
    pub fn upload_session(&self, app_ref: AppRef<'_>, live: &LiveToken) -> StreamSession {
        let context = Arc::clone(&self.context);
        let position = context.position(app_ref).unwrap_or(usize::MAX);
        let token = Arc::clone(live.token());
        StreamSession::new(move || {
            context.configured_app(position).is_some_and(|app| {
                let revoked = app.revocations.snapshot();
                !app.revocations.is_removed() && !revoked.contains(key_of_token(&token))
            })
        })
    }

    async fn live_token(
        &self,
        app_ref: AppRef<'_>,
        presented: PresentedBearer<'_>,
        cache: &TokenCache,
    ) -> Result<LiveBearer, BearerError> {
        let app = &self.context.app(app_ref).ok_or(BearerError::Skipped)?;
        let (Some(bearer), Some(policy)) = (&app.bearer, &app.app.bearer) else {
            return Err(BearerError::Skipped);
        };
        let scheme = presented.credentials.scheme;
        let token = presented.credentials.token;
        let token = token.ok_or(rejected("token_malformed"))?;
        let request = TokenRequest {
            app,
            position: self.context.position(app_ref).ok_or(BearerError::Skipped)?,
            bearer,
            policy,
            token,
            hash: hash_of(token, app.app.hosts.label()),
            may_wait: presented.may_wait,
        };
        let CachedToken { issuer, token } = self.verified(&request, cache).await?;
        self.replicator
            .require_synced(app)
            .map_err(BearerError::Unavailable)?;
        let limits = TokenLimits {
            sessions: app.app.limits,
            dpop_required: policy.dpop_required,
        };
        let validity = SessionValidity::of_token(app, &token, bearer.providers.get(issuer));
        let now = self.context.now();
        let live = validate(&token, scheme, now, &limits, &validity).map_err(rejected)?;
        let nonce = match (live.scheme(), &token.bound_to) {
            (Scheme::DPoP, Some(key)) => {
                let owner = app.client_key(&token.identity.subject);
                Box::pin(self.check_proof(&request, presented.target, key, owner)).await?
            }
            (Scheme::Bearer | Scheme::DPoP, _) => None,
        };
        Ok(LiveBearer { live, nonce })
    }

    /// Checks that the client possesses the key of a bound token. Returns the next nonce if the
    /// current one is about to expire.
    async fn check_proof(
        &self,
        request: &TokenRequest<'_>,
        target: DpopTarget<'_>,
        key: &JwkThumbprint,
        owner: ClientKey,
    ) -> Result<Option<HeaderValue>, BearerError> {
        if !request.may_wait {
            return Err(BearerError::Skipped);
        }
        let app = request.app;
        let proof = self.dpop.verify(app, target, Some(request.token));
        let proof = proof.map_err(|error| unproven(error, self.dpop.nonce_after(app, error)))?;
        if proof.key != *key {
            return Err(unproven(DpopError::OtherKey, None));
        }
        let spent = self.dpop.spend(app, &proof, owner).await;
        spent.map_err(|error| unproven(error, None))?;
        if request.bearer.dpop_nonce && self.dpop.is_nonce_ageing(proof.counts_until) {
            return Ok(self.dpop.new_nonce(app));
        }
        Ok(None)
    }

    /// The verified token, from the cache if it is known.
    async fn verified(
        &self,
        request: &TokenRequest<'_>,
        cache: &TokenCache,
    ) -> Result<CachedToken, BearerError> {
        let key = (request.position, request.hash);
        if let Some(known) = cache.0.get(&key) {
            return Ok(known);
        }
        if !is_jwt(request.token) {
            let token = self.introspected(request).await?;
            return Ok(CachedToken { issuer: 0, token });
        }
        let VerifiedJwt { issuer, token } = self.verify_jwt(request).await?;
        let provider = request.bearer.providers.get(issuer);
        let provider = provider.unwrap_or(&request.app.provider);
        let token = Arc::new(request.token_of(token, provider, None));
        let cached = CachedToken { issuer, token };
        cache.0.insert(key, cached.clone());
        Ok(cached)
    }

    /// Verifies an unknown JWT: with the cached keys, or on the background runtime if keys must be
    /// fetched.
    async fn verify_jwt(&self, request: &TokenRequest<'_>) -> Result<VerifiedJwt, BearerError> {
        let TokenRequest {
            app, bearer, token, ..
        } = *request;
        let is_only_issuer = bearer.providers.len() <= 1;
        let named = (!is_only_issuer)
            .then(|| unverified_issuer(token))
            .flatten();
        let mut providers = bearer.providers.iter().enumerate();
        let (issuer, provider) = providers
            .find(|(_, provider)| is_only_issuer || provider.is_issuer(named.as_ref()))
            .ok_or(rejected("token_issuer_mismatch"))?;
        let audience = Audience {
            client_id: &app.client.client_id,
            audiences: &bearer.audiences,
            mark: bearer.access_token_claim.as_ref(),
        };
        let verdict = match provider.verify_presented_now(audience, token) {
            Some(verdict) => verdict,
            None if !request.may_wait => return Err(BearerError::Skipped),
            None => {
                let (app, provider) = (Arc::clone(app), Arc::clone(provider));
                let token = token.to_owned();
                let (audiences, mark) =
                    (bearer.audiences.clone(), bearer.access_token_claim.clone());
                let task = async move {
                    let audience = Audience {
                        client_id: &app.client.client_id,
                        audiences: &audiences,
                        mark: mark.as_ref(),
                    };
                    provider.verify_presented(audience, &token).await
                };
                let verdict = Box::pin(self.tasks.run(CALL_TIMEOUT, task)).await;
                verdict.map_err(|error| BearerError::Unavailable(error.into()))?
            }
        };
        match verdict {
            Ok(token) if app.admits(provider, &token) => Ok(VerifiedJwt { issuer, token }),
            Ok(_) => Err(rejected(NOT_REGISTERED)),
            Err(error) => Err(verification_failed(app, &error)),
        }
    }

    /// Verifies an opaque token by introspection.
    async fn introspected(&self, request: &TokenRequest<'_>) -> Result<Arc<Token>, BearerError> {
        let introspection = self.introspections.get(request.position);
        let introspection = introspection
            .and_then(Option::as_ref)
            .ok_or(rejected("token_malformed"))?;
        let verdict = match introspection.known(&request.hash) {
            Some(verdict) => verdict,
            None if !request.may_wait => return Err(BearerError::Skipped),
            None => {
                let provider = &request.app.provider;
                let make =
                    |token: PresentedToken, until| request.token_of(token, provider, Some(until));
                let introspecting =
                    introspection.introspect(request.app, request.token, request.hash, make);
                let verdict = Box::pin(introspecting).await;
                verdict.map_err(BearerError::Unavailable)?
            }
        };
        match verdict {
            Verdict::Active(token) => Ok(token),
            Verdict::Rejected(code) => Err(rejected(code)),
        }
    }
}

impl TokenRequest<'_> {
    /// The verified token of `provider` as the app uses it. `introspected_until` is the expiry of
    /// its introspection result.
    fn token_of(
        &self,
        mut verified: PresentedToken,
        provider: &Arc<Provider>,
        introspected_until: Option<Timestamp>,
    ) -> Token {
        let app = &self.app.app;
        let claims = verified.take_claims();
        let token_identity = TokenIdentity::new(
            verified.subject(),
            claims,
            claim_source(provider),
            IdentityHeaders {
                templates: &app.headers,
                client: &self.policy.client_header,
            },
        );
        let TokenIdentity { identity, is_user } = token_identity;
        let mut name = URL_SAFE_NO_PAD.encode(self.hash);
        name.truncate(16);
        // An opaque token may have no known expiry. Its streams then last as long as a session
        // could.
        let ends_at = verified
            .expires_at()
            .or_else(|| Some(introspected_until?.plus(app.limits.absolute)))
            .unwrap_or_default();
        Token {
            issuer: self.app.other_issuer(provider).cloned(),
            identity: Arc::new(identity),
            is_user,
            key: verified.key(),
            valid_until: introspected_until.map_or(ends_at, |until| until.min(ends_at)),
            ends_at,
            issued_at: verified.issued_at().unwrap_or_default(),
            provider_sid: verified.sid().cloned(),
            name: SessionId::new(name),
            bound_to: verified.bound_to().cloned(),
        }
    }
}

/// The hash of a token at a host. Identity headers may contain the label of the host.
fn hash_of(token: &str, label: Option<&HostLabel>) -> TokenHash {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(token.as_bytes());
    if let Some(label) = label {
        // No token contains a space.
        hash.update(b" ");
        hash.update(label.as_str().as_bytes());
    }
    hash.finish().as_ref().try_into().unwrap_or_default()
}

fn verification_failed(app: &AppAuth, error: &TokenRejected) -> BearerError {
    if error.is_outage() {
        tracing::debug!(app = %app.app.name, code = error.code(), %error, "token_not_verified");
        return BearerError::Unavailable(Unavailable::of_provider(error.code()));
    }
    rejected(error.code())
}

const fn rejected(code: &'static str) -> BearerError {
    BearerError::Rejected {
        code,
        error: TokenError::InvalidToken,
        nonce: None,
    }
}

fn unproven(error: DpopError, nonce: Option<HeaderValue>) -> BearerError {
    match error.challenge() {
        Ok(challenge) => BearerError::Rejected {
            code: error.code(),
            error: challenge,
            nonce,
        },
        Err(outage) => BearerError::Unavailable(outage),
    }
}
