//! Tests of requests through the proxy's upstream client against test backends.

mod backpressure;
mod failover;
mod forwarding;
mod http2;
mod http2_backend;
mod http2_shares;
mod pooling;
mod responses;
mod support;
mod tunnels;
