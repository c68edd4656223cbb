//! Each method of client authentication, pushed authorization requests and resources, against the
//! certified provider from npm, which requires them: a login, a refresh and a revocation.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use doorward::config;
use doorward::oidc::ClientKey;
use doorward::server::Server;
use doorward::types::time::SystemClock;
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::browser::Browser;
use crate::support::eventually;
use crate::support::folder::Folder;
use crate::support::journey;
use crate::support::real_provider::{RealProvider, registration, secret_of};
use crate::support::tls::Authority;

const STORE: &str = "http://store.localhost";
pub(crate) const CART: &str = "http://store.localhost/shopping-cart";

/// What the provider requires of the client, and what Doorward is told.
pub(crate) struct Method {
    /// Members of the client's registration.
    pub(crate) client: Value,
    /// Options of the provider.
    pub(crate) provider: Value,
    /// Lines in `[apps.store]`.
    pub(crate) lines: String,
    pub(crate) files: Vec<(&'static str, String)>,
    pub(crate) session_jwt: &'static str,
    /// Lines in `[providers.login]`.
    pub(crate) provider_lines: String,
}

impl Method {
    pub(crate) fn new(name: &str, lines: &str) -> Self {
        Self {
            client: json!({"token_endpoint_auth_method": name, "client_secret": null}),
            provider: json!({"client_auth_methods": [name]}),
            lines: lines.to_owned(),
            files: Vec::new(),
            session_jwt: "access",
            provider_lines: String::new(),
        }
    }

    /// Serves the provider over TLS, with certificates of `authority`.
    pub(crate) fn over_tls(mut self, authority: &Authority) -> Self {
        let certificate = authority.certificate_for(&["127.0.0.1"]);
        self.provider["tls"] = json!({
            "cert": certificate.chain_pem,
            "key": certificate.key_pem,
            "ca": authority.pem(),
        });
        self
    }

    fn start(&self) -> RealProvider {
        let mut client = registration("store", STORE);
        merge(&mut client, &self.client);
        let mut options =
            json!({"clients": [client], "access_token": "jwt", "access_token_ttl": 2});
        merge(&mut options, &self.provider);
        RealProvider::start(&options)
    }

    fn folder(&self, provider: &RealProvider, authority: &Authority, backend: &Backend) -> Folder {
        let folder = Folder::with(
            "doorward.toml",
            &format!(
                r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
workers = 1

[session]
key_files = ["doorward.key"]

[providers.login]
issuer = "{}"
ca_file = "ca.pem"
{}

[apps.store]
provider = "login"
public_url = "{STORE}"
upstream = "{}"
client_id = "store"
scopes = ["openid", "email", "profile", "offline_access"]
session_jwt = "{}"
{}
"#,
                provider.issuer(),
                self.provider_lines,
                backend.url(),
                self.session_jwt,
                self.lines,
            ),
        );
        folder.write("ca.pem", &authority.pem());
        for (name, content) in &self.files {
            folder.write(name, content);
        }
        folder
    }
}

fn merge(into: &mut Value, more: &Value) {
    for (name, value) in more.as_object().expect("members") {
        if value.is_null() {
            into.as_object_mut().expect("members").remove(name);
        } else {
            into[name] = value.clone();
        }
    }
}

/// A running Doorward and its environment.
pub(crate) struct Running {
    pub(crate) provider: RealProvider,
    pub(crate) folder: Folder,
    pub(crate) browser: Browser,
    pub(crate) port: u16,
    server: Option<Server>,
    _backend: Backend,
}

impl Running {
    pub(crate) fn start(method: &Method, authority: &Authority) -> Self {
        let (provider, backend) = (method.start(), Backend::start());
        let folder = method.folder(&provider, authority, &backend);
        let loaded = config::load(&folder.path("doorward.toml"), []);
        let loaded = loaded.unwrap_or_else(|diagnosis| panic!("{}", diagnosis.render(false)));
        let server = Server::start(loaded, Arc::new(SystemClock), None).expect("it starts");
        let port = server.address().expect("a port").port();
        let browser = Browser::new(Arc::new(SystemClock))
            .trusting(authority)
            .with_port(80, port);
        Self {
            provider,
            folder,
            browser,
            port,
            server: Some(server),
            _backend: backend,
        }
    }
}

impl Running {
    /// Replaces a part of the configuration, and restarts.
    pub(crate) fn reconfigure(&mut self, old: &str, new: &str) {
        let path = self.folder.path("doorward.toml");
        let text = fs::read_to_string(&path).expect("the configuration");
        assert!(text.contains(old), "{text}");
        let address = format!("\nlisten = \"127.0.0.1:{}\"", self.port);
        let text = text.replacen(old, new, 1);
        let text = text.replacen("\nlisten = \"127.0.0.1:0\"", &address, 1);
        fs::write(&path, text).expect("the configuration");
        self.stop();
        let loaded = config::load(&path, []);
        let loaded = loaded.unwrap_or_else(|diagnosis| panic!("{}", diagnosis.render(false)));
        let server = Server::start(loaded, Arc::new(SystemClock), None).expect("it starts");
        self.server = Some(server);
    }

