//! Errors in `[apps.NAME]`.

errors! {
    login_requirement_that_no_login_fulfils_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nextra_authorization_params = { acr_values = \"gold\" }\n\
             rules = [{ paths = [\"/a\"], allow = \"authenticated\", require = { acr = \"silver\" } }]",
        at "\"silver\"", "no login can fulfil it", hint "acr_values";
    acr_value_of_links_that_no_login_accepts_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nextra_authorization_params = { acr_values = \"gold\" }\n\
             login_parameters = { acr_values = [\"silver\"] }",
        at "[\"silver\"]", "accepts other values only", hint "acr_values";
    silent_prompt_of_links_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nlogin_parameters = { prompt = [\"none\"] }",
        at "\"none\"", "is not a prompt for links", hint "select_account";
    logout_target_over_http_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nlogout_return_to = [\"http://www.example.com/\"]",
        at "\"http://www.example.com/\"", "is not an https URL", hint "pages of the app";
    path_as_cors_origin_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\ncors_origins = [\"https://spa.example.com/\"]",
        at "\"https://spa.example.com/\"", "is not an origin", hint "scheme, host";
    unknown_use_of_authorization_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nauthorization_header = \"drop\"",
        at "\"drop\"", "unknown value", hint "remove";
    header_that_is_never_forwarded_cannot_be_listed:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\ndangerously_forward_headers = [\"X-Real-IP\"]",
        at "\"X-Real-IP\"", "not one that can be forwarded", hint "X-SSL-Client-Cert";
    identity_header_cannot_be_changed:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\n\
             headers = { Remote-User = \"{sub}\" }\n\
             request_headers = { remove = [\"remote_user\"] }",
        at "\"remote_user\"", "is reserved", hint "under `headers`";
    reserved_request_header_cannot_be_set:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nrequest_headers = { set = { X_Forwarded_For = \"1\" } }",
        at "X_Forwarded_For", "is reserved", hint "Doorward sets it";
    claim_in_an_added_request_header_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nrequest_headers = { add = { X-Team = \"{team}\" } }",
        at "{ X-Team = \"{team}\" }", "the claim `team` is in a header that is added", hint "use `set`";
    cookie_of_the_app_cannot_be_set:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nresponse_headers = { set = { Set-Cookie = \"a=b\" } }",
        at "Set-Cookie", "is reserved", hint "only the app";
    header_that_is_set_and_removed_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nresponse_headers = { set = { X-A = \"1\" }, remove = [\"x-a\"] }",
        at "[\"x-a\"]", "is set too", hint "`set` replaces it";
    word_as_upstream_host_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nupstream_host = \"public\"",
        at "\"public\"", "is not a host", hint "\"client\"";
    own_identity_header_cannot_be_forwarded:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\n\
             headers = { Remote-User = \"{sub}\" }\n\
             dangerously_forward_headers = [\"remote_user\"]",
        at "\"remote_user\"", "identity header of this app", hint "choose their identity";
    own_cookie_as_app_cookie_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\napp_cookies = [{ name = \"__Host-DOORWARD_jwt\" }]",
        at "\"__Host-DOORWARD_jwt\"", "is a cookie of doorward", hint "removes its own";
    own_cookie_of_other_app_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\n\
             cookie_name = \"board\"\n\
             app_cookies = [{ name = \"doorward_jwt\" }]",
        at "\"doorward_jwt\"", "is a cookie of doorward", hint "cookies of the app";
    app_cookie_of_other_domain_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\n\
             app_cookies = [{ name = \"a\", domain = \"store.example.com\" }]",
        at "\"store.example.com\"", "neither the app's host nor a parent domain of it", hint "PHPSESSID";
    app_cookie_with_invalid_name_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\napp_cookies = [{ name = \"a b\" }]",
        at "\"a b\"", "a cookie name is at most", hint "as the app sets it";
    duplicate_app_cookie_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\n\
             app_cookies = [{ name = \"a\" }, { path = \"/\", name = \"a\" }]",
        at "{ path = \"/\", name = \"a\" }", "duplicate cookie", hint "once";
    app_logout_url_instead_of_path_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\napp_logout_path = \"https://forum.example.com/logout\"",
        at "\"https://forum.example.com/logout\"",
        "is not a canonical path", hint "/account/logout";
    own_endpoint_as_app_logout_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\napp_logout_path = \"/.doorward/logout\"",
        at "\"/.doorward/logout\"", "is an endpoint of doorward", hint "the app's own logout";
    app_logout_method_without_path_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\napp_logout_method = \"POST\"",
        at "\"POST\"", "needs `app_logout_path`", hint "app_logout_path";
    long_outage_grace_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\noutage_grace = \"2h\"",
        at "\"2h\"", "7200 s is too long", hint "1h";
    zero_stream_age_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nstream_max_age = \"0s\"",
        at "\"0s\"", "must not be zero", hint "long";
    background_path_without_slash_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nbackground_paths = [\"/news\", \"news\"]",
        at "\"news\"", "not a path pattern", hint "";
    background_path_for_everything_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nbackground_paths = [\"/**\"]",
        at "\"/**\"", "no request would count as activity", hint "in the background";
    upper_case_name_is_rejected:
        "[apps.forum]" => "[apps.Forum]",
        at "Forum", "invalid name `Forum`", hint "lower-case";
    public_url_with_slash_at_the_end_is_rejected:
        "forum.example.com" => "forum.example.com/posts/",
        at "\"https://forum.example.com/posts/\"",
        "the path ends with a slash", hint "`/shop/`";
    public_url_with_query_is_rejected:
        "forum.example.com" => "forum.example.com/posts?a",
        at "\"https://forum.example.com/posts?a\"",
        "a query or a fragment", hint "scheme, host and path";
    public_url_with_escape_is_rejected:
        "forum.example.com" => "forum.example.com/%70osts",
        at "\"https://forum.example.com/%70osts\"",
        "other characters", hint "letters, digits";
    public_url_that_differs_in_case_only_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\n\
            [apps.blog]\nprovider = \"login\"\nupstream = \"http://127.0.0.1:1\"\nclient_id = \"blog\"\n\
            public_url = \"https://forum.example.com/Posts\"\n\
            [apps.wiki]\nprovider = \"login\"\nupstream = \"http://127.0.0.1:1\"\nclient_id = \"wiki\"\n\
            public_url = \"https://forum.example.com/posts\"",
        at "\"https://forum.example.com/posts\"", "belongs to the app `blog`", hint "one app";
    public_url_at_endpoints_of_another_app_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\n\
            [apps.blog]\nprovider = \"login\"\nupstream = \"http://127.0.0.1:1\"\nclient_id = \"blog\"\n\
            public_url = \"https://forum.example.com/.doorward/blog\"",
        at "\"https://forum.example.com/.doorward/blog\"",
        "the app `forum` has doorward's endpoints", hint "endpoint_prefix";
    app_logout_path_outside_the_path_is_rejected:
        "https://forum.example.com\"" =>
            "https://forum.example.com/posts\"\napp_logout_path = \"/logout\"",
        at "\"/logout\"", "never matches", hint "`/posts/logout`";
    background_path_outside_the_path_is_rejected:
        "https://forum.example.com\"" =>
            "https://forum.example.com/posts\"\nbackground_paths = [\"/posts/poll\", \"/poll\"]",
        at "\"/poll\"", "never matches", hint "`/posts/poll`";
    rule_outside_the_path_is_rejected:
        "https://forum.example.com\"" =>
            "https://forum.example.com/posts\"\nrules = [{ paths = [\"/**/*.css\", \"/posts/x\", \
             \"/admin/**\"], allow = \"deny\" }]",
        at "\"/admin/**\"", "never matches", hint "`/posts/admin/**`";
    wildcard_public_url_is_rejected:
        "https://forum.example.com" => "https://a.*.example.com",
        at "\"https://a.*.example.com\"", "is not a name", hint "first label";
    wildcard_in_part_of_a_label_is_rejected:
        "https://forum.example.com" => "https://a*.example.com",
        at "\"https://a*.example.com\"", "is not a name", hint "first label";
    wildcard_labels_without_wildcard_are_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nwildcard_labels = [\"a\"]",
        at "[\"a\"]", "has one host", hint "https://*.apps.example.com";
    encoded_label_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nwildcard_labels = [\"xn--a\"]",
        at "[\"xn--a\"]", "has one host", hint "https://*.apps.example.com";
    label_in_upstream_without_wildcard_is_rejected:
        "http://127.0.0.1:4000" => "http://{label}.internal:4000",
        at "\"http://{label}.internal:4000\"", "needs a wildcard host", hint "public_url";
    wildcard_alias_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\naliases = [\"https://*.forum.example.com\"]",
        at "\"https://*.forum.example.com\"", "is not a name", hint "list each host";
    public_url_with_odd_host_is_rejected:
        "https://forum.example.com" => "https://forum.example.com;x",
        at "\"https://forum.example.com;x\"", "is not a name", hint "letters, digits";
    http_public_url_is_rejected:
        "https://forum" => "http://forum",
        at "\"http://forum.example.com\"", "neither https", hint "session";
    same_origin_of_two_apps_is_rejected:
        "https://store.example.com" => "https://FORUM.example.com:443",
        at "\"https://FORUM.example.com:443\"", "belongs to the app `forum`", hint "one app";
    same_host_and_cookie_name_is_rejected:
        "https://store.example.com" => "https://forum.example.com:8443",
        at "\"https://forum.example.com:8443\"", "cookies ignore ports", hint "cookie_name";
    alias_of_other_app_is_rejected:
        "client_id = \"store\"" =>
            "client_id = \"store\"\naliases = [\"https://forum.example.com\"]",
        at "\"https://forum.example.com\"", "belongs to the app `forum`", hint "listed once";
    websocket_origin_with_path_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nwebsocket_origins = [\"https://forum.example.com/chat\"]",
        at "\"https://forum.example.com/chat\"", "is not an origin", hint "scheme, host";
    endpoint_prefix_with_dot_segment_is_rejected:
        "scopes" => "endpoint_prefix = \"/a/../b/\"\nscopes",
        at "\"/a/../b/\"", "invalid path prefix", hint "/.doorward";
    cookie_name_with_prefix_is_rejected:
        "scopes" => "cookie_name = \"__Host-x\"\nscopes",
        at "\"__Host-x\"", "invalid cookie name", hint "32";
}
