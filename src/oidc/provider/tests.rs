//! Tests of the provider client against a fake provider, over real connections.

mod client_auth;
mod clock;
mod documents;
mod dpop;
mod pushed_authorization;
mod reaching;
mod request_objects;
mod requests;
mod signed_responses;

use std::cell::RefCell;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::*;
use crate::oidc::error::TokenRejected;
use crate::oidc::id_token::IdTokenExpectation;
use crate::oidc::install_crypto;
use crate::oidc::jws::JwsError;
use crate::oidc::presented_token::PresentedToken;
use crate::oidc::testing::{FakeProvider, ReceivedRequest, Reply, Signer, jwks, with};
use crate::oidc::token::{Revoked, TokenError, TokenResponse};
use crate::oidc::verified::VerifiedToken;
use crate::oidc::{ClientAuth, ClientSettings};
use crate::types::oauth::{
    AccessToken, AuthorizationCode, ClientId, ClientSecret, IdToken, Issuer, PkceVerifier,
    ProviderName, RefreshToken, Subject,
};
use crate::types::time::{ManualClock, Timestamp};

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://login.example.com";

/// Replies of the fake provider that override the usual ones.
type Script = Arc<Mutex<Box<dyn Fn(&ReceivedRequest) -> Option<Reply> + Send>>>;

/// An error code, and the reply that causes it.
type Case = (&'static str, Box<dyn Fn() -> Reply + Send>);

struct TestProvider {
    server: FakeProvider,
    provider: Arc<Provider>,
    clock: Arc<ManualClock>,
    script: Script,
    keys: Arc<Mutex<String>>,
}

impl TestProvider {
    async fn new() -> Self {
        Self::with_settings(|_| {}).await
    }

    async fn with_settings(change: impl FnOnce(&mut ProviderSettings)) -> Self {
        install_crypto();
        let script: Script = Arc::new(Mutex::new(Box::new(|_| None)));
        let keys = Arc::new(Mutex::new(jwks(&[Signer::es256("old").jwk()])));
        let overrides = Arc::clone(&script);
        let published = Arc::clone(&keys);
        let server = FakeProvider::start(move |request| {
            let reply = (overrides.lock().unwrap())(request);
            reply.unwrap_or_else(|| usual(request, &published.lock().unwrap()))
        })
        .await;
        let discovery = Url::parse(&format!(
            "http://login.localhost:{}/d",
            server.address.port()
        ))
        .unwrap();
        let mut settings =
            ProviderSettings::at(ProviderName::new("login"), Issuer::new(ISSUER), discovery);
        change(&mut settings);
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_secs(NOW)));
        let provider = Provider::new(settings, Arc::clone(&clock) as Arc<dyn Clock>);
        Self {
            server,
            provider,
            clock,
            script,
            keys,
        }
    }

    fn on(&self, path: &'static str, reply: impl Fn() -> Reply + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(move |request| (request.path == path).then(&reply));
    }

    fn publish(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        *self.keys.lock().unwrap() = jwks(&keys);
    }

    fn client(&self) -> ClientSettings {
        let secret = ClientAuth::Post(ClientSecret::new("s3cret"));
        ClientSettings::new(
            ClientId::new("store"),
            secret,
            Url::parse("https://store.example.com/cb").unwrap(),
        )
    }

    async fn verify(&self, token: &str) -> Result<VerifiedToken, TokenRejected> {
        self.provider
            .verify_access_token(&self.client(), &AccessToken::new(token))
            .await
    }

    /// Verifies a token that a client sent.
    async fn verify_presented(&self, token: &str) -> Result<PresentedToken, TokenRejected> {
        let client_id = ClientId::new("api");
        let audience = Audience {
            client_id: &client_id,
            audiences: &["store".to_owned()],
            mark: None,
        };
        self.provider.verify_presented(audience, token).await
    }

    async fn refresh(&self) -> Result<TokenResponse, TokenError> {
        self.provider
            .refresh(
                &self.client(),
                BoundRefreshToken::unbound(&RefreshToken::new("rt")),
            )
            .await
    }
}

fn usual(request: &ReceivedRequest, keys: &str) -> Reply {
    match request.path.as_str() {
        "/d" => {
            let port = request
                .head
                .lines()
                .find_map(|line| line.strip_prefix("host: login.localhost:"))
                .unwrap();
            Reply::Json(200, metadata(port).to_string())
        }
        "/keys" => Reply::Json(200, keys.to_owned()),
        "/token" => Reply::Json(200, r#"{"access_token":"at","token_type":"Bearer"}"#.into()),
        "/userinfo" => Reply::Json(200, r#"{"sub":"alice","email":"a@example.com"}"#.into()),
        "/revoke" => Reply::Json(200, String::new()),
        _ => Reply::Json(404, String::new()),
    }
}

fn metadata(port: &str) -> Value {
    let at = |path| format!("http://login.localhost:{port}/{path}");
    json!({
        "issuer": ISSUER, "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
        "jwks_uri": at("keys"), "userinfo_endpoint": at("userinfo"), "revocation_endpoint": at("revoke"),
    })
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "alice", "aud": "store", "exp": NOW + 60, "iat": NOW})
}

thread_local! {
    static CAPTURED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Captures the log of this thread until it is dropped. One subscriber serves all threads and stays:
/// while subscribers come and go, an event that another thread logs first may stay disabled.
struct LogCapture;

impl LogCapture {
    fn start() -> Self {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            tracing_subscriber::fmt()
                .with_ansi(false)
                .with_writer(|| ThreadSink)
                .init();
        });
        CAPTURED.set(Some(Vec::new()));
        Self
    }

    fn text(&self) -> String {
        let captured = CAPTURED.with_borrow(Clone::clone);
        String::from_utf8(captured.unwrap()).unwrap()
    }
}

impl Drop for LogCapture {
    fn drop(&mut self) {
        CAPTURED.set(None);
    }
}

struct ThreadSink;

impl std::io::Write for ThreadSink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        CAPTURED.with_borrow_mut(|captured| {
            captured
                .iter_mut()
                .for_each(|text| text.extend_from_slice(bytes));
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
