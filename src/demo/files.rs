//! The demonstration's configuration of Doorward, as the files that an operator would write by hand.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Demo, Registration, provider};

/// A directory with key, client secrets and configuration that only the owner can read; gone when this is dropped.
pub struct DemoFiles {
    directory: PathBuf,
}

impl DemoFiles {
    /// Writes the files of `demo` to a new temporary directory; `key` is the text of a key file.
    ///
    /// # Errors
    /// The directory or a file in it cannot be written.
    pub fn write(demo: &Demo, key: &str) -> io::Result<Self> {
        let word = provider::new_secret()
            .ok_or_else(|| io::Error::other("the system gave no random bytes"))?;
        let directory = std::env::temp_dir().join(format!("doorward-demo-{word}"));
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

    /// The configuration, for `doorward run --config`.
    pub fn config_file(&self) -> PathBuf {
        self.directory.join("doorward.toml")
    }

    /// The key that seals the cookies.
    pub fn key_file(&self) -> PathBuf {
        self.directory.join("session.key")
    }
}

impl Drop for DemoFiles {
    fn drop(&mut self) {
        // Nobody is left to be told if it fails, and a temporary directory is cleared by the system.
        drop(fs::remove_dir_all(&self.directory));
    }
}

impl Demo {
    /// A complete configuration of Doorward for both apps. The client secrets are expected beside `key_file`, as
    /// `store.secret` and `forum.secret`, and a FusionAuth's API key as `api-key.secret`: [`DemoFiles::write`] puts them
    /// there.
    pub fn config_toml(&self, key_file: &Path) -> String {
        let quoted =
            |path: &Path| toml::Value::String(path.to_string_lossy().into_owned()).to_string();
        let mut text = format!(
            r#"# Doorward in front of the demonstration's store and forum.

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

/// What the file of a FusionAuth's API key is called, before its ending.
const API_KEY: &str = "api-key";

/// The store has a native app too. What no rule names needs a signed-in person.
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
