//! What a native app asks for: a form of RFC 6749, or the same in JSON. Read whole, each field once and within limits;
//! what is secret in it is wiped when dropped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::native::NativeCall;
use crate::types::oauth::{ClientId, Password};

/// Longest account name, in bytes.
const MAX_NAME: usize = 320;
/// Longest password, in bytes: no provider hashes more in earnest.
const MAX_PASSWORD: usize = 1024;
/// Longest scope, in bytes.
const MAX_SCOPE: usize = 1024;

/// What is asked for.
#[derive(Debug)]
pub enum NativeRequest {
    /// A login.
    Login(PasswordLogin),
    /// New tokens for a refresh token.
    Refresh(RefreshRequest),
    /// The end of a session.
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
    /// `device_token`: from the last login on this device.
    pub device_token: Option<Zeroizing<String>>,
    /// How the session is handed over.
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

/// Whose session a logout ends.
#[derive(Debug)]
pub enum LogoutRequest {
    /// That of the `refresh_token`, or else the `access_token`.
    OfToken(Zeroizing<String>),
    /// That of the cookies which come along.
    OfCookies,
}

/// Where a session is kept on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// By the app, which gets tokens.
    #[default]
    Tokens,
    /// By the cookies of its web view.
    Cookies,
}

/// Why a request is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NativeRequestError {
    /// Another media type.
    #[error("the body has another media type than this endpoint takes")]
    MediaType,
    /// Not a form, or not a JSON object with such members.
    #[error("the body cannot be read")]
    Malformed,
    /// A field is not there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field came twice (RFC 6749 section 3.2).
    #[error("a parameter came twice")]
    Repeated,
    /// A field is too long, or has characters that it must not have.
    #[error("`{0}` is too long or has characters that it must not have")]
    Unfit(&'static str),
    /// `grant_type` is another.
    #[error("`grant_type` must be `password` or `refresh_token`")]
    GrantType,
    /// The client calls itself another name, or shows a secret that it does not have.
    #[error("the client is not this app's, or brought a secret although it is a public client")]
    Client,
}

impl NativeRequestError {
    /// The stable word for logs, metrics and answers.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MediaType => "unsupported_media_type",
            Self::Malformed => "body_malformed",
            Self::Missing(_) => "field_missing",
            Self::Repeated => "field_repeated",
            Self::Unfit(_) => "field_invalid",
            Self::GrantType => "unsupported_grant_type",
            Self::Client => "invalid_client",
        }
    }
}

/// The head of a request, as far as it says how the body is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Head<'h> {
    /// `Content-Type`.
    pub content_type: &'h str,
    /// `Authorization`, where a client library names its client with it.
    pub authorization: Option<&'h str>,
}

impl NativeRequest {
    /// Reads the body that came with `call`; a client that names itself must be `client_id`.
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

/// Every field there is; others are passed over, as RFC 6749 section 3.2 wants it.
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
        // A list would be taken for an object without names.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(NativeRequestError::Malformed);
        }
        // The message would quote what it does not like, which may be a password.
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
        let username = fit(self.username, "username", MAX_NAME, plain)?
            .ok_or(NativeRequestError::Missing("username"))?;
        let password = fit(self.password, "password", MAX_PASSWORD, |c| c != '\0')?;
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
            Mode::Cookies => Ok(LogoutRequest::OfCookies),
            Mode::Tokens => {
                let token = self.refresh_token.or(self.access_token);
                token
                    .map(LogoutRequest::OfToken)
                    .ok_or(NativeRequestError::Missing("refresh_token"))
            }
        }
    }
}

/// A parameter without a value counts as left out (RFC 6749 section 3.2).
fn fit(
    text: Text,
    name: &'static str,
    longest: usize,
    allowed: impl Fn(char) -> bool,
) -> Result<Text, NativeRequestError> {
    let text = text.filter(|text| !text.is_empty());
    if text
        .as_ref()
        .is_some_and(|text| text.len() > longest || !text.chars().all(allowed))
    {
        return Err(NativeRequestError::Unfit(name));
    }
    Ok(text)
}

