//! Which HTTP a client speaks that was not asked by TLS: HTTP/2 with prior knowledge begins with 24 bytes that no
//! HTTP/1.1 request can begin with (RFC 9113 section 3.4). Looked for at a connection's first bytes and never later:
//! a body is no preface (CVE-2022-41721).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What HTTP/2 begins with.
pub(super) const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that were read from a stream before what reads the rest.
#[derive(Default)]
pub(super) struct Ahead {
    bytes: [u8; PREFACE.len()],
    read: u8,
    taken: u8,
}

impl Ahead {
    /// Reads until it is clear which HTTP this is, and whether it is HTTP/2. Nothing at all: the client left.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Self, bool)> {
        let mut ahead = Self::default();
        loop {
            let read = usize::from(ahead.read);
            let (known, room) = ahead.bytes.split_at_mut(read);
            if PREFACE.strip_prefix(&*known).is_none() || room.is_empty() {
                let is_http2 = *known == PREFACE;
                return Ok((ahead, is_http2));
            }
            match stream.read(room).await? {
                0 => return Ok((ahead, false)),
                more => ahead.read = ahead.read.saturating_add(u8::try_from(more).unwrap_or(u8::MAX)),
            }
        }
    }

    /// Whether no byte came.
    pub(super) const fn is_empty(&self) -> bool {
        self.read == 0
    }

    /// What has not been handed out yet, of which at most `limit` bytes are now.
    pub(super) fn take(&mut self, limit: usize) -> &[u8] {
        let (from, read) = (usize::from(self.taken), usize::from(self.read));
        let to = read.min(from.saturating_add(limit));
        self.taken = u8::try_from(to).unwrap_or(self.read);
        self.bytes.get(from..to).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8]) -> (Vec<u8>, bool, usize) {
        let (mut ahead, is_http2) = Ahead::read(&mut bytes).await.unwrap();
        let mut all = ahead.take(3).to_vec();
        all.extend_from_slice(ahead.take(100));
        assert!(ahead.take(100).is_empty());
        (all, is_http2, bytes.len())
    }

    #[tokio::test]
    async fn only_the_whole_preface_is_http2_and_no_byte_is_lost() {
        let whole = [&PREFACE[..], b"rest"].concat();
        assert_eq!(read(&whole).await, (PREFACE.to_vec(), true, 4));
        for other in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI", b"G", b""]
        {
            let (seen, is_http2, left) = read(other).await;
            assert!(!is_http2 && seen == other[..other.len() - left], "{other:?}");
        }
    }
}
