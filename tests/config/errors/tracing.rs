//! Errors in `[tracing]`.

errors! {
    ratio_above_one_is_rejected:
        "[session]" => "[tracing]\nsampling_ratio = 1.5\n[session]",
        at "1.5", "from 0 to 1", hint "0.1";
    endpoint_without_context_is_rejected:
        "[session]" => "[tracing]\notlp_endpoint = \"http://127.0.0.1:4318/v1/traces\"\n[session]",
        at "\"http://127.0.0.1:4318/v1/traces\"", "without `context`", hint "trusted";
    endpoint_that_is_no_url_is_rejected:
        "[session]" => "[tracing]\ncontext = \"restart\"\notlp_endpoint = \"127.0.0.1:4318\"\n[session]",
        at "\"127.0.0.1:4318\"", "no URL of a collector", hint "/v1/traces";
    unknown_context_is_rejected:
        "[session]" => "[tracing]\ncontext = \"always\"\n[session]",
        at "\"always\"", "unknown", hint "restart";
}
