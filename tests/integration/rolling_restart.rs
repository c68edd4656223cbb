//! Rolling restart under load without a failed request. Both processes serve the same socket, which
//! the parent (systemd, or this test) holds open. Clients never retry: they open another connection
//! only when a response says `Connection: close`, and every request gets its response.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::eventually_async;
use crate::support::folder::{ANY_PORTS, Folder, one_public_app};
use crate::support::listening::Listening;
use crate::support::process::Process;
use crate::support::wire::Wire;

const REQUESTS: usize = 20_000;
const RESTARTS: usize = 3;
const ASK: &[u8] = b"GET /public/x HTTP/1.1\r\nHost: store.localhost\r\n\r\n";
const ASK_ONCE: &[u8] =
    b"GET /public/x HTTP/1.1\r\nHost: store.localhost\r\nConnection: close\r\n\r\n";

/// The clients' counters.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    enough: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart_under_load_loses_no_request() {
    let backend = Listening::start(0, |stream| async move {
        let _gone = respond_to_all(stream).await;
    });
    let folder = Folder::with(
        "doorward.toml",
        &one_public_app(&format!("http://127.0.0.1:{}", backend.port())),
    );
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    let start = || {
        let mut variables = ANY_PORTS.to_vec();
        variables[2].1 = "1s";
        // The access log would only fill the test's memory.
        variables.push(("DOORWARD_LOG__ACCESS", "false"));
        let handed = vec![("listen", socket.try_clone().expect("a descriptor").into())];
        Process::run_on(handed, folder.path("doorward.toml").as_os_str(), &variables)
    };
    let mut running = start();
    let tally = Arc::new(Tally::default());
    let clients: Vec<_> = (0..16)
        .map(|number| tokio::spawn(client(address, number % 4 == 0, Arc::clone(&tally))))
        .collect();
    for restart in 1..=RESTARTS {
        answered(&tally, restart * REQUESTS / (RESTARTS + 1)).await;
        let mut old = std::mem::replace(&mut running, tokio::task::block_in_place(start));
        old.terminate();
        let before = tally.answered.load(Ordering::Relaxed);
        let status = tokio::task::block_in_place(|| old.ended());
        assert_eq!(status.code(), Some(0), "{:?}", old.said());
        assert!(
            tally.answered.load(Ordering::Relaxed) > before,
            "there was no load meanwhile"
        );
    }
    answered(&tally, REQUESTS).await;
    tally.enough.store(true, Ordering::Relaxed);
    for client in clients {
        if let Err(failed) = client.await.expect("a client that ends") {
            panic!(
                "after {} requests: {failed}",
                tally.answered.load(Ordering::Relaxed)
            );
        }
    }
    assert!(tally.answered.load(Ordering::Relaxed) >= REQUESTS);
}

async fn answered(tally: &Tally, count: usize) {
    eventually_async("enough requests", Duration::from_secs(60), async || {
        tally.answered.load(Ordering::Relaxed) >= count
    })
    .await;
}

/// Sends requests in a loop, on new connections or on a persistent one until a response says that
/// it closes.
async fn client(address: SocketAddr, is_always_new: bool, tally: Arc<Tally>) -> Result<(), String> {
    while !tally.enough.load(Ordering::Relaxed) {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| format!("not let in: {error}"))?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let mut wire = Wire::new(stream);
        let (request, mut ends) = if is_always_new {
            (ASK_ONCE, true)
        } else {
            (ASK, false)
        };
        loop {
            wire.write(request)
                .await
                .map_err(|error| format!("not taken: {error}"))?;
            let head = wire
                .read_head()
                .await
                .map_err(|error| format!("no head: {error}"))?
                .ok_or("no answer")?;
            let body = wire
                .read_body(head.answer_framing("GET"))
                .await
                .map_err(|error| format!("no body: {error}"))?;
            if (head.status(), body.as_slice()) != (200, b"ok") {
                return Err(format!(
                    "{}: {}",
                    head.start,
                    String::from_utf8_lossy(&body)
                ));
            }
            tally.answered.fetch_add(1, Ordering::Relaxed);
            ends |= head
                .header("connection")
                .is_some_and(|options| options.eq_ignore_ascii_case("close"));
            if ends || tally.enough.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    Ok(())
}

/// A backend that keeps no record of its requests.
async fn respond_to_all(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wire = Wire::new(stream);
    while wire.read_head().await?.is_some() {
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await?;
    }
    Ok(())
}
