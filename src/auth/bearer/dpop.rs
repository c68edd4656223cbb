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
use crate::auth::{Auth, TIMEOUT, Unavailable, random};
use crate::oidc::dpop::{self, Freshness, Proof, ProofError, ProofExpectation};
use crate::session::seal::Purpose;
use crate::types::time::Timestamp;

/// The header of a proof (RFC 9449 section 4.1).
pub const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The lifetime of a nonce. In its second half responses carry the next one.
const NONCE_LIFETIME: Duration = Duration::from_secs(300);

/// The purpose of a nonce. A nonce is the sealed time of its creation, so it needs no state.
#[derive(Debug)]
pub struct NonceField;

impl Purpose for NonceField {
    type Payload = Timestamp;
    const NAME: &'static str = "dpop nonce";
}

/// The request that a proof must match.
#[derive(Clone, Copy, Debug)]
pub struct DpopTarget<'r> {
    /// Its method.
    pub method: &'r str,
    /// Its path, in canonical form.
    pub path: &'r str,
    /// The access token of the request. `None` at a token endpoint.
    pub access_token: Option<&'r str>,
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
        matches!(self, Self::Refused(ProofError::NonceWanted))
    }
}

impl Auth {
    /// Verifies the proof in `headers`. The caller then compares its key and
    /// [spends](Self::spend_proof) it last, so that unauthorized proofs take no space in the store.
    ///
    /// # Errors
    /// See [`DpopError`].
    pub fn check_proof(
        &self,
        app: &AppAuth,
        headers: &HeaderMap,
        app_ref: DpopTarget<'_>,
        with_nonce: bool,
    ) -> Result<Proof, DpopError> {
        let mut fields = headers.get_all(DPOP).iter();
        let field = fields.next().ok_or(DpopError::Missing)?;
        if fields.next().is_some() {
            return Err(DpopError::Repeated);
        }
        let now = self.now();
        let judge = |nonce: &str| nonce_counts_until(app, nonce, now);
        let expected = ProofExpectation {
            method: app_ref.method,
            origin: &app.app.origin,
            path: app_ref.path,
            access_token: app_ref.access_token,
            freshness: if with_nonce {
                Freshness::Nonce(&judge)
            } else {
                Freshness::IssuedAt
            },
        };
        let proof = field
            .to_str()
            .map_err(|_| DpopError::Refused(ProofError::Malformed))?;
        dpop::verify(proof, expected, now).map_err(DpopError::Refused)
    }

    /// Marks a proof as used: it is valid for one request at one of all replicas.
    ///
    /// # Errors
    /// The proof was used before, or the store is unavailable.
    pub async fn spend_proof(
        self: &Arc<Self>,
        app: &AppAuth,
        proof: &Proof,
    ) -> Result<(), DpopError> {
        let (auth, key, ends_at, now) = (
            Arc::clone(self),
            name_of(app, proof),
            proof.counts_until,
            self.now(),
        );
        let task = async move {
            auth.stores
                .proofs
                .put_if_absent(&key, Bytes::new(), ends_at, now)
                .await
        };
        let outage = |code| DpopError::Unavailable(Unavailable::new(code));
        match self.runtime.run(TIMEOUT, task).await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(_))) => Err(DpopError::Replayed),
            Ok(Err(error)) => {
                tracing::warn!(app = %app.app.name, code = error.code(), %error, "dpop_replay_store_failed");
                Err(outage(error.code()))
            }
            Err(no_result) => Err(outage(no_result.code())),
        }
    }

    /// A new value of `DPoP-Nonce`. `None`: no randomness.
    pub fn new_nonce(&self, app: &AppAuth) -> Option<HeaderValue> {
        let nonce = app.seals.nonce.seal(&self.now(), random::bytes().ok()?)?;
        HeaderValue::try_from(nonce).ok()
    }

    /// Whether a proof whose nonce is valid until `counts_until` should be followed by a new nonce.
    pub fn is_nonce_ageing(&self, counts_until: Timestamp) -> bool {
        counts_until.since(self.now()) * 2 < NONCE_LIFETIME
    }
}

pub(in crate::auth) fn nonce_counts_until(
    app: &AppAuth,
    nonce: &str,
    now: Timestamp,
) -> Option<Timestamp> {
    let until = app.seals.nonce.open(nonce)?.plus(NONCE_LIFETIME);
    (now < until).then_some(until)
}

/// The replay key contains key and `jti`, so that a client cannot use up the `jti` of another.
fn name_of(app: &AppAuth, proof: &Proof) -> String {
    let id = format!("{}.{}", proof.key, proof.id);
    let hash = digest::digest(&digest::SHA256, id.as_bytes());
    format!("dpop/{}/{}", app.app.name, URL_SAFE_NO_PAD.encode(hash))
}
