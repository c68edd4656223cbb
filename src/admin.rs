//! Admin endpoints: liveness, readiness, metrics, version and revocation commands. A command is
//! sealed with the deployment key, so a web page that reaches the listener through loopback cannot
//! change anything.

mod host;
pub mod readiness;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use readiness::{DependencyProbe, Readiness};

use crate::downstream::Handler;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The path of revocation commands.
pub const REVOKE_PATH: &str = "/revoke";

/// The largest command, in bytes.
const MAX_COMMAND: usize = 1024 * 1024;
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// Sets the gauges that are not updated by events.
pub type GaugeRefresher = Arc<dyn Fn() + Send + Sync>;

/// Applies revocation commands.
pub trait CommandHandler: Send + Sync {
    /// Applies the commands in `message`. The error says why no command was applied.
    fn apply<'a>(&'a self, message: &'a str) -> Applying<'a>;
}

/// The future of [`CommandHandler::apply`].
pub type Applying<'a> = Pin<Box<dyn Future<Output = Result<Applied, String>> + Send + 'a>>;

/// Commands that were applied in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Their number.
    pub count: usize,
    /// Whether the other replicas can read them.
    pub is_published: bool,
}

/// The second line of the response to commands that other replicas do not know yet.
pub const NOT_PUBLISHED: &str = "known here only, will be published";

/// Handles `/livez`, `/readyz`, `/metrics`, `/version` and `/revoke`.
pub struct Admin {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    refresh_gauges: GaugeRefresher,
    dependencies: DependencyProbe,
    commands: Arc<dyn CommandHandler>,
    hosts: Vec<String>,
}

impl Admin {
    /// `refresh_gauges` is called at each scrape, `dependencies` at each request for readiness. `hosts` are names of the public DNS by which the
    /// listener is reached, in lower case.
    pub fn new(
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        refresh_gauges: GaugeRefresher,
        dependencies: DependencyProbe,
        commands: Arc<dyn CommandHandler>,
        hosts: Vec<String>,
    ) -> Self {
        Self {
            health,
            metrics,
            refresh_gauges,
            dependencies,
            commands,
            hosts,
        }
    }

    /// Whether the request is for this listener. Web pages cannot reach Unix domain sockets.
    fn is_own_host<B>(&self, request: &Request<B>, connection: &ConnectionInfo) -> bool {
        let named = request.uri().authority().map(|name| Some(name.as_str()));
        let fields = request.headers().get_all(HOST).iter();
        let fields = fields.map(|value| value.to_str().ok());
        connection.peer.is_none()
            || named
                .into_iter()
                .chain(fields)
                .all(|name| name.is_some_and(|name| host::is_permitted(name, &self.hosts)))
    }

    async fn revoke(&self, body: Body) -> Response<Body> {
        let collected =
            tokio::time::timeout(COMMAND_TIMEOUT, Limited::new(body, MAX_COMMAND).collect()).await;
        let message = collected
            .ok()
            .and_then(Result::ok)
            .map(|collected| collected.to_bytes());
        let applied = match message.as_deref().map(std::str::from_utf8) {
            Some(Ok(message)) => self.commands.apply(message).await,
            Some(Err(_)) | None => Err("the command cannot be read".to_owned()),
        };
        match applied {
            Ok(Applied {
                count,
                is_published: true,
            }) => response(StatusCode::OK, TEXT, format!("applied: {count}\n")),
            Ok(Applied {
                count,
                is_published: false,
            }) => {
                let text = format!("applied: {count}\n{NOT_PUBLISHED}\n");
                response(StatusCode::ACCEPTED, TEXT, text)
            }
            Err(error) => {
                tracing::warn!(error, "revocation_command_rejected");
                response(StatusCode::FORBIDDEN, TEXT, format!("{error}\n"))
            }
        }
    }

