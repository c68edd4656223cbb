//! The token endpoint (RFC 6749) and its JSON siblings: accepted requests, rejected requests,
//! allowed origins.

use serde_json::json;

use super::{CART, PASSWORD, Phone, calls, last_request, shows_the_cart, started, store};
use crate::support::browser::Page;
use crate::support::doorward::Setup;
use crate::support::provider::Endpoint;

const LOGIN: [(&str, &str); 3] = [
    ("grant_type", "password"),
    ("username", "alice"),
    ("password", PASSWORD),
];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    LOGIN.iter().chain(more).copied().collect()
}

/// RFC 6749 section 5.2.
fn is_error(page: &Page, status: u16, error: &str) {
    assert_eq!(
        (page.status(), page.json()["error"].as_str()),
        (status, Some(error)),
        "{page}"
    );
    assert_eq!(
        page.header("content-type"),
        Some("application/json"),
        "{page}"
    );
    assert_eq!(
        (page.header("cache-control"), page.header("pragma")),
        (Some("no-store"), Some("no-cache"))
    );
    let words = page.json()["error_description"]
        .as_str()
        .expect("words")
        .to_owned();
    assert!(
        words
            .bytes()
            .all(|byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~')),
        "{words}"
    );
    assert_eq!(
        page.header("www-authenticate").is_some(),
        status == 401,
        "{page}"
    );
}

#[tokio::test]
async fn form_login_and_refresh_respond_as_rfc_6749() {
    let doorward = started(store(""));
    let mut phone = Phone::of(&doorward);
    let page = phone
        .post_form(&with(&[("client_id", "store"), ("unknown", "parameter")]))
        .await;
    assert_eq!(
        (page.status(), page.header("content-type")),
        (200, Some("application/json")),
        "{page}"
    );
    assert_eq!(
        (page.header("cache-control"), page.header("pragma")),
        (Some("no-store"), Some("no-cache"))
    );
    phone.keep(&page.json());
    shows_the_cart(&phone.load(CART).await);
    doorward.advance_secs(300);
    let token = phone.refresh_token.clone();
    let page = phone
        .post_form(&[("grant_type", "refresh_token"), ("refresh_token", &token)])
        .await;
    assert_eq!(
        (page.status(), page.json()["token_type"].as_str()),
        (200, Some("Bearer")),
        "{page}"
    );
    assert_eq!(
        page.json()["scope"].as_str(),
        Some("openid email profile offline_access")
    );
    phone.keep(&page.json());
    shows_the_cart(&phone.load(CART).await);
    assert_eq!(calls(&doorward), (1, 1));
}

#[tokio::test]
async fn errors_carry_rfc_error_and_code() {
    let doorward = started(store(""));
    let mut phone = Phone::of(&doorward);
    type Fields = Vec<(&'static str, &'static str)>;
    let cases: [(Fields, u16, &str, &str); 10] = [
        (vec![], 400, "invalid_request", "field_missing"),
        (
            vec![("grant_type", "authorization_code"), ("code", "x")],
            400,
            "unsupported_grant_type",
            "unsupported_grant_type",
        ),
        (
            with(&[("username", "bob")]),
            400,
            "invalid_request",
            "field_repeated",
        ),
        (
            with(&[("scope", "openid admin")]),
            400,
            "invalid_scope",
            "invalid_scope",
        ),
        (
            with(&[("client_id", "forum")]),
            401,
            "invalid_client",
            "invalid_client",
        ),
        (
            with(&[("client_secret", "guessed")]),
            401,
            "invalid_client",
            "invalid_client",
        ),
        (
            vec![("grant_type", "password"), ("username", "alice")],
            400,
            "invalid_request",
            "field_missing",
        ),
        (
            vec![("grant_type", "refresh_token"), ("refresh_token", "x")],
            400,
            "invalid_grant",
            "unknown_refresh_token",
        ),
        (
            vec![("grant_type", "refresh_token")],
            400,
            "invalid_request",
            "field_missing",
        ),
        (
            vec![
                ("grant_type", "password"),
                ("username", "alice"),
                ("password", "x"),
            ],
            400,
            "invalid_grant",
            "wrong_credentials",
        ),
    ];
    for (fields, status, error, code) in cases {
        let page = phone.post_form(&fields).await;
        is_error(&page, status, error);
        assert_eq!(page.json()["code"].as_str(), Some(code), "{page}");
    }
    assert_eq!(
        calls(&doorward),
        (1, 0),
        "only the wrong password was worth a call"
    );
}

#[tokio::test]
async fn ended_session_is_invalid_grant() {
    let doorward = started(store(""));
    let mut phone = Phone::logged_in(&doorward).await;
    doorward.provider.end_grants_of("alice-id");
    let token = phone.refresh_token.clone();
    let page = phone
        .post_form(&[("grant_type", "refresh_token"), ("refresh_token", &token)])
        .await;
    is_error(&page, 400, "invalid_grant");
    assert_eq!(page.json()["code"].as_str(), Some("refresh_rejected"));
}

#[tokio::test]
async fn scope_can_be_narrowed_and_openid_is_implied() {
    let doorward = started(store(""));
    let mut phone = Phone::of(&doorward);
    let page = phone
        .post_form(&with(&[("scope", "email offline_access")]))
        .await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(
        last_request(&doorward, "scope").as_deref(),
        Some("openid email offline_access")
    );
    assert_eq!(
        page.json()["scope"].as_str(),
        Some("openid email offline_access"),
        "what was granted is said"
    );
    phone.keep(&page.json());
    let token = phone.refresh_token.clone();
    let refresh = |scope| {
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", token.as_str()),
            ("scope", scope),
        ]
    };
    is_error(
        &phone.post_form(&refresh("openid profile")).await,
        400,
        "invalid_scope",
    );
    assert_eq!(phone.post_form(&refresh("email")).await.status(), 200);
}

