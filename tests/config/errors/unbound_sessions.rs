//! Errors in `[apps.NAME.unbound_sessions]`.

errors! {
    client_change_with_unknown_value_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nunbound_sessions = { client_change = \"on\" }",
        at "\"on\"", "unknown value", hint "`enforce`";
    unbound_timeout_that_is_longer_than_the_app_s_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nunbound_sessions = { absolute_timeout = \"13h\" }",
        at "\"13h\"", "46800 s is longer than the 43200 s", hint "at most as long";
    unbound_idle_timeout_that_is_longer_than_the_app_s_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nunbound_sessions = { idle_timeout = \"31m\" }",
        at "\"31m\"", "1860 s is longer than the 1800 s", hint "at most as long";
}
