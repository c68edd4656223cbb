//! Header filter tests: forged identity and forwarding headers, `Connection` nominations, cookies
//! and caching.

use proptest::prelude::*;

use super::*;
use crate::identity::header_edits::RequestFacts;
use crate::types::request_id::RequestId;
use crate::types::trace_context::{TraceSettings, TraceSource};
use crate::upstream::request::AppCredentials;

const IDENTITY: [&str; 3] = ["x-forwarded-user", "x-user", "remote-groups"];
const PREFIXES: [&str; 2] = ["__Host-doorward_", "__Secure-doorward_"];

fn policy() -> HeaderPolicy {
    HeaderPolicy::new(&IDENTITY.map(HeaderName::from_static), &PREFIXES)
}

fn forward(identity_headers: &[(HeaderName, HeaderValue)]) -> ForwardRequest<'_> {
    ForwardRequest {
        target: "/",
        route: None,
        identity_headers,
        facts: RequestFacts {
            request_id: RequestId::new(1),
            client: None,
            host: "store.test",
            label: None,
            claims: None,
        },
        forwarded_for: "192.0.2.1",
        forwarded_proto: "https",
        forwarded_host: "store.test",
        authenticated: true,
        session: None,
        pin: None,
        trace: None,
        credentials: AppCredentials::default(),
    }
}

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn sent(client: &[(&str, &str)], identity: &[(&str, &str)]) -> Vec<(String, String)> {
    let identity: Vec<_> = map(identity)
        .into_iter()
        .map(|(name, value)| (name.unwrap(), value))
        .collect();
    let headers = policy().upstream_headers(&map(client), &forward(&identity));
    let mut fields: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    fields.sort();
    fields
}

fn fields(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let forwarded = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "store.test"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "0000000000000001"),
    ];
    let mut all: Vec<_> = list
        .iter()
        .chain(&forwarded)
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    all.sort();
    all
}

#[test]
fn forged_fields_are_removed_in_every_spelling() {
    for name in [
        // Identity, as CGI, WSGI and PHP fold it, also if the user has no such claim.
        "X-Forwarded-User",
        "x_forwarded_user",
        "X-Forwarded.User",
        "x.forwarded.user",
        "X_Forwarded-User",
        "x!forwarded~user",
        "X-User",
        "x_user",
        "x.user",
        "Remote-Groups",
        "remote_groups",
        "REMOTE_GROUPS",
        // The origin of the request.
        "X-Forwarded-For",
        "x_forwarded_for",
        "X-Forwarded-Prefix",
        "X-Forwarded-Port",
        "X-Forwarded-Uri",
        "X_Forwarded_Anything",
        "X-Forwarded",
        "Forwarded",
        "X-Real-IP",
        "x_real_ip",
        "True-Client-IP",
        "CF-Connecting-IP",
        "Client_IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        // The target of the request.
        "X-Original-URL",
        "x_original_url",
        "X-Original-Uri",
        "X-Rewrite-URL",
        "X-Rewrite.Url",
        "X-Original-Method",
        "X-HTTP-Method-Override",
        "x_http_method_override",
        "X-Method-Override",
        "X-HTTP-Method",
        "x-envoy-original-path",
        "x_envoy_internal",
        "X-Envoy-External-Address",
        // Hop-by-hop, framing, and fields for proxies.
        "Proxy",
        "Proxy-Authorization",
        "proxy_authorization",
        "Proxy-Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "transfer_encoding",
        "Content-Length",
        "content_length",
        "Upgrade",
        "Expect",
        "HTTP2-Settings",
        // Identity headers of other products.
        "Remote-User",
        "remote_user",
        "X-Auth-Request-User",
        "x_auth_request_email",
        "X-SSL-Client-Verify",
        "SSL_Client_S_DN",
        "Client-Cert",
        "X-WEBAUTH-USER",
        "X-Amzn-Oidc-Data",
        "OIDC_CLAIM_email",
        "Secure-Session-Response",
        "secure_session_id",
        "Sec-Secure-Session-Id",
    ] {
        assert_eq!(
            sent(&[(name, "forged"), (name, "again")], &[]),
            fields(&[]),
            "{name}"
        );
    }
}

