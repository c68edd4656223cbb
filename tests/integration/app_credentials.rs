//! Credentials for the app: on protected paths and at its own upstream only, and never of the client.

use crate::decisions::check::{Check, Dialect, cookies, decided_by};
use crate::support::assertions::{CART, SOON, assert_error_page};
use crate::support::backend::{Backend, Received};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;

/// `doorward:for-the-app` in base64.
const BASIC: &str = "Basic ZG9vcndhcmQ6Zm9yLXRoZS1hcHA=";
const BASIC_AUTH: &str =
    "upstream_basic_auth = { username = \"doorward\", password_file = \"app.secret\" }";
const ACCESS_TOKEN: &str =
    "session_jwt = \"access\"\ndangerously_pass_access_token = \"X-Access-Token\"";

/// Sends credentials of the client's own in several spellings.
fn with_own(url: &str) -> RequestSpec {
    RequestSpec::new(Kind::Program, url)
        .header("Authorization", "Basic Zm9yZ2VkOmZvcmdlZA==")
        .header("X-Access-Token", "forged")
        .header("x_access_token", "forged")
        .header("Connection", "x-access-token")
}

async fn received(doorward: &Doorward, browser: &mut Browser, path: &str) -> Received {
    let page = browser.send(with_own(&doorward.store_url(path))).await;
    assert_eq!(page.status(), 200, "{page}");
    doorward.store.last()
}

fn setup(lines: &str) -> Setup {
    Setup::plain()
        .file("app.secret", "for-the-app\n")
        .store(lines)
}

#[tokio::test]
async fn password_goes_to_protected_paths_only() {
    let doorward = setup(BASIC_AUTH).start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let request = received(&doorward, &mut alice, CART).await;
    assert_eq!(request.head.all("authorization"), [BASIC]);
    for browser in [&mut alice, &mut doorward.browser()] {
        let request = received(&doorward, browser, "/public/x").await;
        assert_eq!(request.head.all("authorization"), [""; 0]);
    }
    // Another app gets neither.
    alice.visit(&doorward.forum_url("/")).await;
    assert_eq!(doorward.forum.last().header("authorization"), None);
}

#[tokio::test]
async fn changed_file_counts_from_the_next_request() {
    let doorward = setup("upstream_bearer_file = \"app.secret\"").start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let request = received(&doorward, &mut alice, CART).await;
    assert_eq!(request.head.all("authorization"), ["Bearer for-the-app"]);
    doorward.replace_file("app.secret", "rotated\n");
    doorward.reload_changes().await;
    eventually_async("the file is loaded", SOON, async || {
        let request = received(&doorward, &mut alice, CART).await;
        request.head.all("authorization") == ["Bearer rotated"]
    })
    .await;
}

#[tokio::test]
async fn route_with_an_upstream_has_its_own_credentials_or_none() {
    let other = Backend::start();
    let url = other.url();
    let doorward = setup(BASIC_AUTH)
        .file("route.secret", "for-the-route\n")
        .more(&format!(
            "[[apps.store.routes]]\npath = \"/other/**\"\nupstream = \"{url}\"\n\
             [[apps.store.routes]]\npath = \"/own/**\"\nupstream = \"{url}\"\n\
             upstream_bearer_file = \"route.secret\"\n\
             [[apps.store.routes]]\npath = \"/same/**\"\nresponse_timeout = \"9s\"\n"
        ))
        .start();
    let mut alice = doorward.logged_in("alice", CART).await;
    for (path, backend, expected) in [
        ("/other/x", &other, None),
        ("/own/x", &other, Some("Bearer for-the-route")),
        ("/same/x", &doorward.store, Some(BASIC)),
    ] {
        let spec = RequestSpec::new(Kind::Program, &doorward.store_url(path));
        assert_eq!(alice.send(spec).await.status(), 200, "{path}");
        assert_eq!(backend.last().header("authorization"), expected, "{path}");
    }
}

#[tokio::test]
async fn token_of_the_user_is_passed_while_it_is_valid() {
    let doorward = setup(ACCESS_TOKEN).start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let first = received(&doorward, &mut alice, CART).await;
    let [token] = first.head.all("x-access-token")[..] else {
        panic!("one token: {:?}", first.head.raw)
    };
    assert_eq!(token.split('.').count(), 3, "{token}");
    let token = token.to_owned();
    assert_eq!(first.header("x_access_token"), None);
    let request = received(&doorward, &mut alice, "/public/x").await;
    assert_eq!(request.head.all("x-access-token"), [""; 0]);
    let raw = String::from_utf8_lossy(&request.head.raw).into_owned();
    assert!(!raw.contains("forged") && !raw.contains(&token), "{raw}");
    // A refresh brings another one.
    doorward.advance_secs(400);
    let second = received(&doorward, &mut alice, CART).await;
    assert_ne!(second.head.all("x-access-token"), [token.as_str()]);
    assert_eq!(second.head.all("x-access-token").len(), 1);
    assert!(!doorward.log.text().contains(&token));
}

