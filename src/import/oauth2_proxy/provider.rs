//! `[providers.login]`.

use super::super::Import;
use super::super::algorithms::is_known;
use super::super::document::list;
use super::super::settings::{SettingValue, is_true};

pub(super) const NAME: &str = "login";
const PROVIDER: [&str; 2] = ["providers", NAME];

/// The properties of the provider that access rules depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProviderKind {
    /// Its tokens have `email_verified`.
    MarksAddresses,
    /// Its tokens may lack `email_verified`.
    LeavesAddressesUnmarked,
}

/// Maps the provider.
pub(super) fn map(import: &mut Import) -> ProviderKind {
    let kind = import.settings.take_value("provider");
    let issuer = import.settings.take_value("oidc-issuer-url");
    let kind_at = kind.as_ref().map(|value| value.at.clone());
    let name = kind.as_ref().map_or("google", |value| value.text.as_str());
    match name {
        "oidc" | "keycloak-oidc" | "adfs" | "cidaas" => set_issuer(import, issuer, None),
        "google" => set_issuer(import, issuer, Some("https://accounts.google.com")),
        "gitlab" => set_issuer(import, issuer, Some("https://gitlab.com")),
        "azure" | "entra-id" => entra(import, issuer),
        _ => {
            let message = "this provider has no OpenID Connect, or not enough of it. Put one such as \
                           Keycloak or Dex in between, and set its issuer";
            import.decide(&PROVIDER, "issuer", kind_at.as_ref(), message);
        }
    }
    let files = import.settings.take_values("provider-ca-file");
    match files.as_slice() {
        [] => {}
        [file] => import
            .document
            .set(&PROVIDER, "ca_file", file.text.as_str()),
        [first, ..] => {
            let message = "put the certificates of all files into one";
            import.decide(&PROVIDER, "ca_file", Some(&first.at), message);
        }
    }
    endpoints(import);
    algorithms(import);
    if let Some(setting) = import.settings.take("insecure-oidc-allow-unverified-email")
        && is_true(setting.text())
    {
        import
            .document
            .set(&PROVIDER, "dangerously_allow_unverified_claims", true);
        let message =
            "`dangerously_allow_unverified_claims`: users can claim an address that is not theirs";
        import.changed(&setting, message);
    }
    match name {
        "azure" | "entra-id" | "adfs" => ProviderKind::LeavesAddressesUnmarked,
        _ => ProviderKind::MarksAddresses,
    }
}

fn set_issuer(import: &mut Import, issuer: Option<SettingValue>, default: Option<&str>) {
    match (issuer, default) {
        (Some(issuer), _) => import.document.set(&PROVIDER, "issuer", issuer.text),
        (None, Some(default)) => import.document.set(&PROVIDER, "issuer", default),
        (None, None) => {
            let message = "set the issuer: the `iss` claim of the provider's tokens";
            import.decide(&PROVIDER, "issuer", None, message);
        }
    }
}

/// Entra ID: one tenant.
fn entra(import: &mut Import, issuer: Option<SettingValue>) {
    let tenant = import.settings.take_value("azure-tenant");
    let is_shared = |tenant: &str| matches!(tenant, "common" | "organizations" | "consumers");
    let of_shared = |issuer: &SettingValue| issuer.text.split('/').any(is_shared);
    let is_plain = |tenant: &SettingValue| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        !is_shared(&tenant.text) && tenant.text.chars().all(is_plain)
    };
    match (
        issuer.filter(|issuer| !of_shared(issuer)),
        tenant.filter(is_plain),
    ) {
        (Some(issuer), _) => import.document.set(&PROVIDER, "issuer", issuer.text),
        (None, Some(tenant)) => {
            let issuer = format!("https://login.microsoftonline.com/{}/v2.0", tenant.text);
            import.document.set(&PROVIDER, "issuer", issuer);
            import.changed(
                &tenant,
                "the issuer of version 2.0 of the endpoints is used",
            );
        }
        (None, None) => {
            let message = "name one tenant: `https://login.microsoftonline.com/TENANT/v2.0`. \
                           Issuers of many tenants are not supported";
            import.decide(&PROVIDER, "issuer", None, message);
        }
    }
}

fn endpoints(import: &mut Import) {
    let skips_discovery = import.settings.take("skip-oidc-discovery");
    if skips_discovery.is_some_and(|setting| is_true(setting.text())) {
        import.document.set(&PROVIDER, "discovery", false);
    }
    for (option, key) in [
        ("login-url", "authorization_endpoint"),
        ("redeem-url", "token_endpoint"),
        ("oidc-jwks-url", "jwks_uri"),
        ("profile-url", "userinfo_endpoint"),
    ] {
        if let Some(url) = import.settings.take_value(option) {
            import.document.set(&PROVIDER, key, url.text);
        }
    }
}

fn algorithms(import: &mut Import) {
    let mut algorithms = Vec::new();
    for value in import.settings.take_values("oidc-enabled-signing-alg") {
        if is_known(&value.text) {
            algorithms.push(value.text);
        } else {
            import.not_mapped(&value, "this algorithm is not supported");
        }
    }
    if !algorithms.is_empty() {
        import
            .document
            .set(&PROVIDER, "algorithms", list(algorithms));
    }
}
