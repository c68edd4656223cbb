//! Doorward: an authenticating reverse proxy.
//!
//! Modules by layer; each imports from its own layer and from those below. `ARCHITECTURE.md` in the
//! repository has the details.
//!
//! ```text
//! 8  cli  config  server  worker         read, check, compose and run
//!    doctor  import  demo
//! 7  downstream  admin                   client sockets to HTTP requests, without authentication
//! 6  proxy                               one request in six stages
//! 5  auth  runtime                       flows that need the provider or the store
//! 4  oidc  store  upstream  static_files  clients of external systems
//! 3  policy                              pure: routing, access rules, decisions
//! 2  session                             pure: session cookies and their validity
//! 1  identity                            pure: claims, identity headers, return targets
//! 0  telemetry  types  dns  limits  lock    used by every layer
//! ```

pub mod admin;
pub mod auth;
pub mod cli;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod dns;
pub mod doctor;
pub mod downstream;
pub mod identity;
pub mod import;
pub mod limits;
mod lock;
pub mod oidc;
pub mod outage;
pub mod policy;
pub mod proxy;
pub mod runtime;
pub mod server;
pub mod session;
pub mod static_files;
pub mod store;
pub mod telemetry;
pub mod types;
pub mod upstream;
pub mod worker;
