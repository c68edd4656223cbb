//! DPoP-bound tokens (RFC 9449) at a provider without DPoP support. With them, a stolen refresh
//! token or JWT is useless.

use serde_json::{Value, json};

use super::{CART, PASSWORD, Phone, calls, shows_the_cart, started, store};
use crate::support::browser::{Page, RequestSpec};
use crate::support::device::Device;
use crate::support::doorward::Doorward;

const INLINE: &str = "inline_refresh = true";

/// A phone with a key that never leaves the device.
struct Keyed<'d> {
    doorward: &'d Doorward,
    phone: Phone,
    device: Device,
}

impl<'d> Keyed<'d> {
    async fn logged_in(doorward: &'d Doorward) -> Self {
        let mut keyed = Self {
            doorward,
            phone: Phone::of(doorward),
            device: Device::new(),
        };
        let page = keyed
            .post(
                "native/login",
                &json!({ "username": "alice", "password": PASSWORD }),
            )
            .await;
        assert_eq!(
            (page.status(), page.json()["token_type"].as_str()),
            (200, Some("DPoP")),
            "{page}"
        );
        keyed.phone.keep(&page.json());
        keyed
    }

    fn proof(&self, method: &str, path: &str, token: Option<&str>) -> String {
        let url = self.doorward.store_url(path);
        let more = if token.is_some() {
            json!({})
        } else {
            json!({ "ath": Value::Null })
        };
        self.device.proof(
            (method, &url),
            token.unwrap_or_default(),
            self.doorward.now(),
            &more,
        )
    }

    async fn post(&mut self, endpoint: &str, body: &Value) -> Page {
        let path = format!("/.doorward/{endpoint}");
        let request = self
            .phone
            .request("POST", &path)
            .header("DPoP", &self.proof("POST", &path, None));
        self.phone
            .send(request.body("application/json", body.to_string()))
            .await
    }

    async fn refresh(&mut self) -> Page {
        let page = self
            .post(
                "native/refresh",
                &json!({ "refresh_token": self.phone.refresh_token }),
            )
            .await;
        if page.status() == 200 {
            self.phone.keep(&page.json());
        }
        page
    }

    fn asking(&self, path: &str) -> RequestSpec {
        let request = self.phone.request("GET", path).header(
            "Authorization",
            &format!("DPoP {}", self.phone.access_token),
        );
        request.header(
            "DPoP",
            &self.proof("GET", path, Some(&self.phone.access_token)),
        )
    }

    async fn load(&mut self, path: &str) -> Page {
        let request = self.asking(path);
        self.phone.send(request).await
    }
}

fn is_refused(page: &Page, code: &str, error: &str) {
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (401, Some(code)),
        "{page}"
    );
    let challenges = page.head.all("www-authenticate").join(", ");
    assert!(
        challenges.contains(&format!("error=\"{error}\"")),
        "{challenges}"
    );
}

#[tokio::test]
async fn dpop_client_logs_in_requests_and_refreshes() {
    let doorward = started(store(INLINE));
    let mut keyed = Keyed::logged_in(&doorward).await;
    shows_the_cart(&keyed.load(CART).await);
    let received = doorward.store.last();
    assert_eq!(
        (received.header("authorization"), received.header("dpop")),
        (None, None)
    );
    doorward.advance_secs(300);
    let page = keyed.refresh().await;
    assert_eq!(
        (page.status(), page.json()["token_type"].as_str()),
        (200, Some("DPoP")),
        "{page}"
    );
    shows_the_cart(&keyed.load(CART).await);
    doorward.advance_secs(300);
    let request = keyed
        .asking(CART)
        .header("Doorward-Refresh-Token", &keyed.phone.refresh_token);
    let page = keyed.phone.send(request).await;
    shows_the_cart(&page);
    let token = page
        .header("doorward-access-token")
        .expect("a new token")
        .to_owned();
    let old = std::mem::replace(&mut keyed.phone.access_token, token);
    shows_the_cart(&keyed.load(CART).await);
    assert_ne!(old, keyed.phone.access_token);
    assert_eq!(calls(&doorward), (1, 2));
    assert!(
        doorward
            .provider
            .visits(crate::support::provider::Endpoint::Token)
            .iter()
            .all(|v| v.header("dpop").is_none())
    );
}

