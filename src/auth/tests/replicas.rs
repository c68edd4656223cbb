//! Concurrent refreshes of one session, in one process and among replicas.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Setup, closed_port};
use crate::auth::refresh::lease::{Holder, end_of_lease};
use crate::auth::refresh::rotation::Rotation;
use crate::auth::refresh::rotations::ClaimedRotation;
use crate::auth::refresh::{RefreshHandle, Refreshed};
use crate::store::Memory;
use crate::types::oauth::{Generation, SessionId};

/// The store key of the lease.
const LEASE_KEY: &str = "refresh/store/sid";

/// A provider that counts the calls of its token endpoint. Each fails after 20 ms.
struct CountingProvider {
    address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    total: AtomicUsize,
    concurrent: AtomicUsize,
    most_concurrent: AtomicUsize,
}

impl CountingProvider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let served = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(respond(stream, address, Arc::clone(&served)));
            }
        });
        Self { address, counts }
    }

    fn total(&self) -> usize {
        self.counts.total.load(Ordering::SeqCst)
    }

    fn most_concurrent(&self) -> usize {
        self.counts.most_concurrent.load(Ordering::SeqCst)
    }
}

async fn respond(mut stream: TcpStream, address: SocketAddr, counts: Arc<Counts>) {
    let mut head = vec![0; 8192];
    let read = stream.read(&mut head).await.unwrap();
    let (status, body) = if head[..read].starts_with(b"GET /.well-known/") {
        let at = |path: &str| format!("http://{address}/{path}");
        let document = json!({
            "issuer": format!("http://{address}"), "authorization_endpoint": at("authorize"),
            "token_endpoint": at("token"), "jwks_uri": at("jwks"),
            "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
        });
        ("200 OK", document.to_string())
    } else {
        counts.total.fetch_add(1, Ordering::SeqCst);
        let concurrent = counts.concurrent.fetch_add(1, Ordering::SeqCst) + 1;
        counts
            .most_concurrent
            .fetch_max(concurrent, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        counts.concurrent.fetch_sub(1, Ordering::SeqCst);
        ("503 Service Unavailable", String::new())
    };
    let length = body.len();
    let response = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    stream.write_all(response.as_bytes()).await.unwrap();
}

async fn all_fail(refreshes: impl IntoIterator<Item = RefreshHandle>) {
    for refresh in refreshes {
        let refreshed = refresh.wait().await;
        let is_expected = matches!(
            refreshed,
            Refreshed::Unavailable(outage) if outage.code == "provider_unavailable"
        );
        assert!(is_expected, "{refreshed:?}");
    }
}

#[tokio::test]
async fn requests_with_the_same_token_share_one_refresh() {
    let provider = CountingProvider::start().await;
    let setup = Setup::new(provider.address);
    all_fail([0; 5].map(|_| setup.refresh(Generation::FIRST))).await;
    assert_eq!(provider.total(), 1);
}

#[tokio::test]
async fn generations_of_a_session_are_refreshed_one_at_a_time() {
    let provider = CountingProvider::start().await;
    let setup = Setup::new(provider.address);
    let (first, second) = (Generation::FIRST, Generation::FIRST.next());
    all_fail([first, second, first].map(|generation| setup.refresh(generation))).await;
    assert_eq!(provider.total(), 3);
    assert_eq!(provider.most_concurrent(), 1);
}

#[tokio::test]
async fn replicas_refresh_a_session_one_at_a_time() {
    let provider = CountingProvider::start().await;
    let sessions = Arc::new(Memory::new(10));
    let replicas = [0; 3].map(|_| Setup::replica(provider.address, &sessions));
    all_fail(
        replicas
            .each_ref()
            .map(|setup| setup.refresh(Generation::FIRST)),
    )
    .await;
    assert_eq!(provider.total(), 3);
    assert_eq!(provider.most_concurrent(), 1);
}

#[tokio::test]
async fn session_revoked_at_another_replica_sends_no_token() {
    let provider = CountingProvider::start().await;
    let sessions = Arc::new(Memory::new(10));
    let [here, there] = [0; 2].map(|_| Setup::replica(provider.address, &sessions));
    let session = (&super::used(Generation::FIRST)).into();
    let newest = there.revoker.revoke_with_rotation(&there.app, &session);
    assert!(newest.await.is_none());
    let refreshed = here.refresh(Generation::FIRST).wait().await;
    assert!(matches!(refreshed, Refreshed::SessionOver(why) if why.code() == "session_revoked"));
    assert_eq!(provider.total(), 0);
}

/// The lease of a session is held for `generation` by a replica that does not prolong it.
async fn hold_lease(setup: &Setup, generation: Generation) {
    let holder = Holder::new(generation).unwrap();
    let now = setup.context.now();
    let store = &setup.context.stores.sessions;
    let other = store.put_if_absent(LEASE_KEY, holder.bytes(), end_of_lease(now), now);
    assert_eq!(other.await, Ok(None), "the lease is free");
}

#[tokio::test]
async fn lease_of_a_dead_replica_expires() {
    let setup = Setup::new(closed_port().await);
    hold_lease(&setup, Generation::FIRST).await;
    let refresh = setup.refresh(Generation::FIRST);
    for seconds in [0, 14] {
        setup.clock.advance(Duration::from_secs(seconds));
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert!(refresh.try_result().is_none(), "after {seconds} s");
    }
    setup.clock.advance(Duration::from_secs(1));
    let refreshed = refresh.wait().await;
    assert!(
        matches!(refreshed, Refreshed::Unavailable(outage) if outage.code == "provider_unreachable")
    );
}

#[tokio::test]
async fn lease_whose_result_is_stored_is_taken_over() {
    let provider = CountingProvider::start().await;
    let setup = Setup::new(provider.address);
    let (first, second) = (Generation::FIRST, Generation::FIRST.next());
    hold_lease(&setup, first).await;
    let stored = Rotation {
        newest: second,
        ..Rotation::default()
    };
    let (sid, now) = (SessionId::new("sid"), setup.context.now());
    let noted = setup.rotations().note(&sid, &stored, now, now).await;
    noted.unwrap();
    all_fail([setup.refresh(second)]).await;
    assert_eq!(provider.total(), 1, "it did not wait for the lease");
}

#[tokio::test]
async fn lost_lease_permits_no_call() {
    let setup = Setup::new(closed_port().await);
    let (sid, now) = (SessionId::new("sid"), setup.context.now());
    let rotations = setup.rotations();
    let claimed = rotations.claim(&sid, Generation::FIRST, now).await;
    let Ok(ClaimedRotation::Taken(lease, _)) = claimed else {
        panic!("the lease is free");
    };
    assert_eq!(lease.ensure().await, Ok(true));
    setup.clock.advance(Duration::from_secs(11));
    assert_eq!(lease.ensure().await, Ok(true), "it is prolonged");
    setup.clock.advance(Duration::from_secs(15));
    assert_eq!(lease.ensure().await, Ok(false));
    let now = setup.context.now();
    let claimed = rotations.claim(&sid, Generation::FIRST, now).await;
    assert!(matches!(claimed, Ok(ClaimedRotation::Taken(..))));
}

#[tokio::test]
async fn released_lease_is_free_at_once() {
    let setup = Setup::new(closed_port().await);
    let sid = SessionId::new("sid");
    for _ in 0..2 {
        let now = setup.context.now();
        let rotations = setup.rotations();
        match rotations.claim(&sid, Generation::FIRST, now).await {
            Ok(ClaimedRotation::Taken(lease, _)) => lease.release().await,
            Ok(ClaimedRotation::Held(_)) | Err(_) => panic!("the lease is held"),
        }
    }
}