#[tokio::test]
async fn native_endpoints_are_off_by_default() {
    let doorward = started(
        Setup::plain()
            .more("\n[apps.forum.native]\npassword_grant = false\ninline_refresh = true\n"),
    );
    for store in [doorward.site().store, doorward.site().forum] {
        let mut phone = Phone {
            store,
            ..Phone::of(&doorward)
        };
        assert_eq!(phone.post_form(&LOGIN).await.status(), 404);
        for endpoint in ["native/login", "native/refresh", "native/logout"] {
            let page = phone
                .post_json(
                    endpoint,
                    &json!({ "username": "alice", "password": PASSWORD }),
                )
                .await;
            assert_eq!(page.status(), 404, "{page}");
        }
        let request = phone
            .request("GET", CART)
            .header("Authorization", "Bearer doorward_at_AAAA");
        assert_eq!(phone.send(request).await.status(), 401);
    }
    assert_eq!(calls(&doorward), (0, 0));
}

#[tokio::test]
async fn endpoint_accepts_one_method_media_type_and_body_limit() {
    let doorward = started(store(""));
    let mut phone = Phone::of(&doorward);
    for (endpoint, right, wrong) in [
        (
            "token",
            "application/x-www-form-urlencoded",
            "application/json",
        ),
        (
            "native/login",
            "application/json",
            "application/x-www-form-urlencoded",
        ),
        ("native/refresh", "application/json", "text/plain"),
        ("native/logout", "application/json", "text/plain"),
    ] {
        let path = format!("/.doorward/{endpoint}");
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
            let request = phone.request(method, &path);
            let page = phone.send(request).await;
            assert_eq!(
                (page.status(), page.header("allow")),
                (405, Some("POST")),
                "{method} {endpoint} {page}"
            );
        }
        let body = r#"{"username":"alice","password":"x","refresh_token":"x"}"#;
        let request = phone.request("POST", &path).body(wrong, body);
        let page = phone.send(request).await;
        assert_eq!(
            page.status(),
            if endpoint == "token" { 400 } else { 415 },
            "{endpoint} {page}"
        );
        let filling = "x".repeat(33 * 1024);
        let request = phone.request("POST", &path).body(right, filling);
        let page = phone.send(request).await;
        assert_eq!(
            (page.status(), page.json()["code"].as_str()),
            (413, Some("body_too_large")),
            "{endpoint} {page}"
        );
        for length in [0, 2] {
            let request = phone
                .request("POST", &path)
                .body(right, "{}".get(..length).unwrap_or_default());
            assert_eq!(
                phone.send(request).await.status(),
                400,
                "{endpoint} {length}"
            );
        }
    }
    assert_eq!(calls(&doorward), (0, 0));
}