#[test]
fn other_fields_are_forwarded_unchanged() {
    let own = [
        ("accept", "text/html"),
        ("accept", "*/*"),
        ("content-type", "a/b"),
        ("origin", "https://store.test"),
        ("x-forwardeduser", "a"),
        ("x-users", "a"),
        ("forwarded-user", "a"),
        ("user-agent", "u"),
        ("x-proxy", "a"),
        ("sec-fetch-mode", "navigate"),
        ("sec-websocket-key", "k"),
        ("range", "bytes=0-1"),
    ];
    assert_eq!(sent(&own, &[]), fields(&own));
}

#[test]
fn identity_header_has_one_value() {
    let client = [
        ("X-User", "mallory"),
        ("x_user", "mallory"),
        ("X-Forwarded-User", "a"),
        ("X-Forwarded-User", "b"),
    ];
    let ours = [("x-user", "alice"), ("x-forwarded-user", "alice")];
    assert_eq!(sent(&client, &ours), fields(&ours));
}

/// Several proxies let `Connection` remove identity headers.
#[test]
fn connection_cannot_nominate_identity_or_end_to_end_fields() {
    let ours = [("x-forwarded-user", "alice")];
    for nominated in [
        "X-Forwarded-User",
        "x-forwarded-user, X-USER",
        "close, X-Forwarded-User",
        ",, X-Forwarded-For,",
        "Host",
    ] {
        assert_eq!(
            sent(&[("Connection", nominated)], &ours),
            fields(&ours),
            "{nominated}"
        );
    }
    let twice = [
        ("Connection", ""),
        ("Connection", "X-Hop, X-Forwarded-User"),
        ("X-Hop", "gone"),
    ];
    assert_eq!(sent(&twice, &ours), fields(&ours));
    for kept in [
        "cookie",
        "content-type",
        "origin",
        "sec-fetch-site",
        "referer",
    ] {
        let arrived = sent(&[("Connection", kept), (kept, "a=b")], &[]);
        assert_eq!(arrived, fields(&[(kept, "a=b")]), "{kept}");
    }
}

#[test]
fn wanted_identity_headers_of_other_products_pass() {
    let wanted = ["client-cert", "x-ssl-client-cn"].map(HeaderName::from_static);
    let policy = policy().forwarding(&wanted);
    for (name, passes) in [
        ("client-cert", true),
        ("client_cert", true),
        ("x-ssl-client-cn", true),
        ("x-ssl-client-dn", false),
        ("remote-user", false),
        ("x-user", false),
    ] {
        let name = HeaderName::from_static(name);
        assert_eq!(policy.is_never_forwarded(&name), !passes, "{name}");
    }
}

#[test]
fn authorization_passes_unless_the_operator_removes_it() {
    for value in ["Basic Zm9v", "Digest a=\"b\"", "Bearer app", "NTLM x"] {
        let client = map(&[("Authorization", value)]);
        let sent = policy().upstream_headers(&client, &forward(&[]));
        assert_eq!(sent[AUTHORIZATION], value);
        let policy = policy().dropping_authorization();
        let sent = policy.upstream_headers(&client, &forward(&[]));
        assert!(!sent.contains_key(AUTHORIZATION), "{value}");
    }
}

#[test]
fn connection_is_bound_by_forwarded_credentials_only() {
    let bound = map(&[("Authorization", "Negotiate x")]);
    let other = map(&[("Authorization", "Basic x")]);
    assert!(policy().forwards_bound_auth(&bound) && !policy().forwards_bound_auth(&other));
    let removing = policy().dropping_authorization();
    assert!(!removing.forwards_bound_auth(&bound));
}

#[test]
fn access_tokens_are_dropped_and_other_credentials_pass() {
    let forward = forward(&[]);
    let arrives = |policy: HeaderPolicy, name, value| {
        policy
            .upstream_headers(&map(&[(name, value)]), &forward)
            .contains_key(name)
    };
    let ours = [
        "Bearer x",
        "bearer  x",
        "BEARER",
        "DPoP x",
        "dpop,x",
        "Bearer\tx",
    ];
    for value in ours
        .into_iter()
        .chain(["Basic Zm9v", "Bearers x", "Digest a=\"Bearer\""])
    {
        assert!(
            arrives(policy(), "authorization", value),
            "{value}: forwarded unless Doorward checks tokens"
        );
        assert_eq!(
            arrives(policy().dropping_access_tokens(), "authorization", value),
            !ours.contains(&value),
            "{value}"
        );
    }
    for name in ["DPoP", "dpop"] {
        assert!(
            arrives(policy(), name, "x") && !arrives(policy().dropping_access_tokens(), name, "x"),
            "{name}"
        );
    }
}