#[tokio::test]
async fn step_7_stolen_refresh_token_without_key_is_useless() {
    let doorward = started(store(INLINE));
    let mut owner = Keyed::logged_in(&doorward).await;
    let mut thief = owner.phone.copy();
    doorward.advance_secs(300);
    let token = thief.refresh_token.clone();
    let page = thief.refresh().await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (400, Some("dpop_proof_missing")),
        "{page}"
    );
    let page = thief
        .post_form(&[("grant_type", "refresh_token"), ("refresh_token", &token)])
        .await;
    assert_eq!(
        (page.status(), page.json()["error"].as_str()),
        (400, Some("invalid_dpop_proof")),
        "{page}"
    );
    let mut with_own_key = Keyed {
        doorward: &doorward,
        phone: thief.copy(),
        device: Device::new(),
    };
    let page = with_own_key.refresh().await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (400, Some("dpop_key_mismatch")),
        "{page}"
    );
    let request = with_own_key
        .asking(CART)
        .header("Doorward-Refresh-Token", &token);
    is_refused(
        &with_own_key.phone.send(request).await,
        "dpop_key_mismatch",
        "invalid_dpop_proof",
    );
    is_refused(
        &thief.load_with_both(CART).await,
        "token_is_bound",
        "invalid_token",
    );
    assert_eq!(
        (calls(&doorward), doorward.store.count()),
        ((1, 0), 0),
        "none of it reached anybody"
    );
    assert_eq!(
        owner.refresh().await.status(),
        200,
        "the owner notices nothing"
    );
    shows_the_cart(&owner.load(CART).await);
}

#[tokio::test]
async fn step_8_stolen_jwt_without_key_is_useless_and_proof_is_single_use() {
    let doorward = started(store(INLINE));
    let mut owner = Keyed::logged_in(&doorward).await;
    let mut thief = owner.phone.copy();
    is_refused(&thief.load(CART).await, "token_is_bound", "invalid_token");
    let mut with_own_key = Keyed {
        doorward: &doorward,
        phone: thief.copy(),
        device: Device::new(),
    };
    is_refused(
        &with_own_key.load(CART).await,
        "dpop_key_mismatch",
        "invalid_dpop_proof",
    );
    let without_proof = thief
        .request("GET", CART)
        .header("Authorization", &format!("DPoP {}", thief.access_token));
    is_refused(
        &thief.send(without_proof).await,
        "dpop_proof_missing",
        "invalid_dpop_proof",
    );

    let captured = owner.asking(CART);
    shows_the_cart(&owner.phone.send(captured.clone()).await);
    let passed = doorward.store.count();
    for _ in 0..3 {
        is_refused(
            &thief.send(captured.clone()).await,
            "dpop_proof_replayed",
            "invalid_dpop_proof",
        );
    }
    // A proof for another URL or another token is invalid.
    let proof = owner.proof("GET", CART, Some(&owner.phone.access_token));
    let elsewhere = thief
        .request("GET", "/orders")
        .header("Authorization", &format!("DPoP {}", thief.access_token));
    is_refused(
        &thief.send(elsewhere.header("DPoP", &proof)).await,
        "dpop_htu_mismatch",
        "invalid_dpop_proof",
    );
    let other = Phone::logged_in(&doorward).await;
    let unbound = thief
        .request("GET", CART)
        .header("Authorization", &format!("DPoP {}", other.access_token));
    is_refused(
        &thief.send(unbound.header("DPoP", &proof)).await,
        "token_not_bound",
        "invalid_token",
    );
    assert_eq!(doorward.store.count(), passed);
    let public = thief
        .request("GET", "/public/x")
        .header("Authorization", &format!("DPoP {}", thief.access_token));
    assert_eq!(thief.send(public).await.status(), 200);
    let received = doorward.store.last();
    assert_eq!(
        (
            received.header("x-forwarded-user"),
            received.header("authorization")
        ),
        (None, None)
    );
}

