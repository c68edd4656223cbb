//! DPoP-bound access tokens (RFC 9449): a stolen token or a captured request is useless without the
//! key.

use serde_json::{Value, json};

use super::{
    CART, ORDERS, PROFILE, assert_no_token_reached_the_app, challenges, request_with, sent, setup,
    token, with_token,
};
use crate::support::assertions::{Dialogue, assert_problem};
use crate::support::browser::{Kind, Page, RequestSpec};
use crate::support::device::Device;
use crate::support::doorward::{Doorward, Setup};
use crate::support::websocket::WebSocket;

/// A device and the token that is bound to its key.
fn bound(doorward: &Doorward, more: Value) -> (Device, String) {
    let device = Device::new();
    let mut claims = device.binding();
    claims
        .as_object_mut()
        .expect("an object")
        .extend(more.as_object().cloned().unwrap_or_default());
    let token = token(doorward, claims);
    (device, token)
}

/// The request of a device, with `more` merged into the claims of its proof.
fn proven(
    doorward: &Doorward,
    device: &Device,
    path: &str,
    token: &str,
    more: &Value,
) -> RequestSpec {
    let url = doorward.store_url(path);
    let proof = device.proof(("GET", &url), token, doorward.now(), more);
    request_with(doorward, path, &format!("DPoP {token}")).header("DPoP", &proof)
}

async fn response(doorward: &Doorward, request_with: RequestSpec) -> Page {
    sent(&mut doorward.browser(), request_with).await
}

fn told(error: &str, code: &str) -> String {
    format!(
        r#"DPoP realm="store.localhost", algs="ES256 ES384 EdDSA PS256 RS256", error="{error}", error_description="{code}""#
    )
}

async fn assert_refused(doorward: &Doorward, request_with: RequestSpec, error: &str, code: &str) {
    let response = response(doorward, request_with).await;
    assert_problem(&response, 401, code);
    assert!(
        challenges(&response).contains(&told(error, code)),
        "{response}"
    );
}

#[tokio::test]
async fn bound_token_with_proof_is_accepted_and_both_are_stripped() {
    let doorward = super::doorward();
    let (device, token) = bound(&doorward, json!({ "scope": "orders:read" }));
    for path in [CART, PROFILE, ORDERS, "/shopping-cart?page=2&q=%41"] {
        let response = response(
            &doorward,
            proven(&doorward, &device, path, &token, &json!({})),
        )
        .await;
        assert_eq!(response.status(), 200, "{path}: {response}");
        assert_eq!(
            (
                doorward.store_saw().as_deref(),
                response.header("dpop-nonce")
            ),
            (Some("alice-id"), None)
        );
    }
    let whole = doorward.store_url("/shopping-cart?page=3");
    let with_query = proven(
        &doorward,
        &device,
        "/shopping-cart?page=2",
        &token,
        &json!({ "htu": whole }),
    );
    assert_eq!(
        response(&doorward, with_query).await.status(),
        200,
        "the query is no part of what is proven"
    );
    assert_no_token_reached_the_app(&doorward);
}

#[tokio::test]
async fn stolen_bound_token_without_key_is_rejected() {
    let doorward = super::doorward();
    let (device, token) = bound(&doorward, json!({}));
    let (thief, none) = (Device::new(), json!({}));
    let as_bearer = with_token(&doorward, CART, &token).await;
    assert_problem(&as_bearer, 401, "token_bound_to_key");
    let dpop = format!("DPoP {token}");
    assert_refused(
        &doorward,
        request_with(&doorward, CART, &dpop),
        "invalid_dpop_proof",
        "dpop_proof_missing",
    )
    .await;
    let own_key = proven(&doorward, &thief, CART, &token, &none);
    assert_refused(
        &doorward,
        own_key,
        "invalid_dpop_proof",
        "dpop_key_mismatch",
    )
    .await;
    let mut own_token = bound(&doorward, json!({})).1;
    let other_token = proven(&doorward, &device, CART, &own_token, &none);
    assert_refused(
        &doorward,
        other_token,
        "invalid_dpop_proof",
        "dpop_key_mismatch",
    )
    .await;
    // A proof of the device for another token.
    own_token = super::token(&doorward, device.binding());
    let url = doorward.store_url(CART);
    let proof = device.proof(
        ("GET", &url),
        &own_token,
        doorward.now(),
        &json!({ "ath": null }),
    );
    let unbound = request_with(&doorward, CART, &dpop).header("DPoP", &proof);
    assert_refused(
        &doorward,
        unbound,
        "invalid_dpop_proof",
        "dpop_access_token_mismatch",
    )
    .await;
    let proof = device.proof(("GET", &url), &own_token, doorward.now(), &none);
    let crossed = request_with(&doorward, CART, &dpop).header("DPoP", &proof);
    assert_refused(
        &doorward,
        crossed,
        "invalid_dpop_proof",
        "dpop_access_token_mismatch",
    )
    .await;
    for nonsense in ["", "x", "a.b.c", token.as_str()] {
        let response = response(
            &doorward,
            request_with(&doorward, CART, &dpop).header("DPoP", nonsense),
        )
        .await;
        assert_eq!(response.status(), 401, "{nonsense:.10}: {response}");
    }
    assert_eq!(doorward.store.count(), 0, "a stolen token passed");
}

