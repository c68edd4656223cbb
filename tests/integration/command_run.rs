//! `doorward run`: reports its addresses, drains on SIGTERM, reports every configuration error, and
//! serves the shipped configurations during a provider outage.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use doorward::auth::assertion::{AssertionAlgorithm, AssertionKey};
use doorward::config::SealingKey;
use doorward::types::time::SystemClock;
use tokio::net::TcpStream;

use crate::support::backend::{Answer, Backend};
use crate::support::browser::Browser;
use crate::support::folder::{ANY_PORTS, Folder, NO_PROVIDER, at, one_public_app};
use crate::support::gate::Gate;
use crate::support::process::Process;
use crate::support::tls::Authority;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_requests_and_exits_zero() {
    let backend = Backend::start();
    let gate = Gate::default();
    backend.response(
        "/public/slow",
        Answer {
            gate: Some(gate.clone()),
            ..Answer::default()
        },
    );
    let folder = Folder::with("doorward.toml", &one_public_app(&backend.url()));
    let mut process = Process::run(folder.path("doorward.toml").as_os_str(), &ANY_PORTS);
    let (port, admin) = (process.port("address"), process.port("admin"));
    assert_eq!(at("127.0.0.1", admin, "/readyz").await, 200);

    let slow = tokio::spawn(async move { at("store.localhost", port, "/public/slow").await });
    gate.reached(1).await;
    process.terminate();
    process.line_with("draining");
    let refuses = async { while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), refuses)
        .await
        .expect("nobody new is let in");
    gate.open();
    assert_eq!(slow.await.expect("an answer"), 200);
    assert_eq!(process.ended().code(), Some(0), "{:?}", process.said());
    // The access log line of the last request is not lost.
    let access = process.line_with("/public/slow");
    assert!(access.contains("200"), "{access}");
}

#[tokio::test]
async fn variables_alone_start_a_server() {
    let backend = Backend::start();
    let upstream = backend.url();
    let key = SealingKey::generate().expect("a key").to_text();
    let mut variables = ANY_PORTS.to_vec();
    variables.extend([
        ("DOORWARD_SESSION__KEY_FILES", "[\"env:SESSION_KEY\"]"),
        ("SESSION_KEY", key.as_str()),
        ("DOORWARD_PROVIDERS__LOGIN__ISSUER", NO_PROVIDER),
        ("DOORWARD_APPS__STORE__PROVIDER", "login"),
        ("DOORWARD_APPS__STORE__PUBLIC_URL", "http://store.localhost"),
        ("DOORWARD_APPS__STORE__UPSTREAM", upstream.as_str()),
        ("DOORWARD_APPS__STORE__CLIENT_ID", "store"),
        (
            "DOORWARD_APPS__STORE__CLIENT_SECRET",
            "a-secret-of-this-test-only",
        ),
        (
            "DOORWARD_APPS__STORE__RULES",
            "[{paths=[\"/public/**\"], allow=\"public\"}]",
        ),
    ]);
    let mut process = Process::start(&["run"], &variables);
    process.line_with("serving");
    let port = process.port("address");
    assert_eq!(at("store.localhost", port, "/public/x").await, 200);
    assert_ne!(at("store.localhost", port, "/private").await, 200);
    process.terminate();
    assert_eq!(process.ended().code(), Some(0), "{:?}", process.said());
}

#[tokio::test]
async fn sigint_drains_and_idle_process_exits_at_once() {
    let folder = Folder::with("doorward.toml", &one_public_app("http://127.0.0.1:1"));
    let mut process = Process::run(folder.path("doorward.toml").as_os_str(), &ANY_PORTS);
    process.interrupt();
    assert_eq!(process.ended().code(), Some(0), "{:?}", process.said());
}

#[tokio::test]
async fn user_signals_are_logged_and_ignored() {
    let folder = Folder::with("doorward.toml", &one_public_app("http://127.0.0.1:1"));
    let mut process = Process::run(folder.path("doorward.toml").as_os_str(), &ANY_PORTS);
    let admin = process.port("admin");
    for signal in ["USR1", "USR2"] {
        process.send(signal);
        let line = process.line_with(&format!("SIG{signal}"));
        assert!(line.contains("signal_ignored"), "{line}");
        assert_eq!(at("127.0.0.1", admin, "/readyz").await, 200, "{signal}");
    }
    process.send("QUIT");
    assert_eq!(process.ended().code(), Some(0), "{:?}", process.said());
}

#[test]
fn all_config_errors_are_reported_and_nothing_starts() {
    let bad = "[server]\nlisten = \"nowhere\"\nworkrs = 2\n[session]\nkey_files = [\"absent.key\"]\n\
        idle_timeout = \"soon\"\n[apps.store]\nprovider = \"lgin\"\npublic_url = \"store\"\nupstream = \"ftp://x\"\n\
        client_id = \"store\"\n[providers.login]\nissuer = \"http://login.example.com\"\n";
    let folder = Folder::with("doorward.toml", bad);
    let file = folder.path("doorward.toml");
    let file = file.to_str().expect("a plain name");
    let mut said = Vec::new();
    for command in ["run", "check"] {
        let mut process = Process::start(&[command, "--config", file], &[]);
        assert_eq!(process.ended().code(), Some(78), "{:?}", process.said());
        process.line_with("invalid: ");
        said.push(process.said().join("\n"));
    }
    for part in [
        "nowhere",
        "workrs",
        "absent.key",
        "soon",
        "lgin",
        "store",
        "ftp://x",
        "http://login.example.com",
    ] {
        assert!(said[0].contains(part), "nothing of `{part}`:\n{}", said[0]);
    }
    assert_eq!(said[0], said[1], "`check` says what `run` would");
}

