//! Tests of requests to FusionAuth's endpoints over real connections.

use std::sync::{Arc, Mutex};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::{Value, json};
use url::Url;

use super::sender::{SenderCheck, SignatureKey};
use super::*;
use crate::oidc::algorithm::Algorithm;
use crate::oidc::provider::BoundRefreshToken;
use crate::oidc::testing::{FakeProvider, ReceivedRequest, Reply, Signer, jwks};
use crate::oidc::token::{Revoked, TokenError, TokenResponse};
use crate::oidc::{ClientAuth, ClientSettings};
use crate::oidc::{Dialect, Provider, ProviderSettings, install_crypto};
use crate::types::oauth::{ClientId, ClientSecret, Issuer, ProviderName, RefreshToken};
use crate::types::time::{ManualClock, Timestamp};

const TENANT: &str = "30663132-6464-6665-3032-326466613934";
const DISCOVERY: &str = "/fa/.well-known/openid-configuration";

type Script = Arc<Mutex<Vec<(&'static str, u16, String)>>>;

struct TestProvider {
    server: FakeProvider,
    provider: Arc<Provider>,
    script: Script,
    client: ClientSettings,
}

impl TestProvider {
    /// A FusionAuth under a path prefix, with a tenant and with `signer` in its key set.
    async fn new(signer: &Signer, change: impl FnOnce(&mut FusionAuth)) -> Self {
        install_crypto();
        let script = Script::default();
        let keys = jwks(&[signer.jwk()]);
        let plan = Arc::clone(&script);
        let server = FakeProvider::start(move |seen| {
            let asked = format!("{} {}", seen.head.split(' ').next().unwrap(), seen.path);
            match plan
                .lock()
                .unwrap()
                .iter()
                .find(|(path, ..)| *path == asked)
            {
                Some((_, status, body)) => Reply::Json(*status, body.clone()),
                None => usual(seen, &keys),
            }
        })
        .await;
        let discovery = Url::parse(&format!(
            "http://login.localhost:{}{DISCOVERY}",
            server.address.port()
        ))
        .unwrap();
        let mut settings = ProviderSettings::at(
            ProviderName::new("login"),
            Issuer::new("acme.com"),
            discovery,
        );
        let mut own = FusionAuth {
            tenant_id: Some(TENANT.to_owned()),
            ..Default::default()
        };
        change(&mut own);
        settings.dialect = Dialect::FusionAuth(Box::new(own));
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_secs(
            1_800_000_000,
        )));
        let secret = ClientAuth::Post(ClientSecret::new("s3cret"));
        let back = Url::parse("https://store.example.com/cb").unwrap();
        let client = ClientSettings::new(ClientId::new("store-id"), secret, back);
        Self {
            server,
            provider: Provider::new(settings, clock),
            script,
            client,
        }
    }

    fn on(&self, asked: &'static str, status: u16, body: &str) {
        self.script
            .lock()
            .unwrap()
            .insert(0, (asked, status, body.to_owned()));
    }

    async fn refresh(&self) -> Result<TokenResponse, TokenError> {
        self.provider
            .refresh(
                &self.client,
                BoundRefreshToken::unbound(&RefreshToken::new("r&t")),
            )
            .await
    }

    async fn revoke(&self) -> Result<Revoked, crate::oidc::ProviderError> {
        self.provider
            .revoke(&self.client, &RefreshToken::new("r&t"))
            .await
    }
}

