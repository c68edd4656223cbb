//! DPoP binding of native tokens (RFC 9449), independent of the provider: a proof at login binds
//! the tokens to its key, for refreshes and requests.

use http::HeaderValue;

use super::failure::NativeFailure;
use crate::auth::app::AppAuth;
use crate::auth::bearer::dpop::{DPOP, DpopError, DpopTarget, DpopVerifier};
use crate::auth::error::Unavailable;
use crate::identity::credentials::Scheme;
use crate::oidc::dpop::Proof;
use crate::policy::native::NativeCredentials;
use crate::session::token::{TokenError, TokenRefusal};
use crate::types::oauth::{JwkThumbprint, Subject};

/// Why a proof beside a native access token was rejected, with the nonce for the next one.
pub(super) enum DpopRejection {
    Rejected {
        refusal: TokenRefusal,
        nonce: Option<HeaderValue>,
    },
    Unavailable(Unavailable),
}

/// The key that a token is bound to.
#[derive(Clone, Copy)]
pub(super) struct KeyBinding<'t> {
    pub(super) key: &'t JwkThumbprint,
    /// The user of the token.
    pub(super) owner: &'t Subject,
}

/// A failed proof, with the nonce for the next one.
struct FailedProof {
    error: DpopError,
    nonce: Option<HeaderValue>,
}

/// The proof at a login, if it has one. The caller [spends](DpopVerifier::spend_at_login) it after
/// the throttle.
pub(super) fn login_proof(
    dpop: &DpopVerifier,
    app: &AppAuth,
    target: DpopTarget<'_>,
) -> Result<Option<Proof>, NativeFailure> {
    if target.headers.contains_key(DPOP) {
        let proof = dpop.verify(app, target, None);
        return proof
            .map(Some)
            .map_err(|error| NativeFailure::DpopRejection(error, dpop.nonce_after(app, error)));
    }
    if is_required(app) {
        return Err(NativeFailure::DpopRejection(DpopError::Missing, None));
    }
    Ok(None)
}

/// Verifies and spends the proof at a refresh of a token that is bound to `key`.
pub(super) async fn check_refresh(
    dpop: &DpopVerifier,
    app: &AppAuth,
    target: DpopTarget<'_>,
    binding: KeyBinding<'_>,
) -> Result<(), NativeFailure> {
    let proven = prove(dpop, app, target, None, binding).await;
    proven.map_err(|FailedProof { error, nonce }| NativeFailure::DpopRejection(error, nonce))
}

/// Checks that the presenter of a token with this `binding` possesses the key.
pub(super) async fn check_possession(
    dpop: &DpopVerifier,
    app: &AppAuth,
    binding: Option<KeyBinding<'_>>,
    credentials: NativeCredentials<'_>,
    target: DpopTarget<'_>,
) -> Result<(), DpopRejection> {
    let invalid = |code| {
        Err(DpopRejection::Rejected {
            refusal: TokenRefusal {
                code,
                error: TokenError::InvalidToken,
                scheme: credentials.scheme,
            },
            nonce: None,
        })
    };
    match (binding, credentials.scheme) {
        (None, Scheme::Bearer) if !is_required(app) => Ok(()),
        (None, Scheme::Bearer | Scheme::DPoP) => invalid("token_not_bound"),
        (Some(_), Scheme::Bearer) => invalid("token_is_bound"),
        (Some(binding), Scheme::DPoP) => {
            let access_token = Some(credentials.access_token);
            match prove(dpop, app, target, access_token, binding).await {
                Ok(()) => Ok(()),
                Err(FailedProof { error, nonce }) => Err(match error.challenge() {
                    Ok(challenge) => DpopRejection::Rejected {
                        refusal: TokenRefusal {
                            code: error.code(),
                            error: challenge,
                            scheme: Scheme::DPoP,
                        },
                        nonce,
                    },
                    Err(outage) => DpopRejection::Unavailable(outage),
                }),
            }
        }
    }
}

/// Verifies and spends a proof of the key of `binding`.
async fn prove(
    dpop: &DpopVerifier,
    app: &AppAuth,
    target: DpopTarget<'_>,
    access_token: Option<&str>,
    binding: KeyBinding<'_>,
) -> Result<(), FailedProof> {
    let failed = |error| FailedProof {
        error,
        nonce: dpop.nonce_after(app, error),
    };
    let proof = dpop.verify(app, target, access_token).map_err(failed)?;
    if *binding.key != proof.key {
        return Err(failed(DpopError::OtherKey));
    }
    let owner = app.client_key(binding.owner);
    dpop.spend(app, &proof, owner).await.map_err(failed)
}

fn is_required(app: &AppAuth) -> bool {
    let policy = app.app.bearer.as_ref();
    policy.is_some_and(|policy| policy.dpop_required)
}
