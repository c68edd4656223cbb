//! The token endpoint, userinfo and revocation.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::*;

#[tokio::test]
async fn tokens_verify_and_have_the_standard_claims() {
    let setup = setup().await;
    let tokens = setup.log_in(&mut setup.browser(), "bob", "store").await;
    assert_eq!(
        (&tokens["token_type"], &tokens["expires_in"]),
        (&"Bearer".into(), &60.into())
    );
    let keys: JwkSet =
        serde_json::from_value(setup.browser().get("/jwks.json").await.json()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.validate_exp = false;
    validation.set_audience(&["store"]);
    validation.set_issuer(&[ISSUER]);
    for (kind, typ) in [("access_token", "at+jwt"), ("id_token", "JWT")] {
        let token = tokens[kind].as_str().unwrap();
        let header = jsonwebtoken::decode_header(token).unwrap();
        assert_eq!(header.typ.as_deref(), Some(typ));
        let key = DecodingKey::from_jwk(keys.find(&header.kid.unwrap()).unwrap()).unwrap();
        let claims = jsonwebtoken::decode::<Value>(token, &key, &validation)
            .unwrap()
            .claims;
        for (claim, value) in [
            ("sub", Value::from("user-1002")),
            ("iat", START.into()),
            ("exp", (START + 60).into()),
            ("email", "bob@example.com".into()),
            ("email_verified", true.into()),
            ("preferred_username", "bob".into()),
            ("name", "Bob Baker".into()),
            ("roles", vec!["customer", "admin"].into()),
        ] {
            assert_eq!(claims[claim], value, "{kind}: {claim}");
        }
        assert!(claims["sid"].is_string());
    }
    let (access, id) = (
        opened(&tokens["access_token"]).1,
        opened(&tokens["id_token"]).1,
    );
    assert_eq!(
        (&access["client_id"], &access["scope"]),
        (&"store".into(), &SCOPE.into())
    );
    assert!(access["jti"].is_string());
    assert_eq!(
        (&id["nonce"], &id["auth_time"]),
        (&"a nonce".into(), &START.into())
    );
    assert_eq!(
        id["at_hash"],
        super::super::keys::at_hash(tokens["access_token"].as_str().unwrap())
    );
}

#[tokio::test]
async fn scope_controls_claims_and_refresh_token() {
    let setup = setup().await;
    let mut browser = setup.browser();
    let form = browser
        .get(&authorize("store", &[("scope", "openid")]))
        .await;
    let response = submit(&mut browser, &form, "alice", "alice")
        .await
        .location()
        .1;
    let tokens = setup.exchange("store", &response["code"]).await.json();
    assert!(tokens.get("refresh_token").is_none());
    let id = opened(&tokens["id_token"]).1;
    assert!(id.get("email").is_none() && id.get("name").is_none() && id["roles"].is_array());
}

#[tokio::test]
async fn replayed_code_revokes_its_grant() {
    let setup = setup().await;
    let response = setup.sign_in(&mut setup.browser(), "alice", "store").await;
    let first = setup.exchange("store", &response["code"]).await.json();
    let second = setup.exchange("store", &response["code"]).await;
    assert_eq!(
        (second.status.as_u16(), &second.json()["error"]),
        (400, &"invalid_grant".into())
    );
    let refresh = setup
        .refresh("store", first["refresh_token"].as_str().unwrap())
        .await;
    assert_eq!(refresh.json()["error"], "invalid_grant");
    assert_eq!(userinfo(&setup, &first["access_token"]).await.status, 401);
    assert!(setup.events().contains(&Event::CodeRefused {
        client: "store".into(),
        reason: "used before"
    }));
}

#[tokio::test]
async fn code_exchange_checks_verifier_uri_client_and_time() {
    let setup = setup().await;
    let mut browser = setup.browser();
    let right = verifier();
    let wrong = PkceVerifier::from_entropy([8; 32]);
    for (client, redirect_uri, verifier, seconds) in [
        ("store", CALLBACK, Some(&wrong), 0),
        ("store", CALLBACK, None, 0),
        ("store", SIGNED_OUT, Some(&right), 0),
        ("forum", CALLBACK, Some(&right), 0),
        ("store", CALLBACK, Some(&right), 60),
    ] {
        let code = setup
            .sign_in(&mut browser, "alice", "store")
            .await
            .remove("code")
            .unwrap();
        browser.cookies.clear();
        setup.clock.advance(Duration::from_secs(seconds));
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", redirect_uri),
        ];
        form.extend(verifier.map(|verifier| ("code_verifier", verifier.expose())));
        let reply = setup.call(client, "/token", &form).await;
        let error = if verifier.is_none() {
            "invalid_request"
        } else {
            "invalid_grant"
        };
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]),
            (400, &error.into()),
            "{client} {redirect_uri}"
        );
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    assert_eq!(setup.provider.code_calls(), 5);
}

