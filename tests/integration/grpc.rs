//! gRPC through Doorward, with tonic at both ends: all four kinds of calls, and errors with a gRPC
//! status.

use bytes::Bytes;
use http::uri::PathAndQuery;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};

use crate::support::assertions::metric_reaches;
use crate::support::doorward::{Doorward, Setup};
use crate::support::grpc::{Channel, Raw, Service, client};

const ORIGIN: &str = "http://echo.localhost:8080";

type Client = tonic::client::Grpc<Channel>;

/// A gRPC app that needs a token. `Say` of `/public.Echo` is public.
fn before(service: &Service, more: &str) -> Doorward {
    let app = format!(
        "[apps.echo]\nprovider = \"login\"\npublic_url = \"{ORIGIN}\"\nclient_id = \"echo\"\nupstream = \"{}\"\n\
         upstream_protocol = \"http2\"\n{more}\n[apps.echo.bearer]\naudiences = [\"store\"]\n\
         [[apps.echo.rules]]\npaths = [\"/admin.Echo/*\"]\nallow = {{ roles = [\"admin\"] }}\n\
         [[apps.echo.rules]]\npaths = [\"/public.Echo/*\"]\nallow = \"public\"\n",
        service.url()
    );
    Setup::plain().more(&app).start()
}

/// A client with alice's token and forged metadata.
async fn alice(doorward: &Doorward) -> Client {
    let token = format!("Bearer {}", doorward.provider.access_token(&json!({}), &[]));
    client(
        doorward.address(),
        ORIGIN,
        &[("authorization", &token), ("x-forwarded-user", "mallory")],
    )
    .await
}

