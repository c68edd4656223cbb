//! A valid configuration with its files, and edited variants of it.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use doorward::config::{Diagnosis, Loaded, Problem, SealingKey, load};
use tempfile::TempDir;

/// A valid file.
pub(crate) const GOOD: &str = r#"
[server]
listen = "127.0.0.1:8080"
trusted_proxies = ["10.0.0.0/8"]

[session]
key_files = ["doorward.key"]
idle_timeout = "30m"

[store]
url = "memory:"

[providers.login]
issuer = "https://login.example.com"

[apps.forum]
provider = "login"
public_url = "https://forum.example.com"
upstream = "http://127.0.0.1:4000"
client_id = "forum"

[apps.store]
provider = "login"
public_url = "https://store.example.com"
upstream = "http://127.0.0.1:3000"
client_id = "store"
client_secret_file = "store.secret"
scopes = ["openid", "email"]
extra_authorization_params = { prompt = "login" }

[apps.store.headers]
X-Forwarded-User = "{sub}"

[[apps.store.rules]]
paths = ["/assets/**"]
allow = "public"

[[apps.store.rules]]
paths = ["/admin/**"]
methods = ["GET"]
allow = { roles = ["admin"] }
"#;

/// The names of the certificate in `tls/cert.pem`.
const HOSTS: [&str; 4] = [
    "store.example.com",
    "www.store.example.com",
    "forum.example.com",
    "wiki.example.com",
];

/// A logo.
pub(crate) const LOGO: &str = "<svg xmlns='http://www.w3.org/2000/svg'/>";

/// The messages of a language.
pub(crate) const ENGLISH: &str = include_str!("../../src/proxy/pages/messages/en.toml");

/// A folder with a configuration file, and every file that it and the shipped ones name.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn with(text: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for sub in [
            "keys", "lists", "logos", "messages", "pages", "secrets", "static", "tls",
        ] {
            fs::create_dir(folder.path(sub)).unwrap();
        }
        for key in ["doorward.key", "keys/2026-11.key", "keys/2026-05.key"] {
            SealingKey::generate()
                .unwrap()
                .write_new(&folder.path(key))
                .unwrap();
        }
        for secret in [
            "store.secret",
            "secrets/store",
            "secrets/forum",
            "secrets/redis",
            "secrets/fusionauth",
            "secrets/proxy",
            "secrets/webhook-password",
        ] {
            folder.write(secret, "hunter2\n");
        }
        for secret in ["secrets/webhook-signature", "secrets/webhook-key"] {
            folder.write(secret, &format!("{}\n", "hunter2-".repeat(8)));
        }
        folder.write("lists/guests.txt", "guest@example.org\n");
        folder.write("logo.svg", LOGO);
        folder.write("logos/login.svg", LOGO);
        folder.write("messages/fr.toml", ENGLISH);
        let certificate = rcgen::generate_simple_self_signed(HOSTS.map(str::to_owned)).unwrap();
        folder.write("tls/cert.pem", &certificate.cert.pem());
        folder.write("tls/ca.pem", &certificate.cert.pem());
        folder.write("tls/key.pem", &certificate.signing_key.serialize_pem());
        folder.write(
            "tls/other-key.pem",
            &rcgen::KeyPair::generate().unwrap().serialize_pem(),
        );
        folder.write(
            "assertion.key",
            &rcgen::KeyPair::generate().unwrap().serialize_pem(),
        );
        // RSA with 1024 bits.
        folder.write("tls/weak-key.pem", include_str!("weak-key.pem"));
        folder.write("doorward.toml", text);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn load(&self, variables: &[(&str, &str)]) -> Result<Loaded, Diagnosis> {
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        load(&self.path("doorward.toml"), variables)
    }
}

/// The valid file with one replacement.
pub(crate) fn edited(from: &str, to: &str) -> String {
    assert_eq!(
        GOOD.matches(from).count(),
        1,
        "`{from}` must occur once in the valid file"
    );
    GOOD.replacen(from, to, 1)
}

/// The errors and warnings of a file.
pub(crate) fn problems(text: &str) -> Vec<Problem> {
    match Folder::with(text).load(&[]) {
        Ok(loaded) => loaded.warnings.problems().to_vec(),
        Err(diagnosis) => diagnosis.problems().to_vec(),
    }
}

/// The problems, one per line.
pub(crate) fn shown(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("{problem:?}\n"))
        .collect()
}
