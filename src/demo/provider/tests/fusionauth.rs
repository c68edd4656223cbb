//! The FusionAuth emulation: formats of its responses, tokens and events.

use aws_lc_rs::digest;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::demo::provider::FusionAuth;
use crate::types::secret::Secret;

const TENANT: &str = "30663132-6464-6665-3032-326466613934";
const KEY: &str = "an api key";

async fn fusionauth_settings(one_time_use: bool, webhook: Option<&TcpListener>) -> Setup {
    let url = |listener: &TcpListener| {
        format!(
            "http://store.localhost:{}/hook",
            listener.local_addr().unwrap().port()
        )
    };
    setup_with(ISSUER, |settings| {
        settings.users.push(User::carol());
        settings.fusionauth = Some(FusionAuth {
            issuer: "acme.example".to_owned(),
            tenant_id: TENANT.to_owned(),
            one_time_use,
            api_key: Secret::new(KEY.to_owned()),
            unregistered: vec!["carol".to_owned()],
            webhooks: webhook.map(url).into_iter().collect(),
        });
    })
    .await
}

/// A request with this `Authorization` and body.
async fn api(setup: &Setup, method: &str, path: &str, authorization: &str, body: &str) -> Reply {
    let mut http = setup.browser();
    if !authorization.is_empty() {
        http.headers
            .push(("authorization", authorization.to_owned()));
    }
    if method != "POST" {
        http.headers.push((
            "content-type",
            "application/x-www-form-urlencoded".to_owned(),
        ));
    }
    http.send(method, path, body.to_owned()).await
}

async fn jwt_refresh(setup: &Setup, token: &str) -> Reply {
    api(
        setup,
        "POST",
        "/api/jwt/refresh",
        "",
        &json!({ "refreshToken": token }).to_string(),
    )
    .await
}

fn authorize_at(client: &str) -> String {
    authorize(client, &[]).replacen("/authorize", "/oauth2/authorize", 1)
}

/// A complete login: the parameters of the authorization response, and the tokens.
async fn login(
    setup: &Setup,
    browser: &mut Browser,
    user: &str,
    client: &str,
) -> (BTreeMap<String, String>, Value) {
    let page = browser.get(&authorize_at(client)).await;
    let reply = if page.status == 302 {
        page
    } else {
        submit(browser, &page, user, user).await
    };
    let callback = reply.location().1;
    let (verifier, uri) = (
        verifier(),
        if client == "store" {
            CALLBACK
        } else {
            FORUM_CALLBACK
        },
    );
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &callback["code"]),
        ("redirect_uri", uri),
        ("code_verifier", verifier.expose()),
        ("tenantId", TENANT),
    ];
    let reply = setup.call(client, "/oauth2/token", &form).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    (callback, reply.json())
}

