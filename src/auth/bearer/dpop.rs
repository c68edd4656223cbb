//! DPoP proofs at an app (RFC 9449): exactly one `DPoP` header, with a server nonce if the app
//! requires one, valid for one request. `oidc::dpop` verifies the proof itself.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::auth::random;
use crate::limits::{ClientKey, on_behalf_of};
use crate::oidc::dpop::{self, Freshness, Proof, ProofError, ProofExpectation};
use crate::session::token::TokenError;
use crate::store::Store;
use crate::types::time::Timestamp;

/// The header of a proof (RFC 9449 section 4.1).
pub const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The lifetime of a nonce. In its second half responses carry the next one.
const NONCE_LIFETIME: Duration = Duration::from_secs(300);

/// The request that a proof must match.
#[derive(Clone, Copy, Debug)]
pub struct DpopTarget<'r> {
    /// Its method.
    pub method: &'r str,
    /// Its path, in canonical form.
    pub path: &'r str,
    /// Its headers, with the proof.
    pub headers: &'r HeaderMap,
}

/// Why possession of a key is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DpopError {
    /// No proof.
    Missing,
    /// Several proofs.
    Repeated,
    /// The proof is invalid.
    Refused(ProofError),
    /// The proof uses a different key than the token.
    OtherKey,
    /// The proof was used before.
    Replayed,
    /// The replay check is unavailable.
    Unavailable(Unavailable),
}

impl DpopError {
    /// The stable code for logs, metrics and responses.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "dpop_proof_missing",
            Self::Repeated => "dpop_proof_repeated",
            Self::Refused(error) => error.code(),
            Self::OtherKey => "dpop_key_mismatch",
            Self::Replayed => "dpop_proof_replayed",
            Self::Unavailable(outage) => outage.code,
        }
    }

    /// Whether only the server nonce is missing.
    pub const fn wants_nonce(self) -> bool {
        matches!(self, Self::Refused(ProofError::NonceRequired))
    }

    /// The `error` of the challenge (RFC 9449 sections 7.1 and 9), or why the proof cannot be
    /// checked now.
    pub(in crate::auth) const fn challenge(self) -> Result<TokenError, Unavailable> {
        match self {
            Self::Unavailable(outage) => Err(outage),
            Self::Refused(ProofError::NonceRequired) => Ok(TokenError::UseDpopNonce),
            Self::Missing | Self::Repeated | Self::Refused(_) | Self::OtherKey | Self::Replayed => {
                Ok(TokenError::InvalidDpopProof)
            }
        }
    }
}

/// Verifies DPoP proofs. Clones share their state.
#[derive(Clone)]
pub(in crate::auth) struct DpopVerifier {
    context: Arc<Context>,
}

impl DpopVerifier {
    pub(in crate::auth) const fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Verifies the proof of a request. `access_token` is the token of the request, `None` at a
    /// token endpoint. The caller then compares the key and [spends](Self::spend) the proof last, so
    /// that unauthorized proofs take no space in the store.
    ///
    /// # Errors
    /// See [`DpopError`].
    pub(in crate::auth) fn verify(
        &self,
        app: &AppAuth,
        target: DpopTarget<'_>,
        access_token: Option<&str>,
    ) -> Result<Proof, DpopError> {
        let mut proofs = target.headers.get_all(DPOP).iter();
        let proof = proofs.next().ok_or(DpopError::Missing)?;
        if proofs.next().is_some() {
            return Err(DpopError::Repeated);
        }
        let now = self.context.now();
        let nonce_valid_until = |nonce: &str| nonce_valid_until(app, nonce, now);
        let expected = ProofExpectation {
            method: target.method,
            origin: &app.app.origin,
            path: target.path,
            access_token,
            freshness: if requires_nonce(app) {
                Freshness::Nonce(&nonce_valid_until)
            } else {
                Freshness::IssuedAt
            },
        };
        let proof = proof
            .to_str()
            .map_err(|_| DpopError::Refused(ProofError::Malformed))?;
        dpop::verify(proof, expected, now).map_err(DpopError::Refused)
    }

