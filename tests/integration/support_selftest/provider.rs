//! The fake provider conforms by default and otherwise has exactly the configured fault.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use doorward::types::time::{ManualClock, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::flow::{Flow, claims, parameter};
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::gate::Gate;
use crate::support::provider::{
    Client, Endpoint, ExpiresIn, FakeProvider, Fault, IssParameter, RefreshRefusal, TokenStatus,
    User,
};

const STORE: &str = "http://store.localhost:8080";

pub(super) fn start() -> (FakeProvider, Flow) {
    let clock = Arc::new(ManualClock::starting_at(Timestamp::from_secs(
        1_800_000_000,
    )));
    let provider = FakeProvider::start(clock);
    provider.register(Client::of_app("store", STORE));
    provider.sign_in(User::new("alice", &["buyer"]).with_claim("department", json!("sales")));
    let flow = Flow {
        authorize: provider.url(Endpoint::Authorize),
        token: provider.url(Endpoint::Token),
        client_id: "store",
        secret: "store-secret".to_owned(),
        redirect_uri: format!("{STORE}/.doorward/callback"),
    };
    (provider, flow)
}

fn browser() -> Browser {
    Browser::new(Arc::new(SystemClock))
}

async fn callback(flow: &Flow) -> String {
    let page = browser().step(&flow.authorize_url()).await;
    page.header("location")
        .unwrap_or_else(|| panic!("{page}"))
        .to_owned()
}

pub(super) async fn log_in(flow: &Flow) -> Value {
    let code = parameter(&callback(flow).await, "code").unwrap();
    let page = flow.exchange(&code).await;
    assert_eq!(page.status(), 200, "{page}");
    page.json()
}

async fn get(url: &str) -> Page {
    browser().send(RequestSpec::new(Kind::Program, url)).await
}

fn refused(page: &Page, error: &str) {
    assert_eq!(
        (page.status(), page.json()["error"].as_str()),
        (400, Some(error)),
        "{page}"
    );
}

#[tokio::test]
async fn login_and_refresh_work() {
    let (provider, flow) = start();
    let back = callback(&flow).await;
    assert_eq!(parameter(&back, "state").as_deref(), Some("the-state"));
    assert_eq!(parameter(&back, "iss").as_deref(), Some(provider.issuer()));
    let tokens = log_in(&flow).await;
    let id = claims(&tokens["id_token"]);
    assert_eq!(
        (id["nonce"].as_str(), id["aud"].as_str(), id["sub"].as_str()),
        (Some("the-nonce"), Some("store"), Some("alice-id"))
    );
    assert_eq!(
        id["exp"].as_u64().unwrap() - id["iat"].as_u64().unwrap(),
        300
    );
    assert_eq!(claims(&tokens["access_token"])["department"], "sales");
    let old = tokens["refresh_token"].as_str().unwrap();
    let refreshed = flow.refresh(old).await.json();
    assert_ne!(refreshed["refresh_token"], tokens["refresh_token"]);
    assert_eq!(claims(&refreshed["id_token"]).get("nonce"), None);
    provider.assert_no_dead_refresh_token_was_sent();
    assert_eq!(
        (
            provider.grants("authorization_code"),
            provider.grants("refresh_token")
        ),
        (1, 1)
    );
    let secrets = provider.secrets();
    assert!(
        secrets.contains(&old.to_owned())
            && secrets.contains(&refreshed["id_token"].as_str().unwrap().to_owned())
    );
    let bearer = format!("Bearer {}", refreshed["access_token"].as_str().unwrap());
    let asked = RequestSpec::new(Kind::Program, &provider.url(Endpoint::Userinfo))
        .header("Authorization", &bearer);
    assert_eq!(
        browser().send(asked).await.json()["email"],
        "alice@example.com"
    );
    assert_eq!(get(&provider.url(Endpoint::Userinfo)).await.status(), 401);
}

