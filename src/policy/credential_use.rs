//! Credentials in `Authorization`: how a route uses an access token or a password.

use http::HeaderMap;

use super::basic::is_confidential;
use super::native::NativeCredentials;
use super::request_info::RequestInfo;
use super::route::Route;
use super::rules::Access;

/// How a route uses an access token of an issuer, or a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialUse {
    /// They are not read.
    Ignored,
    /// They identify the caller, but the request is also allowed without one.
    Optional,
    /// The request needs an identity.
    Required,
}

impl CredentialUse {
    const fn of(access: &Access) -> Self {
        match access {
            Access::Denied => Self::Ignored,
            Access::Public => Self::Optional,
            Access::Authenticated | Access::If(_) => Self::Required,
        }
    }
}

impl Route<'_> {
    /// How an access token in `headers` is used. Tokens that Doorward issued to native apps are
    /// sessions.
    pub fn bearer_use(&self, headers: &HeaderMap) -> CredentialUse {
        let Self::App(route) = self else {
            return CredentialUse::Ignored;
        };
        let app = route.app_ref.app;
        let requirement = route.requirement;
        let accepts_bearer = requirement.auth_methods.bearer && app.bearer.is_some();
        let has_native_token =
            || app.native.is_some() && NativeCredentials::read(headers).is_some();
        if !accepts_bearer || has_native_token() {
            return CredentialUse::Ignored;
        }
        CredentialUse::of(&requirement.access)
    }

    /// How a user name and a password are used. Over plain HTTP they are not read.
    pub fn basic_use(&self, info: &RequestInfo) -> CredentialUse {
        match self {
            Self::App(route)
                if route.requirement.auth_methods.basic
                    && is_confidential(info, &route.app_ref.app.origin) =>
            {
                CredentialUse::of(&route.requirement.access)
            }
            Self::App(..)
            | Self::Endpoint(..)
            | Self::Alias(_)
            | Self::PlainHttp(_)
            | Self::UnsupportedPath(_)
            | Self::Misdirected
            | Self::NoAppAtPath => CredentialUse::Ignored,
        }
    }
}
