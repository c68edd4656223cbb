//! Test support: signing keys, and a fake provider.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::CertifiedKey;
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::algorithm::Algorithm;
use super::client_key::ClientKey;
use super::jwks::KeySet;
use super::jws::{Jws, Signed};
use super::verified::VerifiedToken;

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A private key with a `kid`.
pub(crate) struct Signer {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    key: PrivateKey,
}

enum PrivateKey {
    Rsa(&'static RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub(super) fn new(kid: &str, algorithm: Algorithm) -> Self {
        let ec = |curve: &'static EcdsaSigningAlgorithm| {
            PrivateKey::Ec(EcdsaKeyPair::generate(curve).unwrap())
        };
        let key = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => PrivateKey::Rsa(one_rsa_key()),
            Algorithm::Es256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::EdDsa => PrivateKey::Ed(Ed25519KeyPair::generate().unwrap()),
            Algorithm::Rs384 | Algorithm::Rs512 | Algorithm::Ps384 | Algorithm::Ps512 => {
                panic!("not needed")
            }
        };
        Self {
            kid: kid.to_owned(),
            algorithm,
            key,
        }
    }

    pub(crate) fn es256(kid: &str) -> Self {
        Self::new(kid, Algorithm::Es256)
    }

    /// The public key, without `alg` and `use`.
    pub(crate) fn jwk(&self) -> Value {
        match &self.key {
            PrivateKey::Rsa(key) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"kty": "RSA", "kid": self.kid, "n": b64(public.n), "e": b64(public.e)})
            }
            PrivateKey::Ec(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = point[1..].split_at(point.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "kid": self.kid, "crv": crv, "x": b64(x), "y": b64(y)})
            }
            PrivateKey::Ed(key) => {
                json!({"kty": "OKP", "kid": self.kid, "crv": "Ed25519", "x": b64(key.public_key().as_ref())})
            }
        }
    }

    pub(super) fn header(&self) -> Value {
        json!({"alg": self.algorithm.name(), "kid": self.kid, "typ": "JWT"})
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_raw(&self.header().to_string(), &claims.to_string())
    }

    /// Signs any header and payload.
    pub(super) fn sign_raw(&self, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", b64(header), b64(payload));
        let random = SystemRandom::new();
        let signature = match &self.key {
            PrivateKey::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let padding: &'static dyn RsaEncoding = if self.algorithm == Algorithm::Ps256 {
                    &RSA_PSS_SHA256
                } else {
                    &RSA_PKCS1_SHA256
                };
                key.sign(padding, &random, input.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
            PrivateKey::Ec(key) => key
                .sign(&random, input.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            PrivateKey::Ed(key) => key.sign(input.as_bytes()).as_ref().to_vec(),
        };
        format!("{input}.{}", b64(signature))
    }
}

/// A new P-256 key of a client.
pub(crate) fn client_key() -> ClientKey {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let text = STANDARD.encode(pair.to_pkcs8v1().unwrap().as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    ClientKey::from_pem(pem.as_bytes(), None, None).unwrap()
}

/// One key per process, because generating it is slow.
fn one_rsa_key() -> &'static RsaKeyPair {
    static KEY: OnceLock<RsaKeyPair> = OnceLock::new();
    KEY.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
}

pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

pub(super) fn key_set(signers: &[&Signer]) -> KeySet {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    KeySet::parse(jwks(&keys).as_bytes()).unwrap()
}

/// A token with these claims and this `typ`, with a verified signature.
pub(super) fn signed(claims: &Value, typ: Option<&str>) -> Signed {
    let signer = Signer::es256("k");
    let mut header = json!({"alg": "ES256", "kid": "k"});
    if let Some(typ) = typ {
        header["typ"] = json!(typ);
    }
    let token = signer.sign_raw(&header.to_string(), &claims.to_string());
    Jws::parse(&token, &Algorithm::ALL)
        .unwrap()
        .verify(&key_set(&[&signer]))
        .unwrap()
}

/// A token with these claims, after all checks.
pub(super) fn verified(claims: &Value) -> VerifiedToken {
    VerifiedToken::from_checked(signed(claims, Some("JWT"))).unwrap()
}

/// `base` with one member replaced or removed.
pub(super) fn with(base: &Value, name: &str, value: Option<Value>) -> Value {
    let mut changed = base.clone();
    let members = changed.as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    changed
}

/// Malformed values of a required claim that is a text or a date.
pub(super) fn malformed_values(is_date: bool) -> [Value; 6] {
    let other_type = if is_date {
        json!("1800000300")
    } else {
        json!(7)
    };
    [
        Value::Null,
        json!(true),
        json!({}),
        json!([]),
        json!(""),
        other_type,
    ]
}

/// A request as the fake provider received it.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// How the fake provider replies.
pub(crate) enum Reply {
    /// A status and a JSON body.
    Json(u16, String),
    /// These bytes; then the connection is closed.
    Raw(Vec<u8>),
    /// These bytes; then nothing, with the connection open.
    Stall(Vec<u8>),
}

type Handler = dyn Fn(&ReceivedRequest) -> Reply + Send + Sync;

/// An HTTP server on a free loopback port, stopped when dropped.
pub(crate) struct FakeProvider {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<ReceivedRequest>>>,
    task: tokio::task::JoinHandle<()>,
}

impl FakeProvider {
    pub(crate) async fn start(
        handler: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(None, Arc::new(handler)).await
    }

    pub(super) async fn start_tls(
        certified: CertifiedKey<rcgen::KeyPair>,
        handler: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        Self::listen(Some(TlsAcceptor::from(Arc::new(config))), Arc::new(handler)).await
    }

    async fn listen(tls: Option<TlsAcceptor>, handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&received);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let log = Arc::clone(&log);
                let handler = Arc::clone(&handler);
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => serve(tls.accept(socket).await?, &log, &*handler).await,
                        None => serve(socket, &log, &*handler).await,
                    }
                });
            }
        });
        Self {
            address,
            received,
            task,
        }
    }

    /// The number of requests to `path`.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.received
            .lock()
            .unwrap()
            .iter()
            .filter(|received| received.path == path)
            .count()
    }

    /// The last request to `path`.
    pub(crate) fn last(&self, path: &str) -> ReceivedRequest {
        self.received
            .lock()
            .unwrap()
            .iter()
            .rfind(|received| received.path == path)
            .unwrap()
            .clone()
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: S,
    log: &Mutex<Vec<ReceivedRequest>>,
    handler: &Handler,
) -> io::Result<()> {
    let received = read_request(&mut socket).await?;
    log.lock().unwrap().push(received.clone());
    match handler(&received) {
        Reply::Json(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            socket.write_all(head.as_bytes()).await?;
            socket.write_all(body.as_bytes()).await?;
            socket.shutdown().await
        }
        Reply::Raw(bytes) => {
            socket.write_all(&bytes).await?;
            socket.shutdown().await
        }
        Reply::Stall(bytes) => {
            socket.write_all(&bytes).await?;
            std::future::pending().await
        }
    }
}

async fn read_request<S: AsyncRead + Unpin>(socket: &mut S) -> io::Result<ReceivedRequest> {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let read = socket.read(&mut buffer).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        });
        if body.len() >= length.unwrap_or(0) {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            return Ok(ReceivedRequest {
                path,
                head: head.to_owned(),
                body: body.to_owned(),
            });
        }
    }
}
