//! The operator's listener: alive, ready, numbers, version, and orders. It changes nothing but by an order that was
//! sealed with the deployment's key, so a page in a browser that reaches it through loopback can do no harm; it is
//! apart from the apps' listener, so nobody outside reaches it.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::downstream::Handler;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The path that orders are sent to.
pub const ORDERS: &str = "/revoke";

/// Most bytes of an order, and how long it may take to arrive.
const MAX_ORDER: usize = 1024 * 1024;
const ORDER_TIMEOUT: Duration = Duration::from_secs(5);

/// Sets those gauges that nobody sets when what they show changes.
pub type GaugeRefresher = Arc<dyn Fn() + Send + Sync>;

/// Who follows an operator's orders.
pub trait CommandHandler: Send + Sync {
    /// Follows `message`, and says how many orders there were in it.
    ///
    /// # Errors
    /// Why nothing was followed.
    fn obey(&self, message: &str) -> Result<usize, String>;
}

/// Answers `/livez`, `/readyz`, `/metrics`, `/version` and `/revoke`.
pub struct Admin {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    read_gauges: GaugeRefresher,
    orders: Arc<dyn CommandHandler>,
}

impl Admin {
    /// Shows `health` and `metrics`, whose gauges `read_gauges` sets whenever somebody asks, and hands orders to `orders`.
    pub fn new(
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        read_gauges: GaugeRefresher,
        orders: Arc<dyn CommandHandler>,
    ) -> Self {
        Self {
            health,
            metrics,
            read_gauges,
            orders,
        }
    }

    async fn order(&self, body: Body) -> Response<Body> {
        let whole =
            tokio::time::timeout(ORDER_TIMEOUT, Limited::new(body, MAX_ORDER).collect()).await;
        let message = whole
            .ok()
            .and_then(Result::ok)
            .map(|whole| whole.to_bytes());
        let obeyed = match message.as_deref().map(std::str::from_utf8) {
            Some(Ok(message)) => self.orders.obey(message),
            Some(Err(_)) | None => Err("the order cannot be read".to_owned()),
        };
        match obeyed {
            Ok(followed) => said(StatusCode::OK, TEXT, format!("followed: {followed}\n")),
            Err(error) => {
                tracing::warn!(error, "revocation_command_rejected");
                said(StatusCode::FORBIDDEN, TEXT, format!("{error}\n"))
            }
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Body> {
        let (status, kind, text) = match path {
            "/livez" if self.health.is_alive() => (StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/livez" => (
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                "not alive: a worker has ended\n".to_owned(),
            ),
            "/readyz" => self.readiness(),
            "/metrics" => self.numbers(),
            "/version" => (
                StatusCode::OK,
                TEXT,
                concat!("doorward ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
            ),
            _ => (StatusCode::NOT_FOUND, TEXT, "not found\n".to_owned()),
        };
        // For HEAD hyper sends the length and leaves the body out.
        let mut answer = said(status, kind, text);
        if *method != Method::GET && *method != Method::HEAD {
            *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            *answer.body_mut() = Body::empty();
            answer
                .headers_mut()
                .insert(ALLOW, const { HeaderValue::from_static("GET, HEAD") });
        }
        answer
    }

    fn numbers(&self) -> (StatusCode, HeaderValue, String) {
        (self.read_gauges)();
        match self.metrics.text() {
            Ok(text) => (StatusCode::OK, PROMETHEUS, text),
            Err(error) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                TEXT,
                format!("{error}\n"),
            ),
        }
    }

    fn readiness(&self) -> (StatusCode, HeaderValue, String) {
        let missing: Vec<_> = self.health.missing().collect();
        if missing.is_empty() {
            return (StatusCode::OK, TEXT, "ready\n".to_owned());
        }
        (
            StatusCode::SERVICE_UNAVAILABLE,
            TEXT,
            format!("not ready: {}\n", missing.join(", ")),
        )
    }
}

impl Handler for Admin {
    async fn handle(&self, request: Request<Incoming>, _arrival: ConnectionInfo) -> Response<Body> {
        if request.method() == Method::POST && request.uri().path() == ORDERS {
            return self.order(Body::streamed(request.into_body())).await;
        }
        self.answer(request.method(), request.uri().path())
    }
}

fn said(status: StatusCode, kind: HeaderValue, text: String) -> Response<Body> {
    let mut answer = Response::new(Body::full(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer.headers_mut().insert(
        CACHE_CONTROL,
        const { HeaderValue::from_static("no-store") },
    );
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows one order only.
    struct Deaf;

    impl CommandHandler for Deaf {
        fn obey(&self, message: &str) -> Result<usize, String> {
            if message == "sit" {
                Ok(1)
            } else {
                Err("no".to_owned())
            }
        }
    }

    async fn asked(admin: &Admin, method: &Method, path: &str) -> (u16, String) {
        let (head, body) = admin.answer(method, path).into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (
            head.status.as_u16(),
            String::from_utf8(bytes.to_vec()).unwrap(),
        )
    }

    #[tokio::test]
    async fn it_shows_and_changes_nothing_but_by_order() {
        let mut health = Health::new();
        let listening = health.condition("listening");
        let admin = Admin::new(
            Arc::new(health),
            Arc::new(Metrics::new().unwrap()),
            Arc::new(|| {}),
            Arc::new(Deaf),
        );
        assert_eq!(
            asked(&admin, &Method::GET, "/livez").await,
            (200, "alive\n".into())
        );
        assert_eq!(
            asked(&admin, &Method::GET, "/readyz").await,
            (503, "not ready: listening\n".into())
        );
        listening.met();
        assert_eq!(asked(&admin, &Method::GET, "/readyz").await.0, 200);
        assert!(
            asked(&admin, &Method::GET, "/metrics")
                .await
                .1
                .contains("doorward_connections 0")
        );
        assert!(
            asked(&admin, &Method::GET, "/version")
                .await
                .1
                .starts_with("doorward ")
        );
        assert_eq!(asked(&admin, &Method::GET, "/reload").await.0, 404);
        assert_eq!(
            asked(&admin, &Method::POST, "/readyz").await,
            (405, String::new())
        );
        for (order, status) in [("sit", 200), ("fetch", 403), ("", 403)] {
            assert_eq!(
                admin.order(Body::full(order)).await.status(),
                status,
                "{order}"
            );
        }
        assert_eq!(
            admin
                .order(Body::full(vec![b'a'; MAX_ORDER + 1]))
                .await
                .status(),
            403
        );
    }
}
