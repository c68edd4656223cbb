//! Errors in `[[apps.NAME.rules]]` and the headers of an app.

errors! {
    login_requirement_of_a_public_rule_is_rejected:
        "allow = \"public\"" => "allow = \"public\"\nrequire = { max_age = \"5m\" }",
        at "{ max_age = \"5m\" }", "only authenticated users", hint "authenticated";
    empty_login_requirement_is_rejected:
        "allow = \"public\"" => "allow = \"authenticated\"\nrequire = {}",
        at "{}", "nothing is required", hint "max_age";
    zero_max_age_is_rejected:
        "allow = \"public\"" => "allow = \"authenticated\"\nrequire = { max_age = \"0s\" }",
        at "\"0s\"", "must not be zero", hint "";
    two_acr_values_in_one_string_are_rejected:
        "allow = \"public\"" => "allow = \"authenticated\"\nrequire = { acr = \"gold silver\" }",
        at "\"gold silver\"", "is not a value of `acr`", hint "array";
    acr_of_a_wrong_type_is_rejected:
        "allow = \"public\"" => "allow = \"authenticated\"\nrequire = { acr = 2 }",
        at "2", "a string or an array", hint "";
    bearer_rule_without_bearer_table_is_rejected:
        "allow = \"public\"" =>
            "allow = \"authenticated\"\nauth_methods = [\"session\", \"bearer\"]",
        at "\"bearer\"", "accepts no access tokens", hint "bearer]";
    rule_name_with_a_quote_is_rejected:
        "allow = \"public\"" => "allow = \"public\"\nname = 'a\"b'",
        at "'a\"b'", "is not a name", hint "letters";
    rule_name_that_is_a_number_is_rejected:
        "allow = \"public\"" => "allow = \"public\"\nname = \"2\"",
        at "\"2\"", "stands for other rules", hint "another name";
    rule_name_that_stands_for_no_rule_is_rejected:
        "allow = \"public\"" => "allow = \"public\"\nname = \"default\"",
        at "\"default\"", "stands for other rules", hint "another name";
    rule_name_of_an_earlier_rule_is_rejected:
        "allow = \"public\"" =>
            "allow = \"public\"\nname = \"a\"\n[[apps.store.rules]]\npaths = [\"/b\"]\nallow = \"deny\"\nname = 'a'",
        at "'a'", "another rule of the app is named `a`", hint "another name";
    empty_auth_methods_are_rejected:
        "allow = \"public\"" => "allow = \"authenticated\"\nauth_methods = []",
        at "[]", "no method is listed", hint "session";
    unknown_auth_method_is_rejected:
        "allow = \"public\"" => "allow = \"authenticated\"\nauth_methods = [\"cookie\"]",
        at "\"cookie\"", "unknown value `cookie`", hint "";
    condition_without_scopes_is_rejected:
        "allow = \"public\"" => "allow = { scopes = [] }",
        at "[]", "always met", hint "authenticated";
    two_scopes_in_one_string_are_rejected:
        "allow = \"public\"" => "allow = { scopes = [\"a b\"] }",
        at "\"a b\"", "not a scope", hint "element";
    scopes_with_roles_are_rejected:
        "allow = \"public\"" => "allow = { scopes = [\"a\"], roles = [\"b\"] }",
        at "{ scopes = [\"a\"], roles = [\"b\"] }", "invalid condition", hint "scopes";
    unknown_path_ambiguity_is_rejected:
        "scopes" => "allow_ambiguous_paths = [\"double-slashes\"]\nscopes",
        at "\"double-slashes\"", "unknown value", hint "`double-slash`";
    reserved_identity_header_is_rejected:
        "X-Forwarded-User" => "x_forwarded_for",
        at "x_forwarded_for", "is reserved", hint "X-Forwarded-User";
    equal_header_names_are_rejected:
        "X-Forwarded-User = \"{sub}\"" =>
            "X-Forwarded-User = \"{sub}\"\nx_forwarded_user = \"{email}\"",
        at "x_forwarded_user", "duplicate header", hint "equals `-`";
    invalid_header_name_is_rejected:
        "X-Forwarded-User" => "\"X Forwarded\"",
        at "\"{sub}\"", "not a header name", hint "";
    template_with_open_brace_is_rejected:
        "\"{sub}\"" => "\"{sub\"",
        at "\"{sub\"", "brace", hint "{email}";
    pattern_without_slash_is_rejected:
        "\"/admin/**\"" => "\"admin/**\"",
        at "\"admin/**\"", "starts with `/`", hint "";
    double_star_within_segment_is_rejected:
        "\"/admin/**\"" => "\"/admin**\"",
        at "\"/admin**\"", "whole segment", hint "";
    rule_without_paths_is_rejected:
        "paths = [\"/assets/**\"]\n" => "",
        at "[[apps.store.rules]]", "`paths` is missing", hint "paths = ";
    rule_without_allow_is_rejected:
        "allow = \"public\"\n" => "",
        at "[[apps.store.rules]]", "`allow` is missing", hint "authenticated";
    rule_after_catch_all_is_rejected:
        "\"/assets/**\"" => "\"/**\"",
        at "\"/admin/**\"", "never matches, because an earlier rule has `/**`", hint "specific";
    covered_rule_is_rejected:
        "\"/assets/**\"" => "\"/admin/**\"",
        at "\"/admin/**\"", "never matches", hint "first rule that matches";
    lower_case_method_is_rejected:
        "[\"GET\"]" => "[\"get\"]",
        at "\"get\"", "`get` is not a method", hint "`GET`";
    misspelt_condition_gets_a_suggestion:
        "{ roles = [\"admin\"] }" => "{ rolls = [\"admin\"] }",
        at "rolls", "unknown key `rolls`", hint "`roles`";
    claim_without_values_is_rejected:
        "{ roles = [\"admin\"] }" => "{ claim = \"department\" }",
        at "allow", "`any_of` is missing", hint "values";
    roles_with_claim_are_rejected:
        "{ roles = [\"admin\"] }" => "{ roles = [\"a\"], claim = \"b\", any_of = [\"c\"] }",
        at "{ roles = [\"a\"], claim = \"b\", any_of = [\"c\"] }",
        "invalid condition", hint "any_of";
    condition_without_values_is_rejected:
        "{ roles = [\"admin\"] }" => "{ roles = [] }",
        at "[]", "never met", hint "deny";
    empty_role_is_rejected:
        "{ roles = [\"admin\"] }" => "{ roles = [\"admin\", \"\"] }",
        at "\"\"", "empty value", hint "assigns to users";
    blank_claim_value_is_rejected:
        "{ roles = [\"admin\"] }" => "{ claim = \"department\", any_of = [\" \"] }",
        at "\" \"", "empty value", hint "assigns to users";
    boolean_as_allow_is_rejected:
        "{ roles = [\"admin\"] }" => "true",
        at "true", "expected a keyword or a condition", hint "authenticated";
    email_domain_with_star_is_rejected:
        "{ roles = [\"admin\"] }" => "{ email_domains = [\"*\"] }",
        at "\"*\"", "is not a domain", hint "authenticated";
    email_that_is_no_address_is_rejected:
        "{ roles = [\"admin\"] }" => "{ emails = [\"example.com\"] }",
        at "\"example.com\"", "is not an email address", hint "alice@example.com";
    network_that_is_none_is_rejected:
        "{ roles = [\"admin\"] }" => "{ from = [\"10.0.0.0/40\"] }",
        at "\"10.0.0.0/40\"", "not an address or a network", hint "10.0.0.0/8";
    empty_combination_is_rejected:
        "{ roles = [\"admin\"] }" => "{ any = [] }",
        at "[]", "no condition is listed", hint "roles";
    public_within_a_combination_is_rejected:
        "{ roles = [\"admin\"] }" => "{ any = [{ roles = [\"admin\"] }, \"public\"] }",
        at "\"public\"", "no conditions on a caller", hint "rule of its own";
    error_within_a_combination_is_located:
        "{ roles = [\"admin\"] }" => "{ all = [{ not = { rolls = [\"admin\"] } }] }",
        at "rolls", "unknown key `rolls`", hint "`roles`";
    deep_conditions_are_rejected:
        "{ roles = [\"admin\"] }" =>
            "{ not = { not = { not = { not = { not = { not = { not = { not = { not = { roles = [\"a\"] } } } } } } } } } }",
        at "{ roles = [\"a\"] }", "nested more than 8 levels", hint "several rules";
    members_without_a_claim_are_rejected:
        "{ roles = [\"admin\"] }" => "{ emails = [\"a@example.com\"], members = \"keys\" }",
        at "\"keys\"", "only a claim has members", hint "`roles`";
    unknown_members_are_rejected:
        "{ roles = [\"admin\"] }" => "{ roles = [\"admin\"], members = \"words\" }",
        at "\"words\"", "unknown value `words`", hint "known are";
    claim_with_misplaced_brackets_is_rejected:
        "{ roles = [\"admin\"] }" => "{ claim = \"a[]b\", any_of = [\"c\"] }",
        at "\"a[]b\"", "not the name of a claim", hint "groups[].name";
    missing_list_file_is_rejected:
        "{ roles = [\"admin\"] }" => "{ emails = { file = \"lists/none.txt\" } }",
        at "\"lists/none.txt\"", "no such file", hint "lists/none.txt";
    list_file_of_another_kind_is_rejected:
        "{ roles = [\"admin\"] }" => "{ from = { file = \"lists/guests.txt\" } }",
        at "\"lists/guests.txt\"", "line 1 is not an address or a network", hint "each line";
    number_in_place_of_a_list_is_rejected:
        "{ roles = [\"admin\"] }" => "{ roles = 1 }",
        at "1", "expected an array or a file", hint "file";
    pattern_with_regular_expression_is_rejected:
        "\"/admin/**\"" => "\"/x/[0-9]+/**\"",
        at "\"/x/[0-9]+/**\"", "looks like a regular expression", hint "`*`";
    pattern_with_route_parameter_is_rejected:
        "\"/admin/**\"" => "\"/users/:id\"",
        at "\"/users/:id\"", "a route with a parameter", hint "`/users/*/edit`";
}
