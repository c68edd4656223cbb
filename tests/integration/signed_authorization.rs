//! Signed authorization requests and responses, against the certified provider from npm.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward::types::time::SystemClock;
use serde_json::Value;
use url::Url;

use crate::client_authentication::{CART, Method, Running, journey, key_pem, public_jwk};
use crate::support::browser::{Browser, Page};
use crate::support::journey::cookie;
use crate::support::tls::Authority;

/// A client with a key for both its authentication and its request objects.
fn signing(lines: &str) -> Method {
    let pem = key_pem();
    let mut method = Method::new("private_key_jwt", "client_key_file = \"client.pem\"");
    method.lines.push('\n');
    method.lines.push_str(lines);
    method.client["jwks"] = serde_json::json!({"keys": [public_jwk(&pem)]});
    method.files.push(("client.pem", pem));
    method
}

#[tokio::test]
async fn request_objects_that_the_client_requires() {
    for pushed in ["when-required", "always"] {
        let mut method = signing(&format!(
            "request_object_key_file = \"client.pem\"\npushed_authorization = \"{pushed}\""
        ));
        method.client["require_signed_request_object"] = true.into();
        method.client["request_object_signing_alg"] = "ES256".into();
        journey(&method, &Authority::fresh()).await;
    }
}

#[tokio::test]
async fn plain_requests_are_refused_where_objects_are_required() {
    let mut method = signing("");
    method.client["require_signed_request_object"] = true.into();
    let mut running = Running::start(&method, &Authority::fresh());
    let page = running.browser.visit(CART).await;
    assert_ne!(page.status(), 200, "{page}");
}

#[tokio::test]
async fn signed_responses_in_each_mode() {
    for mode in ["jwt", "query.jwt"] {
        let mut method = signing(&format!("response_mode = \"{mode}\""));
        method.client["authorization_signed_response_alg"] = "ES256".into();
        journey(&method, &Authority::fresh()).await;
    }
    let method = signing("response_mode = \"form_post.jwt\"");
    let mut running = Running::start(&method, &Authority::fresh());
    let form = running.browser.visit(CART).await;
    let login = [("username", "alice"), ("password", "alice")];
    let posted = running.browser.submit(&form, &login).await;
    let page = running.browser.submit(&posted, &[]).await;
    assert_eq!((page.status(), page.url.as_str()), (200, CART), "{page}");
}

#[tokio::test]
async fn posted_responses_at_a_login_host() {
    for mode in ["form_post", "form_post.jwt"] {
        let mut method = signing(&format!("response_mode = \"{mode}\""));
        method.provider_lines = "login_url = \"http://signin.localhost\"".to_owned();
        let callback = "http://signin.localhost/.doorward/callback";
        method.client["redirect_uris"] = serde_json::json!([callback]);
        let mut running = Running::start(&method, &Authority::fresh());
        let form = running.browser.visit(CART).await;
        let login = [("username", "alice"), ("password", "alice")];
        let posted = running.browser.submit(&form, &login).await;
        let page = running.browser.submit(&posted, &[]).await;
        assert_eq!((page.status(), page.url.as_str()), (200, CART), "{page}");
        let hosts = page.hosts();
        assert!(hosts.contains(&"signin.localhost"), "{hosts:?}");
    }
}

/// A signed response that the browser has not brought to Doorward yet, and its claims.
struct Intercepted {
    callback: Url,
    claims: Value,
}

impl Intercepted {
    async fn after_login(running: &mut Running) -> Self {
        let form = running.browser.visit(CART).await;
        let login = [("username", "alice"), ("password", "alice")];
        let mut page = running.browser.send(form.filled(&login)).await;
        let callback = loop {
            let target = page.target().expect("a redirect");
            if target.contains("/.doorward/callback") {
                break page.resolve(target);
            }
            page = running.browser.next(&page).await;
        };
        let token = parameter(&callback, "response");
        let payload = token.split('.').nth(1).expect("a payload");
        let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
        Self {
            callback,
            claims: serde_json::from_slice(&payload).expect("JSON"),
        }
    }

    fn with_query(&self, pairs: &[(&str, &str)]) -> String {
        let mut url = self.callback.clone();
        url.query_pairs_mut().clear().extend_pairs(pairs);
        url.into()
    }
}

fn parameter(url: &Url, name: &str) -> String {
    let found = url.query_pairs().find(|(found, _)| found == name);
    found.expect("the parameter").1.into_owned()
}

/// Asserts that the response of another browser logs nobody in, and begins a login.
fn assert_not_logged_in(browser: &Browser, page: &Page, running: &Running) {
    let login = running.provider.issuer();
    assert!(
        page.target()
            .is_some_and(|target| target.starts_with(login)),
        "{page}"
    );
    for kind in ["jwt", "refresh"] {
        assert_eq!(cookie(browser, "store.localhost", kind), None, "{page}");
    }
}

#[tokio::test]
async fn stripped_foreign_and_replayed_responses_log_nobody_in() {
    let method = signing("response_mode = \"jwt\"");
    let mut running = Running::start(&method, &Authority::fresh());
    let genuine = Intercepted::after_login(&mut running).await;
    let text = |name: &str| genuine.claims[name].as_str().expect("text").to_owned();
    let (code, state, iss) = (text("code"), text("state"), text("iss"));
    let plain = [("code", code.as_str()), ("state", &state), ("iss", &iss)];
    let plain = genuine.with_query(&plain);
    let page = running.browser.step(&plain).await;
    assert_eq!(page.status(), 400, "{page}");
    assert!(page.text().contains("callback_mode_mismatch"), "{page}");

    let token = parameter(&genuine.callback, "response");
    let (input, _) = token.rsplit_once('.').expect("a JWT");
    let forged = genuine.with_query(&[("response", &format!("{input}.AAAA"))]);
    let page = running.browser.step(&forged).await;
    assert_eq!(page.status(), 400, "{page}");
    assert!(page.text().contains("token_signature_invalid"), "{page}");

    let mut thief = Browser::new(Arc::new(SystemClock)).with_port(80, running.port);
    let page = thief.step(genuine.callback.as_str()).await;
    assert_not_logged_in(&thief, &page, &running);

    let page = running.browser.visit(genuine.callback.as_str()).await;
    assert_eq!((page.status(), page.url.as_str()), (200, CART), "{page}");
    let mut second = Browser::new(Arc::new(SystemClock)).with_port(80, running.port);
    let page = second.step(genuine.callback.as_str()).await;
    assert_not_logged_in(&second, &page, &running);
}
