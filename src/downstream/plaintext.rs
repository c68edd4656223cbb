//! Plain HTTP on a TLS port: the client gets a redirect or an explanation instead of a handshake
//! that fails without a word.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Maximum size of a request head in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Maximum number of fields in a request head.
const MAX_FIELDS: usize = 100;
/// After the response, how long and how many bytes are still read. Closing a socket with unread
/// bytes would reset the connection, and the response could be lost.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

const EXPLANATION: &str = "This port expects HTTPS. Use https:// in the address.\n";

/// A stream whose first byte can be read without consuming it.
pub(super) trait Peek: Sync {
    /// The first byte; `None` at the end of the stream, and if it cannot be known.
    fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<u8>>>;
}

impl Peek for TcpStream {
    fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<u8>>> {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        ready!(Self::poll_peek(self, cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().first().copied()))
    }
}

impl Peek for UnixStream {
    fn poll_peek(&self, _cx: &mut Context<'_>) -> Poll<io::Result<Option<u8>>> {
        Poll::Ready(Ok(None))
    }
}

/// Whether the client begins with an HTTP method instead of a TLS record (RFC 8446 section 5.1).
pub(super) async fn is_plaintext(stream: &impl Peek) -> io::Result<bool> {
    let first = poll_fn(|cx| stream.poll_peek(cx)).await?;
    Ok(first.is_some_and(|byte| byte.is_ascii_uppercase()))
}

/// Responds to one request: a redirect to `origin_of` its host, or an explanation.
pub(super) async fn respond<S>(
    mut stream: S,
    origin_of: impl Fn(&str) -> Option<String>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = read_head(&mut stream).await?;
    let response = match location(&head, origin_of) {
        Some(location) => format!(
            "HTTP/1.1 308 Permanent Redirect\r\nLocation: {location}\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        ),
        None => format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{EXPLANATION}",
            EXPLANATION.len()
        ),
    };
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = stream.take(LINGER_BYTES);
    // The rest of the request is discarded.
    let _ = timeout(
        LINGER_TIMEOUT,
        tokio::io::copy(&mut rest, &mut tokio::io::sink()),
    )
    .await;
    Ok(())
}

/// Reads until the end of a request head, of the stream, or the size limit.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while head.len() < MAX_HEAD
        && !head.windows(4).any(|window| window == b"\r\n\r\n")
        && stream.read_buf(&mut head).await? > 0
    {}
    Ok(head)
}

/// The `https` URL of the same page. `None` if the request is not a GET or HEAD for a known host.
fn location(head: &[u8], origin_of: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    if !request.parse(head).is_ok_and(|parsed| parsed.is_complete())
        || !matches!(request.method, Some("GET" | "HEAD"))
    {
        return None;
    }
    let path = request
        .path
        .filter(|path| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()))?;
    let mut hosts = request
        .headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("host"));
    let host = hosts.next()?;
    if hosts.next().is_some() {
        return None;
    }
    let origin = origin_of(std::str::from_utf8(host.value).ok()?)?;
    Some(format!("{origin}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location_of(head: &str) -> Option<String> {
        let origin_of = |host: &str| (host == "a.test").then(|| "https://a.test:8443".to_owned());
        location(head.as_bytes(), origin_of)
    }

    #[test]
    fn location_is_on_the_configured_origin() {
        assert_eq!(
            location_of("GET /b?c=%20 HTTP/1.1\r\nHost: a.test\r\n\r\n").as_deref(),
            Some("https://a.test:8443/b?c=%20")
        );
        for head in [
            "POST /b HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET /b HTTP/1.1\r\nHost: evil.test\r\n\r\n",
            "GET /b HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n",
            "GET /b HTTP/1.1\r\n\r\n",
            "GET http://evil.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET /b HTTP/1.1\r\nHost: a.test\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "",
        ] {
            assert_eq!(location_of(head), None, "{head:?}");
        }
    }
}
