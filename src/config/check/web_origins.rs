//! Web origins whose pages may use an app: `websocket_origins`, `cors_origins` and `cors_credentials`.

use super::super::raw::List;
use super::super::report::{Location, quoted};
use super::elements;
use crate::policy::cors::CorsPolicy;

/// Serialized origins (RFC 6454 section 6.2). Those of web views may have custom schemes.
pub(super) fn origins(raw: Option<List<String>>, at: &Location<'_>) -> Vec<String> {
    let mut origins = Vec::new();
    for (at, text) in elements(raw, at) {
        let is_host_byte = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:[]".contains(&byte)
        };
        let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
            let is_scheme_byte = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
            };
            !scheme.is_empty()
                && scheme.bytes().all(is_scheme_byte)
                && !host.is_empty()
                && host.bytes().all(is_host_byte)
        });
        if is_origin {
            origins.push(text);
        } else {
            let hint =
                "lower-case scheme, host and non-default port, such as `https://shop.example.com`";
            at.error(format!("{} is not an origin", quoted(&text)), hint);
        }
    }
    origins
}

/// The origins whose scripts may read Doorward's own responses, if any are listed.
pub(super) fn cors(
    listed: Option<List<String>>,
    credentials: Option<bool>,
    at: &Location<'_>,
) -> Option<CorsPolicy> {
    let listed = listed.map(|listed| origins(Some(listed), &at.key("cors_origins")));
    let credentials = credentials.unwrap_or(false);
    if credentials && listed.as_ref().is_none_or(Vec::is_empty) {
        at.key("cors_credentials").warning(
            "`cors_credentials` has no effect without `cors_origins`",
            "list the origins, or remove the key",
        );
    }
    listed.map(|origins| CorsPolicy {
        origins,
        credentials,
    })
}