#[tokio::test]
async fn invalid_proof_is_no_login() {
    let doorward = started(store(""));
    let mut keyed = Keyed {
        doorward: &doorward,
        phone: Phone::of(&doorward),
        device: Device::new(),
    };
    let login = json!({ "username": "alice", "password": PASSWORD }).to_string();
    let request = keyed.phone.request("POST", "/.doorward/native/login");
    let good = keyed.proof("POST", "/.doorward/native/login", None);
    let elsewhere = keyed.proof("POST", "/.doorward/token", None);
    let cases = [
        (vec!["x"], "dpop_proof_malformed"),
        (vec![elsewhere.as_str()], "dpop_htu_mismatch"),
        (vec![good.as_str(), good.as_str()], "dpop_proof_repeated"),
    ];
    for (proofs, code) in cases {
        let request = proofs.iter().fold(request.clone(), |request, proof| {
            request.header("DPoP", proof)
        });
        let page = keyed
            .phone
            .send(request.body("application/json", login.clone()))
            .await;
        assert_eq!(
            (page.status(), page.json()["code"].as_str()),
            (400, Some(code)),
            "{page}"
        );
    }
    let request = request
        .header("DPoP", &good)
        .body("application/json", login);
    assert_eq!(keyed.phone.send(request.clone()).await.status(), 200);
    let page = keyed.phone.send(request).await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (400, Some("dpop_proof_replayed")),
        "{page}"
    );
    assert_eq!(calls(&doorward), (1, 0));
}

#[tokio::test]
async fn required_dpop_rejects_logins_without_proof_and_issues_nonces() {
    let bearer = "\n[apps.store.bearer]\ndpop = \"required\"\ndpop_nonce = true\n";
    let doorward = started(store("").more(bearer));
    let mut phone = Phone::of(&doorward);
    let page = phone.log_in("alice", PASSWORD).await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (400, Some("dpop_proof_missing")),
        "{page}"
    );
    let mut keyed = Keyed {
        doorward: &doorward,
        phone,
        device: Device::new(),
    };
    let body = json!({ "username": "alice", "password": PASSWORD });
    let page = keyed.post("native/login", &body).await;
    let nonce = page
        .header("dpop-nonce")
        .unwrap_or_else(|| panic!("no nonce: {page}"))
        .to_owned();
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (400, Some("dpop_nonce_required")),
        "{page}"
    );
    let url = doorward.store_url("/.doorward/native/login");
    let proof = keyed.device.proof(
        ("POST", &url),
        "",
        doorward.now(),
        &json!({ "ath": null, "nonce": nonce }),
    );
    let request = keyed
        .phone
        .request("POST", "/.doorward/native/login")
        .header("DPoP", &proof);
    let page = keyed
        .phone
        .send(request.body("application/json", body.to_string()))
        .await;
    assert_eq!(page.status(), 200, "{page}");
    keyed.phone.keep(&page.json());
    let page = keyed.load(CART).await;
    is_refused(&page, "dpop_nonce_required", "use_dpop_nonce");
    let nonce = page.header("dpop-nonce").expect("a nonce").to_owned();
    let (url, token) = (doorward.store_url(CART), keyed.phone.access_token.clone());
    let proof = keyed.device.proof(
        ("GET", &url),
        &token,
        doorward.now(),
        &json!({ "nonce": nonce }),
    );
    let request = keyed
        .phone
        .request("GET", CART)
        .header("Authorization", &format!("DPoP {token}"))
        .header("DPoP", &proof);
    shows_the_cart(&keyed.phone.send(request).await);
}
