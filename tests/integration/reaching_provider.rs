//! Providers that are not simply reachable: through a forward proxy, with an internal and a public
//! address, without discovery, and not at all at a start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;

use doorward::config;
use doorward::server::Server;
use doorward::types::time::SystemClock;
use serde_json::{Value, json};

use crate::support::assertions::{CART, SOON};
use crate::support::backend::Backend;
use crate::support::browser::Browser;
use crate::support::doorward::Setup;
use crate::support::folder::Folder;
use crate::support::forward_proxy::{Entrance, ForwardProxy, Guests, PROXY_PASSWORD, PROXY_USER};
use crate::support::journey::{self, Site};
use crate::support::real_provider::{RealProvider, registration, secret_of};
use crate::support::tls::Authority;
use crate::support::{eventually, eventually_async};

const STORE: &str = "http://store.localhost";
const FORUM: &str = "http://forum.localhost";

/// The provider from npm at a public URL, which browsers reach.
struct Public {
    provider: RealProvider,
    /// For browsers.
    open: Entrance,
    authority: Authority,
    /// The port in the issuer.
    port: u16,
}

impl Public {
    /// At `https://HOST:PORT`, where `port` is that of another entrance or any.
    fn start(host: &str, port: u16, more: &Value) -> Self {
        let authority = Authority::fresh();
        let certificate = authority.certificate_for(&[host]);
        let open = Entrance::start(Guests::All, Some(certificate.server()));
        let mut options = json!({
            "clients": [registration("store", STORE), registration("forum", FORUM)],
            "access_token": "jwt",
            "access_token_ttl": 5,
            "issuer": format!("https://{host}:{port}"),
        });
        for (name, value) in more.as_object().expect("options") {
            options[name] = value.clone();
        }
        let provider = RealProvider::start(&options);
        open.opens_to(provider.port());
        Self {
            provider,
            open,
            authority,
            port,
        }
    }

