//! DPoP binding of native tokens (RFC 9449), independent of the provider: a proof at login binds
//! the tokens to its key, for refreshes and requests.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use crate::auth::app::AppAuth;
use crate::auth::bearer::dpop::{DPOP, DpopError, DpopTarget};
use crate::auth::native::NativeFailure;
use crate::auth::{Auth, Unavailable};
use crate::identity::credentials::Scheme;
use crate::policy::native::NativeCredentials;
use crate::session::token::{TokenError, TokenRefusal};
use crate::types::oauth::JwkThumbprint;

/// The request that a proof must match.
#[derive(Clone, Copy, Debug)]
pub struct Proving<'r> {
    /// Its method.
    pub method: &'r str,
    /// Its path, in canonical form.
    pub path: &'r str,
    /// Its headers.
    pub headers: &'r HeaderMap,
}

/// Why a proof beside a native access token was rejected, with the nonce for the next one.
pub(in crate::auth) enum DpopRejection {
    Refused(TokenRefusal, Option<HeaderValue>),
    Unavailable(Unavailable),
}

impl Auth {
    /// The key of the proof at a native endpoint, if it has one.
    pub(in crate::auth) async fn proven_key(
        self: &Arc<Self>,
        app: &AppAuth,
        proving: Proving<'_>,
    ) -> Result<Option<JwkThumbprint>, NativeFailure> {
        if !proving.headers.contains_key(DPOP) {
            let required = app
                .app
                .bearer
                .as_ref()
                .is_some_and(|bearer| bearer.dpop_required);
            return if required {
                Err(NativeFailure::DpopRejection(DpopError::Missing, None))
            } else {
                Ok(None)
            };
        }
        let key = self.prove(app, proving, None, None).await;
        key.map(Some)
            .map_err(|(error, nonce)| NativeFailure::DpopRejection(error, nonce))
    }

    /// Checks that the presenter of a token bound to `bound_to` possesses the key.
    pub(in crate::auth) async fn check_possession(
        self: &Arc<Self>,
        app: &AppAuth,
        bound_to: Option<&JwkThumbprint>,
        shown: NativeCredentials<'_>,
        proving: Proving<'_>,
    ) -> Result<(), DpopRejection> {
        let refused = |code, error| {
            Err(DpopRejection::Refused(
                TokenRefusal {
                    code,
                    error,
                    scheme: shown.scheme,
                },
                None,
            ))
        };
        let required = app
            .app
            .bearer
            .as_ref()
            .is_some_and(|bearer| bearer.dpop_required);
        match (bound_to, shown.scheme) {
            (None, Scheme::Bearer) if !required => Ok(()),
            (None, Scheme::Bearer | Scheme::DPoP) => {
                refused("token_not_bound", TokenError::InvalidToken)
            }
            (Some(_), Scheme::Bearer) => refused("token_is_bound", TokenError::InvalidToken),
            (Some(key), Scheme::DPoP) => {
                let proven = self
                    .prove(app, proving, Some(shown.access_token), Some(key))
                    .await;
                proven.map(|_| ()).map_err(|(error, nonce)| match error {
                    DpopError::Unavailable(outage) => DpopRejection::Unavailable(outage),
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
                        let refusal = TokenRefusal {
                            code: error.code(),
                            error: kind,
                            scheme: Scheme::DPoP,
                        };
                        DpopRejection::Refused(refusal, nonce)
                    }
                })
            }
        }
    }

    /// Verifies and spends a proof of the `expected` key, or of any key.
    async fn prove(
        self: &Arc<Self>,
        app: &AppAuth,
        proving: Proving<'_>,
        access_token: Option<&str>,
        expected: Option<&JwkThumbprint>,
    ) -> Result<JwkThumbprint, (DpopError, Option<HeaderValue>)> {
        let with_nonce = app.bearer.as_ref().is_some_and(|bearer| bearer.dpop_nonce);
        let app_ref = DpopTarget {
            method: proving.method,
            path: proving.path,
            access_token,
        };
        let proof = self
            .check_proof(app, proving.headers, app_ref, with_nonce)
            .map_err(|error| {
                let nonce = if error.wants_nonce() {
                    self.new_nonce(app)
                } else {
                    None
                };
                (error, nonce)
            })?;
        if expected.is_some_and(|expected| *expected != proof.key) {
            return Err((DpopError::OtherKey, None));
        }
        self.spend_proof(app, &proof)
            .await
            .map_err(|error| (error, None))?;
        Ok(proof.key)
    }
}
