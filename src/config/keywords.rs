//! Keywords: the enums that the file spells as one of a few strings.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::auth::app::{OnReuse, RevocationMode, Userinfo};
use crate::auth::session_list::ClientDetail;
use crate::oidc::fusionauth::RefreshBy;
use crate::oidc::settings::OnStoreOutage;
use crate::oidc::{
    AssertionAudience, AssertionType, PushedAuthorization, ResponseMode, SecurityProfile,
    SessionTokenSource,
};
use crate::policy::client_address::ForwardedHeader;
use crate::session::client_continuity::OnClientChange;
use crate::telemetry::log::LogFormat;
use crate::types::trace_context::TraceSource;
use crate::upstream::UpstreamProtocol;

/// Implements `Deserialize` for an enum that is one of these strings.
macro_rules! keywords {
    ($name:ident { $($text:literal => $variant:ident,)+ }) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader;

                impl Visitor<'_> for Reader {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("one of" $(, " `\"", $text, "\"`")+))
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<$name, E> {
                        match text {
                            $($text => Ok($name::$variant),)+
                            _ => Err(E::unknown_variant(text, &[$($text),+])),
                        }
                    }
                }

                deserializer.deserialize_any(Reader)
            }
        }
    };
}

keywords! { ForwardedHeader { "x-forwarded-for" => XForwardedFor, "forwarded" => Forwarded, } }
keywords! { UpstreamProtocol { "http1" => Http1, "http2" => Http2, } }
keywords! { LogFormat { "text" => Text, "json" => Json, } }
keywords! { TraceSource { "off" => Off, "trusted" => Trusted, "restart" => Restart, } }
keywords! { RefreshBy { "token" => Token, "jwt-refresh" => JwtRefresh, } }
keywords! { SessionTokenSource { "access" => Access, "id" => Id, } }
keywords! { AssertionAudience { "issuer" => Issuer, "token-endpoint" => TokenEndpoint, } }
keywords! {
    ResponseMode {
        "query" => Query,
        "form_post" => FormPost,
        "jwt" => Jwt,
        "query.jwt" => QueryJwt,
        "form_post.jwt" => FormPostJwt,
    }
}
keywords! { PushedAuthorization { "when-required" => WhenRequired, "always" => Always, } }
keywords! { AssertionType { "jwt-bearer" => JwtBearer, "jwt-spiffe" => JwtSpiffe, } }
keywords! {
    SecurityProfile { "fapi2" => Fapi2, "fapi2-message-signing" => Fapi2MessageSigning, }
}
keywords! { Userinfo { "when-needed" => WhenNeeded, "never" => Never, } }
keywords! { OnReuse { "end-session" => EndSession, "refuse" => Refuse, } }
keywords! { RevocationMode { "fail-open" => FailOpen, "fail-closed" => FailClosed, } }
keywords! {
    ClientDetail {
        "none" => None,
        "program" => Program,
        "program-and-network" => ProgramAndNetwork,
    }
}
keywords! { OnStoreOutage { "refuse" => Refuse, "local-lease" => LocalLease, } }

/// `log.level`: the least severe events that are logged.
#[derive(Clone, Copy)]
pub(super) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

keywords! {
    LogLevel {
        "error" => Error,
        "warn" => Warn,
        "info" => Info,
        "debug" => Debug,
        "trace" => Trace,
    }
}

/// `app_logout_method`: the method of the request to the app's own logout.
#[derive(Clone, Copy)]
pub(super) enum AppLogoutMethod {
    Get,
    Post,
}

keywords! { AppLogoutMethod { "GET" => Get, "POST" => Post, } }

/// `authorization_header`: what happens to `Authorization` that is meant for the app.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthorizationHeader {
    Forward,
    Remove,
}

keywords! { AuthorizationHeader { "forward" => Forward, "remove" => Remove, } }

