//! RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0).

use super::*;

fn end_session(params: &[(&str, &str)]) -> String {
    format!(
        "/end_session?{}",
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(params)
            .finish()
    )
}

#[tokio::test]
async fn id_token_hint_ends_the_session_and_its_grants() {
    let setup = setup().await;
    let mut browser = setup.browser();
    let store = setup.log_in(&mut browser, "alice", "store").await;
    let response = browser.get(&authorize("forum", &[])).await.location().1;
    let forum = setup.exchange("forum", &response["code"]).await.json();
    let waiting = browser.get(&authorize("forum", &[])).await.location().1;
    setup.clock.advance(Duration::from_secs(3000));
    setup.events();

    let hint = store["id_token"].as_str().unwrap();
    let target = end_session(&[
        ("id_token_hint", hint),
        ("post_logout_redirect_uri", SIGNED_OUT),
        ("state", "a&b"),
    ]);
    let reply = browser.get(&target).await;
    assert_eq!(reply.status, 303);
    let (landing, query) = reply.location();
    assert_eq!(
        (landing.as_str(), query["state"].as_str()),
        (SIGNED_OUT, "a&b")
    );
    assert!(!browser.cookies.contains_key("provider_session"));
    assert_eq!(
        setup.events(),
        [Event::SignedOut {
            user: "alice".into()
        }]
    );

    for (client, tokens) in [("store", &store), ("forum", &forum)] {
        let reply = setup
            .refresh(client, tokens["refresh_token"].as_str().unwrap())
            .await;
        assert_eq!(reply.json()["error"], "invalid_grant", "{client}");
    }
    assert_eq!(
        setup.exchange("forum", &waiting["code"]).await.status,
        400,
        "a code from before"
    );
    assert_eq!(
        browser.get(&authorize("store", &[])).await.status,
        200,
        "the form again"
    );
    assert_eq!(
        browser.get(&target).await.status,
        303,
        "a second time changes nothing"
    );
}

#[tokio::test]
async fn logout_without_a_hint_requires_confirmation() {
    let setup = setup().await;
    let mut browser = setup.browser();
    setup.sign_in(&mut browser, "alice", "store").await;
    let page = browser
        .get(&end_session(&[
            ("client_id", "store"),
            ("post_logout_redirect_uri", SIGNED_OUT),
        ]))
        .await;
    assert_eq!(page.status, 200);
    assert_eq!(
        browser.get(&authorize("store", &[])).await.status,
        302,
        "still signed on"
    );

    let (action, token) = (
        page.attribute("action=\""),
        page.attribute("name=\"form_token\" value=\""),
    );
    assert_eq!(
        browser
            .post(&action, &[("form_token", "forged")])
            .await
            .status,
        400
    );
    assert_eq!(
        browser.get(&authorize("store", &[])).await.status,
        302,
        "still signed on"
    );
    let reply = browser.post(&action, &[("form_token", &token)]).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("location")),
        (303, SIGNED_OUT)
    );
    assert_eq!(browser.get(&authorize("store", &[])).await.status, 200);
}

#[tokio::test]
async fn hint_of_another_session_requires_confirmation() {
    let setup = setup().await;
    let other = setup.log_in(&mut setup.browser(), "bob", "store").await;
    let mut browser = setup.browser();
    setup.sign_in(&mut browser, "alice", "store").await;
    let reply = browser
        .get(&end_session(&[(
            "id_token_hint",
            other["id_token"].as_str().unwrap(),
        )]))
        .await;
    assert!(reply.status == 200 && reply.text.contains("<form"));
    assert_eq!(browser.get(&authorize("store", &[])).await.status, 302);
}

#[tokio::test]
async fn unregistered_post_logout_redirect_uri_is_rejected() {
    let setup = setup().await;
    let mut browser = setup.browser();
    let tokens = setup.log_in(&mut browser, "alice", "store").await;
    let (hint, access) = (
        tokens["id_token"].as_str().unwrap(),
        tokens["access_token"].as_str().unwrap(),
    );
    for params in [
        vec![
            ("id_token_hint", hint),
            ("post_logout_redirect_uri", "http://evil.localhost/"),
        ],
        vec![
            ("id_token_hint", hint),
            ("post_logout_redirect_uri", CALLBACK),
        ],
        vec![
            ("id_token_hint", hint),
            ("client_id", "forum"),
            ("post_logout_redirect_uri", SIGNED_OUT),
        ],
        vec![
            ("client_id", "forum"),
            ("post_logout_redirect_uri", SIGNED_OUT),
        ],
        vec![("post_logout_redirect_uri", SIGNED_OUT)],
        vec![
            ("id_token_hint", "e30.e30.e30"),
            ("client_id", "store"),
            ("post_logout_redirect_uri", SIGNED_OUT),
        ],
        vec![
            ("id_token_hint", access),
            ("post_logout_redirect_uri", SIGNED_OUT),
        ],
    ] {
        let reply = browser.get(&end_session(&params)).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("location")),
            (400, ""),
            "{params:?}"
        );
        assert_eq!(
            browser.get(&authorize("store", &[])).await.status,
            302,
            "still signed on"
        );
    }
}
