//! The provider's switches and faults.

use std::time::Duration;

use serde_json::Value;

use super::super::gate::Gate;

/// The endpoints of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Discovery,
    Jwks,
    Authorize,
    Token,
    Revocation,
    Userinfo,
    EndSession,
    Introspection,
}

impl Endpoint {
    /// All endpoints.
    pub const ALL: [Self; 8] = [
        Self::Discovery,
        Self::Jwks,
        Self::Authorize,
        Self::Token,
        Self::Revocation,
        Self::Userinfo,
        Self::EndSession,
        Self::Introspection,
    ];

    /// The path below the issuer.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Discovery => "/.well-known/openid-configuration",
            Self::Jwks => "/keys",
            Self::Authorize => "/authorize",
            Self::Token => "/token",
            Self::Revocation => "/revoke",
            Self::Userinfo => "/userinfo",
            Self::EndSession => "/end-session",
            Self::Introspection => "/introspect",
        }
    }
}

/// A fault of a whole call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Processes the call and delays the response.
    Slow(Duration),
    /// Processes the call and responds when the gate opens.
    Held(Gate),
    /// Processes the call and responds when the gate opens, if the caller is still connected.
    HeldBefore(Gate),
    /// Responds with an HTML page and status 200, without processing the call.
    Html,
    /// Responds with this status and a short text, without processing the call.
    Status(u16),
    /// Responds with this status and page, without processing the call.
    Page(u16),
    /// Responds with this status and JSON, without processing the call.
    Json(u16, &'static str),
    /// Redirects to this URL with 307, without processing the call.
    Redirect(String),
    /// Responds with status 200 and this many bytes of valid JSON, without processing the call.
    Huge(usize),
    /// Responds with status 200 and truncated JSON, without processing the call.
    BrokenJson,
    /// Closes the connection after reading the request, without processing the call.
    CutBefore,
    /// Processes the call, then closes the connection instead of responding.
    CutAfter,
}

/// A flaw of a token.
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
    /// Signed by an unpublished key with its own `kid`.
    KeyMissing,
    /// Expired an hour before it was issued.
    Expired,
    /// Sets a claim.
    Claim(&'static str, Value),
    /// Omits a claim, such as `exp`.
    Without(&'static str),
    /// Sets a header parameter.
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

/// The error response to refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshRefusal {
    pub status: u16,
    /// The `error` member, or `None` for an empty body.
    pub error: Option<&'static str>,
}

/// The switches. The default is a correct provider with rotation and reuse detection.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// `issuer` in the discovery document.
    pub discovery_issuer: Option<String>,
    /// Whether discovery lists this endpoint. Otherwise it responds with 404.
    pub has_end_session: bool,
    pub has_revocation: bool,
    pub has_userinfo: bool,
    pub has_introspection: bool,
    /// The introspection response for every token.
    pub introspection_answer: Option<Value>,
    /// `Date` of all responses.
    pub date: Option<&'static str>,
    /// Members that are set in the discovery document.
    pub discovery_members: Vec<(&'static str, Value)>,
    /// The key set starts with an invalid key.
    pub junk_in_jwks: bool,
    /// The authorization response carries this error instead of a code.
    pub authorize_error: Option<&'static str>,
    /// `prompt=none` without a session shows the form.
    pub ignores_prompt_none: bool,
    pub iss_parameter: IssParameter,
    pub extra_callback_parameters: Vec<(String, String)>,
    pub id_token_flaws: Vec<Flaw>,
    pub access_token_flaws: Vec<Flaw>,
    pub opaque_access_token: bool,
    /// `aud` of access tokens. `None` means the client ID.
    pub access_token_audience: Option<String>,
    pub token_lifetime: Duration,
    pub expires_in: ExpiresIn,
    /// Members that are set in every token response.
    pub token_response_members: Vec<(&'static str, Value)>,
    /// Claims that are set in userinfo responses.
    pub userinfo_claims: Vec<(&'static str, Value)>,
    /// The code exchange issues a refresh token.
    pub grants_refresh_token: bool,
    /// A refresh consumes its token and issues a new one. Otherwise the old token stays valid.
    pub rotates_refresh_tokens: bool,
    /// Without rotation, the refresh response repeats the same token.
    pub repeats_refresh_token: bool,
    /// Reuse of a consumed token revokes the whole family.
    pub detects_reuse: bool,
    pub refresh_brings_id_token: bool,
    /// Refreshed tokens carry this `sub`.
    pub refreshed_sub: Option<String>,
    pub refresh_refusal: Option<RefreshRefusal>,
    /// The response to every password grant: status and JSON.
    pub password_answer: Option<(u16, Value)>,
    /// The response to a token exchange, in place of a token.
    pub exchange_answer: Option<(u16, Value)>,
    pub password_brings_id_token: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            discovery_issuer: None,
            has_end_session: true,
            has_revocation: true,
            has_userinfo: true,
            has_introspection: true,
            introspection_answer: None,
            date: None,
            discovery_members: Vec::new(),
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
            token_response_members: Vec::new(),
            userinfo_claims: Vec::new(),
            grants_refresh_token: true,
            rotates_refresh_tokens: true,
            repeats_refresh_token: false,
            detects_reuse: true,
            refresh_brings_id_token: true,
            refreshed_sub: None,
            refresh_refusal: None,
            password_answer: None,
            exchange_answer: None,
            password_brings_id_token: true,
        }
    }
}
