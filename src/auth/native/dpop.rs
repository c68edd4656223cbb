//! DPoP binding of native tokens (RFC 9449), independent of the provider: a proof at login binds
//! the tokens to its key, for refreshes and requests.

use http::HeaderValue;

use super::failure::NativeFailure;
use crate::auth::app::AppAuth;
use crate::auth::bearer::dpop::{DPOP, DpopError, DpopTarget, DpopVerifier};
use crate::auth::error::Unavailable;
use crate::identity::credentials::Scheme;
use crate::policy::native::NativeCredentials;
use crate::session::token::{TokenError, TokenRefusal};
use crate::types::oauth::JwkThumbprint;

/// Why a proof beside a native access token was rejected, with the nonce for the next one.
pub(super) enum DpopRejection {
    Rejected {
        refusal: TokenRefusal,
        nonce: Option<HeaderValue>,
    },
    Unavailable(Unavailable),
}

/// A failed proof, with the nonce for the next one.
struct FailedProof {
    error: DpopError,
    nonce: Option<HeaderValue>,
}

/// The key of the proof at a native endpoint, if it has one.
pub(super) async fn proven_key(
    dpop: &DpopVerifier,
    app: &AppAuth,
    target: DpopTarget<'_>,
) -> Result<Option<JwkThumbprint>, NativeFailure> {
    if target.headers.contains_key(DPOP) {
        let proven = prove(dpop, app, target, None, None).await;
        let rejection = |FailedProof { error, nonce }| NativeFailure::DpopRejection(error, nonce);
        return proven.map(Some).map_err(rejection);
    }
    if is_required(app) {
        return Err(NativeFailure::DpopRejection(DpopError::Missing, None));
    }
    Ok(None)
}

/// Checks that the presenter of a token bound to `bound_to` possesses the key.
pub(super) async fn check_possession(
    dpop: &DpopVerifier,
    app: &AppAuth,
    bound_to: Option<&JwkThumbprint>,
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
    match (bound_to, credentials.scheme) {
        (None, Scheme::Bearer) if !is_required(app) => Ok(()),
        (None, Scheme::Bearer | Scheme::DPoP) => invalid("token_not_bound"),
        (Some(_), Scheme::Bearer) => invalid("token_is_bound"),
        (Some(key), Scheme::DPoP) => {
            let access_token = Some(credentials.access_token);
            match prove(dpop, app, target, access_token, Some(key)).await {
                Ok(_) => Ok(()),
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

/// Verifies and spends a proof of the `expected` key, or of any key.
async fn prove(
    dpop: &DpopVerifier,
    app: &AppAuth,
    target: DpopTarget<'_>,
    access_token: Option<&str>,
    expected: Option<&JwkThumbprint>,
) -> Result<JwkThumbprint, FailedProof> {
    let failed = |error| FailedProof {
        error,
        nonce: dpop.nonce_after(app, error),
    };
    let proof = dpop.verify(app, target, access_token).map_err(failed)?;
    if expected.is_some_and(|expected| *expected != proof.key) {
        return Err(failed(DpopError::OtherKey));
    }
    dpop.spend(app, &proof).await.map_err(failed)?;
    Ok(proof.key)
}

fn is_required(app: &AppAuth) -> bool {
    let policy = app.app.bearer.as_ref();
    policy.is_some_and(|policy| policy.dpop_required)
}
