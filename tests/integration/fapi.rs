//! FAPI 2.0 against the certified provider from npm, which requires it over TLS.

use serde_json::json;

use crate::client_authentication::{CART, Method, Running, accepts, journey, key_pem, public_jwk};
use crate::support::tls::Authority;

fn fapi(profile: &str, lines: &str, authority: &Authority) -> Method {
    let pem = key_pem();
    let lines =
        format!("client_key_file = \"client.pem\"\ndpop_key_files = [\"dpop.pem\"]\n{lines}");
    let mut method = Method::new("private_key_jwt", &lines).over_tls(authority);
    method.provider_lines = format!("profile = \"{profile}\"");
    method.client["jwks"] = json!({"keys": [public_jwk(&pem)]});
    method.client["dpop_bound_access_tokens"] = true.into();
    method.client["require_pushed_authorization_requests"] = true.into();
    method.client["id_token_signed_response_alg"] = "ES256".into();
    method.client["authorization_signed_response_alg"] = "ES256".into();
    method.provider["fapi"] = "2.0".into();
    method.provider["require_par"] = true.into();
    method.files.push(("client.pem", pem));
    method.files.push(("dpop.pem", key_pem()));
    method
}

#[tokio::test]
async fn security_profile_with_dpop() {
    let authority = Authority::fresh();
    let mut method = fapi("fapi2", "", &authority);
    method.provider["dpop_nonce"] = true.into();
    journey(&method, &authority).await;
}

#[tokio::test]
async fn message_signing() {
    let authority = Authority::fresh();
    let lines = "request_object_key_file = \"client.pem\"";
    let mut method = fapi("fapi2-message-signing", lines, &authority);
    method.client["require_signed_request_object"] = true.into();
    method.client["request_object_signing_alg"] = "ES256".into();
    journey(&method, &authority).await;
}

#[tokio::test]
async fn response_without_iss_is_refused() {
    let authority = Authority::fresh();
    let method = fapi("fapi2", "", &authority);
    let mut running = Running::start(&method, &authority);
    let form = running.browser.visit(CART).await;
    let login = [("username", "alice"), ("password", "alice")];
    let mut page = running.browser.send(form.filled(&login)).await;
    let mut callback = loop {
        let target = page.target().expect("a redirect");
        if target.contains("/.doorward/callback") {
            break page.resolve(target);
        }
        page = running.browser.next(&page).await;
    };
    let kept: Vec<(String, String)> = callback.query_pairs().into_owned().collect();
    let kept = kept.iter().filter(|(name, _)| name != "iss");
    callback.query_pairs_mut().clear().extend_pairs(kept);
    let page = running.browser.step(callback.as_str()).await;
    assert_eq!(page.status(), 400, "{page}");
    assert!(page.text().contains("callback_issuer_missing"), "{page}");
}

#[tokio::test]
async fn provider_that_lacks_the_profile_is_named() {
    let authority = Authority::fresh();
    let lines = "request_object_key_file = \"client.pem\"";
    let mut method = fapi("fapi2-message-signing", lines, &authority);
    method.provider["jarm"] = false.into();
    let running = Running::start(&method, &authority);
    accepts(&running.folder, Some("profile_not_supported"));
}
