//! Our own HTTP/1.1 connection to a backend (RFC 9112): a head is written in one pass, what comes back is parsed where it
//! lies, and whoever waits for the answer moves the bytes, so a request costs no task and no message between two. Toward
//! clients the parser is hyper's; here it is `httparse`, as within hyper.

mod body_decoder;
mod connection;
mod head;
mod request_body;
mod response_body;
mod socket;

#[cfg(test)]
mod tests;

pub(super) use body_decoder::BodyDecoder;
pub(super) use connection::{Connection, Failure};
pub(super) use head::{ResponseHead, write_field, write_line};
pub(super) use request_body::RequestBodyWriter;
pub(super) use socket::Socket;
