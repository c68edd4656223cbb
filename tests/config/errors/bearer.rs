//! Errors in `[apps.NAME.bearer]`.

errors! {
    empty_providers_are_rejected:
        "[apps.store.headers]" => "[apps.store.bearer]\nproviders = []\n[apps.store.headers]",
        at "[]", "no provider is listed", hint "own provider";
    unknown_provider_is_rejected:
        "[apps.store.headers]" =>
            "[apps.store.bearer]\nproviders = [\"login\", \"logins\"]\n[apps.store.headers]",
        at "\"logins\"", "unknown provider `logins`", hint "`login`";
    duplicate_provider_is_rejected:
        "[apps.store.headers]" =>
            "[apps.store.bearer]\nproviders = [\"login\", 'login']\n[apps.store.headers]",
        at "'login'", "duplicate provider", hint "once";
    providers_with_same_issuer_are_rejected:
        "[apps.forum]" =>
            "[providers.other]\n\
             issuer = \"https://login.example.com\"\n\
             [apps.store.bearer]\n\
             providers = [\"login\", \"other\"]\n\
             [apps.forum]",
        at "\"other\"", "same issuer as `login`", hint "list one";
    cache_without_introspection_is_rejected:
        "[apps.store.headers]" =>
            "[apps.store.bearer]\nintrospection_cache = \"60s\"\n[apps.store.headers]",
        at "\"60s\"", "not introspected", hint "introspect";
    long_introspection_cache_is_rejected:
        "[apps.store.headers]" =>
            "[apps.store.bearer]\n\
             opaque_tokens = \"introspect\"\n\
             introspection_cache = \"2h\"\n\
             [apps.store.headers]",
        at "\"2h\"", "7200 s is too long", hint "1h";
    zero_introspection_cache_is_rejected:
        "[apps.store.headers]" =>
            "[apps.store.bearer]\n\
             opaque_tokens = \"introspect\"\n\
             introspection_cache = \"0s\"\n\
             [apps.store.headers]",
        at "\"0s\"", "must not be zero", hint "1d";
    identity_header_as_client_header_is_rejected:
        "[apps.store.headers]" =>
            "[apps.store.bearer]\nclient_header = \"x_forwarded_user\"\n[apps.store.headers]",
        at "\"x_forwarded_user\"", "identity header of users", hint "X-Forwarded-Client";
    reserved_client_header_is_rejected:
        "[apps.store.headers]" =>
            "[apps.store.bearer]\nclient_header = \"Authorization\"\n[apps.store.headers]",
        at "\"Authorization\"", "is reserved", hint "X-Forwarded-Client";
    invalid_client_header_is_rejected:
        "[apps.store.headers]" =>
            "[apps.store.bearer]\nclient_header = \"X Client\"\n[apps.store.headers]",
        at "\"X Client\"", "not a header name", hint "X-Forwarded-Client";
}
