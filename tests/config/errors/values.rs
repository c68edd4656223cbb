//! Errors in types, units and keywords.

errors! {
    duration_as_integer_is_rejected:
        "\"30m\"" => "30",
        at "30", "found the number `30`, expected a duration", hint "\"90s\"";
    duration_with_unknown_unit_is_rejected:
        "\"30m\"" => "\"30 minutes\"",
        at "\"30 minutes\"", "`30 minutes`, expected a duration", hint "\"30m\"";
    zero_timeout_is_rejected:
        "\"30m\"" => "\"0s\"",
        at "\"0s\"", "must not be zero", hint "1d";
    date_is_rejected:
        "\"30m\"" => "1979-05-27",
        at "1979-05-27", "a date", hint "quotes";
    string_instead_of_array_is_rejected:
        "[\"openid\", \"email\"]" => "\"openid email\"",
        at "\"openid email\"", "expected an array", hint "";
    table_instead_of_string_is_rejected:
        "[store]\nurl = \"memory:\"" => "[store]\nurl = { a = 1 }",
        at "{ a = 1 }", "found a table, expected a string", hint "";
    misspelt_key_is_not_also_missing:
        "key_files" => "key_file",
        at "key_file", "unknown key `key_file`", hint "`key_files`";
    misspelt_keyword_gets_a_suggestion:
        "scopes" => "token_endpoint_auth_method = \"client_secret_basik\"\nscopes",
        at "\"client_secret_basik\"",
        "unknown value `client_secret_basik`", hint "`client_secret_basic`";
    number_instead_of_keyword_is_rejected:
        "scopes" => "token_endpoint_auth_method = 0\nscopes",
        at "0", "found the number `0`, expected one of", hint "";
}
