//! Bound listening sockets, TCP and Unix domain.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use socket2::{Domain, Type};

use crate::types::net::ListenAddr;

/// The `listen` backlog. The kernel's own limit (`net.core.somaxconn`) is rarely higher.
const BACKLOG: i32 = 4096;

#[derive(Debug)]
pub(super) enum ListeningSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl ListeningSocket {
    pub(super) fn bind(address: &ListenAddr) -> io::Result<Self> {
        match address {
            ListenAddr::Tcp(address) => bind_tcp(*address).map(Self::Tcp),
            ListenAddr::Unix(path) => bind_unix(path).map(Self::Unix),
        }
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    /// Whether the socket is in the listening state.
    pub(super) fn is_listening(&self) -> io::Result<bool> {
        match self {
            Self::Tcp(socket) => socket2::SockRef::from(socket).is_listener(),
            Self::Unix(socket) => socket2::SockRef::from(socket).is_listener(),
        }
    }

    /// The bound address.
    pub(super) fn address(&self) -> io::Result<ListenAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(ListenAddr::Tcp),
            Self::Unix(socket) => {
                let address = socket.local_addr()?;
                let path = address
                    .as_pathname()
                    .ok_or_else(|| io::Error::other("the socket has no path"))?;
                Ok(ListenAddr::Unix(path.to_owned()))
            }
        }
    }
}

/// Binds with a larger backlog than the standard library's 128. A client that does not fit into the
/// backlog retries only after a second.
fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // As in the standard library: connections of a previous process may still be in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds a Unix domain socket. A stale socket file that nothing listens on is replaced.
fn bind_unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::net::{UnixListener, UnixStream};
    let stale = || {
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
            && UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && stale() => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}
