//! A real Redis behind a proxy that freezes, is slow, loses responses or refuses connections, for all
//! commands or for those with a certain text. To make it forget, flush the Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::gate::Gate;
use super::listening::Listening;
use super::redis::RedisServer;

/// A text that only the script has that releases leases.
pub const RELEASE: &str = "An expired entry stays";

/// A fault of the store.
#[derive(Clone, Debug)]
pub enum StoreFault {
    /// Nothing passes, and connections stay open.
    Frozen,
    /// Connections are closed, so that no command reaches the store.
    Refused,
    /// Commands are executed, and the connection is closed in place of the response.
    ResponsesLost,
    /// Each response takes this long.
    Slow(Duration),
    /// Responses wait for the gate.
    Held(Gate),
}

/// The proxy and its Redis.
pub struct FaultyStore {
    pub redis: RedisServer,
    listening: Listening,
    state: Arc<State>,
}

struct State {
    fault: watch::Sender<Option<Faulty>>,
    /// Commands that met a fault.
    met: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Faulty {
    fault: StoreFault,
    /// Only for commands with this text.
    text: Option<&'static str>,
}

impl FaultyStore {
    /// A new Redis without persistence, and without a fault.
    pub fn start() -> Self {
        Self::before(RedisServer::start())
    }

    /// This Redis, without a fault.
    pub fn before(redis: RedisServer) -> Self {
        let state = Arc::new(State {
            fault: watch::Sender::new(None),
            met: AtomicUsize::new(0),
        });
        let (port, shared) = (redis.port(), Arc::clone(&state));
        let listening = Listening::start(0, move |client| serve(client, port, Arc::clone(&shared)));
        Self {
            redis,
            listening,
            state,
        }
    }

    /// The lines that configure it as store.
    pub fn lines(&self) -> String {
        format!("url = \"redis://127.0.0.1:{}\"", self.listening.port())
    }

    /// From now on everything has this fault.
    pub fn fault(&self, fault: StoreFault) {
        let faulty = Faulty { fault, text: None };
        self.state.fault.send_replace(Some(faulty));
    }

    /// From now on commands with this text have this fault.
    pub fn fault_on(&self, text: &'static str, fault: StoreFault) {
        let text = Some(text);
        self.state.fault.send_replace(Some(Faulty { fault, text }));
    }

    /// From now on there is no fault.
    pub fn heal(&self) {
        self.state.fault.send_replace(None);
    }

    /// How many chunks of commands have met a fault.
    pub fn met(&self) -> usize {
        self.state.met.load(Ordering::SeqCst)
    }

    /// The Redis forgets everything.
    pub fn forget(&self) {
        self.redis.command(&["FLUSHALL"]);
    }
}

/// The state that the two directions of a connection share.
#[derive(Default)]
struct Connection {
    /// The response to a command must not arrive.
    loses_response: AtomicBool,
}

async fn serve(client: TcpStream, port: u16, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let _nodelay = server.set_nodelay(true);
    let ((client_in, client_out), (server_in, server_out)) =
        (client.into_split(), server.into_split());
    let connection = Connection::default();
    // Either end closes both.
    tokio::select! {
        () = commands(client_in, server_out, &state, &connection) => {}
        () = responses(server_in, client_out, &state, &connection) => {}
    }
}

async fn commands(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    connection: &Connection,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let chunk = &buffer[..read];
        let faulty = state.fault.borrow().clone();
        let fault = faulty
            .filter(|faulty| faulty.text.is_none_or(|text| contains(chunk, text)))
            .map(|faulty| faulty.fault);
        if fault.is_some() {
            state.met.fetch_add(1, Ordering::SeqCst);
        }
        match fault {
            Some(StoreFault::Refused) => return,
            Some(StoreFault::Frozen) => healed(state).await,
            Some(StoreFault::ResponsesLost) => {
                connection.loses_response.store(true, Ordering::SeqCst);
            }
            Some(StoreFault::Slow(_) | StoreFault::Held(_)) | None => {}
        }
        if to.write_all(chunk).await.is_err() {
            return;
        }
    }
}

async fn responses(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    connection: &Connection,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if connection.loses_response.load(Ordering::SeqCst) {
            return;
        }
        let faulty = state.fault.borrow().clone();
        match faulty.filter(|faulty| faulty.text.is_none()) {
            Some(Faulty {
                fault: StoreFault::Slow(delay),
                ..
            }) => tokio::time::sleep(delay).await,
            Some(Faulty {
                fault: StoreFault::Held(gate),
                ..
            }) => gate.pass().await,
            Some(Faulty {
                fault: StoreFault::Frozen,
                ..
            }) => healed(state).await,
            Some(Faulty {
                fault: StoreFault::Refused | StoreFault::ResponsesLost,
                ..
            }) => return,
            None => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn healed(state: &State) {
    let mut fault = state.fault.subscribe();
    // The sender lives as long as the proxy.
    let _healed = fault.wait_for(Option::is_none).await;
}

fn contains(chunk: &[u8], text: &str) -> bool {
    chunk
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
