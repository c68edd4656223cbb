//! Who asks, by an access token (RFC 6750, RFC 9449): verified once with the keys of the provider that it names, or by
//! asking the provider about it, and judged anew at every request.

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
    /// Whose JWTs are taken.
    pub providers: Vec<Arc<Provider>>,
    /// The `aud` values of which a token must carry one.
    pub audiences: Vec<String>,
    /// What the app's own provider says of opaque tokens; none: it is not asked, and they are refused.
    pub introspection: Option<Introspection>,
    /// Whether proofs of possession have to carry a nonce of ours.
    pub dpop_nonce: bool,
}

/// The person of a token is not registered for the app.
pub(in crate::auth) const NOT_REGISTERED: &str = "not_registered";

/// The name of a token: its SHA-256.
pub(in crate::auth) type TokenHash = [u8; 32];

/// Tokens whose signature was verified before, by app and hash of the whole token, each with the provider that issued
/// it. One for each worker.
pub struct TokenCache(Cache<(usize, TokenHash), (usize, Arc<Token>)>);

impl TokenCache {
    /// A cache of at most `tokens`.
    pub fn new(tokens: usize) -> Self {
        Self(Cache::new(tokens))
    }
}

/// What a request shows beside cookies.
#[derive(Clone, Copy, Debug)]
pub struct PresentedBearer<'r> {
    /// The access token.
    pub credentials: Credentials<'r>,
    /// All fields: a proof of possession may be among them.
    pub headers: &'r HeaderMap,
    /// What was asked, for which such a proof has to be made.
    pub info: &'r RequestInfo,
    /// Whether time may be spent on it: not on a page that is everyone's.
    pub may_wait: bool,
}

/// Who asks by a token, and the nonce that the answer brings.
#[derive(Debug)]
pub struct BearerAuthentication {
    /// Who asks; an outage is not nobody.
    pub caller: Result<Caller, Unavailable>,
    /// `DPoP-Nonce`, where there is a new one.
    pub nonce: Option<HeaderValue>,
}

/// Why a token does not count.
enum BearerError {
    /// It opens nothing.
    Refused(&'static str, TokenError),
    /// It cannot be told.
    Unavailable(Unavailable),
    /// It was not worth the time.
    Skipped,
}

impl Auth {
    /// Finds out who presents a token to the app at `app_ref`.
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

    /// A JWT that was never seen here: with the keys at hand, or where those are not enough, by way of the runtime that
    /// may fetch them, within bounds.
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

    /// An opaque token, by the word of the app's own provider.
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

    /// Says for as long as a token may be used that it may: until it ends or is revoked.
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

    /// Without a key set nothing vouches for a token: unlike a session it has no seal of ours.
    fn is_known_key(&self, key: &KeyFingerprint) -> bool {
        self.provider
            .and_then(|provider| provider.keys())
            .is_some_and(|keys| keys.contains(key))
    }
}

/// What `app` knows of a token by. `asked_until`: for how long the provider's word on it counts.
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
    // An opaque token may have no end that is known; what it began then lasts as long as a session could.
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

/// Whether the person that a token is of may use the app at all, by what its provider says.
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
