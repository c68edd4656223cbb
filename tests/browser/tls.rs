//! The web workflow over TLS with invented host names: plain localhost has neither `Secure` nor
//! `__Host-`. The real binary terminates TLS. The provider is under `.localhost`, since Doorward
//! resolves it with the system resolver; the browser maps the other names itself.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use doorward::config::SealingKey;
use doorward::demo::apps::{Links, RunningApp, forum, store};
use doorward::demo::provider::{Client, Provider, RunningProvider, Settings, User};
use doorward::types::net::Origin;
use doorward::types::oauth::{ClientId, ClientSecret};
use doorward::types::time::SystemClock;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::chromium::Chromium;
use crate::journey::{self, Site};
use crate::support::listening::Listening;
use crate::support::process::Process;
use crate::support::tls::{Authority, Certificate};

pub const STORE: &str = "https://store.test";
pub const FORUM: &str = "https://forum.test";
const SECRET: &str = "a-secret-of-this-test-only";
pub const JWT_LIFETIME: Duration = Duration::from_secs(3);

/// All servers and processes; they are stopped on drop.
pub struct Https {
    doorward: Process,
    certificate: Certificate,
    _provider: (RunningProvider, Listening),
    _apps: (RunningApp, RunningApp),
    _folder: TempDir,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journey_over_tls_uses_host_locked_httponly_cookies() {
    let https = Https::start(None).await;
    let chromium = https.chromium().await;
    let site = Site {
        store_url: STORE.to_owned(),
        forum_url: FORUM.to_owned(),
        user: "alice".to_owned(),
        past_the_jwt: JWT_LIFETIME + Duration::from_millis(200),
        artefacts: "tls".to_owned(),
    };
    journey::log_in_at_the_store(&chromium, &site).await;
    let of_store = host_locked(&chromium, "store.test").await;
    journey::open_the_forum_without_a_form(&chromium, &site).await;
    let of_forum = host_locked(&chromium, "forum.test").await;
    assert!(
        of_store.iter().all(|value| !of_forum.contains(value)),
        "each host has its own"
    );
    journey::reload_past_the_jwt(&chromium, &site).await;
    host_locked(&chromium, "store.test").await;
    journey::see_no_token_at_the_app(&chromium, &site).await;
    journey::be_refused_admin(&chromium, &site).await;
    journey::log_out(&chromium, &site).await;
    journey::be_asked_again(&chromium, &site).await;
    chromium.close().await;
}

/// The values of the cookies at the page's host, all set by Doorward.
async fn host_locked(chromium: &Chromium, host: &str) -> Vec<String> {
    let cookies = chromium.cookies().await;
    for kind in ["jwt", "refresh", "activity", "browser"] {
        let name = format!("__Host-doorward_{kind}");
        assert!(
            cookies.iter().any(|cookie| cookie["name"] == *name),
            "no {name} in {cookies:?}"
        );
    }
    for cookie in &cookies {
        let name = cookie["name"].as_str().unwrap_or_default();
        assert!(name.starts_with("__Host-doorward_"), "{cookie}");
        assert_eq!(
            (&cookie["secure"], &cookie["httpOnly"]),
            (&true.into(), &true.into()),
            "{cookie}"
        );
        // Without a leading dot: for this host only.
        assert_eq!(
            (&cookie["path"], &cookie["domain"]),
            (&"/".into(), &host.into()),
            "{cookie}"
        );
    }
    assert_eq!(chromium.cookies_of_scripts().await, "");
    cookies
        .iter()
        .filter_map(|cookie| cookie["value"].as_str().map(str::to_owned))
        .collect()
}

impl Https {
    /// Starts everything. The apps' logins are completed at the origin `login_host`, if there is
    /// one.
    pub async fn start(login_host: Option<&str>) -> Self {
        let authority = Authority::fresh();
        let certificate = authority.certificate_for(&[
            "store.test",
            "forum.test",
            "signin.test",
            "login.localhost",
        ]);
        let links = Links {
            store: STORE.to_owned(),
            forum: FORUM.to_owned(),
        };
        let apps = (
            store::start(any_port().await, links.clone()).expect("a store"),
            forum::start(any_port().await, links).expect("a forum"),
        );
        let behind = any_port().await;
        let front = tls_front(
            &certificate,
            behind.local_addr().expect("an address").port(),
        );
        let issuer = format!("https://login.localhost:{}", front.port());
        let provider = Provider::start(settings(&issuer, login_host), behind).expect("a provider");
        let folder = tempfile::tempdir().expect("a folder");
        let write =
            |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
        write(
            "session.key",
            &SealingKey::generate().expect("a key").to_text(),
        );
        write("ca.pem", &authority.pem());
        write("cert.pem", &certificate.chain_pem);
        write("key.pem", &certificate.key_pem);
        write("doorward.toml", &config(&issuer, login_host, &apps));
        let doorward = Process::run(folder.path().join("doorward.toml").as_os_str(), &[]);
        Self {
            doorward,
            certificate,
            _provider: (provider, front),
            _apps: apps,
            _folder: folder,
        }
    }

