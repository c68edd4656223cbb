//! Balance of connections between workers.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::super::*;
use super::support::Echo;
use crate::telemetry::metrics::Metrics;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

/// The workers of one listener.
struct Workers {
    address: std::net::SocketAddr,
    /// What each has served, and what ends it.
    each: Vec<(Arc<Echo>, DrainTrigger)>,
    _settings: watch::Sender<ConnectionSettings>,
}

fn start(number: usize, max_connections: usize) -> Workers {
    let limits = Arc::new(ListenerSettings {
        max_connections,
        ..ListenerSettings::default()
    });
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &limits).unwrap();
    let address = listener.local_addr().unwrap();
    let (settings, receiver) = watch::channel(ConnectionSettings { tls: None, limits });
    let listeners = listener.for_workers(&WorkerLoads::new(number)).unwrap();
    let each = listeners.into_iter().map(|listener| {
        let echo = Arc::new(Echo::default());
        let (trigger, drain) = drain();
        let metrics = Arc::new(Metrics::new().unwrap());
        let served = serve(
            listener,
            receiver.clone(),
            Arc::clone(&echo),
            metrics,
            drain,
        );
        tokio::spawn(served);
        (echo, trigger)
    });
    Workers {
        address,
        each: each.collect(),
        _settings: settings,
    }
}

impl Workers {
    async fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Opens a connection with one request, and keeps it open.
    async fn connect(&self) -> TcpStream {
        let mut stream = self.send(GET).await;
        read_response(&mut stream).await;
        stream
    }

    /// Opens a connection with a request that stays in flight.
    async fn occupy(&self) -> TcpStream {
        let before: usize = self.served().iter().sum();
        let request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
        let stream = self.send(request).await;
        while self.served().iter().sum::<usize>() == before {
            yield_now().await;
        }
        stream
    }

    /// How many requests each worker has served.
    fn served(&self) -> Vec<usize> {
        let served = self.each.iter().map(|(echo, _)| &echo.seen);
        served.map(|seen| seen.lock().unwrap().len()).collect()
    }
}

async fn read_response(stream: &mut TcpStream) {
    let mut response = Vec::new();
    while !response.ends_with(b"[GET /x body=]") {
        assert_ne!(stream.read_buf(&mut response).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn each_worker_serves_as_many_connections_whichever_accepts_them() {
    let workers = start(3, 100);
    let mut open = Vec::new();
    for _ in 0..12 {
        open.push(workers.connect().await);
    }
    assert_eq!(workers.served(), [4, 4, 4]);
}

#[tokio::test]
async fn connections_of_a_worker_that_has_ended_are_served_by_others() {
    let workers = start(2, 100);
    let open = [workers.connect().await, workers.connect().await];
    assert_eq!(workers.served(), [1, 1]);
    let (_, trigger) = &workers.each[1];
    trigger.start();
    drop(open);
    let mut later = Vec::new();
    for _ in 0..4 {
        later.push(workers.connect().await);
    }
    assert_eq!(workers.served(), [5, 1]);
}

#[tokio::test]
async fn worker_that_waits_for_a_slot_serves_connections_that_are_passed_to_it() {
    // The slot goes to the worker that has waited longest. It passes its connection on if the other
    // one has lost its own.
    for closed in 0..2 {
        let workers = start(2, 2);
        let mut occupied = vec![workers.occupy().await, workers.occupy().await];
        assert_eq!(workers.served(), [1, 1]);
        // Each worker accepts one, and waits for a slot.
        let [mut first, mut second] = [workers.send(GET).await, workers.send(GET).await];
        drop(occupied.remove(closed));
        let served = async {
            tokio::select! {
                () = read_response(&mut first) => {}
                () = read_response(&mut second) => {}
            }
        };
        timeout(Duration::from_secs(30), served).await.unwrap();
    }
}
