//! `[server]` and `[apps.NAME]`: addresses, registration, upstream, timeouts, headers.

use toml::{Table, Value};
use url::form_urlencoded;

use super::super::document::{Element, list};
use super::super::redirect_uri::{RedirectUri, app_name, is_cookie_name};
use super::super::settings::{Scope, Setting, is_true};
use super::super::{Import, duration};
use super::Host;
use super::proxy_pass;
use super::require::RemoteUser;

/// Maps certificates and proxies in front.
pub(super) fn server(import: &mut Import, hosts: &[Host]) {
    let scopes: Vec<Option<Scope>> = match hosts {
        [] => vec![None],
        hosts => hosts.iter().map(|host| host.scope).collect(),
    };
    let mut has_certificate = false;
    let mut trusts = None;
    for scope in scopes {
        let cert_file = import.settings.take_in("sslcertificatefile", scope);
        let key_file = import.settings.take_in("sslcertificatekeyfile", scope);
        let engine = import.settings.take_in("sslengine", scope);
        trusts = trusts.or(import.settings.take_in("OIDCXForwardedHeaders", scope));
        let is_on = engine.is_none_or(|setting| is_true(setting.text()));
        let (Some(cert_file), Some(key_file), true) = (cert_file, key_file, is_on) else {
            continue;
        };
        if has_certificate {
            let element = Element {
                comments: Vec::new(),
                entries: vec![
                    ("cert_file", cert_file.text().into()),
                    ("key_file", key_file.text().into()),
                ],
            };
            import
                .document
                .push(&["server", "tls", "certificates"], element);
        } else {
            has_certificate = true;
            import.document.set(&["server"], "listen", "0.0.0.0:443");
            let section = ["server", "tls"];
            import.document.set(&section, "cert_file", cert_file.text());
            import.document.set(&section, "key_file", key_file.text());
        }
    }
    if let Some(setting) = trusts.filter(|setting| !setting.text().eq_ignore_ascii_case("none")) {
        import
            .document
            .set(&["server"], "trusted_proxies", list::<String>([]));
        let message = "list the networks of your proxies. Without them the headers are not read";
        import.decide(&["server"], "trusted_proxies", Some(&setting.at), message);
    }
}

/// Maps the app of a host. `names` are those of earlier apps.
pub(super) fn map(import: &mut Import, host: &Host, provider: &str, names: &mut Vec<String>) {
    let scope = host.scope;
    let server_name = import.settings.take_in("servername", scope);
    let server_name = server_name
        .as_ref()
        .map(Setting::text)
        .and_then(|name| origin_of(name, host));
    let redirect_uri = import.settings.take_in("OIDCRedirectURI", scope);
    let uri = redirect_uri.as_ref().and_then(|setting| {
        let text = setting.text();
        match &server_name {
            Some(origin) if text.starts_with('/') => RedirectUri::parse(&format!("{origin}{text}")),
            Some(_) | None => RedirectUri::parse(text),
        }
    });
    let uri = uri.or_else(|| server_name.as_deref().and_then(RedirectUri::parse));
    let app = unused_name(uri.as_ref(), names);
    let section = ["apps", app.as_str()];
    import.document.set(&section, "provider", provider);
    match &uri {
        Some(uri) => import
            .document
            .set(&section, "public_url", uri.origin.as_str()),
        None => {
            let message = "set the origin for browsers, such as `https://store.example.com`";
            import.decide(&section, "public_url", host.at.as_ref(), message);
        }
    }
    match (uri.as_ref().and_then(RedirectUri::prefix), redirect_uri) {
        (Some(prefix), _) => import.document.set(&section, "endpoint_prefix", prefix),
        (None, Some(setting)) => {
            let message = "register the redirect URI anew: `public_url` and `/.doorward/callback`";
            import.left_to_do(
                format!("apps.{app}.public_url"),
                Some(&setting.at),
                message.to_owned(),
            );
        }
        (None, None) => {}
    }
    proxy_pass::map(import, host, &app);
    client(import, scope, &app);
    timeouts(import, scope, &app);
    let user = remote_user(import, scope, &app);
    let audiences = host
        .sections
        .accept_tokens()
        .then(|| import.settings.take_in("OIDCOAuthVerifyAudience", scope));
    if let Some(audiences) = audiences {
        let section = ["apps", app.as_str(), "bearer"];
        import.document.begin(&section);
        if let Some(setting) = audiences {
            import.document.set(
                &section,
                "audiences",
                list(setting.values.into_iter().map(|value| value.text)),
            );
        }
    }
    host.sections.map(import, &app, &user);
    names.push(app);
}