fn usual(seen: &ReceivedRequest, keys: &str) -> Reply {
    let port = seen
        .head
        .lines()
        .find_map(|line| line.strip_prefix("host: login.localhost:"))
        .unwrap();
    let at = |path| format!("http://login.localhost:{port}/fa{path}");
    let discovery = format!("{DISCOVERY}?tenantId={TENANT}");
    match seen.path.as_str() {
        path if path == discovery => {
            let document = json!({
                "issuer": "acme.com", "authorization_endpoint": at("/oauth2/authorize"),
                "token_endpoint": at("/oauth2/token"), "jwks_uri": at("/keys"),
            });
            Reply::Json(200, document.to_string())
        }
        "/fa/keys" => Reply::Json(200, keys.to_owned()),
        "/fa/oauth2/token" => Reply::Json(
            200,
            r#"{"access_token":"a.b.c","token_type":"Bearer","expires_in":60,"refresh_token_id":"id"}"#.into(),
        ),
        "/fa/api/jwt/refresh" if seen.head.starts_with("POST") => {
            Reply::Json(200, r#"{"token":"a.b.c","refreshToken":"new","refreshTokenId":"id"}"#.into())
        }
        "/fa/api/jwt/refresh" | "/fa/api/logout" => Reply::Json(200, String::new()),
        _ => Reply::Json(404, String::new()),
    }
}

/// The value of a header field.
fn field(seen: &ReceivedRequest, name: &str) -> Option<String> {
    let lines = seen.head.lines().filter_map(|line| line.split_once(": "));
    lines
        .into_iter()
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.to_owned())
}