#[tokio::test]
async fn client_authenticates_by_basic_or_post_not_both() {
    let setup = setup().await;
    let form = |more: &[(&'static str, &'static str)]| {
        let mut form = vec![
            ("grant_type", "password"),
            ("username", "alice"),
            ("password", "alice"),
        ];
        form.extend_from_slice(more);
        form
    };
    let right = [("client_id", "store"), ("client_secret", "store s3cret+")];
    assert_eq!(
        setup.browser().post("/token", &form(&right)).await.status,
        200
    );
    assert_eq!(setup.call("store", "/token", &form(&[])).await.status, 200);
    for more in [
        &[][..],
        &[("client_id", "store")],
        &[("client_id", "store"), ("client_secret", "forum-secret")],
        &[("client_id", "nobody"), ("client_secret", "store s3cret+")],
        &[("client_secret", "store s3cret+")],
    ] {
        let reply = setup.browser().post("/token", &form(more)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]),
            (401, &"invalid_client".into()),
            "{more:?}"
        );
        assert!(reply.header("www-authenticate").starts_with("Basic"));
    }
    assert_eq!(
        setup.call("store", "/token", &form(&right)).await.json()["error"],
        "invalid_request"
    );
    let other = setup
        .call("store", "/token", &form(&[("client_id", "forum")]))
        .await;
    assert_eq!(other.json()["error"], "invalid_client");
    assert_eq!(
        setup
            .call("store", "/token", &[("grant_type", "magic")])
            .await
            .json()["error"],
        "unsupported_grant_type"
    );
}

#[tokio::test]
async fn reused_refresh_token_revokes_its_family() {
    let setup = setup().await;
    let tokens = setup.log_in(&mut setup.browser(), "alice", "store").await;
    setup.events();
    let first = tokens["refresh_token"].as_str().unwrap();
    setup.clock.advance(Duration::from_secs(61));
    let renewed = setup.refresh("store", first).await.json();
    let id = opened(&renewed["id_token"]).1;
    assert_eq!(
        (&id["sub"], &id["iat"], &id["auth_time"]),
        (&"user-1001".into(), &(START + 61).into(), &START.into())
    );
    assert!(id.get("nonce").is_none());
    let second = renewed["refresh_token"].as_str().unwrap();
    assert_ne!(first, second);
    assert_eq!(userinfo(&setup, &renewed["access_token"]).await.status, 200);
    assert_eq!(
        setup.refresh("forum", second).await.json()["error"],
        "invalid_grant",
        "another client's"
    );

    assert_eq!(
        setup.refresh("store", first).await.json()["error"],
        "invalid_grant"
    );
    assert_eq!(
        setup.refresh("store", second).await.json()["error"],
        "invalid_grant"
    );
    assert_eq!(userinfo(&setup, &renewed["access_token"]).await.status, 401);
    assert_eq!(setup.provider.refresh_calls(), 4);
    let (user, client) = (|| "alice".to_owned(), || "store".to_owned());
    assert_eq!(
        setup.events(),
        [
            Event::Refreshed {
                user: user(),
                client: client()
            },
            Event::RefreshRefused {
                client: "forum".into(),
                reason: "unknown"
            },
            Event::ReuseDetected {
                user: user(),
                client: client()
            },
            Event::RefreshRefused {
                client: client(),
                reason: "revoked"
            },
        ]
    );
}

#[tokio::test]
async fn refresh_can_narrow_but_not_widen_the_scope() {
    let setup = setup().await;
    let tokens = setup.log_in(&mut setup.browser(), "alice", "store").await;
    let token = tokens["refresh_token"].as_str().unwrap();
    let form = |scope| {
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("scope", scope),
        ]
    };
    assert_eq!(
        setup
            .call("store", "/token", &form("openid admin"))
            .await
            .json()["error"],
        "invalid_scope"
    );
    let narrowed = setup.call("store", "/token", &form("openid")).await.json();
    assert_eq!(narrowed["scope"], "openid");
    assert!(opened(&narrowed["access_token"]).1.get("email").is_none());
}

