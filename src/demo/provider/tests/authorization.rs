//! The authorization endpoint and the login form.

use super::*;

#[tokio::test]
async fn login_redirects_with_code_state_and_issuer() {
    let setup = setup().await;
    let mut browser = setup.browser();
    let form = browser.get(&authorize("store", &[])).await;
    assert_eq!(form.status, 200);
    let policy = form.header("content-security-policy");
    assert!(policy.contains("default-src 'none'"), "{policy}");
    // Chromium applies this list to the redirect that follows the form too.
    assert!(
        policy.contains("form-action 'self' http://store.localhost:8080;"),
        "{policy}"
    );
    let reply = submit(&mut browser, &form, "alice", "alice").await;
    assert_eq!(reply.status, 303);
    let (target, query) = reply.location();
    assert_eq!(target, CALLBACK);
    assert_eq!(
        (query["state"].as_str(), query["iss"].as_str()),
        ("a state & more", ISSUER)
    );
    assert!(!query["code"].is_empty());
    let client = || "store".to_owned();
    let user = || "alice".to_owned();
    assert_eq!(
        setup.events(),
        [
            Event::FormShown { client: client() },
            Event::SignedIn {
                user: user(),
                client: client()
            }
        ]
    );
    assert_eq!(setup.exchange("store", &query["code"]).await.status, 200);
    assert_eq!(
        setup.events(),
        [Event::CodeExchanged {
            user: user(),
            client: client()
        }]
    );
}

#[tokio::test]
async fn second_app_gets_a_code_without_a_form() {
    let setup = setup().await;
    let mut browser = setup.browser();
    let store = setup.log_in(&mut browser, "alice", "store").await;
    let reply = browser.get(&authorize("forum", &[])).await;
    assert_eq!(reply.status, 302);
    let (target, query) = reply.location();
    assert_eq!(target, FORUM_CALLBACK);
    let forum = setup.exchange("forum", &query["code"]).await.json();
    let (store, forum) = (opened(&store["id_token"]).1, opened(&forum["id_token"]).1);
    assert_eq!(
        (&store["sub"], &store["sid"]),
        (&forum["sub"], &forum["sid"])
    );
    assert_eq!(setup.provider.forms_shown(), 1);
    assert!(setup.events().contains(&Event::SignOnReused {
        user: "alice".into(),
        client: "forum".into()
    }));
}

#[tokio::test]
async fn authorize_unregistered_redirect_uri_shows_an_error_page() {
    let setup = setup().await;
    for changes in [
        [("redirect_uri", "http://evil.localhost/")],
        [(
            "redirect_uri",
            "http://store.localhost:8080/.doorward/callback/",
        )],
        [(
            "redirect_uri",
            "http://store.localhost:8080/.doorward/callback?x",
        )],
        [(
            "redirect_uri",
            "HTTP://store.localhost:8080/.doorward/callback",
        )],
        [("redirect_uri", "")],
        [("client_id", "nobody")],
        [("client_id", "forum")],
        [("client_id", "")],
    ] {
        let reply = setup.browser().get(&authorize("store", &changes)).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("location")),
            (400, ""),
            "{changes:?}"
        );
        let posted = authorize("store", &changes).replacen("/authorize", "/login", 1);
        let reply = setup
            .browser()
            .post(&posted, &[("username", "alice"), ("password", "alice")])
            .await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("location")),
            (400, ""),
            "{changes:?}"
        );
    }
    let twice = format!(
        "{}&redirect_uri=http%3A%2F%2Fevil.localhost%2F",
        authorize("store", &[])
    );
    assert_eq!(setup.browser().get(&twice).await.status, 400);
}

