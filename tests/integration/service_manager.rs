//! The systemd interface: socket activation, `sd_notify`, shutdown delay, file descriptor limit.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::backend::Backend;
use crate::support::folder::{ANY_PORTS, Folder, at, one_public_app};
use crate::support::process::Process;
use crate::support::wire::Wire;

const FILE: &str = "doorward.toml";
const ASK: &[u8] = b"GET /public/x HTTP/1.1\r\nHost: store.localhost\r\n\r\n";

fn socket() -> (TcpListener, u16) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let port = socket.local_addr().expect("an address").port();
    (socket, port)
}

#[tokio::test]
async fn activated_sockets_are_served() {
    let backend = Backend::start();
    let ((listen, port), (admin, admin_port)) = (socket(), socket());
    let folder = Folder::with(FILE, &one_public_app(&backend.url()));
    // Doorward does not run yet: the connection waits in the socket's backlog.
    let mut early = Wire::new(
        TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("a connection"),
    );
    early.write(ASK).await.expect("sent");
    // One socket is identified by its name, the other by its address.
    let sockets = vec![
        ("listen", listen.into()),
        ("doorward-admin.socket", admin.into()),
    ];
    let address = format!("127.0.0.1:{admin_port}");
    let mut variables = ANY_PORTS;
    variables[1].1 = &address;
    let process = Process::run_on(sockets, folder.path(FILE).as_os_str(), &variables);
    assert_eq!(
        (process.port("address"), process.port("admin")),
        (port, admin_port)
    );
    assert_eq!(
        early
            .read_head()
            .await
            .expect("an answer")
            .expect("a head")
            .status(),
        200
    );
    assert_eq!(at("127.0.0.1", admin_port, "/readyz").await, 200);
}

#[test]
fn unused_activated_socket_is_named() {
    let (stray, port) = socket();
    let folder = Folder::with(FILE, &one_public_app("http://127.0.0.1:1"));
    let sockets = vec![("http.socket", stray.into())];
    let mut process = Process::start_on(sockets, folder.path(FILE).as_os_str(), &ANY_PORTS);
    assert_eq!(process.ended().code(), Some(1), "{:?}", process.said());
    process.line_with(&format!("`http.socket` at `127.0.0.1:{port}`"));
    process.line_with("FileDescriptorName=");
}

#[test]
fn service_manager_is_notified() {
    let folder = Folder::with(FILE, &one_public_app("http://127.0.0.1:1"));
    let place = folder.path("notify.sock");
    let manager = UnixDatagram::bind(&place).expect("a socket");
    manager
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a limit");
    let told = || {
        let mut room = [0; 1024];
        let count = manager.recv(&mut room).expect("a message in time");
        String::from_utf8_lossy(&room[..count]).into_owned()
    };
    let place = place.to_str().expect("a plain name").to_owned();
    let mut variables = ANY_PORTS.to_vec();
    variables[2].1 = "1s";
    variables.extend([
        ("NOTIFY_SOCKET", place.as_str()),
        ("WATCHDOG_USEC", "20000"),
    ]);
    let mut process = Process::run(folder.path(FILE).as_os_str(), &variables);
    assert_eq!(told(), "READY=1\nSTATUS=serving\n");
    for _ in 0..3 {
        assert_eq!(told(), "WATCHDOG=1\n");
    }
    let mut others = std::iter::repeat_with(told).filter(|told| told != "WATCHDOG=1\n");
    process.send("HUP");
    let reloading = others.next().expect("a message");
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(others.next().as_deref(), Some("READY=1\nSTATUS=serving\n"));
    process.terminate();
    let stopping: Vec<_> = others.take(2).collect();
    let stages = ["waiting for shutdown_delay", "draining"];
    assert_eq!(
        stopping,
        stages.map(|stage| format!("STOPPING=1\nSTATUS={stage}\n"))
    );
    assert_eq!(process.ended().code(), Some(0), "{:?}", process.said());
}

#[tokio::test]
async fn sigterm_unreadies_and_serves_until_next_signal() {
    let backend = Backend::start();
    let folder = Folder::with(FILE, &one_public_app(&backend.url()));
    let mut variables = ANY_PORTS;
    variables[2].1 = "1d";
    let mut process = Process::run(folder.path(FILE).as_os_str(), &variables);
    let (port, admin) = (process.port("address"), process.port("admin"));
    let connect = || async {
        Wire::new(
            TcpStream::connect(("127.0.0.1", port))
                .await
                .expect("a connection"),
        )
    };
    let mut kept = connect().await;
    let request = async |wire: &mut Wire| {
        wire.write(ASK).await.expect("sent");
        let head = wire.read_head().await.expect("an answer").expect("a head");
        wire.read_body(head.answer_framing("GET"))
            .await
            .expect("a body");
        (head.status(), head.header("connection").map(str::to_owned))
    };
    assert_eq!(request(&mut kept).await, (200, None));

    process.terminate();
    process.line_with("shutdown_delayed");
    assert_eq!(at("127.0.0.1", admin, "/readyz").await, 503);
    for probe in ["/livez", "/metrics"] {
        assert_eq!(at("127.0.0.1", admin, probe).await, 200, "{probe}");
    }
    let (mut new, close) = (connect().await, Some("close".to_owned()));
    assert_eq!(
        (request(&mut kept).await, request(&mut new).await),
        ((200, close.clone()), (200, close))
    );
    assert!(kept.read_head().await.expect("an orderly end").is_none());

    process.interrupt();
    process.line_with("draining");
    assert_eq!(process.ended().code(), Some(0), "{:?}", process.said());
}

#[test]
fn descriptor_limit_is_raised() {
    let folder = Folder::with(FILE, &one_public_app("http://127.0.0.1:1"));
    let file = folder.path(FILE);
    let arguments = ["run", "--config", file.to_str().expect("a plain name")];
    for (most, is_enough) in [("150", true), ("151", false)] {
        let variables = [
            &ANY_PORTS[..],
            &[("DOORWARD_SERVER__MAX_CONNECTIONS", most)],
        ]
        .concat();
        let process = Process::start_after("ulimit -n 400; ulimit -Sn 200", &arguments, &variables);
        process.line_with("serving");
        process.line_with("descriptor_limit_raised");
        let limits =
            fs::read_to_string(format!("/proc/{}/limits", process.id())).expect("the system tells");
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .expect("such a limit");
        let limits: Vec<u64> = line
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        assert_eq!(limits, [400, 400]);
        let warned = process
            .said()
            .iter()
            .any(|line| line.contains("descriptors_too_few"));
        assert_eq!(warned, !is_enough, "{most}: {:?}", process.said());
    }
}