#[test]
fn run_names_a_port_in_use() {
    let taken = Backend::start();
    let address = taken.url().replace("http://", "");
    let folder = Folder::with("doorward.toml", &one_public_app("http://127.0.0.1:1"));
    let variables = [("DOORWARD_SERVER__LISTEN", address.as_str()), ANY_PORTS[1]];
    let file = folder.path("doorward.toml");
    let mut process = Process::start(
        &["run", "--config", file.to_str().expect("a plain name")],
        &variables,
    );
    assert_eq!(process.ended().code(), Some(1), "{:?}", process.said());
    let line = process.line_with(&address);
    assert!(
        line.contains("another process listens on this address"),
        "{line}"
    );
}

#[test]
fn run_names_the_cause_if_it_cannot_listen() {
    let folder = Folder::with("doorward.toml", &one_public_app("http://127.0.0.1:1"));
    let socket = format!("unix:{}", folder.path("absent/doorward.sock").display());
    let file = folder.path("doorward.toml");
    let arguments = ["run", "--config", file.to_str().expect("a plain name")];
    for (address, cause) in [
        ("192.0.2.1:8080", "it is not an address of this machine"),
        (socket.as_str(), "the folder of the socket does not exist"),
    ] {
        let mut variables = ANY_PORTS.to_vec();
        variables[0].1 = address;
        let mut process = Process::start(&arguments, &variables);
        assert_eq!(process.ended().code(), Some(1), "{:?}", process.said());
        let line = process.line_with("cannot listen");
        assert!(line.contains(cause) && line.contains(address), "{line}");
    }
}

#[tokio::test]
async fn shipped_configs_start_without_their_provider() {
    let authority = Authority::fresh();
    let certificate = authority.certificate_for(&[
        "store.example.com",
        "forum.example.com",
        "localhost",
        "store.internal",
    ]);
    let (plain, tls) = (Backend::start(), Backend::start_tls(&certificate));
    // A public path of each configuration, if any, and the backend behind it.
    let shipped = [
        ("sidecar.toml", "http", None, plain.url()),
        (
            "store-and-forum.toml",
            "https",
            Some("/products/lantern"),
            plain.url(),
        ),
        (
            "reference.toml",
            "https",
            Some("/assets/logo.svg"),
            tls.url_as("localhost"),
        ),
    ];
    for (name, scheme, public, upstream) in shipped {
        let text = fs::read_to_string(Path::new("config").join(name)).expect("a shipped file");
        let folder = Folder::with(name, &text);
        folder.write("tls/cert.pem", &certificate.chain_pem);
        folder.write("tls/key.pem", &certificate.key_pem);
        folder.write("tls/ca.pem", &authority.pem());
        folder.write("lists/guests.txt", "guest@example.org\n");
        for logo in ["logo.svg", "logos/login.svg"] {
            folder.write(logo, "<svg xmlns=\"http://www.w3.org/2000/svg\"/>");
        }
        folder.write("messages/fr.toml", "[error.busy]\ntitle = \"Surcharge\"\n");
        folder.write("pages/style.css", "");
        let discovery = format!("{NO_PROVIDER}/.well-known/openid-configuration");
        let mut variables = ANY_PORTS.to_vec();
        variables.extend([
            ("DOORWARD_PROVIDERS__LOGIN__ISSUER", NO_PROVIDER),
            ("DOORWARD_PROVIDERS__LOGIN__DISCOVERY_URL", &discovery),
            ("DOORWARD_APPS__STORE__UPSTREAM", &upstream),
        ]);
        if name == "reference.toml" {
            let key = AssertionKey::generate(AssertionAlgorithm::Es256).expect("randomness");
            folder.write("assertion.key", &key);
            variables.push(("DOORWARD_PROVIDERS__MEMBERS__DISCOVERY_URL", &discovery));
            variables.push(("DOORWARD_APPS__FORUM__CLIENT_SECRET", "a secret"));
            for secret in [
                "fusionauth",
                "proxy",
                "webhook-signature",
                "webhook-password",
                "webhook-key",
            ] {
                folder.write(
                    &format!("secrets/{secret}"),
                    "a secret of more than thirty-two bytes\n",
                );
            }
        }
        let process = Process::run(folder.path(name).as_os_str(), &variables);
        let (port, admin) = (process.port("address"), process.port("admin"));
        let shown = if scheme == "https" { 443 } else { 80 };
        let mut browser = Browser::new(Arc::new(SystemClock))
            .trusting(&authority)
            .with_port(shown, port);
        let store = format!("{scheme}://store.example.com");
        if let Some(public) = public {
            let page = browser.step(&format!("{store}{public}")).await;
            assert_eq!(page.status(), 200, "{name}: {page}");
        }
        let refused = browser.step(&format!("{store}/shopping-cart")).await;
        assert_eq!(refused.status(), 503, "{name}: {refused}");
        assert!(
            refused.header("retry-after").is_some() && refused.header("location").is_none(),
            "{name}: {refused}"
        );
        for probe in ["/livez", "/readyz"] {
            assert_eq!(at("127.0.0.1", admin, probe).await, 200, "{name}: {probe}");
        }
    }
}
