//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): a load balancer that passes bytes says first
//! whose they are. Where it is switched on it is demanded, and believed of trusted proxies only. Exactly the header is
//! read, byte for byte, within its longest length, and what is not as the specification writes it is refused.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1, with its line break.
const MAX_LINE: usize = 107;
/// Most bytes behind the fixed part of version 2 that are read, in which extensions are passed over.
const MAX_REST: usize = 2048;

/// Whom the header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyHeader {
    /// A client.
    Client(SocketAddr),
    /// Nobody but who connected: a health check, or a client that the proxy cannot name.
    Peer,
}

/// Reads the header and no byte more.
///
/// # Errors
/// The stream's own, or `InvalidData`: this is no such header.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<ProxyHeader> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        let (version_and_command, family, length) = (
            stream.read_u8().await?,
            stream.read_u8().await?,
            usize::from(stream.read_u16().await?),
        );
        if length > MAX_REST {
            return Err(invalid());
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await?;
        return version_2(version_and_command, family, &rest).ok_or_else(invalid);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(invalid());
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\n") {
        if line.len() >= MAX_LINE {
            return Err(invalid());
        }
        line.push(stream.read_u8().await?);
    }
    version_1(&line).ok_or_else(invalid)
}

fn invalid() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

fn version_1(line: &[u8]) -> Option<ProxyHeader> {
    let line = std::str::from_utf8(line)
        .ok()?
        .strip_suffix("\r\n")?
        .strip_prefix("PROXY ")?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(ProxyHeader::Peer);
    }
    let mut words = line.split(' ');
    let (family, client, server) = (words.next()?, words.next()?, words.next()?);
    let (port, server_port) = (port(words.next()?)?, port(words.next()?)?);
    let (client, _): (IpAddr, u16) = match family {
        "TCP4" => (
            server
                .parse::<Ipv4Addr>()
                .and(client.parse::<Ipv4Addr>())
                .ok()?
                .into(),
            server_port,
        ),
        "TCP6" => (
            server
                .parse::<Ipv6Addr>()
                .and(client.parse::<Ipv6Addr>())
                .ok()?
                .into(),
            server_port,
        ),
        _ => return None,
    };
    words
        .next()
        .is_none()
        .then_some(ProxyHeader::Client(SocketAddr::new(client, port)))
}

fn port(text: &str) -> Option<u16> {
    let canonical =
        text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse().ok().filter(|_| canonical)
}

fn version_2(version_and_command: u8, family: u8, rest: &[u8]) -> Option<ProxyHeader> {
    match (version_and_command, family) {
        (0x20, _) => Some(ProxyHeader::Peer),
        (0x21, 0x11) => {
            let client: [u8; 4] = rest.get(..4)?.try_into().ok()?;
            let port: [u8; 2] = rest.get(8..10)?.try_into().ok()?;
            rest.get(..12)?;
            Some(ProxyHeader::Client(SocketAddr::from((
                client,
                u16::from_be_bytes(port),
            ))))
        }
        (0x21, 0x21) => {
            let client: [u8; 16] = rest.get(..16)?.try_into().ok()?;
            let port: [u8; 2] = rest.get(32..34)?.try_into().ok()?;
            rest.get(..36)?;
            Some(ProxyHeader::Client(SocketAddr::from((
                client,
                u16::from_be_bytes(port),
            ))))
        }
        // Not by way of TCP over IP: a Unix domain socket, or not said.
        (0x21, 0x00 | 0x31) => Some(ProxyHeader::Peer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reads(bytes: &[u8]) -> (Option<ProxyHeader>, usize) {
        let mut stream = bytes;
        let read = read(&mut stream).await.ok();
        (read, stream.len())
    }

    fn second(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [
            &SIGNATURE[..],
            &[version_and_command, family],
            &length,
            rest,
        ]
        .concat()
    }

    #[tokio::test]
    async fn both_versions_name_a_client_and_leave_the_rest() {
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
            reads(&[&second(0x21, 0x11, &addresses)[..], b"GET"].concat()).await,
            (v4, 3)
        );
        let with_extension = [&addresses[..], &[4, 0, 1, 0]].concat();
        assert_eq!(reads(&second(0x21, 0x11, &with_extension)).await, (v4, 0));
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        six[33] = 1;
        assert_eq!(reads(&second(0x21, 0x21, &six)).await, (v6, 0));
        for nobody in [
            &b"PROXY UNKNOWN\r\n"[..],
            b"PROXY UNKNOWN ff::1 ::1 1 1\r\n",
            &second(0x20, 0, b""),
            &second(0x21, 0, b""),
        ] {
            assert_eq!(
                reads(nobody).await,
                (Some(ProxyHeader::Peer), 0),
                "{nobody:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_not_written_as_it_must_be_is_refused() {
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
            &second(0x11, 0x11, &[0; 12]),
            &second(0x22, 0x11, &[0; 12]),
            &second(0x21, 0x12, &[0; 12]),
            &second(0x21, 0x11, &[0; 11]),
            &second(0x21, 0x21, &[0; 35]),
            &second(0x21, 0x11, &[0; 3000]),
            &second(0x21, 0x11, &[0; 12])[..20],
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
