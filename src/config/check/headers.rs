//! `[apps.NAME.headers]`: identity headers.

use http::HeaderName;

use super::super::raw::{List, Named};
use super::super::report::{Location, quoted};
use super::elements;
use crate::identity::identity::HeaderTemplate;
use crate::upstream::is_foreign_identity;

const HEADERS: [(&str, &str); 4] = [
    ("X-Forwarded-Email", "{email}"),
    ("X-Forwarded-Groups", "{groups}"),
    ("X-Forwarded-Preferred-Username", "{preferred_username}"),
    ("X-Forwarded-User", "{sub}"),
];

/// Reserved headers: hop-by-hop (RFC 9110 section 7.6.1), framing, credentials, client address,
/// request ID.
const RESERVED: [&str; 29] = [
    "authorization",
    "cdn-loop",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "dpop",
    "dpop-nonce",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-request-id",
];

/// Normalizes a header name for comparison: many servers do not distinguish `-` from `_` and other
/// characters.
pub(super) fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
        .replace(|char: char| !char.is_ascii_alphanumeric(), "-")
}

/// Whether a folded name is reserved.
pub(super) fn is_reserved(folded: &str) -> bool {
    RESERVED.contains(&folded)
        || folded.starts_with("secure-session-")
        || folded.starts_with("sec-")
}

/// The identity headers of other products that an app gets from clients. `own` are the names of the
/// app's identity headers.
pub(super) fn check_forwarded(
    raw: Option<List<String>>,
    own: &[&str],
    at: &Location<'_>,
) -> Vec<HeaderName> {
    let own: Vec<String> = own.iter().map(|name| folded(name)).collect();
    let mut names = Vec::new();
    for (at, text) in elements(raw, at) {
        let name = HeaderName::from_bytes(text.as_bytes()).ok();
        match name.filter(is_foreign_identity) {
            Some(name) if own.contains(&folded(&text)) => at.error(
                format!("{} is an identity header of this app", quoted(name)),
                "clients could choose their identity: remove it here or under `headers`",
            ),
            Some(name) => names.push(name),
            None => at.error(
                format!(
                    "the header {} is not one that can be forwarded",
                    quoted(&text)
                ),
                "only identity headers of other products are removed by default and can be listed \
                 here, such as `X-SSL-Client-Cert`",
            ),
        }
    }
    names
}

/// The identity headers of an app.
pub(super) fn check(raw: Option<Named<String>>, at: &Location<'_>) -> Vec<HeaderTemplate> {
    let Some(raw) = raw else {
        return HEADERS
            .iter()
            .filter_map(|(name, template)| HeaderTemplate::parse(name, template).ok())
            .collect();
    };
    let reserved =
        |name: &str| is_reserved(name).then_some("choose another name, such as `X-Forwarded-User`");
    templates(raw, at, reserved, "for example `\"{email}\"`")
}

/// Header templates by name. `reserved` tells why a folded name cannot be used; `hint` is an example
/// of a template.
pub(super) fn templates(
    raw: Named<String>,
    at: &Location<'_>,
    reserved: impl Fn(&str) -> Option<&'static str>,
    hint: &str,
) -> Vec<HeaderTemplate> {
    let mut templates: Vec<HeaderTemplate> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (name, template) in raw {
        let at = at.key(&name);
        let folded = folded(&name);
        if let Some(hint) = reserved(&folded) {
            at.key_error(format!("the header {} is reserved", quoted(&name)), hint);
        } else if names.contains(&folded) {
            at.key_error(
                format!("duplicate header {}", quoted(&name)),
                "case is ignored, and `_` equals `-`",
            );
        } else if let Some(template) = template {
            match HeaderTemplate::parse(&name, &template) {
                Ok(parsed) => templates.push(parsed),
                Err(error) => at.error(format!("{}: {error}", quoted(&template)), hint),
            }
        }
        names.push(folded);
    }
    templates
}
