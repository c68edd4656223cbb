//! Clients that send access tokens: a challenge, never a redirect.

use serde_json::{Value, json};

use super::{ACCOUNT, RULES, VAULT, by_token, challenges, member};
use crate::support::assertions::assert_problem;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{BEGIN, Doorward, Setup};
use crate::support::provider::User;

fn with_bearer() -> Doorward {
    Setup::plain()
        .store_rules(RULES)
        .more("[apps.store.bearer]\n")
        .start()
}

#[tokio::test]
async fn token_is_judged_by_its_own_claims() {
    let doorward = with_bearer();
    let now = BEGIN.secs();
    for (path, claims, status) in [
        (ACCOUNT, json!({"auth_time": now - 300}), 200),
        (ACCOUNT, json!({"auth_time": now - 330}), 200),
        (ACCOUNT, json!({"auth_time": now - 331}), 401),
        (ACCOUNT, json!({"auth_time": "now"}), 401),
        (ACCOUNT, json!({"auth_time": null}), 401),
        (VAULT, json!({"acr": "silver"}), 200),
        (VAULT, json!({"acr": "bronze"}), 401),
        (VAULT, json!({"acr": ["gold"]}), 401),
        ("/public/x", json!({"acr": "bronze"}), 200),
    ] {
        let token = doorward.provider.access_token(&claims, &[]);
        let request = by_token(&doorward.store_url(path), &token);
        let page = doorward.browser().send(request).await;
        assert_eq!(page.status(), status, "{path} {claims}: {page}");
    }
}

#[tokio::test]
async fn challenge_names_the_requirement() {
    let doorward = with_bearer();
    let old = json!({"auth_time": 1000, "acr": "bronze"});
    let token = doorward.provider.access_token(&old, &[]);
    for (path, expected) in [
        (ACCOUNT, "max_age=\"300\""),
        (VAULT, "acr_values=\"gold silver\""),
    ] {
        // A client that sends a token is no browser, whatever it accepts.
        let request = by_token(&doorward.store_url(path), &token).header("Accept", "text/html");
        let page = doorward.browser().send(request).await;
        assert_problem(&page, 401, "insufficient_user_authentication");
        assert_eq!(page.json()["login_url"], Value::Null, "{page}");
        let challenges = challenges(&page);
        assert_eq!(
            challenges[0],
            format!(
                "Bearer realm=\"{}\", error=\"insufficient_user_authentication\", \
                 error_description=\"insufficient_user_authentication\", {expected}",
                doorward.store_host()
            )
        );
        assert!(challenges[1].starts_with("DPoP "), "{challenges:?}");
        assert!(!challenges[1].contains("error"), "{challenges:?}");
    }
}

#[tokio::test]
async fn session_of_a_native_app_is_challenged() {
    let doorward = Setup::plain()
        .store_rules(RULES)
        .store("session_jwt = \"access\"")
        .more("[apps.store.native]\npassword_grant = true\n")
        .start();
    doorward
        .provider
        .add_user("alice", "pass", User::new("alice", &[]));
    let login = RequestSpec::new(
        Kind::Program,
        &doorward.store_url("/.doorward/native/login"),
    )
    .method("POST")
    .body(
        "application/json",
        json!({"username": "alice", "password": "pass"}).to_string(),
    );
    let tokens = doorward.browser().send(login).await;
    assert_eq!(tokens.status(), 200, "{tokens}");
    let tokens = tokens.json();
    let token = member(&tokens, "access_token");
    let page = doorward
        .browser()
        .send(by_token(&doorward.store_url(VAULT), token))
        .await;
    assert_problem(&page, 401, "insufficient_user_authentication");
    assert!(
        challenges(&page)[0].starts_with("Bearer ")
            && challenges(&page)[0].ends_with("acr_values=\"gold silver\""),
        "{page}"
    );
    let page = doorward
        .browser()
        .send(by_token(&doorward.store_url("/page"), token))
        .await;
    assert_eq!(page.status(), 200, "{page}");
}
