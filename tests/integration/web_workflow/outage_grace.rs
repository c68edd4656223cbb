//! `outage_grace`: during a provider outage, sessions continue for a limited time after their JWT
//! expired. Only sealed contents count, the other limits still apply, and a rejected refresh ends
//! the session.

use super::{CART, is_sent_to_log_in, load, refreshes, sets_session, shown};
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::gate::Gate;
use crate::support::journey;
use crate::support::provider::{Endpoint, Fault, RefreshRefusal};
use crate::support::websocket::WebSocket;

fn with_grace() -> Setup {
    Setup::plain().store("outage_grace = \"2m\"")
}

async fn is_told_to_wait(doorward: &Doorward, browser: &mut Browser) -> Page {
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(
        (page.status(), page.head.all("set-cookie").len()),
        (503, 0),
        "{page}"
    );
    assert!(page.header("retry-after").is_some(), "{page}");
    page
}

#[tokio::test]
async fn sessions_continue_for_the_grace_period_only() {
    let mut doorward = with_grace().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.provider.stop();
    for passed in [300, 60, 59] {
        doorward.advance_secs(passed);
        let page = load(&doorward, &mut browser, "alice").await;
        assert!(
            !page
                .head
                .all("set-cookie")
                .iter()
                .any(|line| line.contains("_jwt=") || line.contains("_refresh="))
        );
    }
    doorward
        .log
        .line("/shopping-cart", "forward_in_grace")
        .await;
    let counted = doorward
        .metric(r#"doorward_requests_total{app="store",decision="forward_in_grace",status_class="2xx"}"#)
        .await;
    assert_eq!(counted, 3.0);
    doorward.advance_secs(1);
    is_told_to_wait(&doorward, &mut browser).await;
    doorward.provider.restart();
    doorward.advance_secs(5);
    let page = load(&doorward, &mut browser, "alice").await;
    assert!(sets_session(&page), "{page}");
    doorward.provider.assert_no_dead_refresh_token_was_sent();
    assert_eq!(doorward.provider.grants("authorization_code"), 1);
}

#[tokio::test]
async fn every_outage_counts_and_refusals_do_not() {
    for fault in [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(429),
        Fault::Html,
        Fault::CutBefore,
    ] {
        let doorward = with_grace().start();
        let mut browser = doorward.logged_in("alice", CART).await;
        doorward.advance_secs(300);
        doorward.provider.fault(Endpoint::Token, fault);
        load(&doorward, &mut browser, "alice").await;
        doorward.provider.heal(Endpoint::Token);
        doorward.advance_secs(5);
        // The refresh runs in the background: its tokens come with this response or the next one.
        load(&doorward, &mut browser, "alice").await;
        crate::support::eventually("the refresh is done", || refreshes(&doorward) >= 2).await;
        doorward.advance_secs(100);
        load(&doorward, &mut browser, "alice").await;
        load(&doorward, &mut browser, "alice").await;
        doorward.provider.assert_no_dead_refresh_token_was_sent();
    }
    let doorward = with_grace().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    let refuse = |status, error| {
        let refusal = Some(RefreshRefusal {
            status,
            error: Some(error),
        });
        doorward
            .provider
            .behave(|provider| provider.refresh_refusal = refusal);
    };
    refuse(401, "invalid_client");
    is_told_to_wait(&doorward, &mut browser).await;
    doorward.advance_secs(5);
    refuse(400, "invalid_grant");
    is_sent_to_log_in(&doorward, &mut browser).await;
}

#[tokio::test]
async fn only_first_request_waits_for_hanging_provider() {
    let doorward = with_grace().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    let gate = Gate::default();
    doorward
        .provider
        .fault_once(Endpoint::Token, Fault::Held(gate.clone()));
    load(&doorward, &mut browser, "alice").await;
    // The provider still hangs, so the single refresh is still in flight.
    for _ in 0..20 {
        load(&doorward, &mut browser, "alice").await;
    }
    let request = RequestSpec::new(Kind::Fetch, &doorward.store_url("/chat"));
    let mut talk = WebSocket::open(&mut browser, request)
        .await
        .expect("a socket");
    talk.say("hello").await.expect("sent");
    assert_eq!(
        (refreshes(&doorward), doorward.store_saw().as_deref()),
        (1, Some("alice-id"))
    );
    gate.open();
    // The late success becomes the successor.
    doorward.advance_secs(120);
    let page = load(&doorward, &mut browser, "alice").await;
    assert!(sets_session(&page), "{page}");
    assert_eq!(refreshes(&doorward), 1);
}

#[tokio::test]
async fn logout_and_absolute_timeout_apply_within_grace() {
    let doorward = with_grace()
        .session("idle_timeout = \"5m\"\nabsolute_timeout = \"310s\"")
        .store("idle_timeout = \"310s\"")
        .start();
    let (mut alice, mut other) = (
        doorward.logged_in("alice", CART).await,
        doorward.logged_in("alice", CART).await,
    );
    doorward.provider.fault(Endpoint::Token, Fault::Status(503));
    doorward.advance_secs(300);
    load(&doorward, &mut alice, "alice").await;
    let mut copy = alice.clone();
    journey::log_out(&mut alice, &doorward.site().store).await;
    let page = copy.step(&doorward.store_url(CART)).await;
    assert_eq!((page.status(), shown_or_none(&page)), (302, None), "{page}");
    doorward.advance_secs(9);
    load(&doorward, &mut other, "alice").await;
    doorward.advance_secs(1);
    is_sent_to_log_in(&doorward, &mut other).await;
}

fn shown_or_none(page: &Page) -> Option<String> {
    if page.status() == 200 {
        shown(page)
    } else {
        None
    }
}

#[tokio::test]
async fn without_grace_an_expired_jwt_yields_503() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.provider.fault(Endpoint::Token, Fault::Status(503));
    doorward.advance_secs(299);
    load(&doorward, &mut browser, "alice").await;
    doorward.advance_secs(6);
    for _ in 0..2 {
        is_told_to_wait(&doorward, &mut browser).await;
    }
}