#[tokio::test]
async fn expired_refresh_token_is_rejected() {
    let setup = setup().await;
    let tokens = setup.log_in(&mut setup.browser(), "alice", "store").await;
    setup.clock.advance(Duration::from_secs(600));
    let reply = setup
        .refresh("store", tokens["refresh_token"].as_str().unwrap())
        .await;
    assert_eq!(reply.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn password_grant_checks_the_password() {
    let setup = setup().await;
    let form = |password| {
        [
            ("grant_type", "password"),
            ("username", "bob"),
            ("password", password),
            ("scope", SCOPE),
        ]
    };
    let tokens = setup.call("store", "/token", &form("bob")).await.json();
    assert_eq!(opened(&tokens["access_token"]).1["sub"], "user-1002");
    assert!(tokens["id_token"].is_string() && tokens["refresh_token"].is_string());
    let reply = setup.call("store", "/token", &form("alice")).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["error"]),
        (400, &"invalid_grant".into())
    );
    assert_eq!(setup.provider.password_calls(), 2);
}

#[tokio::test]
async fn userinfo_requires_a_valid_access_token() {
    let setup = setup().await;
    let tokens = setup.log_in(&mut setup.browser(), "alice", "store").await;
    let reply = userinfo(&setup, &tokens["access_token"]).await;
    assert_eq!(
        (&reply.json()["sub"], &reply.json()["email"]),
        (&"user-1001".into(), &"alice@example.com".into())
    );
    assert_eq!(setup.browser().get("/userinfo").await.status, 401);
    assert_eq!(
        userinfo(&setup, &tokens["id_token"]).await.status,
        401,
        "an ID token is no access token"
    );
    setup.clock.advance(Duration::from_secs(60));
    let late = userinfo(&setup, &tokens["access_token"]).await;
    assert!(late.header("www-authenticate").contains("invalid_token"));
}

#[tokio::test]
async fn revocation_of_either_token_revokes_the_family() {
    let setup = setup().await;
    for kind in ["refresh_token", "access_token"] {
        let tokens = setup.log_in(&mut setup.browser(), "alice", "store").await;
        let token = tokens[kind].as_str().unwrap();
        let foreign = setup.call("forum", "/revoke", &[("token", token)]).await;
        assert_eq!(foreign.status, 400, "another client's");
        assert_eq!(
            setup
                .call("store", "/revoke", &[("token", token)])
                .await
                .status,
            200
        );
        assert_eq!(
            setup
                .call("store", "/revoke", &[("token", token)])
                .await
                .status,
            200
        );
        let refresh = setup
            .refresh("store", tokens["refresh_token"].as_str().unwrap())
            .await;
        assert_eq!(refresh.json()["error"], "invalid_grant");
        let revoked = setup
            .events()
            .into_iter()
            .filter(|event| matches!(event, Event::Revoked { .. }))
            .count();
        assert_eq!(revoked, 1);
    }
    assert_eq!(
        setup
            .call("store", "/revoke", &[("token", "what?")])
            .await
            .status,
        200
    );
    assert_eq!(
        setup
            .browser()
            .post("/revoke", &[("token", "what?")])
            .await
            .status,
        401
    );
    assert_eq!(setup.provider.revocation_calls(), 8);
}

#[tokio::test]
async fn revoke_all_of_ends_all_grants_of_a_user() {
    let setup = setup().await;
    let (mut alice, mut bob) = (setup.browser(), setup.browser());
    let store = setup.log_in(&mut alice, "alice", "store").await;
    let other = setup.log_in(&mut bob, "bob", "store").await;
    assert_eq!(setup.provider.revoke_all_of("alice"), 1);
    assert_eq!(setup.provider.revoke_all_of("nobody"), 0);
    assert_eq!(
        setup
            .refresh("store", store["refresh_token"].as_str().unwrap())
            .await
            .status,
        400
    );
    assert_eq!(
        setup
            .refresh("store", other["refresh_token"].as_str().unwrap())
            .await
            .status,
        200
    );
    assert_eq!(
        alice.get(&authorize("forum", &[])).await.status,
        200,
        "alice is asked again"
    );
    assert_eq!(bob.get(&authorize("forum", &[])).await.status, 302);
}

async fn userinfo(setup: &Setup, token: &Value) -> Reply {
    let mut http = setup.browser();
    http.headers.push((
        "authorization",
        format!("Bearer {}", token.as_str().unwrap()),
    ));
    http.get("/userinfo").await
}
