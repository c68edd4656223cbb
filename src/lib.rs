//! Doorward: an authenticating reverse proxy. This page is the map; imports go downwards only.
//!
//! ```text
//! 6  cli  config  server  worker  demo   read, check, compose, run
//! 5  wire  admin                         bytes <-> HTTP; knows nothing of auth
//! 4  proxy                               one request, six stages
//! 3  auth  control                       the flows that need the outside world
//! 2  oidc  store  upstream               three outside worlds; they never import each other
//! 1  policy  session                     PURE: what was asked, what is allowed, what our cookies mean
//! 0  telemetry  types                    words that every floor uses
//! ```

pub mod admin;
pub mod auth;
pub mod cli;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod downstream;
pub mod identity;
pub mod oidc;
pub mod policy;
pub mod proxy;
pub mod runtime;
pub mod server;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod types;
pub mod upstream;
pub mod worker;