#[test]
fn doorward_cookies_are_removed_and_app_cookies_pass() {
    for (given, left) in [
        ("a=b; c=d", Some("a=b; c=d")),
        ("a=b;__Host-doorward_jwt=x;c=d", Some("a=b; c=d")),
        ("__Host-doorward_jwt=x", None),
        (
            " __Host-doorward_jwt=x ; __Secure-doorward_id_token_hint=y",
            None,
        ),
        ("__HOST-DOORWARD_JWT=x; a=b", Some("a=b")),
        ("__Host-doorward_jwt", None),
        ("\t__Host-doorward_refresh_1=x;a=b", Some("a=b")),
        ("__Host-other=x", Some("__Host-other=x")),
        ("a=__Host-doorward_jwt=x", Some("a=__Host-doorward_jwt=x")),
        (";;", Some(";;")),
        ("", Some("")),
        ("; __Host-doorward_jwt=x ;", None),
    ] {
        let expected: Vec<_> = left.into_iter().map(|left| ("cookie", left)).collect();
        assert_eq!(
            sent(&[("cookie", given)], &[]),
            fields(&expected),
            "{given:?}"
        );
    }
    let several = [
        ("cookie", "a=b"),
        ("cookie", "__Host-doorward_jwt=x"),
        ("cookie", "c=d"),
    ];
    assert_eq!(sent(&several, &[]), fields(&[("cookie", "a=b; c=d")]));
}

