//! Access token validation: decides whether a verified bearer or DPoP access token may be used, and
//! if not, why. Tokens are stateless: the client keeps no cookies, and a token is never refreshed.

use std::sync::Arc;

use super::context::{Limits, ValidityContext};
use crate::identity::credentials::Scheme;
use crate::identity::identity::Identity;
use crate::types::oauth::{Issuer, JwkThumbprint, KeyFingerprint, ProviderSid, SessionId};
use crate::types::time::Timestamp;

/// A verified access token, with the identity headers for the app already rendered.
#[derive(Debug)]
pub struct Token {
    /// The user, or the OAuth client if [`Self::is_user`] is false.
    pub identity: Arc<Identity>,
    /// Whether the subject is a user, and not an OAuth client acting on its own behalf.
    pub is_user: bool,
    /// The key that signed it; `None` for an introspected token.
    pub key: Option<KeyFingerprint>,
    /// Until when the verification may be reused.
    pub valid_until: Timestamp,
    /// When it expires. Streams that it permitted end then, too.
    pub ends_at: Timestamp,
    /// The issuer, if that is not the provider of the app's logins.
    pub issuer: Option<Issuer>,
    /// `iat`; the epoch if the token has none.
    pub issued_at: Timestamp,
    /// The provider's session ID (`sid`), if the token has one.
    pub provider_sid: Option<ProviderSid>,
    /// An identifier for logs and revocations: the beginning of the token's hash.
    pub name: SessionId,
    /// The thumbprint of the key that the client must prove possession of (RFC 9449 section 6).
    pub bound_to: Option<JwkThumbprint>,
}

/// An access token that may be used now. Created by [`validate`] only, which does not check the
/// DPoP proof of possession.
#[derive(Clone, Debug)]
pub struct LiveToken {
    token: Arc<Token>,
    scheme: Scheme,
}

impl LiveToken {
    /// The token.
    pub const fn token(&self) -> &Arc<Token> {
        &self.token
    }

    /// The authentication scheme that it was presented with.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }
}

/// Why an access token was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRefusal {
    /// The stable code in logs, metrics and responses.
    pub code: &'static str,
    /// The `error` of the challenge.
    pub error: TokenError,
    /// The authentication scheme that it was presented with.
    pub scheme: Scheme,
}

/// The `error` parameter of a `WWW-Authenticate` challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// RFC 6750 section 3.1.
    InvalidToken,
    /// RFC 9449 section 7.1.
    InvalidDpopProof,
    /// RFC 9449 section 9.
    UseDpopNonce,
}

impl TokenError {
    /// The value in the challenge.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidToken => "invalid_token",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
        }
    }
}

/// The access token policy of one app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLimits {
    /// The session limits. A revocation is kept for the absolute timeout, so a user's token that is
    /// older could not be recognized as revoked.
    pub sessions: Limits,
    /// Whether only tokens that are bound to a key are accepted.
    pub dpop_required: bool,
}

