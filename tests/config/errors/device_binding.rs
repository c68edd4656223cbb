//! Errors in `[apps.NAME.device_binding]`.

errors! {
    device_binding_with_unknown_mode_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\ndevice_binding = { mode = \"on\" }",
        at "\"on\"", "unknown value", hint "`offer`";
    refresh_interval_that_is_not_shorter_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\ndevice_binding = { mode = \"offer\", validity = \"20s\", refresh_interval = \"20s\" }",
        at "\"20s\"", "must be shorter", hint "redirected";
    strict_validity_that_is_longer_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\ndevice_binding = { mode = \"offer\", strict_validity = \"46s\" }",
        at "\"46s\"", "must not be longer", hint "strict paths";
    validity_out_of_range_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\ndevice_binding = { mode = \"offer\", validity = \"11m\" }",
        at "\"11m\"", "660 s is out of range", hint "from 2 s to 600 s";
    strict_path_with_invalid_pattern_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\ndevice_binding = { mode = \"offer\", strict = [\"POST /pay(.*)\"] }",
        at "\"POST /pay(.*)\"", "regular expression", hint "within a segment";
    strict_path_with_unknown_method_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\ndevice_binding = { mode = \"offer\", strict = [\"post /checkout\"] }",
        at "\"post /checkout\"", "not a method", hint "POST";
    strict_validity_out_of_range_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\ndevice_binding = { mode = \"offer\", strict_validity = \"1s\" }",
        at "\"1s\"", "1 s is out of range", hint "from 2 s to 60 s";
}