fn cleaned(fields: &[(&str, &str)], authenticated: bool) -> Vec<(String, String)> {
    let mut headers = map(fields);
    let forward = ForwardRequest {
        authenticated,
        ..forward(&[])
    };
    policy().sanitize_response(&mut headers, &forward);
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn response_loses_hop_by_hop_and_doorward_fields() {
    let response = [
        ("content-type", "text/html"),
        ("set-cookie", "a=b; Path=/"),
        ("set-cookie", "__Host-doorward_jwt=planted; Secure"),
        ("set-cookie", " __host-DOORWARD_refresh=planted"),
        ("set-cookie", "=__Host-doorward_jwt=planted"),
        ("set-cookie", "c=d"),
        ("connection", "close, x-hop, set-cookie"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("trailer", "x"),
        ("upgrade", "h2c"),
        ("secure-session-registration", "(ES256);path=\"/x\""),
        ("secure-session-challenge", "c"),
    ];
    let left = [
        ("content-type", "text/html"),
        ("set-cookie", "a=b; Path=/"),
        ("set-cookie", "c=d"),
    ];
    assert_eq!(
        cleaned(&response, false),
        left.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[test]
fn authenticated_response_is_private() {
    for (given, kept) in [
        (&[][..], "private"),
        (&["public, max-age=60"], "private, max-age=60"),
        (&["s-maxage=60", "max-age=5, PUBLIC"], "private, max-age=5"),
        (&["no-store"], "no-store"),
        (&["public, No-Store, s-maxage=1"], "No-Store"),
        (
            &["private=\"set-cookie, public\", max-age=1"],
            "private, max-age=1",
        ),
        (
            &["max-age=1, foo=\"a, public\""],
            "private, max-age=1, foo=\"a, public\"",
        ),
        (&["private"], "private"),
        (&["no-cache"], "private, no-cache"),
        (&[",, public ,"], "private"),
    ] {
        let mut response: Vec<_> = given
            .iter()
            .map(|value| ("cache-control", *value))
            .collect();
        response.extend([
            ("cdn-cache-control", "public"),
            ("surrogate-control", "max-age=9"),
            ("expires", "0"),
        ]);
        let mut expected = cleaned(&response, true);
        expected.sort();
        assert_eq!(
            expected,
            [
                ("cache-control".to_owned(), kept.to_owned()),
                ("expires".to_owned(), "0".to_owned())
            ]
        );
    }
    let public = [
        ("cache-control", "public, s-maxage=9"),
        ("cdn-cache-control", "public"),
    ];
    assert_eq!(cleaned(&public, false).len(), 2);
}

proptest! {
    /// With any separator and any case, every alias of an identity header is removed, and
    /// Doorward's value is sent once.
    #[test]
    fn every_alias_of_an_identity_header_is_removed(
        which in 0..IDENTITY.len(),
        glue in proptest::collection::vec(prop::sample::select(b"!#$%&'*+-.^_`|~".to_vec()), 4),
        upper in proptest::collection::vec(any::<bool>(), 32),
        nominate in any::<bool>(),
    ) {
        let mut glue = glue.into_iter();
        let alias: String = IDENTITY[which].bytes().zip(upper).map(|(byte, upper)| match byte {
            b'-' => char::from(glue.next().unwrap()),
            _ if upper => char::from(byte.to_ascii_uppercase()),
            _ => char::from(byte),
        }).collect();
        let nomination = if nominate { alias.as_str() } else { "close" };
        let ours = [(IDENTITY[which], "alice")];
        prop_assert_eq!(sent(&[(&alias, "forged"), ("Connection", nomination)], &ours), fields(&ours));
        prop_assert_eq!(sent(&[(&alias, "forged"), ("Connection", nomination)], &[]), fields(&[]));
    }

    /// No `Cookie` field, however malformed, forwards one of Doorward's cookies; all cookies of the
    /// app are forwarded.
    #[test]
    fn doorward_cookies_are_removed_from_any_field(parts in proptest::collection::vec(
        prop::sample::select(vec!["__Host-doorward_jwt=x", "a=b", " ", "=", "\t__secure-doorward_x", "\"q;", "c"]), 0..8,
    )) {
        let field = parts.join(";");
        let left = sent(&[("cookie", &field)], &[]).into_iter().find(|(name, _)| name == "cookie");
        let left = left.map(|(_, value)| value).unwrap_or_default();
        prop_assert!(!left.to_ascii_lowercase().contains("doorward"));
        prop_assert_eq!(left.matches("a=b").count(), field.matches("a=b").count());
    }
}

#[test]
fn trace_replaces_the_fields_of_the_client() {
    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let client = map(&[
        ("traceparent", GIVEN),
        ("tracestate", "a=1"),
        ("x-app", "1"),
    ]);
    let fields = |source, is_trusted| {
        let settings = TraceSettings {
            source,
            sampling_ratio: 0.0,
        };
        let request = ForwardRequest {
            trace: settings.trace(&client, is_trusted, || 7),
            ..forward(&[])
        };
        let headers = policy().upstream_headers(&client, &request);
        assert_eq!(headers["x-app"], "1");
        let text = |name: &HeaderName| {
            let mut values = headers.get_all(name).iter();
            let first = values
                .next()
                .map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(values.next(), None, "{name}");
            first
        };
        (text(&TRACEPARENT), text(&TRACESTATE))
    };
    let as_given = (Some(GIVEN.to_owned()), Some("a=1".to_owned()));
    assert_eq!(fields(TraceSource::Off, false), as_given);
    assert_eq!(fields(TraceSource::Trusted, true), as_given);
    for (source, is_trusted) in [(TraceSource::Trusted, false), (TraceSource::Restart, true)] {
        let (parent, state) = fields(source, is_trusted);
        let parent = parent.unwrap();
        assert!(
            !parent.contains("4bf92f35") && parent.ends_with("-02"),
            "{parent}"
        );
        assert_eq!(state, None);
    }
}

proptest! {
    #[test]
    fn cookies_in_several_fields_are_forwarded_as_in_one(
        pairs in prop::collection::vec("(__Host-doorward_)?[a-c]{1,3}=[a-z]{0,4}", 1..8),
    ) {
        let joined = pairs.join("; ");
        let several: Vec<_> = pairs.iter().map(|pair| ("cookie", pair.as_str())).collect();
        let forwarded = |fields: &[(&str, &str)]| policy().app_cookies(&map(fields));
        prop_assert_eq!(forwarded(&several), forwarded(&[("cookie", &joined)]));
    }
}