/// Validates a verified token at `now`.
///
/// # Errors
/// The stable code of the reason why the token may not be used.
pub fn validate(
    token: &Arc<Token>,
    scheme: Scheme,
    now: Timestamp,
    limits: &TokenLimits,
    context: &impl ValidityContext,
) -> Result<LiveToken, &'static str> {
    if now >= token.valid_until {
        return Err("token_expired");
    }
    if token.key.is_some_and(|key| !context.is_known_key(&key)) {
        return Err("token_key_unknown");
    }
    match (scheme, &token.bound_to) {
        (Scheme::Bearer, Some(_)) => return Err("token_bound_to_key"),
        (Scheme::DPoP, None) => return Err("token_not_bound"),
        (Scheme::Bearer, None) if limits.dpop_required => return Err("token_not_bound"),
        (Scheme::Bearer, None) | (Scheme::DPoP, Some(_)) => {}
    }
    let Token {
        identity,
        name,
        provider_sid,
        issued_at,
        ..
    } = &**token;
    if context.is_revoked(name, &identity.subject, provider_sid.as_ref(), *issued_at) {
        return Err("token_revoked");
    }
    // Introspection is repeated and notices a revocation; a signature stays valid.
    let may_be_revoked_unnoticed = token.is_user && token.key.is_some();
    if may_be_revoked_unnoticed && now.since(*issued_at) >= limits.sessions.absolute {
        return Err("token_too_old");
    }
    Ok(LiveToken {
        token: Arc::clone(token),
        scheme,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::identity::claims::Claims;
    use crate::types::oauth::Subject;

    struct TestContext {
        revoked: bool,
        is_known_key: bool,
    }

    impl ValidityContext for TestContext {
        fn is_revoked(
            &self,
            _: &SessionId,
            _: &Subject,
            _: Option<&ProviderSid>,
            issued_at: Timestamp,
        ) -> bool {
            self.revoked && issued_at <= at(50)
        }
        fn is_known_key(&self, _: &KeyFingerprint) -> bool {
            self.is_known_key
        }
    }

    const CONTEXT: TestContext = TestContext {
        revoked: false,
        is_known_key: true,
    };
    const LIMITS: TokenLimits = TokenLimits {
        sessions: Limits {
            idle: Duration::from_secs(10),
            absolute: Duration::from_secs(1000),
        },
        dpop_required: false,
    };

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(100_000 + secs)
    }

    /// A user's token, issued at 0, valid until 5000, not bound to a key.
    fn token() -> Token {
        Token {
            issuer: None,
            identity: Arc::new(Identity::new(Subject::new("alice"), Claims::default(), &[])),
            is_user: true,
            key: Some(KeyFingerprint::new([0; 16])),
            valid_until: at(5000),
            ends_at: at(5000),
            issued_at: at(0),
            provider_sid: None,
            name: SessionId::new("t"),
            bound_to: None,
        }
    }

    fn result(
        token: Token,
        scheme: Scheme,
        now: u64,
        context: &TestContext,
    ) -> Result<(), &'static str> {
        validate(&Arc::new(token), scheme, at(now), &LIMITS, context).map(|_| ())
    }

    #[test]
    fn validate_user_token_older_than_revocations_rejected() {
        assert_eq!(result(token(), Scheme::Bearer, 999, &CONTEXT), Ok(()));
        assert_eq!(
            result(token(), Scheme::Bearer, 1000, &CONTEXT),
            Err("token_too_old")
        );
        for other in [
            Token {
                is_user: false,
                ..token()
            },
            Token {
                key: None,
                ..token()
            },
        ] {
            assert_eq!(result(other, Scheme::Bearer, 4999, &CONTEXT), Ok(()));
        }
        assert_eq!(
            result(token(), Scheme::Bearer, 5000, &CONTEXT),
            Err("token_expired")
        );
    }

    #[test]
    fn validate_revocation_and_unknown_key_apply_immediately() {
        let unknown_key = TestContext {
            revoked: false,
            is_known_key: false,
        };
        assert_eq!(
            result(token(), Scheme::Bearer, 1, &unknown_key),
            Err("token_key_unknown")
        );
        assert_eq!(
            result(
                Token {
                    key: None,
                    ..token()
                },
                Scheme::Bearer,
                1,
                &unknown_key
            ),
            Ok(())
        );
        let revoked = TestContext {
            revoked: true,
            is_known_key: true,
        };
        assert_eq!(
            result(token(), Scheme::Bearer, 1, &revoked),
            Err("token_revoked")
        );
        let later = Token {
            issued_at: at(51),
            ..token()
        };
        assert_eq!(result(later, Scheme::Bearer, 60, &revoked), Ok(()));
    }

    #[test]
    fn validate_scheme_must_match_key_binding() {
        let bound = || Token {
            bound_to: Some(JwkThumbprint::new("k")),
            ..token()
        };
        assert_eq!(result(bound(), Scheme::DPoP, 1, &CONTEXT), Ok(()));
        assert_eq!(
            result(bound(), Scheme::Bearer, 1, &CONTEXT),
            Err("token_bound_to_key")
        );
        assert_eq!(
            result(token(), Scheme::DPoP, 1, &CONTEXT),
            Err("token_not_bound")
        );
        let strict = TokenLimits {
            dpop_required: true,
            ..LIMITS
        };
        let validate_strictly = |token, scheme| {
            validate(&Arc::new(token), scheme, at(1), &strict, &CONTEXT).map(|_| ())
        };
        assert_eq!(
            validate_strictly(token(), Scheme::Bearer),
            Err("token_not_bound")
        );
        assert_eq!(validate_strictly(bound(), Scheme::DPoP), Ok(()));
    }
}
