//! Graceful shutdown: requests in flight finish, new ones are rejected, and connections left at the
//! deadline are closed.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::assertions::{Dialogue, SOON, alice};
use crate::support::backend::{Answer, Content};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;
use crate::support::gate::Gate;
use crate::support::websocket::{WebSocket, upgrade_headers};
use crate::support::wire::Framing;

const FOR_EVER: Duration = Duration::from_secs(3600);
const HOST: &str = "Host: store.localhost:8080\r\n";

fn end(doorward: Doorward) -> JoinHandle<()> {
    tokio::task::spawn_blocking(move || drop(doorward))
}

async fn ended(ending: JoinHandle<()>) {
    timeout(SOON, ending)
        .await
        .expect("the end in time")
        .expect("an orderly end");
}

/// Waits until the port is closed.
async fn refuses(address: std::net::SocketAddr) {
    eventually_async("new connections are refused", SOON, async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn drain_finishes_requests_in_flight_and_accepts_none() {
    let doorward = Setup::plain().start();
    let gate = Gate::default();
    let body = Content::Bytes(vec![b'z'; 200_000]);
    doorward.store.response(
        "/public/slow",
        Answer {
            gate: Some(gate.clone()),
            body,
            ..Answer::default()
        },
    );
    let (address, browser) = (doorward.address(), doorward.browser());
    let mut idle = Dialogue::with(&browser, &doorward.site().store).await;
    assert_eq!(
        idle.request("GET", format!("GET /public/x HTTP/1.1\r\n{HOST}\r\n"))
            .await
            .status(),
        200
    );
    let mut busy = Dialogue::with(&browser, &doorward.site().store).await;
    busy.say(format!("GET /public/slow HTTP/1.1\r\n{HOST}\r\n"))
        .await;
    gate.reached(1).await;

    let ending = end(doorward);
    refuses(address).await;
    assert!(
        idle.hear_end().await.is_empty(),
        "a kept connection is closed"
    );
    assert!(!ending.is_finished(), "somebody is still being answered");
    gate.open();
    let reply = busy.poll("GET").await;
    assert_eq!((reply.status(), reply.body.len()), (200, 200_000));
    assert_eq!(reply.head.header("connection"), Some("close"));
    busy.hear_end().await;
    ended(ending).await;
}

#[tokio::test]
async fn refresh_in_flight_reaches_its_browser_during_drain() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(301);
    let gate = Gate::default();
    doorward.provider.fault(
        crate::support::provider::Endpoint::Token,
        crate::support::provider::Fault::Held(gate.clone()),
    );
    let (url, address, host) = (
        doorward.store_url("/shopping-cart"),
        doorward.address(),
        doorward.store_host(),
    );
    let before = crate::support::journey::cookie(&browser, host, "refresh");
    let asking = tokio::spawn(async move {
        let page = browser.step(&url).await;
        (page.status(), browser)
    });
    gate.reached(1).await;
    let ending = end(doorward);
    refuses(address).await;
    gate.open();
    let (status, browser) = asking.await.expect("an answer");
    let after = crate::support::journey::cookie(&browser, host, "refresh");
    assert!(
        status == 200 && after.is_some() && after != before,
        "{status}: the new token was lost"
    );
    ended(ending).await;
}

#[tokio::test]
async fn endless_response_is_cut_at_the_drain_deadline() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let spec = RequestSpec::new(Kind::Fetch, &doorward.store_url("/chat"));
    let mut talk = WebSocket::open(&mut browser, spec.clone())
        .await
        .expect("a socket");
    let mut stuck = browser
        .stream(RequestSpec {
            headers: upgrade_headers(),
            ..spec
        })
        .await
        .expect("a socket")
        .into_wire();
    doorward.store.response(
        "/download",
        Answer {
            body: Content::Big(10),
            body_delay: FOR_EVER,
            ..Answer::default()
        },
    );
    let mut download = browser
        .stream(RequestSpec::new(
            Kind::Fetch,
            &doorward.store_url("/download"),
        ))
        .await
        .expect("an answer");

    // An incomplete frame header.
    stuck
        .write(&[0x82, 0xfe, 1, 0, 0, 0, 0, 0, 7])
        .await
        .expect("sent");
    let ending = end(doorward);
    let close = timeout(SOON, talk.hear_close())
        .await
        .expect("the socket is closed in time")
        .expect("a close frame");
    assert_eq!(close, (1001, "server going away".to_owned()));
    let rest = timeout(SOON, stuck.read_body(Framing::UntilClose))
        .await
        .expect("the stuck socket is cut in time");
    assert!(
        rest.is_ok_and(|rest| rest.starts_with(&[0x88])),
        "the client's side is between frames, and is told"
    );
    let rest = timeout(SOON, download.next())
        .await
        .expect("the stream is cut in time");
    assert!(
        rest.is_err(),
        "a stream that was cut looked whole: {rest:?}"
    );
    ended(ending).await;
}

