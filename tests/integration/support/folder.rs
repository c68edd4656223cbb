//! A folder with a configuration file and the keys and secrets that it names, for the real binary.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use doorward::config::SealingKey;
use doorward::types::time::SystemClock;
use tempfile::TempDir;

use super::browser::Browser;

/// Free ports, no shutdown delay, and readiness without the provider.
pub const ANY_PORTS: [(&str, &str); 4] = [
    ("DOORWARD_SERVER__LISTEN", "127.0.0.1:0"),
    ("DOORWARD_SERVER__ADMIN_LISTEN", "127.0.0.1:0"),
    ("DOORWARD_SERVER__SHUTDOWN_DELAY", "0s"),
    ("DOORWARD_SERVER__STARTUP_PROVIDER_TIMEOUT", "0s"),
];
/// An issuer whose port is closed.
pub const NO_PROVIDER: &str = "https://login.localhost:1";

/// The folder.
pub struct Folder(TempDir);

impl Folder {
    /// Creates the folder with this configuration in a file of this name.
    pub fn with(name: &str, config: &str) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        for key in ["doorward.key", "keys/2026-11.key", "keys/2026-05.key"] {
            folder.write(key, &SealingKey::generate().expect("a key").to_text());
        }
        for secret in [
            "store.secret",
            "secrets/store",
            "secrets/forum",
            "secrets/redis",
        ] {
            folder.write(secret, "a-secret-of-this-test-only\n");
        }
        fs::create_dir(folder.path("static")).expect("a folder");
        folder.write(name, config);
        folder
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Adds a file.
    pub fn write(&self, name: &str, text: &str) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(&file, text).expect("a file");
        fs::set_permissions(file, Permissions::from_mode(0o600)).expect("its owner may");
    }
}

/// One app at `http://store.localhost` with public paths below `/public/`.
pub fn one_public_app(upstream: &str) -> String {
    format!(
        r#"
[session]
key_files = ["doorward.key"]

[providers.login]
issuer = "{NO_PROVIDER}"

[apps.store]
provider = "login"
public_url = "http://store.localhost"
upstream = "{upstream}"
client_id = "store"
client_secret_file = "store.secret"

[[apps.store.rules]]
paths = ["/public/**"]
allow = "public"
"#
    )
}

/// The response status of a path.
pub async fn at(host: &str, port: u16, path: &str) -> u16 {
    let mut browser = Browser::new(Arc::new(SystemClock)).with_port(80, port);
    browser.step(&format!("http://{host}{path}")).await.status()
}
