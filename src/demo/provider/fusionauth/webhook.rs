//! Events, signed and sent to the apps: at once, then up to three times more, in the order in which they happened.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use url::Url;

use super::{FusionAuth, uuid};
use crate::demo::provider::keys::sha256;
use crate::demo::provider::state::Grant;
use crate::demo::provider::{Event, Failure, Provider};
use crate::types::net::is_loopback_host;
use crate::types::oauth::{ClientId, Subject};

/// Events that wait to be sent; more than that are lost, and said to be.
const MAX_UNSENT: usize = 1_024;
const TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses before it is tried again.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// Sends what it is given until this is dropped.
pub(in crate::demo::provider) struct Webhooks {
    waiting: mpsc::Sender<Signed>,
    sending: AbortHandle,
}

struct Signed {
    body: String,
    signature: String,
}

impl Webhooks {
    /// Sends to `urls`, within the current Tokio runtime.
    pub(in crate::demo::provider) fn start(urls: Vec<String>) -> Self {
        let (waiting, events) = mpsc::channel(MAX_UNSENT);
        let sending = tokio::spawn(send_all(urls, events)).abort_handle();
        Self { waiting, sending }
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

impl Provider {
    /// One refresh token was revoked.
    pub(super) fn webhooks_tell_of_token(
        &self,
        own: &FusionAuth,
        grant: &Grant,
    ) -> Result<(), Failure> {
        let token = json!({
            "id": grant.id, "applicationId": grant.client, "userId": grant.subject, "tenantId": own.tenant_id,
        });
        self.webhooks_tell(
            own,
            json!({
                "applicationId": grant.client, "userId": grant.subject, "user": { "id": grant.subject },
                "applicationTimeToLiveInSeconds": { grant.client.as_str(): self.settings.jwt_lifetime.as_secs() },
                "refreshToken": token,
            }),
        )
    }

    /// All refresh tokens of a person were, at one application or at all.
    pub(in crate::demo::provider) fn webhooks_tell_of_person(
        &self,
        own: &FusionAuth,
        subject: &Subject,
        application: Option<&ClientId>,
    ) -> Result<(), Failure> {
        let mut members = json!({
            "userId": subject, "user": { "id": subject }, "applicationTimeToLiveInSeconds": self.lifetimes(),
        });
        if let (Some(application), Some(members)) = (application, members.as_object_mut()) {
            members.insert("applicationId".into(), json!(application));
        }
        self.webhooks_tell(own, members)
    }

    /// All refresh tokens of an application were.
    pub(super) fn webhooks_tell_of_application(
        &self,
        own: &FusionAuth,
        application: &ClientId,
    ) -> Result<(), Failure> {
        let lifetimes = self.lifetimes();
        self.webhooks_tell(
            own,
            json!({ "applicationId": application, "applicationTimeToLiveInSeconds": lifetimes }),
        )
    }

    fn lifetimes(&self) -> Value {
        let lifetime = json!(self.settings.jwt_lifetime.as_secs());
        self.settings
            .clients
            .iter()
            .map(|client| (client.id.to_string(), lifetime.clone()))
            .collect()
    }

    fn webhooks_tell(&self, own: &FusionAuth, members: Value) -> Result<(), Failure> {
        let Some(webhooks) = &self.webhooks else {
            return Ok(());
        };
        let mut event = json!({
            "type": "jwt.refresh-token.revoke", "id": uuid()?, "tenantId": own.tenant_id,
            "createInstant": self.now().secs().saturating_mul(1000), "info": {},
        });
        if let (Some(event), Value::Object(members)) = (event.as_object_mut(), members) {
            event.extend(members);
        }
        let body = json!({ "event": event }).to_string();
        let hash = STANDARD.encode(sha256(body.as_bytes()));
        let signature = self
            .key
            .sign("JWT", &json!({ "request_body_sha256": hash }))?;
        let is_sent = webhooks
            .waiting
            .try_send(Signed { body, signature })
            .is_ok();
        self.tell(if is_sent {
            Event::WebhookSent
        } else {
            Event::WebhookLost
        });
        Ok(())
    }
}

async fn send_all(urls: Vec<String>, mut events: mpsc::Receiver<Signed>) {
    while let Some(event) = events.recv().await {
        for url in urls.iter().filter_map(|url| Url::parse(url).ok()) {
            for pause in PAUSES.into_iter().map(Some).chain([None]) {
                let sent = tokio::time::timeout(TIMEOUT, send(&url, &event)).await;
                match (sent, pause) {
                    (Ok(Some(())), _) | (_, None) => break,
                    (Ok(None) | Err(_), Some(pause)) => tokio::time::sleep(pause).await,
                }
            }
        }
    }
}

/// `None`: it did not arrive, or the answer was none of 2xx.
async fn send(url: &Url, event: &Signed) -> Option<()> {
    let host = url
        .host_str()
        .filter(|host| url.scheme() == "http" && is_loopback_host(host))?;
    let port = url.port_or_known_default()?;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let connection = tokio::spawn(connection).abort_handle();
    let request = Request::post(url.path())
        .header("host", format!("{host}:{port}"))
        .header("content-type", "application/json")
        .header("x-fusionauth-signature-jwt", &event.signature)
        .body(Full::new(Bytes::from(event.body.clone())))
        .ok()?;
    let answer = sender.send_request(request).await;
    connection.abort();
    answer
        .ok()
        .filter(|answer| answer.status().is_success())
        .map(drop)
}
