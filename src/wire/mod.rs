//! Bytes to HTTP and back: sockets, TLS, connections and their end. Nothing here knows what a request means.

mod accepted;
mod client_certificates;
mod clients;
mod connection;
mod deadlines;
mod drain;
mod files;
mod guard;
mod http2;
mod inherited;
mod listener;
mod preface;
mod proxy_protocol;
mod streams;
mod sweeper;
mod tls;

#[cfg(test)]
mod tests;

pub use connection::Handler;
pub use drain::{Drain, DrainTrigger, drain};
pub use inherited::{Inherited, Role};
pub use listener::{ListenError, Listener, ListenerSettings, serve};
pub use tls::{CertificateFiles, Certificates, TlsError};
