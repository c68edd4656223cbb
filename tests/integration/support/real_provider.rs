//! The certified OpenID provider from npm (`tests/provider/server.mjs`) as a separate process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

/// The running provider; it is stopped on drop.
pub struct RealProvider {
    issuer: String,
    port: u16,
    process: Child,
    // The provider receives the backends' addresses over stdin. It exits when stdin closes, so it
    // does not outlive a killed test.
    lifeline: ChildStdin,
    events: Arc<Mutex<Vec<Value>>>,
}

/// Registers a client `id` with the secret `ID-secret-0123456789abcdef`, for an app behind
/// Doorward.
pub fn registration(id: &str, public_url: &str) -> Value {
    json!({
        "client_id": id,
        "client_secret": secret_of(id),
        "redirect_uris": [format!("{public_url}/.doorward/callback")],
        "post_logout_redirect_uris": [format!("{public_url}/.doorward/signed-out")],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "scope": "openid offline_access email profile groups",
    })
}

/// The secret of a client that [`registration`] made.
pub fn secret_of(id: &str) -> String {
    format!("{id}-secret-0123456789abcdef")
}

impl RealProvider {
    /// Starts with the options that `tests/provider/server.mjs` lists. Users: alice/alice, and
    /// bob/bob with role admin.
    pub fn start(options: &Value) -> Self {
        // Cargo runs tests in the package's directory; a compiled-in path would be wrong after a
        // cached build directory moves.
        let folder = Path::new("tests/provider");
        assert!(
            folder.join("node_modules/oidc-provider").exists(),
            "run ./tests/run once: it installs the provider"
        );
        let mut process = Command::new("node")
            .arg("server.mjs")
            .arg(options.to_string())
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts");
        let lifeline = process.stdin.take().expect("a pipe");
        let stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        let events = Arc::new(Mutex::new(Vec::new()));
        let (ready, wait) = mpsc::channel();
        let collected = Arc::clone(&events);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let Ok(event) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                if event["event"] == "ready" {
                    // The test may have stopped waiting.
                    let _nobody = ready.send(event.clone());
                }
                collected.lock().expect("no reader panicked").push(event);
            }
        });
        let listening = wait
            .recv_timeout(Duration::from_secs(30))
            .expect("the provider's ready line");
        Self {
            issuer: listening["issuer"].as_str().expect("a URL").to_owned(),
            port: serde_json::from_value(listening["port"].clone()).expect("a port"),
            process,
            lifeline,
            events,
        }
    }

    /// The issuer identifier.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The port on 127.0.0.1 at which it listens, over plain http.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the addresses of the apps for back-channel calls.
    pub fn finds_apps_at(&self, port: u16) {
        writeln!(&self.lifeline, "{}", json!({ "apps_port": port })).expect("the provider listens");
    }

    /// The provider's events so far: `form`, `login`, `grant.success`, `grant.error`,
    /// `grant.revoked`, …
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().expect("no reader panicked").clone()
    }

    /// The number of events with this name, and this `grant_type` if given.
    pub fn count(&self, event: &str, grant_type: Option<&str>) -> usize {
        let fits = |found: &&Value| {
            found["event"] == event && grant_type.is_none_or(|wanted| found["grant_type"] == wanted)
        };
        self.events().iter().filter(fits).count()
    }
}

impl Drop for RealProvider {
    fn drop(&mut self) {
        // It may have exited already.
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}
