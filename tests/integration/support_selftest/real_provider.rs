//! The provider from npm without Doorward: login form, code, tokens, rotation, single sign-on,
//! logout.

use std::sync::Arc;

use doorward::types::time::SystemClock;
use serde_json::json;

use super::flow::{Flow, claims, parameter};
use crate::support::backend::Backend;
use crate::support::browser::Browser;
use crate::support::eventually;
use crate::support::real_provider::{RealProvider, registration, secret_of};

#[tokio::test]
async fn code_flow_works_by_hand() {
    // The app's callback is an echo, so the provider's request can be inspected.
    let app = Backend::start();
    let store = app.url_as("store.localhost");
    let forum = app.url_as("forum.localhost");
    let provider = RealProvider::start(&json!({
        "clients": [registration("store", &store), registration("forum", &forum)],
        "access_token": "jwt",
        "access_token_ttl": 5,
    }));
    let flow = |id: &'static str, app: &str| Flow {
        authorize: format!("{}/auth", provider.issuer()),
        token: format!("{}/token", provider.issuer()),
        client_id: id,
        secret: secret_of(id),
        redirect_uri: format!("{app}/.doorward/callback"),
    };
    let (at_store, at_forum) = (flow("store", &store), flow("forum", &forum));
    let mut browser = Browser::new(Arc::new(SystemClock));

    let form = browser.visit(&at_store.authorize_url()).await;
    let failed = browser
        .submit(&form, &[("username", "alice"), ("password", "wrong")])
        .await;
    assert_eq!(failed.status(), 401);
    assert!(failed.words().contains("Nobody is known"), "{failed}");
    let back = browser
        .submit(&failed, &[("username", "alice"), ("password", "alice")])
        .await;
    assert_eq!(back.url.path(), "/.doorward/callback", "{back}");
    let tokens = at_store
        .exchange(&parameter(back.url.as_str(), "code").unwrap())
        .await
        .json();
    let id = claims(&tokens["id_token"]);
    assert_eq!(
        (id["sub"].as_str(), id["nonce"].as_str(), id["iss"].as_str()),
        (Some("alice"), Some("the-nonce"), Some(provider.issuer()))
    );
    let access = claims(&tokens["access_token"]);
    assert_eq!(
        (access["aud"].as_str(), access["groups"].clone()),
        (Some("store"), json!(["customers"]))
    );
    assert_eq!(
        access["exp"].as_u64().unwrap() - access["iat"].as_u64().unwrap(),
        5
    );

    let old = tokens["refresh_token"].as_str().unwrap();
    let new = at_store.refresh(old).await.json()["refresh_token"].clone();
    assert!(new.is_string() && new != tokens["refresh_token"]);

    let sso = browser.visit(&at_forum.authorize_url()).await;
    assert_eq!(sso.hosts(), ["127.0.0.1", "forum.localhost"], "{sso}");
    assert_eq!(
        provider.count("form", None),
        1,
        "no second form: single sign-on"
    );

    assert_eq!(at_store.refresh(old).await.json()["error"], "invalid_grant");
    assert_eq!(
        at_store.refresh(new.as_str().unwrap()).await.json()["error"],
        "invalid_grant",
        "reuse ends the family"
    );
    eventually("the revocation is told", || {
        provider.count("grant.revoked", Some("refresh_token")) == 1
    })
    .await;

    let hint = tokens["id_token"].as_str().unwrap();
    let landing = format!("{store}/.doorward/signed-out");
    let end = format!(
        "{}/session/end?id_token_hint={hint}&post_logout_redirect_uri={landing}",
        provider.issuer()
    );
    let confirm = browser.visit(&end).await;
    let logged_out = browser.submit(&confirm, &[("logout", "yes")]).await;
    assert_eq!(logged_out.url.as_str(), landing, "{logged_out}");
    assert_eq!(
        browser.visit(&at_forum.authorize_url()).await.forms().len(),
        1,
        "asked again"
    );
}

#[tokio::test]
async fn opaque_tokens_and_no_refresh_tokens_on_demand() {
    let app = Backend::start();
    let store = app.url_as("store.localhost");
    let options = json!({ "clients": [registration("store", &store)], "refresh_tokens": false, "host": "login.localhost" });
    let provider = RealProvider::start(&options);
    let flow = Flow {
        authorize: format!("{}/auth", provider.issuer()),
        token: format!("{}/token", provider.issuer()),
        client_id: "store",
        secret: secret_of("store"),
        redirect_uri: format!("{store}/.doorward/callback"),
    };
    let mut browser = Browser::new(Arc::new(SystemClock));
    let form = browser.visit(&flow.authorize_url()).await;
    assert_eq!(form.url.host_str(), Some("login.localhost"));
    let back = browser
        .submit(&form, &[("username", "bob"), ("password", "bob")])
        .await;
    let tokens = flow
        .exchange(&parameter(back.url.as_str(), "code").unwrap())
        .await
        .json();
    assert_eq!(claims(&tokens["id_token"])["roles"], json!(["admin"]));
    assert!(
        tokens.get("refresh_token").is_none()
            && !tokens["access_token"].as_str().unwrap().contains('.')
    );
}
