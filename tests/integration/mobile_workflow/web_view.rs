//! `mode = "cookies"`: a native login for a web view, with the same session as a browser.

use serde_json::json;

use super::{CART, PASSWORD, Phone, calls, started, store};
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::Doorward;

/// A page of the store in the web view sends the request.
async fn call(
    browser: &mut Browser,
    doorward: &Doorward,
    endpoint: &str,
    body: &serde_json::Value,
) -> Page {
    let page = url::Url::parse(&doorward.store_url("/")).expect("an URL");
    let request = RequestSpec::new(
        Kind::Fetch,
        &doorward.store_url(&format!("/.doorward/{endpoint}")),
    )
    .method("POST")
    .from(&page);
    browser
        .send(request.body("application/json", body.to_string()))
        .await
}

fn login(name: &str, password: &str) -> serde_json::Value {
    json!({ "username": name, "password": password, "mode": "cookies" })
}

#[tokio::test]
async fn web_view_gets_cookies_and_no_token() {
    let doorward = started(store(""));
    let mut view = doorward.browser();
    let page = call(
        &mut view,
        &doorward,
        "native/login",
        &login("alice", PASSWORD),
    )
    .await;
    assert_eq!(
        (page.status(), page.json()["session_expires_in"].as_u64()),
        (200, Some(43_200)),
        "{page}"
    );
    assert!(
        page.json()["device_token"].is_string() && page.json().get("access_token").is_none(),
        "{page}"
    );
    for kind in ["jwt", "refresh", "activity"] {
        assert!(doorward.cookie(&view, kind).is_some(), "{kind} {page}");
    }
    let page = view.visit(&doorward.store_url(CART)).await;
    assert_eq!(
        (
            page.status(),
            page.chain.len(),
            doorward.store_saw().as_deref()
        ),
        (200, 1, Some("alice-id")),
        "{page}"
    );
    doorward.advance_secs(300);
    let page = view.visit(&doorward.store_url(CART)).await;
    assert_eq!(
        (page.status(), page.chain.len(), calls(&doorward)),
        (200, 1, (1, 1)),
        "refreshed like any session: {page}"
    );

    let page = call(
        &mut view,
        &doorward,
        "native/logout",
        &json!({ "mode": "cookies" }),
    )
    .await;
    assert_eq!(
        (page.status(), doorward.cookie(&view, "jwt")),
        (204, None),
        "{page}"
    );
    assert_eq!(doorward.provider.revoked().len(), 1);
    let page = view.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 302, "{page}");
}

#[tokio::test]
async fn web_view_login_ends_its_previous_session() {
    let doorward = started(store(""));
    let mut view = doorward.browser();
    call(
        &mut view,
        &doorward,
        "native/login",
        &login("alice", PASSWORD),
    )
    .await;
    let mut copied = view.clone();
    call(&mut view, &doorward, "native/login", &login("bob", "bob")).await;
    view.visit(&doorward.store_url(CART)).await;
    assert_eq!(doorward.store_saw().as_deref(), Some("bob-id"));
    assert_eq!(
        copied.step(&doorward.store_url(CART)).await.status(),
        302,
        "no id outlives a login"
    );
}

/// Login CSRF: a foreign page must not log a visitor in as another user, nor out.
#[tokio::test]
async fn only_same_origin_pages_get_cookies() {
    let doorward = started(store("cors_origins = [\"https://partner.example\"]"));
    for origin in ["https://evil.example", "https://partner.example", "null"] {
        let mut phone = Phone::of(&doorward);
        for (endpoint, body) in [
            ("native/login", login("bob", "bob")),
            ("native/logout", json!({ "mode": "cookies" })),
        ] {
            let request = phone
                .request("POST", &format!("/.doorward/{endpoint}"))
                .header("Origin", origin);
            let page = phone
                .send(request.body("application/json", body.to_string()))
                .await;
            assert_eq!(
                (page.status(), page.json()["code"].as_str()),
                (403, Some("cross_site")),
                "{origin} {page}"
            );
            assert_eq!(page.header("set-cookie"), None, "{origin} {page}");
        }
    }
    // A form can be sent from any origin, but not as JSON.
    let mut phone = Phone::of(&doorward);
    let request = phone
        .request("POST", "/.doorward/native/login")
        .body("text/plain", login("bob", "bob").to_string());
    assert_eq!(phone.send(request).await.status(), 415);
    let form = [
        ("grant_type", "password"),
        ("username", "bob"),
        ("password", "bob"),
        ("mode", "cookies"),
    ];
    let page = phone.post_form(&form).await;
    assert_eq!(
        (page.status(), page.header("set-cookie")),
        (200, None),
        "the token endpoint gives tokens: {page}"
    );
    assert_eq!(calls(&doorward), (1, 0));
}
