//! Request bodies that do not arrive.

use std::time::Duration;

use super::{GREEDY, connection, get, other_browser, other_gets, stalled};
use crate::support::assertions::{Dialogue, metric_reaches};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};

const IN_FLIGHT: &str = "doorward_server_requests_in_flight";
const APP_IN_FLIGHT: &str = r#"doorward_requests_in_flight{app="store"}"#;

/// Sends so many requests of the greedy client, each on its own connection.
async fn greedy(doorward: &Doorward, count: usize, request: &str) -> Vec<Dialogue> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut one = connection(GREEDY, doorward.address().port()).await;
        one.say(request).await;
        held.push(one);
    }
    held
}

#[tokio::test]
async fn stalled_uploads_of_one_client_leave_slots_of_the_app_to_others() {
    let doorward = Setup::plain()
        .server("queue_timeout = \"1h\"\nmin_upload_rate = 0")
        .store("max_in_flight_requests = 9")
        .start();
    let _held = greedy(&doorward, 30, &stalled("/public/x")).await;
    metric_reaches(&doorward, APP_IN_FLIGHT, 5.0).await;
    for _ in 0..10 {
        assert_eq!(other_gets(&doorward, "/public/x").await.status(), 200);
    }
    assert_eq!(doorward.metric(APP_IN_FLIGHT).await, 5.0);
}

#[tokio::test]
async fn stalled_upload_gives_its_slot_to_a_request_that_waits() {
    let doorward = Setup::plain()
        .server("queue_timeout = \"1h\"")
        .store("max_in_flight_requests = 1")
        .start();
    let mut held = greedy(&doorward, 1, &stalled("/public/x")).await;
    metric_reaches(&doorward, APP_IN_FLIGHT, 1.0).await;
    assert_eq!(other_gets(&doorward, "/public/x").await.status(), 200);
    let cut = held[0].poll("POST").await;
    assert_eq!(cut.status(), 408, "{}", cut.text());
    metric_reaches(
        &doorward,
        r#"doorward_requests_total{app="store",decision="request_stalled",status_class="4xx"}"#,
        1.0,
    )
    .await;
}

#[tokio::test]
async fn slow_upload_continues_while_nobody_waits() {
    let doorward = Setup::plain().store("max_in_flight_requests = 2").start();
    let mut slow = greedy(&doorward, 1, &stalled("/public/x")).await;
    metric_reaches(&doorward, APP_IN_FLIGHT, 1.0).await;
    // Longer than an upload may stall if others wait.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(other_gets(&doorward, "/public/x").await.status(), 200);
    slow[0].say("x".repeat(35)).await;
    assert_eq!(slow[0].poll("POST").await.status(), 200);
}

/// Anybody can send these without an account and without a public path.
#[tokio::test]
async fn stalled_bodies_of_endpoints_do_not_take_the_servers_limit() {
    let doorward = Setup::plain()
        .server("max_in_flight_requests = 2\nmax_queued_requests = 1")
        .more("\n[apps.store.native]\npassword_grant = true\n")
        .start();
    let mut held = Vec::new();
    for path in ["backchannel-logout", "native/login", "token"] {
        let request = stalled(&format!("/.doorward/{path}"));
        held.extend(greedy(&doorward, 20, &request).await);
    }
    metric_reaches(&doorward, "doorward_endpoint_body_reads_in_flight", 60.0).await;
    assert_eq!(doorward.metric(IN_FLIGHT).await, 0.0);
    for _ in 0..10 {
        assert_eq!(other_gets(&doorward, "/public/x").await.status(), 200);
    }
    let mut own = connection(GREEDY, doorward.address().port()).await;
    assert_eq!(own.request("GET", get("/public/x")).await.status(), 200);
}

/// A body that looks like the confirmation of a preserved form is read first.
#[tokio::test]
async fn stalled_forms_of_one_client_do_not_hold_the_forms_of_others() {
    let doorward = Setup::plain().server("max_in_flight_requests = 2").start();
    let form = stalled("/checkout").replace(
        "Content-Length",
        "Origin: http://store.localhost:8080\r\nContent-Length",
    );
    let _held = greedy(&doorward, 200, &form).await;
    metric_reaches(&doorward, "doorward_endpoint_body_reads_in_flight", 200.0).await;
    let page = doorward.store_url("/cart").parse().expect("an URL");
    let spec = RequestSpec::new(Kind::Navigation, &doorward.store_url("/checkout"))
        .method("POST")
        .from(&page)
        .body("application/x-www-form-urlencoded", "quantity=3");
    let kept = other_browser(&doorward).send(spec).await;
    assert_eq!(kept.status(), 303, "{kept}");
    assert_eq!(doorward.metric("doorward_preserved_posts").await, 1.0);
}
