//! The OAuth client of an app: ID, authentication, scopes and parameters.

use url::Url;

use super::super::files::{Folder, is_example_secret};
use super::super::keywords::TokenEndpointAuthMethod;
use super::super::raw::{List, Named, RawRegistration};
use super::super::report::{Location, quoted};
use super::elements;
use crate::oidc::authorize::is_reserved;
use crate::oidc::{ClientAuth, ClientSettings, SessionTokenSource};
use crate::types::oauth::{ClientId, ClientSecret};

const SCOPES: [&str; 4] = ["openid", "email", "profile", "offline_access"];

/// Takes the client's keys out of `raw`. `callback` is the redirect URI, if it is valid.
pub(super) fn check(
    raw: &mut RawRegistration,
    callback: Option<Url>,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<ClientSettings> {
    let id = at.required(
        "client_id",
        raw.client_id.take(),
        "the client ID of this app's registration at the provider",
    );
    let id = id.filter(|id| {
        let is_valid = !id.is_empty() && id.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !is_valid {
            at.key("client_id").error(
                format!("invalid client ID {}", quoted(id)),
                "visible ASCII characters (RFC 6749)",
            );
        }
        is_valid
    });
    let token_endpoint_auth_method = authentication(raw, at, folder);
    let scopes = scopes(raw.scopes.take(), &at.key("scopes"));
    let extra_authorization_params = params(
        raw.extra_authorization_params.take(),
        &at.key("extra_authorization_params"),
    );
    let audiences = audiences(raw.audiences.take(), &at.key("audiences"));

    let mut settings =
        ClientSettings::new(ClientId::new(id?), token_endpoint_auth_method?, callback?);
    settings.scopes = scopes;
    settings.extra_authorization_params = extra_authorization_params;
    settings.audiences = audiences.unwrap_or(settings.audiences);
    settings.session_jwt = raw.session_jwt.unwrap_or(SessionTokenSource::Id);
    Some(settings)
}

fn authentication(
    raw: &mut RawRegistration,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<ClientAuth> {
    let has_secret = raw.client_secret.is_some() || raw.client_secret_file.is_some();
    let secret = secret(raw, at, folder);
    let method = raw.token_endpoint_auth_method.unwrap_or(if has_secret {
        TokenEndpointAuthMethod::Basic
    } else {
        TokenEndpointAuthMethod::None
    });
    match (method, has_secret) {
        (TokenEndpointAuthMethod::Basic, true) => secret.map(ClientAuth::Basic),
        (TokenEndpointAuthMethod::Post, true) => secret.map(ClientAuth::Post),
        (TokenEndpointAuthMethod::None, false) => Some(ClientAuth::None),
        (TokenEndpointAuthMethod::Basic | TokenEndpointAuthMethod::Post, false) => {
            let hint = "set `client_secret_file`, or `\"none\"` for a public client";
            at.key("token_endpoint_auth_method")
                .error("this method needs a client secret", hint);
            None
        }
        (TokenEndpointAuthMethod::None, true) => {
            let hint = "remove the secret, or use `\"client_secret_basic\"`";
            at.key("token_endpoint_auth_method")
                .error("`none` sends no client secret, but one is set", hint);
            None
        }
    }
}

fn secret(raw: &mut RawRegistration, at: &Location<'_>, folder: &Folder) -> Option<ClientSecret> {
    let (inline, file) = (raw.client_secret.take(), raw.client_secret_file.take());
    let inline_at = at.key("client_secret");
    if inline.is_some() && file.is_some() {
        inline_at.error(
            "`client_secret_file` is set too",
            "keep one of the two, preferably the file",
        );
    } else if inline
        .as_ref()
        .is_some_and(|secret| !is_example_secret(secret.expose()))
        && !inline_at.is_from_environment()
    {
        let hint = "put it into a separate file, and set `client_secret_file`";
        inline_at.warning("the secret is readable in the configuration file", hint);
    }
    if let Some(name) = file {
        let text = folder.secret(&at.key("client_secret_file"), &name)?;
        return Some(ClientSecret::new(text.as_str()));
    }
    inline.filter(|secret| {
        let is_valid = !secret.expose().trim().is_empty();
        if !is_valid {
            inline_at.error(
                "the client secret is empty",
                "remove the key for a public client",
            );
        }
        let is_example = is_example_secret(secret.expose());
        if is_example {
            inline_at.error(
                "the client secret is copied from an example",
                "set the secret that the provider gave you, preferably in `client_secret_file`",
            );
        }
        is_valid && !is_example
    })
}

fn scopes(raw: Option<List<String>>, at: &Location<'_>) -> Vec<String> {
    let Some(list) = raw else {
        return SCOPES.map(str::to_owned).into();
    };
    let mut scopes: Vec<String> = Vec::new();
    // An invalid element was reported already, and may have been meant as `openid`.
    let is_complete = list.iter().all(Option::is_some);
    for (at, scope) in elements(Some(list), at) {
        if !is_scope(&scope) {
            at.error(
                format!("{} is not a scope", quoted(&scope)),
                "each scope is an element of the array",
            );
        } else if scopes.contains(&scope) {
            at.error(
                format!("duplicate scope {}", quoted(&scope)),
                "list each scope once",
            );
        } else {
            scopes.push(scope);
        }
    }
    if is_complete && !scopes.iter().any(|scope| scope == "openid") {
        at.error(
            "the scope `openid` is missing",
            "add it: without it, the provider issues no ID token",
        );
    }
    scopes
}

/// Whether the text is a `scope-token` (RFC 6749 section 3.3).
pub(super) fn is_scope(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'))
}

fn params(raw: Option<Named<String>>, at: &Location<'_>) -> Vec<(String, String)> {
    let mut params = Vec::new();
    for (name, value) in raw.unwrap_or_default() {
        let Some(value) = value else { continue };
        if is_reserved(&name) {
            let hint = "for other parameters, such as `prompt`, `audience` or `access_type`";
            at.key(&name)
                .key_error(format!("doorward sets {} itself", quoted(&name)), hint);
        } else if name.is_empty() {
            at.key(&name)
                .key_error("empty parameter name", "for example `prompt`");
        } else if let Some((problem, hint)) = value_problem(&name, &value) {
            at.key(&name)
                .error(format!("{} {problem}", quoted(&value)), hint);
        } else {
            params.push((name, value));
        }
    }
    params
}

/// Parameters whose effect is checked in the ID token must be understood.
fn value_problem(name: &str, value: &str) -> Option<(&'static str, &'static str)> {
    match name {
        "max_age" if value.parse::<u64>().is_err() => Some((
            "is not a number of seconds",
            "for example `\"3600\"`: the user must have signed in within this time",
        )),
        "acr_values" if value.trim().is_empty() => Some((
            "has no value",
            "the accepted values of `acr`, separated by spaces",
        )),
        _ => None,
    }
}

pub(super) fn audiences(raw: Option<List<String>>, at: &Location<'_>) -> Option<Vec<String>> {
    let list = raw?;
    if list.is_empty() {
        at.error(
            "no audience is listed, so no token would be accepted",
            "remove the key for the client ID, the audience that most providers use",
        );
    }
    let mut audiences = Vec::new();
    for (at, audience) in elements(Some(list), at) {
        if audience.is_empty() {
            at.error(
                "empty audience",
                "the `aud` claim of this app's access tokens",
            );
        } else {
            audiences.push(audience);
        }
    }
    Some(audiences)
}
