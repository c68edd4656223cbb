//! Downstream: listeners, TLS, and HTTP server connections to clients. Requests are passed to a
//! [`Handler`].

mod certificate_monitor;
mod client_certificates;
mod client_stream;
mod connection_context;
mod connection_registry;
mod deadline_timer;
mod deadlines;
mod drain;
mod extended_connect;
mod half_close;
mod handshake;
mod http1;
mod http1_response_body;
mod http2;
mod listener;
mod plaintext;
mod preface;
mod proxy_protocol;
mod reset_budget;
mod settings;
mod socket;
mod socket_activation;
mod streams;
mod timer_wheel;
mod tls;
mod tls_error;
mod unsent;
mod worker_balance;
mod worker_loads;
mod write_buffer;

#[cfg(test)]
mod tests;

pub use certificate_monitor::{CertificateMonitor, CertificateValidity};
pub use connection_context::{ConnectionIds, Handler};
pub use drain::{Drain, DrainTrigger, drain};
pub use listener::{ListenError, Listener, serve};
pub use settings::{ConnectionSettings, ListenerSettings, SocketAccess};
pub use socket_activation::{ActivatedSockets, Role};
pub use tls::{CertificateFiles, Certificates};
pub use tls_error::TlsError;
pub use worker_loads::WorkerLoads;
