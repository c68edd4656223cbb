//! Complete requests: any target, method and headers are accepted or rejected as a whole.

use doorward::policy::client_address::TrustedProxies;
use doorward::policy::request_info::RequestInfo;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const NAMES: [&str; 12] = [
    "host",
    "transfer-encoding",
    "transfer-encoding",
    "transfer-encoding",
    "expect",
    "authorization",
    "content-type",
    "sec-fetch-mode",
    "accept",
    "x-forwarded-for",
    "upgrade",
    "content-length",
];
const VALUES: [&str; 22] = [
    "a.example",
    "A.Example:80",
    "a.example:080",
    "[::1]:443",
    "[::1",
    "a b",
    "a,b",
    "u@a.example",
    "chunked",
    "chunked",
    "chunked",
    "gzip",
    "100-continue",
    "navigate",
    "document",
    "text/html",
    "",
    " ",
    "websocket",
    "1.2.3.4, ::1",
    "\t",
    "a.example:",
];
const TARGETS: [&str; 10] = [
    "/",
    "/a?b",
    "*",
    "http://a.example/x",
    "https://a.example",
    "http://u:p@a.example/",
    "ftp://a.example/",
    "a.example",
    "a.example:443",
    "http://a.example?x",
];

fn field() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
    let value = prop_oneof![
        4 => select(VALUES.as_slice()).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..20),
    ];
    (select(NAMES.as_slice()), value).prop_filter_map("invalid header value", |(name, value)| {
        Some((
            HeaderName::from_static(name),
            HeaderValue::from_bytes(&value).ok()?,
        ))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn parsed_request_has_one_host_framing_and_path(
        target in prop_oneof![2 => select(TARGETS.as_slice()).prop_map(str::to_owned), 1 => crate::adversarial_inputs::paths()],
        method in prop_oneof![4 => select(&["GET", "POST", "TRACE", "CONNECT"][..]).prop_map(str::to_owned), 1 => "[!-~]{1,8}"],
        fields in vec(field(), 0..5),
        plain_host in any::<bool>(),
    ) {
        let (Ok(uri), Ok(method)) = (target.parse::<Uri>(), method.parse::<Method>()) else { return Ok(()) };
        let (mut parts, ()) = Request::new(()).into_parts();
        (parts.uri, parts.method, parts.headers) = (uri, method, HeaderMap::new());
        let host = plain_host.then(|| (HeaderName::from_static("host"), HeaderValue::from_static("a.example")));
        for (name, value) in host.into_iter().chain(fields) {
            parts.headers.append(name, value);
        }
        let peer = Some("192.0.2.1".parse().unwrap());
        let Ok(info) = RequestInfo::read(&parts, peer, &TrustedProxies::default()) else { return Ok(()) };

        let hosts: Vec<_> = parts.headers.get_all("host").iter().map(HeaderValue::as_bytes).collect();
        prop_assert_eq!(hosts.len(), 1);
        prop_assert!(hosts[0].eq_ignore_ascii_case(info.authority.as_bytes()));
        prop_assert!(!info.authority.bytes().any(|byte| byte.is_ascii_uppercase() || b" ,@/\\#?\t".contains(&byte)));
        let said: Vec<_> = parts.headers.get_all("transfer-encoding").iter().collect();
        prop_assert!(said.is_empty() || (said.len() == 1 && said[0].as_bytes().eq_ignore_ascii_case(b"chunked")));
        prop_assert!(!matches!(info.method.as_str(), "TRACE" | "CONNECT" | "TRACK"));
        prop_assert_eq!(info.address.forwarded_for.as_str(), "192.0.2.1");
        prop_assert!(info.target.path().starts_with('/') && HeaderValue::from_str(info.target.as_str()).is_ok());
    }
}