    fn stop(&mut self) {
        // `drop` blocks, which is not allowed on a runtime's thread.
        let server = self.server.take();
        let _ended = std::thread::spawn(|| server.map(Server::shut_down)).join();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Logs in, refreshes, and logs out.
pub(crate) async fn journey(method: &Method, authority: &Authority) {
    let mut running = Running::start(method, authority);
    let browser = &mut running.browser;
    journey::log_in(browser, CART, "alice").await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    journey::load_with_refresh(browser, CART, "alice").await;
    journey::log_out(browser, STORE).await;
    let provider = &running.provider;
    eventually("the token is revoked", || {
        provider.count("grant.revoked", None) >= 1
    })
    .await;
    let events = provider.events();
    // The first request to each endpoint cannot have a nonce.
    let is_error =
        |event: &Value| event["event"] == "grant.error" && event["error"] != "use_dpop_nonce";
    assert!(!events.iter().any(is_error), "{events:?}");
    accepts(&running.folder, None);
}

/// What `check --online` says about the client.
pub(crate) fn accepts(folder: &Folder, expected: Option<&str>) {
    let output = Command::new(env!("CARGO_BIN_EXE_doorward"))
        .args(["check", "--online", "--format", "json", "--config"])
        .arg(folder.path("doorward.toml"))
        .env_clear()
        .output()
        .expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    match expected {
        Some(expected) => assert!(text.contains(expected), "{text}"),
        None => {
            for code in [
                "client_secret_rejected",
                "client_secret_unclear",
                "token_endpoint_failing",
            ] {
                assert!(!text.contains(code), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn pushed_authorization_requests_that_the_provider_requires() {
    let pem = key_pem();
    let mut method = Method::new("private_key_jwt", "client_key_file = \"client.pem\"");
    method.client["jwks"] = json!({"keys": [public_jwk(&pem)]});
    method.provider["require_par"] = true.into();
    method.files.push(("client.pem", pem));
    journey(&method, &Authority::fresh()).await;
}

#[tokio::test]
async fn pushed_authorization_requests_that_the_client_requires() {
    let lines = format!(
        "client_secret = \"{}\"\npushed_authorization = \"always\"",
        secret_of("store")
    );
    let mut method = Method::new("client_secret_basic", &lines);
    method.client["client_secret"] = secret_of("store").into();
    method.client["require_pushed_authorization_requests"] = true.into();
    journey(&method, &Authority::fresh()).await;
}

#[tokio::test]
async fn responses_as_forms() {
    let secret = secret_of("store");
    let lines = format!("client_secret = \"{secret}\"\nresponse_mode = \"form_post\"");
    let mut method = Method::new("client_secret_basic", &lines);
    method.client["client_secret"] = secret.into();
    let mut running = Running::start(&method, &Authority::fresh());
    let browser = &mut running.browser;
    let form = browser.visit(CART).await;
    let login = [("username", "alice"), ("password", "alice")];
    let response = browser.submit(&form, &login).await;
    assert!(
        response
            .url
            .query()
            .is_none_or(|query| !query.contains("code=")),
        "{response}"
    );
    let page = browser.submit(&response, &[]).await;
    assert_eq!((page.status(), page.url.as_str()), (200, CART), "{page}");
    let is_relayed = |url: &url::Url| {
        url.query()
            .is_some_and(|query| query.starts_with("posted_response="))
    };
    let relayed = page.chain.iter().find(|one| is_relayed(&one.url));
    let relayed = relayed.expect("the redirect with the sealed response");
    let mut thief = Browser::new(Arc::new(SystemClock)).with_port(80, running.port);
    let stolen = thief.step(relayed.url.as_str()).await;
    assert_ne!(
        stolen.status(),
        200,
        "the response is for one browser: {stolen}"
    );
}

#[tokio::test]
async fn resource_that_each_request_must_have() {
    let resource = "https://api.example.com";
    let lines = format!(
        "client_secret = \"{}\"\nresources = [\"{resource}\"]\naudiences = [\"{resource}\"]",
        secret_of("store")
    );
    let mut method = Method::new("client_secret_basic", &lines);
    method.client["client_secret"] = secret_of("store").into();
    method.provider["resources"] = json!([resource]);
    journey(&method, &Authority::fresh()).await;
}

pub(crate) fn key_pem() -> String {
    KeyPair::generate().expect("a key").serialize_pem()
}

pub(crate) fn public_jwk(pem: &str) -> Value {
    let key = ClientKey::from_pem(pem.as_bytes(), None, None);
    key.expect("a key").public_jwk()
}

#[tokio::test]
async fn secret_in_the_form_is_chosen_from_the_metadata() {
    let secret = format!("client_secret = \"{}\"", secret_of("store"));
    let mut method = Method::new("client_secret_post", &secret);
    method.client["client_secret"] = secret_of("store").into();
    journey(&method, &Authority::fresh()).await;
}

#[tokio::test]
async fn private_key_jwt_for_the_issuer_and_for_the_token_endpoint() {
    for audience in ["issuer", "token-endpoint"] {
        let pem = key_pem();
        let lines =
            format!("client_key_file = \"client.pem\"\nclient_assertion_audience = \"{audience}\"");
        let mut method = Method::new("private_key_jwt", &lines);
        method.client["jwks"] = json!({"keys": [public_jwk(&pem)]});
        method.files.push(("client.pem", pem));
        journey(&method, &Authority::fresh()).await;
    }
}

#[tokio::test]
async fn a_key_that_the_provider_does_not_know_is_named() {
    let authority = Authority::fresh();
    let mut method = Method::new("private_key_jwt", "client_key_file = \"client.pem\"");
    method.client["jwks"] = json!({"keys": [public_jwk(&key_pem())]});
    method.files.push(("client.pem", key_pem()));
    let (provider, backend) = (method.start(), Backend::start());
    let folder = method.folder(&provider, &authority, &backend);
    accepts(
        &folder,
        Some("the provider rejected the client (private_key_jwt): `invalid_client`"),
    );
    accepts(&folder, Some("client_key_file"));
}

#[tokio::test]
async fn tls_client_auth() {
    let authority = Authority::fresh();
    let certificate = authority.certificate_for(&["store.client.test"]);
    let lines = "token_endpoint_auth_method = \"tls_client_auth\"\n\
                 client_cert_file = \"client.pem\"\nclient_key_file = \"client.key\"";
    let mut method = Method::new("tls_client_auth", lines).over_tls(&authority);
    method.client["tls_client_auth_san_dns"] = "store.client.test".into();
    method.files = vec![
        ("client.pem", certificate.chain_pem.clone()),
        ("client.key", certificate.key_pem.clone()),
    ];
    journey(&method, &authority).await;
}

#[tokio::test]
async fn self_signed_tls_client_auth() {
    let authority = Authority::fresh();
    let certified = rcgen::generate_simple_self_signed(vec!["store".to_owned()]).expect("one");
    let point = certified.signing_key.der_bytes();
    let coordinate = |range: std::ops::Range<usize>| {
        URL_SAFE_NO_PAD.encode(point.get(range).expect("an uncompressed point"))
    };
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "x": coordinate(1..33), "y": coordinate(33..65),
        "x5c": [STANDARD.encode(certified.cert.der())],
    });
    let lines = "token_endpoint_auth_method = \"self_signed_tls_client_auth\"\n\
                 client_cert_file = \"client.pem\"\nclient_key_file = \"client.key\"";
    let mut method = Method::new("self_signed_tls_client_auth", lines).over_tls(&authority);
    method.client["jwks"] = json!({"keys": [jwk]});
    method.files = vec![
        ("client.pem", certified.cert.pem()),
        ("client.key", certified.signing_key.serialize_pem()),
    ];
    journey(&method, &authority).await;
}

#[tokio::test]
async fn assertion_that_another_program_renews() {
    let pem = key_pem();
    let jwk = public_jwk(&pem);
    let mut method = Method::new("private_key_jwt", "client_assertion_file = \"token\"");
    method.client["jwks"] = json!({"keys": [jwk]});
    method.files.push(("token", "a.b.c".to_owned()));
    let authority = Authority::fresh();
    let (provider, backend) = (method.start(), Backend::start());
    let folder = method.folder(&provider, &authority, &backend);
    let issuer = provider.issuer();
    accepts(&folder, Some("client_assertion_file"));
    let signed = sign(&pem, issuer, "first");
    fs::write(folder.path("token"), signed).expect("a file");
    accepts(&folder, None);
}

/// An assertion as the platform would write it.
fn sign(pem: &str, issuer: &str, jti: &str) -> String {
    use doorward::types::time::Clock as _;
    let now = SystemClock.now().secs();
    let claims = json!({
        "iss": "store", "sub": "store", "aud": issuer, "iat": now, "exp": now + 600, "jti": jti,
    });
    let header = json!({"alg": "ES256", "kid": public_jwk(pem)["kid"]});
    let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let input = format!("{}.{}", encoded(&header), encoded(&claims));
    let key = KeyPair::from_pem(pem).expect("a key");
    let pair = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        &key.serialize_der(),
    );
    let random = aws_lc_rs::rand::SystemRandom::new();
    let signature = pair.expect("a key").sign(&random, input.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(signature.expect("a signature"));
    format!("{input}.{signature}")
}
