//! Listening sockets that whoever started the process had opened before: systemd's socket activation, or a parent that
//! restarts Doorward. The socket outlives each process, and with it the connections that wait in its queue: two
//! processes that take turns on it lose none.

use std::io;

use listenfd::ListenFd;

use super::listener::Socket;
use crate::types::net::ListenAddr;

/// A socket that a listener of the configuration may take.
#[derive(Debug)]
struct Handed {
    name: String,
    address: ListenAddr,
    socket: Socket,
}

/// The sockets that nobody took yet.
#[derive(Debug, Default)]
pub struct ActivatedSockets(Vec<Handed>);

/// What a listener is called in the configuration: a socket of this name is for it, whatever its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `server.listen`.
    Listen,
    /// `server.admin_listen`.
    AdminListen,
}

impl Role {
    const ALL: [Self; 2] = [Self::Listen, Self::AdminListen];

    const fn name(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::AdminListen => "admin_listen",
        }
    }
}

impl ActivatedSockets {
    /// The sockets that `LISTEN_FDS` tells of; `names` are theirs, in their order, with `:` between (`LISTEN_FDNAMES`). To
    /// be called once, before the process has a second thread, since the variable is taken away: it is for nobody who
    /// is started from here.
    ///
    /// # Errors
    /// A descriptor is no listening socket.
    pub fn take(names: &str) -> io::Result<Self> {
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        let all = (0..descriptors.len()).map(|index| {
            let name = names.next().unwrap_or_default().to_owned();
            let socket = match descriptors.take_tcp_listener(index) {
                Ok(socket) => socket.map(Socket::Tcp),
                Err(_) => descriptors.take_unix_listener(index)?.map(Socket::Unix),
            };
            let socket =
                socket.ok_or_else(|| io::Error::other("a descriptor was handed over twice"))?;
            if !socket.listens()? {
                return Err(io::Error::other(
                    "a descriptor is a socket that does not listen (`Accept=yes`?)",
                ));
            }
            Ok(Handed {
                name,
                address: socket.address()?,
                socket,
            })
        });
        all.collect::<io::Result<_>>().map(Self)
    }

    /// The socket for a listener: the one that bears its name, or else that of its address.
    pub(super) fn for_listener(&mut self, role: Role, address: &ListenAddr) -> Option<Socket> {
        let identify_client = self.0.iter().position(|handed| handed.name == role.name());
        let bound_there = |handed: &Handed| {
            Role::ALL.iter().all(|role| handed.name != role.name())
                && is_same(&handed.address, address)
        };
        let at = identify_client.or_else(|| self.0.iter().position(bound_there))?;
        Some(self.0.swap_remove(at).socket)
    }

    /// A socket that is left over: who connects to it would wait for ever.
    pub fn left(&self) -> Option<String> {
        self.0
            .first()
            .map(|handed| format!("`{}` at `{}`", handed.name, handed.address))
    }
}

/// Whether a socket bound to `one` is what `other` asks for. All addresses of IPv6 are all of IPv4 too.
fn is_same(one: &ListenAddr, other: &ListenAddr) -> bool {
    match (one, other) {
        (ListenAddr::Tcp(one), ListenAddr::Tcp(other)) => {
            let same_host = one.ip() == other.ip()
                || (one.ip().is_unspecified() && other.ip().is_unspecified());
            one.port() == other.port() && same_host
        }
        (ListenAddr::Unix(one), ListenAddr::Unix(other)) => one == other,
        (ListenAddr::Tcp(_), ListenAddr::Unix(_)) | (ListenAddr::Unix(_), ListenAddr::Tcp(_)) => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn handed(name: &str) -> Handed {
        let socket = Socket::Tcp(TcpListener::bind("127.0.0.1:0").unwrap());
        Handed {
            name: name.to_owned(),
            address: socket.address().unwrap(),
            socket,
        }
    }

    #[test]
    fn a_name_counts_more_than_an_address() {
        let (identify_client, other) = (handed("admin_listen"), handed("doorward.socket"));
        let (of_named, of_other) = (identify_client.address.clone(), other.address.clone());
        let mut sockets = ActivatedSockets(vec![identify_client, other]);
        assert!(
            sockets.for_listener(Role::Listen, &of_named).is_none(),
            "its name says that it is another's"
        );
        assert_eq!(
            sockets
                .for_listener(Role::Listen, &of_other)
                .unwrap()
                .address()
                .unwrap(),
            of_other
        );
        assert!(
            sockets
                .left()
                .unwrap()
                .starts_with("`admin_listen` at `127.0.0.1:")
        );
        assert_eq!(
            sockets
                .for_listener(Role::AdminListen, &of_other)
                .unwrap()
                .address()
                .unwrap(),
            of_named
        );
        assert_eq!(sockets.left(), None);
    }

    #[test]
    fn all_addresses_are_the_same_in_both_families() {
        let all: [ListenAddr; 2] = ["0.0.0.0:80", "[::]:80"].map(|text| text.parse().unwrap());
        assert!(is_same(&all[0], &all[1]) && is_same(&all[1], &all[0]));
        for other in ["0.0.0.0:81", "127.0.0.1:80", "unix:/run/a.sock"] {
            assert!(!is_same(&all[0], &other.parse().unwrap()), "{other}");
        }
    }
}
