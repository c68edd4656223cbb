//! `doorward import`: what it writes is started, and a user logs in. Its exit codes, and files that it
//! does not overwrite.

use std::process::{Command, Output};
use std::sync::Arc;

use doorward::types::time::SystemClock;

use crate::support::backend::Backend;
use crate::support::browser::Browser;
use crate::support::folder::{ANY_PORTS, Folder};
use crate::support::process::Process;
use crate::support::provider::{Client, FakeProvider, User};

const STORE: &str = "http://store.localhost";
const SECRET: &str = "a-secret-of-this-test-only";

fn import(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_doorward"))
        .arg("import")
        .args(arguments)
        .current_dir(folder.path(""))
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("the binary starts")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A provider with a user and a client whose redirect URI is this, and an app.
struct Around {
    provider: FakeProvider,
    backend: Backend,
}

impl Around {
    fn start(callback: &str) -> Self {
        let provider = FakeProvider::start_as("login.localhost", Arc::new(SystemClock));
        let mut client = Client::of_app("store", STORE);
        client.secret = Some(SECRET.to_owned());
        client.redirect_uris = vec![format!("{STORE}{callback}")];
        provider.register(client);
        provider.sign_in(User::new("alice", &["customer"]));
        let backend = Backend::start();
        Self { provider, backend }
    }

    /// Starts what was imported, and logs in.
    async fn log_in(&self, folder: &Folder, path: &str) {
        let process = Process::run(folder.path("imported.toml").as_os_str(), &ANY_PORTS);
        let mut browser =
            Browser::new(Arc::new(SystemClock)).with_port(80, process.port("address"));
        let public = browser.step(&format!("{STORE}/assets/logo.svg")).await;
        assert_eq!(public.status(), 200, "{public}");
        let page = browser.visit(&format!("{STORE}{path}")).await;
        assert!(page.chain.len() > 2, "no login: {page}");
        assert_eq!((page.status(), page.url.path()), (200, path), "{page}");
        let received = self.backend.last();
        assert_eq!(received.header("x-forwarded-user"), Some("alice-id"));
        self.backend.assert_never_saw(&["eyJhbGciOi", SECRET]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_logs_in_behind_an_imported_oauth2_proxy() {
    let around = Around::start("/oauth2/callback");
    let config = format!(
        "provider = \"oidc\"\noidc_issuer_url = \"{}\"\nclient_id = \"store\"\nclient_secret = \"{SECRET}\"\n\
         redirect_url = \"{STORE}/oauth2/callback\"\nupstreams = [\"{}\"]\nskip_auth_routes = [\"GET=^/assets/\"]\n\
         cookie_secret = \"{SECRET}\"\n",
        around.provider.issuer(),
        around.backend.url(),
    );
    let folder = Folder::with("oauth2-proxy.cfg", &config);
    let arguments = [
        "oauth2-proxy",
        "oauth2-proxy.cfg",
        "--env",
        "--output",
        "imported.toml",
        "--",
        "--cookie-expire=8h",
    ];
    let output = import(&folder, &arguments, &[("OAUTH2_PROXY_EMAIL_DOMAINS", "*")]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let notices = errors(&output);
    assert!(
        notices.contains("to do: oauth2-proxy.cfg:4: apps.store.client_secret_file: "),
        "{notices}"
    );
    assert!(!notices.contains(SECRET), "{notices}");
    around.log_in(&folder, "/cart").await;

    let again = import(&folder, &arguments, &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        errors(&again).contains("imported.toml exists already"),
        "{}",
        errors(&again)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_logs_in_behind_an_imported_mod_auth_openidc() {
    let around = Around::start("/oidc/callback");
    let config = format!(
        "OIDCProviderMetadataURL {}/.well-known/openid-configuration\nOIDCClientID store\nOIDCClientSecret {SECRET}\n\
         OIDCRedirectURI {STORE}/oidc/callback\nOIDCCryptoPassphrase {SECRET}\nProxyPreserveHost On\nProxyPass / {}/\n\
         <Location />\nAuthType openid-connect\nRequire valid-user\n</Location>\n\
         <Location /assets>\nRequire all granted\n</Location>\n",
        around.provider.issuer(),
        around.backend.url(),
    );
    let folder = Folder::with("openidc.conf", &config);
    let output = import(
        &folder,
        &["mod_auth_openidc", "openidc.conf", "-o", "imported.toml"],
        &[],
    );
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    around.log_in(&folder, "/cart").await;
}

#[test]
fn incomplete_unreadable_and_missing_inputs_have_exit_codes() {
    let folder = Folder::with("broken.cfg", "client_id =\n");
    folder.write("partial.cfg", "pass_access_token = true\n");
    let cases: [(&[&str], i32, &str); 6] = [
        (
            &["oauth2-proxy", "partial.cfg"],
            65,
            "not mapped: partial.cfg:1: pass_access_token: set by hand: ",
        ),
        (&["oauth2-proxy", "broken.cfg"], 1, "broken.cfg:1: not TOML"),
        (&["oauth2-proxy", "absent.cfg"], 1, "cannot read absent.cfg"),
        (&["oauth2-proxy"], 64, "required"),
        (&["mod_auth_openidc"], 64, "required"),
        (&["nginx", "x"], 64, "nginx"),
    ];
    for (arguments, code, part) in cases {
        let output = import(&folder, arguments, &[]);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            errors(&output)
        );
        assert!(
            errors(&output).contains(part),
            "{arguments:?}: {}",
            errors(&output)
        );
    }
}
