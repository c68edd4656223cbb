//! `[providers.NAME]`: one for each issuer.

use super::super::algorithms::is_known;
use super::super::document::list;
use super::super::settings::{Scope, Setting};
use super::super::{Import, duration};
use super::Host;

const METADATA: &str = "/.well-known/openid-configuration";
const MAX_LEEWAY: u64 = 300;

/// The directives for endpoints and the keys for them.
const ENDPOINTS: [(&str, &str); 7] = [
    (
        "OIDCProviderAuthorizationEndpoint",
        "authorization_endpoint",
    ),
    ("OIDCProviderTokenEndpoint", "token_endpoint"),
    ("OIDCProviderJwksUri", "jwks_uri"),
    ("OIDCProviderUserInfoEndpoint", "userinfo_endpoint"),
    ("OIDCProviderRevocationEndpoint", "revocation_endpoint"),
    ("OIDCProviderEndSessionEndpoint", "end_session_endpoint"),
    (
        "OIDCProviderPushedAuthorizationRequestEndpoint",
        "pushed_authorization_request_endpoint",
    ),
];
/// The keys that are needed without discovery.
const NEEDED: [&str; 3] = ["authorization_endpoint", "token_endpoint", "jwks_uri"];

/// The provider of a virtual host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Provider {
    issuer: Option<String>,
    discovery_url: Option<String>,
    has_metadata: bool,
    endpoints: Vec<Endpoint>,
}

/// An endpoint by the key of its setting.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    key: &'static str,
    url: String,
}

/// Maps the providers; returns the name of the provider of each host.
pub(super) fn map(import: &mut Import, hosts: &[Host]) -> Vec<String> {
    let mut known: Vec<Provider> = Vec::new();
    let mut names = Vec::new();
    for host in hosts {
        let provider = provider(import, host.scope);
        let number = known.iter().position(|other| *other == provider);
        let number = number.unwrap_or(known.len());
        let name = match number {
            0 => "login".to_owned(),
            _ => format!("login-{}", number + 1),
        };
        let is_new = number == known.len();
        details(import, &name, host, &provider, is_new);
        if is_new {
            known.push(provider);
        }
        names.push(name);
    }
    names
}

fn provider(import: &mut Import, scope: Option<Scope>) -> Provider {
    let metadata = import.settings.take_in("OIDCProviderMetadataURL", scope);
    let issuer = import.settings.take_in("OIDCProviderIssuer", scope);
    let metadata = metadata.as_ref().map(Setting::text);
    let from_metadata = metadata.and_then(|url| url.strip_suffix(METADATA));
    let issuer = issuer.as_ref().map(Setting::text).or(from_metadata);
    let is_default = metadata.is_none() || (issuer.is_some() && issuer == from_metadata);
    let endpoints = ENDPOINTS.into_iter().filter_map(|(directive, key)| {
        let setting = import.settings.take_in(directive, scope)?;
        let url = setting.text().to_owned();
        Some(Endpoint { key, url })
    });
    Provider {
        has_metadata: metadata.is_some(),
        endpoints: endpoints.collect(),
        issuer: issuer.map(str::to_owned),
        discovery_url: metadata.filter(|_| !is_default).map(str::to_owned),
    }
}

/// Maps the settings of the provider. Those of a further host with the same provider are taken.
fn details(import: &mut Import, name: &str, host: &Host, provider: &Provider, is_new: bool) {
    let section = ["providers", name];
    let scope = host.scope;
    let ca_file = import.settings.take_in("OIDCCABundlePath", scope);
    let algorithm = import
        .settings
        .take_in("OIDCIDTokenSignedResponseAlg", scope);
    let slack = import.settings.take_in("OIDCIDTokenIatSlack", scope);
    let timeout = import.settings.take_in("OIDCHTTPTimeoutShort", scope);
    if !is_new {
        return;
    }
    match &provider.issuer {
        Some(issuer) => import.document.set(&section, "issuer", issuer.as_str()),
        None => {
            let message = "set the issuer: the `iss` claim of the provider's tokens";
            import.decide(&section, "issuer", host.at.as_ref(), message);
        }
    }
    let has = |key| {
        provider
            .endpoints
            .iter()
            .any(|endpoint| endpoint.key == key)
    };
    if !provider.has_metadata && NEEDED.into_iter().all(has) {
        import.document.set(&section, "discovery", false);
    }
    for endpoint in &provider.endpoints {
        let url = endpoint.url.as_str();
        import.document.set(&section, endpoint.key, url);
    }
    if let Some(url) = &provider.discovery_url {
        import.document.set(&section, "discovery_url", url.as_str());
    }
    if let Some(setting) = ca_file {
        import.document.set(&section, "ca_file", setting.text());
    }
    if let Some(setting) = algorithm {
        if is_known(setting.text()) {
            import
                .document
                .set(&section, "algorithms", list([setting.text()]));
        } else {
            import.not_mapped(&setting, "this algorithm is not supported");
        }
    }
    if let Some(setting) = slack {
        let leeway =
            duration::seconds(setting.text()).filter(|leeway| leeway.as_secs() <= MAX_LEEWAY);
        match leeway.and_then(duration::text) {
            Some(text) => import.document.set(&section, "leeway", text),
            None => import.not_mapped(
                &setting,
                "`leeway` is at most 5 minutes, which is also enough",
            ),
        }
    }
    if let Some(setting) = timeout {
        match duration::seconds(setting.text()).and_then(duration::text) {
            Some(text) => import.document.set(&section, "request_timeout", text),
            None => import.not_mapped(&setting, "not a number of seconds"),
        }
    }
}
