//! HTTP/1.1 client (RFC 9112), without hyper: a head is written in one pass, responses are parsed
//! in place, and the task that waits for the response does the I/O. A request therefore needs no
//! extra task and no channel. The parser is `httparse`, as in hyper.

mod body_decoder;
mod connection;
mod head;
mod idle_pool;
mod pinned;
mod request_body;
mod response_body;
mod socket;
mod timer;
mod upgraded;

#[cfg(test)]
mod tests;

pub(super) use body_decoder::BodyDecoder;
pub(super) use connection::{Connection, Failure};
pub(super) use head::{ResponseHead, write_field, write_request_line};
pub(super) use idle_pool::{IdlePool, ReusePolicy};
pub(super) use pinned::{ConnectionReturn, PinnedPool};
pub(super) use request_body::RequestBodyWriter;