    pub async fn chromium(&self) -> Chromium {
        let port = self.doorward.port("address");
        let hosts = ["store.test:443", "forum.test:443", "signin.test:443"];
        let ports = hosts.map(|host| (host, port));
        Chromium::start_with_ports(&[&self.certificate], &ports).await
    }
}

fn config(
    issuer: &str,
    login_host: Option<&str>,
    (store, forum): &(RunningApp, RunningApp),
) -> String {
    let mut text = format!(
        r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
shutdown_delay = "0s"

[server.tls]
cert_file = "cert.pem"
key_file = "key.pem"

[session]
key_files = ["session.key"]

[providers.login]
issuer = "{issuer}"
ca_file = "ca.pem"
"#
    );
    if let Some(origin) = login_host {
        text.push_str(&format!("login_url = \"{origin}\"\n"));
    }
    for (app, public_url, running) in [("store", STORE, store), ("forum", FORUM, forum)] {
        text.push_str(&format!(
            r#"
[apps.{app}]
provider = "login"
public_url = "{public_url}"
upstream = "http://{upstream}"
client_id = "{app}"
client_secret = "{SECRET}"
session_jwt = "access"

[[apps.{app}.rules]]
paths = ["/", "/headers", "/assets/**", "/favicon.ico"]
allow = "public"

[[apps.{app}.rules]]
paths = ["/admin/**"]
allow = {{ roles = ["admin"] }}
"#,
            upstream = running.address(),
        ));
    }
    text
}

fn settings(issuer: &str, login_host: Option<&str>) -> Settings {
    let client = |id: &str, own_origin: &str| {
        let origin = login_host.unwrap_or(own_origin);
        client_at(id, origin)
    };
    Settings {
        issuer: Origin::parse(issuer).expect("an origin"),
        clients: vec![client("store", STORE), client("forum", FORUM)],
        users: User::alice_and_bob(),
        jwt_lifetime: JWT_LIFETIME,
        refresh_lifetime: Duration::from_secs(600),
        sign_on_lifetime: Duration::from_secs(600),
        fusionauth: None,
        clock: Arc::new(SystemClock),
        events: Arc::new(|_| ()),
    }
}

fn client_at(id: &str, origin: &str) -> Client {
    Client {
        id: ClientId::new(id),
        secret: ClientSecret::new(SECRET.to_owned()),
        name: id.to_owned(),
        redirect_uris: vec![format!("{origin}/.doorward/callback")],
        post_logout_redirect_uris: vec![format!("{origin}/.doorward/signed-out")],
    }
}

async fn any_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

/// Terminates TLS in front of a plain HTTP server.
fn tls_front(certificate: &Certificate, port: u16) -> Listening {
    let acceptor = TlsAcceptor::from(certificate.server());
    Listening::start(0, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut outside) = acceptor.accept(stream).await else {
                return;
            };
            let Ok(mut inside) = TcpStream::connect(("127.0.0.1", port)).await else {
                return;
            };
            // Either side may close the connection.
            let _copied = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
        }
    })
}
