//! Proofs of possession at an app (RFC 9449): in exactly one `DPoP` field, fresh by a nonce of ours where the app asks
//! for one, and good for one request. What a proof says is judged by `oidc::dpop`.

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

/// The field that a proof comes in (section 4.1).
pub const DPOP: HeaderName = HeaderName::from_static("dpop");

/// How long a nonce counts. In the second half of it an answer brings the next one.
const NONCE_LIFETIME: Duration = Duration::from_secs(300);

/// The purpose of a nonce, which is nothing but the sealed time at which it was made: there is nothing to remember.
#[derive(Debug)]
pub struct NonceField;

impl Purpose for NonceField {
    type Payload = Timestamp;
    const NAME: &'static str = "dpop nonce";
}

/// The request that a proof is to be for.
#[derive(Clone, Copy, Debug)]
pub struct DpopTarget<'r> {
    /// Its method.
    pub method: &'r str,
    /// Its path, in canonical form.
    pub path: &'r str,
    /// The access token that came with it; none at a token endpoint.
    pub access_token: Option<&'r str>,
}

/// Why possession of a key is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DpopError {
    /// There is no proof.
    Missing,
    /// There are several, of which one cannot be told from the others.
    Repeated,
    /// It shows nothing.
    Refused(ProofError),
    /// It is of another key than the one that is asked for.
    OtherKey,
    /// It came before.
    Replayed,
    /// It cannot be told now whether it came before.
    Unavailable(Unavailable),
}

impl DpopError {
    /// The stable word for logs, metrics and answers.
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

    /// Whether a nonce of ours is all that was missing.
    pub const fn wants_nonce(self) -> bool {
        matches!(self, Self::Refused(ProofError::NonceWanted))
    }
}

impl Auth {
    /// Checks the proof in `headers`. It is then to be compared with the key that is asked for, and at last
    /// [spent](Self::spend_proof): what nobody was entitled to send takes no room in the store.
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

    /// Takes a proof for used: it counts for one request, at one of all replicas.
    ///
    /// # Errors
    /// It was used before, or that cannot be told.
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

    /// The value of a `DPoP-Nonce` field. `None`: no randomness.
    pub fn new_nonce(&self, app: &AppAuth) -> Option<HeaderValue> {
        let nonce = app.seals.nonce.seal(&self.now(), random::bytes().ok()?)?;
        HeaderValue::try_from(nonce).ok()
    }

    /// Whether the nonce of a proof that counts until then should be followed by the next one.
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

/// One entry for each key and `jti`, so that nobody can use up the `jti` of somebody else.
fn name_of(app: &AppAuth, proof: &Proof) -> String {
    let id = format!("{}.{}", proof.key, proof.id);
    let hash = digest::digest(&digest::SHA256, id.as_bytes());
    format!("dpop/{}/{}", app.app.name, URL_SAFE_NO_PAD.encode(hash))
}
