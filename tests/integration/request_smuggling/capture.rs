//! A strict capture backend: every byte of every connection must belong to a request in the
//! canonical form that Doorward sends, or it is recorded as an error. Real servers are
//! lenient.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::listening::Listening;

/// The backend.
pub(super) struct Capture {
    listening: Listening,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    requests: Vec<CapturedRequest>,
    wrong: Vec<String>,
}

/// One request in canonical form.
#[derive(Clone, Debug)]
pub(super) struct CapturedRequest {
    pub(super) method: String,
    pub(super) target: String,
    /// Names in lower case, in the order they came.
    pub(super) fields: Vec<(String, String)>,
    /// The raw body, including chunk sizes.
    pub(super) raw_body: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// Fields that must occur once, in every spelling that a backend may treat as the
/// same field.
const SINGLE: [&str; 9] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "cookie",
    "authorization",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
];

impl Capture {
    pub(super) fn start() -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let inside = Arc::clone(&shared);
        let listening = Listening::start(0, move |stream| serve(stream, Arc::clone(&inside)));
        Self { listening, shared }
    }

    pub(super) fn port(&self) -> u16 {
        self.listening.port()
    }

    /// Takes the requests so far, or an error if a connection had other bytes.
    pub(super) fn take(&self) -> Result<Vec<CapturedRequest>, String> {
        let mut shared = lock(&self.shared);
        let (requests, wrong) = (
            std::mem::take(&mut shared.requests),
            std::mem::take(&mut shared.wrong),
        );
        if wrong.is_empty() {
            Ok(requests)
        } else {
            Err(format!("not in canonical form: {wrong:?}"))
        }
    }
}

impl CapturedRequest {
    /// In the format of the case list: `POST /x length 5 hello`.
    pub(super) fn told(&self) -> String {
        let mut told = format!("{} {}", self.method, self.target);
        if let Some(length) = self.field("content-length") {
            told.push_str(&format!(" length {length}"));
        }
        if self.field("transfer-encoding").is_some() {
            told.push_str(" chunked");
        }
        if !self.body.is_empty() {
            told.push_str(&format!(" {}", self.body.escape_ascii()));
        }
        told
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().expect("no test panicked inside")
}

async fn serve(mut stream: TcpStream, shared: Arc<Mutex<Shared>>) {
    let mut ahead = Vec::new();
    loop {
        match read(&ahead) {
            Ok(Some((seen, length))) => {
                ahead.drain(..length);
                // The response contains the target, so that a response to another request would
                // be seen.
                let body = if seen.method == "HEAD" {
                    ""
                } else {
                    seen.target.as_str()
                };
                let response = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    seen.target.len()
                );
                lock(&shared).requests.push(seen);
                if stream.write_all(response.as_bytes()).await.is_err() {
                    return;
                }
            }
            Ok(None) => match stream.read_buf(&mut ahead).await {
                Ok(1..) => {}
                // A request may be incomplete, when its client disconnected in the body.
                Ok(0) | Err(_) => return,
            },
            Err(why) => {
                let bytes = ahead.escape_ascii().to_string();
                lock(&shared).wrong.push(format!("{why}: {bytes}"));
                return;
            }
        }
    }
}

/// The request at the start of `bytes` and its length, if it is complete.
fn read(bytes: &[u8]) -> Result<Option<(CapturedRequest, usize)>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() < 100_000 {
            Ok(None)
        } else {
            Err("a head without an end".to_owned())
        };
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|error| error.to_string())?;
    let mut lines = head.split("\r\n");
    let (method, target) = read_start(lines.next().unwrap_or_default())?;
    let fields = lines.map(read_field).collect::<Result<Vec<_>, _>>()?;
    check_single(&fields)?;
    let value = |name: &str| {
        fields
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    };
    if value("host") != Some("raw.localhost:8080") {
        return Err(format!("the host is {:?}", value("host")));
    }
    let rest = &bytes[end + 4..];
    let body = match (value("content-length"), value("transfer-encoding")) {
        (None, None) => Some((Vec::new(), 0)),
        (Some(text), None) => {
            let length: usize = text.parse().map_err(|_| format!("the length {text}"))?;
            if length.to_string() != text {
                return Err(format!("the length {text}"));
            }
            rest.get(..length).map(|body| (body.to_vec(), length))
        }
        (None, Some("chunked")) => read_chunks(rest)?,
        (length, coding) => return Err(format!("framed by {length:?} and {coding:?}")),
    };
    let Some((body, length)) = body else {
        return Ok(None);
    };
    let raw_body = rest[..length].to_vec();
    Ok(Some((
        CapturedRequest {
            method,
            target,
            fields,
            raw_body,
            body,
        },
        end + 4 + length,
    )))
}

