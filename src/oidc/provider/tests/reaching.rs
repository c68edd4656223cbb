//! Addresses of endpoints, conditional requests, and documents of an earlier process.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::oidc::document::DocumentFile;
use crate::oidc::endpoints::InternalBase;

const MAX_AGE: Duration = Duration::from_secs(3600);

fn tagged(etag: &str, body: &str) -> Reply {
    let length = body.len();
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\netag: {etag}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    Reply::Raw(text.into_bytes())
}

fn not_modified() -> Reply {
    Reply::Raw(b"HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n".to_vec())
}

#[tokio::test]
async fn unchanged_documents_are_not_sent_again() {
    let test = TestProvider::new().await;
    let key = Signer::es256("old").jwk();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&sent);
    *test.script.lock().unwrap() = Box::new(move |request| {
        let condition = request
            .head
            .lines()
            .find(|line| line.starts_with("if-none-match: "));
        log.lock().unwrap().push(condition.map(str::to_owned));
        if condition.is_some() {
            return Some(not_modified());
        }
        let body = usual_body(request, &key);
        (!body.is_empty()).then(|| tagged("\"v1\"", &body))
    });
    test.provider.refresh_documents().await.unwrap();
    let keys = test.provider.keys().unwrap();
    test.provider.refresh_documents().await.unwrap();
    test.provider.refresh_documents().await.unwrap();
    assert_eq!(test.provider.keys().unwrap().usable(), keys.usable());
    assert!(test.provider.is_up());
    let condition = Some("if-none-match: \"v1\"".to_owned());
    let expected = [vec![None; 2], vec![condition; 4]].concat();
    assert_eq!(*sent.lock().unwrap(), expected);
}

fn usual_body(request: &ReceivedRequest, key: &Value) -> String {
    match usual(request, &jwks(std::slice::from_ref(key))) {
        Reply::Json(200, body) => body,
        Reply::Json(..) | Reply::Raw(_) | Reply::Stall(_) => String::new(),
    }
}

#[tokio::test]
async fn not_modified_without_a_copy_is_a_failure() {
    let test = TestProvider::new().await;
    test.on("/d", not_modified);
    let error = test.provider.metadata().await.unwrap_err();
    assert_eq!(error.code(), "provider_status");
}

#[tokio::test]
async fn provider_without_discovery_is_used_by_its_configured_endpoints() {
    let jwks = jwks(&[Signer::es256("fixed").jwk()]).into_bytes();
    let test = TestProvider::with_settings(|settings| {
        let port = settings.discovery_url.port().unwrap();
        settings.endpoints.without_discovery = true;
        settings.endpoints.jwks = Some(jwks);
        for (name, path) in [("authorization_endpoint", "a"), ("token_endpoint", "token")] {
            let url = Url::parse(&format!("http://login.localhost:{port}/{path}")).unwrap();
            settings.endpoints.configured.insert(name, url);
        }
    })
    .await;
    test.provider.refresh_documents().await.unwrap();
    assert!(test.provider.was_reached());
    assert_eq!(test.provider.keys().unwrap().usable(), 1);
    test.refresh().await.unwrap();
    assert_eq!(test.server.count("/d"), 0);
    assert_eq!(test.server.count("/keys"), 0);
    assert_eq!(test.server.count("/token"), 1);
}

#[tokio::test]
async fn internal_base_is_used_for_requests_and_not_for_browsers() {
    let test = TestProvider::with_settings(|settings| {
        let internal = settings.discovery_url.clone();
        let base = internal.join("/").unwrap();
        let public = Url::parse(ISSUER).unwrap();
        settings.endpoints.internal = Some(InternalBase::new(public, base));
    })
    .await;
    let at = |path: &str| format!("{ISSUER}/{path}");
    let document = json!({
        "issuer": ISSUER, "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
        "jwks_uri": at("keys"),
    });
    test.on("/d", move || Reply::Json(200, document.to_string()));
    test.provider.refresh_documents().await.unwrap();
    test.refresh().await.unwrap();
    let metadata = test.provider.known_metadata().unwrap();
    assert_eq!(metadata.authorization_endpoint.as_str(), at("authorize"));
    assert_eq!(test.server.count("/token"), 1);
    assert_eq!(test.server.count("/keys"), 1);
}

