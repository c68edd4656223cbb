//! Errors in `[apps.NAME.native]`.

errors! {
    zero_failures_are_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nnative = { failures_per_account = 0 }",
        at "0", "out of range", hint "from 1 to 60000";
    wildcard_cors_origin_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nnative = { cors_origins = [\"*\"] }",
        at "\"*\"", "`*` is not an origin", hint "https://shop.example.com";
    plain_tokens_with_id_token_sessions_are_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\n\
             session_jwt = \"id\"\n\
             bearer = {}\n\
             native = { dangerously_plain_tokens = true }",
        at "true", "not the JWT of this app's sessions", hint "session_jwt = \"access\"";
    plain_tokens_without_bearer_are_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\n\
             session_jwt = \"access\"\n\
             native = { dangerously_plain_tokens = true }",
        at "true", "does not accept", hint "the table `bearer`";
    inline_refresh_with_plain_tokens_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\n\
             session_jwt = \"access\"\n\
             bearer = {}\n\
             native = { inline_refresh = true, dangerously_plain_tokens = true }",
        at "true", "are unknown", hint "keep tokens sealed";
}
