//! Tests of the flows without a browser, against a provider that is unreachable or counts its
//! calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::auth::app::{AppAuth, AuthSettings, OnReuse, RevocationMode, Userinfo};
use crate::auth::bearer::dpop::DpopError;
use crate::auth::refresh::lease::Lease;
use crate::auth::refresh::rotation::{GRACE, Rotation};
use crate::auth::refresh::single_flight::Refreshed;
use crate::auth::{Auth, Event, Observer, Stores, bearer::dpop};
use crate::oidc::dpop::Proof;
use crate::oidc::{ClientAuth, ClientSettings, Provider, ProviderSettings};
use crate::policy::app::{App, AppLogoutPolicy, OptionalEndpoints};
use crate::policy::background_paths::BackgroundPaths;
use crate::policy::rules::{AuthMethods, Rules};
use crate::runtime::BackgroundRuntime;
use crate::session::attempt::{BrowserHash, LoginAttempt, SealedVerifier};
use crate::session::cookie::CookieNames;
use crate::session::grant::RefreshGrant;
use crate::session::seal::{Key, KeyRing};
use crate::session::validity::{Limits, NoSessionReason};
use crate::store::Memory;
use crate::types::net::Origin;
use crate::types::oauth::{
    AppName, AuthorizationCode, ClientId, Generation, Issuer, JwkThumbprint, Nonce, ProviderName,
    RefreshToken, SessionId, Subject,
};
use crate::types::secret::Secret;
use crate::types::target::PathAmbiguities;
use crate::types::time::{ManualClock, Timestamp};

const START: Timestamp = Timestamp::from_secs(1_000_000);

struct Nobody;

