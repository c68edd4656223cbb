//! The switches: what the provider does differently from a good one.

use std::time::Duration;

use serde_json::Value;

use super::super::gate::Gate;

/// Where the provider can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Discovery,
    Jwks,
    Authorize,
    Token,
    Revocation,
    Userinfo,
    EndSession,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Discovery, Self::Jwks, Self::Authorize, Self::Token, Self::Revocation, Self::Userinfo, Self::EndSession];

    /// Its path below the issuer.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Discovery => "/.well-known/openid-configuration",
            Self::Jwks => "/keys",
            Self::Authorize => "/authorize",
            Self::Token => "/token",
            Self::Revocation => "/revoke",
            Self::Userinfo => "/userinfo",
            Self::EndSession => "/end-session",
        }
    }
}

/// What goes wrong with a call as a whole.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Done as asked, answered so much later.
    Slow(Duration),
    /// Done as asked, answered when the gate opens.
    Held(Gate),
    /// Done and answered when the gate opens, if the caller is still there then.
    HeldBefore(Gate),
    /// An HTML page with status 200, nothing done.
    Html,
    /// This status with a short text, nothing done.
    Status(u16),
    /// This status with this page, nothing done.
    Page(u16),
    /// This status with this JSON, nothing done.
    Json(u16, &'static str),
    /// A redirect to this address that keeps method and body (307), nothing done.
    Redirect(String),
    /// Status 200 with so many bytes of valid JSON, nothing done.
    Huge(usize),
    /// Status 200 and JSON that breaks off, nothing done.
    BrokenJson,
    /// The connection is cut after the request was read, nothing done.
    CutBefore,
    /// Done as asked, but the connection is cut instead of the answer.
    CutAfter,
}

/// What is wrong with a token.
#[derive(Clone, Debug, PartialEq)]
pub enum Flaw {
    WrongIssuer,
    WrongAudience,
    WrongNonce,
    WrongSignature,
    /// `alg: none` and no signature.
    AlgNone,
    /// HMAC with the public key as secret.
    HmacWithPublicKey,
    /// Signed by a key that the key set does not have, under a `kid` of its own.
    KeyMissing,
    /// Expired an hour before it was made.
    Expired,
    /// A claim with this value.
    Claim(&'static str, Value),
    /// Without this claim (`exp` for instance).
    Without(&'static str),
    /// A header member with this value.
    Header(&'static str, Value),
}

/// `iss` in the authorization response (RFC 9207).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssParameter {
    Right,
    Missing,
    Wrong,
}

/// `expires_in` in the token response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiresIn {
    Right,
    Missing,
    Seconds(u64),
}

/// How refreshes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshRefusal {
    pub status: u16,
    /// The `error` member; `None`: an empty body.
    pub error: Option<&'static str>,
}

/// The lasting switches; the default is a good provider with rotation and reuse detection.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// `issuer` in the discovery document.
    pub discovery_issuer: Option<String>,
    /// Discovery names this endpoint: left out otherwise, and 404.
    pub has_end_session: bool,
    pub has_revocation: bool,
    pub has_userinfo: bool,
    /// A broken key stands first in the key set.
    pub junk_in_jwks: bool,
    /// The authorization response is this error instead of a code.
    pub authorize_error: Option<&'static str>,
    /// `prompt=none` with nobody signed in is answered with the form.
    pub ignores_prompt_none: bool,
    pub iss_parameter: IssParameter,
    pub extra_callback_parameters: Vec<(String, String)>,
    pub id_token_flaws: Vec<Flaw>,
    pub access_token_flaws: Vec<Flaw>,
    pub opaque_access_token: bool,
    /// `aud` of access tokens; `None`: the client's id.
    pub access_token_audience: Option<String>,
    pub token_lifetime: Duration,
    pub expires_in: ExpiresIn,
    /// The code exchange grants a refresh token.
    pub grants_refresh_token: bool,
    /// A refresh consumes its token and brings a new one; otherwise the answer has none and the old one stays.
    pub rotates_refresh_tokens: bool,
    /// Without rotation: the answer to a refresh has the same token again.
    pub repeats_refresh_token: bool,
    /// A consumed token kills all that came of the same login.
    pub detects_reuse: bool,
    pub refresh_brings_id_token: bool,
    /// Refreshed tokens are for this `sub`.
    pub refreshed_sub: Option<String>,
    pub refresh_refusal: Option<RefreshRefusal>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            discovery_issuer: None,
            has_end_session: true,
            has_revocation: true,
            has_userinfo: true,
            junk_in_jwks: false,
            authorize_error: None,
            ignores_prompt_none: false,
            iss_parameter: IssParameter::Right,
            extra_callback_parameters: Vec::new(),
            id_token_flaws: Vec::new(),
            access_token_flaws: Vec::new(),
            opaque_access_token: false,
            access_token_audience: None,
            token_lifetime: Duration::from_secs(300),
            expires_in: ExpiresIn::Right,
            grants_refresh_token: true,
            rotates_refresh_tokens: true,
            repeats_refresh_token: false,
            detects_reuse: true,
            refresh_brings_id_token: true,
            refreshed_sub: None,
            refresh_refusal: None,
        }
    }
}
