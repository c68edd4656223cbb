//! Errors in `[apps.NAME.client_limits]`, `[maintenance]` and `[apps.NAME.maintenance]`.

errors! {
    client_limit_without_a_limit_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nclient_limits.address = {}",
        at "{}", "limits nothing", hint "requests_per_second";
    burst_without_a_rate_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nclient_limits.session = { burst = 5, max_in_flight_requests = 1 }",
        at "5", "needs `requests_per_second`", hint "";
    rate_of_zero_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nclient_limits.address = { requests_per_second = 0 }",
        at "0", "not a valid rate", hint "0.5";
    rate_that_is_not_a_number_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nclient_limits.address = { requests_per_second = nan }",
        at "nan", "not a valid rate", hint "0.001";
    limit_of_no_request_in_flight_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nclient_limits.address = { max_in_flight_requests = 0 }",
        at "0", "not a valid number of requests in flight", hint "from 1";
    small_table_of_clients_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nclient_limits.address = { requests_per_second = 1, max_entries = 999 }",
        at "999", "not a valid number of clients", hint "1000";
    maintenance_by_a_folder_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nmaintenance = { file = \"\" }",
        at "\"\"", "is not a file", hint "while it exists";
    maintenance_without_a_wait_is_rejected:
        "client_id = \"forum\"" => "client_id = \"forum\"\nmaintenance = { retry_after = \"0s\" }",
        at "\"0s\"", "must not be zero", hint "";
    allowed_address_that_is_none_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\nmaintenance = { allowed_addresses = [\"office\"] }",
        at "\"office\"", "not an address or a network", hint "192.0.2.7";
}
