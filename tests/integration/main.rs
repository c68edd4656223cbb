//! Integration tests of Doorward: a client in front, a provider and backends behind it.
#![expect(
    missing_docs,
    reason = "members of fixtures are named for what they are"
)]

#[cfg(test)]
mod access_conditions;
#[cfg(test)]
mod access_rules;
#[cfg(test)]
mod app_credentials;
#[cfg(test)]
mod assertion;
#[cfg(test)]
mod audit_log;
#[cfg(test)]
mod backchannel_logout;
#[cfg(test)]
mod backend_quirks;
#[cfg(test)]
mod backend_restart;
#[cfg(test)]
mod bad_backend;
#[cfg(test)]
mod bad_cookies;
#[cfg(test)]
mod bad_provider;
#[cfg(test)]
mod basic_clients;
#[cfg(test)]
mod bearer;
#[cfg(test)]
mod big_bodies;
#[cfg(test)]
mod check_online;
#[cfg(test)]
mod client_address;
#[cfg(test)]
mod client_authentication;
#[cfg(test)]
mod client_continuity;
#[cfg(test)]
mod client_limits;
#[cfg(test)]
#[cfg(feature = "demo")]
mod command_demo;
#[cfg(test)]
mod command_import;
#[cfg(test)]
mod command_revoke;
#[cfg(test)]
mod command_run;
#[cfg(test)]
mod cookie_budget;
#[cfg(test)]
mod cors;
#[cfg(test)]
mod decisions;
#[cfg(test)]
mod departing_clients;
#[cfg(test)]
mod device_binding;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod edges;
#[cfg(test)]
mod exemplars;
#[cfg(test)]
mod explanations;
#[cfg(test)]
mod fairness;
#[cfg(test)]
mod fapi;
#[cfg(test)]
mod frontchannel_logout;
#[cfg(test)]
#[cfg(feature = "demo")]
mod fusionauth;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod header_edits;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod http2_websocket;
#[cfg(test)]
mod identity_headers;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod key_rotation;
#[cfg(test)]
mod life_cycle;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod listeners;
#[cfg(test)]
mod log_sink;
#[cfg(test)]
mod login_host;
#[cfg(test)]
mod logs_and_metrics;
#[cfg(test)]
mod maintenance;
#[cfg(test)]
mod many_streams;
#[cfg(test)]
mod mobile_workflow;
#[cfg(test)]
mod native_clients;
#[cfg(test)]
mod old_sealed_sessions;
#[cfg(test)]
mod otlp;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod own_pages;
#[cfg(test)]
mod path_confusion;
#[cfg(test)]
mod provider_quirks;
#[cfg(test)]
mod proxying;
#[cfg(test)]
mod reaching_provider;
#[cfg(test)]
mod readiness;
#[cfg(test)]
mod real_provider;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod request_smuggling;
#[cfg(test)]
mod response_desync;
#[cfg(test)]
mod rolling_restart;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod sender_constrained;
#[cfg(test)]
mod service_manager;
#[cfg(test)]
mod session_list;
#[cfg(test)]
mod sessions_page;
#[cfg(test)]
mod several_providers;
#[cfg(test)]
mod several_upstreams;
#[cfg(test)]
mod shared_origin;
#[cfg(test)]
mod shared_store;
#[cfg(test)]
mod signed_authorization;
#[cfg(test)]
mod step_up;
#[cfg(test)]
mod stream_activity;
#[cfg(test)]
mod streams;
#[cfg(test)]
pub mod support;
#[cfg(test)]
mod support_selftest;
#[cfg(test)]
mod trace_context;
#[cfg(test)]
mod trailers;
#[cfg(test)]
mod upstream_connections;
#[cfg(test)]
mod upstream_tls;
#[cfg(test)]
mod web_workflow;
#[cfg(test)]
mod webhooks;
#[cfg(test)]
mod websocket;
#[cfg(test)]
mod wildcard_hosts;
