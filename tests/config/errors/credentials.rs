//! Errors in `dangerously_pass_…`, `upstream_basic_auth` and `upstream_bearer_file`.

errors! {
    two_credentials_are_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nupstream_bearer_file = \"store.secret\"\n\
             dangerously_pass_id_token = \"X-Id-Token\"",
        at "\"store.secret\"", "exclude each other", hint "one kind";
    access_token_of_sessions_without_one_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\ndangerously_pass_access_token = \"Authorization\"",
        at "\"Authorization\"", "the other token", hint "session_jwt = \"access\"";
    id_token_of_sessions_without_one_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nsession_jwt = \"access\"\n\
             dangerously_pass_id_token = \"Authorization\"",
        at "\"Authorization\"", "the other token", hint "session_jwt = \"id\"";
    token_in_an_identity_header_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\ndangerously_pass_id_token = \"X-Id-Token\"\n\
             headers = { X-Id-Token = \"{sub}\" }",
        at "\"X-Id-Token\"", "is an identity header", hint "another name";
    password_without_a_user_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nupstream_basic_auth = { password_file = \"store.secret\" }",
        at "upstream_basic_auth", "username", hint "user name";
    user_name_with_a_colon_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\n\
             upstream_basic_auth = { username = \"a:b\", password_file = \"store.secret\" }",
        at "\"a:b\"", "not a user name", hint "colon";
    absent_bearer_file_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nupstream_bearer_file = \"absent\"",
        at "\"absent\"", "no such file", hint "";
    credentials_of_a_fixed_response_are_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\n\
             routes = [{ path = \"/a\", respond = { body = \"a\" }, upstream_bearer_file = \"store.secret\" }]",
        at "\"store.secret\"", "no effect", hint "remove the key";
    exchange_beside_other_credentials_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nupstream_bearer_file = \"store.secret\"\n\
             token_exchange = { audience = \"orders\" }",
        at "{ audience = \"orders\" }", "other credentials", hint "remove";
    exchange_without_an_audience_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\ntoken_exchange = {}",
        at "token_exchange", "audience", hint "audience";
    scope_with_a_blank_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\n\
             token_exchange = { audience = \"orders\", scopes = [\"a b\"] }",
        at "\"a b\"", "is not a scope", hint "one scope";
    route_beside_an_exchange_has_no_credentials:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\ntoken_exchange = { audience = \"orders\" }\n\
             routes = [{ path = \"/a\", upstream_bearer_file = \"store.secret\" }]",
        at "{ path = \"/a\", upstream_bearer_file = \"store.secret\" }", "no other credentials", hint "remove";
}
