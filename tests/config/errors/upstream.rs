//! Errors in `upstream…` keys of `[apps.NAME]`.

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
}
