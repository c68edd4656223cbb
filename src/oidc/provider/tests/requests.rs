//! Requests to the provider: success, errors, redirects and plain http.

use std::time::UNIX_EPOCH;

use super::*;
use crate::oidc::SecurityProfile;
use crate::oidc::discovery::PlainHttp;
use crate::oidc::error::{Endpoint, ProviderError};

#[tokio::test]
async fn profile_requires_iss_whatever_the_metadata_say() {
    for (profile, announced, expected) in [
        (None, false, false),
        (None, true, true),
        (Some(SecurityProfile::Fapi2), false, true),
        (Some(SecurityProfile::Fapi2MessageSigning), false, true),
    ] {
        let test = TestProvider::with_settings(|settings| settings.profile = profile).await;
        let mut document = metadata("1");
        document["authorization_response_iss_parameter_supported"] = announced.into();
        let document = document.to_string();
        let issuer = Issuer::new(ISSUER);
        let metadata = Metadata::parse(document.as_bytes(), &issuer, PlainHttp::Anywhere).unwrap();
        assert_eq!(
            test.provider.requires_iss(&metadata),
            expected,
            "{profile:?} {announced}"
        );
    }
}

#[tokio::test]
async fn code_and_refresh_token_exchange_need_one_request_each() {
    let test = TestProvider::new().await;
    let verifier = PkceVerifier::from_sealed("v".repeat(43));
    let code = AuthorizationCode::new("c&d");
    let tokens = test
        .provider
        .exchange_code(&test.client(), code, verifier)
        .await
        .unwrap();
    assert_eq!(tokens.access_token.expose(), "at");
    let request = test.server.last("/token");
    for part in [
        "grant_type=authorization_code",
        "code=c%26d",
        "client_secret=s3cret",
        "code_verifier=vvv",
    ] {
        assert!(request.body.contains(part), "{part} in {}", request.body);
    }
    for field in ["referer:", "cookie:", "authorization:"] {
        assert!(!request.head.to_lowercase().contains(field), "{field}");
    }
    test.refresh().await.unwrap();
    assert!(
        test.server
            .last("/token")
            .body
            .contains("grant_type=refresh_token&refresh_token=rt")
    );
    assert_eq!(
        (test.server.count("/token"), test.server.count("/d")),
        (2, 1)
    );
}

#[tokio::test]
async fn refresh_errors_tell_whether_the_token_was_used() {
    let test = TestProvider::with_settings(|settings| {
        settings.refresh_timeout = Duration::from_millis(300);
        settings.body_limit = 10_000;
    })
    .await;
    test.provider.metadata().await.unwrap();
    let head = |rest: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{rest}").into_bytes()
    };
    let huge = [
        head("transfer-encoding: chunked\r\n\r\n8000\r\n"),
        vec![b' '; 0x8000],
    ]
    .concat();
    let cases: Vec<Case> = vec![
        (
            "provider_unavailable",
            Box::new(move || Reply::Raw(head("connection: close\r\n\r\n<html>"))),
        ),
        (
            "provider_unavailable",
            Box::new(|| Reply::Json(500, String::from("oops"))),
        ),
        (
            "token_response_malformed",
            Box::new(move || Reply::Stall(huge.clone())),
        ),
        (
            "token_response_malformed",
            Box::new(move || Reply::Stall(head("content-length: 10001\r\n\r\n"))),
        ),
        (
            "provider_no_response",
            Box::new(|| Reply::Stall(Vec::new())),
        ),
        (
            "provider_no_response",
            Box::new(move || Reply::Stall(head("content-length: 100\r\n\r\n{"))),
        ),
        ("provider_no_response", Box::new(|| Reply::Raw(Vec::new()))),
        (
            "provider_no_response",
            Box::new(move || Reply::Raw(head("content-length: 100\r\n\r\n{"))),
        ),
        (
            "provider_no_response",
            Box::new(|| Reply::Raw(b"SSH-2.0-OpenSSH\r\n".to_vec())),
        ),
    ];
    for (number, (code, reply)) in cases.into_iter().enumerate() {
        test.on("/token", reply);
        let error = test.refresh().await.unwrap_err();
        assert_eq!(error.code(), code, "case {number}: {error}");
        let is_unknown = matches!(error, TokenError::OutcomeUnknown(_));
        assert_eq!(is_unknown, code == "provider_no_response", "case {number}");
        assert_eq!(
            test.server.count("/token"),
            number + 1,
            "a token request was repeated"
        );
    }
}