#[tokio::test]
async fn consumed_refresh_token_ends_the_family() {
    let (provider, flow) = start();
    let first = log_in(&flow).await["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let second = flow.refresh(&first).await.json()["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let stranger = Flow {
        client_id: "forum",
        secret: "forum-secret".to_owned(),
        ..start().1
    };
    provider.register(Client::of_app("forum", "http://forum.localhost:8080"));
    let stranger = Flow {
        token: flow.token.clone(),
        ..stranger
    };
    refused(&stranger.refresh(&second).await, "invalid_grant");
    assert!(provider.is_live(&second));
    refused(&flow.refresh(&first).await, "invalid_grant");
    refused(&flow.refresh(&second).await, "invalid_grant");
    refused(&flow.refresh("invented").await, "invalid_grant");
    let statuses: Vec<TokenStatus> = provider
        .presented()
        .iter()
        .map(|presented| presented.status)
        .collect();
    assert_eq!(
        statuses,
        [
            TokenStatus::Live,
            TokenStatus::Live,
            TokenStatus::Consumed,
            TokenStatus::Revoked,
            TokenStatus::Unknown
        ]
    );
    let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        provider.assert_no_dead_refresh_token_was_sent()
    }));
    assert!(noticed.is_err());
    provider.behave(|b| b.detects_reuse = false);
    let first = log_in(&flow).await["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    for _ in 0..2 {
        assert_eq!(flow.refresh(&first).await.status(), 200);
    }
}

#[tokio::test]
async fn introspection_requires_a_client() {
    let (provider, flow) = start();
    let url = provider.url(Endpoint::Introspection);
    let token = provider.opaque_token(&json!({ "scope": null, "sub": "carol-id" }));
    let told = async |flow: &Flow, token: &str| {
        browser()
            .send(flow.request(&url, &[("token", token)]))
            .await
    };
    let response = told(&flow, &token).await.json();
    assert_eq!(
        (&response["active"], &response["sub"], response.get("scope")),
        (&json!(true), &json!("carol-id"), None)
    );
    assert_eq!(
        told(&flow, "invented").await.json(),
        json!({ "active": false })
    );
    provider.forget_opaque_token(&token);
    assert_eq!(told(&flow, &token).await.json(), json!({ "active": false }));
    let wrong = Flow {
        secret: "wrong".to_owned(),
        ..flow
    };
    assert_eq!(told(&wrong, &token).await.status(), 401);
}

#[tokio::test]
async fn codes_are_bound_and_single_use() {
    let (provider, flow) = start();
    let code = parameter(&callback(&flow).await, "code").unwrap();
    let bad = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", &flow.redirect_uri),
        ("code_verifier", "wrong"),
    ];
    refused(&flow.call(&bad).await, "invalid_grant");
    let code = parameter(&callback(&flow).await, "code").unwrap();
    let token = flow.exchange(&code).await.json()["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    refused(&flow.exchange(&code).await, "invalid_grant");
    assert!(!provider.is_live(&token));
    refused(
        &flow.call(&[("grant_type", "device_code")]).await,
        "unsupported_grant_type",
    );
    let wrong = Flow {
        secret: "wrong".to_owned(),
        ..flow
    };
    assert_eq!(wrong.refresh("x").await.status(), 401);
    let by_body = [
        ("client_id", "store"),
        ("client_secret", "store-secret"),
        ("grant_type", "refresh_token"),
        ("refresh_token", "x"),
    ];
    let request = wrong.request(&wrong.token, &by_body);
    let request = RequestSpec {
        headers: request
            .headers
            .into_iter()
            .filter(|(name, _)| name != "Authorization")
            .collect(),
        ..request
    };
    refused(&browser().send(request).await, "invalid_grant");
}

#[tokio::test]
async fn authorization_endpoint_rejects_invalid_requests() {
    let (provider, flow) = start();
    let good = flow.authorize_url();
    for (from, to) in [
        ("client_id=store", "client_id=nobody"),
        ("%2Fcallback", "%2Felsewhere"),
    ] {
        assert_eq!(
            browser().step(&good.replace(from, to)).await.status(),
            400,
            "{to}"
        );
    }
    let cases = [
        (
            "response_type=code",
            "response_type=token",
            "unsupported_response_type",
        ),
        ("S256", "plain", "invalid_request"),
        ("scope=openid", "scope=email", "invalid_request"),
    ];
    for (from, to, error) in cases {
        let page = browser().step(&good.replace(from, to)).await;
        assert_eq!(
            parameter(page.header("location").unwrap(), "error").as_deref(),
            Some(error),
            "{to}"
        );
    }
    provider.behave(|b| b.authorize_error = Some("access_denied"));
    assert_eq!(
        parameter(&callback(&flow).await, "error").as_deref(),
        Some("access_denied")
    );
    provider.behave(|b| b.authorize_error = None);
    provider.sign_out();
    let silently = browser().step(&format!("{good}&prompt=none")).await;
    assert_eq!(
        parameter(silently.header("location").unwrap(), "error").as_deref(),
        Some("login_required")
    );
    assert_eq!(
        (
            browser().visit(&good).await.status(),
            provider.forms_shown()
        ),
        (200, 1)
    );
}

