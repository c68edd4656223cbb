//! One test for each thing that is refused: that it is the only problem told, where it is marked, what is said of it,
//! and what the hint proposes.

use doorward::config::{Problem, ProblemLocation, Severity};

use super::{edited, problems, shown};

/// The one problem of the good file with `from` replaced; checks that the file is refused and the line is right.
fn only_problem(from: &str, to: &str, marked: &str) -> Problem {
    let text = edited(from, to);
    let found = problems(&text);
    assert_eq!(found.len(), 1, "{}", shown(&found));
    let problem = found.into_iter().next().unwrap();
    assert_eq!(problem.severity, Severity::Error, "{problem:?}");
    let ProblemLocation::File { line, span, .. } = &problem.place else {
        panic!("not in the file: {problem:?}")
    };
    assert_eq!(text.get(span.clone()).unwrap(), marked, "{problem:?}");
    assert_eq!(
        *line,
        text.get(..span.start).unwrap().matches('\n').count() + 1
    );
    problem
}

/// One test for each thing that is refused: what is replaced, by what, what is marked, and words of message and hint.
macro_rules! refused {
    ($($name:ident: $from:expr => $to:expr, at $marked:expr, $message:literal, hint $hint:literal;)+) => {
        $(
            #[test]
            fn $name() {
                let problem = only_problem($from, $to, $marked);
                assert!(problem.message.contains($message), "{problem:?}");
                assert!(problem.hint.as_deref().unwrap_or_default().contains($hint), "{problem:?}");
            }
        )+
    };
}

