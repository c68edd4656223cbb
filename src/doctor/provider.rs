//! Examination of a provider: discovery, keys, algorithms, PKCE, logout, clock, and the version of a
//! FusionAuth.

mod profile;

use std::sync::Arc;

use super::connection::TlsFault;
use super::finding::{Explained, Finding, Findings, Subject};
use crate::oidc::discovery::Metadata;
use crate::oidc::error::ProviderError;
use crate::oidc::jwks::KeySet;
use crate::oidc::settings::OnStoreOutage;
use crate::oidc::{Algorithm, Announced, Provider, ProviderSettings};

/// The oldest FusionAuth without a known account takeover.
const FUSIONAUTH: Version = Version([1, 69, 2]);

/// FusionAuth announces PKCE since 1.64.
const FUSIONAUTH_ANNOUNCES_PKCE: &str = "1.64";

/// Fetches the provider's documents and judges them.
pub(super) async fn examine(
    provider: Arc<Provider>,
    proxy_variable: Option<String>,
) -> Vec<Finding> {
    let settings = provider.settings();
    let mut findings = Findings::about(Subject::Provider(settings.name.to_string()));
    if let Err(error) = provider.refresh_documents().await {
        let unused_variable = proxy_variable.filter(|_| !settings.proxy.is_set());
        judge_failure(&error, settings, unused_variable.as_deref(), &mut findings);
    }
    if let Some(metadata) = provider.known_metadata() {
        judge_metadata(settings, &metadata, &mut findings);
        if let Some(keys) = provider.keys() {
            judge_keys(settings, &keys, &mut findings);
        }
        if settings.dialect.fusionauth().is_some() {
            let version = provider.fusionauth_version().await;
            judge_fusionauth(&version, &metadata.announced, &mut findings);
        }
    }
    judge_clock(settings, provider.clock_skew(), &mut findings);
    findings.into_list()
}

/// Why documents could not be fetched.
fn judge_failure(
    error: &ProviderError,
    settings: &ProviderSettings,
    proxy_variable: Option<&str>,
    findings: &mut Findings,
) {
    let message = error.to_string();
    let is_unreachable = matches!(
        error,
        ProviderError::Unreachable { .. } | ProviderError::OutcomeUnknown { .. }
    );
    if let Some(fault) = TlsFault::in_text(&message).filter(|_| is_unreachable) {
        let key = match fault {
            TlsFault::UnknownAuthority => "ca_file",
            TlsFault::Expired | TlsFault::NotYetValid | TlsFault::OtherName | TlsFault::NotTls => {
                "issuer"
            }
        };
        findings.error(
            fault.finding_code(),
            key,
            Explained::new(message, fault.hint()),
        );
        return;
    }
    let hint = match error {
        ProviderError::Metadata { .. } => {
            "copy `issuer` from the discovery document, letter by letter"
        }
        ProviderError::Status { .. } | ProviderError::NotJson { .. } => {
            "open the URL: is it the provider's discovery document? Else correct `issuer`, or set \
             `discovery_url`"
        }
        ProviderError::Unreachable { .. } | ProviderError::OutcomeUnknown { .. }
            if settings.proxy.is_set() =>
        {
            "the requests go through the proxy of `proxy`: does it accept its user, and permit this \
             host and port? Else list the host in `proxy.no_proxy`"
        }
        ProviderError::Unreachable { .. } | ProviderError::OutcomeUnknown { .. } => {
            "fetch the URL with `curl` on this machine: is the host right, and is a firewall between?"
        }
        ProviderError::Keys { .. } => "let the provider sign with an RSA, EC or Ed25519 key",
        ProviderError::Setup(_)
        | ProviderError::ClientAssertion(_)
        | ProviderError::ClientKey(_)
        | ProviderError::Insecure { .. }
        | ProviderError::CircuitOpen
        | ProviderError::TooLarge { .. }
        | ProviderError::NotOffered { .. }
        | ProviderError::OtherSubject { .. }
        | ProviderError::NoRequestUri { .. }
        | ProviderError::NoVerdict { .. } => "",
    };
    findings.error(error.code(), "issuer", Explained::new(message, hint));
    if let Some(variable) = proxy_variable.filter(|_| is_unreachable) {
        let message = format!("Doorward does not use the proxy of the variable `{variable}`");
        let hint =
            "set `proxy.from_environment = true`, or let this machine reach the provider directly";
        findings.warning("proxy_not_used", "issuer", Explained::new(message, hint));
    }
}

fn judge_metadata(settings: &ProviderSettings, metadata: &Metadata, findings: &mut Findings) {
    for error in &metadata.unusable {
        let hint = "Doorward does without it: correct it at the provider";
        findings.warning(
            error.code(),
            "issuer",
            Explained::new(error.to_string(), hint),
        );
    }
    // Without discovery, the provider announces nothing.
    if !settings.endpoints.without_discovery {
        judge_algorithms(settings, &metadata.announced, findings);
        judge_pkce(&metadata.announced, findings);
        if settings.dialect.fusionauth().is_none() {
            judge_logout(metadata, findings);
        }
        if let Some(profile) = settings.profile {
            profile::judge(profile, metadata, findings);
        }
    }
    if settings.on_store_outage == OnStoreOutage::LocalLease {
        let message = "whether the provider accepts a refresh token more than once cannot be seen \
                       without a login";
        let hint = "use `local-lease` only if it does not rotate refresh tokens";
        let key = "on_store_outage";
        findings.advice(
            "refresh_rotation_unknown",
            key,
            Explained::new(message, hint),
        );
    }
}

