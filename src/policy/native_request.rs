//! Requests of native clients: an RFC 6749 form, or the same fields as JSON. Each field is limited
//! in size and may occur once. Secrets are zeroed when dropped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::native::NativeCall;
use super::throttle::is_visible;
use crate::types::oauth::{ClientId, Password};

/// Maximum length of a user name in bytes.
pub(super) const MAX_NAME: usize = 320;
/// Maximum length of a password in bytes.
pub(super) const MAX_PASSWORD: usize = 1024;
/// Maximum length of a scope in bytes.
const MAX_SCOPE: usize = 1024;

/// A parsed request.
#[derive(Debug)]
pub enum NativeRequest {
    /// A login.
    Login(PasswordLogin),
    /// A refresh.
    Refresh(RefreshRequest),
    /// A logout.
    Logout(LogoutRequest),
}

/// A login with a password.
#[derive(Debug)]
pub struct PasswordLogin {
    /// `username`.
    pub username: String,
    /// `password`.
    pub password: Password,
    /// `scope`.
    pub scope: Option<String>,
    /// `device_token`, from the last login on this device.
    pub device_token: Option<Zeroizing<String>>,
    /// How the session is returned.
    pub mode: Mode,
}

/// A refresh.
#[derive(Debug)]
pub struct RefreshRequest {
    /// `refresh_token`.
    pub refresh_token: Zeroizing<String>,
    /// `scope`.
    pub scope: Option<String>,
}

/// The session that a logout ends.
#[derive(Debug)]
pub enum LogoutRequest {
    /// The session of `refresh_token`, or of `access_token` without that.
    Token(Zeroizing<String>),
    /// The session of the request's cookies.
    Cookies,
}

/// How the session is returned to the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As tokens, which the app stores.
    #[default]
    Tokens,
    /// As cookies of the app's web view.
    Cookies,
}

/// Why a request is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NativeRequestError {
    /// The media type is not the endpoint's.
    #[error("the endpoint does not support this media type")]
    MediaType,
    /// The body is not a form, or not a JSON object with these fields.
    #[error("the body is malformed")]
    Malformed,
    /// A field is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field occurs twice (RFC 6749 section 3.2).
    #[error("a parameter is repeated")]
    Repeated,
    /// A field is too long or contains a forbidden character.
    #[error("`{0}` is too long or contains a forbidden character")]
    Invalid(&'static str),
    /// `grant_type` is not supported.
    #[error("`grant_type` must be `password` or `refresh_token`")]
    GrantType,
    /// The `client_id` is wrong, or a public client sends a secret.
    #[error("the client ID is wrong, or a public client sent a secret")]
    Client,
}

impl NativeRequestError {
    /// The stable code for logs, metrics and responses.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MediaType => "unsupported_media_type",
            Self::Malformed => "body_malformed",
            Self::Missing(_) => "field_missing",
            Self::Repeated => "field_repeated",
            Self::Invalid(_) => "field_invalid",
            Self::GrantType => "unsupported_grant_type",
            Self::Client => "invalid_client",
        }
    }
}

/// The headers that determine how the body is read.
#[derive(Clone, Copy, Debug)]
pub struct Head<'h> {
    /// `Content-Type`.
    pub content_type: &'h str,
    /// `Authorization`, which some client libraries use for the client ID.
    pub authorization: Option<&'h str>,
}

impl NativeRequest {
    /// Parses the body of a `call`. If it has a client ID, that must be `client_id`.
    ///
    /// # Errors
    /// See [`NativeRequestError`].
    pub fn read(
        call: NativeCall,
        head: Head<'_>,
        body: &[u8],
        client_id: &ClientId,
    ) -> Result<Self, NativeRequestError> {
        let media_type = head
            .content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let wanted = match call {
            NativeCall::Token => "application/x-www-form-urlencoded",
            NativeCall::Login | NativeCall::Refresh | NativeCall::Logout => "application/json",
        };
        if !media_type.eq_ignore_ascii_case(wanted) {
            return Err(NativeRequestError::MediaType);
        }
        let (fields, grant_type) = match call {
            NativeCall::Token => Fields::of_form(body)?,
            NativeCall::Login | NativeCall::Refresh | NativeCall::Logout => {
                (Fields::of_json(body)?, None)
            }
        };
        check_client(&fields, head.authorization, client_id)?;
        match (call, grant_type.as_ref().map(|word| word.as_str())) {
            (NativeCall::Login, _) | (NativeCall::Token, Some("password")) => {
                fields.login().map(Self::Login)
            }
            (NativeCall::Refresh, _) | (NativeCall::Token, Some("refresh_token")) => {
                fields.refresh().map(Self::Refresh)
            }
            (NativeCall::Logout, _) => fields.logout().map(Self::Logout),
            (NativeCall::Token, Some(_)) => Err(NativeRequestError::GrantType),
            (NativeCall::Token, None) => Err(NativeRequestError::Missing("grant_type")),
        }
    }
}

type Text = Option<Zeroizing<String>>;

/// All known fields. Others are ignored (RFC 6749 section 3.2).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    #[serde(deserialize_with = "wiped")]
    username: Text,
    #[serde(deserialize_with = "wiped")]
    password: Text,
    #[serde(deserialize_with = "wiped")]
    scope: Text,
    #[serde(deserialize_with = "wiped")]
    refresh_token: Text,
    #[serde(deserialize_with = "wiped")]
    access_token: Text,
    #[serde(deserialize_with = "wiped")]
    device_token: Text,
    #[serde(deserialize_with = "wiped")]
    client_id: Text,
    #[serde(deserialize_with = "wiped")]
    client_secret: Text,
    mode: Mode,
}

