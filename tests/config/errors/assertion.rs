//! Errors in `[assertion]` and `[apps.NAME.assertion]`.

errors! {
    assertion_without_a_key_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nassertion = {}",
        at "{}", "no key to sign", hint "doorward keygen --assertion";
    key_that_seals_is_no_key_that_signs:
        "[store]" => "[assertion]\nkey_files = [\"doorward.key\"]\n[store]",
        at "\"doorward.key\"", "no `BEGIN PRIVATE KEY`", hint "doorward keygen --assertion";
    same_assertion_key_twice_is_rejected:
        "[store]" => "[assertion]\nkey_files = [\"assertion.key\", \"assertion.key\"]\n[store]",
        at "\"assertion.key\"", "same key", hint "once";
    claim_of_doorward_is_rejected:
        "[store]" =>
            "[assertion]\nkey_files = [\"assertion.key\"]\n\
             [apps.forum.assertion]\nclaims = [\"sub\"]\n[store]",
        at "\"sub\"", "sets the claim `sub` itself", hint "email";
    long_lifetime_of_assertions_is_rejected:
        "[store]" =>
            "[assertion]\nkey_files = [\"assertion.key\"]\n\
             [apps.forum.assertion]\nlifetime = \"1h\"\n[store]",
        at "\"1h\"", "no short time", hint "10m";
    empty_audience_is_rejected:
        "[store]" =>
            "[assertion]\nkey_files = [\"assertion.key\"]\n\
             [apps.forum.assertion]\naudience = \"\"\n[store]",
        at "\"\"", "not an audience", hint "";
}
