//! HTTP version detection without ALPN: HTTP/2 with prior knowledge starts with a 24-byte
//! connection preface that no HTTP/1.1 request can start with (RFC 9113 section 3.4). Only the
//! first bytes of a connection are inspected: a request body must not be taken for a preface
//! (CVE-2022-41721).

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The client connection preface of HTTP/2.
pub(super) const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes of a connection, and the HTTP version that they imply.
pub(super) struct Sniffed {
    /// The bytes that were read; empty if the client closed the connection.
    pub(super) bytes: Bytes,
    pub(super) is_http2: bool,
}

/// Reads until the HTTP version is clear.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Sniffed> {
    let mut buffer = [0; PREFACE.len()];
    let mut length = 0;
    loop {
        let (read, unfilled) = buffer.split_at_mut(length);
        if PREFACE.strip_prefix(&*read).is_none() || unfilled.is_empty() {
            return Ok(Sniffed {
                bytes: Bytes::copy_from_slice(read),
                is_http2: *read == PREFACE,
            });
        }
        match stream.read(unfilled).await? {
            0 => {
                return Ok(Sniffed {
                    bytes: Bytes::copy_from_slice(read),
                    is_http2: false,
                });
            }
            count => length += count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn read_whole_preface_is_http2() {
        let input = [&PREFACE[..], b"rest"].concat();
        let mut stream = &input[..];
        let sniffed = read(&mut stream).await.unwrap();
        assert!(sniffed.is_http2);
        assert_eq!(sniffed.bytes, PREFACE[..]);
        assert_eq!(stream, b"rest");
    }

    #[tokio::test]
    async fn read_other_bytes_is_http1_and_keeps_every_byte() {
        for input in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
            b"PRI",
            b"G",
            b"",
        ] {
            let mut stream = input;
            let sniffed = read(&mut stream).await.unwrap();
            assert!(!sniffed.is_http2, "{input:?}");
            assert_eq!(
                sniffed.bytes,
                input[..input.len() - stream.len()],
                "{input:?}"
            );
        }
    }
}