#[tokio::test]
async fn callback_can_carry_extra_parameters_or_wrong_issuer() {
    let (provider, flow) = start();
    provider.behave(|b| {
        b.iss_parameter = IssParameter::Wrong;
        b.extra_callback_parameters = vec![("session_state".to_owned(), "x y".to_owned())];
    });
    let back = callback(&flow).await;
    assert_eq!(
        parameter(&back, "iss").as_deref(),
        Some("https://somebody.else.test")
    );
    assert_eq!(parameter(&back, "session_state").as_deref(), Some("x y"));
    provider.behave(|b| b.iss_parameter = IssParameter::Missing);
    assert_eq!(parameter(&callback(&flow).await, "iss"), None);
}

#[tokio::test]
async fn responses_can_omit_optional_members() {
    let (provider, flow) = start();
    provider.behave(|b| {
        b.grants_refresh_token = false;
        b.opaque_access_token = true;
        b.expires_in = ExpiresIn::Missing;
    });
    let bare = log_in(&flow).await;
    assert_eq!(
        (bare.get("refresh_token"), bare.get("expires_in")),
        (None, None)
    );
    assert!(!bare["access_token"].as_str().unwrap().contains('.'));
    provider.behave(|b| {
        b.grants_refresh_token = true;
        b.rotates_refresh_tokens = false;
        b.refresh_brings_id_token = false;
        b.expires_in = ExpiresIn::Seconds(7);
        b.opaque_access_token = false;
        b.access_token_audience = Some("api".to_owned());
        b.refreshed_sub = Some("mallory".to_owned());
    });
    let token = log_in(&flow).await["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    for _ in 0..2 {
        let refreshed = flow.refresh(&token).await.json();
        assert_eq!(
            (refreshed.get("refresh_token"), refreshed.get("id_token")),
            (None, None)
        );
        assert_eq!(refreshed["expires_in"], 7);
        let access = claims(&refreshed["access_token"]);
        assert_eq!(
            (access["aud"].as_str(), access["sub"].as_str()),
            (Some("api"), Some("mallory"))
        );
    }
    provider.behave(|b| {
        b.refresh_refusal = Some(RefreshRefusal {
            status: 404,
            error: None,
        })
    });
    assert_eq!(flow.refresh(&token).await.status(), 404);
    provider.behave(|b| {
        b.refresh_refusal = Some(RefreshRefusal {
            status: 400,
            error: Some("invalid_grant"),
        })
    });
    refused(&flow.refresh(&token).await, "invalid_grant");
}

