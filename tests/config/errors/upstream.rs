//! Errors in `upstream…` keys of `[apps.NAME]`.

use crate::support::{edited, problems};

errors! {
    upstream_with_path_is_rejected:
        "http://127.0.0.1:4000" => "http://127.0.0.1:4000/app",
        at "\"http://127.0.0.1:4000/app\"", "not an upstream", hint "http://127.0.0.1:3000";
    wildcard_upstream_is_rejected:
        "http://127.0.0.1:4000" => "http://*.internal:4000",
        at "\"http://*.internal:4000\"", "is not a name", hint "wildcards";
    own_address_as_upstream_is_rejected:
        "http://127.0.0.1:4000" => "http://localhost:8080",
        at "\"http://localhost:8080\"",
        "is the address of doorward itself", hint "address of the app";
    ca_file_without_tls_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nupstream_ca_file = \"tls/ca.pem\"",
        at "\"tls/ca.pem\"", "does not use TLS", hint "https";
    server_name_without_tls_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nupstream_server_name = \"forum.internal\"",
        at "\"forum.internal\"", "does not use TLS", hint "https";
    client_certificate_without_key_is_rejected:
        "\"http://127.0.0.1:4000\"" =>
            "\"https://127.0.0.1:4000\"\nupstream_cert_file = \"tls/cert.pem\"",
        at "forum", "`upstream_key_file` is missing", hint "private key";
    other_file_as_client_certificate_is_rejected:
        "\"http://127.0.0.1:4000\"" =>
            "\"https://127.0.0.1:4000\"\n\
             upstream_cert_file = \"store.secret\"\n\
             upstream_key_file = \"tls/key.pem\"",
        at "\"store.secret\"", "holds no valid certificates", hint "BEGIN CERTIFICATE";
    certificate_as_client_key_is_rejected:
        "\"http://127.0.0.1:4000\"" =>
            "\"https://127.0.0.1:4000\"\n\
             upstream_cert_file = \"tls/cert.pem\"\n\
             upstream_key_file = \"tls/ca.pem\"",
        at "\"tls/ca.pem\"", "holds no valid private key", hint "BEGIN PRIVATE KEY";
    key_of_other_certificate_is_rejected:
        "\"http://127.0.0.1:4000\"" =>
            "\"https://127.0.0.1:4000\"\n\
             upstream_cert_file = \"tls/cert.pem\"\n\
             upstream_key_file = \"tls/other-key.pem\"",
        at "\"tls/other-key.pem\"", "cannot be used together", hint "issued for";
    server_name_with_space_is_rejected:
        "\"http://127.0.0.1:4000\"" => "\"https://127.0.0.1:4000\"\nupstream_server_name = \"a b\"",
        at "\"a b\"", "not a valid name for a certificate", hint "store.internal";
    unknown_protocol_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nupstream_protocol = \"http/2\"",
        at "\"http/2\"", "unknown value", hint "http2";
    streams_for_http1_are_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nupstream_max_http2_streams = 50",
        at "50", "HTTP/1.1 has no streams", hint "upstream_protocol";
    zero_upstream_connections_are_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nupstream_max_connections = 0",
        at "0", "not a valid number of connections", hint "from 1";
    zero_upstream_idle_timeout_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nupstream_idle_timeout = \"0s\"",
        at "\"0s\"", "must not be zero", hint "";
    ping_interval_for_http1_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nupstream_ping_interval = \"30s\"",
        at "\"30s\"", "HTTP/1.1 has no pings", hint "upstream_protocol";
    empty_list_of_addresses_is_rejected:
        "upstream = \"http://127.0.0.1:4000\"" => "upstream = []",
        at "[]", "no address is listed", hint "one or more";
    address_that_is_listed_twice_is_rejected:
        "upstream = \"http://127.0.0.1:4000\"" =>
            "upstream = [\"http://127.0.0.1:4000\", \"http://127.0.0.1:4000/\"]",
        at "\"http://127.0.0.1:4000/\"", "listed twice", hint "remove";
    addresses_with_and_without_tls_are_rejected:
        "upstream = \"http://127.0.0.1:4000\"" =>
            "upstream = [\"http://127.0.0.1:4000\", \"https://127.0.0.1:4001\"]",
        at "\"https://127.0.0.1:4001\"", "do not all use TLS", hint "`https` for all";
    label_in_a_list_of_addresses_is_rejected:
        "upstream = \"http://127.0.0.1:4000\"" =>
            "upstream = [\"http://127.0.0.1:4000\", \"http://{label}.internal\"]",
        at "\"http://{label}.internal\"", "not possible in a list", hint "one upstream";
    invalid_address_in_a_list_is_rejected:
        "upstream = \"http://127.0.0.1:4000\"" =>
            "upstream = [\"http://127.0.0.1:4000\", \"ftp://a\"]",
        at "\"ftp://a\"", "is not an upstream", hint "such as";
    address_of_another_type_is_rejected:
        "upstream = \"http://127.0.0.1:4000\"" => "upstream = 4000",
        at "4000", "expected a string or an array of strings", hint "";
    doorward_in_a_list_of_addresses_is_rejected:
        "upstream = \"http://127.0.0.1:4000\"" =>
            "upstream = [\"http://127.0.0.1:4000\", \"http://127.0.0.1:8080\"]",
        at "[\"http://127.0.0.1:4000\", \"http://127.0.0.1:8080\"]", "doorward itself", hint "address of the app";
    ejected_share_above_the_whole_is_rejected:
        "upstream = \"http://127.0.0.1:4000\"" =>
            "upstream = \"http://127.0.0.1:4000\"\nupstream_max_ejected_percent = 101",
        at "101", "not a valid number of percent", hint "from 0 to 100";
    affinity_of_a_wildcard_host_is_rejected:
        "forum.example.com\"\nupstream = \"http://127.0.0.1:4000\"" =>
            "*.forum.example.com\"\nupstream = \"http://{label}.localhost:4000\"\nupstream_affinity = true",
        at "true", "one address for each label", hint "remove the key";
    retry_status_that_is_no_error_is_rejected:
        "upstream = \"http://127.0.0.1:4000\"" =>
            "upstream = \"http://127.0.0.1:4000\"\nupstream_retry_statuses = [503, 404]",
        at "404", "not the status of an error", hint "500 to 599";
    name_of_srv_records_with_a_port_is_rejected:
        "upstream = \"http://127.0.0.1:4000\"" => "upstream = \"srv+http://_web._tcp.a.test:80\"",
        at "\"srv+http://_web._tcp.a.test:80\"", "`_service._proto.domain`", hint "such as";
    srv_records_in_a_list_are_rejected:
        "upstream = \"http://127.0.0.1:4000\"" =>
            "upstream = [\"http://127.0.0.1:4000\", \"srv+http://_web._tcp.a.test\"]",
        at "\"srv+http://_web._tcp.a.test\"", "not possible in a list", hint "list already";
    tls_key_of_srv_records_without_tls_is_rejected:
        "upstream = \"http://127.0.0.1:4000\"" =>
            "upstream = \"srv+http://_web._tcp.a.test\"\nupstream_server_name = \"a.test\"",
        at "\"a.test\"", "does not use TLS", hint "https";
    health_check_of_a_route_without_an_upstream_is_rejected:
        "upstream = \"http://127.0.0.1:4000\"" =>
            "upstream = \"http://127.0.0.1:4000\"\nroutes = [{ path = \"/a\", health_check = { path = \"/health\" } }]",
        at "{ path = \"/health\" }", "needs an `upstream` of the route", hint "add `upstream`";
    health_check_without_a_path_is_rejected:
        "upstream = \"http://127.0.0.1:4000\"" =>
            "upstream = \"http://127.0.0.1:4000\"\nhealth_check = { path = \"health\" }",
        at "\"health\"", "is not a path", hint "/health";
}

#[test]
fn affinity_to_one_fixed_address_gets_advice() {
    for (upstream, has_advice) in [
        ("\"http://127.0.0.1:4000\"", true),
        ("\"unix:/run/forum.sock\"", true),
        ("\"https://forum.internal\"", false),
        ("\"srv+https://_web._tcp.forum.internal\"", false),
        (
            "[\"http://127.0.0.1:4000\", \"http://127.0.0.1:4001\"]",
            false,
        ),
    ] {
        let lines = format!("{upstream}\nupstream_affinity = true");
        let found = problems(&edited("\"http://127.0.0.1:4000\"", &lines));
        let keys: Vec<_> = found.iter().map(|problem| problem.key.as_str()).collect();
        let expected: &[&str] = &["apps.forum.upstream_affinity"];
        assert_eq!(keys, if has_advice { expected } else { &[] }, "{upstream}");
    }
}