/// A folder for the file, and providers that use it.
struct Restart {
    folder: TempDir,
}

impl Restart {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn file(&self) -> DocumentFile {
        DocumentFile {
            path: self.folder.path().join("login.metadata"),
            max_age: MAX_AGE,
        }
    }

    /// Documents that a provider at `discovery_url` had `age` ago.
    async fn write(&self, test: &TestProvider) {
        test.provider.refresh_documents().await.unwrap();
        test.provider.save_documents().await;
    }

    /// A provider with the same address, which does not respond.
    async fn restarted(&self, after: Duration, discovery_url: &Url) -> TestProvider {
        let discovery_url = discovery_url.clone();
        let file = self.file();
        let test = TestProvider::with_settings(move |settings| {
            settings.discovery_url = discovery_url;
            settings.document_file = Some(file);
        })
        .await;
        test.clock.advance(after);
        test.provider.restore_documents().await;
        test
    }
}

#[tokio::test]
async fn documents_of_an_earlier_process_are_used_at_a_start() {
    let restart = Restart::new();
    let file = restart.file();
    let before = TestProvider::with_settings(|settings| settings.document_file = Some(file)).await;
    restart.write(&before).await;
    let mode = fs::metadata(restart.file().path)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let url = before.provider.settings().discovery_url.clone();
    drop(before.server);

    let after = restart.restarted(MAX_AGE, &url).await;
    assert!(after.provider.was_reached());
    assert!(!after.provider.is_up());
    assert_eq!(
        after.provider.known_metadata().unwrap().issuer.as_str(),
        ISSUER
    );
    assert!(after.provider.keys().unwrap().usable() > 0);
    assert!(after.provider.refresh_documents().await.is_err());
    assert!(after.provider.was_reached(), "they stay during the outage");
}

#[tokio::test]
async fn unusable_files_are_ignored() {
    let other_issuer = |text: String| text.replace(ISSUER, "https://evil.example");
    let other_keys = |text: String| text.replace("/keys\",\"etag", "/other\",\"etag");
    let no_keys = |text: String| text.replace("\\\"keys\\\"", "\\\"kees\\\"");
    let unknown = |text: String| text.replace("\"issuer\":", "\"more\":1,\"issuer\":");
    let same = |text: String| text;
    type Change = fn(String) -> String;
    let cases: [(Change, u32, u64); 8] = [
        (other_issuer, 0o600, 0),
        (other_keys, 0o600, 0),
        (no_keys, 0o600, 0),
        (unknown, 0o600, 0),
        (|_| String::new(), 0o600, 0),
        (same, 0o620, 0),
        (same, 0o602, 0),
        (same, 0o600, MAX_AGE.as_secs() + 1),
    ];
    for (number, (change, mode, age)) in cases.into_iter().enumerate() {
        let restart = Restart::new();
        let file = restart.file();
        let path = file.path.clone();
        let settings = |settings: &mut ProviderSettings| settings.document_file = Some(file);
        let before = TestProvider::with_settings(settings).await;
        restart.write(&before).await;
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let url = before.provider.settings().discovery_url.clone();
        let log = LogCapture::start();
        let after = restart.restarted(Duration::from_secs(age), &url).await;
        assert!(!after.provider.was_reached(), "case {number}");
        assert!(
            log.text().contains("provider_documents_ignored"),
            "case {number}"
        );
    }
}

#[tokio::test]
async fn an_unwritable_file_is_reported_and_changes_nothing() {
    let log = LogCapture::start();
    let test = TestProvider::with_settings(|settings| {
        settings.document_file = Some(DocumentFile {
            path: "/nonexistent/login.metadata".into(),
            max_age: MAX_AGE,
        });
    })
    .await;
    test.provider.refresh_documents().await.unwrap();
    test.provider.save_documents().await;
    assert!(test.provider.is_up());
    assert!(log.text().contains("provider_documents_not_saved"));
}
