//! `[apps.NAME]` and `[session]`: addresses, registration, upstream, timeouts, headers.

use toml::{Table, Value};

use super::super::document::list;
use super::super::redirect_uri::{RedirectUri, is_cookie_name, is_prefix};
use super::super::settings::{SettingValue, is_true};
use super::super::{Import, duration};
use super::{alpha, provider, upstreams};

/// The prefix of oauth2-proxy's endpoints.
const PREFIX: &str = "/oauth2";

/// The name of the app: from the host of its redirect URI.
pub(super) fn name(import: &Import) -> String {
    let redirect_uri = import.settings.peek("redirect-url");
    let uri = redirect_uri.and_then(|setting| RedirectUri::parse(setting.text()));
    uri.map_or_else(|| "app".to_owned(), |uri| uri.app_name())
}

/// Maps the timeouts.
pub(super) fn session(import: &mut Import) {
    let Some(value) = import.settings.take_value("cookie-expire") else {
        return;
    };
    match duration::go(&value.text).and_then(duration::text) {
        Some(text) => {
            for key in ["idle_timeout", "absolute_timeout"] {
                import.document.set(&["session"], key, text.as_str());
            }
            let message =
                "`idle_timeout` has its value too, since oauth2-proxy has no idle timeout";
            import.changed(&value, message);
        }
        None => import.not_mapped(
            &value,
            "sessions have an absolute timeout, of 12 hours by default",
        ),
    }
}

/// Maps the app but for its rules.
pub(super) fn map(import: &mut Import, app: &str) {
    let section = ["apps", app];
    import.document.set(&section, "provider", provider::NAME);
    addresses(import, app);
    let is_alpha = alpha::is_read(&mut import.settings);
    if is_alpha {
        alpha::map_upstreams(import, app);
    } else {
        upstreams::map(import, app);
        response_timeout(import, app);
    }
    client(import, app);
    if let Some(value) = import.settings.take_value("cookie-name") {
        if is_cookie_name(&value.text) {
            import.document.set(&section, "cookie_name", value.text);
        } else {
            import.changed(
                &value,
                "the cookies have the default name: it has other characters than `a-z0-9-`",
            );
        }
    }
    if is_alpha {
        alpha::map_headers(import, app);
    } else {
        headers(import, app);
    }
    bearer(import, app);
}

fn addresses(import: &mut Import, app: &str) {
    let section = ["apps", app];
    let proxy_prefix = import.settings.take_value("proxy-prefix");
    let prefix = proxy_prefix
        .as_ref()
        .map_or(PREFIX, |value| value.text.as_str());
    let redirect_uri = import.settings.take_value("redirect-url");
    let uri = redirect_uri
        .as_ref()
        .and_then(|value| RedirectUri::parse(&value.text));
    match (&uri, &redirect_uri) {
        (Some(uri), _) => import
            .document
            .set(&section, "public_url", uri.origin.as_str()),
        (None, value) => {
            let at = value.as_ref().map(|value| &value.at);
            let message = "set the origin for browsers, such as `https://store.example.com`";
            import.decide(&section, "public_url", at, message);
        }
    }
    let kept = uri.as_ref().and_then(RedirectUri::prefix);
    match kept {
        Some(prefix) => import.document.set(&section, "endpoint_prefix", prefix),
        None if is_prefix(prefix) => import.document.set(&section, "endpoint_prefix", prefix),
        None => {}
    }
    let is_default = uri.as_ref().is_some_and(|uri| uri.path.is_empty()) && is_prefix(prefix);
    if let (Some(value), None, false) = (redirect_uri, kept, is_default) {
        let message =
            "register the redirect URI anew: `public_url`, `endpoint_prefix` and `/callback`";
        import.left_to_do(
            format!("apps.{app}.public_url"),
            Some(&value.at),
            message.to_owned(),
        );
    }
}

fn response_timeout(import: &mut Import, app: &str) {
    let Some(value) = import.settings.take_value("upstream-timeout") else {
        return;
    };
    match duration::go(&value.text).and_then(duration::text) {
        Some(text) => import
            .document
            .set(&["apps", app], "response_timeout", text),
        None => import.not_mapped(&value, "not a duration of at least one second"),
    }
}

