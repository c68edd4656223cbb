//! The OAuth client of an app: ID, authentication, scopes and parameters.

use url::Url;

use super::super::files::Folder;
use super::super::raw::{List, Named, RawRegistration};
use super::super::report::{Location, quoted};
use super::{client_auth, client_key, elements};
use crate::oidc::authorize::is_reserved;
use crate::oidc::{ClientSettings, SessionTokenSource};
use crate::types::oauth::ClientId;

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
    let token_endpoint_auth_method = client_auth::check(raw, at, folder);
    let dpop_keys = client_key::of_tokens(raw, at, folder);
    let request_object_key = client_key::of_request_objects(raw, at, folder);
    let scopes = scopes(raw.scopes.take(), &at.key("scopes"));
    let resources = resources(raw, at);
    let extra_authorization_params = params(
        raw.extra_authorization_params.take(),
        &at.key("extra_authorization_params"),
    );
    let audiences = audiences(raw.audiences.take(), &at.key("audiences"));

    let mut settings =
        ClientSettings::new(ClientId::new(id?), token_endpoint_auth_method?, callback?);
    settings.scopes = scopes;
    settings.extra_authorization_params = extra_authorization_params;
    settings.resources = resources;
    settings.response_mode = raw.response_mode.unwrap_or(settings.response_mode);
    settings.dpop_keys = dpop_keys;
    settings.request_object_key = request_object_key;
    settings.pushed_authorization = raw
        .pushed_authorization
        .unwrap_or(settings.pushed_authorization);
    settings.audiences = audiences.unwrap_or(settings.audiences);
    settings.session_jwt = raw.session_jwt.unwrap_or(SessionTokenSource::Id);
    Some(settings)
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

/// The `resource` parameters: absolute URIs without a fragment (RFC 8707 section 2).
fn resources(raw: &mut RawRegistration, at: &Location<'_>) -> Vec<String> {
    let is_extra = |params: &Named<String>| params.contains_key("resource");
    let at_list = at.key("resources");
    if raw.resources.is_some()
        && raw
            .extra_authorization_params
            .as_ref()
            .is_some_and(is_extra)
    {
        let hint = "remove the parameter: `resources` is sent with each request";
        at_list.error("`extra_authorization_params` has a `resource` too", hint);
    }
    let resources = elements(raw.resources.take(), &at_list).filter(|(at, resource)| {
        let is_uri = Url::parse(resource).is_ok_and(|uri| uri.fragment().is_none());
        if !is_uri {
            let hint = "an absolute URI without a fragment, such as `\"https://api.example.com\"`";
            at.error(format!("{} is not a resource", quoted(resource)), hint);
        }
        is_uri
    });
    resources.map(|(_, resource)| resource).collect()
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