#[tokio::test]
async fn invented_tokens_do_not_open_the_circuit_of_sessions() {
    let test = TestProvider::new().await;
    test.on("/token", || Reply::Json(500, String::new()));
    let client = test.client();
    for number in 0..6 {
        let token = RefreshToken::new(format!("junk{number}"));
        let refreshed = test
            .provider
            .refresh_plain(&client, BoundRefreshToken::unbound(&token))
            .await;
        let code = if number < 5 {
            "provider_unavailable"
        } else {
            "provider_circuit_open"
        };
        assert_eq!(refreshed.unwrap_err().code(), code, "{number}");
    }
    assert!(!test.provider.is_circuit_open());
    let refreshed = test.refresh().await;
    assert_eq!(refreshed.unwrap_err().code(), "provider_unavailable");
}

#[tokio::test]
async fn retry_after_is_read_in_both_forms() {
    let test = TestProvider::new().await;
    let now = test.provider.clock.now();
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now.secs() + 25));
    for (value, seconds) in [("7", Some(7)), (&date, Some(25)), ("soon", None)] {
        let reply = format!(
            "HTTP/1.1 503 X\r\nretry-after: {value}\r\ncontent-length: 0\r\n\
             connection: close\r\n\r\n"
        );
        test.on("/token", move || Reply::Raw(reply.clone().into_bytes()));
        let Err(TokenError::Unavailable { retry_after, .. }) = test.refresh().await else {
            panic!("not unavailable");
        };
        assert_eq!(retry_after.map(|after| after.as_secs()), seconds, "{value}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    // Credentials must not be forwarded to another host (Go CVE-2023-45289).
    let test = TestProvider::new().await;
    let elsewhere = FakeProvider::start(|_| Reply::Json(200, String::from("{}"))).await;
    let location = format!("http://{}/stolen", elsewhere.address);
    for (status, path) in [
        (302, "/token"),
        (307, "/token"),
        (308, "/revoke"),
        (301, "/userinfo"),
    ] {
        let reply =
            format!("HTTP/1.1 {status} X\r\nlocation: {location}\r\nconnection: close\r\n\r\n")
                .into_bytes();
        test.on(path, move || Reply::Raw(reply.clone()));
        let client = test.client();
        let token = RefreshToken::new("rt");
        match path {
            "/token" => assert_eq!(
                test.refresh().await.unwrap_err().code(),
                "provider_unavailable"
            ),
            "/revoke" => {
                assert_eq!(
                    test.provider
                        .revoke(&client, &token)
                        .await
                        .unwrap_err()
                        .code(),
                    "provider_status"
                );
            }
            _ => {
                let result = test
                    .provider
                    .userinfo(userinfo(
                        &test.client(),
                        &AccessToken::new("at"),
                        &Subject::new("alice"),
                    ))
                    .await;
                assert_eq!(result.unwrap_err().code(), "provider_status");
            }
        }
    }
    assert_eq!(elsewhere.count("/stolen"), 0);
}

#[tokio::test]
async fn unreachable_provider_received_nothing() {
    let test = TestProvider::new().await;
    test.provider.metadata().await.unwrap();
    let port = test.server.address.port();
    let TestProvider {
        server,
        provider,
        clock,
        ..
    } = test;
    drop(server);
    // Waits until the listener has closed its port.
    while tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .is_ok()
    {
        tokio::task::yield_now().await;
    }
    let client = ClientSettings::new(
        ClientId::new("a"),
        ClientAuth::None,
        Url::parse("https://a.example/cb").unwrap(),
    );
    let error = provider
        .refresh(
            &client,
            BoundRefreshToken::unbound(&RefreshToken::new("rt")),
        )
        .await
        .unwrap_err();
    assert!(matches!(&error, TokenError::Unreachable(_)), "{error}");
    assert_eq!(error.code(), "provider_unreachable");
    let signer = Signer::es256("k");
    let rejected = provider
        .verify_access_token(&client, &AccessToken::new(signer.sign(&claims())))
        .await
        .unwrap_err();
    assert!(rejected.is_outage(), "{rejected}");
    // A malformed token is rejected as such, also during an outage.
    let rejected = provider
        .verify_access_token(&client, &AccessToken::new("garbage"))
        .await
        .unwrap_err();
    assert_eq!(rejected, TokenRejected::Signature(JwsError::Malformed));
    drop(clock);
}

#[tokio::test]
async fn userinfo_requires_the_same_subject() {
    let test = TestProvider::new().await;
    let token = AccessToken::new("at");
    let alice = Subject::new("alice");
    assert_eq!(
        test.provider
            .userinfo(userinfo(&test.client(), &token, &alice))
            .await
            .unwrap()
            .get("email")
            .unwrap(),
        "a@example.com"
    );
    assert!(
        test.server
            .last("/userinfo")
            .head
            .to_lowercase()
            .contains("authorization: bearer at")
    );
    for (body, code) in [
        (r#"{"sub":"bob"}"#, "userinfo_subject_mismatch"),
        (r#"{"email":"a"}"#, "userinfo_subject_mismatch"),
        (r#"{"sub":["alice"]}"#, "userinfo_subject_mismatch"),
        (
            r#"{"sub":"bob","sub":"alice"}"#,
            "provider_response_not_json",
        ),
        ("eyJhbGciOiJub25lIn0.e30.", "provider_response_not_json"),
    ] {
        test.on("/userinfo", move || Reply::Json(200, String::from(body)));
        assert_eq!(
            test.provider
                .userinfo(userinfo(&test.client(), &token, &alice))
                .await
                .unwrap_err()
                .code(),
            code,
            "{body}"
        );
    }
}

#[tokio::test]
async fn revoke_uses_the_endpoint_if_offered() {
    let test = TestProvider::new().await;
    let client = test.client();
    let token = RefreshToken::new("rt");
    assert_eq!(
        test.provider.revoke(&client, &token).await.unwrap(),
        Revoked::Done
    );
    let body = test.server.last("/revoke").body;
    assert!(
        body.contains("token=rt&token_type_hint=refresh_token") && body.contains("client_id=store"),
        "{body}"
    );
    let bare = TestProvider::new().await;
    let port = bare.server.address.port().to_string();
    bare.on("/d", move || {
        Reply::Json(
            200,
            with(&metadata(&port), "revocation_endpoint", None).to_string(),
        )
    });
    assert_eq!(
        bare.provider.revoke(&client, &token).await.unwrap(),
        Revoked::NotOffered
    );
}

#[tokio::test]
async fn plain_http_to_another_host_is_not_attempted() {
    let test = TestProvider::with_settings(|settings| {
        settings.discovery_url = Url::parse("http://login.example.com/d").unwrap();
    })
    .await;
    let error = test.provider.metadata().await.unwrap_err();
    assert_eq!(
        error,
        ProviderError::Insecure {
            endpoint: Endpoint::Discovery,
            url: String::from("http://login.example.com/d"),
        }
    );
}

#[tokio::test]
async fn every_request_future_is_send() {
    // A compile-time check: the background runtime has several threads.
    fn spawnable<F: Future + Send>(_: &F) {}
    let test = TestProvider::new().await;
    let provider = &test.provider;
    let client = test.client();
    let access = AccessToken::new("a");
    let id = IdToken::new("i");
    let refresh = RefreshToken::new("r");
    let code = AuthorizationCode::new("c");
    let verifier = PkceVerifier::from_entropy([0; 32]);
    let alice = Subject::new("alice");
    spawnable(&provider.exchange_code(&client, code, verifier));
    spawnable(&provider.refresh(&client, BoundRefreshToken::unbound(&refresh)));
    spawnable(&provider.revoke(&client, &refresh));
    spawnable(&provider.userinfo(userinfo(&client, &access, &alice)));
    spawnable(&provider.verify_access_token(&client, &access));
    spawnable(&provider.verify_id_token(&client, &id, IdTokenExpectation::default()));
    assert_eq!(
        test.server.count("/d"),
        0,
        "a request was sent before the future was polled"
    );
}

fn userinfo<'r>(
    client: &'r ClientSettings,
    access_token: &'r AccessToken,
    subject: &'r Subject,
) -> UserinfoRequest<'r> {
    UserinfoRequest {
        client,
        access_token,
        dpop_key: None,
        subject,
    }
}