fn client(import: &mut Import, app: &str) {
    let section = ["apps", app];
    match import.settings.take_value("client-id") {
        Some(value) => import.document.set(&section, "client_id", value.text),
        None => import.decide(&section, "client_id", None, "set the client ID"),
    }
    let file = import.settings.take_value("client-secret-file");
    let secret = import.settings.take_value("client-secret");
    match (file, secret) {
        (Some(file), _) => import
            .document
            .set(&section, "client_secret_file", file.text),
        (None, Some(secret)) => secret_file(import, app, &secret),
        (None, None) => {}
    }
    for flag in ["cookie-secret", "cookie-secret-file"] {
        let _replaced_by_a_new_key = import.settings.take(flag);
    }
    if let Some(value) = import.settings.take_value("scope") {
        let mut scopes: Vec<&str> = value.text.split_whitespace().collect();
        if !scopes.contains(&"openid") {
            scopes.insert(0, "openid");
        }
        import.document.set(&section, "scopes", list(scopes));
    }
    let parameters = [
        ("prompt", "prompt"),
        ("acr-values", "acr_values"),
        ("resource", "resource"),
    ];
    let mut extra = Table::new();
    for (flag, parameter) in parameters {
        if let Some(value) = import.settings.take_value(flag) {
            extra.insert(parameter.to_owned(), value.text.into());
        }
    }
    alpha::add_login_parameters(import, &mut extra);
    if !extra.is_empty() {
        import
            .document
            .set(&section, "extra_authorization_params", Value::Table(extra));
    }
    if import
        .settings
        .take_switch("skip-claims-from-profile-url", false)
    {
        import.document.set(&section, "userinfo", "never");
    }
}

fn secret_file(import: &mut Import, app: &str, secret: &SettingValue) {
    let file = format!("secrets/{app}");
    import
        .document
        .set(&["apps", app], "client_secret_file", file.as_str());
    let message = format!("put the value of `{}` into the file {file}", secret.written);
    import.left_to_do(
        format!("apps.{app}.client_secret_file"),
        Some(&secret.at),
        message,
    );
}

fn headers(import: &mut Import, app: &str) {
    let section = ["apps", app, "headers"];
    let with_password = import.settings.take_switch("pass-basic-auth", true);
    let with_user = import.settings.take_switch("pass-user-headers", true);
    let prefers_email = import.settings.take_switch("prefer-email-to-user", false);
    // These are also used by the rules.
    let claim = |flag, default: &str| {
        let setting = import.settings.peek(flag);
        setting.map_or_else(|| default.to_owned(), |setting| setting.text().to_owned())
    };
    let email = claim("oidc-email-claim", "email");
    let groups = claim("oidc-groups-claim", "groups");
    if !with_password && !with_user {
        import.document.begin(&section);
        return;
    }
    if !prefers_email && email == "email" && groups == "groups" {
        // The four headers are the default.
        return;
    }
    let email = format!("{{{email}}}");
    if prefers_email {
        import.document.set(&section, "X-Forwarded-User", email);
    } else {
        import.document.set(&section, "X-Forwarded-User", "{sub}");
        import.document.set(&section, "X-Forwarded-Email", email);
    }
    import.document.set(
        &section,
        "X-Forwarded-Preferred-Username",
        "{preferred_username}",
    );
    import
        .document
        .set(&section, "X-Forwarded-Groups", format!("{{{groups}}}"));
}

fn bearer(import: &mut Import, app: &str) {
    let section = ["apps", app, "bearer"];
    let Some(setting) = import.settings.take("skip-jwt-bearer-tokens") else {
        return;
    };
    if !is_true(setting.text()) {
        return;
    }
    import.document.begin(&section);
    let client_id = import.settings.peek("client-id");
    let client_id = client_id.map_or(String::new(), |setting| setting.text().to_owned());
    let extra = import.settings.take_values("oidc-extra-audience");
    if !extra.is_empty() {
        let audiences = extra.into_iter().map(|value| value.text);
        let audiences = std::iter::once(client_id).chain(audiences);
        import.document.set(&section, "audiences", list(audiences));
    }
    let message = "access tokens are accepted, ID tokens are not; see `access_token_claim`";
    import.changed(&setting, message);
}
