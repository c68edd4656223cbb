//! Errors in `[[apps.NAME.rules]]` and the headers of an app.

errors! {
    bearer_rule_without_bearer_table_is_rejected:
        "allow = \"public\"" =>
            "allow = \"authenticated\"\nauth_methods = [\"session\", \"bearer\"]",
        at "\"bearer\"", "accepts no access tokens", hint "bearer]";
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
}