#[tokio::test]
async fn discovery_and_keys_are_served() {
    let (provider, _flow) = start();
    let document = get(&provider.url(Endpoint::Discovery)).await.json();
    assert_eq!(document["issuer"], provider.issuer());
    for name in [
        "end_session_endpoint",
        "revocation_endpoint",
        "userinfo_endpoint",
    ] {
        assert!(document[name].is_string(), "{name}");
    }
    provider.behave(|b| {
        b.discovery_issuer = Some("https://else.test".to_owned());
        b.has_end_session = false;
        b.has_revocation = false;
        b.has_userinfo = false;
        b.junk_in_jwks = true;
    });
    let poorer = get(&provider.url(Endpoint::Discovery)).await.json();
    assert_eq!(poorer["issuer"], "https://else.test");
    assert_eq!(
        (
            poorer.get("end_session_endpoint"),
            poorer.get("revocation_endpoint")
        ),
        (None, None)
    );
    assert_eq!(get(&provider.url(Endpoint::EndSession)).await.status(), 404);
    let kids = async || {
        let set = get(&provider.url(Endpoint::Jwks)).await.json();
        let keys = set["keys"].as_array().unwrap().clone();
        keys.iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = kids().await;
    provider.rotate_keys(true);
    let both = kids().await;
    provider.rotate_keys(false);
    assert_eq!((before.len(), both.len(), kids().await.len()), (2, 3, 2));
    assert_eq!((before[0].as_str(), &both[..2]), ("junk", &before[..]));
    assert_eq!(provider.calls(Endpoint::Jwks), 3);
}

#[tokio::test]
async fn logout_and_revocation_end_the_grant() {
    let (provider, flow) = start();
    let tokens = log_in(&flow).await;
    let token = tokens["refresh_token"].as_str().unwrap();
    let revoke = flow.request(&provider.url(Endpoint::Revocation), &[("token", token)]);
    assert_eq!(browser().send(revoke).await.status(), 200);
    assert_eq!(
        (provider.revoked(), provider.is_live(token)),
        (vec![token.to_owned()], false)
    );
    let tokens = log_in(&flow).await;
    let token = tokens["refresh_token"].as_str().unwrap();
    let end = |to: &str| {
        let hint = tokens["id_token"].as_str().unwrap();
        format!(
            "{}?id_token_hint={hint}&post_logout_redirect_uri={to}",
            provider.url(Endpoint::EndSession)
        )
    };
    assert_eq!(
        browser().step(&end("http://evil.test/")).await.status(),
        400
    );
    assert!(!provider.is_live(token));
    let back = browser()
        .step(&format!(
            "{}&state=s",
            end(&format!("{STORE}/.doorward/signed-out"))
        ))
        .await;
    assert_eq!(
        back.header("location"),
        Some("http://store.localhost:8080/.doorward/signed-out?state=s")
    );
    assert_eq!(get(&provider.url(Endpoint::EndSession)).await.status(), 200);
    browser().visit(&flow.authorize_url()).await;
    assert_eq!(provider.forms_shown(), 1);
    provider.sign_in(User::new("bob", &["admin"]));
    let token = log_in(&flow).await["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    provider.end_grants_of("bob-id");
    refused(&flow.refresh(&token).await, "invalid_grant");
}

#[tokio::test]
async fn every_fault_occurs_and_heals() {
    let (mut provider, flow) = start();
    let url = provider.url(Endpoint::Jwks);
    provider.fault(Endpoint::Jwks, Fault::Html);
    assert!(
        get(&url)
            .await
            .header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    provider.fault_once(Endpoint::Jwks, Fault::Status(503));
    assert_eq!(
        (get(&url).await.status(), get(&url).await.status()),
        (503, 200)
    );
    provider.fault(Endpoint::Jwks, Fault::Huge(3_000_000));
    assert!(get(&url).await.body.len() > 3_000_000);
    provider.fault(Endpoint::Jwks, Fault::BrokenJson);
    assert!(serde_json::from_slice::<Value>(&get(&url).await.body).is_err());
    provider.fault(Endpoint::Jwks, Fault::CutBefore);
    assert!(
        browser()
            .try_send(RequestSpec::new(Kind::Program, &url))
            .await
            .is_err()
    );
    provider.fault(Endpoint::Jwks, Fault::Slow(Duration::from_millis(20)));
    assert_eq!(get(&url).await.status(), 200);
    provider.heal(Endpoint::Jwks);
    assert!(get(&url).await.json()["keys"].is_array());

    let token = log_in(&flow).await["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    provider.fault_once(Endpoint::Token, Fault::CutAfter);
    let cut = flow.request(
        &flow.token,
        &[("grant_type", "refresh_token"), ("refresh_token", &token)],
    );
    assert!(browser().try_send(cut).await.is_err());
    assert!(
        !provider.is_live(&token),
        "the answer was lost, the rotation was not"
    );

    let gate = Gate::default();
    provider.fault_once(Endpoint::Token, Fault::Held(gate.clone()));
    let held = tokio::spawn(async move { flow.refresh("x").await.status() });
    gate.reached(1).await;
    gate.open();
    assert_eq!(held.await.unwrap(), 400);

    provider.stop();
    let down = browser()
        .try_send(RequestSpec::new(Kind::Program, &url))
        .await;
    assert_eq!(down.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    provider.restart();
    assert_eq!(get(&url).await.status(), 200);
    let named = FakeProvider::start_as("login.localhost", Arc::new(SystemClock));
    let document = get(&named.url(Endpoint::Discovery)).await.json();
    assert!(
        document["issuer"]
            .as_str()
            .unwrap()
            .starts_with("http://login.localhost:")
    );
}
