//! A complete Doorward in the test process, from configuration file to listeners, with two backends
//! (store and forum), the fake provider, a controllable clock, and the access log in memory.
//!
//! Public URLs have fixed ports (8080, or none over TLS). Browsers created here map them to the
//! real ports, which are known only once the listeners are bound.

mod reload;
mod replicas;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use doorward::config::{self, Config, Loaded, SealingKey};
use doorward::server::Server;
use doorward::types::time::{Clock, ManualClock, Timestamp};
use tempfile::TempDir;

use super::backend::Backend;
use super::browser::Browser;
use super::deployment::Deployment;
use super::journey::Site;
use super::log::Log;
use super::provider::{Client, Endpoint, FakeProvider, User};
use super::tls::{Authority, spki_sha256_of};

/// The initial time of every test, in 2027.
pub const BEGIN: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The configuration. The default is a store and a forum on plain `localhost` names.
pub struct Setup {
    secure: bool,
    provider_is_up: bool,
    deployment: Option<Deployment>,
    files: Vec<(&'static str, String)>,
    sections: Vec<(&'static str, String)>,
    store_rules: &'static str,
    /// The store's upstream, if it is not the recording backend.
    store_upstream: Option<String>,
    more: String,
    /// Tables `[[server.listeners]]` in place of one listener.
    listeners: String,
    /// The port of the listener. 0: any free one.
    port: u16,
}

/// A running Doorward and its environment. Dropping it drains and stops it.
pub struct Doorward {
    pub provider: FakeProvider,
    /// The backends of the apps.
    pub store: Backend,
    pub forum: Backend,
    pub clock: Arc<ManualClock>,
    pub log: Log,
    secure: bool,
    authority: Authority,
    file: PathBuf,
    pub servers: Vec<Server>,
    _folder: TempDir,
}

/// The backends, the provider and the configuration files of a Doorward.
pub struct Surroundings {
    pub provider: FakeProvider,
    pub store: Backend,
    pub forum: Backend,
    pub authority: Authority,
    pub file: PathBuf,
    pub folder: TempDir,
}

const STORE_RULES: &str = r#"
[[apps.store.rules]]
paths = ["/", "/public/**"]
allow = "public"

[[apps.store.rules]]
paths = ["/admin/**"]
allow = { roles = ["admin"] }
"#;

impl Setup {
    /// `http://store.localhost:8080` and `http://forum.localhost:8080`.
    pub fn plain() -> Self {
        Self {
            secure: false,
            provider_is_up: true,
            deployment: None,
            files: Vec::new(),
            sections: Vec::new(),
            store_rules: STORE_RULES,
            store_upstream: None,
            more: String::new(),
            listeners: String::new(),
            port: 0,
        }
    }

    /// `https://store.example.test` and `https://forum.example.test`, with certificates of a test
    /// authority.
    pub fn over_tls() -> Self {
        Self {
            secure: true,
            ..Self::plain()
        }
    }

    /// Adds lines to `[session]`.
    pub fn session(self, lines: &str) -> Self {
        self.section("session", lines)
    }

    /// Adds lines to `[server]`.
    pub fn server(self, lines: &str) -> Self {
        self.section("server", lines)
    }

    /// Listens on these listeners instead: the lines of each table beside its address.
    pub fn listeners(mut self, tables: &[&str]) -> Self {
        for lines in tables {
            let table = "[[server.listeners]]\naddress = \"127.0.0.1:0\"";
            self.listeners.push_str(&format!("{table}\n{lines}\n"));
        }
        self
    }

    /// Listens on this port, for clients that cannot map a URL's port to another.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Adds lines to `[providers.login]`.
    pub fn provider(self, lines: &str) -> Self {
        self.section("provider", lines)
    }

    /// Adds lines to `[store]`.
    pub fn remembering(self, lines: &str) -> Self {
        self.section("remembering", lines)
    }

    /// Adds lines to `[apps.store]`.
    pub fn store(self, lines: &str) -> Self {
        self.section("store", lines)
    }

    /// Puts another backend behind the store.
    pub fn store_upstream(mut self, url: &str) -> Self {
        self.store_upstream = Some(url.to_owned());
        self
    }

    /// Adds lines to `[apps.forum]`.
    pub fn forum(self, lines: &str) -> Self {
        self.section("forum", lines)
    }

    /// Replaces the store's rules. Default: `/` and `/public/**` are public, `/admin/**` needs the
    /// role `admin`.
    pub fn store_rules(mut self, tables: &'static str) -> Self {
        self.store_rules = tables;
        self
    }

    /// Appends tables to the file.
    pub fn more(mut self, tables: &str) -> Self {
        self.more.push_str(tables);
        self
    }

    /// Starts with the provider down. [`FakeProvider::restart`] brings it up.
    pub fn without_provider(mut self) -> Self {
        self.provider_is_up = false;
        self
    }

    /// Uses the issuer and the keys of a fixture.
    pub fn deployed_as(mut self, deployment: Deployment) -> Self {
        self.deployment = Some(deployment);
        self
    }

    /// Adds a file beside the configuration.
    pub fn file(mut self, name: &'static str, text: &str) -> Self {
        self.files.push((name, text.to_owned()));
        self
    }

    fn section(mut self, name: &'static str, lines: &str) -> Self {
        self.sections.push((name, lines.to_owned()));
        self
    }

    fn lines(&self, name: &str) -> String {
        let lines = self
            .sections
            .iter()
            .filter(|(section, _)| *section == name)
            .map(|(_, lines)| lines.as_str());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Starts everything. No user is signed in at the provider.
    pub fn start(self) -> Doorward {
        let clock = Arc::new(ManualClock::starting_at(BEGIN));
        let around = self.surround(clock.clone());
        let mut doorward = Doorward {
            provider: around.provider,
            store: around.store,
            forum: around.forum,
            clock,
            log: Log::default(),
            secure: self.secure,
            authority: around.authority,
            file: around.file,
            servers: Vec::new(),
            _folder: around.folder,
        };
        doorward.add_replica();
        doorward
    }

    /// Starts the environment and writes the files.
    pub fn surround(&self, clock: Arc<dyn Clock>) -> Surroundings {
        let mut provider = FakeProvider::start_as("login.localhost", clock);
        if let Some(deployment) = &self.deployment {
            provider.continue_as(deployment);
        }
        let (store, forum, authority) = (Backend::start(), Backend::start(), Authority::fresh());
        let site = site(self.secure);
        for (id, origin) in [("store", &site.store), ("forum", &site.forum)] {
            provider.register(Client::of_app(id, origin));
        }
        if !self.provider_is_up {
            provider.stop();
        }
        let folder = tempfile::tempdir().expect("a folder");
        let key = match &self.deployment {
            Some(deployment) => deployment.sealing_key(),
            None => SealingKey::generate().expect("randomness"),
        };
        key.write_new(&folder.path().join("doorward.key"))
            .expect("a key file");
        for (name, text) in &self.files {
            write(&folder, name, text);
        }
        for id in ["store", "forum"] {
            write(&folder, &format!("{id}.secret"), &format!("{id}-secret\n"));
        }
        if self.secure {
            let hosts = [
                "store.example.test",
                "forum.example.test",
                "www.store.example.test",
                "signin.example.test",
                "wiki.other.test",
                "one.tenants.test",
                "two.tenants.test",
            ];
            let certificate = authority.certificate_for(&hosts);
            write(&folder, "chain.pem", &certificate.chain_pem);
            write(&folder, "tls.pem", &certificate.key_pem);
        }
        write(
            &folder,
            "doorward.toml",
            &self.text(&site, &provider, &store, &forum),
        );
        Surroundings {
            provider,
            store,
            forum,
            authority,
            file: folder.path().join("doorward.toml"),
            folder,
        }
    }

    /// The configuration text. A fixture's issuer is not reachable, so endpoints are set
    /// explicitly.
    fn discovery_url(&self, provider: &FakeProvider) -> String {
        if self.deployment.is_none() {
            return String::new();
        }
        format!("discovery_url = \"{}\"", provider.url(Endpoint::Discovery))
    }

    fn text(
        &self,
        site: &Site,
        provider: &FakeProvider,
        store: &Backend,
        forum: &Backend,
    ) -> String {
        let tls = if self.secure {
            "[server.tls]\ncert_file = \"chain.pem\"\nkey_file = \"tls.pem\""
        } else {
            ""
        };
        let remembering = self.lines("remembering");
        let remembering = if remembering.is_empty() {
            remembering
        } else {
            format!("[store]\n{remembering}")
        };
        let app = |name: &str, origin: &str, upstream: &str| {
            format!(
                "[apps.{name}]\nprovider = \"login\"\npublic_url = \"{origin}\"\nupstream = \"{upstream}\"\n\
                 client_id = \"{name}\"\nclient_secret_file = \"{name}.secret\"\n{}\n",
                self.lines(name)
            )
        };
        let server = self.lines("server");
        let drain_timeout = if server.contains("drain_timeout") {
            ""
        } else {
            "drain_timeout = \"1s\""
        };
        let workers = if server.contains("workers") {
            ""
        } else {
            "workers = 2"
        };
        let watch_files = if server.contains("watch_files") {
            ""
        } else {
            "watch_files = false"
        };
        let listen = format!("listen = \"127.0.0.1:{}\"", self.port);
        [
            "[server]\nadmin_listen = \"127.0.0.1:0\"\nshutdown_delay = \"0s\"",
            workers,
            drain_timeout,
            watch_files,
            &server,
            match self.listeners.as_str() {
                "" => &listen,
                tables => tables,
            },
            tls,
            "[session]\nkey_files = [\"doorward.key\"]",
            &self.lines("session"),
            &remembering,
            &format!("[providers.login]\nissuer = \"{}\"", provider.issuer()),
            &self.discovery_url(provider),
            &self.lines("provider"),
            &app(
                "store",
                &site.store,
                &self.store_upstream.clone().unwrap_or_else(|| store.url()),
            ),
            self.store_rules,
            &app("forum", &site.forum, &forum.url()),
            &self.more,
        ]
        .join("\n")
    }
}

impl Doorward {
    /// The apps' public origins.
    pub fn site(&self) -> Site {
        site(self.secure)
    }

    /// The authority of its certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The hash of its public key, for browsers that trust no authority of the tests.
    pub fn spki_sha256(&self) -> String {
        let key = std::fs::read_to_string(self.file.with_file_name("tls.pem"));
        spki_sha256_of(&key.expect("a key file"))
    }

    /// The URL of a store page.
    pub fn store_url(&self, path: &str) -> String {
        format!("{}{path}", self.site().store)
    }

    /// The URL of a forum page.
    pub fn forum_url(&self, path: &str) -> String {
        format!("{}{path}", self.site().forum)
    }

    /// The store's host, for cookies.
    pub fn store_host(&self) -> &'static str {
        if self.secure {
            "store.example.test"
        } else {
            "store.localhost"
        }
    }

    /// The forum's host.
    pub fn forum_host(&self) -> &'static str {
        if self.secure {
            "forum.example.test"
        } else {
            "forum.localhost"
        }
    }

    /// The name of a host-wide Doorward cookie: `jwt`, `refresh`, `activity`, `browser`.
    pub fn cookie_name(&self, kind: &str) -> String {
        let prefix = if self.secure { "__Host-" } else { "" };
        format!("{prefix}doorward_{kind}")
    }

    /// A browser with an empty profile that reaches the apps and expires cookies by
    /// [`Self::clock`].
    pub fn browser(&self) -> Browser {
        self.browser_of(0)
    }

    /// A browser that uses another replica.
    pub fn browser_of(&self, replica: usize) -> Browser {
        self.moved_to(replica, Browser::new(self.clock.clone()))
    }

    /// Moves a browser to another replica.
    pub fn moved_to(&self, replica: usize, browser: Browser) -> Browser {
        let port = self.port_of(replica);
        let shown = if self.secure { 443 } else { 8080 };
        browser.trusting(&self.authority).with_port(shown, port)
    }

    /// The configuration that the file contains.
    pub fn config(&self) -> Config {
        self.loaded().config
    }

    fn loaded(&self) -> Loaded {
        config::load(&self.file, []).unwrap_or_else(|diagnosis| panic!("{diagnosis:?}"))
    }

    /// The configuration file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The listener address of a replica.
    pub fn port_of(&self, replica: usize) -> u16 {
        self.servers[replica].address().expect("TCP").port()
    }

    /// The port of a listener of the first replica.
    pub fn listener_port(&self, index: usize) -> u16 {
        self.servers[0].addresses()[index].expect("TCP").port()
    }

    /// Waits until the store has served this many more requests.
    pub async fn clicked(&self, times: usize) {
        let goal = self.store.count() + times;
        super::eventually("people click", || self.store.count() >= goal).await;
    }

    /// Signs `name` in at the provider, without roles: no form is shown.
    pub fn sign_in(&self, name: &str) {
        self.provider.sign_in(User::new(name, &[]));
    }

    /// A browser in which `name` has opened this store page and logged in.
    pub async fn logged_in(&self, name: &str, path: &str) -> Browser {
        self.sign_in(name);
        let mut browser = self.browser();
        let page = browser.visit(&self.store_url(path)).await;
        assert_eq!(
            (page.status(), page.url.as_str()),
            (200, self.store_url(path).as_str()),
            "{page}"
        );
        browser
    }

    /// The user of the store's last request: the first identity header, if any.
    pub fn store_saw(&self) -> Option<String> {
        self.store
            .last()
            .header("x-forwarded-user")
            .map(str::to_owned)
    }

    /// The value of the browser's store cookie of this kind, with chunks joined.
    pub fn cookie(&self, browser: &Browser, kind: &str) -> Option<String> {
        super::journey::cookie(browser, self.store_host(), kind)
    }

    /// Advances the clock.
    pub fn advance_secs(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    /// The current time of the clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The listener address.
    pub fn address(&self) -> SocketAddr {
        self.servers[0].address().expect("a TCP listener")
    }

    /// The admin listener address.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address_of(0)
    }

    /// The admin listener address of a replica.
    pub fn admin_address_of(&self, replica: usize) -> SocketAddr {
        self.servers[replica]
            .admin_address()
            .expect("a TCP listener")
    }

    /// The value of a counter or gauge such as
    /// `doorward_refresh_tokens_reused_total{app="store",outcome="session_ended",provider="login"}`; 0 if absent.
    pub async fn metric(&self, series: &str) -> f64 {
        self.metric_of(0, series).await
    }

    /// The same for another replica.
    pub async fn metric_of(&self, replica: usize, series: &str) -> f64 {
        let admin = self.servers[replica]
            .admin_address()
            .expect("a TCP listener");
        let metrics = format!("http://{admin}/metrics");
        let text = Browser::new(self.clock.clone())
            .visit(&metrics)
            .await
            .text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }
}

impl Drop for Doorward {
    fn drop(&mut self) {
        let servers = std::mem::take(&mut self.servers);
        // Draining blocks, which is not allowed on the test's runtime.
        let ended =
            std::thread::spawn(move || servers.into_iter().for_each(Server::shut_down)).join();
        assert!(
            ended.is_ok() || std::thread::panicking(),
            "doorward broke off while ending"
        );
    }
}

fn site(secure: bool) -> Site {
    let origin = |name| {
        if secure {
            format!("https://{name}.example.test")
        } else {
            format!("http://{name}.localhost:8080")
        }
    };
    Site {
        store: origin("store"),
        forum: origin("forum"),
    }
}

fn write(folder: &TempDir, name: &str, text: &str) {
    let file = folder.path().join(name);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    std::fs::write(&file, text).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("permissions");
}
