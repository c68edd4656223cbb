//! The operator's listener: alive, ready, numbers, version. It changes nothing, so a page in a browser that reaches
//! it through loopback can do no harm; it is apart from the apps' listener, so nobody outside reaches it.

use std::sync::Arc;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::types::body::Body;
use crate::types::net::Arrival;
use crate::wire::Handler;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Answers `/livez`, `/readyz`, `/metrics` and `/version`.
#[derive(Debug)]
pub struct Admin {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Admin {
    /// Shows `health` and `metrics`.
    pub const fn new(health: Arc<Health>, metrics: Arc<Metrics>) -> Self {
        Self { health, metrics }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Body> {
        let (status, kind, text) = match path {
            "/livez" => (StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/readyz" => self.readiness(),
            "/metrics" => match self.metrics.text() {
                Ok(text) => (StatusCode::OK, PROMETHEUS, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
            },
            "/version" => (StatusCode::OK, TEXT, concat!("doorward ", env!("CARGO_PKG_VERSION"), "\n").to_owned()),
            _ => (StatusCode::NOT_FOUND, TEXT, "not found\n".to_owned()),
        };
        // For HEAD hyper sends the length and leaves the body out.
        let mut answer = Response::new(Body::full(text));
        *answer.status_mut() = status;
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        answer.headers_mut().insert(CACHE_CONTROL, const { HeaderValue::from_static("no-store") });
        if *method != Method::GET && *method != Method::HEAD {
            *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            *answer.body_mut() = Body::empty();
            answer.headers_mut().insert(ALLOW, const { HeaderValue::from_static("GET, HEAD") });
        }
        answer
    }

    fn readiness(&self) -> (StatusCode, HeaderValue, String) {
        let missing: Vec<_> = self.health.missing().collect();
        if missing.is_empty() {
            return (StatusCode::OK, TEXT, "ready\n".to_owned());
        }
        (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {}\n", missing.join(", ")))
    }
}

impl Handler for Admin {
    async fn handle(&self, request: Request<Incoming>, _arrival: Arrival) -> Response<Body> {
        self.answer(request.method(), request.uri().path())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn asked(admin: &Admin, method: &Method, path: &str) -> (u16, String) {
        let (head, body) = admin.answer(method, path).into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn it_shows_and_changes_nothing() {
        let mut health = Health::new();
        let listening = health.condition("listening");
        let admin = Admin::new(Arc::new(health), Arc::new(Metrics::new().unwrap()));
        assert_eq!(asked(&admin, &Method::GET, "/livez").await, (200, "alive\n".into()));
        assert_eq!(asked(&admin, &Method::GET, "/readyz").await, (503, "not ready: listening\n".into()));
        listening.met();
        assert_eq!(asked(&admin, &Method::GET, "/readyz").await.0, 200);
        assert!(asked(&admin, &Method::GET, "/metrics").await.1.contains("doorward_connections 0"));
        assert!(asked(&admin, &Method::GET, "/version").await.1.starts_with("doorward "));
        assert_eq!(asked(&admin, &Method::GET, "/reload").await.0, 404);
        assert_eq!(asked(&admin, &Method::POST, "/readyz").await, (405, String::new()));
    }
}
