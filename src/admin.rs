//! Admin endpoints: liveness, readiness, metrics, version, and commands of operators. A command is
//! sealed with the deployment key, so a web page that reaches the listener through loopback cannot
//! change anything.

mod host;
pub mod readiness;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use tokio::time::timeout;

use readiness::{Dependencies, Readiness};

use crate::downstream::Handler;
use crate::telemetry::audit::{AuditBuffer, AuditEvent, AuditedRequest};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::open_metrics;
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const OPEN_METRICS: HeaderValue = HeaderValue::from_static(open_metrics::CONTENT_TYPE);

/// The path of revocation commands.
pub const REVOKE_PATH: &str = "/revoke";

/// The path of reload commands.
pub const RELOAD_PATH: &str = "/reload";

/// The path of queries for the session list.
pub const SESSIONS_PATH: &str = "/sessions";

/// The path of maintenance commands.
pub const MAINTENANCE_PATH: &str = "/maintenance";

/// The prefix of a key in the response to a reload command.
const NEEDS_RESTART: &str = "needs a restart: ";

const UNREADABLE: &str = "the command cannot be read";

/// The largest command, in bytes.
const MAX_COMMAND: usize = 1024 * 1024;
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// Data and commands of the admin listener, for the current configuration.
pub trait Operations: Send + Sync {
    /// Sets the gauges that are not updated by events. Called at each scrape.
    fn refresh_gauges(&self);

    /// The state of the dependencies, for `/readyz`.
    fn dependencies(&self) -> Dependencies;

    /// Names of the public DNS by which the listener is reached, in lower case.
    fn hosts(&self) -> Arc<[String]>;

    /// Applies the revocation commands in `message`. The error says why none was applied.
    fn revoke<'a>(&'a self, message: &'a str) -> Operation<'a, Result<Applied, String>>;

    /// The sessions that the sealed query in `message` asks for, in JSON. The error says why it was
    /// rejected.
    ///
    /// # Errors
    /// The query was rejected.
    fn sessions(&self, message: &str) -> Result<String, String>;

    /// Switches maintenance as the sealed command in `message` says. The outcome in words.
    ///
    /// # Errors
    /// The command was rejected.
    fn maintenance(&self, message: &str) -> Result<String, String>;

    /// Applies the configuration as it is now, if `message` is a reload command.
    fn reload<'a>(&'a self, message: &'a str) -> Operation<'a, Result<Reloaded, ReloadError>>;
}

/// A call of [`Operations`] that may wait.
pub type Operation<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A valid configuration was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The number of values and files that have changed.
    pub changes: usize,
    /// The keys whose values need a restart.
    pub restart_keys: Vec<String>,
}

/// The configuration in use was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadError {
    /// The command was rejected.
    Rejected(String),
    /// The configuration is invalid.
    Invalid(String),
}

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

/// Handles `/livez`, `/readyz`, `/metrics`, `/version`, `/revoke`, `/sessions`, `/reload` and
/// `/maintenance`.
pub struct Admin {
    /// The state that `/livez` and `/readyz` report.
    pub health: Arc<Health>,
    /// The metrics of `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The parts that depend on the configuration.
    pub operations: Arc<dyn Operations>,
    /// Gets the calls of operators.
    pub audit: Option<AuditBuffer>,
}

impl Admin {
    /// Whether the request is for this listener. Web pages cannot reach Unix domain sockets.
    fn is_own_host<B>(&self, request: &Request<B>, connection: &ConnectionInfo) -> bool {
        let named = request.uri().authority().map(|name| Some(name.as_str()));
        let fields = request.headers().get_all(HOST).iter();
        let fields = fields.map(|value| value.to_str().ok());
        let hosts = self.operations.hosts();
        connection.peer.is_none()
            || named
                .into_iter()
                .chain(fields)
                .all(|name| name.is_some_and(|name| host::is_permitted(name, &hosts)))
    }

