//! Which HTTP a client speaks that was not asked by TLS: HTTP/2 with prior knowledge begins with 24 bytes that no
//! HTTP/1.1 request can begin with (RFC 9113 section 3.4). Looked for at a connection's first bytes and never later:
//! a body is no preface (CVE-2022-41721).

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What HTTP/2 begins with.
pub(super) const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear which HTTP this is: what was read, and whether it is HTTP/2. Nothing at all: the client left.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Bytes, bool)> {
    let mut bytes = [0; PREFACE.len()];
    let mut length = 0;
    loop {
        let (known, room) = bytes.split_at_mut(length);
        if PREFACE.strip_prefix(&*known).is_none() || room.is_empty() {
            return Ok((Bytes::copy_from_slice(known), *known == PREFACE));
        }
        match stream.read(room).await? {
            0 => return Ok((Bytes::copy_from_slice(known), false)),
            more => length += more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(mut bytes: &[u8]) -> (Vec<u8>, bool, usize) {
        let (ahead, is_http2) = read(&mut bytes).await.unwrap();
        (ahead.to_vec(), is_http2, bytes.len())
    }

    #[tokio::test]
    async fn only_the_whole_preface_is_http2_and_no_byte_is_lost() {
        let whole = [&PREFACE[..], b"rest"].concat();
        assert_eq!(told(&whole).await, (PREFACE.to_vec(), true, 4));
        for other in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
            b"PRI",
            b"G",
            b"",
        ] {
            let (seen, is_http2, left) = told(other).await;
            assert!(
                !is_http2 && seen == other[..other.len() - left],
                "{other:?}"
            );
        }
    }
}
