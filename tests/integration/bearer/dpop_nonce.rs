//! DPoP proofs with a server nonce (RFC 9449 section 8.2): the device's clock does not matter, and
//! proofs cannot be made in advance.

use serde_json::{Value, json};

use super::{CART, challenges, request_with, sent, setup, token};
use crate::support::assertions::assert_problem;
use crate::support::browser::Page;
use crate::support::device::Device;
use crate::support::doorward::Doorward;

struct Phone<'d> {
    doorward: &'d Doorward,
    device: Device,
    token: String,
}

impl<'d> Phone<'d> {
    fn of(doorward: &'d Doorward) -> Self {
        let device = Device::new();
        let token = token(doorward, device.binding());
        Self {
            doorward,
            device,
            token,
        }
    }

    /// Sends a request whose proof has these claims merged in.
    async fn requests(&self, more: Value) -> Page {
        let url = self.doorward.store_url(CART);
        let proof = self
            .device
            .proof(("GET", &url), &self.token, self.doorward.now(), &more);
        let request_with = request_with(self.doorward, CART, &format!("DPoP {}", self.token))
            .header("DPoP", &proof);
        sent(&mut self.doorward.browser(), request_with).await
    }

    async fn nonce(&self) -> String {
        let response = self.requests(json!({})).await;
        assert_problem(&response, 401, "dpop_nonce_required");
        assert!(
            challenges(&response)
                .iter()
                .any(|way| way.contains(r#"error="use_dpop_nonce""#)),
            "{response}"
        );
        response.header("dpop-nonce").expect("a nonce").to_owned()
    }
}

fn doorward() -> Doorward {
    setup("dpop_nonce = true").start()
}

#[tokio::test]
async fn nonce_is_issued_and_replaces_the_clock_check() {
    let doorward = doorward();
    let phone = Phone::of(&doorward);
    let nonce = phone.nonce().await;
    for iat in [doorward.now().secs(), 0, doorward.now().secs() + 86_400] {
        let response = phone.requests(json!({ "nonce": nonce, "iat": iat })).await;
        assert_eq!(
            (response.status(), response.header("dpop-nonce")),
            (200, None),
            "{response}"
        );
    }
    assert_eq!(doorward.store.count(), 3);
}

#[tokio::test]
async fn proof_is_single_use_for_the_lifetime_of_its_nonce() {
    let doorward = doorward();
    let phone = Phone::of(&doorward);
    let proof = json!({ "nonce": phone.nonce().await, "jti": "once" });
    assert_eq!(phone.requests(proof.clone()).await.status(), 200);
    assert_problem(
        &phone.requests(proof.clone()).await,
        401,
        "dpop_proof_replayed",
    );
    doorward.advance_secs(299);
    assert_problem(
        &phone.requests(proof.clone()).await,
        401,
        "dpop_proof_replayed",
    );
    doorward.advance_secs(1);
    assert_problem(&phone.requests(proof).await, 401, "dpop_nonce_required");
    assert_eq!(doorward.store.count(), 1);
}

#[tokio::test]
async fn next_nonce_is_issued_before_expiry() {
    let doorward = doorward();
    let phone = Phone::of(&doorward);
    let first = phone.nonce().await;
    doorward.advance_secs(151);
    let response = phone.requests(json!({ "nonce": first })).await;
    assert_eq!(
        (response.status(), response.header("cache-control")),
        (200, Some("no-store")),
        "{response}"
    );
    let next = response
        .header("dpop-nonce")
        .expect("the next nonce")
        .to_owned();
    doorward.advance_secs(149);
    assert_problem(
        &phone.requests(json!({ "nonce": first })).await,
        401,
        "dpop_nonce_required",
    );
    assert_eq!(phone.requests(json!({ "nonce": next })).await.status(), 200);
}

#[tokio::test]
async fn nonce_is_bound_to_the_app() {
    let doorward = doorward();
    let phone = Phone::of(&doorward);
    let nonce = phone.nonce().await;
    let elsewhere = setup("dpop_nonce = true").start();
    let foreign = Phone::of(&elsewhere).nonce().await;
    for other in [
        foreign,
        nonce.to_lowercase(),
        nonce.split_at(1).1.to_owned(),
        "x".to_owned(),
    ] {
        assert_problem(
            &phone.requests(json!({ "nonce": other })).await,
            401,
            "dpop_nonce_required",
        );
    }
    assert_problem(
        &phone.requests(json!({ "nonce": 7 })).await,
        401,
        "dpop_proof_malformed",
    );
    assert_eq!(doorward.store.count(), 0);
    assert_eq!(
        phone.requests(json!({ "nonce": nonce })).await.status(),
        200
    );
}
