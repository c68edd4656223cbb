//! Errors in `[session]`.

errors! {
    idle_timeout_above_absolute_timeout_is_rejected:
        "\"30m\"" => "\"13h\"",
        at "\"13h\"", "longer than the absolute timeout", hint "at most `absolute_timeout`";
    app_timeouts_are_compared_too:
        "client_id = \"forum\"" => "client_id = \"forum\"\nabsolute_timeout = \"5m\"",
        at "\"5m\"", "longer than the absolute timeout of 300 s", hint "idle_timeout";
    missing_key_file_is_rejected:
        "[\"doorward.key\"]" => "[\"absent.key\"]",
        at "\"absent.key\"", "no such file", hint "doorward keygen --out";
    other_file_as_key_is_rejected:
        "[\"doorward.key\"]" => "[\"store.secret\"]",
        at "\"store.secret\"", "not a key file", hint "doorward keygen";
    duplicate_key_is_rejected:
        "[\"doorward.key\"]" => "[\"doorward.key\", \"./doorward.key\"]",
        at "\"./doorward.key\"", "same key", hint "once";
    empty_key_list_is_rejected:
        "[\"doorward.key\"]" => "[]",
        at "[]", "no key file is listed", hint "doorward keygen";
}
