//! A listener on 127.0.0.1 that can go down and come back on the same port.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::runtime;

/// One listening server; it ends, with all its connections, when it is stopped or dropped.
#[derive(Debug)]
pub struct Listening {
    port: u16,
    accepting: JoinHandle<()>,
}

impl Listening {
    /// Listens on `port` (0: any free one) and hands each connection to `serve`.
    pub fn start<S, F>(port: u16, serve: S) -> Self
    where
        S: Fn(TcpStream) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let _inside = runtime().enter();
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("SO_REUSEADDR");
        socket
            .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .expect("a free port");
        let listener = socket.listen(1024).expect("a listener");
        let port = listener.local_addr().expect("a bound address").port();
        Self {
            port,
            accepting: runtime().spawn(accept(listener, Arc::new(serve))),
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes the listener and every connection; returns when the port refuses connections.
    pub fn stop(&self) {
        self.accepting.abort();
        while !self.accepting.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<S, F>(listener: TcpListener, serve: Arc<S>)
where
    S: Fn(TcpStream) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                // Small responses must not wait for an acknowledgement.
                if stream.set_nodelay(true).is_ok() {
                    connections.spawn(serve(stream));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