async fn refresh(setup: &Setup, client: &str, token: &str) -> Reply {
    setup
        .call(
            client,
            "/oauth2/token",
            &[("grant_type", "refresh_token"), ("refresh_token", token)],
        )
        .await
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
async fn discovery_has_a_bare_issuer_and_no_revocation() {
    let setup = fusionauth_settings(true, None).await;
    let path = "/.well-known/openid-configuration";
    for path in [
        path.to_owned(),
        format!("{path}?tenantId={TENANT}"),
        format!("/{TENANT}{path}"),
    ] {
        let document = setup.browser().get(&path).await.json();
        assert_eq!(document["issuer"], "acme.example", "{path}");
        assert_eq!(document["token_endpoint"], format!("{ISSUER}/oauth2/token"));
        assert!(
            document.get("revocation_endpoint").is_none()
                && document.get("introspection_endpoint").is_none()
        );
    }
    assert_eq!(
        setup
            .browser()
            .get(&format!("{path}?tenantId=other"))
            .await
            .status,
        400
    );
    assert_eq!(
        setup.browser().get(&format!("/other{path}")).await.status,
        404
    );
}

#[tokio::test]
async fn tokens_have_roles_only_for_registered_users() {
    let setup = fusionauth_settings(true, None).await;
    let (callback, tokens) = login(&setup, &mut setup.browser(), "bob", "store").await;
    assert_eq!(
        (callback["userState"].as_str(), callback["locale"].as_str()),
        ("Authenticated", "en")
    );
    assert!(!callback.contains_key("iss"));
    let ((_, access), (header, id)) =
        (opened(&tokens["access_token"]), opened(&tokens["id_token"]));
    assert_eq!(
        (&access["iss"], &access["aud"], &header["typ"]),
        (&json!("acme.example"), &json!("store"), &json!("JWT"))
    );
    assert_eq!(
        (&access["applicationId"], &access["roles"]),
        (&json!("store"), &json!(["customer", "admin"]))
    );
    assert_eq!(
        (&access["authenticationType"], &access["tid"]),
        (&json!("PASSWORD"), &json!(TENANT))
    );
    assert_eq!(
        (&access["sid"], &tokens["userId"]),
        (&tokens["refresh_token_id"], &access["sub"])
    );
    assert!(
        id["sid"] != access["sid"]
            && id.get("roles").is_none()
            && id.get("applicationId").is_none()
    );
    assert_eq!(
        text(&access["sid"])
            .split('-')
            .map(str::len)
            .collect::<Vec<_>>(),
        [8, 4, 4, 4, 12]
    );
    let (callback, tokens) = login(&setup, &mut setup.browser(), "carol", "store").await;
    assert_eq!(callback["userState"], "AuthenticatedNotRegistered");
    let access = opened(&tokens["access_token"]).1;
    assert!(access.get("roles").is_none() && access.get("applicationId").is_none());
}

#[tokio::test]
async fn refresh_rotates_only_one_time_use_tokens() {
    for one_time_use in [true, false] {
        let setup = fusionauth_settings(one_time_use, None).await;
        let (_, tokens) = login(&setup, &mut setup.browser(), "alice", "store").await;
        let first = text(&tokens["refresh_token"]);
        let response = refresh(&setup, "store", first).await.json();
        assert_eq!(response.get("refresh_token").is_some(), one_time_use);
        assert_eq!(
            opened(&response["access_token"]).1["sid"],
            tokens["refresh_token_id"],
            "constant over rotation"
        );
        assert_eq!(
            opened(&response["access_token"]).1["authenticationType"],
            "REFRESH_TOKEN"
        );
        let newest = response.get("refresh_token").map_or(first, text);
        let by_api = jwt_refresh(&setup, newest).await.json();
        assert!(by_api.get("id_token").is_none() && by_api.get("expires_in").is_none());
        assert_eq!(by_api["refreshTokenId"], tokens["refresh_token_id"]);
        assert_eq!(by_api["refreshToken"] != json!(newest), one_time_use);
        let again = refresh(&setup, "store", first).await;
        assert_eq!(again.status.is_success(), !one_time_use);
        if one_time_use {
            assert_eq!(again.json()["error_reason"], "refresh_token_not_found");
            let gone = jwt_refresh(&setup, text(&by_api["refreshToken"])).await;
            assert_eq!(
                (
                    gone.status.as_u16(),
                    gone.json()["fieldErrors"]["refreshToken"][0]["code"].clone()
                ),
                (400, json!("[invalid]refreshToken"))
            );
        }
    }
}

#[tokio::test]
async fn errors_have_a_reason() {
    let setup = fusionauth_settings(true, None).await;
    let wrong = setup
        .call(
            "store",
            "/oauth2/token",
            &[
                ("grant_type", "password"),
                ("username", "alice"),
                ("password", "x"),
            ],
        )
        .await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.json()["error_reason"].clone()),
        (400, json!("invalid_user_credentials"))
    );
    let none = setup
        .browser()
        .post("/oauth2/token", &[("grant_type", "refresh_token")])
        .await;
    assert_eq!(
        (none.status.as_u16(), none.json()["error_reason"].clone()),
        (401, json!("invalid_client_authentication"))
    );
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", "x"),
        ("tenantId", "other"),
    ];
    assert_eq!(
        setup.call("store", "/oauth2/token", &form).await.json()["error_reason"],
        "invalid_tenant_id"
    );
    let silent = setup
        .browser()
        .get(&format!("{}&prompt=none", authorize_at("store")))
        .await;
    let query = silent.location().1;
    assert_eq!(
        (query["error"].as_str(), query["error_reason"].as_str()),
        ("login_required", "authentication_required")
    );
}