#[tokio::test]
async fn id_token_can_be_the_bearer_token() {
    let doorward = setup("dangerously_pass_id_token = \"Authorization\"").start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let request = received(&doorward, &mut alice, CART).await;
    let [authorization] = request.head.all("authorization")[..] else {
        panic!("one field")
    };
    let token = authorization
        .strip_prefix("Bearer ")
        .expect("a bearer token");
    assert_eq!(token.split('.').count(), 3, "{token}");
}

const EXCHANGE: &str = "session_jwt = \"access\"\n\
    token_exchange = { audience = \"orders\", scopes = [\"read\", \"write\"] }";

/// How often the provider was asked to exchange a token.
fn exchanges(doorward: &Doorward) -> usize {
    doorward
        .provider
        .grants("urn:ietf:params:oauth:grant-type:token-exchange")
}

#[tokio::test]
async fn exchanged_token_is_of_the_apps_audience_and_cached() {
    let other = Backend::start();
    let route = format!(
        "[[apps.store.routes]]\npath = \"/other/**\"\nupstream = \"{}\"\n",
        other.url()
    );
    let doorward = setup(EXCHANGE).more(&route).start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let first = received(&doorward, &mut alice, CART).await;
    let first = first.header("authorization").expect("a token").to_owned();
    assert!(
        first.starts_with("Bearer access_token.orders.read write."),
        "{first}"
    );
    for _ in 0..3 {
        let again = received(&doorward, &mut alice, CART).await;
        assert_eq!(again.header("authorization"), Some(first.as_str()));
    }
    assert_eq!(exchanges(&doorward), 1);
    let public = received(&doorward, &mut alice, "/public/x").await;
    assert_eq!(public.header("authorization"), None);
    let mut bob = doorward.logged_in("bob", CART).await;
    let of_bob = received(&doorward, &mut bob, CART).await;
    assert_ne!(of_bob.header("authorization"), Some(first.as_str()));
    assert_eq!(exchanges(&doorward), 2);
    // It is exchanged again before its end.
    doorward.advance_secs(181);
    received(&doorward, &mut alice, CART).await;
    assert_eq!(exchanges(&doorward), 3);
    let spec = RequestSpec::new(Kind::Program, &doorward.store_url("/other/x"));
    assert_eq!(alice.send(spec).await.status(), 200);
    assert_eq!(other.last().header("authorization"), None);
    assert_eq!(exchanges(&doorward), 3);
}

#[tokio::test]
async fn refused_exchange_yields_503_and_heals() {
    let doorward = setup(EXCHANGE).start();
    let refusal = serde_json::json!({ "error": "invalid_target" });
    doorward
        .provider
        .behave(|provider| provider.exchange_answer = Some((400, refusal)));
    doorward.sign_in("alice");
    let mut alice = doorward.browser();
    for _ in 0..2 {
        let page = alice.visit(&doorward.store_url(CART)).await;
        assert_error_page(&page, 503, "client_rejected");
        assert!(page.words().contains("not been logged out"), "{page}");
    }
    assert_eq!(doorward.store.count(), 0);
    assert_eq!(exchanges(&doorward), 1, "failures are remembered");
    doorward
        .provider
        .behave(|provider| provider.exchange_answer = None);
    doorward.advance_secs(6);
    assert_eq!(alice.visit(&doorward.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn edge_gets_no_credentials() {
    let doorward = decided_by(setup(ACCESS_TOKEN)).start();
    let alice = doorward.logged_in("alice", CART).await;
    let cookies = cookies(&doorward, &alice);
    let check = Check::new(Dialect::ForwardAuth, CART).header("Cookie", &cookies);
    let check = check.header("X-Access-Token", "forged");
    let reply = check.request(&doorward).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    assert_eq!(reply.head.header("x-access-token"), None);
    let removed = reply
        .head
        .header("doorward-remove-headers")
        .unwrap_or_default();
    assert!(removed.contains("x-access-token"), "{removed}");
}
