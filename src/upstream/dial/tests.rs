//! Backends with several addresses: dead ones cost little time, and are remembered.

use std::net::Ipv4Addr;

use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::types::time::{Clock, ManualClock, Timestamp};
use crate::upstream::{HeaderPolicy, UpstreamSettings};

/// A name with the addresses 127.0.0.2 and 127.0.0.3.
const TWO_ADDRESSES: &str = "127.0.0.2 app.test\n127.0.0.3 app.test\n";

struct TestDialer {
    dialer: Dialer,
    metrics: Metrics,
    clock: Arc<ManualClock>,
    folder: TempDir,
}

/// A dialer for `url`, with this hosts file.
fn dialer(hosts: &str, url: &str, adjust: impl FnOnce(&mut UpstreamSettings)) -> TestDialer {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hosts"), hosts).unwrap();
    let mut settings = UpstreamSettings::at(url.parse().unwrap());
    adjust(&mut settings);
    let plan = UpstreamPlan::new("store", settings, HeaderPolicy::new([], &[])).unwrap();
    let metrics = Metrics::new().unwrap();
    let clock = Arc::new(ManualClock::starting_at(Timestamp::from_secs(1_000_000)));
    let resolver = Resolver::in_folder(folder.path(), Arc::clone(&clock) as Arc<dyn Clock>);
    TestDialer {
        dialer: Dialer::new(plan, resolver, &metrics),
        metrics,
        clock,
        folder,
    }
}

impl TestDialer {
    /// The address of the connection.
    async fn connect(&self) -> Result<IpAddr, UpstreamError> {
        let dialled = self.dialer.dial(UpstreamProtocol::Http1).await?;
        let address = match dialled {
            Dialled::Tcp(stream) => stream.peer_addr(),
            Dialled::Tls(stream) => stream.get_ref().0.peer_addr(),
            Dialled::Unix(_) => panic!("not a Unix socket"),
        };
        Ok(address.unwrap().ip())
    }

    fn failed_addresses(&self) -> u64 {
        self.metrics
            .upstream_address_failures
            .with_label_values(&["store"])
            .get()
    }
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// A listener whose backlog is full, so that the kernel answers no further connection, and the
/// connections that fill it.
struct SilentListener {
    port: u16,
    _listener: TcpListener,
    _connections: [TcpStream; 2],
}

async fn silent(ip: IpAddr) -> SilentListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((ip, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Linux keeps one connection more than the backlog says.
    let first = TcpStream::connect(address).await.unwrap();
    let second = TcpStream::connect(address).await.unwrap();
    SilentListener {
        port: address.port(),
        _listener: listener,
        _connections: [first, second],
    }
}

#[tokio::test]
async fn silent_address_is_overtaken_and_remembered() {
    let dead = silent(ip(2)).await;
    let _living = TcpListener::bind((ip(3), dead.port)).await.unwrap();
    let url = format!("http://app.test:{}", dead.port);
    let test = dialer(TWO_ADDRESSES, &url, |_| {});
    for _ in 0..4 {
        assert_eq!(test.connect().await.unwrap(), ip(3));
    }
    assert_eq!(test.failed_addresses(), 1, "it is tried first only once");
}

#[tokio::test]
async fn connections_have_the_configured_keepalive() {
    let backend = TcpListener::bind((ip(2), 0)).await.unwrap();
    let url = format!("http://{}", backend.local_addr().unwrap());
    for idle in [None, Some(Duration::from_secs(77))] {
        let test = dialer("", &url, |settings| settings.tcp_keepalive = idle);
        let Dialled::Tcp(stream) = test.dialer.dial(UpstreamProtocol::Http1).await.unwrap() else {
            panic!("not TCP")
        };
        let socket = SockRef::from(&stream);
        let found = socket
            .keepalive()
            .unwrap()
            .then(|| socket.tcp_keepalive_time().unwrap());
        assert_eq!(found, idle);
    }
}

#[tokio::test]
async fn refused_address_is_followed_by_the_next() {
    let living = TcpListener::bind((ip(3), 0)).await.unwrap();
    let url = format!("http://app.test:{}", living.local_addr().unwrap().port());
    let test = dialer(TWO_ADDRESSES, &url, |_| {});
    for _ in 0..4 {
        assert_eq!(test.connect().await.unwrap(), ip(3));
    }
    assert_eq!(test.failed_addresses(), 1);
}

#[tokio::test]
async fn silence_of_all_addresses_is_a_timeout() {
    let dead = silent(ip(2)).await;
    let url = format!("http://app.test:{}", dead.port);
    let test = dialer("127.0.0.2 app.test\n", &url, |settings| {
        settings.connect_timeout = Duration::from_millis(200);
    });
    assert!(matches!(
        test.connect().await,
        Err(UpstreamError::ConnectTimeout)
    ));
}

#[tokio::test]
async fn stalled_handshake_leaves_time_for_other_addresses() {
    let issued = rcgen::generate_simple_self_signed(["app.test".to_owned()]).unwrap();
    let stalling = TcpListener::bind((ip(2), 0)).await.unwrap();
    let port = stalling.local_addr().unwrap().port();
    let living = TcpListener::bind((ip(3), port)).await.unwrap();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = living.accept().await {
            open.push(acceptor.accept(stream).await);
        }
    });
    let test = dialer(
        TWO_ADDRESSES,
        &format!("https://app.test:{port}"),
        |settings| {
            settings.ca_certificates = Some(issued.cert.pem().into_bytes());
            settings.connect_timeout = Duration::from_secs(2);
        },
    );
    for _ in 0..2 {
        assert_eq!(test.connect().await.unwrap(), ip(3));
    }
    assert_eq!(test.failed_addresses(), 1);
}

#[tokio::test]
async fn backend_that_moved_is_looked_up_again() {
    let first = TcpListener::bind((ip(2), 0)).await.unwrap();
    let port = first.local_addr().unwrap().port();
    let test = dialer(
        "127.0.0.2 app.test\n",
        &format!("http://app.test:{port}"),
        |_| {},
    );
    assert_eq!(test.connect().await.unwrap(), ip(2));
    drop(first);
    let _second = TcpListener::bind((ip(3), port)).await.unwrap();
    std::fs::write(test.folder.path().join("hosts"), "127.0.0.3 app.test\n").unwrap();
    test.clock.advance(Duration::from_secs(1));
    assert_eq!(test.connect().await.unwrap(), ip(3));
}
