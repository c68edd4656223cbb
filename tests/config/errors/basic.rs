//! Errors in `[apps.NAME.basic]`.

errors! {
    long_cache_lifetime_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nbasic = { cache_lifetime = \"16m\" }",
        at "\"16m\"", "too long", hint "15m";
    zero_cache_lifetime_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nbasic = { cache_lifetime = \"0s\" }",
        at "\"0s\"", "", hint "";
    cache_of_no_password_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nbasic = { cache_size = 0 }",
        at "0", "not a valid number of passwords", hint "from 1";
    quoted_realm_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nbasic = { realm = 'a\"b' }",
        at "'a\"b'", "is not a realm", hint "quotes";
    basic_rule_with_a_requirement_is_rejected:
        "allow = \"public\"" =>
            "allow = \"authenticated\"\nauth_methods = [\"basic\", \"session\"]\n\
             require = { max_age = \"5m\" }",
        at "{ max_age = \"5m\" }", "a password cannot fulfil it", hint "auth_methods";
}