#[tokio::test]
async fn event_stream_ends_whole_when_the_drain_begins() {
    let doorward = Setup::plain().server("drain_timeout = \"1h\"").start();
    doorward.store.response(
        "/public/events",
        Answer {
            body: Content::Events {
                count: 2,
                every: FOR_EVER,
            },
            ..Answer::default()
        },
    );
    let gate = Gate::default();
    let body = Content::Bytes(vec![b'z'; 200_000]);
    doorward.store.response(
        "/public/download",
        Answer {
            gate: Some(gate.clone()),
            body,
            ..Answer::default()
        },
    );
    let url = doorward.store_url("/public/events");
    let (mut browser, log) = (doorward.browser(), doorward.log.clone());
    let mut events = browser
        .stream(RequestSpec::new(Kind::Fetch, &url))
        .await
        .expect("an answer");
    assert!(events.next().await.expect("an event").is_some());
    let connection = TcpStream::connect(doorward.address())
        .await
        .expect("a port");
    let (mut client, connection) = h2::client::handshake(connection).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get(&url).body(()).expect("a request");
    let (response, _) = client.send_request(request, true).expect("sent");
    let mut http2_events = response.await.expect("an answer").into_body();
    assert!(http2_events.data().await.is_some_and(|event| event.is_ok()));
    let mut download = Dialogue::with(&doorward.browser(), &doorward.site().store).await;
    download
        .say(format!("GET /public/download HTTP/1.1\r\n{HOST}\r\n"))
        .await;
    gate.reached(1).await;

    let ending = end(doorward);
    let rest = timeout(SOON, events.next()).await.expect("an end in time");
    assert!(matches!(rest, Ok(None)), "{rest:?}");
    let rest = async {
        while let Some(part) = http2_events.data().await {
            assert!(part.is_ok_and(|part| part.is_empty()));
        }
    };
    timeout(SOON, rest).await.expect("an end in time");
    log.line("/public/events", "shutting_down").await;
    assert!(!ending.is_finished(), "a download goes on");
    gate.open();
    let reply = download.poll("GET").await;
    assert_eq!((reply.status(), reply.body.len()), (200, 200_000));
    drop(client);
    ended(ending).await;
}

#[tokio::test]
async fn readiness_fails_when_drain_begins() {
    let doorward = Setup::plain().start();
    let gate = Gate::default();
    doorward.store.response(
        "/public/slow",
        Answer {
            gate: Some(gate.clone()),
            ..Answer::default()
        },
    );
    let admin = doorward.admin_address();
    let mut probe = Browser::new(doorward.clock.clone());
    let page = probe.visit(&format!("http://{admin}/livez")).await;
    assert_eq!((page.status(), page.text().as_str()), (200, "alive\n"));
    eventually_async("the process is ready", SOON, async || {
        doorward.readiness_of(0).await.0 == 200
    })
    .await;
    let mut busy = Dialogue::with(&doorward.browser(), &doorward.site().store).await;
    busy.say(format!("GET /public/slow HTTP/1.1\r\n{HOST}\r\n"))
        .await;
    gate.reached(1).await;
    let ending = end(doorward);
    let readyz = format!("http://{admin}/readyz");
    eventually_async("the process is not ready", SOON, async || {
        let page = probe
            .try_send(RequestSpec::new(Kind::Program, &readyz))
            .await;
        !page.is_ok_and(|page| page.status() != 503)
    })
    .await;
    gate.open();
    assert_eq!(busy.poll("GET").await.status(), 200);
    ended(ending).await;
}
