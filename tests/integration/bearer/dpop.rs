//! DPoP-bound access tokens (RFC 9449): a stolen token or a captured request is useless without the
//! key.

use serde_json::{Value, json};

use super::{
    CART, ORDERS, PROFILE, ask, assert_no_token_reached_the_app, challenges, sent, setup, token,
    with_token,
};
use crate::support::assertions::{Dialogue, assert_problem};
use crate::support::browser::{Kind, Page, RequestSpec};
use crate::support::device::Device;
use crate::support::doorward::{Doorward, Setup};
use crate::support::websocket::WebSocket;

/// A device and the token that is bound to its key.
fn bound(door: &Doorward, more: Value) -> (Device, String) {
    let device = Device::new();
    let mut claims = device.binding();
    claims
        .as_object_mut()
        .expect("an object")
        .extend(more.as_object().cloned().unwrap_or_default());
    let token = token(door, claims);
    (device, token)
}

/// The request of a device, with `more` merged into the claims of its proof.
fn proven(door: &Doorward, device: &Device, path: &str, token: &str, more: &Value) -> RequestSpec {
    let url = door.store_url(path);
    let proof = device.proof(("GET", &url), token, door.now(), more);
    ask(door, path, &format!("DPoP {token}")).header("DPoP", &proof)
}

async fn answer(door: &Doorward, ask: RequestSpec) -> Page {
    sent(&mut door.browser(), ask).await
}

fn told(error: &str, code: &str) -> String {
    format!(
        r#"DPoP realm="store.localhost", algs="ES256 ES384 EdDSA PS256 RS256", error="{error}", error_description="{code}""#
    )
}

async fn assert_refused(door: &Doorward, ask: RequestSpec, error: &str, code: &str) {
    let answer = answer(door, ask).await;
    assert_problem(&answer, 401, code);
    assert!(challenges(&answer).contains(&told(error, code)), "{answer}");
}

#[tokio::test]
async fn bound_token_with_proof_is_accepted_and_both_are_stripped() {
    let door = super::door();
    let (device, token) = bound(&door, json!({ "scope": "orders:read" }));
    for path in [CART, PROFILE, ORDERS, "/shopping-cart?page=2&q=%41"] {
        let answer = answer(&door, proven(&door, &device, path, &token, &json!({}))).await;
        assert_eq!(answer.status(), 200, "{path}: {answer}");
        assert_eq!(
            (door.store_saw().as_deref(), answer.header("dpop-nonce")),
            (Some("alice-id"), None)
        );
    }
    let whole = door.store_url("/shopping-cart?page=3");
    let with_query = proven(
        &door,
        &device,
        "/shopping-cart?page=2",
        &token,
        &json!({ "htu": whole }),
    );
    assert_eq!(
        answer(&door, with_query).await.status(),
        200,
        "the query is no part of what is proven"
    );
    assert_no_token_reached_the_app(&door);
}

#[tokio::test]
async fn stolen_bound_token_without_key_is_rejected() {
    let door = super::door();
    let (device, token) = bound(&door, json!({}));
    let (thief, none) = (Device::new(), json!({}));
    let as_bearer = with_token(&door, CART, &token).await;
    assert_problem(&as_bearer, 401, "token_bound_to_key");
    let dpop = format!("DPoP {token}");
    assert_refused(
        &door,
        ask(&door, CART, &dpop),
        "invalid_dpop_proof",
        "dpop_proof_missing",
    )
    .await;
    let own_key = proven(&door, &thief, CART, &token, &none);
    assert_refused(&door, own_key, "invalid_dpop_proof", "dpop_key_mismatch").await;
    let mut own_token = bound(&door, json!({})).1;
    let other_token = proven(&door, &device, CART, &own_token, &none);
    assert_refused(
        &door,
        other_token,
        "invalid_dpop_proof",
        "dpop_key_mismatch",
    )
    .await;
    // A proof of the device for another token.
    own_token = super::token(&door, device.binding());
    let url = door.store_url(CART);
    let proof = device.proof(
        ("GET", &url),
        &own_token,
        door.now(),
        &json!({ "ath": null }),
    );
    let unbound = ask(&door, CART, &dpop).header("DPoP", &proof);
    assert_refused(
        &door,
        unbound,
        "invalid_dpop_proof",
        "dpop_access_token_mismatch",
    )
    .await;
    let proof = device.proof(("GET", &url), &own_token, door.now(), &none);
    let crossed = ask(&door, CART, &dpop).header("DPoP", &proof);
    assert_refused(
        &door,
        crossed,
        "invalid_dpop_proof",
        "dpop_access_token_mismatch",
    )
    .await;
    for nonsense in ["", "x", "a.b.c", token.as_str()] {
        let answer = answer(&door, ask(&door, CART, &dpop).header("DPoP", nonsense)).await;
        assert_eq!(answer.status(), 401, "{nonsense:.10}: {answer}");
    }
    assert_eq!(door.store.count(), 0, "a stolen token passed");
}

