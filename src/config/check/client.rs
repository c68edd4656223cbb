//! An app's registration at its provider: who it is, how it proves that, and what it asks for.

use url::Url;

use super::super::files::Folder;
use super::super::raw::{List, Named, RawApp};
use super::super::report::{Location, quoted};
use super::super::values::{self, TokenEndpointAuthMethod};
use super::elements;
use crate::oidc::authorize::is_reserved;
use crate::oidc::{ClientAuth, ClientSettings, SessionTokenSource};
use crate::types::oauth::{ClientId, ClientSecret};

const SCOPES: [&str; 4] = ["openid", "email", "profile", "offline_access"];

/// Takes the client's keys out of `raw`. `callback` is where the browser comes back to, once that is known.
pub(super) fn check(
    raw: &mut RawApp,
    callback: Option<Url>,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<ClientSettings> {
    let id = at.required(
        "client_id",
        raw.client_id.take(),
        "the id that the provider gave this app's registration",
    );
    let id = id.filter(|id| {
        let good = !id.is_empty() && id.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !good {
            at.key("client_id").error(
                format!("{} cannot be a client id", quoted(id)),
                "visible ASCII (RFC 6749)",
            );
        }
        good
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
    settings.session_jwt = match raw.session_jwt.unwrap_or(values::SessionTokenSource::Id) {
        values::SessionTokenSource::Access => SessionTokenSource::Access,
        values::SessionTokenSource::Id => SessionTokenSource::Id,
    };
    Some(settings)
}

fn authentication(raw: &mut RawApp, at: &Location<'_>, folder: &Folder) -> Option<ClientAuth> {
    let given = raw.client_secret.is_some() || raw.client_secret_file.is_some();
    let secret = secret(raw, at, folder);
    let how = raw.token_endpoint_auth_method.unwrap_or(if given {
        TokenEndpointAuthMethod::Basic
    } else {
        TokenEndpointAuthMethod::None
    });
    match (how, given) {
        (TokenEndpointAuthMethod::Basic, true) => secret.map(ClientAuth::Basic),
        (TokenEndpointAuthMethod::Post, true) => secret.map(ClientAuth::Post),
        (TokenEndpointAuthMethod::None, false) => Some(ClientAuth::None),
        (TokenEndpointAuthMethod::Basic | TokenEndpointAuthMethod::Post, false) => {
            let hint = "name its file with `client_secret_file`, or write `token_endpoint_auth_method = \"none\"` for a public client";
            at.key("token_endpoint_auth_method")
                .error("this needs a client secret, and there is none", hint);
            None
        }
        (TokenEndpointAuthMethod::None, true) => {
            let hint = "take the secret away, or write `token_endpoint_auth_method = \"basic\"`";
            at.key("token_endpoint_auth_method")
                .error("`none` sends no client secret, but there is one", hint);
            None
        }
    }
}

fn secret(raw: &mut RawApp, at: &Location<'_>, folder: &Folder) -> Option<ClientSecret> {
    let (inline, file) = (raw.client_secret.take(), raw.client_secret_file.take());
    let inline_at = at.key("client_secret");
    if inline.is_some() && file.is_some() {
        inline_at.error(
            "there is a `client_secret_file` too",
            "keep one of the two, best the file",
        );
    } else if inline.is_some() && !inline_at.is_from_environment() {
        let hint = "put it into a file of its own and name that with `client_secret_file`";
        inline_at.advise("whoever may read this file can read the secret", hint);
    }
    if let Some(name) = file {
        let text = folder.secret(&at.key("client_secret_file"), &name)?;
        return Some(ClientSecret::new(text.as_str()));
    }
    inline.filter(|secret| {
        let good = !secret.expose().trim().is_empty();
        if !good {
            inline_at.error(
                "the client secret is empty",
                "leave it out for a public client",
            );
        }
        good
    })
}

fn scopes(raw: Option<List<String>>, at: &Location<'_>) -> Vec<String> {
    let Some(list) = raw else {
        return SCOPES.map(str::to_owned).into();
    };
    let mut scopes: Vec<String> = Vec::new();
    // A gap is a value that was reported already: it may have been meant as `openid`.
    let complete = list.iter().all(Option::is_some);
    for (at, scope) in elements(Some(list), at) {
        if !is_scope(&scope) {
            at.error(
                format!("{} is not one scope", quoted(&scope)),
                "each scope is an element of the list",
            );
        } else if scopes.contains(&scope) {
            at.error(
                format!("{} is there twice", quoted(&scope)),
                "name each scope once",
            );
        } else {
            scopes.push(scope);
        }
    }
    if complete && !scopes.iter().any(|scope| scope == "openid") {
        at.error(
            "the scope `openid` is missing",
            "without it the provider issues no ID token",
        );
    }
    scopes
}

/// `scope-token` (RFC 6749 section 3.3).
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
            let hint = "such as `prompt`, `audience` or `access_type`";
            at.key(&name)
                .refuse_key(format!("{} is set by doorward itself", quoted(&name)), hint);
        } else if name.is_empty() {
            at.key(&name)
                .refuse_key("a parameter needs a name", "such as `prompt`");
        } else {
            params.push((name, value));
        }
    }
    params
}

pub(super) fn audiences(raw: Option<List<String>>, at: &Location<'_>) -> Option<Vec<String>> {
    let list = raw?;
    if list.is_empty() {
        at.error(
            "no token is for nobody",
            "leave the key out for the client id, which is what most providers write",
        );
    }
    let mut audiences = Vec::new();
    for (at, audience) in elements(Some(list), at) {
        if audience.is_empty() {
            at.error(
                "an audience needs a name",
                "the `aud` that the provider puts into this app's access tokens",
            );
        } else {
            audiences.push(audience);
        }
    }
    Some(audiences)
}