impl Observer for Nobody {
    fn record_event(&self, _app: &AppAuth, _event: Event, _outcome: &'static str) {}
    fn revocations_synced(&self, _known: bool) {}
    fn revocation_event_invalid(&self) {}
    fn sessions_on_previous_keys(&self, _count: usize) {}
    fn observe_cookie_size(&self, _app: &AppAuth, _bytes: usize) {}
}

struct Bench {
    auth: Arc<Auth>,
    app: Arc<AppAuth>,
    clock: Arc<ManualClock>,
}

/// One app with a provider at this address.
fn bench(provider: SocketAddr) -> Bench {
    replica(provider, Arc::new(Memory::new(10)))
}

/// The same, with a session store that replicas can share.
fn replica(provider: SocketAddr, sessions: Arc<Memory>) -> Bench {
    crate::oidc::install_crypto();
    let clock = Arc::new(ManualClock::starting_at(START));
    let settings = ProviderSettings::new(
        ProviderName::new("login"),
        Issuer::new(format!("http://{provider}")),
    )
    .unwrap();
    let origin = Origin::parse("https://store.example.com").unwrap();
    let app = Arc::new(App {
        name: AppName::new("store"),
        cookies: CookieNames::new("doorward", &origin),
        origin,
        aliases: Vec::new(),
        prefix: "/.doorward".to_owned(),
        rules: Rules::new(Vec::new(), false, AuthMethods::SESSION),
        background_paths: BackgroundPaths::default(),
        allowed_ambiguities: PathAmbiguities::NONE,
        headers: Vec::new(),
        limits: Limits {
            idle: Duration::from_secs(1800),
            absolute: Duration::from_secs(43_200),
        },
        native: None,
        bearer: None,
        offers: OptionalEndpoints::default(),
        app_logout: AppLogoutPolicy::default(),
        max_kept_form: 1024,
        websocket_origins: Vec::new(),
    });
    let treated = AuthSettings {
        userinfo: Userinfo::Never,
        on_refresh_token_reuse: OnReuse::EndSession,
        outage_grace: Duration::ZERO,
        revocation: RevocationMode::FailOpen,
    };
    let callback = Url::parse("https://store.example.com/.doorward/callback").unwrap();
    let client = ClientSettings::new(ClientId::new("store"), ClientAuth::None, callback);
    let ring = Arc::new(KeyRing::new(
        Key::new(&Secret::new([7; 32])).unwrap(),
        Vec::new(),
    ));
    let provider = Provider::new(settings, clock.clone());
    let app = Arc::new(AppAuth::new(app, provider, client, treated, &ring, 10));
    let runtime = BackgroundRuntime::on(tokio::runtime::Handle::current());
    let memory = || Arc::new(Memory::new(10));
    let stores = Stores {
        sessions,
        anonymous: memory(),
        max_anonymous: 10,
        proofs: memory(),
    };
    let auth = Auth::new(
        vec![app.clone()],
        runtime,
        clock.clone(),
        stores,
        Arc::new(Nobody),
    );
    Bench { auth, app, clock }
}

/// An address where nothing listens.
async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

fn used(generation: Generation) -> RefreshGrant {
    let token = RefreshToken::new("token");
    RefreshGrant {
        token,
        sid: SessionId::new("sid"),
        generation,
        subject: Subject::new("alice"),
        started_at: START,
        sealed_at: START,
        active_at: START,
    }
}

fn attempt(id: usize) -> LoginAttempt {
    LoginAttempt {
        id: id.to_string(),
        nonce: Nonce::new("nonce"),
        verifier: SealedVerifier("verifier".to_owned()),
        browser: BrowserHash::of("browser"),
    }
}

#[tokio::test]
async fn codes_that_are_none_take_no_room_of_sessions_and_are_soon_forgotten() {
    let bench = bench(nowhere().await);
    for id in 0..100 {
        let end = bench
            .auth
            .redeem_once(&bench.app, attempt(id), AuthorizationCode::new("junk"))
            .await;
        assert!(end.is_err());
    }
    assert_eq!(bench.auth.stores.sessions.held(), Some(0));
    assert_eq!(bench.auth.stores.anonymous.held(), Some(10));
    bench.clock.advance(Duration::from_secs(30));
    bench.auth.sweep();
    assert_eq!(bench.auth.stores.anonymous.held(), Some(0));
}

/// A successor that no client received and that is gone must end the session.
#[tokio::test]
async fn a_session_whose_newest_token_is_lost_ends_and_one_within_its_grace_waits() {
    let bench = bench(nowhere().await);
    let (old, new) = (Generation::FIRST, Generation::FIRST.next());
    let refresh = || async { bench.auth.refresh(&bench.app, used(old), None).wait().await };
    let rotations = bench.auth.rotations(&bench.app);
    let rotation = Rotation {
        newest: new,
        ..Rotation::default()
    };
    rotations
        .note(&SessionId::new("sid"), &rotation, START, START)
        .await
        .unwrap();
    assert!(matches!(
        refresh().await,
        Refreshed::Revocation(NoSessionReason::Expired)
    ));

    rotations
        .confirm(&SessionId::new("sid"), new, START, START)
        .await
        .unwrap();
    bench.clock.advance(GRACE);
    assert!(
        matches!(refresh().await, Refreshed::Unavailable(outage) if outage.code == "rotated_token_gone")
    );
    bench.clock.advance(Duration::from_secs(1));
    assert!(matches!(
        refresh().await,
        Refreshed::Revocation(NoSessionReason::RefreshTokenReused)
    ));
}

#[tokio::test]
async fn two_generations_of_a_session_are_never_at_the_provider_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bench = bench(listener.local_addr().unwrap());
    let (calls, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(serve(listener, (calls.clone(), most.clone())));
    let flights = [
        Generation::FIRST,
        Generation::FIRST.next(),
        Generation::FIRST,
    ]
    .map(|generation| bench.auth.refresh(&bench.app, used(generation), None));
    for flight in flights {
        assert!(
            matches!(flight.wait().await, Refreshed::Unavailable(outage) if outage.code == "provider_unavailable")
        );
    }
    assert_eq!(calls.load(Ordering::SeqCst) >> 32, 3, "token calls in all");
    assert_eq!(most.load(Ordering::SeqCst), 1, "token calls at a time");
}

#[tokio::test]
async fn replicas_that_share_a_store_take_turns_at_a_session() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, sessions) = (listener.local_addr().unwrap(), Arc::new(Memory::new(10)));
    let replicas: Vec<_> = (0..3).map(|_| replica(address, sessions.clone())).collect();
    let (calls, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(serve(listener, (calls.clone(), most.clone())));
    let flights: Vec<_> = replicas
        .iter()
        .map(|bench| {
            bench
                .auth
                .refresh(&bench.app, used(Generation::FIRST), None)
        })
        .collect();
    for flight in flights {
        assert!(
            matches!(flight.wait().await, Refreshed::Unavailable(outage) if outage.code == "provider_unavailable")
        );
    }
    assert_eq!(calls.load(Ordering::SeqCst) >> 32, 3, "token calls in all");
    assert_eq!(most.load(Ordering::SeqCst), 1, "token calls at a time");
}