fn scope(text: Text) -> Result<Option<String>, NativeRequestError> {
    let allowed = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    Ok(fit(text, "scope", MAX_SCOPE, allowed)?.map(|scope| scope.to_string()))
}

/// Native apps are public clients (RFC 6749 section 2.1): they may say their name, in the body or as Basic with an empty
/// password, which is how some libraries say it; a secret within an app is none.
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

/// Name and password of RFC 7617, each form-encoded within (RFC 6749 section 2.3.1).
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
mod tests {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json; charset=utf-8";

    fn read_as(
        call: NativeCall,
        head: Head<'_>,
        body: &str,
    ) -> Result<NativeRequest, NativeRequestError> {
        NativeRequest::read(call, head, body.as_bytes(), &ClientId::new("the store"))
    }

    fn form(body: &str) -> Result<NativeRequest, NativeRequestError> {
        read_as(
            NativeCall::Token,
            Head {
                content_type: FORM,
                authorization: None,
            },
            body,
        )
    }

    fn json(call: NativeCall, body: &str) -> Result<NativeRequest, NativeRequestError> {
        read_as(
            call,
            Head {
                content_type: JSON,
                authorization: None,
            },
            body,
        )
    }

    fn credentials(read: Result<NativeRequest, NativeRequestError>) -> PasswordLogin {
        match read {
            Ok(NativeRequest::Login(credentials)) => credentials,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_login_is_read_from_a_form_and_from_json() {
        let by_form = form(
            "grant_type=password&username=alice%40example.com&password=p%26+%C3%A9&scope=openid+email&x=y",
        );
        let by_json = json(
            NativeCall::Login,
            r#"{"username":"alice@example.com","password":"p& \u00e9","scope":"openid email","grant_type":"other"}"#,
        );
        for login in [credentials(by_form), credentials(by_json)] {
            assert_eq!(
                (login.username.as_str(), login.password.expose()),
                ("alice@example.com", "p& é")
            );
            assert_eq!(
                (login.scope.as_deref(), login.mode),
                (Some("openid email"), Mode::Tokens)
            );
            assert!(login.device_token.is_none());
            assert!(!format!("{login:?}").contains("p&"));
        }
        let web_view = json(
            NativeCall::Login,
            r#"{"username":"a","password":"b","mode":"cookies","scope":null}"#,
        );
        assert_eq!(credentials(web_view).mode, Mode::Cookies);
    }

    #[test]
    fn a_refresh_and_a_logout_are_read() {
        let read = form("grant_type=refresh_token&refresh_token=r&client_id=the+store&scope=");
        assert!(
            matches!(read, Ok(NativeRequest::Refresh(asked)) if asked.refresh_token.as_str() == "r" && asked.scope.is_none())
        );
        let read = json(NativeCall::Refresh, r#"{"refresh_token":"r"}"#);
        assert!(
            matches!(read, Ok(NativeRequest::Refresh(asked)) if asked.refresh_token.as_str() == "r")
        );
        for body in [
            r#"{"refresh_token":"r","access_token":"a"}"#,
            r#"{"access_token":"r"}"#,
        ] {
            let read = json(NativeCall::Logout, body);
            assert!(
                matches!(read, Ok(NativeRequest::Logout(LogoutRequest::OfToken(token))) if token.as_str() == "r")
            );
        }
        let read = json(NativeCall::Logout, r#"{"mode":"cookies"}"#);
        assert!(matches!(
            read,
            Ok(NativeRequest::Logout(LogoutRequest::OfCookies))
        ));
        assert_eq!(
            json(NativeCall::Logout, "{}").unwrap_err(),
            NativeRequestError::Missing("refresh_token")
        );
    }

    #[test]
    fn what_is_no_request_is_refused_and_says_why() {
        let long = |name: &str, length: usize| {
            format!(
                "grant_type=password&username=a&password=b&{name}={}",
                "x".repeat(length)
            )
        };
        let forms = [
            ("", NativeRequestError::Missing("grant_type")),
            ("grant_type=", NativeRequestError::Missing("grant_type")),
            (
                "grant_type=authorization_code&code=x",
                NativeRequestError::GrantType,
            ),
            (
                "grant_type=password&password=b",
                NativeRequestError::Missing("username"),
            ),
            (
                "grant_type=password&username=a&password=",
                NativeRequestError::Missing("password"),
            ),
            (
                "grant_type=refresh_token",
                NativeRequestError::Missing("refresh_token"),
            ),
            (
                "grant_type=password&username=a&username=a&password=b",
                NativeRequestError::Repeated,
            ),
            (
                "grant_type=password&username=a&password=b&password=c",
                NativeRequestError::Repeated,
            ),
            (
                "grant_type=password&username=a%0D%0Ax&password=b",
                NativeRequestError::Unfit("username"),
            ),
            (
                "grant_type=password&username=a&password=b%00",
                NativeRequestError::Unfit("password"),
            ),
            (&long("scope", 1025), NativeRequestError::Unfit("scope")),
            (
                "grant_type=password&username=a&password=b&scope=%22",
                NativeRequestError::Unfit("scope"),
            ),
            (
                "grant_type=password&username=a&password=b&client_id=forum",
                NativeRequestError::Client,
            ),
            (
                "grant_type=password&username=a&password=b&client_id=the+store&client_secret=s",
                NativeRequestError::Client,
            ),
        ];
        for (body, error) in forms {
            assert_eq!(form(body).unwrap_err(), error, "{body}");
        }
        for (name, most, error) in [
            ("username", 320, "username"),
            ("password", 1024, "password"),
        ] {
            let others = if name == "username" {
                "password=b"
            } else {
                "username=a"
            };
            let of = |length| {
                form(&format!(
                    "grant_type=password&{others}&{name}={}",
                    "x".repeat(length)
                ))
            };
            assert!(of(most).is_ok());
            assert_eq!(of(most + 1).unwrap_err(), NativeRequestError::Unfit(error));
        }
        for body in [
            "",
            "[]",
            "{",
            "null",
            r#""x""#,
            r#"{"username":7,"password":"b"}"#,
            r#"{"mode":"cookie"}"#,
        ] {
            assert_eq!(
                json(NativeCall::Login, body).unwrap_err(),
                NativeRequestError::Malformed,
                "{body}"
            );
        }
        let twice = r#"{"username":"a","password":"b","password":"c"}"#;
        assert_eq!(
            json(NativeCall::Login, twice).unwrap_err(),
            NativeRequestError::Malformed
        );
    }

    #[test]
    fn each_endpoint_takes_one_media_type() {
        let head = |content_type| Head {
            content_type,
            authorization: None,
        };
        let body = "grant_type=refresh_token&refresh_token=r";
        for (call, wrong) in [
            (NativeCall::Token, "application/json"),
            (NativeCall::Token, ""),
            (NativeCall::Token, "text/plain"),
            (NativeCall::Login, FORM),
            (NativeCall::Refresh, "text/plain"),
            (NativeCall::Logout, "multipart/form-data"),
        ] {
            assert_eq!(
                read_as(call, head(wrong), body).unwrap_err(),
                NativeRequestError::MediaType,
                "{call:?} {wrong}"
            );
        }
        assert!(
            read_as(
                NativeCall::Token,
                head("Application/X-WWW-Form-Urlencoded ;charset=UTF-8"),
                body
            )
            .is_ok()
        );
    }

    #[test]
    fn a_public_client_may_say_its_name_and_has_no_secret() {
        let with = |authorization: &str| {
            let head = Head {
                content_type: FORM,
                authorization: Some(authorization),
            };
            read_as(
                NativeCall::Token,
                head,
                "grant_type=refresh_token&refresh_token=r",
            )
        };
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for good in [
            basic("the+store:"),
            basic("the store:"),
            basic("the%20store:").replace("Basic", "basic"),
        ] {
            assert!(with(&good).is_ok(), "{good}");
        }
        for bad in [
            basic("the store:secret"),
            basic("forum:"),
            basic("the store"),
            basic(""),
            "Bearer x".into(),
            "x".into(),
        ] {
            assert_eq!(with(&bad).unwrap_err(), NativeRequestError::Client, "{bad}");
        }
    }
}
