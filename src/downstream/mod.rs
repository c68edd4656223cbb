//! Bytes to HTTP and back: sockets, TLS, connections and their end. Nothing here knows what a request means.

mod client_certificates;
mod client_stream;
mod connection;
mod connection_context;
mod deadline_timer;
mod deadlines;
mod drain;
mod http2;
mod listener;
mod per_client_limit;
mod preface;
mod proxy_protocol;
mod socket_activation;
mod streams;
mod tls;

#[cfg(test)]
mod tests;

pub use connection::Handler;
pub use drain::{Drain, DrainTrigger, drain};
pub use listener::{ListenError, Listener, ListenerSettings, serve};
pub use socket_activation::{ActivatedSockets, Role};
pub use tls::{CertificateFiles, Certificates, TlsError};
