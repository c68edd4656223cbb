//! The tokens that a native app receives, and their scope.

use std::time::Duration;

use zeroize::Zeroizing;

use super::NativeFailure;
use crate::auth::app::AppAuth;
use crate::auth::random;
use crate::auth::session::cookies::CookieWriteError;
use crate::policy::native::Tokens;
use crate::session::cookie::MAX_ALL;
use crate::session::grant::Grant;
use crate::session::native::{NativeGrant, Token, write};
use crate::session::seal::Seal;
use crate::types::time::Timestamp;

/// A token response (RFC 6749 section 5.1).
#[derive(Debug)]
pub struct NativeTokens {
    /// `access_token`.
    pub access_token: Zeroizing<String>,
    /// `refresh_token`, if the provider issued one.
    pub refresh_token: Option<Zeroizing<String>>,
    /// `expires_in`.
    pub expires_in: Duration,
    /// `scope`.
    pub scope: String,
    /// Whether the tokens are bound to a DPoP key: `token_type`.
    pub is_bound: bool,
    /// `device_token`, after a login only.
    pub device_token: Option<Zeroizing<String>>,
}

/// The tokens of `grant` in the configured form.
pub(super) fn hand_over(
    app: &AppAuth,
    form: Tokens,
    grant: &Grant,
    scope: String,
    now: Timestamp,
) -> Result<NativeTokens, NativeFailure> {
    let (access_token, refresh_token) = match form {
        Tokens::Sealed => {
            let native = NativeGrant::of(grant, scope.clone());
            let refresh = native
                .map(|native| sealed(&app.seals.native_refresh, &native, "refresh token"))
                .transpose()?;
            (
                sealed(&app.seals.native_access, &grant.jwt, "provider's JWT")?,
                refresh,
            )
        }
        Tokens::Plain => {
            let refresh = grant
                .refresh
                .as_ref()
                .map(|refresh| Zeroizing::new(refresh.token.expose().to_owned()));
            (Zeroizing::new(grant.jwt.jwt.unpack()), refresh)
        }
    };
    let session_ends = grant.jwt.started_at.plus(app.app.limits.absolute);
    let expires_in = grant.jwt.valid_until.min(session_ends).since(now);
    let is_bound = grant.jwt.bound_to.is_some();
    Ok(NativeTokens {
        access_token,
        refresh_token,
        expires_in,
        scope,
        is_bound,
        device_token: None,
    })
}

/// Seals a token, which must fit into one header.
pub(super) fn sealed<T: Token>(
    seal: &Seal<T>,
    payload: &T::Payload,
    what: &'static str,
) -> Result<Zeroizing<String>, NativeFailure> {
    let sealed = random::bytes()
        .ok()
        .and_then(|nonce| write(seal, payload, nonce));
    let text = Zeroizing::new(sealed.ok_or(NativeFailure::TooLarge(CookieWriteError::Unsealed))?);
    if text.len() > MAX_ALL {
        return Err(NativeFailure::TokenTooLarge(what, text.len()));
    }
    Ok(text)
}

/// The scope for the provider: what the client requests of the configured scope, and always
/// `openid`, without which many providers return no ID token.
pub(super) fn scope_at_login(app: &AppAuth, wanted: Option<&str>) -> Result<String, NativeFailure> {
    let granted = &app.client.scopes;
    let Some(wanted) = wanted else {
        return Ok(granted.join(" "));
    };
    let mut scope: Vec<&str> = Vec::new();
    for name in ["openid"]
        .into_iter()
        .chain(wanted.split_ascii_whitespace())
    {
        if !granted.iter().any(|granted| granted == name) {
            return Err(NativeFailure::Scope);
        }
        if !scope.contains(&name) {
            scope.push(name);
        }
    }
    Ok(scope.join(" "))
}

/// Checks that a refresh requests no more than the granted scope (RFC 6749 section 6). The granted
/// scope is kept.
pub(super) fn check_scope_at_refresh(
    granted: &str,
    wanted: Option<&str>,
) -> Result<(), NativeFailure> {
    let is_granted = |name: &str| {
        granted
            .split_ascii_whitespace()
            .any(|granted| granted == name)
    };
    if wanted
        .unwrap_or_default()
        .split_ascii_whitespace()
        .all(is_granted)
    {
        Ok(())
    } else {
        Err(NativeFailure::Scope)
    }
}
