//! Requests with an access token: identity, rejection, challenges, and that the app never sees a
//! token.

mod cookies_and_tokens;
mod copied;
mod dpop;
mod dpop_nonce;
mod identity;
mod opaque_tokens;
mod real_provider;
mod refused;
mod replicas;
mod revoked;
mod several_issuers;
mod token_flood;

use serde_json::{Value, json};

use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};

/// Needs a user, by session or token.
const CART: &str = "/shopping-cart";
/// Needs the token of a user.
const PROFILE: &str = "/api/profile";
/// Needs a token with the scope `orders:read`.
const ORDERS: &str = "/api/orders/7";

const RULES: &str = r#"
[[apps.store.rules]]
paths = ["/", "/public/**"]
allow = "public"

[[apps.store.rules]]
paths = ["/admin/**"]
allow = { roles = ["admin"] }

[[apps.store.rules]]
paths = ["/api/orders/**"]
auth_methods = ["bearer"]
allow = { scopes = ["orders:read"] }

[[apps.store.rules]]
paths = ["/api/**"]
auth_methods = ["bearer"]
allow = "authenticated"

[[apps.store.rules]]
paths = ["/pages/**"]
auth_methods = ["session"]
allow = "authenticated"
"#;

/// A store that accepts tokens, with these lines in its bearer table.
fn setup(bearer: &str) -> Setup {
    Setup::plain()
        .store_rules(RULES)
        .more(&format!("[apps.store.bearer]\n{bearer}\n"))
}

fn doorward() -> Doorward {
    setup("").start()
}

/// A request of a non-browser client to the store.
fn request_with(doorward: &Doorward, path: &str, authorization: &str) -> RequestSpec {
    RequestSpec::new(Kind::Program, &doorward.store_url(path))
        .header("Authorization", authorization)
}

/// The response to a request with this token.
async fn with_token(doorward: &Doorward, path: &str, token: &str) -> Page {
    sent(
        &mut doorward.browser(),
        request_with(doorward, path, &format!("Bearer {token}")),
    )
    .await
}

async fn sent(browser: &mut Browser, request_with: RequestSpec) -> Page {
    browser.send(request_with).await
}

/// A token of alice's phone with these claims merged in.
fn token(doorward: &Doorward, claims: Value) -> String {
    doorward.provider.access_token(&claims, &[])
}

fn of_bob() -> Value {
    json!({ "sub": "bob-id" })
}

/// The challenges of a response, in order.
fn challenges(page: &Page) -> Vec<String> {
    page.head
        .all("www-authenticate")
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// Asserts that no issued secret, and no field that could hold one, reached an app.
fn assert_no_token_reached_the_app(doorward: &Doorward) {
    let canaries = doorward.provider.secrets();
    let canaries: Vec<&str> = canaries.iter().map(String::as_str).collect();
    for backend in [&doorward.store, &doorward.forum] {
        backend.assert_never_saw(&canaries);
        for received in backend.received() {
            for name in ["authorization", "dpop"] {
                assert_eq!(received.header(name), None, "{}", received.target);
            }
        }
    }
}