/// The origin of a `ServerName`, which may have a scheme and a port.
fn origin_of(name: &str, host: &Host) -> Option<String> {
    if name.contains("://") {
        return RedirectUri::parse(name).map(|uri| uri.origin);
    }
    let is_plain = host
        .addresses
        .iter()
        .any(|address| address.ends_with(":80"));
    let scheme = if is_plain { "http" } else { "https" };
    RedirectUri::parse(&format!("{scheme}://{name}")).map(|uri| uri.origin)
}

fn unused_name(uri: Option<&RedirectUri>, names: &[String]) -> String {
    let name = uri.map_or_else(|| app_name(""), RedirectUri::app_name);
    let is_unused = |name: &String| !names.contains(name);
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut candidates = std::iter::once(name.clone()).chain(numbered);
    candidates.find(is_unused).unwrap_or(name)
}

fn client(import: &mut Import, scope: Option<Scope>, app: &str) {
    let section = ["apps", app];
    match import.settings.take_in("OIDCClientID", scope) {
        Some(setting) => import.document.set(&section, "client_id", setting.text()),
        None => import.decide(&section, "client_id", None, "set the client ID"),
    }
    if let Some(secret) = import.settings.take_in("OIDCClientSecret", scope) {
        let file = format!("secrets/{app}");
        import
            .document
            .set(&section, "client_secret_file", file.as_str());
        let message = format!("put the value of `{}` into the file {file}", secret.written);
        import.left_to_do(
            format!("apps.{app}.client_secret_file"),
            Some(&secret.at),
            message,
        );
    }
    let _replaced_by_a_new_key = import.settings.take_in("OIDCCryptoPassphrase", scope);
    if let Some(setting) = import
        .settings
        .take_in("OIDCProviderTokenEndpointAuth", scope)
    {
        match setting.text() {
            method @ ("client_secret_basic" | "client_secret_post" | "none") => {
                import
                    .document
                    .set(&section, "token_endpoint_auth_method", method);
            }
            _ => import.not_mapped(&setting, "this client authentication is not supported"),
        }
    }
    if let Some(setting) = import.settings.take_in("OIDCScope", scope) {
        let mut scopes: Vec<&str> = setting.text().split_whitespace().collect();
        if !scopes.contains(&"openid") {
            scopes.insert(0, "openid");
        }
        import.document.set(&section, "scopes", list(scopes));
    }
    if let Some(setting) = import.settings.take_in("OIDCAuthRequestParams", scope) {
        let parameters = form_urlencoded::parse(setting.text().as_bytes());
        let parameters: Table = parameters
            .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
            .collect();
        import.document.set(
            &section,
            "extra_authorization_params",
            Value::Table(parameters),
        );
    }
    if let Some(setting) = import.settings.take_in("OIDCCookie", scope) {
        if is_cookie_name(setting.text()) {
            import.document.set(&section, "cookie_name", setting.text());
        } else {
            import.changed(
                &setting,
                "the cookies have the default name: it has other characters than `a-z0-9-`",
            );
        }
    }
    if let Some(setting) = import.settings.take_in("OIDCPreservePost", scope)
        && !is_true(setting.text())
    {
        import.document.set(&section, "preserve_post_max_bytes", 0);
    }
}

fn timeouts(import: &mut Import, scope: Option<Scope>, app: &str) {
    let keys = [
        ("OIDCSessionInactivityTimeout", "idle_timeout"),
        ("OIDCSessionMaxDuration", "absolute_timeout"),
    ];
    for (directive, key) in keys {
        let Some(setting) = import.settings.take_in(directive, scope) else {
            continue;
        };
        match duration::seconds(setting.text()).and_then(duration::text) {
            Some(text) => import.document.set(&["apps", app], key, text),
            None => import.not_mapped(&setting, "sessions have a timeout; the default stays"),
        }
    }
}

/// Maps the header that names the user; returns what `Require user` compares.
fn remote_user(import: &mut Import, scope: Option<Scope>, app: &str) -> RemoteUser {
    let Some(setting) = import.settings.take_in("OIDCRemoteUserClaim", scope) else {
        return RemoteUser::default();
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let claim = match setting.values.as_slice() {
        [only] if only.text.chars().all(is_plain) => only.text.clone(),
        _ => {
            import.not_mapped(&setting, "a claim is sent as it is: no `@`, no expression");
            return RemoteUser::default();
        }
    };
    if claim != "sub" {
        let section = ["apps", app, "headers"];
        let headers = [
            ("X-Forwarded-User", format!("{{{claim}}}")),
            ("X-Forwarded-Email", "{email}".to_owned()),
            (
                "X-Forwarded-Preferred-Username",
                "{preferred_username}".to_owned(),
            ),
            ("X-Forwarded-Groups", "{groups}".to_owned()),
        ];
        for (name, template) in headers {
            import.document.set(&section, name, template);
        }
    }
    RemoteUser { claim: Some(claim) }
}
