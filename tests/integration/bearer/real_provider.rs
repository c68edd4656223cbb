//! Access tokens of the certified provider from npm: client credentials (RFC 6749 section
//! 4.4), as JWTs and opaque, with and without the provider's DPoP binding. Uses the system
//! clock.

use std::fs;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward::config::{self, SealingKey};
use doorward::server::Server;
use doorward::types::time::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::challenges;
use crate::support::assertions::assert_problem;
use crate::support::backend::Backend;
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::device::Device;
use crate::support::real_provider::{RealProvider, registration, secret_of};

const STORE: &str = "http://store.localhost";
/// Needs a user.
const CART: &str = "/shopping-cart";
/// Needs the scope `groups`.
const REPORTS: &str = "/reports/7";

struct Environment {
    provider: RealProvider,
    backend: Backend,
    server: Option<Server>,
    port: u16,
    _folder: TempDir,
}

impl Environment {
    /// Starts with access tokens of format `jwt` or `opaque`.
    fn build(access_token: &str) -> Self {
        let mut client = registration("store", STORE);
        client["grant_types"] =
            json!(["authorization_code", "refresh_token", "client_credentials"]);
        let provider =
            RealProvider::start(&json!({ "clients": [client], "access_token": access_token }));
        let (backend, folder) = (Backend::start(), tempfile::tempdir().expect("a folder"));
        let write =
            |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
        write(
            "session.key",
            &SealingKey::generate().expect("a key").to_text(),
        );
        write("doorward.toml", &config(provider.issuer(), &backend.url()));
        let loaded = config::load(&folder.path().join("doorward.toml"), []);
        let loaded = loaded.unwrap_or_else(|diagnosis| panic!("{}", diagnosis.render(false)));
        let server = Server::start(loaded, Arc::new(SystemClock), None).expect("it starts");
        let port = server.address().expect("a port").port();
        Self {
            provider,
            backend,
            server: Some(server),
            port,
            _folder: folder,
        }
    }

    fn browser(&self) -> Browser {
        Browser::new(Arc::new(SystemClock)).with_port(80, self.port)
    }

    /// A client credentials token, bound to this device if given.
    async fn granted(&self, device: Option<&Device>) -> Value {
        let url = format!("{}/token", self.provider.issuer());
        let basic = STANDARD.encode(format!("store:{}", secret_of("store")));
        let form = "grant_type=client_credentials&scope=groups";
        let request_with = RequestSpec::new(Kind::Program, &url)
            .method("POST")
            .body("application/x-www-form-urlencoded", form);
        let mut request_with = request_with.header("Authorization", &format!("Basic {basic}"));
        if let Some(device) = device {
            let proof = device.proof(
                ("POST", &url),
                "",
                SystemClock.now(),
                &json!({ "ath": null }),
            );
            request_with = request_with.header("DPoP", &proof);
        }
        let response = self.browser().send(request_with).await;
        assert_eq!(response.status(), 200, "{response}");
        response.json()
    }

    async fn asked(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let request_with = RequestSpec::new(Kind::Program, &format!("{STORE}{path}"));
        let request_with = fields
            .iter()
            .fold(request_with, |request_with, (name, value)| {
                request_with.header(name, value)
            });
        self.browser().send(request_with).await
    }

    fn assert_saw_the_client(&self) {
        let seen = self.backend.last();
        let told = [
            "x-forwarded-client",
            "x-forwarded-user",
            "authorization",
            "dpop",
        ]
        .map(|name| seen.header(name));
        assert_eq!(told, [Some("store"), None, None, None]);
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        // It blocks, so it must not run on a runtime thread.
        let _ended = std::thread::spawn(|| server.shut_down()).join();
    }
}

#[tokio::test]
async fn client_credentials_jwt_is_a_client_not_a_user() {
    a_client_is_a_client_and_no_person("jwt").await;
}

#[tokio::test]
async fn client_credentials_opaque_token_is_a_client_not_a_user() {
    a_client_is_a_client_and_no_person("opaque").await;
}

async fn a_client_is_a_client_and_no_person(access_token: &str) {
    let environment = Environment::build(access_token);
    let granted = environment.granted(None).await;
    let token = granted["access_token"].as_str().expect("a token");
    assert_eq!(token.matches('.').count() == 2, access_token == "jwt");
    let bearer = format!("Bearer {token}");
    assert_eq!(
        environment
            .asked(REPORTS, &[("Authorization", &bearer)])
            .await
            .status(),
        200
    );
    environment.assert_saw_the_client();
    assert_problem(
        &environment.asked(CART, &[("Authorization", &bearer)]).await,
        403,
        "user_required",
    );
    let spoilt = format!("{bearer}x");
    let refused = environment
        .asked(REPORTS, &[("Authorization", &spoilt)])
        .await;
    assert_eq!(refused.status(), 401, "{refused}");
    assert!(
        challenges(&refused)[0].contains(r#"error="invalid_token""#),
        "{refused}"
    );
    assert_eq!(environment.backend.count(), 1);
}

#[tokio::test]
async fn provider_bound_token_requires_its_key() {
    for access_token in ["jwt", "opaque"] {
        let environment = Environment::build(access_token);
        let (device, thief) = (Device::new(), Device::new());
        let granted = environment.granted(Some(&device)).await;
        assert_eq!(granted["token_type"], "DPoP");
        let token = granted["access_token"].as_str().expect("a token");
        let (bearer, dpop) = (format!("Bearer {token}"), format!("DPoP {token}"));
        let url = format!("{STORE}{REPORTS}");
        let proof =
            |device: &Device| device.proof(("GET", &url), token, SystemClock.now(), &json!({}));
        let (good, stolen) = (proof(&device), proof(&thief));
        let refused = [
            (
                environment
                    .asked(REPORTS, &[("Authorization", &bearer)])
                    .await,
                "token_bound_to_key",
            ),
            (
                environment
                    .asked(REPORTS, &[("Authorization", &dpop)])
                    .await,
                "dpop_proof_missing",
            ),
            (
                environment
                    .asked(REPORTS, &[("Authorization", &dpop), ("DPoP", &stolen)])
                    .await,
                "dpop_key_mismatch",
            ),
        ];
        for (response, code) in &refused {
            assert_problem(response, 401, code);
        }
        assert_eq!(environment.backend.count(), 0);
        assert_eq!(
            environment
                .asked(REPORTS, &[("Authorization", &dpop), ("DPoP", &good)])
                .await
                .status(),
            200
        );
        environment.assert_saw_the_client();
        let again = environment
            .asked(REPORTS, &[("Authorization", &dpop), ("DPoP", &good)])
            .await;
        assert_problem(&again, 401, "dpop_proof_replayed");
        assert_eq!(environment.backend.count(), 1);
    }
}

fn config(issuer: &str, upstream: &str) -> String {
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
workers = 2

[session]
key_files = ["session.key"]

[providers.login]
issuer = "{issuer}"

[apps.store]
provider = "login"
public_url = "{STORE}"
upstream = "{upstream}"
client_id = "store"
client_secret = "{secret}"

[apps.store.bearer]
opaque_tokens = "introspect"

[[apps.store.rules]]
paths = ["/reports/**"]
allow = {{ scopes = ["groups"] }}
"#,
        secret = secret_of("store"),
    )
}