#[tokio::test]
async fn token_endpoint_request_has_client_and_tenant() {
    let test = TestProvider::new(&Signer::es256("k"), |_| {}).await;
    let response = test.refresh().await.unwrap();
    assert_eq!(response.refresh_token_id.unwrap().as_str(), "id");
    let body = test.server.last("/fa/oauth2/token").body;
    for part in [
        "grant_type=refresh_token",
        "refresh_token=r%26t",
        "client_secret=s3cret",
        "tenantId=30663132",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    assert_eq!(test.server.count("/fa/api/jwt/refresh"), 0);
    test.on(
        "POST /fa/oauth2/token",
        400,
        r#"{"error":"invalid_grant","error_reason":"refresh_token_not_found"}"#,
    );
    assert_eq!(
        test.refresh().await.unwrap_err().code(),
        "refresh_token_not_found"
    );
}

#[tokio::test]
async fn refresh_api_request_has_only_the_token() {
    let test = TestProvider::new(&Signer::es256("k"), |own| {
        own.refresh_by = RefreshBy::JwtRefresh
    })
    .await;
    let response = test.refresh().await.unwrap();
    assert_eq!(
        (
            response.access_token.expose(),
            response.refresh_token.unwrap().expose()
        ),
        ("a.b.c", "new")
    );
    let seen = test.server.last("/fa/api/jwt/refresh");
    assert_eq!(
        serde_json::from_str::<Value>(&seen.body).unwrap(),
        json!({"refreshToken": "r&t"})
    );
    assert_eq!(
        field(&seen, "content-type").as_deref(),
        Some("application/json")
    );
    assert_eq!(
        field(&seen, "x-fusionauth-tenantid").as_deref(),
        Some(TENANT)
    );
    for absent in ["authorization", "cookie"] {
        assert_eq!(field(&seen, absent), None);
    }
    assert_eq!(test.server.count("/fa/oauth2/token"), 0);
    for (status, code) in [
        (400, "grant_rejected"),
        (404, "grant_rejected"),
        (500, "provider_unavailable"),
    ] {
        test.on("POST /fa/api/jwt/refresh", status, "");
        assert_eq!(test.refresh().await.unwrap_err().code(), code, "{status}");
    }
}

#[tokio::test]
async fn revoke_without_api_key_uses_logout() {
    let test = TestProvider::new(&Signer::es256("k"), |_| {}).await;
    assert_eq!(test.revoke().await.unwrap(), Revoked::Done);
    let seen = test.server.last("/fa/api/logout");
    assert_eq!(
        serde_json::from_str::<Value>(&seen.body).unwrap(),
        json!({"global": false, "refreshToken": "r&t"})
    );
    assert_eq!(
        (field(&seen, "authorization"), field(&seen, "cookie")),
        (None, None)
    );
    assert_eq!(test.server.count("/fa/api/jwt/refresh"), 0);
    test.on("POST /fa/api/logout", 500, "");
    assert_eq!(test.revoke().await.unwrap_err().code(), "provider_status");
}

#[tokio::test]
async fn revoke_with_api_key_deletes_or_falls_back_to_logout() {
    let key = |own: &mut FusionAuth| own.api_key = Some(Secret::new("the-key".into()));
    let test = TestProvider::new(&Signer::es256("k"), key).await;
    assert_eq!(test.revoke().await.unwrap(), Revoked::Done);
    let seen = test.server.last("/fa/api/jwt/refresh");
    assert!(
        seen.head.starts_with("DELETE /fa/api/jwt/refresh HTTP"),
        "{}",
        seen.head
    );
    assert_eq!(
        (seen.body.as_str(), field(&seen, "authorization").as_deref()),
        ("token=r%26t", Some("the-key"))
    );
    test.on("DELETE /fa/api/jwt/refresh", 404, "");
    assert_eq!(test.revoke().await.unwrap(), Revoked::Done);
    assert_eq!(test.server.count("/fa/api/logout"), 0);
    test.on("DELETE /fa/api/jwt/refresh", 401, "");
    assert_eq!(test.revoke().await.unwrap(), Revoked::Done);
    assert_eq!(test.server.count("/fa/api/logout"), 1);
    assert_eq!(
        field(&test.server.last("/fa/api/logout"), "authorization"),
        None
    );
}

#[tokio::test]
async fn webhook_signature_must_cover_the_body() {
    let signer = Signer::new("k", Algorithm::Rs256);
    let proofs = SenderProofs {
        signature: Some(SignatureKey::KeySet),
        basic: None,
        header: None,
    };
    let test = TestProvider::new(&signer, |own| own.webhooks = Some(proofs)).await;
    let body = br#"{"event":{}}"#;
    let claims =
        json!({ "request_body_sha256": STANDARD.encode(digest::digest(&digest::SHA256, body)) });
    let sent = async |token: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-fusionauth-signature-jwt", token.parse().unwrap());
        let SenderCheck::SignaturePending(signature) = test.provider.check_webhook(&headers)?
        else {
            panic!("unsigned")
        };
        test.provider.verify_webhook_signature(&signature).await
    };
    let sender = sent(&signer.sign(&claims)).await.unwrap();
    assert!(sender.check_body(body).is_ok() && sender.check_body(b"{}").is_err());

    let login =
        json!({"iss": "acme.com", "sub": "alice", "aud": "store-id", "exp": 1_800_000_060_u64});
    let public_as_secret = {
        let signed = [
            r#"{"alg":"HS256","kid":"k"}"#.to_owned(),
            claims.to_string(),
        ]
        .map(crate::oidc::testing::b64);
        let signed = signed.join(".");
        let key = aws_lc_rs::hmac::Key::new(
            aws_lc_rs::hmac::HMAC_SHA256,
            signer.jwk().to_string().as_bytes(),
        );
        format!(
            "{signed}.{}",
            crate::oidc::testing::b64(aws_lc_rs::hmac::sign(&key, signed.as_bytes()))
        )
    };
    let good = signer.sign(&claims);
    let (signed, _) = good.rsplit_once('.').unwrap();
    for (token, code) in [
        (signer.sign(&login), "webhook_body_hash_missing"),
        (Signer::es256("other").sign(&claims), "token_key_unknown"),
        (Signer::es256("k").sign(&claims), "token_algorithm_mismatch"),
        (public_as_secret, "token_algorithm_not_allowed"),
        (
            format!("{signed}.{}", crate::oidc::testing::b64([0; 256])),
            "token_signature_invalid",
        ),
        ("a.b.c".to_owned(), "token_malformed"),
    ] {
        assert_eq!(sent(&token).await.unwrap_err().code(), code);
    }
    let bare = TestProvider::new(&signer, |_| {}).await;
    assert_eq!(
        bare.provider
            .check_webhook(&HeaderMap::new())
            .unwrap_err()
            .code(),
        "webhook_not_configured"
    );
}
