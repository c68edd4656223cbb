//! Pure: parsed requests, routing and access policy. No I/O, no clock, no logging.

pub mod app;
pub mod background_paths;
pub mod basic;
pub mod canonical;
pub mod client_address;
pub mod client_kind;
pub mod condition;
pub mod cors;
pub mod credential_use;
pub mod decide;
pub mod described_request;
pub mod explanation;
pub mod forwarded_origin;
pub mod hosts;
pub mod login_link;
pub mod login_parameters;
pub mod logout_target;
pub mod native;
pub mod native_request;
pub mod path_pattern;
pub mod post_replay;
pub mod request_info;
pub mod route;
pub mod rule_lists;
pub mod rules;
pub mod throttle;
