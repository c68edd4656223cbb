//! `[providers.NAME]`: an identity provider.

use std::time::Duration;

use super::super::files::Folder;
use super::super::keywords::ProviderKind;
use super::super::raw::{List, RawProvider};
use super::super::report::{Location, did_you_mean, quoted};
use super::{
    check_name, elements, fusionauth, nonzero, provider_endpoints, provider_proxy, provider_url,
    security_profile,
};
use crate::identity::claims::UnverifiedClaims;
use crate::oidc::Algorithm;
use crate::oidc::ProviderSettings;
use crate::oidc::SecurityProfile;
use crate::oidc::settings::OnStoreOutage;
use crate::types::oauth::{Issuer, ProviderName};

/// The longest `leeway`.
const MAX_LEEWAY: Duration = Duration::from_secs(5 * 60);

/// The longest `refresh_timeout`.
const MAX_REFRESH: Duration = Duration::from_secs(60);

pub(super) fn check(
    name: &str,
    mut raw: RawProvider,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<ProviderSettings> {
    check_name(name, at);
    let dialect = fusionauth::dialect(&mut raw, at, folder);
    let kind = raw.kind.unwrap_or(ProviderKind::Oidc);
    let allow_http = raw.dangerously_allow_http_issuer.unwrap_or(false);
    let endpoints = provider_endpoints::check(&mut raw, at, folder);
    let has_discovery_url = raw.discovery_url.is_some();
    let needs_discovery_url = !has_discovery_url && !endpoints.without_discovery;
    let discovery_at = at.key("discovery_url");
    let discovery_url = raw.discovery_url.take();
    let discovery_url = discovery_url.and_then(|url| provider_url(&url, &discovery_at, allow_http));
    // Without discovery it only stands for the address of the provider.
    let discovery_url = if endpoints.without_discovery {
        let configured = &endpoints.configured;
        configured.get("authorization_endpoint").cloned()
    } else {
        discovery_url
    };
    let proxy = raw.proxy.take();
    let proxy = proxy.map(|raw| provider_proxy::check(raw, &at.key("proxy"), folder));
    let document_file = provider_endpoints::document_file(&mut raw, at, folder);
    let issuer = at.required(
        "issuer",
        raw.issuer,
        "the `iss` claim of its tokens, such as `https://login.example.com`",
    );
    let issuer = issuer.and_then(|issuer| {
        self::issuer(
            issuer,
            kind,
            &at.key("issuer"),
            allow_http,
            needs_discovery_url,
        )
    });
    let ca = raw
        .ca_file
        .map(|name| folder.certificates(&at.key("ca_file"), &name));
    let leeway = raw.leeway.map(|duration| duration.0);
    if let Some(leeway) = leeway.filter(|leeway| *leeway > MAX_LEEWAY) {
        let hint = "at most `\"5m\"`: expired tokens are accepted for this long";
        at.key("leeway")
            .error(format!("{} s is too long", leeway.as_secs()), hint);
    }
    let request_timeout = raw
        .request_timeout
        .map(|duration| nonzero(duration, &at.key("request_timeout")));
    let refresh_timeout = raw
        .refresh_timeout
        .map(|duration| nonzero(duration, &at.key("refresh_timeout")));
    if let Some(timeout) = refresh_timeout.filter(|timeout| *timeout > MAX_REFRESH) {
        let hint = "at most `\"60s\"`: a replica that dies blocks the refresh for this long";
        at.key("refresh_timeout")
            .error(format!("{} s is too long", timeout.as_secs()), hint);
    }
    let algorithms = raw
        .algorithms
        .map(|list| algorithms(list, &at.key("algorithms")));

    let permitted = raw.profile.map(|_| SecurityProfile::ALGORITHMS.to_vec());
    let algorithms = algorithms.or(permitted);

    let name = ProviderName::new(name);
    let issuer = issuer?;
    let mut settings = match discovery_url {
        Some(url) => ProviderSettings::at(name, issuer, url),
        None => match ProviderSettings::new(name, issuer) {
            Ok(settings) => settings,
            Err(error) => {
                at.key("issuer").error(
                    format!("the issuer has no discovery URL: {error}"),
                    "set `discovery_url`",
                );
                return None;
            }
        },
    };
    settings.dialect = dialect?;
    settings.on_store_outage = raw.on_store_outage.unwrap_or(OnStoreOutage::Refuse);
    settings.allow_insecure_http = allow_http;
    if raw.dangerously_allow_unverified_claims == Some(true) {
        settings.unverified_claims = UnverifiedClaims::Accepted;
    }
    settings.allow_logout_tokens_without_exp = raw
        .dangerously_allow_logout_tokens_without_exp
        .unwrap_or(settings.allow_logout_tokens_without_exp);
    if let (Some(internal), false) = (&endpoints.internal, has_discovery_url) {
        let moved = internal.internal(&settings.discovery_url);
        settings.discovery_url = moved.unwrap_or(settings.discovery_url);
    }
    settings.endpoints = endpoints;
    settings.proxy = proxy.unwrap_or_default();
    settings.document_file = document_file;
    settings.ca_certificates = ca.map_or(Some(Vec::new()), |ca| Some(ca?.certificates))?;
    settings.algorithms = algorithms.unwrap_or(settings.algorithms);
    security_profile::check_provider(raw.profile, &mut settings, at);
    settings.leeway = leeway.unwrap_or(settings.leeway);
    settings.request_timeout = request_timeout.unwrap_or(settings.request_timeout);
    settings.refresh_timeout = refresh_timeout.unwrap_or(settings.refresh_timeout);
    // A connection failure proves that nothing was sent, so it must be detected before the timeout
    // of the whole call.
    settings.connect_timeout = settings
        .connect_timeout
        .min(settings.request_timeout / 2)
        .min(settings.refresh_timeout / 2);
    Some(settings)
}

fn issuer(
    text: String,
    kind: ProviderKind,
    at: &Location<'_>,
    allow_http: bool,
    needs_discovery_url: bool,
) -> Option<Issuer> {
    if let Some(issuer) = text.strip_suffix("/.well-known/openid-configuration") {
        let hint = format!("use `{issuer}`: the discovery URL is derived from it");
        at.error("this is the discovery URL, not the issuer", hint);
        return None;
    }
    // The issuer of a FusionAuth tenant can be any text. Then `discovery_url` is required.
    let is_text = match kind {
        ProviderKind::Oidc => false,
        ProviderKind::FusionAuth => !text.is_empty() && !text.contains("://"),
    };
    match (is_text, needs_discovery_url) {
        (true, false) => return Some(Issuer::new(text)),
        (true, true) => {
            let hint = "such as `https://login.example.com/.well-known/openid-configuration`";
            at.error(
                format!(
                    "{} is not a URL, so `discovery_url` is required",
                    quoted(&text)
                ),
                hint,
            );
            return None;
        }
        (false, _) => {}
    }
    provider_url(&text, at, allow_http).map(|_| Issuer::new(text))
}

fn algorithms(list: List<String>, at: &Location<'_>) -> Vec<Algorithm> {
    if list.is_empty() {
        at.error(
            "no algorithm is listed, so no token would be accepted",
            "remove the key to accept all secure algorithms",
        );
    }
    let mut algorithms = Vec::new();
    for (at, name) in elements(Some(list), at) {
        if let Some(algorithm) = Algorithm::from_name(&name) {
            algorithms.push(algorithm);
        } else if name == "none" || name.starts_with("HS") {
            let hint = "use an algorithm with a public key, such as `RS256` or `ES256`";
            at.error(format!("{} is not secure", quoted(&name)), hint);
        } else {
            let known = did_you_mean(&name, Algorithm::ALL.map(Algorithm::name));
            at.error(format!("unknown algorithm {}", quoted(&name)), known);
        }
    }
    algorithms
}