#[tokio::test]
async fn replayed_request_is_rejected() {
    let door = super::door();
    let (device, token) = bound(&door, json!({}));
    let captured = proven(&door, &device, CART, &token, &json!({}));
    assert_eq!(answer(&door, captured.clone()).await.status(), 200);
    let replay =
        async |ask: RequestSpec, code| assert_refused(&door, ask, "invalid_dpop_proof", code).await;
    for seconds in [0, 1, 57, 1, 1, 30] {
        door.advance_secs(seconds);
        let code = if door.now().secs() < 1_800_000_060 {
            "dpop_proof_replayed"
        } else {
            "dpop_proof_too_old"
        };
        replay(captured.clone(), code).await;
    }
    let fresh = proven(&door, &device, CART, &token, &json!({}));
    let to = |method: &str, path: &str| {
        RequestSpec {
            url: RequestSpec::new(Kind::Program, &door.store_url(path)).url,
            ..fresh.clone()
        }
        .method(method)
    };
    replay(to("POST", CART), "dpop_htm_mismatch").await;
    assert_eq!(answer(&door, to("HEAD", CART)).await.status(), 401);
    replay(to("GET", "/orders"), "dpop_htu_mismatch").await;
    replay(to("GET", "/shopping-cart/"), "dpop_htu_mismatch").await;
    assert_eq!(door.store.count(), 1, "a captured proof passed again");
    assert_eq!(
        answer(&door, fresh).await.status(),
        200,
        "and was not used up by the attempts"
    );
}

#[tokio::test]
async fn proof_for_other_origin_is_rejected() {
    let door = super::door();
    let (device, token) = bound(&door, json!({}));
    for htu in [
        door.forum_url(CART),
        CART.to_owned(),
        format!("https://store.localhost:8080{CART}"),
        format!("http://store.localhost{CART}"),
        format!("http://evil.example{CART}"),
    ] {
        let ask = proven(&door, &device, CART, &token, &json!({ "htu": htu }));
        assert_refused(&door, ask, "invalid_dpop_proof", "dpop_htu_mismatch").await;
    }
    assert_eq!(door.store.count(), 0);
}

#[tokio::test]
async fn proof_must_name_the_public_url() {
    // As behind a TLS terminator: the request itself has http, or another spelling of the
    // host.
    let door = Setup::over_tls()
        .store_rules(super::RULES)
        .more("[apps.store.bearer]\n")
        .start();
    let (device, token) = bound(&door, json!({}));
    let mut dialogue = Dialogue::with(&door.browser(), &door.site().store).await;
    for host in ["store.example.test", "STORE.example.test:443"] {
        let proof = device.proof(
            ("GET", &door.store_url(CART)),
            &token,
            door.now(),
            &json!({}),
        );
        let request = format!(
            "GET {CART} HTTP/1.1\r\nHost: {host}\r\nAuthorization: DPoP {token}\r\nDPoP: {proof}\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.example\r\n\r\n"
        );
        let reply = dialogue.ask("GET", request).await;
        assert_eq!(reply.status(), 200, "{host}: {}", reply.text());
    }
    assert_no_token_reached_the_app(&door);
}

