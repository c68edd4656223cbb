//! Syslog (RFC 5424) over UDP (RFC 5426) or TCP (RFC 6587, octet counting), or to the machine's own
//! syslog server over a Unix domain socket. A server that is away, or does not read, is tried again by
//! the writer of the log.

use std::fmt;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::entry::push_time;
use crate::types::digits::push_number;
use crate::types::time::Timestamp;

/// How long one connection attempt and one write may take.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How often the name of a server is looked up for UDP, which has no connection that could fail.
const UDP_LIFETIME: Duration = Duration::from_secs(60);

/// `security/authorization messages`, private (`authpriv`).
const FACILITY: u64 = 10;

/// Where Linux has the name of the machine.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

/// The longest `HOSTNAME`.
const MAX_HOST_NAME: usize = 255;

/// The address of a syslog server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A Unix domain socket for datagrams, such as `/dev/log`.
    Unix(PathBuf),
    /// Host and port for UDP.
    Udp(String),
    /// Host and port for TCP.
    Tcp(String),
}

/// The severity of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something was refused.
    Warning,
    /// A normal event.
    Notice,
}

impl Severity {
    const fn number(self) -> u64 {
        match self {
            Self::Warning => 4,
            Self::Notice => 5,
        }
    }
}

/// The fields of a header that are the same in all messages of a process.
#[derive(Clone, Debug)]
pub struct SyslogHeader {
    /// The name of the machine. `None` for its own server, which reads no RFC 5424.
    host: Option<String>,
    process_id: u32,
}

impl SyslogHeader {
    /// The header of this process, in the format that servers at `address` read.
    pub fn of_process(address: &SyslogAddress) -> Self {
        let process_id = std::process::id();
        if let SyslogAddress::Unix(_) = address {
            let host = None;
            return Self { host, process_id };
        }
        let host = std::fs::read_to_string(HOST_NAME_FILE).unwrap_or_default();
        let host = host.trim();
        let is_valid = (1..=MAX_HOST_NAME).contains(&host.len())
            && host.bytes().all(|byte| byte.is_ascii_graphic());
        Self {
            host: Some(if is_valid { host } else { "-" }.to_owned()),
            process_id,
        }
    }

    /// Writes what precedes a message.
    pub fn write(&self, severity: Severity, time: Timestamp, message_id: &str, out: &mut Vec<u8>) {
        out.push(b'<');
        push_number(out, FACILITY * 8 + severity.number());
        let process_id = self.process_id;
        // Writing to a Vec cannot fail.
        let _ = match &self.host {
            // As of `syslog(3)`, whose time may be left out.
            None => write!(out, ">doorward[{process_id}]: "),
            Some(host) => {
                out.extend_from_slice(b">1 ");
                push_time(out, time);
                write!(out, " {host} doorward {process_id} {message_id} - ")
            }
        };
    }
}

/// A connection to a syslog server, which takes lines. It is made at the first one, and again after an
/// error.
#[derive(Debug)]
pub struct Syslog {
    address: SyslogAddress,
    connection: Option<Connection>,
}

#[derive(Debug)]
enum Connection {
    Unix(UnixDatagram),
    Udp { socket: UdpSocket, since: Instant },
    Tcp(TcpStream),
}

impl Syslog {
    /// Nothing is sent yet.
    pub const fn new(address: SyslogAddress) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        // A message that the peer did not read before it closed is lost without an error, so a closed
        // connection is looked for first.
        let mut connection = match self.connection.take() {
            Some(connection) if connection.is_open() => connection,
            Some(_) | None => self.address.connect()?,
        };
        connection.send(message)?;
        self.connection = Some(connection);
        Ok(())
    }
}

