//! Socket activation: listening sockets inherited from systemd or from a parent process that
//! restarts Doorward. The socket and its backlog outlive each process, so that a restart loses no
//! connection.

use std::borrow::Cow;
use std::io;

use listenfd::ListenFd;

use super::socket::ListeningSocket;
use crate::types::net::ListenAddr;

/// An inherited socket.
#[derive(Debug)]
struct ActivatedSocket {
    name: String,
    address: ListenAddr,
    socket: ListeningSocket,
}

/// The inherited sockets that no listener has taken yet.
#[derive(Debug, Default)]
pub struct ActivatedSockets(Vec<ActivatedSocket>);

/// A listener's name in the configuration. A socket with this name is used for it, whatever its
/// address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The listener with this index: 0 is `server.listen` or the first of `server.listeners`.
    Listen(usize),
    /// `server.admin_listen`.
    AdminListen,
    /// `server.decision_listen`.
    DecisionListen,
}

impl Role {
    fn name(self) -> Cow<'static, str> {
        match self {
            Self::Listen(0) => "listen".into(),
            Self::Listen(index) => format!("listen-{}", index + 1).into(),
            Self::AdminListen => "admin_listen".into(),
            Self::DecisionListen => "decision_listen".into(),
        }
    }

    /// Whether a socket of this name belongs to a listener, whatever its address.
    fn is_name(name: &str) -> bool {
        let number = name.strip_prefix("listen-").map(str::parse::<usize>);
        matches!(name, "listen" | "admin_listen" | "decision_listen")
            || matches!(number, Some(Ok(2..)))
    }
}

impl ActivatedSockets {
    /// Takes the sockets of `LISTEN_FDS`. `names` is the value of `LISTEN_FDNAMES`: their names in
    /// order, separated by `:`. Call it once, before a second thread starts: it removes the
    /// variable, which child processes must not inherit.
    ///
    /// # Errors
    /// A descriptor is not a listening socket.
    pub fn take(names: &str) -> io::Result<Self> {
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        let all = (0..descriptors.len()).map(|index| {
            let name = names.next().unwrap_or_default().to_owned();
            let socket = match descriptors.take_tcp_listener(index) {
                Ok(socket) => socket.map(ListeningSocket::Tcp),
                Err(_) => descriptors
                    .take_unix_listener(index)?
                    .map(ListeningSocket::Unix),
            };
            let socket = socket.ok_or_else(|| io::Error::other("a descriptor was passed twice"))?;
            if !socket.is_listening()? {
                return Err(io::Error::other(
                    "a descriptor is not a listening socket (`Accept=yes`?)",
                ));
            }
            Ok(ActivatedSocket {
                name,
                address: socket.address()?,
                socket,
            })
        });
        all.collect::<io::Result<_>>().map(Self)
    }

    /// Takes the socket for a listener: the one with its name, and otherwise the one with its
    /// address.
    pub(super) fn take_for(&mut self, role: Role, address: &ListenAddr) -> Option<ListeningSocket> {
        let by_name = self
            .0
            .iter()
            .position(|activated| activated.name == role.name());
        let has_address = |activated: &ActivatedSocket| {
            !Role::is_name(&activated.name) && is_same_address(&activated.address, address)
        };
        let index = by_name.or_else(|| self.0.iter().position(has_address))?;
        Some(self.0.swap_remove(index).socket)
    }

    /// Describes a socket that no listener took. Clients that connect to it would wait forever.
    pub fn unused(&self) -> Option<String> {
        self.0
            .first()
            .map(|activated| format!("`{}` at `{}`", activated.name, activated.address))
    }
}

/// Whether two addresses are the same; `[::]` and `0.0.0.0` are, since an IPv6 wildcard socket
/// accepts IPv4 too.
fn is_same_address(left: &ListenAddr, right: &ListenAddr) -> bool {
    match (left, right) {
        (ListenAddr::Tcp(left), ListenAddr::Tcp(right)) => {
            let same_host = left.ip() == right.ip()
                || (left.ip().is_unspecified() && right.ip().is_unspecified());
            left.port() == right.port() && same_host
        }
        (ListenAddr::Unix(left), ListenAddr::Unix(right)) => left == right,
        (ListenAddr::Tcp(_), ListenAddr::Unix(_)) | (ListenAddr::Unix(_), ListenAddr::Tcp(_)) => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn activated(name: &str) -> ActivatedSocket {
        let socket = ListeningSocket::Tcp(TcpListener::bind("127.0.0.1:0").unwrap());
        ActivatedSocket {
            name: name.to_owned(),
            address: socket.address().unwrap(),
            socket,
        }
    }

    #[test]
    fn take_for_prefers_the_name_over_the_address() {
        let admin = activated("admin_listen");
        let unnamed = activated("doorward.socket");
        let admin_address = admin.address.clone();
        let unnamed_address = unnamed.address.clone();
        let mut sockets = ActivatedSockets(vec![admin, unnamed]);
        assert!(
            sockets.take_for(Role::Listen(0), &admin_address).is_none(),
            "its name belongs to the other listener"
        );
        assert_eq!(
            sockets
                .take_for(Role::Listen(0), &unnamed_address)
                .unwrap()
                .address()
                .unwrap(),
            unnamed_address
        );
        assert!(
            sockets
                .unused()
                .unwrap()
                .starts_with("`admin_listen` at `127.0.0.1:")
        );
        assert_eq!(
            sockets
                .take_for(Role::AdminListen, &unnamed_address)
                .unwrap()
                .address()
                .unwrap(),
            admin_address
        );
        assert_eq!(sockets.unused(), None);
    }

    #[test]
    fn take_for_names_further_listeners_by_number() {
        let (second, first) = (activated("listen-2"), activated("listen"));
        let elsewhere: ListenAddr = "127.0.0.1:1".parse().unwrap();
        let second_address = second.address.clone();
        let mut sockets = ActivatedSockets(vec![second, first]);
        assert!(sockets.take_for(Role::Listen(2), &second_address).is_none());
        let taken = sockets.take_for(Role::Listen(1), &elsewhere).unwrap();
        assert_eq!(taken.address().unwrap(), second_address);
        assert!(sockets.take_for(Role::Listen(0), &elsewhere).is_some());
        assert_eq!(sockets.unused(), None);
    }

    #[test]
    fn is_same_address_matches_wildcards_of_both_families() {
        let all: [ListenAddr; 2] = ["0.0.0.0:80", "[::]:80"].map(|text| text.parse().unwrap());
        assert!(is_same_address(&all[0], &all[1]) && is_same_address(&all[1], &all[0]));
        for other in ["0.0.0.0:81", "127.0.0.1:80", "unix:/run/a.sock"] {
            assert!(
                !is_same_address(&all[0], &other.parse().unwrap()),
                "{other}"
            );
        }
    }
}
