//! Independent native clients: a curl script and two OAuth libraries in Python, each with `doorward
//! demo` and with the certified provider from npm.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use doorward::config::{self, SealingKey};
use doorward::server::Server;
use doorward::types::time::SystemClock;
use serde_json::json;
use tempfile::TempDir;

use crate::support::backend::Backend;
#[cfg(feature = "demo")]
use crate::support::process::DemoProcess;
use crate::support::real_provider::{RealProvider, registration, secret_of};

/// The JWT lifetime in seconds. The script waits for the expiry.
const SECONDS: u64 = 2;

/// A store with password login at the real provider.
struct RealStore {
    provider: RealProvider,
    backend: Backend,
    server: Option<Server>,
    _folder: TempDir,
}

impl RealStore {
    const ORIGIN: &str = "http://store.localhost";

    fn open(access_token: &str) -> Self {
        let mut client = registration("store", Self::ORIGIN);
        client["grant_types"] = json!(["authorization_code", "refresh_token", "password"]);
        let provider = RealProvider::start(&json!({
            "clients": [client], "access_token": access_token, "access_token_ttl": SECONDS,
        }));
        let backend = Backend::start();
        let folder = tempfile::tempdir().expect("a folder");
        let key = SealingKey::generate().expect("a key");
        key.write_new(&folder.path().join("session.key"))
            .expect("a key file");
        let text = format!(
            r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
workers = 1

[session]
key_files = ["session.key"]

[providers.login]
issuer = "{issuer}"

[apps.store]
provider = "login"
public_url = "{origin}"
upstream = "{upstream}"
client_id = "store"
client_secret = "{secret}"
scopes = ["openid", "email", "profile", "groups", "offline_access"]
session_jwt = "{session_jwt}"

[apps.store.native]
password_grant = true
inline_refresh = true
"#,
            issuer = provider.issuer(),
            origin = Self::ORIGIN,
            upstream = backend.url(),
            secret = secret_of("store"),
            session_jwt = if access_token == "jwt" {
                "access"
            } else {
                "id"
            },
        );
        std::fs::write(folder.path().join("doorward.toml"), text).expect("a file");
        let loaded = config::load(&folder.path().join("doorward.toml"), []);
        let loaded = loaded.unwrap_or_else(|diagnosis| panic!("{}", diagnosis.render(false)));
        let server = Server::start(loaded, Arc::new(SystemClock), None).expect("it starts");
        Self {
            provider,
            backend,
            server: Some(server),
            _folder: folder,
        }
    }

    fn port(&self) -> u16 {
        self.server
            .as_ref()
            .and_then(Server::address)
            .expect("a port")
            .port()
    }

    /// Asserts that the provider saw each refresh token once.
    fn had_an_easy_time(&self, logins: usize, refreshes: usize) {
        assert_eq!(
            self.provider.count("grant.success", Some("password")),
            logins,
            "{:?}",
            self.provider.events()
        );
        assert_eq!(
            self.provider.count("grant.success", Some("refresh_token")),
            refreshes
        );
        assert_eq!(self.provider.count("grant.error", Some("refresh_token")), 0);
        assert_eq!(
            self.provider.count("server_error", None),
            0,
            "{:?}",
            self.provider.events()
        );
        self.backend.assert_never_saw(&[
            "authorization",
            "doorward-refresh-token",
            "doorward_at_",
            "doorward_rt_",
        ]);
    }
}

impl Drop for RealStore {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        // It blocks, so it must not run on a runtime thread.
        let _ended = std::thread::spawn(|| server.shut_down()).join();
    }
}

fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) {
    let output = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .output();
    let output = output.unwrap_or_else(|error| {
        panic!("`{program}` does not start ({error}): run ./tests/run once")
    });
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{said}",
        output.status
    );
}

fn journey(origin: &str, curl_options: &str) {
    let script = Path::new("tests/native/journey")
        .to_str()
        .expect("a plain name");
    run(
        "bash",
        &[script, origin, "alice", "alice", &SECONDS.to_string()],
        &[("CURL_OPTIONS", curl_options)],
    );
}

fn libraries(origin: &str, port: u16) {
    // The libraries are installed for Debian's Python.
    let arguments = [
        "tests/native/oauth_libraries.py",
        origin,
        &port.to_string(),
        "store",
        "alice",
        "alice",
    ];
    run("/usr/bin/python3", &arguments, &[]);
}

#[cfg(feature = "demo")]
#[test]
fn curl_journey_against_demo() {
    let demo = DemoProcess::start(SECONDS);
    journey(&demo.store, "");
    demo.process
        .line_with("store got alice's tokens by password");
    demo.process
        .line_with("store revoked alice's refresh token");
}

#[test]
fn curl_journey_against_real_provider() {
    for access_token in ["jwt", "opaque"] {
        let store = RealStore::open(access_token);
        journey(
            RealStore::ORIGIN,
            &format!("--connect-to ::127.0.0.1:{}", store.port()),
        );
        store.had_an_easy_time(2, 3);
        assert_eq!(
            store.provider.count("grant.error", Some("password")),
            1,
            "the wrong password"
        );
    }
}

#[cfg(feature = "demo")]
#[test]
fn oauth_libraries_against_demo() {
    let demo = DemoProcess::start(60);
    let port = demo
        .store
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    libraries(&demo.store, port);
}

#[test]
fn oauth_libraries_against_real_provider() {
    let store = RealStore::open("jwt");
    libraries(RealStore::ORIGIN, store.port());
    store.had_an_easy_time(2, 2);
}