#[tokio::test]
async fn token_deletion_requires_the_api_key_or_its_owner() {
    let setup = fusionauth_settings(true, None).await;
    let mut browser = setup.browser();
    let (_, alices) = login(&setup, &mut browser, "alice", "store").await;
    let (_, bobs) = login(&setup, &mut setup.browser(), "bob", "store").await;
    let bearer = |tokens: &Value| format!("Bearer {}", text(&tokens["access_token"]));
    let by_value = format!("token={}", text(&alices["refresh_token"]));
    let by_id = format!("/api/jwt/refresh/{}", text(&alices["refresh_token_id"]));
    let all = "/api/jwt/refresh?userId=user-1001";
    for (path, authorization, body, status) in [
        ("/api/jwt/refresh", String::new(), by_value.as_str(), 401),
        ("/api/jwt/refresh", "Bearer x".to_owned(), &by_value, 401),
        ("/api/jwt/refresh", "another key".to_owned(), &by_value, 401),
        ("/api/jwt/refresh", bearer(&bobs), &by_value, 401),
        (&by_id, bearer(&bobs), "", 401),
        (all, bearer(&alices), "", 401),
        ("/api/jwt/refresh", KEY.to_owned(), "token=unknown", 404),
        ("/api/jwt/refresh", KEY.to_owned(), "", 400),
    ] {
        assert_eq!(
            api(&setup, "DELETE", path, &authorization, body)
                .await
                .status,
            status,
            "{path} {authorization}"
        );
    }
    let response = refresh(&setup, "store", text(&alices["refresh_token"]))
        .await
        .json();
    let newest = text(&response["refresh_token"]);
    assert_eq!(
        api(
            &setup,
            "DELETE",
            "/api/jwt/refresh",
            &bearer(&response),
            &format!("token={newest}")
        )
        .await
        .status,
        200
    );
    assert_eq!(refresh(&setup, "store", newest).await.status, 400);
    assert_eq!(
        refresh(&setup, "store", text(&bobs["refresh_token"]))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn logout_and_token_revocation_are_independent() {
    let setup = fusionauth_settings(false, None).await;
    let mut browser = setup.browser();
    let (_, tokens) = login(&setup, &mut browser, "alice", "store").await;
    let back = form_urlencoded::byte_serialize(SIGNED_OUT.as_bytes()).collect::<String>();
    let path = format!(
        "/oauth2/logout?client_id=store&tenantId={TENANT}&post_logout_redirect_uri={back}&state=s"
    );
    let reply = browser.get(&path).await;
    assert_eq!(
        (
            reply.status.as_u16(),
            reply.location().0.as_str(),
            reply.location().1["state"].as_str()
        ),
        (302, SIGNED_OUT, "s")
    );
    assert_eq!(
        browser.get(&authorize_at("store")).await.status,
        200,
        "a form"
    );
    assert_eq!(
        refresh(&setup, "store", text(&tokens["refresh_token"]))
            .await
            .status,
        200
    );
    let elsewhere = browser
        .get("/oauth2/logout?client_id=store&post_logout_redirect_uri=http://evil.localhost/")
        .await;
    assert_eq!(elsewhere.header("location"), "/");

    let (_, tokens) = login(&setup, &mut browser, "alice", "store").await;
    let body = json!({ "global": false, "refreshToken": tokens["refresh_token"] }).to_string();
    for _ in 0..2 {
        assert_eq!(
            api(&setup, "POST", "/api/logout", "", &body).await.status,
            200
        );
    }
    assert_eq!(
        refresh(&setup, "store", text(&tokens["refresh_token"]))
            .await
            .status,
        400
    );
    assert_eq!(
        browser.get(&authorize_at("store")).await.status,
        302,
        "signed on"
    );
}

/// Receives one webhook and responds with `status`. Returns its signature and its body.
async fn take(listener: &TcpListener, status: &str) -> (Value, Value, Vec<u8>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    let (head, body) = loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        request.extend_from_slice(&buffer[..read]);
        let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(request[..end].to_vec()).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        if request.len() >= end + 4 + length.parse::<usize>().unwrap() {
            break (head, request[end + 4..].to_vec());
        }
    };
    stream
        .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let signature = head
        .lines()
        .find_map(|line| line.strip_prefix("x-fusionauth-signature-jwt: "))
        .unwrap();
    (
        opened(&json!(signature)).1,
        serde_json::from_slice(&body).unwrap(),
        body,
    )
}

#[tokio::test]
async fn webhooks_are_signed_and_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let setup = fusionauth_settings(true, Some(&listener)).await;
    let (_, tokens) = login(&setup, &mut setup.browser(), "alice", "store").await;
    let body = json!({ "refreshToken": tokens["refresh_token"] }).to_string();
    api(&setup, "POST", "/api/logout", "", &body).await;
    let (_, first, _) = take(&listener, "500 No").await;
    let (signature, again, body) = take(&listener, "200 OK").await;
    assert_eq!(first, again, "the same event comes again");
    assert_eq!(
        signature["request_body_sha256"],
        STANDARD.encode(digest::digest(&digest::SHA256, &body))
    );
    let event = &again["event"];
    assert_eq!(
        (&event["type"], &event["tenantId"]),
        (&json!("jwt.refresh-token.revoke"), &json!(TENANT))
    );
    assert_eq!(
        (&event["createInstant"], &event["userId"]),
        (&json!(START * 1000), &json!("user-1001"))
    );
    assert_eq!(
        (&event["applicationId"], &event["refreshToken"]["id"]),
        (&json!("store"), &tokens["refresh_token_id"])
    );
    assert!(event["refreshToken"].get("token").is_none());

    login(&setup, &mut setup.browser(), "alice", "forum").await;
    assert_eq!(setup.provider.revoke_all_of("alice"), 1);
    let (_, all, _) = take(&listener, "204 No Content").await;
    assert_eq!(all["event"]["user"]["id"], "user-1001");
    assert!(
        all["event"].get("applicationId").is_none() && all["event"].get("refreshToken").is_none()
    );
    assert_eq!(
        setup.provider.revoke_all_of("alice"),
        0,
        "and no event is sent"
    );

    login(&setup, &mut setup.browser(), "bob", "forum").await;
    api(
        &setup,
        "DELETE",
        "/api/jwt/refresh?applicationId=forum",
        KEY,
        "",
    )
    .await;
    let (_, everybody, _) = take(&listener, "200 OK").await;
    assert_eq!(everybody["event"]["applicationId"], "forum");
    assert!(everybody["event"].get("userId").is_none());

    let (_, tokens) = login(&setup, &mut setup.browser(), "bob", "store").await;
    for _ in 0..2 {
        refresh(&setup, "store", text(&tokens["refresh_token"])).await;
    }
    let (_, reused, _) = take(&listener, "200 OK").await;
    assert_eq!(
        reused["event"]["refreshToken"]["id"], tokens["refresh_token_id"],
        "reuse revokes that token"
    );
}