#[tokio::test]
async fn replayed_request_is_rejected() {
    let doorward = super::doorward();
    let (device, token) = bound(&doorward, json!({}));
    let captured = proven(&doorward, &device, CART, &token, &json!({}));
    assert_eq!(response(&doorward, captured.clone()).await.status(), 200);
    let replay = async |request_with: RequestSpec, code| {
        assert_refused(&doorward, request_with, "invalid_dpop_proof", code).await
    };
    for seconds in [0, 1, 57, 1, 1, 30] {
        doorward.advance_secs(seconds);
        let code = if doorward.now().secs() < 1_800_000_060 {
            "dpop_proof_replayed"
        } else {
            "dpop_proof_too_old"
        };
        replay(captured.clone(), code).await;
    }
    let fresh = proven(&doorward, &device, CART, &token, &json!({}));
    let to = |method: &str, path: &str| {
        RequestSpec {
            url: RequestSpec::new(Kind::Program, &doorward.store_url(path)).url,
            ..fresh.clone()
        }
        .method(method)
    };
    replay(to("POST", CART), "dpop_htm_mismatch").await;
    assert_eq!(response(&doorward, to("HEAD", CART)).await.status(), 401);
    replay(to("GET", "/orders"), "dpop_htu_mismatch").await;
    replay(to("GET", "/shopping-cart/"), "dpop_htu_mismatch").await;
    assert_eq!(doorward.store.count(), 1, "a captured proof passed again");
    assert_eq!(
        response(&doorward, fresh).await.status(),
        200,
        "and was not used up by the attempts"
    );
}

#[tokio::test]
async fn proof_for_other_origin_is_rejected() {
    let doorward = super::doorward();
    let (device, token) = bound(&doorward, json!({}));
    for htu in [
        doorward.forum_url(CART),
        CART.to_owned(),
        format!("https://store.localhost:8080{CART}"),
        format!("http://store.localhost{CART}"),
        format!("http://evil.example{CART}"),
    ] {
        let request_with = proven(&doorward, &device, CART, &token, &json!({ "htu": htu }));
        assert_refused(
            &doorward,
            request_with,
            "invalid_dpop_proof",
            "dpop_htu_mismatch",
        )
        .await;
    }
    assert_eq!(doorward.store.count(), 0);
}

#[tokio::test]
async fn proof_must_name_the_public_url() {
    // As behind a TLS terminator: the request itself has http, or another spelling of the
    // host.
    let doorward = Setup::over_tls()
        .store_rules(super::RULES)
        .more("[apps.store.bearer]\n")
        .start();
    let (device, token) = bound(&doorward, json!({}));
    let mut dialogue = Dialogue::with(&doorward.browser(), &doorward.site().store).await;
    for host in ["store.example.test", "STORE.example.test:443"] {
        let proof = device.proof(
            ("GET", &doorward.store_url(CART)),
            &token,
            doorward.now(),
            &json!({}),
        );
        let request = format!(
            "GET {CART} HTTP/1.1\r\nHost: {host}\r\nAuthorization: DPoP {token}\r\nDPoP: {proof}\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.example\r\n\r\n"
        );
        let reply = dialogue.request("GET", request).await;
        assert_eq!(reply.status(), 200, "{host}: {}", reply.text());
    }
    assert_no_token_reached_the_app(&doorward);
}

