//! Traces by OTLP: a collector decodes what arrives. One that hangs or is down costs no request.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::support::assertions::{CART, alice};
use crate::support::backend::{Answer, Backend, Content};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::gate::Gate;
use crate::support::{eventually, eventually_async};

const PATH: &str = "/v1/traces";
const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The export of a batch takes a second until it fails.
const SOON: Duration = Duration::from_secs(30);
const DROPPED: &str = "doorward_spans_dropped_total";

fn collector() -> Backend {
    let collector = Backend::start();
    collector.response(
        PATH,
        Answer {
            body: Content::Bytes(Vec::new()),
            ..Answer::default()
        },
    );
    collector
}

fn exporting(collector: &Backend, ratio: &str) -> Doorward {
    let url = collector.url();
    let tracing = format!(
        "\n[tracing]\ncontext = \"trusted\"\nsampling_ratio = {ratio}\notlp_endpoint = \"{url}{PATH}\"\n"
    );
    Setup::plain()
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .more(&tracing)
        .start()
}

/// The spans that the collector has received.
fn spans(collector: &Backend) -> Vec<Span> {
    let received = collector.received().into_iter();
    let exports = received.map(|request| {
        assert_eq!(
            request.header("content-type"),
            Some("application/x-protobuf")
        );
        ExportTraceServiceRequest::decode(request.body.as_slice()).expect("protobuf")
    });
    let scopes = exports
        .flat_map(|export| export.resource_spans)
        .flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.as_ref());
    value.map_or(String::new(), |value| format!("{value:?}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits for the span of a request to `path`, and returns the spans of its trace.
async fn trace_of(collector: &Backend, path: &str) -> Vec<Span> {
    let request = || {
        let spans = spans(collector).into_iter();
        let mut requests = spans.filter(|span| attribute(span, "url.path").contains(path));
        requests.next()
    };
    eventually("the request is exported", || request().is_some()).await;
    let trace_id = request().expect("it is there").trace_id;
    let spans = spans(collector).into_iter();
    spans.filter(|span| span.trace_id == trace_id).collect()
}

/// Each span by its name, with the name of its parent.
fn parents(spans: &[Span]) -> BTreeMap<&str, &str> {
    let name_of = |id: &[u8]| {
        let parent = spans.iter().find(|span| span.span_id == id);
        parent.map_or("", |parent| parent.name.as_str())
    };
    let pairs = spans.iter();
    pairs
        .map(|span| (span.name.as_str(), name_of(&span.parent_span_id)))
        .collect()
}

#[tokio::test]
async fn spans_of_a_request_are_within_each_other() {
    let collector = collector();
    let doorward = exporting(&collector, "1.0");
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(301);
    browser.step(&doorward.store_url("/cart/refreshed")).await;
    let parent = doorward.store.last();
    let parent = parent.header("traceparent").expect("a parent").to_owned();
    let spans = trace_of(&collector, "/cart/refreshed").await;
    let parents = parents(&spans);
    for (name, within) in [
        ("GET", ""),
        ("authentication", "GET"),
        ("refresh", "authentication"),
        ("provider token", "refresh"),
        ("upstream", "GET"),
    ] {
        assert_eq!(parents.get(name), Some(&within), "{name} in {parents:?}");
    }
    let named = |name: &str| spans.iter().find(|span| span.name == name).expect("a span");
    let upstream = named("upstream");
    let expected = format!(
        "00-{}-{}-03",
        hex(&upstream.trace_id),
        hex(&upstream.span_id)
    );
    assert_eq!(parent, expected, "the app is called by the exchange");
    for (inner, outer) in [("upstream", "GET"), ("provider token", "refresh")] {
        let (inner, outer) = (named(inner), named(outer));
        assert!(inner.start_time_unix_nano <= inner.end_time_unix_nano);
        assert!(inner.end_time_unix_nano <= outer.end_time_unix_nano + 1_000_000);
    }
    let request = named("GET");
    assert!(attribute(request, "http.response.status_code").contains("200"));
    assert!(attribute(request, "doorward.decision").contains("forward"));
    let plain = CART;
    browser.step(&doorward.store_url(plain)).await;
    let spans = trace_of(&collector, plain).await;
    assert!(
        spans.iter().all(|span| !span.name.starts_with("provider")),
        "{spans:?}"
    );
}

#[tokio::test]
async fn trace_of_a_proxy_is_continued_and_its_choice_kept() {
    let collector = collector();
    let doorward = exporting(&collector, "0.0");
    let traced = async |path: &str, flags: &str| {
        let request = RequestSpec::new(Kind::Program, &doorward.store_url(path));
        let parent = format!("00-{ID}-00f067aa0ba902b7-{flags}");
        let request = request.header("traceparent", &parent);
        assert_eq!(doorward.browser().send(request).await.status(), 200);
    };
    traced("/public/not", "00").await;
    doorward
        .browser()
        .step(&doorward.store_url("/public/new"))
        .await;
    traced("/public/recorded", "01").await;
    let spans = trace_of(&collector, "/public/recorded").await;
    let request = spans
        .iter()
        .find(|span| span.name == "GET")
        .expect("a span");
    assert_eq!(hex(&request.trace_id), ID);
    assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
    let requests = spans.iter().filter(|span| span.name == "GET");
    assert_eq!(
        requests.count(),
        1,
        "the others are not recorded: {spans:?}"
    );
}

#[tokio::test]
async fn collector_that_hangs_or_is_down_costs_no_request() {
    let collector = collector();
    let gate = Gate::default();
    collector.response(
        PATH,
        Answer {
            gate: Some(gate.clone()),
            ..Answer::default()
        },
    );
    let doorward = exporting(&collector, "1.0");
    let url = doorward.store_url("/public/x");
    assert_eq!(doorward.browser().step(&url).await.status(), 200);
    gate.reached(1).await;
    for _ in 0..20 {
        let served = tokio::time::timeout(Duration::from_secs(9), async {
            doorward.browser().step(&url).await.status()
        });
        assert_eq!(served.await, Ok(200), "an export takes up to ten seconds");
    }
    gate.open();
    let mut closed = Backend::start();
    closed.stop();
    let down = exporting(&closed, "1.0");
    let url = down.store_url("/public/x");
    assert_eq!(down.browser().step(&url).await.status(), 200);
    eventually_async("spans are dropped", SOON, async || {
        down.metric(DROPPED).await >= 1.0
    })
    .await;
}
