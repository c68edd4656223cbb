//! PURE: what was asked and what is allowed. No sockets, no files, no clock, no log.

pub mod app;
pub mod asker;
pub mod canonical;
pub mod claims;
pub mod client_address;
pub mod credentials;
pub mod decide;
pub mod facts;
pub mod form;
pub mod identity;
pub mod native;
pub mod native_request;
pub mod polling;
pub mod return_to;
pub mod route;
pub mod rules;
pub mod target;
pub mod throttle;