#[tokio::test]
async fn exactly_one_proof_is_required() {
    let door = super::door();
    let (device, token) = bound(&door, json!({}));
    let twice = proven(&door, &device, CART, &token, &json!({}));
    let second = device.proof(
        ("GET", &door.store_url(CART)),
        &token,
        door.now(),
        &json!({}),
    );
    assert_refused(
        &door,
        twice.header("DPoP", &second),
        "invalid_dpop_proof",
        "dpop_proof_repeated",
    )
    .await;
    let listed =
        ask(&door, CART, &format!("DPoP {token}")).header("DPoP", &format!("{second}, {second}"));
    assert_refused(&door, listed, "invalid_dpop_proof", "dpop_proof_malformed").await;
    assert_eq!(door.store.count(), 0);
}

#[tokio::test]
async fn unbound_token_with_proof_is_rejected() {
    let door = super::door();
    let (device, plain) = (Device::new(), token(&door, json!({})));
    let ask = proven(&door, &device, CART, &plain, &json!({}));
    assert_refused(&door, ask, "invalid_token", "token_not_bound").await;
    // As a plain bearer token it is accepted, whatever else is sent.
    let superfluous = super::ask(&door, CART, &format!("Bearer {plain}")).header("DPoP", "x");
    assert_eq!(answer(&door, superfluous).await.status(), 200);
    assert_no_token_reached_the_app(&door);
}

#[tokio::test]
async fn required_binding_rejects_plain_bearer() {
    let door = setup("dpop = \"required\"").start();
    let plain = with_token(&door, CART, &token(&door, json!({}))).await;
    assert_problem(&plain, 401, "token_not_bound");
    let ways = challenges(&plain);
    assert!(
        ways.iter().all(|way| !way.starts_with("Bearer")) && ways[0].starts_with("DPoP"),
        "{ways:?}"
    );
    assert_eq!(door.store.count(), 0);
    let (device, token) = bound(&door, json!({}));
    assert_eq!(
        answer(&door, proven(&door, &device, CART, &token, &json!({})))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn opaque_token_binding_comes_from_introspection() {
    let door = setup("opaque_tokens = \"introspect\"").start();
    let (device, thief) = (Device::new(), Device::new());
    let mut claims = device.binding();
    claims["token_type"] = json!("DPoP");
    let token = door.provider.opaque_token(&claims);
    assert_problem(
        &with_token(&door, CART, &token).await,
        401,
        "token_bound_to_key",
    );
    let stolen = proven(&door, &thief, CART, &token, &json!({}));
    assert_refused(&door, stolen, "invalid_dpop_proof", "dpop_key_mismatch").await;
    assert_eq!(door.store.count(), 0);
    assert_eq!(
        answer(&door, proven(&door, &device, CART, &token, &json!({})))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn public_path_and_websocket_accept_bound_tokens() {
    let door = super::door();
    let (device, token) = bound(&door, json!({}));
    let public = proven(&door, &device, "/public/news", &token, &json!({}));
    assert_eq!(answer(&door, public.clone()).await.status(), 200);
    assert_eq!(
        door.store_saw(),
        None,
        "nothing is remembered for a page of everyone's, so nobody is known there"
    );
    assert_eq!(answer(&door, public).await.status(), 200);
    let ask = proven(&door, &device, "/api/feed", &token, &json!({}));
    let mut talk = WebSocket::open(&mut door.browser(), ask.clone())
        .await
        .expect("a socket");
    talk.say("hello").await.expect("sent");
    assert_eq!(
        talk.poll().await.expect("an echo").as_deref(),
        Some("hello")
    );
    assert_eq!(door.store_saw().as_deref(), Some("alice-id"));
    assert_eq!(
        WebSocket::open(&mut door.browser(), ask)
            .await
            .err()
            .expect("no socket")
            .status(),
        401
    );
    assert_no_token_reached_the_app(&door);
}
