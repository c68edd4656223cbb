//! `[apps.NAME.bearer]`: access tokens of API clients.

use std::time::Duration;

use super::super::keywords::{Dpop, OpaqueTokens};
use super::super::raw::RawBearer;
use super::super::report::{Location, quoted};
use super::super::settings::{BearerConfig, Registration};
use super::headers::{folded, is_reserved};
use super::{client, elements, nonzero};
use crate::identity::identity::HeaderTemplate;
use crate::oidc::presented_token::AccessTokenClaim;
use crate::policy::app::BearerPolicy;
use crate::policy::login_providers::{LoginProviders, ProviderIndex};
use crate::types::oauth::ProviderName;

const CLIENT_HEADER: &str = "X-Forwarded-Client";
const INTROSPECTION_CACHE: Duration = Duration::from_secs(60);

/// The longest `introspection_cache`: a revocation at the provider is noticed with this delay.
const MAX_CACHE: Duration = Duration::from_secs(60 * 60);

/// The checked table.
pub(super) struct Bearer {
    pub(super) policy: BearerPolicy,
    pub(super) verification: Verification,
}

/// The verification settings. Providers and audiences default to those of the app.
pub(super) struct Verification {
    providers: Option<Vec<ProviderName>>,
    audiences: Option<Vec<String>>,
    access_token_claim: Option<AccessTokenClaim>,
    introspection: Option<Duration>,
    dpop_nonce: bool,
}

impl Verification {
    /// The verification at one registration: of the tokens of its provider, if they are accepted, and
    /// at the first registration of those of issuers at which nobody logs in.
    pub(super) fn at(&self, registration: &Registration, logins: &LoginProviders) -> BearerConfig {
        let own = &registration.provider;
        let is_login = |name: &ProviderName| logins.named(name.as_str()).is_some();
        let is_first = logins.get(ProviderIndex::default()).name == *own;
        let providers = match &self.providers {
            None => vec![own.clone()],
            Some(listed) => {
                let listed = listed.iter();
                let verified = listed.filter(|name| *name == own || is_first && !is_login(name));
                verified.cloned().collect()
            }
        };
        let audiences = self.audiences.as_ref();
        BearerConfig {
            providers,
            audiences: audiences.unwrap_or(&registration.client.audiences).clone(),
            access_token_claim: self.access_token_claim.clone(),
            introspection: self.introspection,
            dpop_nonce: self.dpop_nonce,
        }
    }

    /// Reports what needs one provider.
    pub(super) fn check_providers(&self, logins: &LoginProviders, at: &Location<'_>) {
        if self.introspection.is_some() && logins.are_several() {
            at.key("opaque_tokens").error(
                "an opaque token does not say which of several providers issued it",
                "accept JWTs only, or give the API an app of its own with one provider",
            );
        }
        // Revocations belong to a login provider, and the order of several may change.
        let listed = self.providers.iter().flatten().enumerate();
        for (index, name) in listed.filter(|_| logins.are_several()) {
            if logins.named(name.as_str()).is_none() {
                at.key("providers").index(index).error(
                    format!("no user logs in at {}", quoted(name.as_str())),
                    "list providers of the app only, or give the API an app of its own with one provider",
                );
            }
        }
    }
}

/// `headers` are the names of the app's identity headers. `None` if the client header is invalid.
pub(super) fn check(raw: RawBearer, headers: &[&str], at: &Location<'_>) -> Option<Bearer> {
    let introspection = introspection(&raw, at);
    let providers = raw.providers.map(|list| {
        let at = at.key("providers");
        if list.is_empty() {
            at.error(
                "no provider is listed, so no token would be accepted",
                "remove the key for the app's own provider",
            );
        }
        let mut names: Vec<ProviderName> = Vec::new();
        for (at, name) in elements(Some(list), &at) {
            let name = ProviderName::new(name);
            if names.contains(&name) {
                at.error(
                    format!("duplicate provider {}", quoted(name.as_str())),
                    "list each provider once",
                );
            }
            names.push(name);
        }
        names
    });
    let audiences = client::audiences(raw.audiences, &at.key("audiences"));
    let dpop_required = match raw.dpop.unwrap_or(Dpop::Optional) {
        Dpop::Optional => false,
        Dpop::Required => true,
    };
    let client_header = client_header(raw.client_header, headers, &at.key("client_header"));
    let dpop_nonce = raw.dpop_nonce.unwrap_or(false);
    let mark_at = at.key("access_token_claim");
    let access_token_claim = raw
        .access_token_claim
        .and_then(|claim| access_token_claim(&claim, &mark_at));
    Some(Bearer {
        policy: BearerPolicy {
            client_header: client_header?,
            dpop_required,
        },
        verification: Verification {
            providers,
            audiences,
            access_token_claim,
            introspection,
            dpop_nonce,
        },
    })
}

/// `claim` or `claim=value`.
fn access_token_claim(text: &str, at: &Location<'_>) -> Option<AccessTokenClaim> {
    let (claim, value) = match text.split_once('=') {
        Some((claim, value)) => (claim, Some(value.to_owned())),
        None => (text, None),
    };
    if claim.is_empty() || value.as_ref().is_some_and(String::is_empty) {
        at.error(
            format!("{} is not a claim name", quoted(text)),
            "a claim that only access tokens have, such as `\"scp\"`, or a claim and its value, such as \
             `\"token_use=access\"`",
        );
        return None;
    }
    Some(AccessTokenClaim {
        claim: claim.to_owned(),
        value,
    })
}

fn introspection(raw: &RawBearer, at: &Location<'_>) -> Option<Duration> {
    let cache_at = at.key("introspection_cache");
    let cache = raw
        .introspection_cache
        .map(|duration| nonzero(duration, &cache_at));
    match raw.opaque_tokens.unwrap_or(OpaqueTokens::Refuse) {
        OpaqueTokens::Refuse => {
            if cache.is_some() {
                cache_at.error(
                    "opaque tokens are not introspected",
                    "set `opaque_tokens = \"introspect\"`, or remove this key",
                );
            }
            None
        }
        OpaqueTokens::Introspect => {
            if let Some(cache) = cache.filter(|cache| *cache > MAX_CACHE) {
                let hint = "at most `\"1h\"`: a revoked token is accepted for this long";
                cache_at.error(format!("{} s is too long", cache.as_secs()), hint);
            }
            Some(cache.unwrap_or(INTROSPECTION_CACHE))
        }
    }
}

fn client_header(
    raw: Option<String>,
    headers: &[&str],
    at: &Location<'_>,
) -> Option<HeaderTemplate> {
    const HINT: &str = "choose another name, such as `X-Forwarded-Client`";
    let name = raw.unwrap_or_else(|| CLIENT_HEADER.to_owned());
    let folded_name = folded(&name);
    if is_reserved(&folded_name) {
        at.error(format!("the header {} is reserved", quoted(&name)), HINT);
    } else if headers.iter().any(|header| folded(header) == folded_name) {
        at.error(
            format!(
                "the header {} is an identity header of users",
                quoted(&name)
            ),
            HINT,
        );
    }
    let template = HeaderTemplate::parse(&name, "{client_id}");
    template
        .inspect_err(|error| at.error(format!("{}: {error}", quoted(&name)), HINT))
        .ok()
}