#[tokio::test]
async fn exactly_one_proof_is_required() {
    let doorward = super::doorward();
    let (device, token) = bound(&doorward, json!({}));
    let twice = proven(&doorward, &device, CART, &token, &json!({}));
    let second = device.proof(
        ("GET", &doorward.store_url(CART)),
        &token,
        doorward.now(),
        &json!({}),
    );
    assert_refused(
        &doorward,
        twice.header("DPoP", &second),
        "invalid_dpop_proof",
        "dpop_proof_repeated",
    )
    .await;
    let listed = request_with(&doorward, CART, &format!("DPoP {token}"))
        .header("DPoP", &format!("{second}, {second}"));
    assert_refused(
        &doorward,
        listed,
        "invalid_dpop_proof",
        "dpop_proof_malformed",
    )
    .await;
    assert_eq!(doorward.store.count(), 0);
}

#[tokio::test]
async fn unbound_token_with_proof_is_rejected() {
    let doorward = super::doorward();
    let (device, plain) = (Device::new(), token(&doorward, json!({})));
    let request_with = proven(&doorward, &device, CART, &plain, &json!({}));
    assert_refused(&doorward, request_with, "invalid_token", "token_not_bound").await;
    // As a plain bearer token it is accepted, whatever else is sent.
    let superfluous =
        super::request_with(&doorward, CART, &format!("Bearer {plain}")).header("DPoP", "x");
    assert_eq!(response(&doorward, superfluous).await.status(), 200);
    assert_no_token_reached_the_app(&doorward);
}

#[tokio::test]
async fn required_binding_rejects_plain_bearer() {
    let doorward = setup("dpop = \"required\"").start();
    let plain = with_token(&doorward, CART, &token(&doorward, json!({}))).await;
    assert_problem(&plain, 401, "token_not_bound");
    let ways = challenges(&plain);
    assert!(
        ways.iter().all(|way| !way.starts_with("Bearer")) && ways[0].starts_with("DPoP"),
        "{ways:?}"
    );
    assert_eq!(doorward.store.count(), 0);
    let (device, token) = bound(&doorward, json!({}));
    assert_eq!(
        response(
            &doorward,
            proven(&doorward, &device, CART, &token, &json!({}))
        )
        .await
        .status(),
        200
    );
}

#[tokio::test]
async fn opaque_token_binding_comes_from_introspection() {
    let doorward = setup("opaque_tokens = \"introspect\"").start();
    let (device, thief) = (Device::new(), Device::new());
    let mut claims = device.binding();
    claims["token_type"] = json!("DPoP");
    let token = doorward.provider.opaque_token(&claims);
    assert_problem(
        &with_token(&doorward, CART, &token).await,
        401,
        "token_bound_to_key",
    );
    let stolen = proven(&doorward, &thief, CART, &token, &json!({}));
    assert_refused(&doorward, stolen, "invalid_dpop_proof", "dpop_key_mismatch").await;
    assert_eq!(doorward.store.count(), 0);
    assert_eq!(
        response(
            &doorward,
            proven(&doorward, &device, CART, &token, &json!({}))
        )
        .await
        .status(),
        200
    );
}

#[tokio::test]
async fn public_path_and_websocket_accept_bound_tokens() {
    let doorward = super::doorward();
    let (device, token) = bound(&doorward, json!({}));
    let public = proven(&doorward, &device, "/public/news", &token, &json!({}));
    assert_eq!(response(&doorward, public.clone()).await.status(), 200);
    assert_eq!(
        doorward.store_saw(),
        None,
        "nothing is remembered for a page of everyone's, so nobody is known there"
    );
    assert_eq!(response(&doorward, public).await.status(), 200);
    let request_with = proven(&doorward, &device, "/api/feed", &token, &json!({}));
    let mut talk = WebSocket::open(&mut doorward.browser(), request_with.clone())
        .await
        .expect("a socket");
    talk.say("hello").await.expect("sent");
    assert_eq!(
        talk.poll().await.expect("an echo").as_deref(),
        Some("hello")
    );
    assert_eq!(doorward.store_saw().as_deref(), Some("alice-id"));
    assert_eq!(
        WebSocket::open(&mut doorward.browser(), request_with)
            .await
            .err()
            .expect("no socket")
            .status(),
        401
    );
    assert_no_token_reached_the_app(&doorward);
}