#[tokio::test]
async fn nothing_is_sent_for_a_session_that_was_ended_at_another_replica() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, sessions) = (listener.local_addr().unwrap(), Arc::new(Memory::new(10)));
    let (here, there) = (
        replica(address, sessions.clone()),
        replica(address, sessions),
    );
    let (calls, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(serve(listener, (calls.clone(), most)));
    let (sid, subject) = (SessionId::new("sid"), Subject::new("alice"));
    assert!(
        there
            .auth
            .revoke_session_and_rotation(&there.app, &sid, &subject, START)
            .await
            .is_none()
    );
    let refreshed = here
        .auth
        .refresh(&here.app, used(Generation::FIRST), None)
        .wait()
        .await;
    assert!(matches!(
        refreshed,
        Refreshed::Revocation(NoSessionReason::Revoked)
    ));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_lease_of_a_replica_that_died_is_waited_for_and_ends() {
    let bench = bench(nowhere().await);
    let rotations = bench.auth.rotations(&bench.app);
    let lease = Lease::take(
        rotations.store,
        &*bench.clock,
        rotations.key("refresh", &SessionId::new("sid")),
    )
    .await;
    let lease = lease.unwrap().expect("nobody has it");
    assert_eq!(lease.extend_past(Duration::from_secs(30)).await, Ok(true));
    let flight = bench
        .auth
        .refresh(&bench.app, used(Generation::FIRST), None);
    for within in [0, 30] {
        bench.clock.advance(Duration::from_secs(within));
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert!(
            flight.try_result().is_none(),
            "its turn has not come after {within} s"
        );
    }
    bench.clock.advance(Duration::from_secs(10));
    assert!(
        matches!(flight.wait().await, Refreshed::Unavailable(outage) if outage.code == "provider_unreachable")
    );
    assert_eq!(
        lease.extend_past(Duration::from_secs(30)).await,
        Ok(false),
        "who lost it may send nothing"
    );
}

fn proof(key: &str, id: usize) -> Proof {
    Proof {
        key: JwkThumbprint::new(key),
        id: id.to_string(),
        counts_until: START.plus(Duration::from_secs(60)),
    }
}

#[tokio::test]
async fn a_proof_counts_once_and_none_passes_that_cannot_be_remembered() {
    let bench = bench(nowhere().await);
    let spend = async |key: &str, id| bench.auth.spend_proof(&bench.app, &proof(key, id)).await;
    for id in 0..8 {
        assert_eq!(spend("mine", id).await, Ok(()));
    }
    assert_eq!(spend("mine", 0).await, Err(DpopError::Replayed));
    assert_eq!(
        spend("another's", 0).await,
        Ok(()),
        "the same `jti` of another key"
    );
    assert_eq!(spend("mine", 8).await, Ok(()));
    assert!(
        matches!(spend("mine", 9).await, Err(DpopError::Unavailable(outage)) if outage.code == "store_full")
    );
    assert_eq!(
        (
            bench.auth.stores.sessions.held(),
            bench.auth.stores.anonymous.held()
        ),
        (Some(0), Some(0))
    );
    bench.clock.advance(Duration::from_secs(60));
    bench.auth.sweep();
    assert_eq!(bench.auth.stores.proofs.held(), Some(0));
}

#[tokio::test]
async fn a_nonce_is_of_one_app_and_counts_for_five_minutes() {
    let somewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (other, bench) = (
        bench(somewhere.local_addr().unwrap()),
        bench(nowhere().await),
    );
    let nonce = bench.auth.new_nonce(&bench.app).unwrap();
    let nonce = nonce.to_str().unwrap();
    let until = START.plus(Duration::from_secs(300));
    let counts = dpop::nonce_counts_until;
    assert_eq!(counts(&bench.app, nonce, START), Some(until));
    assert_eq!(counts(&bench.app, nonce, until), None);
    assert_eq!(counts(&bench.app, "", START), None);
    assert_eq!(counts(&bench.app, &nonce.to_lowercase(), START), None);
    // The same key ring, but the seal is bound to the issuer too.
    assert_eq!(counts(&other.app, nonce, START), None);
    assert!(!bench.auth.is_nonce_ageing(until));
    bench.clock.advance(Duration::from_secs(151));
    assert!(bench.auth.is_nonce_ageing(until));
}

type Counts = (Arc<AtomicUsize>, Arc<AtomicUsize>);

async fn serve(listener: TcpListener, counts: Counts) {
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, issuer.clone(), counts.clone()));
    }
}

/// Serves discovery, and everything else with 503 after 20 ms. The upper half of the first counter
/// counts all calls.
async fn answer(mut stream: TcpStream, issuer: String, (calls, most): Counts) {
    let mut head = vec![0; 8192];
    let read = stream.read(&mut head).await.unwrap();
    let (status, body) = if head[..read].starts_with(b"GET /.well-known/") {
        let at = |path: &str| format!("{issuer}/{path}");
        let document = json!({
            "issuer": issuer, "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
            "jwks_uri": at("jwks"), "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
        });
        ("200 OK", document.to_string())
    } else {
        let now = calls.fetch_add((1 << 32) + 1, Ordering::SeqCst) + 1;
        most.fetch_max(now & 0xffff_ffff, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        calls.fetch_sub(1, Ordering::SeqCst);
        ("503 Service Unavailable", String::new())
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
}