    /// The web journey with these lines in `[providers.login]`.
    async fn journey(&self, folder: &Folder, variables: &[(&str, &str)]) {
        let loaded = config::load(
            &folder.path("doorward.toml"),
            variables
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        let loaded = loaded.unwrap_or_else(|diagnosis| panic!("{}", diagnosis.render(false)));
        let server = Server::start(loaded, Arc::new(SystemClock), None).expect("it starts");
        let port = server.address().expect("a port").port();
        let mut browser = Browser::new(Arc::new(SystemClock))
            .trusting(&self.authority)
            .with_port(80, port)
            .with_port(self.port, self.open.port());
        let site = Site {
            store: STORE.to_owned(),
            forum: FORUM.to_owned(),
        };
        journey::whole(&mut browser, &site, "alice", async || {
            tokio::time::sleep(std::time::Duration::from_millis(5100)).await;
        })
        .await;
        // `drop` blocks, which is not allowed on a runtime's thread.
        let _ended = std::thread::spawn(|| server.shut_down()).join();
    }

    fn folder(&self, backend: &Backend, provider_lines: &str) -> Folder {
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nworkers = 1\n\n\
             [session]\nkey_files = [\"doorward.key\"]\n\n\
             [providers.login]\nissuer = \"{}\"\n{provider_lines}\n",
            self.provider.issuer()
        );
        for (app, public_url) in [("store", STORE), ("forum", FORUM)] {
            text.push_str(&format!(
                r#"
[apps.{app}]
provider = "login"
public_url = "{public_url}"
upstream = "{upstream}"
client_id = "{app}"
client_secret = "{secret}"
scopes = ["openid", "email", "profile", "groups", "offline_access"]
session_jwt = "access"

[[apps.{app}.rules]]
paths = ["/admin"]
allow = {{ roles = ["admin"] }}
"#,
                upstream = backend.url(),
                secret = secret_of(app),
            ));
        }
        let folder = Folder::with("doorward.toml", &text);
        folder.write("ca.pem", &self.authority.pem());
        folder.write("proxy.secret", PROXY_PASSWORD);
        folder
    }
}

/// A provider that only the proxy reaches.
fn behind_a_proxy() -> (Entrance, Public) {
    let authority = Authority::fresh();
    let certificate = authority.certificate_for(&["127.0.0.1"]);
    let entrance = Entrance::start(Guests::ProxyOnly, Some(certificate.server()));
    let mut public = Public::start("127.0.0.1", entrance.port(), &json!({}));
    entrance.opens_to(public.provider.port());
    let open = Entrance::start(Guests::All, Some(certificate.server()));
    open.opens_to(public.provider.port());
    public.open = open;
    public.authority = authority;
    (entrance, public)
}

fn proxy_lines(proxy: &ForwardProxy) -> String {
    format!(
        "ca_file = \"ca.pem\"\nproxy = {{ url = \"{}\", username = \"{PROXY_USER}\", \
         password_file = \"proxy.secret\" }}",
        proxy.url()
    )
}

#[tokio::test]
async fn journey_through_a_forward_proxy() {
    let proxy = ForwardProxy::start();
    let (entrance, public) = behind_a_proxy();
    let backend = Backend::start();
    let folder = public.folder(&backend, &proxy_lines(&proxy));
    public.journey(&folder, &[]).await;
    assert!(proxy.count("CONNECT") > 0, "https is tunnelled");
    assert_eq!(entrance.refused(), 0, "nothing was sent directly");
}

#[tokio::test]
async fn journey_through_the_proxy_of_the_environment() {
    let proxy = ForwardProxy::start();
    let (entrance, public) = behind_a_proxy();
    let backend = Backend::start();
    let lines = "ca_file = \"ca.pem\"\nproxy.from_environment = true";
    let folder = public.folder(&backend, lines);
    let url = proxy.url_with_credentials();
    public.journey(&folder, &[("HTTPS_PROXY", &url)]).await;
    assert!(proxy.count("CONNECT") > 0, "https is tunnelled");
    assert_eq!(entrance.refused(), 0, "nothing was sent directly");
}

#[tokio::test]
async fn check_online_names_a_proxy_that_is_missing_or_refuses() {
    let proxy = ForwardProxy::start();
    let (entrance, public) = behind_a_proxy();
    let backend = Backend::start();
    let environment = [("HTTPS_PROXY", proxy.url_with_credentials())];
    let direct = "ca_file = \"ca.pem\"".to_owned();
    let bypassed = proxy_lines(&proxy).replace(" }", ", no_proxy = [\"127.0.0.0/8\"] }");
    let good = proxy_lines(&proxy);
    let refused = good.replace(PROXY_USER, "somebody");
    for (lines, expected, is_direct) in [
        (&direct, Some("set `proxy.from_environment = true`"), true),
        (&bypassed, Some("the requests go through the proxy"), true),
        (&refused, Some("does it accept its user"), false),
        (&good, None, false),
    ] {
        let before = entrance.refused();
        let folder = public.folder(&backend, lines);
        let output = Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(["check", "--online", "--format", "json", "--config"])
            .arg(folder.path("doorward.toml"))
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("the binary starts");
        let text = String::from_utf8_lossy(&output.stdout);
        match expected {
            Some(expected) => assert!(text.contains(expected), "{lines}: {text}"),
            None => assert!(!text.contains("provider_unreachable"), "{lines}: {text}"),
        }
        assert!(!text.contains(PROXY_PASSWORD), "{text}");
        assert_eq!(entrance.refused() > before, is_direct, "{lines}: {text}");
    }
}

/// Doorward cannot resolve the public host; browsers reach nothing else.
async fn journey_with_internal_base(fixed_host: bool) {
    let more = json!({"fixed_host": fixed_host});
    let public = Public::start("login.example.test", 8443, &more);
    let backend = Backend::start();
    let base = format!(
        "internal_base = \"http://127.0.0.1:{}\"",
        public.provider.port()
    );
    let folder = public.folder(&backend, &base);
    public.journey(&folder, &[]).await;
}

#[tokio::test]
async fn journey_with_an_internal_base_and_endpoints_of_the_issuer() {
    journey_with_internal_base(true).await;
}

#[tokio::test]
async fn journey_with_an_internal_base_and_endpoints_of_the_request() {
    journey_with_internal_base(false).await;
}

#[tokio::test]
async fn journey_without_discovery() {
    let more = json!({"discovery": false, "fixed_host": true});
    let public = Public::start("login.example.test", 8443, &more);
    let backend = Backend::start();
    let (issuer, port) = (public.provider.issuer(), public.provider.port());
    let internal = format!("http://127.0.0.1:{port}");
    let folder = public.folder(
        &backend,
        &format!(
            "discovery = false\n\
             authorization_endpoint = \"{issuer}/auth\"\n\
             end_session_endpoint = \"{issuer}/session/end\"\n\
             token_endpoint = \"{internal}/token\"\n\
             jwks_uri = \"{internal}/jwks\"\n\
             revocation_endpoint = \"{internal}/token/revocation\"\n",
        ),
    );
    public.journey(&folder, &[]).await;
}

#[tokio::test]
async fn restart_without_the_provider_uses_its_saved_metadata() {
    let mut doorward = Setup::plain()
        .provider("metadata_file = \"login.metadata\"")
        .server("startup_provider_timeout = \"5m\"")
        .start();
    let file = doorward.file().with_file_name("login.metadata");
    eventually("the documents are saved", || file.exists()).await;
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut alice = doorward.logged_in("alice", CART).await;
    doorward.provider.stop();

    let restarted = doorward.add_replica();
    eventually_async("the restarted replica is ready", SOON, async || {
        doorward.readiness_of(restarted).await.0 == 200
    })
    .await;
    let (_, report) = doorward.readiness_of(restarted).await;
    assert_eq!(report["providers"]["login"]["reached"], true, "{report}");
    let mut stranger = doorward.browser_of(restarted);
    let login = stranger.step(&doorward.store_url("/admin/")).await;
    let location = login.header("location").unwrap_or_default();
    assert!(location.starts_with(doorward.provider.issuer()), "{login}");
    alice = doorward.moved_to(restarted, alice);
    assert_eq!(alice.step(&doorward.store_url(CART)).await.status(), 200);
}
