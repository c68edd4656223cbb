//! Tokens that the certified provider from npm binds to a key of Doorward (RFC 9449).

use std::time::Duration;

use serde_json::json;

use crate::client_authentication::{CART, Method, Running, journey, key_pem, public_jwk};
use crate::support::journey as steps;
use crate::support::real_provider::secret_of;
use crate::support::tls::Authority;

fn bound(name: &str, lines: &str) -> Method {
    let mut method = Method::new(name, lines);
    method.lines.push_str("\ndpop_key_files = [\"dpop.pem\"]");
    method.client["dpop_bound_access_tokens"] = true.into();
    method.files.push(("dpop.pem", key_pem()));
    method
}

#[tokio::test]
async fn bound_tokens_of_a_confidential_client() {
    let pem = key_pem();
    let mut method = bound("private_key_jwt", "client_key_file = \"client.pem\"");
    method.client["jwks"] = json!({"keys": [public_jwk(&pem)]});
    method.files.push(("client.pem", pem));
    journey(&method, &Authority::fresh()).await;
}

#[tokio::test]
async fn bound_tokens_of_a_public_client_with_nonces() {
    let mut method = bound("none", "token_endpoint_auth_method = \"none\"");
    method.provider["dpop_nonce"] = true.into();
    journey(&method, &Authority::fresh()).await;
}

#[tokio::test]
async fn claims_from_userinfo_with_a_bound_token() {
    let secret = secret_of("store");
    let lines = format!(
        "client_secret = \"{secret}\"\nheaders = {{ X-Forwarded-User = \"{{sub}}\", X-Name = \"{{name}}\" }}"
    );
    let mut method = bound("client_secret_basic", &lines);
    method.client["client_secret"] = secret.into();
    method.provider["access_token"] = "opaque".into();
    method.provider["thin_id_tokens"] = true.into();
    method.provider["dpop_nonce"] = true.into();
    method.session_jwt = "id";
    let mut running = Running::start(&method, &Authority::fresh());
    steps::log_in(&mut running.browser, CART, "alice").await;
    let page = running.browser.visit(CART).await;
    assert!(page.text().contains("Alice Arnold"), "{page}");
}

#[tokio::test]
async fn public_client_keeps_sessions_while_the_old_key_is_listed() {
    let mut method = bound("none", "token_endpoint_auth_method = \"none\"");
    method.files.push(("next.pem", key_pem()));
    let mut running = Running::start(&method, &Authority::fresh());
    steps::log_in(&mut running.browser, CART, "alice").await;
    running.reconfigure(
        "dpop_key_files = [\"dpop.pem\"]",
        "dpop_key_files = [\"next.pem\", \"dpop.pem\"]",
    );
    tokio::time::sleep(Duration::from_millis(2100)).await;
    steps::load_with_refresh(&mut running.browser, CART, "alice").await;
    running.reconfigure("\"next.pem\", \"dpop.pem\"", "\"next.pem\"");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let page = running.browser.step(CART).await;
    // The refresh token is bound to the removed key.
    let login = running.provider.issuer();
    assert!(
        page.target()
            .is_some_and(|target| target.starts_with(login)),
        "{page}"
    );
}
