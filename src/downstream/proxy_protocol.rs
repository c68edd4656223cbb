//! PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): a TCP load balancer sends the
//! client's address first. If enabled, the header is required, and accepted from trusted proxies
//! only. No byte beyond the header is read, its length is bounded, and anything that the
//! specification does not allow is rejected.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Maximum length of a version 1 header, including its line break.
const MAX_V1_LEN: usize = 107;
/// Maximum length of the addresses and extensions of a version 2 header. Extensions are ignored.
const MAX_V2_PAYLOAD_LEN: usize = 2048;

/// The address in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyHeader {
    /// The client's address.
    Client(SocketAddr),
    /// No address, so the peer is the client: a health check, or a client whose address the proxy
    /// does not know.
    Peer,
}

/// Reads the header, and no byte beyond it.
///
/// # Errors
/// An error of the stream, or `InvalidData` for a header that is not valid.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<ProxyHeader> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        let version_and_command = stream.read_u8().await?;
        let family = stream.read_u8().await?;
        let length = usize::from(stream.read_u16().await?);
        if length > MAX_V2_PAYLOAD_LEN {
            return Err(invalid());
        }
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        return parse_v2(version_and_command, family, &payload).ok_or_else(invalid);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(invalid());
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\n") {
        if line.len() >= MAX_V1_LEN {
            return Err(invalid());
        }
        line.push(stream.read_u8().await?);
    }
    parse_v1(&line).ok_or_else(invalid)
}

fn invalid() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

fn parse_v1(line: &[u8]) -> Option<ProxyHeader> {
    let line = std::str::from_utf8(line)
        .ok()?
        .strip_suffix("\r\n")?
        .strip_prefix("PROXY ")?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(ProxyHeader::Peer);
    }
    let mut parts = line.split(' ');
    let family = parts.next()?;
    let client = parts.next()?;
    let server = parts.next()?;
    let client_port = parse_port(parts.next()?)?;
    // The server's address and port are only validated.
    parse_port(parts.next()?)?;
    let client: IpAddr = match family {
        "TCP4" => server
            .parse::<Ipv4Addr>()
            .and(client.parse::<Ipv4Addr>())
            .ok()?
            .into(),
        "TCP6" => server
            .parse::<Ipv6Addr>()
            .and(client.parse::<Ipv6Addr>())
            .ok()?
            .into(),
        _ => return None,
    };
    parts
        .next()
        .is_none()
        .then_some(ProxyHeader::Client(SocketAddr::new(client, client_port)))
}

fn parse_port(text: &str) -> Option<u16> {
    let canonical =
        text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse().ok().filter(|_| canonical)
}

fn parse_v2(version_and_command: u8, family: u8, payload: &[u8]) -> Option<ProxyHeader> {
    match (version_and_command, family) {
        (0x20, _) => Some(ProxyHeader::Peer),
        (0x21, 0x11) => {
            let client: [u8; 4] = payload.get(..4)?.try_into().ok()?;
            let port: [u8; 2] = payload.get(8..10)?.try_into().ok()?;
            payload.get(..12)?;
            Some(ProxyHeader::Client(SocketAddr::from((
                client,
                u16::from_be_bytes(port),
            ))))
        }
        (0x21, 0x21) => {
            let client: [u8; 16] = payload.get(..16)?.try_into().ok()?;
            let port: [u8; 2] = payload.get(32..34)?.try_into().ok()?;
            payload.get(..36)?;
            Some(ProxyHeader::Client(SocketAddr::from((
                client,
                u16::from_be_bytes(port),
            ))))
        }
        // A Unix domain socket, or an unspecified address family.
        (0x21, 0x00 | 0x31) => Some(ProxyHeader::Peer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header, and the number of bytes left in the stream.
    async fn reads(bytes: &[u8]) -> (Option<ProxyHeader>, usize) {
        let mut stream = bytes;
        let read = read(&mut stream).await.ok();
        (read, stream.len())
    }

    fn v2(version_and_command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [
            &SIGNATURE[..],
            &[version_and_command, family],
            &length,
            payload,
        ]
        .concat()
    }

    #[tokio::test]
    async fn read_returns_the_client_and_leaves_the_rest_unread() {
        let v4 = Some(ProxyHeader::Client("198.51.100.7:4711".parse().unwrap()));
        let v6 = Some(ProxyHeader::Client("[2001:db8::7]:1".parse().unwrap()));
        assert_eq!(
            reads(b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\nGET").await,
            (v4, 3)
        );
        assert_eq!(
            reads(b"PROXY TCP6 2001:db8::7 ::1 1 443\r\n").await,
            (v6, 0)
        );
        let addresses = [198, 51, 100, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 0xbb];
        assert_eq!(
            reads(&[&v2(0x21, 0x11, &addresses)[..], b"GET"].concat()).await,
            (v4, 3)
        );
        let with_extension = [&addresses[..], &[4, 0, 1, 0]].concat();
        assert_eq!(reads(&v2(0x21, 0x11, &with_extension)).await, (v4, 0));
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        six[33] = 1;
        assert_eq!(reads(&v2(0x21, 0x21, &six)).await, (v6, 0));
        for without_address in [
            &b"PROXY UNKNOWN\r\n"[..],
            b"PROXY UNKNOWN ff::1 ::1 1 1\r\n",
            &v2(0x20, 0, b""),
            &v2(0x21, 0, b""),
        ] {
            assert_eq!(
                reads(without_address).await,
                (Some(ProxyHeader::Peer), 0),
                "{without_address:?}"
            );
        }
    }

    #[tokio::test]
    async fn read_rejects_invalid_headers() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(200));
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\n",
            b"PROXY TCP4 198.51.100.7 192.0.2.1 4711\r\n",
            b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443 x\r\n",
            b"PROXY TCP4  198.51.100.7 192.0.2.1 4711 443\r\n",
            b"PROXY TCP4 ::1 ::1 4711 443\r\n",
            b"PROXY TCP6 198.51.100.7 192.0.2.1 4711 443\r\n",
            b"PROXY TCP4 198.51.100.07 192.0.2.1 4711 443\r\n",
            b"PROXY TCP4 198.51.100.7 192.0.2.1 65536 443\r\n",
            b"PROXY TCP4 198.51.100.7 192.0.2.1 +1 443\r\n",
            b"PROXY UDP4 198.51.100.7 192.0.2.1 1 443\r\n",
            b"proxy TCP4 198.51.100.7 192.0.2.1 1 443\r\n",
            b"PROXY TCP4 198.51.100.7",
            long.as_bytes(),
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x12, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            &v2(0x21, 0x11, &[0; 3000]),
            &v2(0x21, 0x11, &[0; 12])[..20],
        ] {
            assert_eq!(
                reads(bytes).await.0,
                None,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}
