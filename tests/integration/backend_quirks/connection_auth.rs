//! NTLM and Negotiate: an upstream connection that the backend authenticated is used for the client
//! that authenticated it, and for no other.

use super::{before, connect, get};
use crate::support::assertions::{Dialogue, Reply, alice, metric_reaches};
use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::quirky_backend::QuirkyBackend;

const PATH: &str = "/public/files";

async fn authorized(client: &mut Dialogue, credentials: &str) -> Reply {
    get(client, PATH, &format!("Authorization: {credentials}\r\n")).await
}

/// The user that the backend takes the client for, by its connection only.
async fn user(client: &mut Dialogue) -> (u16, String) {
    let reply = get(client, PATH, "").await;
    (reply.status(), reply.text())
}

fn nobody() -> (u16, String) {
    (401, "nobody".to_owned())
}

fn named(name: &str) -> (u16, String) {
    (200, name.to_owned())
}

/// The second step of the handshake must reach the connection of the first.
#[tokio::test]
async fn ntlm_handshake_stays_on_one_upstream_connection() {
    let backend = QuirkyBackend::start();
    let doorward = before(&backend).start();
    let mut client = connect(&doorward).await;
    let challenge = authorized(&mut client, "NTLM hello alice").await;
    assert_eq!(
        (
            challenge.status(),
            challenge.head.header("www-authenticate")
        ),
        (401, Some("NTLM challenge"))
    );
    metric_reaches(&doorward, "doorward_upstream_pinned_connections", 1.0).await;
    // Others take no notice of the unfinished handshake.
    assert_eq!(user(&mut connect(&doorward).await).await, nobody());
    let proof = authorized(&mut client, "NTLM proof alice").await;
    assert_eq!((proof.status(), proof.text().as_str()), (200, "alice"));
    assert_eq!(user(&mut client).await, named("alice"));
    let received = backend.received();
    let connections: Vec<_> = received.iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 1, 0, 0]);
}

#[tokio::test]
async fn authenticated_connection_serves_no_other_client() {
    let backend = QuirkyBackend::start();
    let doorward = before(&backend).start();
    let mut first = connect(&doorward).await;
    assert_eq!(
        authorized(&mut first, "Negotiate alice").await.status(),
        200
    );
    for _ in 0..20 {
        assert_eq!(user(&mut connect(&doorward).await).await, nobody());
    }
    let mut second = connect(&doorward).await;
    assert_eq!(authorized(&mut second, "Negotiate bob").await.status(), 200);
    assert_eq!(user(&mut first).await, named("alice"));
    assert_eq!(user(&mut second).await, named("bob"));
    let others = get(&mut connect(&doorward).await, "/public/other", "").await;
    assert_eq!(others.text(), "nobody");
}

/// A proxy in front sends the requests of many clients on one connection.
#[tokio::test]
async fn connection_of_a_trusted_proxy_is_not_pinned() {
    let backend = QuirkyBackend::start();
    let doorward = before(&backend)
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .start();
    let mut proxy = connect(&doorward).await;
    assert_eq!(
        authorized(&mut proxy, "Negotiate alice").await.status(),
        200
    );
    for _ in 0..5 {
        assert_eq!(user(&mut proxy).await, nobody());
    }
}

fn cookies(browser: &Browser, doorward: &Doorward) -> String {
    let cookies = browser.jar.of(doorward.store_host());
    let pairs: Vec<String> = cookies
        .iter()
        .map(|cookie| format!("{}={}", cookie.name, cookie.value))
        .collect();
    format!("Cookie: {}\r\n", pairs.join("; "))
}

#[tokio::test]
async fn another_session_on_the_same_client_connection_is_not_authenticated() {
    let backend = QuirkyBackend::start();
    // The login ends at a page of the backend, which is no matter here.
    let doorward = before(&backend).start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    browser.visit(&doorward.store_url("/mine")).await;
    let alice = cookies(&browser, &doorward);
    let mut client = connect(&doorward).await;
    let with = |cookies: &str, more: &str| format!("{cookies}{more}");
    let fields = with(&alice, "Authorization: Negotiate alice\r\n");
    assert_eq!(get(&mut client, "/mine", &fields).await.status(), 200);
    assert_eq!(get(&mut client, "/mine", &alice).await.text(), "alice");
    doorward.sign_in("bob");
    let mut browser = doorward.browser();
    browser.visit(&doorward.store_url("/mine")).await;
    let bob = cookies(&browser, &doorward);
    assert_eq!(get(&mut client, "/mine", &bob).await.text(), "nobody");
    assert_eq!(get(&mut client, PATH, "").await.text(), "nobody");
}

/// With a session too, `Authorization` belongs to the app unless Doorward issued or checks the
/// token in it.
#[tokio::test]
async fn authorization_reaches_the_app_with_a_session() {
    for (lines, reaches) in [("", true), ("authorization_header = \"remove\"", false)] {
        let doorward = Setup::plain().store(lines).start();
        let browser = alice(&doorward).await;
        let session = cookies(&browser, &doorward);
        for path in ["/shopping-cart", "/public/page"] {
            for credentials in [
                "Basic YXBwOnB3",
                "Digest username=\"app\"",
                "Bearer app-token",
            ] {
                let fields = format!("{session}Authorization: {credentials}\r\n");
                let reply = get(&mut connect(&doorward).await, path, &fields).await;
                assert_eq!(reply.status(), 200, "{path}: {}", reply.text());
                let seen = doorward.store.last();
                assert_eq!(seen.header("x-forwarded-user"), Some("alice-id"));
                assert_eq!(
                    seen.header("authorization"),
                    reaches.then_some(credentials),
                    "{path}"
                );
            }
        }
    }
}

/// The tokens that Doorward checks for an app never reach it, whoever the caller is.
#[tokio::test]
async fn checked_token_reaches_no_app() {
    let doorward = Setup::plain().more("[apps.store.bearer]").start();
    let browser = alice(&doorward).await;
    let fields = |more: &str| format!("{}Authorization: {more}\r\n", cookies(&browser, &doorward));
    for (credentials, reaches) in [("Bearer x.y.z", false), ("Basic YXBwOnB3", true)] {
        let mut client = connect(&doorward).await;
        let reply = get(&mut client, "/shopping-cart", &fields(credentials)).await;
        assert_eq!(reply.status(), 200, "{}", reply.text());
        let seen = doorward.store.last();
        assert_eq!(
            seen.header("authorization").is_some(),
            reaches,
            "{credentials}"
        );
    }
}