fn read_start(line: &str) -> Result<(String, String), String> {
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else {
        return Err(format!("the request line {line:?}"));
    };
    let is_method = !method.is_empty()
        && method
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    let is_target = target.starts_with('/')
        && target
            .bytes()
            .all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#');
    if !is_method || !is_target {
        return Err(format!("the request line {line:?}"));
    }
    Ok((method.to_owned(), target.to_owned()))
}

fn read_field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| format!("the line {line:?}"))?;
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    let value = value.strip_prefix(' ').unwrap_or(value);
    if !is_name
        || value.trim() != value
        || value
            .bytes()
            .any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f)
    {
        return Err(format!("the line {line:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

fn check_single(fields: &[(String, String)]) -> Result<(), String> {
    let fold = |name: &str| name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    for single in SINGLE {
        let alike: Vec<_> = fields
            .iter()
            .filter(|(name, _)| fold(name) == single)
            .collect();
        if alike.len() > 1 || alike.iter().any(|(name, _)| name != single) {
            return Err(format!("several may be {single}: {alike:?}"));
        }
    }
    Ok(())
}

/// Chunks without extensions, and no trailers.
fn read_chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return if rest.len() < 20 {
                Ok(None)
            } else {
                Err("a chunk size without an end".to_owned())
            };
        };
        let digits = String::from_utf8_lossy(&rest[..end]).into_owned();
        let is_size = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(&digits, 16).ok().filter(|_| is_size);
        let size = size.ok_or_else(|| format!("the chunk size {digits:?}"))?;
        at += end + 2;
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        if &chunk[size..] != b"\r\n" {
            return Err(format!(
                "a chunk that ends otherwise: {}",
                chunk.escape_ascii()
            ));
        }
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[test]
fn capture_parser_is_strict() {
    let host = "Host: raw.localhost:8080\r\n";
    let good = [
        (format!("GET /x HTTP/1.1\r\n{host}\r\n"), "GET /x"),
        (
            format!("POST /x?y HTTP/1.1\r\n{host}content-length: 2\r\n\r\nab"),
            "POST /x?y length 2 ab",
        ),
        (
            format!(
                "PUT / HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
            ),
            "PUT / chunked ab",
        ),
    ];
    for (text, told) in good {
        let (seen, length) = read(text.as_bytes()).unwrap().expect("a whole request");
        assert_eq!((seen.told().as_str(), length), (told, text.len()));
        assert!(read(&text.as_bytes()[..text.len() - 1]).unwrap().is_none());
    }
    let bad = [
        "get /x HTTP/1.1\r\nHost: raw.localhost:8080\r\n\r\n",
        "GET  /x HTTP/1.1\r\nHost: raw.localhost:8080\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: raw.localhost:8080\r\n\r\n",
        "GET /x#y HTTP/1.1\r\nHost: raw.localhost:8080\r\n\r\n",
        "GET /x HTTP/1.0\r\nHost: raw.localhost:8080\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: another\r\n\r\n",
        "GET /x HTTP/1.1\r\n\r\n",
        "\r\nGET /x HTTP/1.1\r\nHost: raw.localhost:8080\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost : raw.localhost:8080\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: raw.localhost:8080\r\n x: y\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: raw.localhost:8080\r\nX: y\nZ: 1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: raw.localhost:8080\r\nHost: raw.localhost:8080\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: raw.localhost:8080\r\nX_Forwarded_For: 1.1.1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: raw.localhost:8080\r\ncontent-length: 02\r\n\r\nab",
        "GET /x HTTP/1.1\r\nHost: raw.localhost:8080\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nab",
        "GET /x HTTP/1.1\r\nHost: raw.localhost:8080\r\ntransfer-encoding: gzip, chunked\r\n\r\nab",
        "GET /x HTTP/1.1\r\nHost: raw.localhost:8080\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: raw.localhost:8080\r\ntransfer-encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
    ];
    for text in bad {
        assert!(read(text.as_bytes()).is_err(), "{text:?}");
    }
}
