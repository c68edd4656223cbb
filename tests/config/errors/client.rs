//! Errors in the OAuth client of an app.

errors! {
    missing_client_id_is_rejected:
        "client_id = \"forum\"\n" => "",
        at "forum", "`client_id` is missing", hint "registration";
    two_client_secrets_are_rejected:
        "scopes" => "client_secret = \"x\"\nscopes",
        at "\"x\"", "`client_secret_file` is set too", hint "file";
    missing_secret_file_is_rejected:
        "\"store.secret\"" => "\"absent\"",
        at "\"absent\"", "no such file", hint "absent";
    folder_as_secret_file_is_rejected:
        "\"store.secret\"" => "\"secrets\"",
        at "\"secrets\"", "not a regular file", hint "";
    other_file_as_secret_is_rejected:
        "\"store.secret\"" => "\"tls/key.pem\"",
        at "\"tls/key.pem\"", "does not hold a secret", hint "one line";
    example_secret_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nclient_secret = \"only-an-example\"",
        at "\"only-an-example\"", "copied from an example", hint "client_secret_file";
    auth_method_without_secret_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\ntoken_endpoint_auth_method = \"client_secret_post\"",
        at "\"client_secret_post\"", "needs a client secret", hint "client_secret_file";
    public_client_with_secret_is_rejected:
        "scopes" => "token_endpoint_auth_method = \"none\"\nscopes",
        at "\"store.secret\"", "does not use this key", hint "token_endpoint_auth_method";
    key_and_assertion_exclude_each_other:
        "client_id = \"forum\"" => "client_id = \"forum\"\nclient_key_file = \"tls/key.pem\"\nclient_assertion_file = \"a\"",
        at "\"a\"", "`client_key_file` is set too", hint "keep one";
    private_key_jwt_without_key_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\ntoken_endpoint_auth_method = \"private_key_jwt\"",
        at "\"private_key_jwt\"", "needs a key or an assertion", hint "client_assertion_file";
    tls_client_auth_without_certificate_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\ntoken_endpoint_auth_method = \"tls_client_auth\"\nclient_key_file = \"tls/key.pem\"",
        at "forum", "`client_cert_file` is missing", hint "PEM";
    assertion_that_is_no_jwt_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nclient_assertion_file = \"store.secret\"",
        at "\"store.secret\"", "holds no JWT", hint "base64url";
    client_key_that_is_none_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nclient_key_file = \"tls/cert.pem\"",
        at "\"tls/cert.pem\"", "no valid private key", hint "openssl genpkey";
    scopes_without_openid_are_rejected:
        "[\"openid\", \"email\"]" => "[\"email\"]",
        at "[\"email\"]", "`openid` is missing", hint "ID token";
    two_scopes_in_one_string_are_rejected:
        "\"email\"]" => "\"email profile\"]",
        at "\"email profile\"", "not a scope", hint "element";
    reserved_parameter_is_rejected:
        "prompt = \"login\"" => "state = \"login\"",
        at "state", "doorward sets `state` itself", hint "prompt";
    max_age_that_is_no_number_is_rejected:
        "prompt = \"login\"" => "max_age = \"1h\"",
        at "\"1h\"", "`1h` is not a number of seconds", hint "3600";
    empty_acr_values_are_rejected:
        "prompt = \"login\"" => "acr_values = \" \"",
        at "\" \"", "has no value", hint "acr";
    empty_audiences_are_rejected:
        "scopes" => "audiences = []\nscopes",
        at "[]", "no audience is listed", hint "client ID";
    relative_resource_is_rejected:
        "scopes" => "resources = [\"api\"]\nscopes",
        at "\"api\"", "`api` is not a resource", hint "absolute URI";
    resource_as_a_parameter_too_is_rejected:
        "prompt = \"login\" }" => "resource = \"https://a.example\" }\nresources = [\"https://a.example\"]",
        at "[\"https://a.example\"]", "has a `resource` too", hint "remove the parameter";
}
