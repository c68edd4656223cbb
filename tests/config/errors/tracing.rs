//! Errors in `[tracing]`.

errors! {
    ratio_above_one_is_rejected:
        "[session]" => "[tracing]\nsampling_ratio = 1.5\n[session]",
        at "1.5", "from 0 to 1", hint "0.1";
    unknown_context_is_rejected:
        "[session]" => "[tracing]\ncontext = \"always\"\n[session]",
        at "\"always\"", "unknown", hint "restart";
}
