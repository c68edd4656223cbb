//! Cookies: parsing any `Cookie` header neither fails nor yields a cookie that is not in it.

use doorward::session::cookie::{MAX_CHUNKS, RequestCookies};
use doorward::session::jwt::PackedJwt;
use http::HeaderValue;

/// Panics if `bytes`, one `Cookie` header per line, are parsed wrongly.
pub(crate) fn check(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n');
    let fields: Vec<HeaderValue> = lines
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    let cookies = RequestCookies::read(&fields);
    let sent = fields
        .iter()
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    let names = sent.filter_map(|pair| {
        Some(
            std::str::from_utf8(pair.trim_ascii())
                .ok()?
                .split_once('=')?
                .0,
        )
    });
    for name in names {
        let written = |value: &str| {
            let pair = [name, "=", value].concat();
            let pairs = fields
                .iter()
                .flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
            pairs
                .map(<[u8]>::trim_ascii)
                .any(|found| found == pair.as_bytes())
        };
        let Some(value) = cookies.get(name) else {
            continue;
        };
        assert!(written(value), "`{name}` was never `{value}`");
        let Some(whole) = cookies.get_chunked(name) else {
            continue;
        };
        let longest = fields
            .iter()
            .map(HeaderValue::len)
            .max()
            .unwrap_or_default();
        assert!(
            whole.len() <= MAX_CHUNKS * longest,
            "more came out of `{name}` than went in"
        );
        assert_eq!(
            PackedJwt::pack(&whole).unpack(),
            whole,
            "packing changed a token"
        );
    }
}
