//! The demo's configuration files, as an operator would write them.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Demo, Registration, provider};

/// A directory with the sealing key, client secrets and configuration, readable by its owner only.
/// It is deleted when this is dropped.
pub struct DemoFiles {
    directory: PathBuf,
}

impl DemoFiles {
    /// Writes the files to a new temporary directory. `key` is the content of the key file.
    ///
    /// # Errors
    /// The directory or a file cannot be written.
    pub fn write(demo: &Demo, key: &str) -> io::Result<Self> {
        let item = provider::new_secret()
            .ok_or_else(|| io::Error::other("the system gave no random bytes"))?;
        let directory = std::env::temp_dir().join(format!("doorward-demo-{item}"));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let files = Self { directory };
        write_private(&files.key_file(), key)?;
        for registration in &demo.registrations {
            write_private(
                &secret_file(&files.key_file(), registration.app),
                registration.secret.expose(),
            )?;
        }
        if let Some(fusionauth) = &demo.fusionauth {
            write_private(
                &secret_file(&files.key_file(), API_KEY),
                fusionauth.api_key.expose(),
            )?;
        }
        write_private(&files.config_file(), &demo.config_toml(&files.key_file()))?;
        Ok(files)
    }

    /// The path of the configuration, for `doorward run --config`.
    pub fn config_file(&self) -> PathBuf {
        self.directory.join("doorward.toml")
    }

    /// The path of the sealing key.
    pub fn key_file(&self) -> PathBuf {
        self.directory.join("session.key")
    }
}

impl Drop for DemoFiles {
    fn drop(&mut self) {
        // An error cannot be reported here, and the system clears temporary directories.
        drop(fs::remove_dir_all(&self.directory));
    }
}

impl Demo {
    /// The configuration for both apps. It refers to the client secrets `store.secret` and
    /// `forum.secret` and to FusionAuth's API key `api-key.secret` in the directory of `key_file`,
    /// where [`DemoFiles::write`] writes them.
    pub fn config_toml(&self, key_file: &Path) -> String {
        let quoted =
            |path: &Path| toml::Value::String(path.to_string_lossy().into_owned()).to_string();
        let mut text = format!(
            r#"# Doorward in front of the demo's store and forum.

[server]
listen = "{listen}"
admin_listen = "127.0.0.1:0"

[session]
key_files = [{key}]
idle_timeout = "30m"
absolute_timeout = "12h"

[store]
url = "memory:"

{provider}"#,
            listen = self.address(),
            key = quoted(key_file),
            provider = self.provider_toml(&quoted(&secret_file(key_file, API_KEY))),
        );
        let apps = [
            (self.store_address(), STORE_RULES),
            (self.forum_address(), FORUM_RULES),
        ];
        for (registration, (upstream, rules)) in self.registrations.iter().zip(apps) {
            let Registration {
                app, id, origin, ..
            } = registration;
            let secret = quoted(&secret_file(key_file, app));
            text.push_str(&format!(
                r#"
[apps.{app}]
provider = "login"
public_url = "{origin}"
upstream = "http://{upstream}"
client_id = "{id}"
client_secret_file = {secret}
scopes = ["openid", "email", "profile", "offline_access"]
session_jwt = "access"
{rules}"#
            ));
        }
        text
    }

    fn provider_toml(&self, api_key_file: &str) -> String {
        let Some(fusionauth) = &self.fusionauth else {
            return format!("[providers.login]\nissuer = \"{}\"\n", self.issuer);
        };
        format!(
            r#"[providers.login]
kind = "fusionauth"
issuer = "{issuer}"
discovery_url = "{address}/.well-known/openid-configuration"
tenant_id = "{tenant}"
refresh_by = "token"
api_key_file = {api_key_file}

[providers.login.webhooks]
signature = "jwks"
"#,
            issuer = fusionauth.issuer,
            address = self.issuer,
            tenant = fusionauth.tenant_id,
        )
    }
}

/// The name of the file with FusionAuth's API key, without its extension.
const API_KEY: &str = "api-key";

/// The store has a native app too. Paths without a rule require a signed-in user.
const STORE_RULES: &str = r#"
[apps.store.native]
password_grant = true
inline_refresh = true

[[apps.store.rules]]
paths = ["/", "/headers", "/clock", "/ticker", "/assets/**", "/favicon.ico"]
allow = "public"

[[apps.store.rules]]
paths = ["/admin", "/admin/**"]
allow = { roles = ["admin"] }
"#;

const FORUM_RULES: &str = r#"
[[apps.forum.rules]]
paths = ["/", "/headers", "/assets/**", "/favicon.ico"]
allow = "public"

[[apps.forum.rules]]
paths = ["/posts", "/posts/**"]
allow = "authenticated"
"#;

fn secret_file(key_file: &Path, app: &str) -> PathBuf {
    key_file.with_file_name(format!("{app}.secret"))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}