    /// Marks the proof of a bound token as used: it is valid for one request at one of all replicas.
    /// It counts towards the share of `owner`, to whom the token was issued.
    ///
    /// # Errors
    /// The proof was used before, or the store is unavailable.
    pub(in crate::auth) async fn spend(
        &self,
        app: &AppAuth,
        proof: &Proof,
        owner: ClientKey,
    ) -> Result<(), DpopError> {
        let store = &self.context.stores.proofs;
        on_behalf_of(Some(owner), self.spend_in(store, app, proof)).await
    }

    /// Marks the proof of a login as used. It counts towards the share of the client, since anybody
    /// can make one: the caller checks the throttle before.
    ///
    /// # Errors
    /// As for [`Self::spend`].
    pub(in crate::auth) async fn spend_at_login(
        &self,
        app: &AppAuth,
        proof: &Proof,
    ) -> Result<(), DpopError> {
        let store = &self.context.stores.login_proofs;
        self.spend_in(store, app, proof).await
    }

    async fn spend_in(
        &self,
        store: &Arc<dyn Store>,
        app: &AppAuth,
        proof: &Proof,
    ) -> Result<(), DpopError> {
        let (key, ends_at) = (replay_key(app, proof), proof.counts_until);
        let (store, now) = (Arc::clone(store), self.context.now());
        let task = async move { store.put_if_absent(&key, Bytes::new(), ends_at, now).await };
        match self.context.runtime.run(CALL_TIMEOUT, task).await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(_))) => Err(DpopError::Replayed),
            Ok(Err(error)) => {
                tracing::debug!(app = %app.app.name, code = error.code(), %error, "dpop_replay_store_failed");
                Err(DpopError::Unavailable(Unavailable::of_store(error.code())))
            }
            Err(error) => Err(DpopError::Unavailable(Unavailable::of_store_task(error))),
        }
    }

    /// A new value of `DPoP-Nonce`. `None`: no randomness.
    pub(in crate::auth) fn new_nonce(&self, app: &AppAuth) -> Option<HeaderValue> {
        let now = self.context.now();
        let nonce = app.seals.dpop_nonce.seal(&now, random::bytes().ok()?)?;
        HeaderValue::try_from(nonce).ok()
    }

    /// The next nonce after a failed proof that lacked one.
    pub(in crate::auth) fn nonce_after(
        &self,
        app: &AppAuth,
        error: DpopError,
    ) -> Option<HeaderValue> {
        if error.wants_nonce() {
            self.new_nonce(app)
        } else {
            None
        }
    }

    /// Whether a proof whose nonce is valid until `counts_until` should be followed by a new nonce.
    pub(in crate::auth) fn is_nonce_ageing(&self, counts_until: Timestamp) -> bool {
        counts_until.since(self.context.now()) * 2 < NONCE_LIFETIME
    }
}

/// Whether proofs at `app` must carry a server nonce.
pub(in crate::auth) fn requires_nonce(app: &AppAuth) -> bool {
    app.bearer.as_ref().is_some_and(|bearer| bearer.dpop_nonce)
}

/// `None`: the nonce does not decrypt, or has expired.
pub(in crate::auth) fn nonce_valid_until(
    app: &AppAuth,
    nonce: &str,
    now: Timestamp,
) -> Option<Timestamp> {
    let until = app.seals.dpop_nonce.open(nonce)?.plus(NONCE_LIFETIME);
    (now < until).then_some(until)
}

/// The replay key contains key and `jti`, so that a client cannot use up the `jti` of another.
fn replay_key(app: &AppAuth, proof: &Proof) -> String {
    let id = format!("{}.{}", proof.key, proof.id);
    let hash = digest::digest(&digest::SHA256, id.as_bytes());
    format!("dpop/{}/{}", app.app.name, URL_SAFE_NO_PAD.encode(hash))
}
