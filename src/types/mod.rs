//! Basic types: secrets, time, addresses, OAuth values, logos, request targets and the HTTP body.

pub mod app_paths;
pub mod body;
pub mod color;
pub mod digits;
pub mod extended_connect;
pub mod files;
pub mod host_label;
pub mod logo;
mod lookalike;
pub mod loosest_reading;
pub mod net;
pub mod network_prefix;
pub mod oauth;
mod other_reading;
mod path_ambiguity;
mod percent_encoding;
pub mod public_url;
pub mod request_id;
pub mod secret;
pub(crate) mod split_mix;
pub mod target;
pub mod time;
pub mod trace_context;
pub mod trailing;
pub mod user_agent;
pub mod x509;
