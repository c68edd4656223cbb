//! A raw HTTP/1.1 reader, so that tests see the exact bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A plain or TLS connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection with buffered input.
pub struct Wire {
    stream: Box<dyn Stream>,
    ahead: Vec<u8>,
}

/// The head of a request or response. Bytes above 127 are decoded as Latin-1.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The raw bytes, including the empty line.
    pub raw: Vec<u8>,
    /// Request line or status line.
    pub start: String,
    /// The fields in their order and spelling.
    pub headers: Vec<(String, String)>,
}

/// The framing of a body (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Head {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    /// All headers of this name, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// Framing of a request with this head.
    pub fn request_framing(&self) -> Framing {
        self.declared_framing().unwrap_or(Framing::Length(0))
    }

    /// The framing of a response with this head to a request with `method`.
    pub fn answer_framing(&self, method: &str) -> Framing {
        let status = self.status();
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Framing::Length(0);
        }
        self.declared_framing().unwrap_or(Framing::UntilClose)
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.start
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0)
    }

    fn declared_framing(&self) -> Option<Framing> {
        if self
            .header("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            return Some(Framing::Chunked);
        }
        self.header("content-length")
            .and_then(|length| length.parse().ok())
            .map(Framing::Length)
    }

    fn parse(raw: Vec<u8>) -> Self {
        let text: String = raw.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Self {
            raw,
            start,
            headers,
        }
    }
}

impl Wire {
    /// Reads and writes `stream`.
    pub fn new(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            ahead: Vec::new(),
        }
    }

    /// Sends and flushes.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Shuts down the write half.
    pub async fn shut(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Reads up to the empty line; `None` when the peer closed before the first byte.
    pub async fn read_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(Some(Head::parse(self.take(end + 4))));
            }
            if self.fill().await? == 0 {
                return if self.ahead.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Reads a whole body.
    pub async fn read_body(&mut self, framing: Framing) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        let mut rest = framing;
        while let Some(part) = self.next_part(&mut rest).await? {
            body.extend(part);
        }
        Ok(body)
    }

    /// Reads the next part of a body: a chunk, or what has arrived. `rest` is what remains of the
    /// framing.
    pub async fn next_part(&mut self, rest: &mut Framing) -> io::Result<Option<Vec<u8>>> {
        match *rest {
            Framing::Length(0) => Ok(None),
            Framing::Length(left) => {
                let part = self.some_bytes(left).await?;
                if part.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *rest = Framing::Length(left - part.len());
                Ok(Some(part))
            }
            Framing::UntilClose => {
                let part = self.some_bytes(usize::MAX).await?;
                Ok(if part.is_empty() { None } else { Some(part) })
            }
            Framing::Chunked => {
                let line = self.read_line().await?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16)
                    .map_err(|_| io::Error::other(format!("chunk {line:?}")))?;
                if size > 0 {
                    let chunk = self.read_exactly(size).await?;
                    self.read_line().await?;
                    return Ok(Some(chunk));
                }
                while !self.read_line().await?.is_empty() {}
                *rest = Framing::Length(0);
                Ok(None)
            }
        }
    }

    /// The bytes that have arrived, at most `limit` bytes; waits for the first. Empty at the end of the
    /// stream.
    pub async fn some_bytes(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            self.fill().await?;
        }
        Ok(self.take(limit.min(self.ahead.len())))
    }

    /// Exactly `count` bytes.
    pub async fn read_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.take(count))
    }

    async fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line = self.take(end + 2);
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.ahead).await
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.ahead.split_off(count);
        std::mem::replace(&mut self.ahead, rest)
    }
}
