//! What the real binary is started with: a folder with a configuration, and every key and secret that ours name.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use doorward::config::SealingKey;
use doorward::types::time::SystemClock;
use tempfile::TempDir;

use super::browser::Browser;

/// Wherever there is room, and no waiting at the end.
pub const ANY_PORTS: [(&str, &str); 3] = [
    ("DOORWARD_SERVER__LISTEN", "127.0.0.1:0"),
    ("DOORWARD_SERVER__ADMIN_LISTEN", "127.0.0.1:0"),
    ("DOORWARD_SERVER__SHUTDOWN_DELAY", "0s"),
];
/// Nobody listens there.
pub const NO_PROVIDER: &str = "https://login.localhost:1";

/// The folder.
pub struct Folder(TempDir);

impl Folder {
    /// With this configuration in a file of this name.
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
        folder.write(name, config);
        folder
    }

    /// Where a file of it is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// One more file.
    pub fn write(&self, name: &str, text: &str) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(&file, text).expect("a file");
        fs::set_permissions(file, Permissions::from_mode(0o600)).expect("its owner may");
    }
}

/// One app at `http://store.localhost`, of which `/public/**` is everybody's.
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

/// The status of a page.
pub async fn at(host: &str, port: u16, path: &str) -> u16 {
    let mut browser = Browser::new(Arc::new(SystemClock)).with_port(80, port);
    browser.step(&format!("http://{host}{path}")).await.status()
}
