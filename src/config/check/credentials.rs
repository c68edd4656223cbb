//! `dangerously_pass_…`, `upstream_basic_auth` and `upstream_bearer_file`: credentials for an app or one of
//! its routes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::super::files::Folder;
use super::super::keywords::{AccessTokenField, IdTokenField};
use super::super::raw::RawApp;
use super::super::raw_credentials::RawUpstreamBasicAuth;
use super::super::raw_routes::RawRoute;
use super::super::report::{Location, quoted};
use super::client_key;
use super::headers::folded;
use crate::oidc::{ClientSettings, SessionTokenSource};
use crate::policy::app::PassedToken;
use crate::upstream::{TokenField, UpstreamCredentials};

/// The keys of an app or route about credentials.
pub(super) struct RawCredentials {
    access_token: Option<AccessTokenField>,
    id_token: Option<IdTokenField>,
    basic: Option<RawUpstreamBasicAuth>,
    bearer_file: Option<String>,
}

impl RawCredentials {
    /// Takes the keys out of the table of an app.
    pub(super) fn of_app(app: &mut RawApp) -> Self {
        Self {
            access_token: app.dangerously_pass_access_token.take(),
            id_token: app.dangerously_pass_id_token.take(),
            basic: app.upstream_basic_auth.take(),
            bearer_file: app.upstream_bearer_file.take(),
        }
    }

    /// Takes the keys out of the table of a route.
    pub(super) fn of_route(route: &mut RawRoute) -> Self {
        Self {
            access_token: route.dangerously_pass_access_token.take(),
            id_token: route.dangerously_pass_id_token.take(),
            basic: route.upstream_basic_auth.take(),
            bearer_file: route.upstream_bearer_file.take(),
        }
    }

    /// The keys that are set.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("dangerously_pass_access_token", self.access_token.is_some()),
            ("dangerously_pass_id_token", self.id_token.is_some()),
            ("upstream_basic_auth", self.basic.is_some()),
            ("upstream_bearer_file", self.bearer_file.is_some()),
        ];
        let set = keys.into_iter().filter(|(_, is_set)| *is_set);
        set.map(|(key, _)| key)
    }
}

/// The app that credentials are checked for.
#[derive(Clone, Copy)]
pub(super) struct CredentialContext<'c> {
    /// Its registrations.
    pub(super) clients: &'c [&'c ClientSettings],
    /// The names of its identity headers.
    pub(super) identity: &'c [&'c str],
    /// The folder of the configuration file.
    pub(super) folder: &'c Folder,
}

/// The checked credentials of an app or route.
#[derive(Clone, Default)]
pub(super) struct CheckedCredentials {
    pub(super) upstream: UpstreamCredentials,
    /// The token that is passed.
    pub(super) passed: Option<PassedToken>,
    /// Whether it is exchanged before.
    pub(super) is_exchanged: bool,
}

impl CheckedCredentials {
    pub(super) const fn is_empty(&self) -> bool {
        self.upstream.authorization.is_none() && self.upstream.token.is_none()
    }
}

pub(super) fn check(
    raw: RawCredentials,
    context: CredentialContext<'_>,
    at: &Location<'_>,
) -> CheckedCredentials {
    let set: Vec<_> = raw.keys().collect();
    if let [first, second, ..] = set.as_slice() {
        at.key(second).error(
            format!("`{second}` and `{first}` exclude each other"),
            "an app gets one kind of credentials",
        );
    }
    let RawCredentials {
        access_token,
        id_token,
        basic,
        bearer_file,
    } = raw;
    let access_token = access_token.map(|field| {
        let at = at.key("dangerously_pass_access_token");
        check_source(SessionTokenSource::Access, context, &at);
        client_key::check_unbound(context.clients, &at);
        token_field(field.header(), context, &at)
    });
    let id_token = id_token.map(|field| {
        let at = at.key("dangerously_pass_id_token");
        check_source(SessionTokenSource::Id, context, &at);
        token_field(field.header(), context, &at)
    });
    let basic = basic.and_then(|raw| basic_auth(raw, context, &at.key("upstream_basic_auth")));
    let bearer = bearer_file.and_then(|name| {
        let secret = context
            .folder
            .secret(&at.key("upstream_bearer_file"), &name)?;
        sensitive(&Zeroizing::new(format!("Bearer {}", *secret)))
    });
    let passed = match (&access_token, &id_token) {
        (Some(_), _) => Some(PassedToken::Access),
        (None, Some(_)) => Some(PassedToken::Id),
        (None, None) => None,
    };
    CheckedCredentials {
        upstream: UpstreamCredentials {
            authorization: basic.or(bearer),
            token: access_token.or(id_token),
        },
        passed,
        is_exchanged: false,
    }
}

/// Reports an app whose sessions do not have the token.
fn check_source(source: SessionTokenSource, context: CredentialContext<'_>, at: &Location<'_>) {
    let value = match source {
        SessionTokenSource::Access => "access",
        SessionTokenSource::Id => "id",
    };
    let mut clients = context.clients.iter();
    if clients.any(|client| client.session_jwt != source) {
        at.error(
            "the sessions of the app have the other token only",
            format!("set `session_jwt = \"{value}\"` for every registration of the app"),
        );
    }
}

/// The field of a token.
pub(super) fn token_field(
    header: Option<HeaderName>,
    context: CredentialContext<'_>,
    at: &Location<'_>,
) -> TokenField {
    let Some(name) = header else {
        return TokenField::Authorization;
    };
    let mut identity = context.identity.iter();
    if identity.any(|identity| folded(identity) == folded(name.as_str())) {
        at.error(
            format!("{} is an identity header of the app", quoted(name.as_str())),
            "give one of both another name",
        );
    }
    TokenField::Named(name)
}

/// The value of `Authorization` (RFC 7617 section 2).
fn basic_auth(
    raw: RawUpstreamBasicAuth,
    context: CredentialContext<'_>,
    at: &Location<'_>,
) -> Option<HeaderValue> {
    let username = at.required("username", raw.username, "the user name at the app");
    let file = at.required(
        "password_file",
        raw.password_file,
        "a file with the password",
    );
    if let Some(username) = &username
        && (username.contains(':') || username.chars().any(char::is_control))
    {
        at.key("username").error(
            format!("{} is not a user name", quoted(username)),
            "without a colon and control characters (RFC 7617 section 2)",
        );
    }
    let password = context.folder.secret(&at.key("password_file"), &file?)?;
    let pair = Zeroizing::new(format!("{}:{}", username?, *password));
    sensitive(&Zeroizing::new(format!(
        "Basic {}",
        STANDARD.encode(pair.as_bytes())
    )))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl AccessTokenField {
    /// The name of the field. `None`: `Authorization`.
    pub(super) const fn header(self) -> Option<HeaderName> {
        match self {
            Self::Authorization => None,
            Self::XAccessToken => Some(HeaderName::from_static("x-access-token")),
        }
    }
}

impl IdTokenField {
    /// The name of the field. `None`: `Authorization`.
    const fn header(self) -> Option<HeaderName> {
        match self {
            Self::Authorization => None,
            Self::XIdToken => Some(HeaderName::from_static("x-id-token")),
        }
    }
}
