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
    missing_endpoints_without_discovery_are_named:
        "[apps.forum]" => "discovery = false\njwks_uri = \"https://login.example.com/k\"\n[apps.forum]",
        at "false", "`authorization_endpoint`, `token_endpoint` must be set", hint "jwks_file";
    http_token_endpoint_is_rejected:
        "[apps.forum]" => "token_endpoint = \"http://login.example.com/t?x=1\"\n[apps.forum]",
        at "\"http://login.example.com/t?x=1\"", "not an https URL", hint "https";
    jwks_uri_and_file_exclude_each_other:
        "[apps.forum]" => "jwks_uri = \"https://login.example.com/k\"\njwks_file = \"a\"\n[apps.forum]",
        at "\"a\"", "`jwks_uri` is set too", hint "keep one";
    internal_base_over_http_is_rejected:
        "[apps.forum]" => "internal_base = \"http://keycloak:8080\"\n[apps.forum]",
        at "\"http://keycloak:8080\"", "not an https URL", hint "https";
    metadata_file_in_no_folder_is_rejected:
        "[apps.forum]" => "metadata_file = \"none/login\"\n[apps.forum]",
        at "\"none/login\"", "invalid path", hint "existing folder";
    metadata_age_without_a_file_is_rejected:
        "[apps.forum]" => "metadata_file_max_age = \"1h\"\n[apps.forum]",
        at "\"1h\"", "no effect without `metadata_file`", hint "metadata_file";
    long_metadata_age_is_rejected:
        "[apps.forum]" => "metadata_file = \"login\"\nmetadata_file_max_age = \"31d\"\n[apps.forum]",
        at "\"31d\"", "is too long", hint "30d";
    proxy_without_url_is_rejected:
        "[apps.forum]" => "proxy = { no_proxy = [\"a\"] }\n[apps.forum]",
        at "proxy", "`url` is missing", hint "3128";
    proxy_url_with_credentials_is_rejected:
        "[apps.forum]" => "proxy.url = \"http://u:p@proxy\"\n[apps.forum]",
        at "\"http://u:p@proxy\"", "contains a user name or password", hint "password_file";
    socks_proxy_is_rejected:
        "[apps.forum]" => "proxy.url = \"socks5://proxy\"\n[apps.forum]",
        at "\"socks5://proxy\"", "begins with `http://` or `https://`", hint "3128";
    invalid_no_proxy_is_rejected:
        "[apps.forum]" => "proxy = { url = \"http://proxy\", no_proxy = [\"a,b\"] }\n[apps.forum]",
        at "\"a,b\"", "`a,b` is not a host", hint "network";
    proxy_from_environment_excludes_a_url:
        "[apps.forum]" => "proxy = { url = \"http://proxy\", from_environment = true }\n[apps.forum]",
        at "\"http://proxy\"", "`from_environment` is set too", hint "keep one";
    proxy_user_without_password_is_rejected:
        "[apps.forum]" => "proxy = { url = \"http://proxy\", username = \"u\" }\n[apps.forum]",
        at "proxy", "`password_file` is missing", hint "password";
}
