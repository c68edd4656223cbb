//! DPoP proofs with a server nonce (RFC 9449 section 8.2): the device's clock does not matter, and
//! proofs cannot be made in advance.

use serde_json::{Value, json};

use super::{CART, ask, challenges, sent, setup, token};
use crate::support::assertions::assert_problem;
use crate::support::browser::Page;
use crate::support::device::Device;
use crate::support::doorward::Doorward;

struct Phone<'d> {
    door: &'d Doorward,
    device: Device,
    token: String,
}

impl<'d> Phone<'d> {
    fn of(door: &'d Doorward) -> Self {
        let device = Device::new();
        let token = token(door, device.binding());
        Self {
            door,
            device,
            token,
        }
    }

    /// Sends a request whose proof has these claims merged in.
    async fn asks(&self, more: Value) -> Page {
        let url = self.door.store_url(CART);
        let proof = self
            .device
            .proof(("GET", &url), &self.token, self.door.now(), &more);
        let ask = ask(self.door, CART, &format!("DPoP {}", self.token)).header("DPoP", &proof);
        sent(&mut self.door.browser(), ask).await
    }

    async fn nonce(&self) -> String {
        let answer = self.asks(json!({})).await;
        assert_problem(&answer, 401, "dpop_nonce_required");
        assert!(
            challenges(&answer)
                .iter()
                .any(|way| way.contains(r#"error="use_dpop_nonce""#)),
            "{answer}"
        );
        answer.header("dpop-nonce").expect("a nonce").to_owned()
    }
}

fn door() -> Doorward {
    setup("dpop_nonce = true").start()
}

#[tokio::test]
async fn nonce_is_issued_and_replaces_the_clock_check() {
    let door = door();
    let phone = Phone::of(&door);
    let nonce = phone.nonce().await;
    for iat in [door.now().secs(), 0, door.now().secs() + 86_400] {
        let answer = phone.asks(json!({ "nonce": nonce, "iat": iat })).await;
        assert_eq!(
            (answer.status(), answer.header("dpop-nonce")),
            (200, None),
            "{answer}"
        );
    }
    assert_eq!(door.store.count(), 3);
}

#[tokio::test]
async fn proof_is_single_use_for_the_lifetime_of_its_nonce() {
    let door = door();
    let phone = Phone::of(&door);
    let proof = json!({ "nonce": phone.nonce().await, "jti": "once" });
    assert_eq!(phone.asks(proof.clone()).await.status(), 200);
    assert_problem(&phone.asks(proof.clone()).await, 401, "dpop_proof_replayed");
    door.advance_secs(299);
    assert_problem(&phone.asks(proof.clone()).await, 401, "dpop_proof_replayed");
    door.advance_secs(1);
    assert_problem(&phone.asks(proof).await, 401, "dpop_nonce_required");
    assert_eq!(door.store.count(), 1);
}

#[tokio::test]
async fn next_nonce_is_issued_before_expiry() {
    let door = door();
    let phone = Phone::of(&door);
    let first = phone.nonce().await;
    door.advance_secs(151);
    let answer = phone.asks(json!({ "nonce": first })).await;
    assert_eq!(
        (answer.status(), answer.header("cache-control")),
        (200, Some("no-store")),
        "{answer}"
    );
    let next = answer
        .header("dpop-nonce")
        .expect("the next nonce")
        .to_owned();
    door.advance_secs(149);
    assert_problem(
        &phone.asks(json!({ "nonce": first })).await,
        401,
        "dpop_nonce_required",
    );
    assert_eq!(phone.asks(json!({ "nonce": next })).await.status(), 200);
}

#[tokio::test]
async fn nonce_is_bound_to_the_app() {
    let door = door();
    let phone = Phone::of(&door);
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
            &phone.asks(json!({ "nonce": other })).await,
            401,
            "dpop_nonce_required",
        );
    }
    assert_problem(
        &phone.asks(json!({ "nonce": 7 })).await,
        401,
        "dpop_proof_malformed",
    );
    assert_eq!(door.store.count(), 0);
    assert_eq!(phone.asks(json!({ "nonce": nonce })).await.status(), 200);
}
