//! PURE: requests and access policy. No sockets, no files, no clock, no log.

pub mod app;
pub mod background_paths;
pub mod canonical;
pub mod client_address;
pub mod client_kind;
pub mod decide;
pub mod native;
pub mod native_request;
pub mod post_replay;
pub mod request_info;
pub mod route;
pub mod rules;
pub mod throttle;
