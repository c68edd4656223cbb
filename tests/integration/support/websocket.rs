//! A minimal WebSocket implementation (RFC 6455): an echo server and a client.

use std::io;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::browser::{Browser, RequestSpec};
use super::random_name;
use super::wire::{Head, Wire};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The client side.
pub struct WebSocket {
    wire: Wire,
}

/// The upgrade headers, with a new key.
pub fn upgrade_headers() -> Vec<(String, String)> {
    let key = STANDARD.encode(random_name(12));
    let pairs = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", &key),
    ];
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// `Sec-WebSocket-Accept` for a key (section 4.2.2).
pub fn accept_key(key: &str) -> String {
    let joined = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        joined.as_bytes(),
    ))
}

impl WebSocket {
    /// Opens a WebSocket with the browser's cookies, or returns the refusing response.
    pub async fn open(browser: &mut Browser, request: RequestSpec) -> Result<Self, Head> {
        let request = RequestSpec {
            headers: [request.headers, upgrade_headers()].concat(),
            ..request
        };
        let key = request
            .headers
            .iter()
            .rfind(|(name, _)| name == "Sec-WebSocket-Key")
            .map(|(_, key)| key.clone());
        let response = browser.stream(request).await.expect("an answer");
        if response.head.status() != 101 {
            return Err(response.head);
        }
        assert_eq!(
            response.head.header("sec-websocket-accept"),
            key.as_deref().map(accept_key).as_deref()
        );
        Ok(Self {
            wire: response.into_wire(),
        })
    }

    /// A WebSocket that is open already, in any stream.
    pub const fn over(wire: Wire) -> Self {
        Self { wire }
    }

    /// Sends a text message.
    pub async fn say(&mut self, text: &str) -> io::Result<()> {
        self.wire
            .write(&frame(TEXT, text.as_bytes(), Some([1, 2, 3, 4])))
            .await
    }

    /// Sends a ping, which is no message, and waits for the pong.
    pub async fn ping(&mut self) -> io::Result<()> {
        self.wire
            .write(&frame(PING, b"still here", Some([1, 2, 3, 4])))
            .await?;
        while read_frame(&mut self.wire).await?.0 != PONG {}
        Ok(())
    }

    /// The next text message, or `None` if the peer closed.
    pub async fn poll(&mut self) -> io::Result<Option<String>> {
        loop {
            match read_frame(&mut self.wire).await {
                Ok((TEXT, payload)) => {
                    return Ok(Some(String::from_utf8_lossy(&payload).into_owned()));
                }
                Ok((CLOSE, _)) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a close frame, replies, and returns its code and reason (section 7.1.5).
    pub async fn hear_close(&mut self) -> io::Result<(u16, String)> {
        loop {
            let (kind, payload) = read_frame(&mut self.wire).await?;
            if kind == CLOSE {
                self.wire
                    .write(&frame(CLOSE, &payload, Some([5, 6, 7, 8])))
                    .await?;
                let (code, reason) = payload.split_at(payload.len().min(2));
                let code = code.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte));
                return Ok((code, String::from_utf8_lossy(reason).into_owned()));
            }
        }
    }
}

/// The server side: echoes messages until the client closes, and reports each payload to `heard`.
pub async fn echo(wire: &mut Wire, mut heard: impl FnMut(&[u8])) -> io::Result<()> {
    loop {
        let (kind, payload) = read_frame(wire).await?;
        heard(&payload);
        let kind = if kind == PING { PONG } else { kind };
        wire.write(&frame(kind, &payload, None)).await?;
        if kind == CLOSE {
            return wire.shut().await;
        }
    }
}

fn frame(kind: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![0x80 | kind];
    match u16::try_from(payload.len()) {
        Ok(short) if short < 126 => bytes.push(masked | short.to_be_bytes()[1]),
        Ok(medium) => {
            bytes.push(masked | 126);
            bytes.extend(medium.to_be_bytes());
        }
        Err(_) => {
            bytes.push(masked | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(mask.iter().flatten());
    let mask = mask.unwrap_or_default();
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

async fn read_frame(wire: &mut Wire) -> io::Result<(u8, Vec<u8>)> {
    let start = wire.read_exactly(2).await?;
    let length = match start[1] & 0x7f {
        126 => wire
            .read_exactly(2)
            .await?
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        127 => wire
            .read_exactly(8)
            .await?
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        short => usize::from(short),
    };
    let mask = if start[1] & 0x80 == 0 {
        vec![0; 4]
    } else {
        wire.read_exactly(4).await?
    };
    let payload = wire.read_exactly(length).await?;
    Ok((
        start[0] & 0x0f,
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect(),
    ))
}
