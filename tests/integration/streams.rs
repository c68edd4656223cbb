//! Streams and WebSockets outlive the JWT and end with the session. A slow sized response is
//! delivered in full.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::assertions::{CART, SOON, alice, metric_reaches};
use crate::support::backend::{Answer, Content};
use crate::support::browser::{Browser, Kind, RequestSpec, Streaming};
use crate::support::doorward::{Doorward, Setup};
use crate::support::gate::Gate;
use crate::support::journey;
use crate::support::provider::{Endpoint, Fault};
use crate::support::websocket::WebSocket;

/// The event interval of a busy app, and of an app that is silent after the first event.
const BUSY: Duration = Duration::from_millis(100);
const RESTING: Duration = Duration::from_secs(3600);

/// An event stream and a WebSocket of one browser.
struct Open {
    events: Streaming,
    talk: WebSocket,
}

impl Open {
    async fn at(doorward: &Doorward, browser: &mut Browser, folder: &str, every: Duration) -> Self {
        let path = format!("{folder}/events");
        doorward.store.response(
            &path,
            Answer {
                body: Content::Events { count: 1000, every },
                ..Answer::default()
            },
        );
        let request = |path: &str| {
            RequestSpec::new(Kind::Fetch, &doorward.store_url(path))
                .header("Origin", &doorward.site().store)
        };
        let mut events = browser.stream(request(&path)).await.expect("an answer");
        assert_eq!(events.head.status(), 200);
        assert!(events.next().await.expect("an event").is_some());
        let talk = WebSocket::open(browser, request(&format!("{folder}/chat")))
            .await
            .expect("a socket");
        let mut open = Self { events, talk };
        open.has_response().await;
        open
    }

    async fn has_response(&mut self) {
        self.talk.say("still here").await.expect("sent");
        let heard = timeout(SOON, self.talk.poll())
            .await
            .expect("an echo in time")
            .expect("an echo");
        assert_eq!(heard.as_deref(), Some("still here"));
    }

    /// Asserts that events continue across more than two session checks.
    async fn assert_open(&mut self) {
        for _ in 0..12 {
            let event = timeout(SOON, self.events.next())
                .await
                .expect("an event in time")
                .expect("an event");
            assert!(event.is_some(), "the stream ended");
        }
        self.has_response().await;
    }

    async fn is_cut(&mut self) {
        let close = timeout(SOON, self.talk.hear_close())
            .await
            .expect("the socket is closed in time");
        assert_eq!(
            close.expect("a close frame"),
            (1008, "session ended".to_owned())
        );
        let end = async {
            loop {
                match self.events.next().await {
                    Ok(Some(_)) => {}
                    end => return end,
                }
            }
        };
        let end = timeout(SOON, end).await.expect("the stream is cut in time");
        assert!(end.is_err(), "a stream that was cut looked whole");
    }
}

#[tokio::test]
async fn stream_outlives_jwt_and_ends_at_logout() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let mut open = Open::at(&doorward, &mut browser, "", BUSY).await;
    doorward.advance_secs(301);
    open.assert_open().await;
    assert_eq!(
        doorward.provider.grants("refresh_token"),
        0,
        "a stream refreshes nothing"
    );
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    assert_eq!(doorward.provider.grants("refresh_token"), 1);
    journey::log_out(&mut browser, &doorward.site().store).await;
    open.is_cut().await;
}

#[tokio::test]
async fn stream_ends_when_refresh_is_refused() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let mut open = Open::at(&doorward, &mut browser, "", BUSY).await;
    doorward.provider.end_grants_of("alice-id");
    doorward.advance_secs(301);
    open.assert_open().await;
    doorward.provider.fault(Endpoint::Token, Fault::Status(503));
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 503);
    open.assert_open().await;
    doorward.provider.heal(Endpoint::Token);
    doorward.advance_secs(5);
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 302);
    open.is_cut().await;
    metric_reaches(
        &doorward,
        r#"doorward_upgraded_connections_ended_total{app="store",reason="session_over"}"#,
        1.0,
    )
    .await;
}

#[tokio::test]
async fn event_stream_request_is_refreshed_before_it_starts() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(301);
    let body = Content::Events {
        count: 1000,
        every: BUSY,
    };
    doorward.store.response(
        "/events",
        Answer {
            body,
            ..Answer::default()
        },
    );
    let request = RequestSpec::new(Kind::Fetch, &doorward.store_url("/events"))
        .header("Accept", "text/event-stream");
    let mut events = browser.stream(request).await.expect("an answer");
    assert_eq!(
        (
            events.head.status(),
            doorward.provider.grants("refresh_token")
        ),
        (200, 1)
    );
    assert!(
        events
            .head
            .all("set-cookie")
            .iter()
            .any(|line| line.starts_with("doorward_refresh=")),
        "{:?}",
        events.head
    );
    assert_eq!(events.head.header("cache-control"), Some("no-store"));
    doorward.advance_secs(301);
    for _ in 0..12 {
        assert!(
            timeout(SOON, events.next())
                .await
                .expect("an event in time")
                .expect("an event")
                .is_some()
        );
    }
    assert_eq!(
        doorward.provider.grants("refresh_token"),
        1,
        "and never again while it lasts"
    );
}

