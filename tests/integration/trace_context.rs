//! W3C Trace Context: which trace the app gets, and that all logs name it.

use crate::support::assertions::{CART, alice};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The `traceparent` and `tracestate` of the app, and the trace ID in the access log.
struct Traced {
    parent: Option<String>,
    state: Option<String>,
    logged: Option<String>,
}

async fn traced(doorward: &Doorward, path: &str, parent: &str) -> Traced {
    let request = RequestSpec::new(Kind::Program, &doorward.store_url(path));
    let request = request.header("traceparent", parent);
    let response = doorward
        .browser()
        .send(request.header("tracestate", "vendor=1"))
        .await;
    assert_eq!(response.status(), 200);
    let received = doorward.store.last();
    let field = |name: &str| received.header(name).map(str::to_owned);
    let line = doorward.log.line(path, "forward").await;
    Traced {
        parent: field("traceparent"),
        state: field("tracestate"),
        logged: line["trace_id"].as_str().map(str::to_owned),
    }
}

#[tokio::test]
async fn fields_of_clients_pass_through_by_default() {
    let doorward = Setup::plain().start();
    let traced = traced(&doorward, "/public/x", "anything").await;
    assert_eq!(traced.parent.as_deref(), Some("anything"));
    assert_eq!(traced.state.as_deref(), Some("vendor=1"));
    assert_eq!(traced.logged, None);
}

#[tokio::test]
async fn trace_of_a_trusted_proxy_is_kept_if_it_is_valid() {
    let doorward = Setup::plain()
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .more("\n[tracing]\ncontext = \"trusted\"\n")
        .start();
    let kept = traced(&doorward, "/public/kept", GIVEN).await;
    assert_eq!(kept.parent.as_deref(), Some(GIVEN));
    assert_eq!(kept.state.as_deref(), Some("vendor=1"));
    assert_eq!(kept.logged.as_deref(), Some(ID));
    let made = traced(&doorward, "/public/made", &GIVEN.replace('f', "F")).await;
    let id = made.logged.expect("a trace");
    assert!(id.len() == 32 && id != ID, "{id}");
    assert!(made.parent.expect("a parent").contains(&id));
    assert_eq!(made.state, None);
}

#[tokio::test]
async fn trace_of_a_client_is_restarted_and_in_all_logs() {
    let folder = tempfile::tempdir().expect("a folder");
    let audit = folder.path().join("audit.log");
    let more = format!(
        "\n[tracing]\ncontext = \"trusted\"\n[log]\naudit = \"file:{}\"\n",
        audit.display()
    );
    let doorward = Setup::plain().more(&more).start();
    let one = traced(&doorward, "/public/one", GIVEN).await;
    let other = traced(&doorward, "/public/other", GIVEN).await;
    assert_ne!(one.logged, other.logged, "each request has its own");
    assert_ne!(one.logged.as_deref(), Some(ID));
    assert_eq!(one.state, None);
    let mut browser = alice(&doorward).await;
    browser.step(&doorward.store_url(CART)).await;
    assert_eq!(
        browser.step(&doorward.store_url("/admin/x")).await.status(),
        403
    );
    let line = doorward.log.line("/admin/x", "forbidden").await;
    let id = line["trace_id"].as_str().expect("a trace");
    crate::support::eventually("the audit log names the trace", || {
        let text = std::fs::read_to_string(&audit).unwrap_or_default();
        text.lines()
            .any(|event| event.contains("\"denied\"") && event.contains(id))
    })
    .await;
}