fn method(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

async fn say(
    client: &mut Client,
    path: &'static str,
    message: &'static str,
) -> Result<Bytes, Status> {
    client.ready().await.expect("a connection");
    let request = Request::new(Bytes::from_static(message.as_bytes()));
    client
        .unary(request, method(path), Raw)
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test]
async fn unary_call_carries_identity_and_status() {
    let service = Service::start();
    let doorward = before(&service, "");
    let mut client = alice(&doorward).await;
    assert_eq!(
        say(&mut client, "/echo.Echo/Say", "hello").await.unwrap(),
        "alice-id: hello"
    );
    let head = service.heads().pop().unwrap();
    assert_eq!(
        (&head["te"], &head["content-type"]),
        (
            &"trailers".parse().unwrap(),
            &"application/grpc".parse().unwrap()
        )
    );
    assert!(!head.contains_key("authorization"));

    let failed = say(&mut client, "/echo.Echo/Say", "fail")
        .await
        .unwrap_err();
    assert_eq!(
        (failed.code(), failed.message()),
        (Code::NotFound, "not hére: 100 %")
    );
    assert_eq!(failed.metadata().get("cause").unwrap(), "wish");
    assert!(
        failed.metadata().get("doorward-access-token").is_none(),
        "{failed:?}"
    );
    let unknown = say(&mut client, "/echo.Echo/Other", "x").await.unwrap_err();
    assert_eq!(
        (unknown.code(), unknown.message()),
        (Code::Unimplemented, "no such method")
    );
}

#[tokio::test]
async fn client_streaming_works() {
    let service = Service::start();
    let doorward = before(&service, "");
    let mut client = alice(&doorward).await;
    client.ready().await.unwrap();
    let messages =
        tokio_stream::iter(["one", "two", "three"].map(|word| Bytes::from_static(word.as_bytes())));
    let response = client
        .client_streaming(Request::new(messages), method("/echo.Echo/Collect"), Raw)
        .await
        .unwrap();
    assert_eq!(response.into_inner(), "one,two,three");
}

#[tokio::test]
async fn server_streaming_works_and_can_fail_midway() {
    let service = Service::start();
    let doorward = before(&service, "");
    let mut client = alice(&doorward).await;
    client.ready().await.unwrap();
    let request = Request::new(Bytes::from_static(b"one,two,fail,three"));
    let response = client
        .server_streaming(request, method("/echo.Echo/Split"), Raw)
        .await
        .unwrap();
    let mut messages = response.into_inner();
    for word in ["one", "two"] {
        assert_eq!(messages.message().await.unwrap().unwrap(), word);
    }
    let failed = messages.message().await.unwrap_err();
    assert_eq!(
        (failed.code(), failed.message()),
        (Code::DataLoss, "half of it")
    );
}

/// Each message gets its response before the next is sent: nothing buffers on the way.
#[tokio::test]
async fn bidirectional_streaming_works() {
    let service = Service::start();
    let doorward = before(&service, "");
    let mut client = alice(&doorward).await;
    client.ready().await.unwrap();
    let (sender, messages) = mpsc::channel(1);
    let request = Request::new(ReceiverStream::new(messages));
    let mut heard = client
        .streaming(request, method("/echo.Echo/Talk"), Raw)
        .await
        .unwrap()
        .into_inner();
    for n in 0..20 {
        let word = Bytes::from(format!("word {n}"));
        sender.send(word.clone()).await.unwrap();
        assert_eq!(heard.message().await.unwrap(), Some(word));
    }
    drop(sender);
    assert_eq!(heard.message().await.unwrap(), None);
    assert!(heard.trailers().await.unwrap().is_some());
    metric_reaches(&doorward, "doorward_upstream_http2_streams", 0.0).await;
}

#[tokio::test]
async fn large_messages_pass_both_ways() {
    let service = Service::start();
    let doorward = before(&service, "");
    let mut client = alice(&doorward).await.max_decoding_message_size(usize::MAX);
    client.ready().await.unwrap();
    let part = Bytes::from(vec![b'x'; 3 << 20]);
    let messages = tokio_stream::iter(vec![part; 8]);
    let response = client
        .client_streaming(Request::new(messages), method("/echo.Echo/Collect"), Raw)
        .await
        .unwrap();
    assert_eq!(response.into_inner().len(), 8 * (3 << 20) + 7);
}

#[tokio::test]
async fn refused_call_gets_grpc_status_and_no_login() {
    let service = Service::start();
    let doorward = before(&service, "");
    let browserish = [
        ("accept", "text/html"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    let mut stranger = client(doorward.address(), ORIGIN, &browserish).await;
    let refused = say(&mut stranger, "/echo.Echo/Say", "hello")
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(
        refused.message().starts_with("Please log in (no_session "),
        "{}",
        refused.message()
    );
    assert!(
        refused.metadata().get("www-authenticate").is_some()
            && refused.metadata().get("location").is_none()
    );
    let _ = doorward.log.line("/echo.Echo/Say", "no_session").await;

    let mut forged = client(
        doorward.address(),
        ORIGIN,
        &[("authorization", "Bearer a.b.c")],
    )
    .await;
    assert_eq!(
        say(&mut forged, "/echo.Echo/Say", "hello")
            .await
            .unwrap_err()
            .code(),
        Code::Unauthenticated
    );
    let mut alice = alice(&doorward).await;
    let forbidden = say(&mut alice, "/admin.Echo/Say", "hello")
        .await
        .unwrap_err();
    assert_eq!(forbidden.code(), Code::PermissionDenied);
    assert!(
        forbidden.message().contains("(forbidden "),
        "{}",
        forbidden.message()
    );
    let odd = say(&mut alice, "/echo.Echo//Say", "hello")
        .await
        .unwrap_err();
    assert_eq!(odd.code(), Code::Internal);
    let mut elsewhere = client(doorward.address(), "http://stranger.example", &[]).await;
    assert_eq!(
        say(&mut elsewhere, "/echo.Echo/Say", "hello")
            .await
            .unwrap_err()
            .code(),
        Code::Unknown
    );
    assert!(service.heads().is_empty());
}

#[tokio::test]
async fn backend_down_is_status_unavailable() {
    let service = Service::start();
    let doorward = before(&service, "");
    let mut client = alice(&doorward).await;
    say(&mut client, "/echo.Echo/Say", "hello").await.unwrap();
    service.stop();
    let down = say(&mut client, "/echo.Echo/Say", "hello")
        .await
        .unwrap_err();
    assert_eq!(down.code(), Code::Unavailable);
    assert!(down.message().contains("upstream_"), "{}", down.message());
}

/// A client that disconnects during a call cancels it at the service.
#[tokio::test]
async fn cancelled_call_is_cancelled_at_the_backend() {
    let service = Service::start();
    let doorward = before(&service, "");
    let mut client = alice(&doorward).await;
    client.ready().await.unwrap();
    let (sender, messages) = mpsc::channel(1);
    let request = Request::new(ReceiverStream::new(messages));
    let mut heard = client
        .streaming(request, method("/echo.Echo/Talk"), Raw)
        .await
        .unwrap()
        .into_inner();
    sender.send(Bytes::from_static(b"hello")).await.unwrap();
    heard.message().await.unwrap();
    assert_eq!(
        doorward.metric("doorward_upstream_http2_streams").await,
        1.0
    );
    drop((heard, sender, client));
    metric_reaches(&doorward, "doorward_upstream_http2_streams", 0.0).await;
}
