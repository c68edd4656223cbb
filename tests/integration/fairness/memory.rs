//! Bytes in flight: large request heads that compress well.

use http::Request;

use super::{GREEDY, OTHER, http2, other_gets};
use crate::support::assertions::{SOON, metric_reaches};
use crate::support::backend::Answer;
use crate::support::doorward::Setup;
use crate::support::eventually_async;
use crate::support::gate::Gate;

const USED: &str = "doorward_in_flight_bytes";

/// A request whose cookies take 60 KB, and some bytes on the wire when they are sent again.
fn with_cookies() -> Request<()> {
    let crumb = format!("c={}", "x".repeat(3000));
    let request = Request::builder().uri("http://store.localhost:8080/public/held");
    let request = (0..20).fold(request, |request, _| request.header("cookie", &crumb));
    request.body(()).expect("a request")
}

#[tokio::test]
async fn joined_cookies_of_one_client_stay_within_its_share_of_the_memory() {
    const MIB: f64 = 1024.0 * 1024.0;
    let doorward = Setup::plain()
        .server("max_bytes_in_flight = 16777216")
        .start();
    let gate = Gate::default();
    let response = Answer {
        gate: Some(gate.clone()),
        ..Answer::default()
    };
    doorward.store.response("/public/held", response);
    let mut responses = Vec::new();
    for _ in 0..4 {
        let mut client = http2(GREEDY, doorward.address().port()).await;
        for _ in 0..50 {
            client = client.ready().await.expect("a stream");
            let (response, _) = client.send_request(with_cookies(), true).expect("sent");
            responses.push(tokio::spawn(response));
        }
    }
    let refused = r#"doorward_requests_total{app="store",decision="too_many_bytes_in_flight",status_class="5xx"}"#;
    eventually_async("all are held or refused", SOON, async || {
        doorward.metric(refused).await + doorward.store.count() as f64 >= 200.0
    })
    .await;
    let used = doorward.metric(USED).await;
    assert!(used > 7.0 * MIB && used <= 8.0 * MIB, "{used}");
    let mut other = http2(OTHER, doorward.address().port()).await;
    let (response, _) = other.send_request(with_cookies(), true).expect("sent");
    let response = tokio::spawn(response);
    assert_eq!(other_gets(&doorward, "/public/x").await.status(), 200);
    gate.open();
    assert_eq!(response.await.unwrap().unwrap().status(), 200);
    let mut statuses = Vec::new();
    for response in responses {
        statuses.push(response.await.unwrap().unwrap().status().as_u16());
    }
    assert!(
        statuses.contains(&200) && statuses.contains(&503),
        "{statuses:?}"
    );
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)));
    metric_reaches(&doorward, USED, 0.0).await;
}
