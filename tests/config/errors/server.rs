//! Errors in `[server]`.

errors! {
    same_listen_addresses_are_rejected:
        "trusted_proxies" => "admin_listen = \"0.0.0.0:8080\"\ntrusted_proxies",
        at "\"0.0.0.0:8080\"", "the same address", hint "separate address";
    decision_listen_on_another_listener_is_rejected:
        "trusted_proxies" => "decision_listen = \"0.0.0.0:8080\"\ntrusted_proxies",
        at "\"0.0.0.0:8080\"", "another listener", hint "separate address";
    decision_listen_without_trusted_proxies_is_rejected:
        "trusted_proxies = [\"10.0.0.0/8\"]" => "trusted_proxies = [\"unix\"]\ndecision_listen = \"127.0.0.1:8082\"",
        at "\"127.0.0.1:8082\"", "needs `trusted_proxies`", hint "may ask for decisions";
    decision_socket_without_trusted_peers_is_rejected:
        "trusted_proxies" => "decision_listen = \"unix:/run/doorward/decisions.sock\"\ntrusted_proxies",
        at "\"unix:/run/doorward/decisions.sock\"", "needs `trusted_proxies`", hint "unix";
    admin_host_with_port_is_rejected:
        "trusted_proxies" => "admin_hosts = [\"doorward.example.com:9090\"]\ntrusted_proxies",
        at "\"doorward.example.com:9090\"", "is not a host name", hint "without a port";
    socket_mode_for_tcp_is_rejected:
        "trusted_proxies" => "unix_socket_mode = \"0660\"\ntrusted_proxies",
        at "\"0660\"", "not a Unix socket", hint "unix:/run";
    odd_socket_mode_is_rejected:
        "listen = \"127.0.0.1:8080\"" =>
            "listen = \"unix:/run/doorward.sock\"\nunix_socket_mode = \"rw\"",
        at "\"rw\"", "not a file mode", hint "0660";
    unknown_socket_group_is_rejected:
        "listen = \"127.0.0.1:8080\"" =>
            "listen = \"unix:/run/doorward.sock\"\nunix_socket_group = \"no such group\"",
        at "\"no such group\"", "not a group", hint "/etc/group";
    trusting_every_address_is_rejected:
        "\"10.0.0.0/8\"" => "\"0.0.0.0/0\"",
        at "\"0.0.0.0/0\"", "matches every address", hint "claim any client";
    network_with_host_bits_is_rejected:
        "\"10.0.0.0/8\"" => "\"10.1.0.0/8\"",
        at "\"10.1.0.0/8\"", "beyond its prefix", hint "10.0.0.0/8";
    other_word_than_unix_as_trusted_proxy_is_rejected:
        "\"10.0.0.0/8\"" => "\"unix:/run/doorward.sock\"",
        at "\"unix:/run/doorward.sock\"", "is not a network", hint "`unix`";
    zero_write_stall_timeout_is_rejected:
        "trusted_proxies" => "write_stall_timeout = \"0s\"\ntrusted_proxies",
        at "\"0s\"", "must not be zero", hint "1d";
    too_few_http2_cancels_are_rejected:
        "trusted_proxies" => "http2_reset_burst = 5\ntrusted_proxies",
        at "5", "cancelled requests", hint "from 20";
    too_many_http2_cancels_per_second_are_rejected:
        "trusted_proxies" => "http2_resets_per_second = 50000\ntrusted_proxies",
        at "50000", "cancelled requests", hint "10000";
    weak_key_is_no_mismatch:
        "[session]" =>
            "[server.tls]\n\
             cert_file = \"tls/cert.pem\"\n\
             key_file = \"tls/weak-key.pem\"\n\
             [session]",
        at "\"tls/weak-key.pem\"", "cannot be used for TLS", hint "RSA with 2048";
    zero_workers_are_rejected:
        "trusted_proxies" => "workers = 0\ntrusted_proxies",
        at "0", "not a valid number of workers", hint "from 1";
    zero_connections_are_rejected:
        "trusted_proxies" => "max_connections = 0\ntrusted_proxies",
        at "0", "must not be zero", hint "10000";
    zero_connections_per_client_are_rejected:
        "trusted_proxies" => "max_connections_per_client = 0\ntrusted_proxies",
        at "0", "must not be zero", hint "1000";
    too_many_http2_streams_are_rejected:
        "trusted_proxies" => "max_http2_streams = 5000\ntrusted_proxies",
        at "5000", "concurrent streams", hint "1000";
    zero_requests_in_flight_are_rejected:
        "trusted_proxies" => "max_in_flight_requests = 0\ntrusted_proxies",
        at "0", "requests in flight", hint "10000";
    zero_requests_in_flight_of_an_app_are_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nmax_in_flight_requests = 0",
        at "0", "requests in flight", hint "from 1";
    zero_queue_timeout_is_rejected:
        "trusted_proxies" => "queue_timeout = \"0s\"\ntrusted_proxies",
        at "\"0s\"", "must not be zero", hint "1d";
    key_as_client_ca_is_rejected:
        "[session]" =>
            "[server.tls]\n\
             cert_file = \"tls/cert.pem\"\n\
             key_file = \"tls/key.pem\"\n\
             client_ca_file = \"tls/key.pem\"\n\
             [session]",
        at "\"tls/key.pem\"", "holds no valid certificates", hint "BEGIN CERTIFICATE";
    head_smaller_than_cookies_is_rejected:
        "trusted_proxies" => "max_header_bytes = 4096\ntrusted_proxies",
        at "4096", "cookies included", hint "8192";
    too_few_header_fields_are_rejected:
        "trusted_proxies" => "max_header_count = 5\ntrusted_proxies",
        at "5", "fields", hint "20";
    proxy_protocol_without_trusted_proxies_is_rejected:
        "trusted_proxies = [\"10.0.0.0/8\"]" => "proxy_protocol = true",
        at "true", "needs `trusted_proxies`", hint "load balancers";
    further_certificate_without_key_is_rejected:
        "[session]" =>
            "[server.tls]\n\
             cert_file = \"tls/cert.pem\"\n\
             key_file = \"tls/key.pem\"\n\
             [[server.tls.certificates]]\n\
             cert_file = \"tls/cert.pem\"\n\
             [session]",
        at "[[server.tls.certificates]]", "key_file", hint "private key";
    certificate_without_key_is_rejected:
        "[session]" => "[server.tls]\ncert_file = \"tls/cert.pem\"\n[session]",
        at "tls", "`key_file` is missing", hint "PEM";
    certificate_as_key_is_rejected:
        "[session]" =>
            "[server.tls]\ncert_file = \"tls/cert.pem\"\nkey_file = \"tls/cert.pem\"\n[session]",
        at "\"tls/cert.pem\"", "holds no valid private key", hint "BEGIN PRIVATE KEY";
    listeners_beside_listen_are_rejected:
        "[session]" => "[[server.listeners]]\naddress = \"127.0.0.1:8081\"\n[session]",
        at "\"127.0.0.1:8080\"", "`listeners` is set", hint "[[server.listeners]]";
    listener_without_address_is_rejected:
        "listen = \"127.0.0.1:8080\"\ntrusted_proxies = [\"10.0.0.0/8\"]" =>
            "trusted_proxies = [\"10.0.0.0/8\"]\n[[server.listeners]]\nproxy_protocol = true",
        at "[[server.listeners]]", "`address` is missing", hint "unix:/run";
    two_listeners_at_one_address_are_rejected:
        "listen = \"127.0.0.1:8080\"\ntrusted_proxies = [\"10.0.0.0/8\"]" =>
            "trusted_proxies = [\"10.0.0.0/8\"]\n\
             [[server.listeners]]\naddress = \"127.0.0.1:8080\"\n\
             [[server.listeners]]\naddress = \"0.0.0.0:8080\"",
        at "\"0.0.0.0:8080\"", "two listeners", hint "another port";
    only_redirecting_listeners_are_rejected:
        "listen = \"127.0.0.1:8080\"\ntrusted_proxies = [\"10.0.0.0/8\"]" =>
            "trusted_proxies = [\"10.0.0.0/8\"]\n\
             [[server.listeners]]\naddress = \"0.0.0.0:80\"\nredirect_to_https = true",
        at "[[server.listeners]]", "no listener serves", hint "redirect_to_https";
    listener_with_tls_but_without_certificates_is_rejected:
        "listen = \"127.0.0.1:8080\"\ntrusted_proxies = [\"10.0.0.0/8\"]" =>
            "trusted_proxies = [\"10.0.0.0/8\"]\n\
             [[server.listeners]]\naddress = \"0.0.0.0:443\"\ntls = true",
        at "true", "needs a table `[server.tls]`", hint "cert_file";
    forwarded_host_without_trusted_proxies_is_rejected:
        "listen = \"127.0.0.1:8080\"\ntrusted_proxies = [\"10.0.0.0/8\"]" =>
            "listen = \"unix:/run/doorward.sock\"\nforwarded_host = true",
        at "true", "`forwarded_host` needs `trusted_proxies`", hint "in front";
    hsts_without_https_is_rejected:
        "\"https://forum.example.com\"" => "\"http://forum.localhost\"\nhsts = true",
        at "true", "needs an https `public_url`", hint "ignore";
}