    async fn revoke(&self, body: Body) -> Response<Body> {
        let applied = match read_command(body).await {
            Some(message) => self.operations.revoke(&message).await,
            None => Err(UNREADABLE.to_owned()),
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

    async fn sessions(&self, body: Body) -> Response<Body> {
        let found = match read_command(body).await {
            Some(message) => self.operations.sessions(&message),
            None => Err(UNREADABLE.to_owned()),
        };
        match found {
            Ok(report) => response(StatusCode::OK, JSON, report),
            Err(error) => {
                tracing::warn!(error, "session_query_rejected");
                response(StatusCode::FORBIDDEN, TEXT, format!("{error}\n"))
            }
        }
    }

    async fn reload(&self, body: Body) -> Response<Body> {
        let reloaded = match read_command(body).await {
            Some(message) => self.operations.reload(&message).await,
            None => Err(ReloadError::Rejected(UNREADABLE.to_owned())),
        };
        match reloaded {
            Ok(Reloaded {
                changes,
                restart_keys,
            }) => {
                let mut text = format!("changes: {changes}\n");
                for key in restart_keys {
                    text.push_str(&format!("{NEEDS_RESTART}{key}\n"));
                }
                response(StatusCode::OK, TEXT, text)
            }
            Err(ReloadError::Invalid(problems)) => {
                response(StatusCode::UNPROCESSABLE_ENTITY, TEXT, problems)
            }
            Err(ReloadError::Rejected(error)) => {
                tracing::warn!(error, "reload_command_rejected");
                response(StatusCode::FORBIDDEN, TEXT, format!("{error}\n"))
            }
        }
    }

    async fn maintenance(&self, body: Body) -> Response<Body> {
        let switched = match read_command(body).await {
            Some(message) => self.operations.maintenance(&message),
            None => Err(UNREADABLE.to_owned()),
        };
        match switched {
            Ok(outcome) => response(StatusCode::OK, TEXT, format!("{outcome}\n")),
            Err(error) => {
                tracing::warn!(error, "maintenance_command_rejected");
                response(StatusCode::FORBIDDEN, TEXT, format!("{error}\n"))
            }
        }
    }

    fn audit_command(&self, path: &str, status: StatusCode, connection: ConnectionInfo) {
        let Some(audit) = &self.audit else {
            return;
        };
        audit.write(&AuditEvent {
            is_warning: !status.is_success(),
            client: connection.peer.map(|peer| peer.ip()),
            request: Some(AuditedRequest {
                status: status.as_u16(),
                ..AuditedRequest::new("POST", path)
            }),
            ..AuditEvent::new("admin_call")
        });
    }

    fn respond<B>(&self, request: &Request<B>) -> Response<Body> {
        let method = request.method();
        let (status, content_type, text) = match request.uri().path() {
            "/livez" if self.health.is_alive() => (StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/livez" => (
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                "not alive: a worker has ended\n".to_owned(),
            ),
            "/readyz" => self.readiness(),
            "/metrics" => self.metrics(request.headers()),
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

    fn metrics(&self, headers: &HeaderMap) -> (StatusCode, HeaderValue, String) {
        self.operations.refresh_gauges();
        if open_metrics::is_accepted(headers)
            && let Some(text) = self.metrics.text_with_exemplars()
        {
            return (StatusCode::OK, OPEN_METRICS, text);
        }
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
        let readiness = Readiness::of(self.health.missing(), &self.operations.dependencies());
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
        let is_command = request.method() == Method::POST;
        if is_command && request.uri().path() == REVOKE_PATH {
            let response = self.revoke(request.into_body()).await;
            self.audit_command(REVOKE_PATH, response.status(), connection);
            return response;
        }
        if is_command && request.uri().path() == SESSIONS_PATH {
            let response = self.sessions(request.into_body()).await;
            self.audit_command(SESSIONS_PATH, response.status(), connection);
            return response;
        }
        if is_command && request.uri().path() == RELOAD_PATH {
            let response = self.reload(request.into_body()).await;
            self.audit_command(RELOAD_PATH, response.status(), connection);
            return response;
        }
        if is_command && request.uri().path() == MAINTENANCE_PATH {
            let response = self.maintenance(request.into_body()).await;
            self.audit_command(MAINTENANCE_PATH, response.status(), connection);
            return response;
        }
        self.respond(&request)
    }
}

/// The text of a command. `None` if it is too large, too slow or not UTF-8.
async fn read_command(body: Body) -> Option<String> {
    let collected = timeout(COMMAND_TIMEOUT, Limited::new(body, MAX_COMMAND).collect()).await;
    let bytes = collected.ok()?.ok()?.to_bytes();
    String::from_utf8(bytes.to_vec()).ok()
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
    use crate::types::net::{ConnectionId, ListenerKind};

    #[test]
    fn public_names_are_refused_over_tcp() {
        let admin = admin();
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
    fn admin() -> Admin {
        Admin {
            health: Arc::new(Health::new()),
            metrics: Arc::new(Metrics::new().unwrap()),
            operations: Arc::new(TwoCommands),
            audit: None,
        }
    }

    struct TwoCommands;

    impl Operations for TwoCommands {
        fn refresh_gauges(&self) {}

        fn dependencies(&self) -> Dependencies {
            Dependencies::default()
        }

        fn hosts(&self) -> Arc<[String]> {
            Arc::from(["metrics.example.com".to_owned()])
        }

        fn revoke<'a>(&'a self, message: &'a str) -> Operation<'a, Result<Applied, String>> {
            let is_published = message == "valid";
            let is_known = is_published || message == "not published";
            let applied = Applied {
                count: 1,
                is_published,
            };
            let applied = is_known.then_some(applied).ok_or("no".to_owned());
            Box::pin(std::future::ready(applied))
        }

        fn sessions(&self, message: &str) -> Result<String, String> {
            let report = (message == "valid").then(|| "{}".to_owned());
            report.ok_or_else(|| "no".to_owned())
        }

        fn maintenance(&self, message: &str) -> Result<String, String> {
            let outcome = (message == "valid").then(|| "on".to_owned());
            outcome.ok_or_else(|| "no".to_owned())
        }

        fn reload<'a>(&'a self, message: &'a str) -> Operation<'a, Result<Reloaded, ReloadError>> {
            let reloaded = match message {
                "valid" => Ok(Reloaded {
                    changes: 2,
                    restart_keys: vec!["server.workers".to_owned()],
                }),
                "of an invalid file" => Err(ReloadError::Invalid("line 1\n".to_owned())),
                _ => Err(ReloadError::Rejected("no".to_owned())),
            };
            Box::pin(std::future::ready(reloaded))
        }
    }

    async fn request(admin: &Admin, method: &Method, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path);
        let (head, body) = admin.respond(&request.body(()).unwrap()).into_parts();
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
        let admin = Admin {
            health: Arc::new(health),
            ..admin()
        };
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
        for (command, status, expected) in [("valid", 200, "{}"), ("other", 403, "no\n")] {
            let (head, body) = admin.sessions(Body::full(command)).await.into_parts();
            let text = body.collect().await.unwrap().to_bytes();
            assert_eq!(
                (head.status.as_u16(), &*text),
                (status, expected.as_bytes())
            );
        }
        for (command, status, expected) in [("valid", 200, "on\n"), ("other", 403, "no\n")] {
            let (head, body) = admin.maintenance(Body::full(command)).await.into_parts();
            let text = body.collect().await.unwrap().to_bytes();
            assert_eq!(
                (head.status.as_u16(), &*text),
                (status, expected.as_bytes())
            );
        }
        for (command, status, expected) in [
            (
                "valid",
                200,
                "changes: 2\nneeds a restart: server.workers\n",
            ),
            ("of an invalid file", 422, "line 1\n"),
            ("other", 403, "no\n"),
        ] {
            let (head, body) = admin.reload(Body::full(command)).await.into_parts();
            let text = body.collect().await.unwrap().to_bytes();
            assert_eq!(
                (head.status.as_u16(), &*text),
                (status, expected.as_bytes())
            );
        }
    }
}