refused! {
    an_integer_is_no_duration:
        "\"30m\"" => "30", at "30", "found the number `30`, expected a duration", hint "\"90s\"";
    a_duration_needs_a_known_unit:
        "\"30m\"" => "\"30 minutes\"", at "\"30 minutes\"", "`30 minutes`, expected a duration", hint "\"30m\"";
    a_wait_is_not_zero:
        "\"30m\"" => "\"0s\"", at "\"0s\"", "no time at all", hint "1d";
    the_idle_limit_is_within_the_absolute_one:
        "\"30m\"" => "\"13h\"", at "\"13h\"", "longer than the absolute limit", hint "at most `absolute_timeout`";
    an_apps_own_limits_fit_too:
        "client_id = \"forum\"" => "client_id = \"forum\"\nabsolute_timeout = \"5m\"",
        at "\"5m\"", "longer than the absolute limit of 300 s", hint "idle_timeout";
    a_cookie_of_doorwards_own_is_not_the_apps:
        "client_id = \"forum\"" => "client_id = \"forum\"\napp_cookies = [{ name = \"__Host-DOORWARD_jwt\" }]",
        at "\"__Host-DOORWARD_jwt\"", "one of doorward's own", hint "taken away by themselves";
    nor_is_one_of_another_app:
        "client_id = \"forum\"" => "client_id = \"forum\"\ncookie_name = \"board\"\napp_cookies = [{ name = \"doorward_jwt\" }]",
        at "\"doorward_jwt\"", "one of doorward's own", hint "the app's own";
    a_cookie_of_a_strange_domain_is_not_the_apps:
        "client_id = \"forum\"" => "client_id = \"forum\"\napp_cookies = [{ name = \"a\", domain = \"store.example.com\" }]",
        at "\"store.example.com\"", "neither the app's host nor a parent domain of it", hint "PHPSESSID";
    a_cookie_has_a_name_that_can_be_written:
        "client_id = \"forum\"" => "client_id = \"forum\"\napp_cookies = [{ name = \"a b\" }]",
        at "\"a b\"", "a cookie's name is letters", hint "as the app sets it";
    a_cookie_is_named_once:
        "client_id = \"forum\"" => "client_id = \"forum\"\napp_cookies = [{ name = \"a\" }, { path = \"/\", name = \"a\" }]",
        at "{ path = \"/\", name = \"a\" }", "there twice", hint "once";
    a_logout_of_the_app_is_a_path:
        "client_id = \"forum\"" => "client_id = \"forum\"\napp_logout_path = \"https://forum.example.com/logout\"",
        at "\"https://forum.example.com/logout\"", "is not a path", hint "/account/logout";
    a_logout_of_the_app_is_not_doorwards:
        "client_id = \"forum\"" => "client_id = \"forum\"\napp_logout_path = \"/.doorward/logout\"",
        at "\"/.doorward/logout\"", "is doorward's own", hint "the app's logout";
    a_method_alone_asks_for_nothing:
        "client_id = \"forum\"" => "client_id = \"forum\"\napp_logout_method = \"POST\"",
        at "\"POST\"", "there is no `app_logout_path`", hint "app_logout_path";
    a_date_is_no_value:
        "\"30m\"" => "1979-05-27", at "1979-05-27", "a date", hint "quotes";
    a_list_is_a_list:
        "[\"openid\", \"email\"]" => "\"openid email\"", at "\"openid email\"", "expected a list in brackets", hint "";
    a_table_is_a_table:
        "[store]\nurl = \"memory:\"" => "[store]\nurl = { a = 1 }", at "{ a = 1 }", "found a table, expected text", hint "";
    other_stores_are_refused_plainly:
        "\"memory:\"" => "\"memcached://cache\"", at "\"memcached://cache\"", "`memcached://cache` is not a store", hint "redis://";
    a_journal_is_for_memory:
        "\"memory:\"" => "\"redis://cache\"\njournal_file = \"a\"", at "\"a\"", "for `memory:`", hint "take it away";
    a_journal_is_in_a_folder_that_is_there:
        "\"memory:\"" => "\"memory:\"\njournal_file = \"absent/a\"", at "\"absent/a\"", "cannot be a journal", hint "folder";
    a_journal_is_no_folder:
        "\"memory:\"" => "\"memory:\"\njournal_file = \"keys\"", at "\"keys\"", "cannot be a journal", hint "a file";
    a_database_has_a_number:
        "\"memory:\"" => "\"redis://cache/main\"", at "\"redis://cache/main\"", "no number of a database", hint "/1";
    nothing_stands_behind_the_database:
        "\"memory:\"" => "\"rediss://cache/0#insecure\"", at "\"rediss://cache/0#insecure\"", "more than address and database", hint "rediss://";
    a_store_has_a_host:
        "\"memory:\"" => "\"redis:///0\"", at "\"redis:///0\"", "names no host", hint "host:6379";
    a_store_user_has_a_password:
        "\"memory:\"" => "\"rediss://cache\"\n[store.redis]\nusername = \"doorward\"",
        at "\"doorward\"", "without a password", hint "password_file";
    a_store_password_is_given_once:
        "\"memory:\"" => "\"rediss://:x@cache\"\n[store.redis]\npassword_file = \"store.secret\"",
        at "\"store.secret\"", "has a password too", hint "once";
    a_ca_for_the_store_needs_tls:
        "\"memory:\"" => "\"redis://cache\"\n[store.redis]\nca_file = \"tls/ca.pem\"",
        at "\"tls/ca.pem\"", "no TLS to this store", hint "rediss://";
    one_redis_has_one_address:
        "\"memory:\"" => "\"redis://cache\"\n[store.redis]\nnodes = [\"other\"]",
        at "[\"other\"]", "there is one Redis", hint "cluster = true";
    a_node_is_host_and_port:
        "\"memory:\"" => "\"redis://cache\"\n[store.redis]\ncluster = true\nnodes = [\"redis://other\"]",
        at "\"redis://other\"", "no host and port", hint "redis-2.internal:6379";
    a_cluster_has_no_sentinels:
        "\"memory:\"" => "\"redis://cache\"\n[store.redis]\ncluster = true\nsentinel_master = \"a\"",
        at "\"a\"", "`cluster` is set too", hint "take one";
    a_cluster_has_one_database:
        "\"memory:\"" => "\"redis://cache/1\"\n[store.redis]\ncluster = true",
        at "true", "database 0 only", hint "number";
    who_logs_in_at_sentinels_has_some:
        "\"memory:\"" => "\"redis://cache\"\n[store.redis]\nsentinel_password_file = \"store.secret\"",
        at "\"store.secret\"", "there is no Sentinel", hint "sentinel_master";
    keys_do_not_decide_where_they_are:
        "\"memory:\"" => "\"redis://cache\"\n[store.redis]\nkey_prefix = \"{a}\"",
        at "\"{a}\"", "cannot be what keys begin with", hint "doorward:";
    a_store_is_not_waited_for_without_end:
        "\"memory:\"" => "\"redis://cache\"\n[store.redis]\ntimeout = \"1m\"",
        at "\"1m\"", "60 s is too long", hint "5s";
    a_store_password_file_is_there:
        "\"memory:\"" => "\"rediss://cache\"\n[store.redis]\npassword_file = \"absent\"",
        at "\"absent\"", "there is no such file", hint "absent";
    admin_and_public_addresses_differ:
        "trusted_proxies" => "admin_listen = \"0.0.0.0:8080\"\ntrusted_proxies",
        at "\"0.0.0.0:8080\"", "the same address", hint "of their own";
    a_limit_that_lets_nobody_in_is_refused:
        "client_id = \"forum\"" => "client_id = \"forum\"\nnative = { failures_per_account = 0 }",
        at "0", "out of range", hint "1 to 60000";
    a_star_is_no_origin:
        "client_id = \"forum\"" => "client_id = \"forum\"\nnative = { cors_origins = [\"*\"] }",
        at "\"*\"", "`*` is not an origin", hint "https://shop.example.com";
    tokens_that_are_no_sessions_jwt_are_not_handed_out:
        "client_id = \"forum\"" => "client_id = \"forum\"\nsession_jwt = \"id\"\nbearer = {}\nnative = { dangerously_plain_tokens = true }",
        at "true", "not the JWT of this app's sessions", hint "session_jwt = \"access\"";
    tokens_that_open_nothing_are_not_handed_out:
        "client_id = \"forum\"" => "client_id = \"forum\"\nsession_jwt = \"access\"\nnative = { dangerously_plain_tokens = true }",
        at "true", "nothing here takes", hint "a table `bearer`";
    of_plain_tokens_nobody_knows_whose_they_are:
        "client_id = \"forum\"" => "client_id = \"forum\"\nsession_jwt = \"access\"\nbearer = {}\n\
            native = { inline_refresh = true, dangerously_plain_tokens = true }",
        at "true", "whose they are", hint "leave tokens sealed";
    everybody_is_no_trusted_proxy:
        "\"10.0.0.0/8\"" => "\"0.0.0.0/0\"", at "\"0.0.0.0/0\"", "is everybody", hint "pretend";
    a_network_is_exact:
        "\"10.0.0.0/8\"" => "\"10.1.0.0/8\"", at "\"10.1.0.0/8\"", "behind its prefix", hint "10.0.0.0/8";
    at_least_one_worker:
        "trusted_proxies" => "workers = 0\ntrusted_proxies", at "0", "not a number of workers", hint "from 1";
    at_least_one_connection:
        "trusted_proxies" => "max_connections = 0\ntrusted_proxies", at "0", "serve nobody", hint "10000";
    a_client_has_at_least_one_connection:
        "trusted_proxies" => "max_connections_per_client = 0\ntrusted_proxies", at "0", "serve nobody", hint "1000";
    http2_streams_are_a_sane_number:
        "trusted_proxies" => "max_http2_streams = 5000\ntrusted_proxies", at "5000", "at a time", hint "1000";
    at_least_one_request_is_under_way:
        "trusted_proxies" => "max_in_flight_requests = 0\ntrusted_proxies", at "0", "requests under way", hint "10000";
    an_app_takes_at_least_one_request:
        "client_id = \"forum\"" => "client_id = \"forum\"\nmax_in_flight_requests = 0", at "0", "requests under way", hint "from 1";
    waiting_for_a_place_takes_time:
        "trusted_proxies" => "queue_timeout = \"0s\"\ntrusted_proxies", at "\"0s\"", "no time at all", hint "1d";
    authorities_of_clients_are_certificates:
        "[session]" => "[server.tls]\ncert_file = \"tls/cert.pem\"\nkey_file = \"tls/key.pem\"\n\
                        client_ca_file = \"tls/key.pem\"\n[session]",
        at "\"tls/key.pem\"", "holds no certificates", hint "BEGIN CERTIFICATE";
    a_head_has_room_for_our_cookies:
        "trusted_proxies" => "max_header_bytes = 4096\ntrusted_proxies", at "4096", "cookies included", hint "8192";
    a_head_has_room_for_a_browsers_fields:
        "trusted_proxies" => "max_header_count = 5\ntrusted_proxies", at "5", "fields", hint "20";
    the_proxy_protocol_is_from_somebody:
        "trusted_proxies = [\"10.0.0.0/8\"]" => "proxy_protocol = true", at "true", "serve nobody", hint "load balancers";
    every_certificate_has_its_key:
        "[session]" => "[server.tls]\ncert_file = \"tls/cert.pem\"\nkey_file = \"tls/key.pem\"\n\
                        [[server.tls.certificates]]\ncert_file = \"tls/cert.pem\"\n[session]",
        at "[[server.tls.certificates]]", "key_file", hint "private key";
    tls_needs_both_files:
        "[session]" => "[server.tls]\ncert_file = \"tls/cert.pem\"\n[session]",
        at "tls", "`key_file` is missing", hint "PEM";
    tls_files_hold_what_they_should:
        "[session]" => "[server.tls]\ncert_file = \"tls/cert.pem\"\nkey_file = \"tls/cert.pem\"\n[session]",
        at "\"tls/cert.pem\"", "holds no private key", hint "BEGIN PRIVATE KEY";
    a_key_file_is_there:
        "[\"doorward.key\"]" => "[\"absent.key\"]", at "\"absent.key\"", "there is no such file", hint "absent.key";
    a_key_file_is_a_key_file:
        "[\"doorward.key\"]" => "[\"store.secret\"]", at "\"store.secret\"", "not a key file", hint "doorward keygen";
    a_key_is_named_once:
        "[\"doorward.key\"]" => "[\"doorward.key\", \"./doorward.key\"]", at "\"./doorward.key\"", "same key", hint "once";
    there_is_a_key:
        "[\"doorward.key\"]" => "[]", at "[]", "there is no key", hint "doorward keygen";
    a_misspelt_key_is_not_missing_too:
        "key_files" => "key_file", at "key_file", "no such key: `key_file`", hint "`key_files`";
    the_issuer_is_https:
        "https://login" => "http://login", at "\"http://login.example.com\"", "not an https URL", hint "https";
    the_issuer_is_not_its_metadata:
        "login.example.com\"" => "login.example.com/.well-known/openid-configuration\"",
        at "\"https://login.example.com/.well-known/openid-configuration\"", "not its issuer", hint "`https://login.example.com`";
    a_shared_key_algorithm_is_refused:
        "[apps.forum]" => "algorithms = [\"HS256\"]\n[apps.forum]", at "\"HS256\"", "not safe", hint "public key";
    an_unknown_algorithm_has_a_near_one:
        "[apps.forum]" => "algorithms = [\"RS265\"]\n[apps.forum]", at "\"RS265\"", "not an algorithm", hint "`RS256`";
    grace_is_short:
        "client_id = \"forum\"" => "client_id = \"forum\"\noutage_grace = \"2h\"", at "\"2h\"", "too much grace", hint "1h";
    a_stream_lasts_for_some_time:
        "client_id = \"forum\"" => "client_id = \"forum\"\nstream_max_age = \"0s\"", at "\"0s\"", "no time", hint "long";
    polling_paths_are_patterns:
        "client_id = \"forum\"" => "client_id = \"forum\"\nbackground_paths = [\"/news\", \"news\"]",
        at "\"news\"", "not a path pattern", hint "";
    not_everything_is_polling:
        "client_id = \"forum\"" => "client_id = \"forum\"\nbackground_paths = [\"/**\"]",
        at "\"/**\"", "nothing would be an activity", hint "by themselves";
    leeway_is_little:
        "[apps.forum]" => "leeway = \"1h\"\n[apps.forum]", at "\"1h\"", "too much leeway", hint "5m";
    the_provider_is_there:
        "[apps.forum]\nprovider = \"login\"" => "[apps.forum]\nprovider = \"logins\"",
        at "\"logins\"", "there is no provider `logins`", hint "`login`";
    names_are_lower_case:
        "[apps.forum]" => "[apps.Forum]", at "Forum", "`Forum` cannot be a name", hint "lower-case";
    a_public_url_is_an_origin:
        "forum.example.com" => "forum.example.com/posts",
        at "\"https://forum.example.com/posts\"", "is not an origin", hint "https://store.example.com";
    a_public_url_is_https:
        "https://forum" => "http://forum", at "\"http://forum.example.com\"", "not https", hint "session";
    two_apps_are_not_at_one_origin:
        "https://store.example.com" => "https://FORUM.example.com:443",
        at "\"https://FORUM.example.com:443\"", "taken by the app `forum`", hint "one app";
    two_apps_on_one_host_would_share_cookies:
        "https://store.example.com" => "https://forum.example.com:8443",
        at "\"https://forum.example.com:8443\"", "cookies ignore ports", hint "cookie_name";
    an_alias_is_nobody_elses:
        "client_id = \"store\"" => "client_id = \"store\"\naliases = [\"https://forum.example.com\"]",
        at "\"https://forum.example.com\"", "taken by the app `forum`", hint "named once";
    an_upstream_is_an_origin:
        "http://127.0.0.1:4000" => "http://127.0.0.1:4000/app", at "\"http://127.0.0.1:4000/app\"", "not an upstream", hint "http://127.0.0.1:3000";
    an_upstream_is_not_doorward_itself:
        "http://127.0.0.1:4000" => "http://localhost:8080", at "\"http://localhost:8080\"", "where doorward itself listens", hint "another";
    a_ca_needs_tls:
        "client_id = \"forum\"" => "client_id = \"forum\"\nupstream_ca_file = \"tls/ca.pem\"",
        at "\"tls/ca.pem\"", "no TLS to this upstream", hint "https";
    a_client_certificate_needs_tls:
        "client_id = \"forum\"" => "client_id = \"forum\"\nupstream_server_name = \"forum.internal\"",
        at "\"forum.internal\"", "no TLS to this upstream", hint "https";
    a_client_certificate_has_a_key:
        "\"http://127.0.0.1:4000\"" => "\"https://127.0.0.1:4000\"\nupstream_cert_file = \"tls/cert.pem\"",
        at "forum", "`upstream_key_file` is missing", hint "private key";
    a_client_certificate_is_one:
        "\"http://127.0.0.1:4000\"" => "\"https://127.0.0.1:4000\"\nupstream_cert_file = \"store.secret\"\nupstream_key_file = \"tls/key.pem\"",
        at "\"store.secret\"", "holds no certificates", hint "BEGIN CERTIFICATE";
    a_client_certificates_key_is_one:
        "\"http://127.0.0.1:4000\"" => "\"https://127.0.0.1:4000\"\nupstream_cert_file = \"tls/cert.pem\"\nupstream_key_file = \"tls/ca.pem\"",
        at "\"tls/ca.pem\"", "holds no private key", hint "BEGIN PRIVATE KEY";
    a_client_certificate_fits_its_key:
        "\"http://127.0.0.1:4000\"" => "\"https://127.0.0.1:4000\"\nupstream_cert_file = \"tls/cert.pem\"\nupstream_key_file = \"tls/other-key.pem\"",
        at "\"tls/other-key.pem\"", "cannot be used together", hint "issued for";
    a_server_name_is_one:
        "\"http://127.0.0.1:4000\"" => "\"https://127.0.0.1:4000\"\nupstream_server_name = \"a b\"",
        at "\"a b\"", "no name that a certificate could have", hint "store.internal";
    an_upstream_speaks_one_of_two_protocols:
        "client_id = \"forum\"" => "client_id = \"forum\"\nupstream_protocol = \"http/2\"",
        at "\"http/2\"", "is not known", hint "http2";
    only_http_2_has_pings:
        "client_id = \"forum\"" => "client_id = \"forum\"\nupstream_ping_interval = \"30s\"",
        at "\"30s\"", "HTTP/1.1 has no pings", hint "upstream_protocol";
    a_websocket_origin_is_one:
        "client_id = \"forum\"" => "client_id = \"forum\"\nwebsocket_origins = [\"https://forum.example.com/chat\"]",
        at "\"https://forum.example.com/chat\"", "is not an origin", hint "scheme, host";
    a_client_id_is_there:
        "client_id = \"forum\"\n" => "", at "forum", "`client_id` is missing", hint "registration";
    one_client_secret_is_enough:
        "scopes" => "client_secret = \"x\"\nscopes", at "\"x\"", "`client_secret_file` too", hint "file";
    a_secret_file_is_there:
        "\"store.secret\"" => "\"absent\"", at "\"absent\"", "there is no such file", hint "absent";
    a_secret_file_is_a_file:
        "\"store.secret\"" => "\"secrets\"", at "\"secrets\"", "no ordinary file", hint "";
    a_secret_file_is_only_a_secret:
        "\"store.secret\"" => "\"tls/key.pem\"", at "\"tls/key.pem\"", "more than a secret", hint "one line";
    authentication_needs_a_secret:
        "client_id = \"forum\"" => "client_id = \"forum\"\ntoken_endpoint_auth_method = \"post\"",
        at "\"post\"", "needs a client secret", hint "client_secret_file";
    a_public_client_has_no_secret:
        "scopes" => "token_endpoint_auth_method = \"none\"\nscopes", at "\"none\"", "there is one", hint "client_secret_basic";
    a_word_has_a_near_one:
        "scopes" => "token_endpoint_auth_method = \"basik\"\nscopes", at "\"basik\"", "`basik` is not known", hint "`basic`";
    a_word_is_not_a_number:
        "scopes" => "token_endpoint_auth_method = 0\nscopes", at "0", "found the number `0`, expected one of", hint "";
    the_scope_openid_is_asked_for:
        "[\"openid\", \"email\"]" => "[\"email\"]", at "[\"email\"]", "`openid` is missing", hint "ID token";
    a_scope_is_one_word:
        "\"email\"]" => "\"email profile\"]", at "\"email profile\"", "not one scope", hint "element";
    our_parameters_are_ours:
        "prompt = \"login\"" => "state = \"login\"", at "state", "set by doorward itself", hint "prompt";
    an_audience_is_somebody:
        "scopes" => "audiences = []\nscopes", at "[]", "for nobody", hint "client id";
    tokens_are_of_somebody:
        "[apps.store.headers]" => "[apps.store.bearer]\nproviders = []\n[apps.store.headers]",
        at "[]", "of nobody", hint "own provider";
    tokens_are_of_a_provider_that_is_there:
        "[apps.store.headers]" => "[apps.store.bearer]\nproviders = [\"login\", \"logins\"]\n[apps.store.headers]",
        at "\"logins\"", "there is no provider `logins`", hint "`login`";
    a_provider_of_tokens_is_named_once:
        "[apps.store.headers]" => "[apps.store.bearer]\nproviders = [\"login\", 'login']\n[apps.store.headers]",
        at "'login'", "there twice", hint "once";
    two_providers_of_tokens_can_be_told_apart:
        "[apps.forum]" => "[providers.other]\nissuer = \"https://login.example.com\"\n[apps.store.bearer]\nproviders = [\"login\", \"other\"]\n[apps.forum]",
        at "\"other\"", "same issuer as `login`", hint "list one";
    a_memory_of_answers_needs_questions:
        "[apps.store.headers]" => "[apps.store.bearer]\nintrospection_cache = \"60s\"\n[apps.store.headers]",
        at "\"60s\"", "nobody is asked", hint "introspect";
    an_answer_about_a_token_ages:
        "[apps.store.headers]" => "[apps.store.bearer]\nopaque_tokens = \"introspect\"\nintrospection_cache = \"2h\"\n[apps.store.headers]",
        at "\"2h\"", "7200 s is too long", hint "1h";
    an_answer_about_a_token_counts_for_a_while:
        "[apps.store.headers]" => "[apps.store.bearer]\nopaque_tokens = \"introspect\"\nintrospection_cache = \"0s\"\n[apps.store.headers]",
        at "\"0s\"", "no time at all", hint "1d";
    where_tokens_are_asked_about_is_https:
        "[apps.forum]" => "introspection_endpoint = \"http://login.example.com/i\"\n[apps.forum]",
        at "\"http://login.example.com/i\"", "not an https URL", hint "https";
    a_client_is_told_by_a_header_of_its_own:
        "[apps.store.headers]" => "[apps.store.bearer]\nclient_header = \"x_forwarded_user\"\n[apps.store.headers]",
        at "\"x_forwarded_user\"", "tells the app of people", hint "X-Forwarded-Client";
    a_client_is_told_by_no_header_that_means_something_else:
        "[apps.store.headers]" => "[apps.store.bearer]\nclient_header = \"Authorization\"\n[apps.store.headers]",
        at "\"Authorization\"", "meaning of its own", hint "X-Forwarded-Client";
    a_client_is_told_by_a_header:
        "[apps.store.headers]" => "[apps.store.bearer]\nclient_header = \"X Client\"\n[apps.store.headers]",
        at "\"X Client\"", "not a header name", hint "X-Forwarded-Client";
    a_rule_takes_tokens_where_the_app_does:
        "allow = \"public\"" => "allow = \"authenticated\"\nauth_methods = [\"browser\", \"bearer\"]",
        at "\"bearer\"", "takes no access tokens", hint "bearer]";
    a_rule_is_for_who_can_be_known:
        "allow = \"public\"" => "allow = \"authenticated\"\nauth_methods = []", at "[]", "known by nothing", hint "session";
    a_way_is_known:
        "allow = \"public\"" => "allow = \"authenticated\"\nauth_methods = [\"cookie\"]", at "\"cookie\"", "`cookie` is not known", hint "";
    no_scopes_are_no_condition:
        "allow = \"public\"" => "allow = { scopes = [] }", at "[]", "all of no scopes", hint "authenticated";
    a_scope_of_a_rule_is_one_word:
        "allow = \"public\"" => "allow = { scopes = [\"a b\"] }", at "\"a b\"", "not one scope", hint "element";
    one_condition_is_enough:
        "allow = \"public\"" => "allow = { scopes = [\"a\"], roles = [\"b\"] }",
        at "{ scopes = [\"a\"], roles = [\"b\"] }", "no condition", hint "scopes";
    the_prefix_is_a_plain_path:
        "scopes" => "endpoint_prefix = \"/a/../b/\"\nscopes", at "\"/a/../b/\"", "cannot be the path", hint "/.doorward";
    the_cookie_name_is_plain:
        "scopes" => "cookie_name = \"__Host-x\"\nscopes", at "\"__Host-x\"", "cannot be what our cookies", hint "32";
    a_spelling_that_is_tolerated_is_known:
        "scopes" => "allow_ambiguous_paths = [\"double-slashes\"]\nscopes", at "\"double-slashes\"", "cannot be tolerated", hint "`double-slash`";
    a_reserved_header_is_refused:
        "X-Forwarded-User" => "x_forwarded_for", at "x_forwarded_for", "meaning of its own", hint "X-Forwarded-User";
    a_header_is_named_once:
        "X-Forwarded-User = \"{sub}\"" => "X-Forwarded-User = \"{sub}\"\nx_forwarded_user = \"{email}\"",
        at "x_forwarded_user", "there twice", hint "`_` for `-`";
    a_header_name_is_one:
        "X-Forwarded-User" => "\"X Forwarded\"", at "\"{sub}\"", "not a header name", hint "";
    a_template_has_its_braces:
        "\"{sub}\"" => "\"{sub\"", at "\"{sub\"", "brace", hint "{email}";
    a_pattern_begins_with_a_slash:
        "\"/admin/**\"" => "\"admin/**\"", at "\"admin/**\"", "starts with `/`", hint "";
    two_stars_are_a_whole_segment:
        "\"/admin/**\"" => "\"/admin**\"", at "\"/admin**\"", "whole segment", hint "";
    a_rule_has_paths:
        "paths = [\"/assets/**\"]\n" => "", at "[[apps.store.rules]]", "`paths` is missing", hint "paths = ";
    a_rule_says_whom_it_lets_in:
        "allow = \"public\"\n" => "", at "[[apps.store.rules]]", "`allow` is missing", hint "authenticated";
    a_rule_behind_a_catch_all_is_never_reached:
        "\"/assets/**\"" => "\"/**\"", at "\"/admin/**\"", "never reached: an earlier rule takes `/**`", hint "narrower";
    a_rule_within_an_earlier_one_is_never_reached:
        "\"/assets/**\"" => "\"/admin/**\"", at "\"/admin/**\"", "never reached", hint "first rule that matches";
    a_method_is_in_upper_case:
        "[\"GET\"]" => "[\"get\"]", at "\"get\"", "`get` is not a method", hint "`GET`";
    a_condition_is_spelt_right:
        "{ roles = [\"admin\"] }" => "{ rolls = [\"admin\"] }", at "rolls", "no such key: `rolls`", hint "`roles`";
    a_condition_is_whole:
        "{ roles = [\"admin\"] }" => "{ claim = \"department\" }", at "allow", "`any_of` is missing", hint "values";
    a_condition_is_one_condition:
        "{ roles = [\"admin\"] }" => "{ roles = [\"a\"], claim = \"b\", any_of = [\"c\"] }",
        at "{ roles = [\"a\"], claim = \"b\", any_of = [\"c\"] }", "no condition", hint "any_of";
    a_condition_has_values:
        "{ roles = [\"admin\"] }" => "{ roles = [] }", at "[]", "one of no values", hint "deny";
    whom_a_rule_lets_in_is_a_word_or_a_condition:
        "{ roles = [\"admin\"] }" => "true", at "true", "expected a word or a condition", hint "authenticated";
}
