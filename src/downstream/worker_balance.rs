//! Balance of connections: each is served by the worker with the fewest, whichever accepted it. The
//! kernel wakes all idle workers, and the first one may take everything.

use std::io;
use std::net::{self, SocketAddr};
use std::os::unix;
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::client_stream::ConnectionSlot;
use super::handshake::AcceptedSocket;
use super::worker_loads::WorkerLoads;

/// A connection that was accepted, with its slot.
pub(super) struct AcceptedConnection {
    pub(super) socket: AcceptedSocket,
    pub(super) slot: ConnectionSlot,
}

/// Passes the connections of one listener between its workers. Their slots bound them.
#[derive(Debug)]
pub(super) struct Exchange {
    own: usize,
    loads: WorkerLoads,
    workers: Arc<[UnboundedSender<PassedConnection>]>,
    incoming: UnboundedReceiver<PassedConnection>,
}

/// A connection on the way to another worker's runtime.
#[derive(Debug)]
struct PassedConnection {
    socket: PassedSocket,
    slot: ConnectionSlot,
}

#[derive(Debug)]
enum PassedSocket {
    Tcp {
        stream: net::TcpStream,
        peer: SocketAddr,
    },
    Unix(unix::net::UnixStream),
}

impl Exchange {
    /// One for each worker.
    pub(super) fn among(loads: &WorkerLoads) -> Vec<Self> {
        let channels = (0..loads.workers()).map(|_| unbounded_channel());
        let (workers, incoming): (Vec<_>, Vec<_>) = channels.unzip();
        let workers: Arc<[_]> = workers.into();
        let exchange = |(own, incoming)| Self {
            own,
            loads: loads.clone(),
            workers: Arc::clone(&workers),
            incoming,
        };
        incoming.into_iter().enumerate().map(exchange).collect()
    }

    /// For a listener that is served by one worker.
    pub(super) fn alone() -> Self {
        let (worker, incoming) = unbounded_channel();
        Self {
            own: 0,
            loads: WorkerLoads::new(1),
            workers: Arc::new([worker]),
            incoming,
        }
    }

    /// Counts a connection for the worker with the fewest, and passes it on if that is another.
    /// Returns it if it is to be served here.
    pub(super) fn place(&self, accepted: AcceptedConnection) -> Option<AcceptedConnection> {
        let worker = self.loads.lightest(self.own);
        let AcceptedConnection { socket, slot } = accepted;
        let slot = slot.of_worker(self.loads.count(worker));
        if worker == self.own {
            return Some(AcceptedConnection { socket, slot });
        }
        let passed = PassedConnection::detach(AcceptedConnection { socket, slot })?;
        match self.workers.get(worker)?.send(passed) {
            Ok(()) => None,
            // It is draining, or has ended.
            Err(SendError(passed)) => passed.attach(),
        }
    }

    /// The next connection that another worker has passed on.
    pub(super) async fn next(&mut self) -> Option<AcceptedConnection> {
        self.incoming.recv().await?.attach()
    }

    /// Takes no more connections. Returns those that were passed on before.
    pub(super) fn close(&mut self) -> impl Iterator<Item = AcceptedConnection> {
        self.incoming.close();
        let rest = std::iter::from_fn(|| self.incoming.try_recv().ok());
        rest.filter_map(PassedConnection::attach)
    }
}

impl PassedConnection {
    /// Removes the connection from this runtime. `None` if it failed.
    fn detach(accepted: AcceptedConnection) -> Option<Self> {
        let AcceptedConnection { socket, slot } = accepted;
        let socket = match socket {
            AcceptedSocket::Tcp { stream, peer } => stream
                .into_std()
                .map(|stream| PassedSocket::Tcp { stream, peer }),
            AcceptedSocket::Unix(stream) => stream.into_std().map(PassedSocket::Unix),
        };
        let socket = socket.inspect_err(lost).ok()?;
        Some(Self { socket, slot })
    }

    /// Adds the connection to this runtime. `None` if it failed.
    fn attach(self) -> Option<AcceptedConnection> {
        let Self { socket, slot } = self;
        let socket = match socket {
            PassedSocket::Tcp { stream, peer } => {
                TcpStream::from_std(stream).map(|stream| AcceptedSocket::Tcp { stream, peer })
            }
            PassedSocket::Unix(stream) => UnixStream::from_std(stream).map(AcceptedSocket::Unix),
        };
        let socket = socket.inspect_err(lost).ok()?;
        Some(AcceptedConnection { socket, slot })
    }
}

/// The system has no memory for the registration of a socket.
fn lost(error: &io::Error) {
    tracing::warn!(%error, "connection_not_registered");
}
