//! Tests of a listener with raw bytes and with TLS and HTTP/2 clients.

mod balance;
mod client_certificates;
mod drain;
mod extended_connect;
mod framing;
mod hibernation;
mod http2;
mod http2_resets;
mod limits;
mod support;
mod tls;
mod unix;
mod unread;