/// `dangerously_pass_access_token`: the field in which the app gets the access token.
#[derive(Clone, Copy)]
pub(super) enum AccessTokenField {
    Authorization,
    XAccessToken,
}

keywords! {
    AccessTokenField { "Authorization" => Authorization, "X-Access-Token" => XAccessToken, }
}

/// `dangerously_pass_id_token`: the field in which the app gets the ID token.
#[derive(Clone, Copy)]
pub(super) enum IdTokenField {
    Authorization,
    XIdToken,
}

keywords! { IdTokenField { "Authorization" => Authorization, "X-Id-Token" => XIdToken, } }

/// `security_headers`: header fields for responses that lack them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SecurityHeaders {
    Off,
    Strict,
}

keywords! { SecurityHeaders { "off" => Off, "strict" => Strict, } }

/// `kind`: the provider's dialect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ProviderKind {
    /// Any OpenID provider.
    Oidc,
    FusionAuth,
}

keywords! { ProviderKind { "oidc" => Oidc, "fusionauth" => FusionAuth, } }

/// `signature`: how FusionAuth signs its webhooks.
#[derive(Clone, Copy)]
pub(super) enum WebhookSignature {
    /// With a key of its key set.
    Jwks,
    /// With a shared secret.
    Hmac,
}

keywords! { WebhookSignature { "jwks" => Jwks, "hmac" => Hmac, } }

/// `token_endpoint_auth_method`: client authentication (OpenID Connect Core section 9).
#[derive(Clone, Copy)]
pub(super) enum TokenEndpointAuthMethod {
    Basic,
    Post,
    PrivateKeyJwt,
    TlsClientAuth,
    SelfSignedTlsClientAuth,
    /// A public client: no secret, PKCE only.
    None,
}

keywords! {
    TokenEndpointAuthMethod {
        "client_secret_basic" => Basic,
        "client_secret_post" => Post,
        "private_key_jwt" => PrivateKeyJwt,
        "tls_client_auth" => TlsClientAuth,
        "self_signed_tls_client_auth" => SelfSignedTlsClientAuth,
        "none" => None,
    }
}

/// `auth_methods`: a credential that a rule accepts.
#[derive(Clone, Copy)]
pub(super) enum AuthMethod {
    /// Session cookies, or the tokens of a native app.
    Session,
    /// An access token of the provider.
    Bearer,
    /// A user name and a password (RFC 7617).
    Basic,
}

keywords! { AuthMethod { "session" => Session, "bearer" => Bearer, "basic" => Basic, } }

/// `mode`: whether sessions are bound to devices.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceBindingMode {
    /// No session is.
    Off,
    /// Those of browsers that can.
    Offer,
    /// Only bound sessions are accepted.
    Require,
}

keywords! { OnClientChange { "off" => Off, "observe" => Observe, "enforce" => Enforce, } }
keywords! { DeviceBindingMode { "off" => Off, "offer" => Offer, "require" => Require, } }

/// `members`: what the values of a claim are.
#[derive(Clone, Copy)]
pub(super) enum ClaimMembers {
    /// The claim, or the members of an array.
    Values,
    /// The keys of an object.
    Keys,
    /// The parts of a text between commas.
    Commas,
}

keywords! { ClaimMembers { "values" => Values, "keys" => Keys, "commas" => Commas, } }

/// `opaque_tokens`: the treatment of access tokens that are not JWTs.
#[derive(Clone, Copy)]
pub(super) enum OpaqueTokens {
    Refuse,
    /// Introspection at the app's provider (RFC 7662).
    Introspect,
}

keywords! { OpaqueTokens { "refuse" => Refuse, "introspect" => Introspect, } }

/// `dpop`: whether access tokens must be bound to a key (RFC 9449).
#[derive(Clone, Copy)]
pub(super) enum Dpop {
    /// Only tokens that are bound need a proof.
    Optional,
    /// Tokens that are not bound are rejected.
    Required,
}

keywords! { Dpop { "optional" => Optional, "required" => Required, } }