fn judge_algorithms(settings: &ProviderSettings, announced: &Announced, findings: &mut Findings) {
    let Some(names) = &announced.id_token_algorithms else {
        return;
    };
    let is_accepted = |name: &String| {
        Algorithm::from_name(name).is_some_and(|found| settings.algorithms.contains(&found))
    };
    if !names.iter().any(is_accepted) {
        let message = format!(
            "the provider signs ID tokens with {} only, and {} is accepted",
            listed(names),
            listed(&algorithm_names(settings)),
        );
        let hint = "set `algorithms`, or let the provider sign with an asymmetric algorithm";
        let code = "algorithms_not_announced";
        findings.error(code, "algorithms", Explained::new(message, hint));
    }
}

fn judge_keys(settings: &ProviderSettings, keys: &KeySet, findings: &mut Findings) {
    let algorithms = &settings.algorithms;
    if !algorithms.iter().any(|algorithm| keys.supports(*algorithm)) {
        let message = format!(
            "none of the provider's {} keys fits the accepted algorithms {}",
            keys.usable(),
            listed(&algorithm_names(settings)),
        );
        let hint = "set `algorithms` to those that the provider signs with";
        let code = "keys_not_for_algorithms";
        findings.error(code, "algorithms", Explained::new(message, hint));
    }
}

fn judge_pkce(announced: &Announced, findings: &mut Findings) {
    match &announced.code_challenge_methods {
        Some(methods) if methods.iter().any(|method| method == "S256") => {}
        Some(methods) => {
            let message = format!("the provider offers PKCE with {} only", listed(methods));
            let hint = "allow the method S256 at the provider";
            findings.error("pkce_not_supported", "", Explained::new(message, hint));
        }
        None => {
            let message = "the provider does not announce PKCE, so it may ignore it";
            let hint = "look into its documentation; many support PKCE without announcing it";
            findings.advice("pkce_not_announced", "", Explained::new(message, hint));
        }
    }
}

fn judge_logout(metadata: &Metadata, findings: &mut Findings) {
    if metadata.end_session_endpoint.is_none() {
        let message = "the provider has no `end_session_endpoint`: after a logout its own session \
                       goes on";
        let hint = "the next login may need no password";
        findings.advice("logout_not_supported", "", Explained::new(message, hint));
    }
    if !metadata.announced.backchannel_logout {
        let message = "the provider does not announce back-channel logout";
        let hint = "a logout there takes effect at the next refresh";
        let code = "backchannel_logout_not_announced";
        findings.advice(code, "", Explained::new(message, hint));
    }
}

/// `skew` is how many seconds the provider is ahead.
fn judge_clock(settings: &ProviderSettings, skew: Option<i64>, findings: &mut Findings) {
    let Some(skew) = skew else { return };
    let leeway = settings.leeway.as_secs();
    let difference = skew.unsigned_abs();
    let message = format!(
        "the clocks of the provider and of this machine differ by {difference} s (the provider is \
         {})",
        if skew > 0 { "ahead" } else { "behind" },
    );
    let hint = "synchronize both by NTP: `timedatectl` shows this machine's";
    // Both clocks are read in whole seconds.
    if difference > leeway.saturating_add(1) {
        let message =
            format!("{message}: more than the leeway of {leeway} s, so tokens are rejected");
        findings.error("clock_differs", "leeway", Explained::new(message, hint));
    } else if difference > leeway / 2 + 1 {
        findings.warning("clock_differs", "leeway", Explained::new(message, hint));
    }
}

fn judge_fusionauth(
    version: &Result<Option<String>, ProviderError>,
    announced: &Announced,
    findings: &mut Findings,
) {
    let hint = "update FusionAuth to 1.69.2 or later";
    let outdated = |version: &str| {
        let message = format!("FusionAuth {version} has a known account takeover");
        Explained::new(message, hint)
    };
    match version {
        Ok(Some(version)) => match Version::parse(version) {
            Some(parsed) if parsed < FUSIONAUTH => {
                findings.warning("fusionauth_outdated", "", outdated(version));
            }
            Some(_) => {}
            None => findings.advice("fusionauth_version_unknown", "", unknown_version()),
        },
        Ok(None) | Err(_) if announced.code_challenge_methods.is_none() => {
            let older = format!("before {FUSIONAUTH_ANNOUNCES_PKCE}");
            findings.warning("fusionauth_outdated", "", outdated(&older));
        }
        Ok(None) | Err(_) => {
            findings.advice("fusionauth_version_unknown", "", unknown_version());
        }
    }
}

fn unknown_version() -> Explained {
    Explained::new(
        "the version of FusionAuth could not be checked: versions before 1.69.2 have a known account takeover",
        "give the API key of `api_key_file` the right `GET /api/system/version`",
    )
}

/// A version of three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version([u64; 3]);

impl Version {
    pub(super) const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self([major, minor, patch])
    }

    /// Parses `1.69.2`, also with fewer numbers or more behind them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text
            .split(['.', '-', '+'])
            .map(|number| number.parse().ok());
        let major = numbers.next()??;
        let mut next = || numbers.next().flatten().unwrap_or(0);
        Some(Self([major, next(), next()]))
    }
}

fn algorithm_names(settings: &ProviderSettings) -> Vec<&'static str> {
    settings
        .algorithms
        .iter()
        .map(|algorithm| algorithm.name())
        .collect()
}

/// Names for a message.
pub(super) fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("`{}`", name.as_ref()))
        .collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests;