#[tokio::test]
async fn cors_allows_listed_origins_only() {
    let doorward = started(store("cors_origins = [\"capacitor://localhost\"]"));
    let own = doorward.site().store;
    let mut phone = Phone::of(&doorward);
    let body = json!({ "username": "alice", "password": PASSWORD }).to_string();
    for (origin, status, readable) in [
        (own.as_str(), 200, None),
        ("capacitor://localhost", 200, Some("capacitor://localhost")),
        ("https://evil.example", 403, None),
        ("null", 403, None),
    ] {
        let request = phone
            .request("POST", "/.doorward/native/login")
            .header("Origin", origin);
        let page = phone
            .send(request.body("application/json", body.clone()))
            .await;
        assert_eq!(page.status(), status, "{origin} {page}");
        assert_eq!(
            page.header("access-control-allow-origin"),
            readable,
            "{origin} {page}"
        );
        assert_eq!(page.header("access-control-allow-credentials"), None);
        let request = phone
            .request("OPTIONS", "/.doorward/token")
            .header("Origin", origin);
        let request = request.header("Access-Control-Request-Method", "POST");
        let page = phone.send(request).await;
        let expected = if readable.is_some() {
            204
        } else if status == 200 {
            405
        } else {
            403
        };
        assert_eq!(
            (page.status(), page.header("access-control-allow-origin")),
            (expected, readable),
            "{origin} {page}"
        );
        assert_eq!(
            page.header("access-control-allow-methods").is_some(),
            readable.is_some(),
            "{page}"
        );
    }
    let failed = phone
        .request("POST", "/.doorward/token")
        .header("Origin", "capacitor://localhost");
    let page = phone
        .send(failed.body("application/x-www-form-urlencoded", "grant_type=x"))
        .await;
    assert_eq!(
        page.header("access-control-allow-origin"),
        Some("capacitor://localhost"),
        "an error can be read too"
    );
    assert!(
        page.head.all("vary").join(", ").contains("Origin"),
        "{page}"
    );
}

#[tokio::test]
async fn logout_with_invalid_token_succeeds_and_without_token_fails() {
    let doorward = started(store(""));
    let mut phone = Phone::of(&doorward);
    for token in ["", "x", "doorward_rt_AAAA"] {
        assert_eq!(
            phone
                .post_json("native/logout", &json!({ "refresh_token": token }))
                .await
                .status(),
            204
        );
    }
    assert_eq!(
        phone.post_json("native/logout", &json!({})).await.status(),
        400
    );
    assert_eq!(doorward.provider.revoked().len(), 0);
}

#[tokio::test]
async fn plain_provider_tokens_require_the_dangerous_setting() {
    let doorward =
        started(store("dangerously_plain_tokens = true").more("\n[apps.store.bearer]\n"));
    let mut phone = Phone::logged_in(&doorward).await;
    let issued = doorward.provider.secrets();
    for token in [&phone.access_token, &phone.refresh_token] {
        assert!(issued.contains(token), "{token}");
    }
    shows_the_cart(&phone.load(CART).await);
    assert_eq!(doorward.store.last().header("authorization"), None);
    let old = phone.clone();
    let page = phone.refresh().await;
    assert_eq!(
        (page.status(), page.json()["expires_in"].as_u64()),
        (200, Some(300)),
        "{page}"
    );
    assert!(
        phone.refresh_token != old.refresh_token && doorward.provider.is_live(&phone.refresh_token)
    );
    // Reuse of the old refresh token is judged by the provider.
    let page = old.copy().refresh().await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (401, Some("refresh_rejected")),
        "{page}"
    );
    let mut phone = Phone::logged_in(&doorward).await;
    let token = phone.refresh_token.clone();
    assert_eq!(
        phone
            .post_json("native/logout", &json!({ "refresh_token": token }))
            .await
            .status(),
        204
    );
    assert_eq!(doorward.provider.revoked(), [token]);
}

/// Anybody can send what is no token.
#[tokio::test]
async fn logouts_with_plain_tokens_are_limited() {
    let doorward =
        started(store("dangerously_plain_tokens = true").more("\n[apps.store.bearer]\n"));
    let mut phone = Phone::of(&doorward);
    let mut statuses = Vec::new();
    for number in 0..70 {
        let junk = json!({ "refresh_token": format!("junk {number}") });
        statuses.push(phone.post_json("native/logout", &junk).await.status());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 60);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 10);
    assert_eq!(doorward.provider.calls(Endpoint::Revocation), 60);
    doorward.advance_secs(1);
    let junk = json!({ "refresh_token": "junk" });
    assert_eq!(phone.post_json("native/logout", &junk).await.status(), 204);
}