fn wiped<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| text.map(Zeroizing::new))
}

impl Fields {
    fn of_json(body: &[u8]) -> Result<Self, NativeRequestError> {
        // Serde would also accept an array.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(NativeRequestError::Malformed);
        }
        // The error is dropped because its message may quote a password.
        serde_json::from_slice(body).map_err(|_| NativeRequestError::Malformed)
    }

    /// The fields of a form, and its grant type.
    fn of_form(body: &[u8]) -> Result<(Self, Text), NativeRequestError> {
        let (mut fields, mut grant_type) = (Self::default(), None);
        for (name, value) in form_urlencoded::parse(body) {
            let value = Zeroizing::new(value.into_owned());
            let field = match name.as_ref() {
                "grant_type" => &mut grant_type,
                "username" => &mut fields.username,
                "password" => &mut fields.password,
                "scope" => &mut fields.scope,
                "refresh_token" => &mut fields.refresh_token,
                "device_token" => &mut fields.device_token,
                "client_id" => &mut fields.client_id,
                "client_secret" => &mut fields.client_secret,
                _ => continue,
            };
            if field.replace(value).is_some() {
                return Err(NativeRequestError::Repeated);
            }
        }
        Ok((fields, grant_type.filter(|word| !word.is_empty())))
    }

    fn login(self) -> Result<PasswordLogin, NativeRequestError> {
        let plain = |c: char| !c.is_control();
        let username = checked(self.username, "username", MAX_NAME, plain)?
            .filter(|name| name.chars().any(is_visible))
            .ok_or(NativeRequestError::Missing("username"))?;
        let password = checked(self.password, "password", MAX_PASSWORD, |c| c != '\0')?;
        let mut password = password.ok_or(NativeRequestError::Missing("password"))?;
        Ok(PasswordLogin {
            username: username.to_string(),
            password: Password::new(std::mem::take(&mut *password)),
            scope: scope(self.scope)?,
            device_token: self.device_token,
            mode: self.mode,
        })
    }

    fn refresh(self) -> Result<RefreshRequest, NativeRequestError> {
        let token = self.refresh_token.filter(|token| !token.is_empty());
        let refresh_token = token.ok_or(NativeRequestError::Missing("refresh_token"))?;
        Ok(RefreshRequest {
            refresh_token,
            scope: scope(self.scope)?,
        })
    }

    fn logout(self) -> Result<LogoutRequest, NativeRequestError> {
        match self.mode {
            Mode::Cookies => Ok(LogoutRequest::Cookies),
            Mode::Tokens => {
                let token = self.refresh_token.or(self.access_token);
                token
                    .map(LogoutRequest::Token)
                    .ok_or(NativeRequestError::Missing("refresh_token"))
            }
        }
    }
}

/// Checks one parameter. One without a value counts as absent (RFC 6749 section 3.2).
fn checked(
    text: Text,
    name: &'static str,
    max_len: usize,
    allowed: impl Fn(char) -> bool,
) -> Result<Text, NativeRequestError> {
    let text = text.filter(|text| !text.is_empty());
    if text
        .as_ref()
        .is_some_and(|text| text.len() > max_len || !text.chars().all(allowed))
    {
        return Err(NativeRequestError::Invalid(name));
    }
    Ok(text)
}

fn scope(text: Text) -> Result<Option<String>, NativeRequestError> {
    let allowed = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    Ok(checked(text, "scope", MAX_SCOPE, allowed)?.map(|scope| scope.to_string()))
}

/// Checks the client ID. Native apps are public clients (RFC 6749 section 2.1): they may send their
/// ID in the body, or as Basic with an empty password, which some libraries do. A secret inside an
/// app protects nothing.
fn check_client(
    fields: &Fields,
    authorization: Option<&str>,
    expected: &ClientId,
) -> Result<(), NativeRequestError> {
    let is_expected = |name: &str| name == expected.as_str();
    let named_right = fields
        .client_id
        .as_ref()
        .is_none_or(|name| name.is_empty() || is_expected(name));
    let without_secret = fields
        .client_secret
        .as_ref()
        .is_none_or(|secret| secret.is_empty());
    let by_header = match authorization.map(|value| value.split_once(' ')) {
        None => true,
        Some(Some((scheme, rest))) if scheme.eq_ignore_ascii_case("basic") => {
            basic(rest).is_some_and(|(name, secret)| is_expected(&name) && secret.is_empty())
        }
        Some(_) => false,
    };
    if named_right && without_secret && by_header {
        Ok(())
    } else {
        Err(NativeRequestError::Client)
    }
}

/// User name and password of Basic credentials (RFC 7617), each form-encoded (RFC 6749 section
/// 2.3.1).
fn basic(encoded: &str) -> Option<(String, Zeroizing<String>)> {
    let pair = Zeroizing::new(String::from_utf8(STANDARD.decode(encoded.trim_ascii()).ok()?).ok()?);
    let (name, secret) = pair.split_once(':')?;
    let decoded = |text: &str| {
        let field = Zeroizing::new(format!("={text}"));
        form_urlencoded::parse(field.as_bytes())
            .next()
            .map(|(_, value)| value.into_owned())
    };
    Some((decoded(name)?, Zeroizing::new(decoded(secret)?)))
}

#[cfg(test)]
mod tests;
