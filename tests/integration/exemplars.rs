//! Exemplars, as a Prometheus server reads them.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use doorward::types::time::SystemClock;
use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;
use crate::support::redis::free_port;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// A scrape a second, and time for the server to start.
const SOON: Duration = Duration::from_secs(60);

/// A Prometheus server that scrapes Doorward. It ends when this is dropped.
struct Prometheus {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Prometheus {
    fn scraping(target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "scrape_configs:\n- job_name: doorward\n  scrape_interval: 1s\n  static_configs:\n  - targets: [\"{target}\"]\n"
        );
        std::fs::write(&config, text).expect("a file");
        let port = free_port();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--enable-feature=exemplar-storage")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Prometheus is installed: run ./tests/run once");
        Self {
            process,
            port,
            _folder: folder,
        }
    }

    /// The response of its API, or an empty text while it starts.
    async fn get(&self, path_and_query: &str) -> String {
        let url = format!("http://127.0.0.1:{}{path_and_query}", self.port);
        let request = RequestSpec::new(Kind::Program, &url);
        let sent = Browser::new(Arc::new(SystemClock)).try_send(request).await;
        sent.map_or(String::new(), |page| page.text())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn traced_request(doorward: &Doorward) {
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let request = RequestSpec::new(Kind::Program, &doorward.store_url("/public/traced"))
        .header("traceparent", &parent);
    assert_eq!(doorward.browser().send(request).await.status(), 200);
}

#[tokio::test]
async fn prometheus_stores_the_trace_of_a_request() {
    let collector = Backend::start();
    let tracing = format!(
        "\n[tracing]\ncontext = \"trusted\"\notlp_endpoint = \"{}/v1/traces\"\n",
        collector.url()
    );
    let doorward = Setup::plain()
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .more(&tracing)
        .start();
    traced_request(&doorward).await;
    let prometheus = Prometheus::scraping(doorward.admin_address());
    let exemplars = "/api/v1/query_exemplars?start=0&end=99999999999&query=doorward_response_head_duration_seconds_bucket";
    eventually_async("the exemplar is stored", SOON, async || {
        let found = prometheus.get(exemplars).await;
        found.contains(TRACE) && found.contains(r#""app":"store""#)
    })
    .await;
    let up = prometheus.get("/api/v1/query?query=up").await;
    assert!(up.contains(r#","1"]"#), "{up}");
    let counted = prometheus
        .get("/api/v1/query?query=doorward_requests_total")
        .await;
    assert!(counted.contains("doorward_requests_total"), "{counted}");
}

/// Without recorded traces, or for a client that does not read OpenMetrics, the format is as always.
#[tokio::test]
async fn format_stays_the_same_without_recorded_traces() {
    let doorward = Setup::plain().start();
    traced_request(&doorward).await;
    let metrics = format!("http://{}/metrics", doorward.admin_address());
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let request = RequestSpec::new(Kind::Program, &metrics).header("accept", accept);
    let page = Browser::new(doorward.clock.clone()).send(request).await;
    assert_eq!(
        page.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(!page.text().contains("# EOF"));
}
