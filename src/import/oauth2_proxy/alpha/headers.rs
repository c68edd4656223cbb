//! `injectRequestHeaders` and `loginURLParameters`: `[apps.NAME.headers]` and `extra_authorization_params`.

use toml::{Table, Value};

use super::super::super::Import;
use super::super::super::settings::{Scope, Setting};
use super::{HEADERS, LOGIN_PARAMETERS};

/// The session's tokens, which the app does not get by default.
const TOKENS: [&str; 3] = ["access_token", "id_token", "refresh_token"];

/// Maps the headers. Without one the app gets no identity.
pub(in super::super) fn map(import: &mut Import, app: &str) {
    let section = ["apps", app, "headers"];
    let of = |import: &Import, flag, default: &str| {
        let setting = import.settings.peek(flag);
        setting.map_or_else(|| default.to_owned(), |setting| setting.text().to_owned())
    };
    let email = of(import, "oidc-email-claim", "email");
    let groups = of(import, "oidc-groups-claim", "groups");
    import.document.begin(&section);
    for scope in (0..).map(Scope) {
        let Some(name) = take(import, HEADERS, scope, "name") else {
            break;
        };
        let prefix = take(import, HEADERS, scope, "values.prefix");
        let Some(claim) = take(import, HEADERS, scope, "values.claim") else {
            import.not_mapped(
                &name,
                "it has no claim; see `request_headers` for fixed values",
            );
            continue;
        };
        let claim = match claim.text() {
            "user" => "sub",
            "email" => email.as_str(),
            "groups" => groups.as_str(),
            token if TOKENS.contains(&token) => {
                let message = "an app that needs a token: see `dangerously_pass_access_token`";
                import.not_mapped(&name, message);
                continue;
            }
            claim => claim,
        };
        let prefix = prefix.as_ref().map_or("", Setting::text);
        if prefix.contains(['{', '}']) {
            import.not_mapped(&name, "its prefix has braces");
            continue;
        }
        let template = format!("{prefix}{{{claim}}}");
        import.document.set(&section, name.text(), template);
    }
}

/// Adds the fixed parameters of the login.
pub(in super::super) fn add_login_parameters(import: &mut Import, parameters: &mut Table) {
    for scope in (0..).map(Scope) {
        let Some(name) = take(import, LOGIN_PARAMETERS, scope, "name") else {
            return;
        };
        match take(import, LOGIN_PARAMETERS, scope, "default") {
            Some(default) if default.values.len() == 1 => {
                let value = Value::from(default.text());
                parameters.insert(name.text().to_owned(), value);
            }
            Some(default) => import.not_mapped(&default, "a parameter has one value"),
            None => {
                let message = "without a `default`: see `login_parameters` of the app";
                import.not_mapped(&name, message);
            }
        }
    }
}

fn take(import: &mut Import, list: &str, scope: Scope, field: &str) -> Option<Setting> {
    let name = format!("{list}.{field}");
    import.settings.take_all(&name, Some(scope)).pop()
}