    fn respond(&self, method: &Method, path: &str) -> Response<Body> {
        let (status, content_type, text) = match path {
            "/livez" if self.health.is_alive() => (StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/livez" => (
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                "not alive: a worker has ended\n".to_owned(),
            ),
            "/readyz" => self.readiness(),
            "/metrics" => self.metrics(),
            "/version" => (
                StatusCode::OK,
                TEXT,
                concat!("doorward ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
            ),
            _ => (StatusCode::NOT_FOUND, TEXT, "not found\n".to_owned()),
        };
        // For HEAD, hyper sends the length without the body.
        let mut response = response(status, content_type, text);
        if *method != Method::GET && *method != Method::HEAD {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            *response.body_mut() = Body::empty();
            response
                .headers_mut()
                .insert(ALLOW, const { HeaderValue::from_static("GET, HEAD") });
        }
        response
    }

    fn metrics(&self) -> (StatusCode, HeaderValue, String) {
        (self.refresh_gauges)();
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
        let readiness = Readiness::of(self.health.missing(), &(self.dependencies)());
        let status = if readiness.is_ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (status, JSON, readiness.text)
    }
}

impl Handler for Admin {
    async fn handle(&self, request: Request<Body>, connection: ConnectionInfo) -> Response<Body> {
        if !self.is_own_host(&request, &connection) {
            let text = "the host name is not allowed here: see `server.admin_hosts`\n";
            return response(StatusCode::MISDIRECTED_REQUEST, TEXT, text.to_owned());
        }
        if request.method() == Method::POST && request.uri().path() == REVOKE_PATH {
            return self.revoke(request.into_body()).await;
        }
        self.respond(request.method(), request.uri().path())
    }
}

fn response(status: StatusCode, content_type: HeaderValue, text: String) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(
        CACHE_CONTROL,
        const { HeaderValue::from_static("no-store") },
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::readiness::Dependencies;
    use crate::types::net::{ConnectionId, ListenerKind};

    #[test]
    fn public_names_are_refused_over_tcp() {
        let admin = Admin::new(
            Arc::new(Health::new()),
            Arc::new(Metrics::new().unwrap()),
            Arc::new(|| {}),
            Arc::new(Dependencies::default),
            Arc::new(TwoCommands),
            vec!["metrics.example.com".to_owned()],
        );
        let tcp = ConnectionInfo {
            peer: Some("127.0.0.1:50000".parse().unwrap()),
            id: ConnectionId::new(0),
            listener: ListenerKind::Plain,
        };
        let unix = ConnectionInfo { peer: None, ..tcp };
        let request = |hosts: &[&str]| {
            let mut request = Request::new(());
            for host in hosts {
                request.headers_mut().append(HOST, host.parse().unwrap());
            }
            request
        };
        for (hosts, permitted) in [
            (&[][..], true),
            (&["127.0.0.1:9090"], true),
            (&["metrics.example.com"], true),
            (&["rebound.example.net:9090"], false),
            (&["127.0.0.1", "rebound.example.net"], false),
        ] {
            let request = request(hosts);
            assert_eq!(admin.is_own_host(&request, &tcp), permitted, "{hosts:?}");
            assert!(admin.is_own_host(&request, &unix), "{hosts:?}");
        }
        let mut request = request(&["127.0.0.1"]);
        *request.uri_mut() = "http://rebound.example.net/metrics".parse().unwrap();
        assert!(!admin.is_own_host(&request, &tcp));
    }

    /// Applies two commands only.
    struct TwoCommands;

    impl CommandHandler for TwoCommands {
        fn apply<'a>(&'a self, message: &'a str) -> Applying<'a> {
            let is_published = message == "valid";
            let is_known = is_published || message == "not published";
            let applied = Applied {
                count: 1,
                is_published,
            };
            let applied = is_known.then_some(applied).ok_or("no".to_owned());
            Box::pin(std::future::ready(applied))
        }
    }

    async fn request(admin: &Admin, method: &Method, path: &str) -> (u16, String) {
        let (head, body) = admin.respond(method, path).into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (
            head.status.as_u16(),
            String::from_utf8(bytes.to_vec()).unwrap(),
        )
    }

    #[tokio::test]
    async fn endpoints_respond_and_only_commands_change_state() {
        let mut health = Health::new();
        let listening = health.condition("listening");
        let admin = Admin::new(
            Arc::new(health),
            Arc::new(Metrics::new().unwrap()),
            Arc::new(|| {}),
            Arc::new(Dependencies::default),
            Arc::new(TwoCommands),
            Vec::new(),
        );
        assert_eq!(
            request(&admin, &Method::GET, "/livez").await,
            (200, "alive\n".into())
        );
        let (status, report) = request(&admin, &Method::GET, "/readyz").await;
        assert_eq!(status, 503);
        assert!(report.contains(r#""unmet":["listening"]"#), "{report}");
        listening.met();
        assert_eq!(request(&admin, &Method::GET, "/readyz").await.0, 200);
        assert!(
            request(&admin, &Method::GET, "/metrics")
                .await
                .1
                .contains("doorward_connections 0")
        );
        assert!(
            request(&admin, &Method::GET, "/version")
                .await
                .1
                .starts_with("doorward ")
        );
        assert_eq!(request(&admin, &Method::GET, "/reload").await.0, 404);
        assert_eq!(
            request(&admin, &Method::POST, "/readyz").await,
            (405, String::new())
        );
        for (command, status) in [
            ("valid", 200),
            ("not published", 202),
            ("other", 403),
            ("", 403),
        ] {
            assert_eq!(
                admin.revoke(Body::full(command)).await.status(),
                status,
                "{command}"
            );
        }
        assert_eq!(
            admin
                .revoke(Body::full(vec![b'a'; MAX_COMMAND + 1]))
                .await
                .status(),
            403
        );
    }
}