#[tokio::test]
async fn stream_ends_at_stream_max_age() {
    let doorward = Setup::plain().store("stream_max_age = \"1s\"").start();
    for (mut browser, folder) in [
        (alice(&doorward).await, ""),
        (doorward.browser(), "/public"),
    ] {
        let mut open = Open::at(&doorward, &mut browser, folder, BUSY).await;
        let close = timeout(SOON, open.talk.hear_close())
            .await
            .expect("the socket is closed in time");
        assert_eq!(
            close.expect("a close frame"),
            (1001, "connection too old".to_owned())
        );
        let end = async { while let Ok(Some(_)) = open.events.next().await {} };
        timeout(SOON, end).await.expect("the stream is cut in time");
        doorward
            .log
            .line(&format!("{folder}/events"), "stream_max_age")
            .await;
    }
    let mut other = Open::at(&doorward, &mut alice(&doorward).await, "/other", BUSY).await;
    other.has_response().await;
}

#[tokio::test]
async fn silent_websocket_is_closed_at_idle_timeout() {
    let doorward = Setup::plain().store("stream_idle_timeout = \"1s\"").start();
    let mut browser = alice(&doorward).await;
    let mut talk = WebSocket::open(
        &mut browser,
        RequestSpec::new(Kind::Fetch, &doorward.store_url("/chat")),
    )
    .await
    .expect("a socket");
    let close = timeout(SOON, talk.hear_close())
        .await
        .expect("it is closed in time")
        .expect("a close frame");
    assert_eq!(close, (1001, "idle for too long".to_owned()));
}

#[tokio::test]
async fn idle_stream_ends_at_logout_of_its_session_only() {
    let doorward = Setup::plain().start();
    let (mut here, mut there) = (alice(&doorward).await, alice(&doorward).await);
    let (mut open, mut other) = (
        Open::at(&doorward, &mut here, "", RESTING).await,
        Open::at(&doorward, &mut there, "/other", BUSY).await,
    );
    journey::log_out(&mut here, &doorward.site().store).await;
    open.is_cut().await;
    other.assert_open().await;
}

#[tokio::test]
async fn stream_ends_at_absolute_timeout() {
    let doorward = Setup::plain().session("absolute_timeout = \"2h\"").start();
    let mut browser = alice(&doorward).await;
    let mut busy = Open::at(&doorward, &mut browser, "", BUSY).await;
    let mut resting = Open::at(&doorward, &mut browser, "/other", RESTING).await;
    doorward.advance_secs(2 * 3600 - 1);
    busy.assert_open().await;
    doorward.advance_secs(1);
    tokio::join!(busy.is_cut(), resting.is_cut());
}

#[tokio::test]
async fn stream_ends_at_backchannel_logout_by_sid() {
    they_end_at_a_backchannel_logout(|doorward| json!({ "sid": doorward.provider.session() }))
        .await;
}

#[tokio::test]
async fn stream_ends_at_backchannel_logout_by_sub() {
    they_end_at_a_backchannel_logout(|_| json!({ "sub": "alice-id" })).await;
}

async fn they_end_at_a_backchannel_logout(about: impl Fn(&Doorward) -> Value) {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let token = doorward
        .provider
        .logout_token("store", &about(&doorward), &[]);
    let mut bob = doorward.logged_in("bob", CART).await;
    let mut open = Open::at(&doorward, &mut browser, "", RESTING).await;
    let mut other = Open::at(&doorward, &mut bob, "/other", BUSY).await;
    let request = RequestSpec::new(
        Kind::Program,
        &doorward.store_url("/.doorward/backchannel-logout"),
    )
    .method("POST");
    let request = request.body(
        "application/x-www-form-urlencoded",
        format!("logout_token={token}"),
    );
    assert_eq!(doorward.browser().send(request).await.status(), 200);
    open.is_cut().await;
    other.assert_open().await;
}

#[tokio::test]
async fn permitted_response_is_delivered_despite_logout() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let (gate, body) = (Gate::default(), Content::Bytes(vec![b'z'; 200_000]));
    doorward.store.response(
        "/late",
        Answer {
            gate: Some(gate.clone()),
            body: body.clone(),
            ..Answer::default()
        },
    );
    let body_delay = Duration::from_millis(1200);
    doorward.store.response(
        "/slow",
        Answer {
            body,
            body_delay,
            ..Answer::default()
        },
    );
    let request = |path: &str| RequestSpec::new(Kind::Fetch, &doorward.store_url(path));
    let mut slow = browser.stream(request("/slow")).await.expect("a head");
    let (mut waits, late) = (browser.clone(), request("/late"));
    let late = tokio::spawn(async move { waits.send(late).await });
    gate.reached(1).await;
    journey::log_out(&mut browser, &doorward.site().store).await;
    let mut bytes = 0;
    while let Some(part) = timeout(SOON, slow.next())
        .await
        .expect("in time")
        .expect("a part")
    {
        bytes += part.len();
    }
    assert_eq!(bytes, 200_000);
    gate.open();
    let late = late.await.expect("an answer");
    assert_eq!((late.status(), late.body.len()), (200, 200_000));
}

#[tokio::test]
async fn public_stream_is_independent_of_sessions() {
    let doorward = Setup::plain().session("absolute_timeout = \"2h\"").start();
    let mut browser = alice(&doorward).await;
    let mut open = Open::at(&doorward, &mut doorward.browser(), "/public", BUSY).await;
    journey::log_out(&mut browser, &doorward.site().store).await;
    doorward.advance_secs(3 * 3600);
    open.assert_open().await;
}
