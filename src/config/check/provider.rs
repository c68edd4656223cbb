//! `[providers.NAME]`.

use std::time::Duration;

use super::super::files::Folder;
use super::super::raw::{List, RawProvider};
use super::super::report::{Location, did_you_mean, quoted};
use super::super::values::{self, ProviderKind};
use super::{elements, fusionauth, name_is_good, provider_url, wait};
use crate::oidc::ProviderSettings;
use crate::oidc::jws::Algorithm;
use crate::oidc::settings::OnStoreOutage;
use crate::types::oauth::{Issuer, ProviderName};

/// Longest leeway that can be set.
const MAX_LEEWAY: Duration = Duration::from_secs(5 * 60);

/// Longest time for a refresh that can be set.
const MAX_REFRESH: Duration = Duration::from_secs(60);

pub(super) fn check(
    name: &str,
    mut raw: RawProvider,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<ProviderSettings> {
    name_is_good(name, at);
    let dialect = fusionauth::dialect(&mut raw, at, folder);
    let kind = raw.kind.unwrap_or(ProviderKind::Oidc);
    let allow_http = raw.dangerously_allow_http_issuer.unwrap_or(false);
    let has_discovery_url = raw.discovery_url.is_some();
    let discovery_at = at.key("discovery_url");
    let discovery_url = raw
        .discovery_url
        .and_then(|url| provider_url(&url, &discovery_at, allow_http));
    let introspection_at = at.key("introspection_endpoint");
    let introspection_endpoint = raw
        .introspection_endpoint
        .and_then(|url| provider_url(&url, &introspection_at, allow_http));
    let issuer = at.required(
        "issuer",
        raw.issuer,
        "such as `https://login.example.com`: the `iss` of its tokens",
    );
    let issuer = issuer.and_then(|issuer| {
        self::issuer(
            issuer,
            kind,
            &at.key("issuer"),
            allow_http,
            has_discovery_url,
        )
    });
    let ca = raw
        .ca_file
        .map(|name| folder.certificates(&at.key("ca_file"), &name));
    let leeway = raw.leeway.map(|span| span.0);
    if let Some(leeway) = leeway.filter(|leeway| *leeway > MAX_LEEWAY) {
        let hint = "at most `\"5m\"`; so long would expired tokens be accepted";
        at.key("leeway")
            .error(format!("{} s is too much leeway", leeway.as_secs()), hint);
    }
    let request_timeout = raw
        .request_timeout
        .map(|span| wait(span, &at.key("request_timeout")));
    let refresh_timeout = raw
        .refresh_timeout
        .map(|span| wait(span, &at.key("refresh_timeout")));
    if refresh_timeout.is_some_and(|timeout| timeout > MAX_REFRESH) {
        let hint = "at most `\"60s\"`; for so long would nobody else refresh the session of a replica that died";
        at.key("refresh_timeout")
            .error("so long does no refresh take", hint);
    }
    let algorithms = raw
        .algorithms
        .map(|list| algorithms(list, &at.key("algorithms")));

    let (name, issuer) = (ProviderName::new(name), issuer?);
    let mut settings = match discovery_url {
        Some(url) => ProviderSettings::at(name, issuer, url),
        None => match ProviderSettings::new(name, issuer) {
            Ok(settings) => settings,
            Err(error) => {
                at.key("issuer").error(
                    format!("the metadata's place cannot be told: {error}"),
                    "give `discovery_url`",
                );
                return None;
            }
        },
    };
    settings.dialect = dialect?;
    settings.on_store_outage = match raw.on_store_outage.unwrap_or(values::OnStoreOutage::Refuse) {
        values::OnStoreOutage::Refuse => OnStoreOutage::Refuse,
        values::OnStoreOutage::LocalLease => OnStoreOutage::LocalLease,
    };
    settings.allow_insecure_http = allow_http;
    settings.introspection_endpoint = introspection_endpoint;
    settings.ca_certificates = ca.map_or(Some(Vec::new()), |ca| Some(ca?.certificates))?;
    settings.algorithms = algorithms.unwrap_or(settings.algorithms);
    settings.leeway = leeway.unwrap_or(settings.leeway);
    settings.request_timeout = request_timeout.unwrap_or(settings.request_timeout);
    settings.refresh_timeout = refresh_timeout.unwrap_or(settings.refresh_timeout);
    // A call that fails to connect is known not to have been sent, so that must show before the whole call is given up.
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
    has_discovery_url: bool,
) -> Option<Issuer> {
    if let Some(issuer) = text.strip_suffix("/.well-known/openid-configuration") {
        let hint = format!("write `{issuer}`; where the metadata is follows from it");
        at.error(
            "this is the address of the provider's metadata, not its issuer",
            hint,
        );
        return None;
    }
    // FusionAuth's tenants name themselves as they like; then the metadata's place must be given.
    let is_bare = match kind {
        ProviderKind::Oidc => false,
        ProviderKind::FusionAuth => !text.is_empty() && !text.contains("://"),
    };
    match (is_bare, has_discovery_url) {
        (true, true) => return Some(Issuer::new(text)),
        (true, false) => {
            let hint = "such as `https://login.example.com/.well-known/openid-configuration`";
            at.error(
                format!("{} is no URL, so `discovery_url` is needed", quoted(&text)),
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
            "without an algorithm no token can be accepted",
            "leave the key out for all that are safe",
        );
    }
    let mut algorithms = Vec::new();
    for (at, name) in elements(Some(list), at) {
        if let Some(algorithm) = Algorithm::from_name(&name) {
            algorithms.push(algorithm);
        } else if name == "none" || name.starts_with("HS") {
            let hint = "with it, whoever can check a token can make one; use an algorithm with a public key";
            at.error(format!("{} is not safe here", quoted(&name)), hint);
        } else {
            let known = did_you_mean(&name, Algorithm::ALL.map(Algorithm::name));
            at.error(
                format!("{} is not an algorithm that is known here", quoted(&name)),
                known,
            );
        }
    }
    algorithms
}
