//! Hand-written HTTP/2 frames (RFC 9113 section 4, RFC 7541), because no client library sends
//! invalid requests. Every field is a literal without indexing.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A field as raw bytes.
pub(super) type Field = (Vec<u8>, Vec<u8>);

/// One request with optional body and trailers.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) fields: Vec<Field>,
    pub(super) body: Option<Vec<u8>>,
    pub(super) trailers: Option<Vec<Field>>,
}

impl Message {
    /// Parses a file: lines of `name: value`, an empty line and the body, an empty line and the
    /// trailers.
    pub(super) fn read(text: &str) -> Self {
        let mut parts = text.split("\n\n");
        let fields = |part: &str| part.lines().map(field).collect::<Vec<_>>();
        let head = fields(parts.next().expect("fields"));
        let body = parts
            .next()
            .map(|body| unescaped(body.strip_suffix('\n').unwrap_or(body)));
        Self {
            fields: head,
            body,
            trailers: parts.next().map(fields),
        }
    }

    /// The frames of stream 1, after the preface.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        let last = u8::from(self.body.is_none() && self.trailers.is_none()) * END_STREAM;
        bytes.extend(frame(HEADERS, END_HEADERS | last, 1, &block(&self.fields)));
        if let Some(body) = &self.body {
            let last = u8::from(self.trailers.is_none()) * END_STREAM;
            bytes.extend(frame(DATA, last, 1, body));
        }
        if let Some(trailers) = &self.trailers {
            bytes.extend(frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &block(trailers),
            ));
        }
        bytes
    }

    /// Sends it on a new connection. Returns the response status, or `None` if the stream or
    /// connection was closed.
    pub(super) async fn request(&self, mut stream: TcpStream) -> Option<u16> {
        stream.write_all(&self.bytes()).await.ok()?;
        let mut status = None;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).ok()?];
            stream.read_exact(&mut payload).await.ok()?;
            match (head[3], head[4]) {
                (SETTINGS, 0) => stream.write_all(&frame(SETTINGS, 1, 0, &[])).await.ok()?,
                (HEADERS, flags) => {
                    status = status.or_else(|| status_of(&payload));
                    if flags & END_STREAM != 0 {
                        return status;
                    }
                }
                (DATA, flags) if flags & END_STREAM != 0 => return status,
                (RST_STREAM | GOAWAY, _) => return status,
                _ => {}
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short frame")
        .to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Literals without indexing, names and values without Huffman coding (RFC 7541 section 6.2.2).
fn block(fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // A prefix of seven bits (RFC 7541 section 5.1).
            match u8::try_from(text.len()).expect("a short text") {
                short @ 0..127 => block.push(short),
                long => block.extend([127, long - 127]),
            }
            block.extend_from_slice(text);
        }
    }
    block
}

/// The status, which is the first field: an entry of the static table, or three digits,
/// Huffman-coded or plain.
fn status_of(block: &[u8]) -> Option<u16> {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A table size update may come first.
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20)?;
    match block.get(start..)? {
        [byte @ 0x88..=0x8e, ..] => INDEXED.get(usize::from(byte - 0x88)).copied(),
        [_, 3, digits @ ..] => std::str::from_utf8(digits.get(..3)?).ok()?.parse().ok(),
        [_, length @ 0x81..=0x83, coded @ ..] => digits(coded.get(..usize::from(length - 0x80))?),
        _ => None,
    }
}

/// Digits in the code of RFC 7541 appendix B: `0`, `1`, `2` have five bits, the others six.
fn digits(coded: &[u8]) -> Option<u16> {
    let bits: String = coded.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut number) = (bits.as_str(), 0);
    for _ in 0..3 {
        let five = u16::from_str_radix(rest.get(..5)?, 2).ok()?;
        let (digit, length) = match five {
            0..=2 => (five, 5),
            _ => (
                u16::from_str_radix(rest.get(..6)?, 2)
                    .ok()?
                    .checked_sub(0b01_1001 - 3)?,
                6,
            ),
        };
        number = number * 10 + digit;
        rest = rest.get(length..)?;
    }
    Some(number)
}

fn field(line: &str) -> Field {
    // Names of pseudo-header fields begin with a colon.
    let pseudo = line
        .strip_prefix(':')
        .and_then(|rest| rest.split_once(": "));
    let (colon, (name, value)) = match pseudo {
        Some(field) => (":", field),
        None => ("", line.split_once(": ").expect("a field")),
    };
    (
        [colon.as_bytes(), &unescaped(name)].concat(),
        unescaped(value),
    )
}

/// Decodes the escapes `\r`, `\n`, `\t`, `\0`, `\\` and `\x41`.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, byte == b'\\') {
            (_, false) => byte,
            (_, true) => match rest.next().expect("an escape") {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'0' => 0,
                b'\\' => b'\\',
                b'x' => {
                    let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
                    u8::from_str_radix(std::str::from_utf8(&digits).expect("digits"), 16)
                        .expect("digits")
                }
                other => panic!("an unknown escape: {}", char::from(other)),
            },
        });
    }
    bytes
}

#[test]
fn frame_files_are_parsed() {
    assert_eq!(status_of(&[0x88]), Some(200));
    assert_eq!(
        status_of(&[0x3f, 0x20, 0x48, 3, b'4', b'2', b'1']),
        Some(421)
    );
    assert_eq!(status_of(&[0x20, 0x48, 3, b'4', b'2', b'1']), Some(421));
    // RFC 7541 section C.6 has `302`.
    assert_eq!(status_of(&[0x48, 0x82, 0x64, 0x02]), Some(302));
    assert_eq!(status_of(&[0x48, 0x82, 0x68, 0x41]), Some(421));
    let message = Message::read(":path: /x\nx-a: b\\r\\x41\n\nhello\n\nx-t: 1\n");
    let expected = [
        (b":path".to_vec(), b"/x".to_vec()),
        (b"x-a".to_vec(), b"b\rA".to_vec()),
    ];
    assert_eq!(message.fields, expected);
    assert_eq!(message.body.as_deref(), Some(&b"hello"[..]));
    assert_eq!(
        message.trailers,
        Some(vec![(b"x-t".to_vec(), b"1".to_vec())])
    );
}