/// Takes the first of the lines as a whole.
impl Write for Syslog {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let end = lines.iter().position(|byte| *byte == b'\n');
        let end = end.unwrap_or(lines.len());
        let message = lines.get(..end).unwrap_or_default();
        self.send(message)?;
        Ok(lines.len().min(end + 1))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SyslogAddress {
    fn connect(&self) -> io::Result<Connection> {
        match self {
            Self::Unix(path) => connect_unix(path).map(Connection::Unix),
            Self::Udp(address) => first_of(address, |address| {
                let any: SocketAddr = match address {
                    SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
                    SocketAddr::V6(_) => ([0; 16], 0).into(),
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                let since = Instant::now();
                Ok(Connection::Udp { socket, since })
            }),
            Self::Tcp(address) => first_of(address, |address| {
                let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }),
        }
    }
}

fn connect_unix(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

/// The first address of `name` that `connect` accepts.
fn first_of(
    name: &str,
    connect: impl Fn(SocketAddr) -> io::Result<Connection>,
) -> io::Result<Connection> {
    let mut result = Err(io::ErrorKind::NotFound.into());
    for address in name.to_socket_addrs()? {
        result = connect(address);
        if result.is_ok() {
            break;
        }
    }
    result
}

impl Connection {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.send(message).map(drop),
            Self::Udp { socket, .. } => socket.send(message).map(drop),
            Self::Tcp(stream) => {
                // One write, so that a message is one segment.
                let mut framed = Vec::with_capacity(message.len() + 8);
                push_number(&mut framed, message.len() as u64);
                framed.push(b' ');
                framed.extend_from_slice(message);
                stream.write_all(&framed)
            }
        }
    }

    /// Whether the peer has not closed the connection, as far as can be told.
    fn is_open(&self) -> bool {
        let stream = match self {
            Self::Unix(_) => return true,
            Self::Udp { since, .. } => return since.elapsed() < UDP_LIFETIME,
            Self::Tcp(stream) => stream,
        };
        let peeked = stream.set_nonblocking(true).and_then(|()| {
            let peeked = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            peeked
        });
        match peeked {
            Ok(read) => read > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use super::*;

    fn message(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let header = SyslogHeader {
            host: Some("gate".to_owned()),
            process_id: 7,
        };
        let time = Timestamp::from_secs(951_827_696);
        header.write(Severity::Warning, time, "denied", &mut out);
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
        out
    }

    const SENT: &str = "<84>1 2000-02-29T12:34:56Z gate doorward 7 denied - {}";

    #[test]
    fn own_server_gets_the_local_format() {
        let mut out = Vec::new();
        let header = SyslogHeader::of_process(&SyslogAddress::Unix("/dev/log".into()));
        header.write(Severity::Notice, Timestamp::from_secs(0), "login", &mut out);
        let expected = format!("<85>doorward[{}]: ", std::process::id());
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn datagrams_hold_one_message_each() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(SyslogAddress::Unix(path));
        syslog
            .write_all(&[message("{}"), message("{}")].concat())
            .unwrap();
        let mut received = [0; 200];
        for _ in 0..2 {
            let size = server.recv(&mut received).unwrap();
            assert_eq!(std::str::from_utf8(&received[..size]).unwrap(), SENT);
        }
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let mut syslog = Syslog::new(SyslogAddress::Udp(address));
        syslog.write_all(&message("{}")).unwrap();
        let size = server.recv(&mut received).unwrap();
        assert_eq!(std::str::from_utf8(&received[..size]).unwrap(), SENT);
    }

    #[test]
    fn streams_count_octets_and_are_opened_again() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let mut syslog = Syslog::new(SyslogAddress::Tcp(address));
        let framed = format!("{} {SENT}", SENT.len());
        for _ in 0..2 {
            syslog.write_all(&message("{}")).unwrap();
            let (mut stream, _) = server.accept().unwrap();
            let mut received = vec![0; framed.len()];
            stream.read_exact(&mut received).unwrap();
            assert_eq!(String::from_utf8(received).unwrap(), framed);
            // The server closes, and the next message needs a new connection.
        }
    }

    #[test]
    fn server_that_is_away_is_an_error_until_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut syslog = Syslog::new(SyslogAddress::Unix(path.clone()));
        assert!(syslog.write(&message("{}")).is_err());
        let server = UnixDatagram::bind(&path).unwrap();
        syslog.write_all(&message("{}")).unwrap();
        let mut received = [0; 200];
        let size = server.recv(&mut received).unwrap();
        assert_eq!(std::str::from_utf8(&received[..size]).unwrap(), SENT);
    }

    /// Without the timeout this would never end.
    #[test]
    fn server_that_never_reads_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let _server = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(SyslogAddress::Unix(path));
        let error = (0..100_000).find_map(|_| syslog.write(&message("{}")).err());
        assert_eq!(error.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