#[tokio::test]
async fn authorize_errors_are_sent_to_the_client() {
    let setup = setup().await;
    for (changes, error) in [
        (
            vec![("response_type", "token")],
            "unsupported_response_type",
        ),
        (vec![("response_type", "")], "invalid_request"),
        (vec![("response_mode", "fragment")], "invalid_request"),
        (vec![("scope", "email")], "invalid_scope"),
        (vec![("scope", "")], "invalid_scope"),
        (vec![("code_challenge", "")], "invalid_request"),
        (vec![("code_challenge", "short")], "invalid_request"),
        (vec![("code_challenge_method", "plain")], "invalid_request"),
        (vec![("code_challenge_method", "")], "invalid_request"),
        (vec![("prompt", "none")], "login_required"),
        (vec![("prompt", "none login")], "invalid_request"),
        (vec![("prompt", "dance")], "invalid_request"),
        (vec![("max_age", "-1")], "invalid_request"),
        (vec![("request", "e30.e30.")], "request_not_supported"),
        (
            vec![("request_uri", "https://a.example/")],
            "request_uri_not_supported",
        ),
    ] {
        let reply = setup.browser().get(&authorize("store", &changes)).await;
        let (target, query) = reply.location();
        assert_eq!(
            (target.as_str(), query["error"].as_str()),
            (CALLBACK, error),
            "{changes:?}"
        );
        assert_eq!(
            (query["state"].as_str(), query["iss"].as_str()),
            ("a state & more", ISSUER)
        );
        assert!(!query.contains_key("code"));
    }
    assert_eq!(setup.provider.forms_shown(), 0);
}

#[tokio::test]
async fn prompt_and_max_age_control_session_reuse() {
    let setup = setup().await;
    let mut browser = setup.browser();
    setup.sign_in(&mut browser, "alice", "store").await;
    setup.clock.advance(Duration::from_secs(100));
    for (changes, status) in [
        (vec![("prompt", "none")], 302),
        (vec![("prompt", "consent")], 302),
        (vec![("max_age", "100")], 302),
        (vec![("max_age", "99")], 200),
        (vec![("max_age", "0")], 200),
        (vec![("prompt", "login")], 200),
        (vec![("prompt", "select_account")], 200),
        (vec![("prompt", "none"), ("max_age", "99")], 303),
    ] {
        assert_eq!(
            browser.get(&authorize("store", &changes)).await.status,
            status,
            "{changes:?}"
        );
    }
    setup.clock.advance(Duration::from_secs(3500));
    assert_eq!(
        browser.get(&authorize("store", &[])).await.status,
        200,
        "the session is over"
    );
}

#[tokio::test]
async fn second_login_keeps_the_session_of_the_same_user() {
    let setup = setup().await;
    let mut browser = setup.browser();
    let first = setup.log_in(&mut browser, "alice", "store").await;
    let old_cookies = browser.cookies.clone();
    setup.clock.advance(Duration::from_secs(5));
    let form = browser
        .get(&authorize("store", &[("prompt", "login")]))
        .await;
    let response = submit(&mut browser, &form, "alice", "alice")
        .await
        .location()
        .1;
    let second = setup.exchange("store", &response["code"]).await.json();
    let (first_claims, second_claims) =
        (opened(&first["id_token"]).1, opened(&second["id_token"]).1);
    assert_eq!(first_claims["sid"], second_claims["sid"]);
    assert_eq!(
        (
            first_claims["auth_time"].as_u64(),
            second_claims["auth_time"].as_u64()
        ),
        (Some(START), Some(START + 5))
    );
    let mut thief = setup.browser();
    thief.cookies = old_cookies;
    assert_eq!(
        thief.get(&authorize("store", &[])).await.status,
        200,
        "the cookie from before is dead"
    );

    let form = browser
        .get(&authorize("store", &[("prompt", "login")]))
        .await;
    submit(&mut browser, &form, "bob", "bob").await;
    let token = first["refresh_token"].as_str().unwrap();
    assert_eq!(
        setup.refresh("store", token).await.json()["error"],
        "invalid_grant",
        "alice's session is over"
    );
}

