//! Credentials: the grounds of a permit.

use std::sync::Arc;

use crate::identity::authentication::UserAuthentication;
use crate::identity::credentials::Scheme;
use crate::identity::identity::Identity;
use crate::session::token::LiveToken;
use crate::session::validity::LiveSession;

/// The credential that a permit is based on.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    /// A session by cookies.
    Session(LiveSession),
    /// A session by an access token that Doorward issued.
    NativeSession(LiveSession),
    /// A session by a user name and a password in the request.
    Password(LiveSession),
    /// An access token of an issuer.
    Token(LiveToken),
}

impl Credential {
    pub(super) fn identity(&self) -> &Arc<Identity> {
        match self {
            Self::Session(live) | Self::NativeSession(live) | Self::Password(live) => {
                &live.session().identity
            }
            Self::Token(live) => &live.token().identity,
        }
    }

    pub(super) const fn token(&self) -> Option<&LiveToken> {
        match self {
            Self::Session(_) | Self::NativeSession(_) | Self::Password(_) => None,
            Self::Token(live) => Some(live),
        }
    }

    /// How and when the user authenticated.
    pub(super) fn authentication(&self) -> UserAuthentication {
        match self {
            Self::Session(live) | Self::NativeSession(live) | Self::Password(live) => {
                live.session().authentication.clone()
            }
            Self::Token(live) => UserAuthentication::of_claims(&live.token().identity.claims),
        }
    }

    /// The authentication scheme of an access token.
    pub(super) fn scheme(&self) -> Option<Scheme> {
        match self {
            Self::Session(_) | Self::Password(_) => None,
            Self::NativeSession(live) if live.session().bound_to.is_some() => Some(Scheme::DPoP),
            Self::NativeSession(_) => Some(Scheme::Bearer),
            Self::Token(live) => Some(live.scheme()),
        }
    }
}
