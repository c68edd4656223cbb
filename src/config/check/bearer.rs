//! `[apps.NAME.bearer]`: programs that send an access token.

use std::time::Duration;

use super::super::raw::RawBearer;
use super::super::report::{Location, quoted};
use super::super::settings::BearerConfig;
use super::super::values::{Dpop, HumanDuration, OpaqueTokens};
use super::rules::{folded, is_reserved};
use super::{client, elements, wait};
use crate::identity::identity::HeaderTemplate;
use crate::policy::app::BearerPolicy;
use crate::types::oauth::ProviderName;

const CLIENT_HEADER: &str = "X-Forwarded-Client";
const INTROSPECTION_CACHE: Duration = Duration::from_secs(60);

/// Longest that the provider's word on a token can count: so late is a revocation there noticed here.
const MAX_CACHE: Duration = Duration::from_secs(60 * 60);

/// What was read, apart from what follows from the rest of the app.
pub(super) struct Bearer {
    pub(super) policy: BearerPolicy,
    pub(super) verification: Verification,
}

pub(super) struct Verification {
    providers: Option<Vec<ProviderName>>,
    audiences: Option<Vec<String>>,
    introspection: Option<Duration>,
    dpop_nonce: bool,
}

impl Verification {
    /// With the app's own provider and audiences where none are listed.
    pub(super) fn of_app(self, provider: &ProviderName, audiences: &[String]) -> BearerConfig {
        let Self {
            introspection,
            dpop_nonce,
            ..
        } = self;
        BearerConfig {
            providers: self.providers.unwrap_or_else(|| vec![provider.clone()]),
            audiences: self.audiences.unwrap_or_else(|| audiences.to_vec()),
            introspection,
            dpop_nonce,
        }
    }
}

/// `headers` are the names of the app's identity headers. `None`: the client header has no name.
pub(super) fn check(raw: RawBearer, headers: &[&str], at: &Location<'_>) -> Option<Bearer> {
    let introspection = introspection(&raw, at);
    let providers = raw.providers.map(|list| {
        let at = at.key("providers");
        if list.is_empty() {
            at.error(
                "no token is of nobody",
                "leave the key out for the app's own provider",
            );
        }
        let mut names: Vec<ProviderName> = Vec::new();
        for (at, name) in elements(Some(list), &at) {
            let name = ProviderName::new(name);
            if names.contains(&name) {
                at.error(
                    format!("{} is there twice", quoted(name.as_str())),
                    "name each provider once",
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
    Some(Bearer {
        policy: BearerPolicy {
            client_header: client_header?,
            dpop_required,
        },
        verification: Verification {
            providers,
            audiences,
            introspection,
            dpop_nonce,
        },
    })
}

fn introspection(raw: &RawBearer, at: &Location<'_>) -> Option<Duration> {
    let cache_at = at.key("introspection_cache");
    let cache = raw.introspection_cache.map(|span| wait(span, &cache_at));
    match raw.opaque_tokens.unwrap_or(OpaqueTokens::Refuse) {
        OpaqueTokens::Refuse => {
            if cache.is_some() {
                cache_at.error(
                    "nobody is asked about opaque tokens",
                    "write `opaque_tokens = \"introspect\"`",
                );
            }
            None
        }
        OpaqueTokens::Introspect => {
            if let Some(HumanDuration(cache)) =
                cache.filter(|cache| *cache > MAX_CACHE).map(HumanDuration)
            {
                let hint =
                    "at most `\"1h\"`; so long would a token count that the provider has revoked";
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
    const HINT: &str = "choose a name of its own, such as `X-Forwarded-Client`";
    let name = raw.unwrap_or_else(|| CLIENT_HEADER.to_owned());
    let folded_name = folded(&name);
    if is_reserved(&folded_name) {
        at.error(
            format!("the header {} has a meaning of its own", quoted(&name)),
            HINT,
        );
    } else if headers.iter().any(|header| folded(header) == folded_name) {
        at.error(
            format!("the header {} tells the app of people", quoted(&name)),
            HINT,
        );
    }
    let template = HeaderTemplate::parse(&name, "{client_id}");
    template
        .inspect_err(|error| at.error(format!("{}: {error}", quoted(&name)), HINT))
        .ok()
}
