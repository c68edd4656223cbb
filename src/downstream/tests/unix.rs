//! Unix domain sockets.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::super::{ConnectionSettings, Listener, ListenerSettings, SocketAccess, drain, serve};
use super::support::{Echo, read_until_idle};
use crate::telemetry::metrics::Metrics;
use crate::types::net::ListenAddr;

#[test]
fn unix_socket_has_the_configured_permissions() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.sock");
    let address = ListenAddr::Unix(path.clone());
    let own_group = std::fs::metadata(folder.path()).unwrap().gid();
    for mode in [0o660, 0o600, 0o666] {
        let settings = ListenerSettings {
            socket_access: SocketAccess {
                mode: Some(mode),
                owner: None,
                group: Some(own_group),
            },
            ..ListenerSettings::default()
        };
        // Also of a socket that a previous process left behind.
        drop(Listener::bind(&address, &settings).unwrap());
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode);
        assert_eq!(metadata.gid(), own_group);
    }
}

#[tokio::test]
async fn unix_socket_serves_and_replaces_only_stale_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.sock");
    let address = ListenAddr::Unix(path.clone());
    let settings = Arc::new(ListenerSettings::default());
    drop(Listener::bind(&address, &settings).unwrap());
    let listener = Listener::bind(&address, &settings).unwrap();
    assert!(
        Listener::bind(&address, &settings).is_err(),
        "a socket in use was replaced"
    );
    let (_trigger, drain) = drain();
    let metrics = Arc::new(Metrics::new().unwrap());
    let (_settings, receiver) = watch::channel(ConnectionSettings {
        tls: None,
        limits: settings,
    });
    tokio::spawn(serve(
        listener,
        receiver,
        Arc::new(Echo::default()),
        metrics,
        drain,
    ));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(b"GET /u HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(read_until_idle(&mut stream).await.0.contains("[GET /u"));

    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(
        Listener::bind(
            &ListenAddr::Unix(file.clone()),
            &ListenerSettings::default()
        )
        .is_err()
    );
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
}
