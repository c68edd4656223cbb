//! Errors in `[providers.NAME]`.

errors! {
    http_issuer_is_rejected:
        "https://login" => "http://login",
        at "\"http://login.example.com\"", "not an https URL", hint "https";
    discovery_url_as_issuer_is_rejected:
        "login.example.com\"" => "login.example.com/.well-known/openid-configuration\"",
        at "\"https://login.example.com/.well-known/openid-configuration\"",
        "not the issuer", hint "`https://login.example.com`";
    symmetric_algorithm_is_rejected:
        "[apps.forum]" => "algorithms = [\"HS256\"]\n[apps.forum]",
        at "\"HS256\"", "not secure", hint "public key";
    misspelt_algorithm_gets_a_suggestion:
        "[apps.forum]" => "algorithms = [\"RS265\"]\n[apps.forum]",
        at "\"RS265\"", "unknown algorithm", hint "`RS256`";
    long_leeway_is_rejected:
        "[apps.forum]" => "leeway = \"1h\"\n[apps.forum]",
        at "\"1h\"", "3600 s is too long", hint "5m";
    unknown_provider_gets_a_suggestion:
        "[apps.forum]\nprovider = \"login\"" => "[apps.forum]\nprovider = \"logins\"",
        at "\"logins\"", "unknown provider `logins`", hint "`login`";
    login_host_of_an_app_is_rejected:
        "[apps.forum]" => "login_url = \"https://store.example.com\"\n[apps.forum]",
        at "\"https://store.example.com\"", "belongs to the login host of the provider `login`", hint "one app";
    http_login_url_is_rejected:
        "[apps.forum]" => "login_url = \"http://signin.example.com\"\n[apps.forum]",
        at "\"http://signin.example.com\"", "neither https nor a loopback address", hint "https";
    login_url_with_a_path_is_rejected:
        "[apps.forum]" => "login_url = \"https://signin.example.com/login\"\n[apps.forum]",
        at "\"https://signin.example.com/login\"", "not an origin", hint "scheme";
    http_introspection_endpoint_is_rejected:
        "[apps.forum]" => "introspection_endpoint = \"http://login.example.com/i\"\n[apps.forum]",
        at "\"http://login.example.com/i\"", "not an https URL", hint "https";
}
