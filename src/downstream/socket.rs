//! Bound listening sockets, TCP and Unix domain.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, TcpKeepalive, Type};

use super::settings::SocketAccess;
use crate::types::net::ListenAddr;

/// The `listen` backlog. The kernel's own limit (`net.core.somaxconn`) is rarely higher.
const BACKLOG: i32 = 4096;

/// Interval of keepalive probes, after the first one.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// After this number of unanswered probes, the connection is closed.
const KEEPALIVE_RETRIES: u32 = 4;

#[derive(Debug)]
pub(super) enum ListeningSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl ListeningSocket {
    pub(super) fn bind(address: &ListenAddr, access: SocketAccess) -> io::Result<Self> {
        match address {
            ListenAddr::Tcp(address) => bind_tcp(*address).map(Self::Tcp),
            ListenAddr::Unix(path) => bind_unix(path, access).map(Self::Unix),
        }
    }

    /// Sets the idle time before keepalive probes. Accepted connections inherit it.
    pub(super) fn set_keepalive(&self, idle: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => set_keepalive(SockRef::from(socket), idle),
            Self::Unix(_) => Ok(()),
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
            Self::Tcp(socket) => SockRef::from(socket).is_listener(),
            Self::Unix(socket) => SockRef::from(socket).is_listener(),
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
fn bind_unix(path: &Path, access: SocketAccess) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::net::UnixStream;
    let stale = || {
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
            && UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    let address = SockAddr::unix(path)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && stale() => {
            std::fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    // Before it listens, so that nobody connects with the permissions of the umask.
    let listening = access.apply_to(path).and_then(|()| socket.listen(BACKLOG));
    if let Err(error) = listening {
        // Of no use to anybody. That it remains is not the error to report.
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    Ok(socket.into())
}

impl SocketAccess {
    fn apply_to(self, path: &Path) -> io::Result<()> {
        if self.owner.is_some() || self.group.is_some() {
            std::os::unix::fs::chown(path, self.owner, self.group)?;
        }
        match self.mode {
            Some(mode) => std::fs::set_permissions(path, Permissions::from_mode(mode)),
            None => Ok(()),
        }
    }
}

/// Sets the idle time before keepalive probes. Without one, none are sent.
pub(super) fn set_keepalive(socket: SockRef<'_>, idle: Option<Duration>) -> io::Result<()> {
    let Some(idle) = idle else {
        return socket.set_keepalive(false);
    };
    let keepalive = TcpKeepalive::new()
        .with_time(idle)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The idle time of an accepted connection, if keepalive is on.
    fn keepalive_of_accepted(idle: Option<Duration>) -> Option<Duration> {
        let address = ListenAddr::Tcp("127.0.0.1:0".parse().unwrap());
        let socket = ListeningSocket::bind(&address, SocketAccess::default()).unwrap();
        socket.set_keepalive(idle).unwrap();
        let ListeningSocket::Tcp(socket) = socket else {
            panic!("not TCP")
        };
        let _client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        let (accepted, _) = socket.accept().unwrap();
        let accepted = SockRef::from(&accepted);
        accepted
            .keepalive()
            .unwrap()
            .then(|| accepted.tcp_keepalive_time().unwrap())
    }

    #[test]
    fn accepted_connections_inherit_keepalive() {
        for idle in [None, Some(Duration::from_secs(77))] {
            assert_eq!(keepalive_of_accepted(idle), idle);
        }
    }
}
