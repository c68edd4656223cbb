//! A provider whose token endpoint follows a script.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::START;
use crate::oidc::testing::{FakeProvider, ReceivedRequest, Reply, Signer};

/// One response of the token endpoint.
#[derive(Clone)]
pub(super) enum Scripted {
    /// Signed tokens with these claims.
    Tokens(Tokens),
    /// `invalid_grant`.
    Refused,
    /// `invalid_client`.
    ClientRejected,
    /// Status 200 without tokens.
    NoTokens,
    /// Status 503.
    Unavailable,
    /// Status 503 with this `Retry-After`.
    UnavailableFor(&'static str),
    /// The connection is closed without a response: the outcome is ambiguous.
    NoResponse,
}

/// The tokens of a response.
#[derive(Clone)]
pub(super) struct Tokens {
    pub(super) subject: &'static str,
    pub(super) nonce: Option<String>,
    pub(super) refresh_token: Option<&'static str>,
    /// When the tokens expire, in seconds after the start of the test.
    pub(super) expires_in: i64,
    pub(super) with_id_token: bool,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            subject: "alice",
            nonce: None,
            refresh_token: Some("next"),
            expires_in: 300,
            with_id_token: true,
        }
    }
}

type Script = Arc<Mutex<VecDeque<Scripted>>>;

pub(super) struct ScriptedProvider {
    server: FakeProvider,
    script: Script,
    lacks_keys: Arc<AtomicBool>,
}

impl ScriptedProvider {
    pub(super) async fn start(script: impl IntoIterator<Item = Scripted>) -> Self {
        let script: Script = Arc::new(Mutex::new(script.into_iter().collect()));
        let (responses, lacks_keys) = (Arc::clone(&script), Arc::new(AtomicBool::new(false)));
        let keys_fail = Arc::clone(&lacks_keys);
        let signer = Signer::es256("key");
        let server = FakeProvider::start(move |request| {
            let issuer = issuer_of(request);
            match request.path.as_str() {
                "/.well-known/openid-configuration" => Reply::Json(200, discovery(&issuer)),
                "/jwks" if keys_fail.load(Ordering::Relaxed) => Reply::Json(503, String::new()),
                "/jwks" => Reply::Json(200, json!({"keys": [signer.jwk()]}).to_string()),
                "/token" => match responses.lock().unwrap().pop_front() {
                    Some(Scripted::Tokens(tokens)) => {
                        Reply::Json(200, tokens.response(&issuer, &signer))
                    }
                    Some(Scripted::Refused) => {
                        Reply::Json(400, json!({"error": "invalid_grant"}).to_string())
                    }
                    Some(Scripted::ClientRejected) => {
                        Reply::Json(401, json!({"error": "invalid_client"}).to_string())
                    }
                    Some(Scripted::NoTokens) => {
                        Reply::Json(200, json!({"status": "error"}).to_string())
                    }
                    Some(Scripted::NoResponse) => Reply::Raw(Vec::new()),
                    Some(Scripted::UnavailableFor(retry_after)) => Reply::Raw(
                        format!(
                            "HTTP/1.1 503 Busy\r\nRetry-After: {retry_after}\r\n\
                            Content-Length: 0\r\n\r\n"
                        )
                        .into_bytes(),
                    ),
                    Some(Scripted::Unavailable) | None => Reply::Json(503, String::new()),
                },
                _ => Reply::Json(200, String::new()),
            }
        });
        Self {
            server: server.await,
            script,
            lacks_keys,
        }
    }

    /// Whether the key endpoint fails from now on.
    pub(super) fn set_lacks_keys(&self, lacks_keys: bool) {
        self.lacks_keys.store(lacks_keys, Ordering::Relaxed);
    }

    /// Adds a response of the token endpoint.
    pub(super) fn respond(&self, response: Scripted) {
        self.script.lock().unwrap().push_back(response);
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub(super) fn token_calls(&self) -> usize {
        self.server.count("/token")
    }

    pub(super) fn revocations(&self) -> usize {
        self.server.count("/revoke")
    }

    /// The body of the last request to this endpoint.
    pub(super) fn last_body(&self, path: &str) -> String {
        self.server.last(path).body
    }
}

impl Tokens {
    fn response(&self, issuer: &str, signer: &Signer) -> String {
        let now = i64::try_from(START.secs()).unwrap();
        let claims = |nonce: Option<&str>| {
            let mut claims = json!({
                "iss": issuer, "sub": self.subject, "aud": "store", "iat": now,
                "exp": now + self.expires_in,
            });
            if let Some(nonce) = nonce {
                claims["nonce"] = Value::from(nonce);
            }
            signer.sign(&claims)
        };
        let id_token = self.with_id_token.then(|| claims(self.nonce.as_deref()));
        json!({
            "access_token": claims(None), "token_type": "Bearer", "id_token": id_token,
            "refresh_token": self.refresh_token,
        })
        .to_string()
    }
}

fn issuer_of(request: &ReceivedRequest) -> String {
    let mut headers = request.head.lines();
    let host =
        headers.find_map(|line| line.to_lowercase().strip_prefix("host: ").map(String::from));
    format!("http://{}", host.expect("a Host header"))
}

fn discovery(issuer: &str) -> String {
    let at = |path: &str| format!("{issuer}/{path}");
    json!({
        "issuer": issuer, "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"), "revocation_endpoint": at("revoke"),
        "jwks_uri": at("jwks"), "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
    })
    .to_string()
}
