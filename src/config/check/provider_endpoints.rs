//! Endpoints of a provider that are not as in its discovery document, and the file that keeps its
//! documents.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::super::files::Folder;
use super::super::raw::RawProvider;
use super::super::report::{Location, quoted};
use super::{nonzero, provider_url};
use crate::oidc::document::DocumentFile;
use crate::oidc::endpoints::{EndpointSettings, InternalBase};
use crate::oidc::jwks::KeySet;

/// How old restored documents may be by default.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// The longest `metadata_file_max_age`.
const LONGEST_MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Takes the keys for endpoints out of `raw`.
pub(super) fn check(raw: &mut RawProvider, at: &Location<'_>, folder: &Folder) -> EndpointSettings {
    let allow_http = raw.dangerously_allow_http_issuer.unwrap_or(false);
    let mut configured = BTreeMap::new();
    // Also with invalid values.
    let mut set = Vec::new();
    for name in EndpointSettings::members() {
        let url = take(raw, name).inspect(|_| set.push(name));
        let url = url.and_then(|text| endpoint(&text, &at.key(name), allow_http));
        configured.extend(url.map(|url| (name, url)));
    }
    let jwks_at = at.key("jwks_file");
    let mut jwks = raw.jwks_file.take();
    if jwks.is_some() && set.contains(&"jwks_uri") {
        jwks_at.error("`jwks_uri` is set too", "keep one of the two");
        jwks = None;
    } else if jwks.is_some() {
        set.push("jwks_uri");
    }
    let jwks = jwks.and_then(|name| jwks_file(&name, &jwks_at, folder));
    let without_discovery = raw.discovery == Some(false);
    if without_discovery && !at.has_invalid() {
        require_all(raw, &set, at);
    }
    EndpointSettings {
        without_discovery,
        configured,
        internal: internal_base(raw, at, allow_http),
        jwks,
    }
}

fn take(raw: &mut RawProvider, name: &str) -> Option<String> {
    match name {
        "authorization_endpoint" => raw.authorization_endpoint.take(),
        "token_endpoint" => raw.token_endpoint.take(),
        "jwks_uri" => raw.jwks_uri.take(),
        "userinfo_endpoint" => raw.userinfo_endpoint.take(),
        "revocation_endpoint" => raw.revocation_endpoint.take(),
        "introspection_endpoint" => raw.introspection_endpoint.take(),
        "pushed_authorization_request_endpoint" => raw.pushed_authorization_request_endpoint.take(),
        "end_session_endpoint" => raw.end_session_endpoint.take(),
        _ => None,
    }
}

/// A URL that may have a query (RFC 6749 section 3.1).
fn endpoint(text: &str, at: &Location<'_>, allow_http: bool) -> Option<Url> {
    let (before_query, query) = match text.split_once('?') {
        Some((before_query, query)) => (before_query, Some(query)),
        None => (text, None),
    };
    let mut url = provider_url(before_query, at, allow_http)?;
    if query.is_some_and(|query| query.contains('#')) {
        at.error(
            format!("{} has a fragment", quoted(text)),
            "remove it: it is not sent",
        );
        return None;
    }
    url.set_query(query);
    Some(url)
}

fn jwks_file(name: &str, at: &Location<'_>, folder: &Folder) -> Option<Vec<u8>> {
    let content = folder.public_bytes(at, name)?;
    match KeySet::parse(&content) {
        Ok(_) => Some(content.to_vec()),
        Err(error) => {
            let hint = "a JSON Web Key Set (RFC 7517), such as `{\"keys\": […]}`";
            at.error(format!("the file {}: {error}", quoted(name)), hint);
            None
        }
    }
}

/// Without discovery, the needed endpoints must be set.
fn require_all(raw: &RawProvider, set: &[&str], at: &Location<'_>) {
    const NEEDED: [&str; 3] = ["authorization_endpoint", "token_endpoint", "jwks_uri"];
    if raw.discovery_url.is_some() {
        at.key("discovery_url").error(
            "`discovery = false`, but there is a discovery URL",
            "keep one of the two",
        );
    }
    let missing = NEEDED.iter().filter(|name| !set.contains(name));
    let missing: Vec<String> = missing.map(quoted).collect();
    if !missing.is_empty() {
        at.key("discovery").error(
            format!("without discovery, {} must be set", missing.join(", ")),
            "`jwks_file` can replace `jwks_uri`",
        );
    }
}

fn internal_base(
    raw: &mut RawProvider,
    at: &Location<'_>,
    allow_http: bool,
) -> Option<InternalBase> {
    let text = raw.internal_base.take()?;
    let at = at.key("internal_base");
    if raw.discovery == Some(false) {
        at.error(
            "without discovery, `internal_base` has no effect",
            "set each endpoint to the address at which it is reached",
        );
        return None;
    }
    let base = provider_url(&text, &at, allow_http)?;
    let issuer = raw.issuer.as_deref().unwrap_or_default();
    match Url::parse(issuer) {
        Ok(public) if public.has_host() => Some(InternalBase::new(public, base)),
        Ok(_) | Err(_) => {
            at.error(
                "the issuer is not a URL, so there is no public address in place of which it is used",
                "set `discovery_url`, and each endpoint that it gives wrong",
            );
            None
        }
    }
}

/// Takes `metadata_file` and its maximum age out of `raw`.
pub(super) fn document_file(
    raw: &mut RawProvider,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<DocumentFile> {
    let age_at = at.key("metadata_file_max_age");
    let max_age = raw.metadata_file_max_age.take();
    if max_age.is_some() && raw.metadata_file.is_none() {
        let hint = "set `metadata_file`, or remove the key";
        age_at.error(
            "`metadata_file_max_age` has no effect without `metadata_file`",
            hint,
        );
    }
    let max_age = max_age.map_or(MAX_AGE, |age| nonzero(age, &age_at));
    if max_age > LONGEST_MAX_AGE {
        let hint = "at most `\"30d\"`: keys that the provider withdrew are trusted for this long";
        age_at.error(format!("{} s is too long", max_age.as_secs()), hint);
    }
    let name = raw.metadata_file.take()?;
    let path = folder.path(&name);
    let parent = path.parent();
    let has_folder = parent.is_some_and(|parent| parent.as_os_str().is_empty() || parent.is_dir());
    if name.is_empty() || path.is_dir() || !has_folder {
        let hint =
            "a file in an existing folder that doorward can write to, such as `login.metadata`";
        at.key("metadata_file")
            .error(format!("invalid path {}", quoted(&name)), hint);
        return None;
    }
    Some(DocumentFile { path, max_age })
}