#[tokio::test]
async fn unknown_name_and_wrong_password_look_the_same() {
    let setup = setup().await;
    let mut pages = Vec::new();
    for (username, password) in [("alice", "bob"), ("mallory", "alice"), ("alice", "")] {
        let mut browser = setup.browser();
        let form = browser.get(&authorize("store", &[])).await;
        let reply = submit(&mut browser, &form, username, password).await;
        assert_eq!(reply.status, 422);
        assert!(!browser.cookies.contains_key("provider_session"));
        let token = reply.attribute("name=\"form_token\" value=\"");
        pages.push(reply.text.replace(&token, ""));
    }
    assert!(pages[0].contains("role=\"alert\""));
    assert!(pages.iter().all(|page| page == &pages[0]));
}

#[tokio::test]
async fn login_form_is_bound_to_its_browser() {
    let setup = setup().await;
    let form = setup.browser().get(&authorize("store", &[])).await;
    let mut victim = setup.browser();
    assert_eq!(
        submit(&mut victim, &form, "bob", "bob").await.status,
        403,
        "no cookie"
    );
    assert_eq!(
        submit(&mut victim, &form, "bob", "bob").await.status,
        403,
        "another cookie"
    );
    assert!(!victim.cookies.contains_key("provider_session"));
}

#[tokio::test]
async fn login_page_escapes_request_values() {
    let setup = setup().await;
    let reply = setup
        .browser()
        .get(&authorize(
            "store",
            &[("login_hint", "\"><script>alert(1)</script>")],
        ))
        .await;
    assert!(
        !reply.text.contains("<script>") && reply.text.contains("&lt;script&gt;"),
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn metadata_ignores_the_host_header() {
    let setup = setup().await;
    let mut browser = setup.browser();
    let metadata = browser
        .get("/.well-known/openid-configuration")
        .await
        .json();
    assert_eq!(metadata["issuer"], ISSUER);
    for endpoint in [
        "authorization",
        "token",
        "userinfo",
        "revocation",
        "end_session",
    ] {
        let address = metadata[format!("{endpoint}_endpoint")].as_str().unwrap();
        let path = address.strip_prefix(ISSUER).unwrap();
        assert_ne!(browser.get(path).await.status, 404, "{path}");
    }
    assert_eq!(
        metadata["authorization_response_iss_parameter_supported"],
        true
    );
    let keys = browser.get("/jwks.json").await.json();
    assert_eq!(
        (&keys["keys"][0]["kty"], &keys["keys"][0]["d"]),
        (&"EC".into(), &Value::Null)
    );
    let reloaded = browser.get("/login?client_id=store").await;
    assert_eq!(reloaded.header("location"), "/authorize?client_id=store");
    assert_eq!(
        browser.send("PUT", "/token", String::new()).await.status,
        405
    );
    assert_eq!(browser.get("/nowhere").await.status, 404);
    assert_eq!(
        browser
            .send("POST", "/token", "a".repeat(70_000))
            .await
            .status,
        413
    );
}

#[tokio::test]
async fn id_token_hint_restricts_session_reuse() {
    let setup = setup().await;
    let mut browser = setup.browser();
    let bob = setup.log_in(&mut setup.browser(), "bob", "store").await;
    let alice = setup.log_in(&mut browser, "alice", "store").await;
    for (hint, prompt, status, error) in [
        (alice["id_token"].as_str().unwrap(), "none", 302, None),
        (
            bob["id_token"].as_str().unwrap(),
            "none",
            303,
            Some("login_required"),
        ),
        (bob["id_token"].as_str().unwrap(), "", 200, None),
        (
            alice["access_token"].as_str().unwrap(),
            "none",
            303,
            Some("invalid_request"),
        ),
    ] {
        let reply = browser
            .get(&authorize(
                "store",
                &[("id_token_hint", hint), ("prompt", prompt)],
            ))
            .await;
        assert_eq!(reply.status, status);
        if let Some(error) = error {
            assert_eq!(reply.location().1["error"], error);
        }
    }
}

#[tokio::test]
async fn cookies_are_secure_with_an_https_issuer() {
    for (issuer, secure) in [(ISSUER, false), ("https://login.example.com", true)] {
        let reply = setup_at(issuer)
            .await
            .browser()
            .get(&authorize("store", &[]))
            .await;
        assert_eq!(
            reply.header("set-cookie").contains("; Secure"),
            secure,
            "{issuer}"
        );
    }
}
