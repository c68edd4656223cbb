//! A provider that answers badly, late, or not at all, over real connections.

mod clock;

use std::sync::Mutex;
use std::time::Instant;

use serde_json::json;
use url::Url;

use super::*;
use crate::oidc::cached::REMEMBER_FAILURE;
use crate::oidc::install_crypto;
use crate::oidc::jws::JwsError;
use crate::oidc::settings::ClientAuth;
use crate::oidc::testing::{FakeProvider, Reply, Seen, Signer, jwks, with};
use crate::types::oauth::{ClientId, ClientSecret, Issuer, Nonce, ProviderName};
use crate::types::time::{ManualClock, Timestamp};

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://login.example.com";

/// What the fake provider does about each path; changed by the tests as they go.
type Script = Arc<Mutex<Box<dyn Fn(&Seen) -> Option<Reply> + Send>>>;

/// An error's code, and the answer that leads to it.
type Case = (&'static str, Box<dyn Fn() -> Reply + Send>);

struct World {
    server: FakeProvider,
    provider: Arc<Provider>,
    clock: Arc<ManualClock>,
    script: Script,
    keys: Arc<Mutex<String>>,
}

impl World {
    async fn new() -> Self {
        Self::with_settings(|_| {}).await
    }

    async fn with_settings(change: impl FnOnce(&mut ProviderSettings)) -> Self {
        install_crypto();
        let script: Script = Arc::new(Mutex::new(Box::new(|_| None)));
        let keys = Arc::new(Mutex::new(jwks(&[Signer::es256("old").jwk()])));
        let (plan, published) = (Arc::clone(&script), Arc::clone(&keys));
        let server = FakeProvider::start(move |seen| {
            let special = (plan.lock().unwrap())(seen);
            special.unwrap_or_else(|| usual(seen, &published.lock().unwrap()))
        })
        .await;
        let discovery = Url::parse(&format!(
            "http://login.localhost:{}/d",
            server.address.port()
        ))
        .unwrap();
        let mut settings =
            ProviderSettings::at(ProviderName::new("login"), Issuer::new(ISSUER), discovery);
        change(&mut settings);
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_secs(NOW)));
        let provider = Provider::new(settings, Arc::clone(&clock) as Arc<dyn Clock>);
        Self {
            server,
            provider,
            clock,
            script,
            keys,
        }
    }

    fn on(&self, path: &'static str, reply: impl Fn() -> Reply + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(move |seen| (seen.path == path).then(&reply));
    }

    fn publish(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        *self.keys.lock().unwrap() = jwks(&keys);
    }

    fn client(&self) -> ClientSettings {
        let secret = ClientAuth::Post(ClientSecret::new("s3cret"));
        ClientSettings::new(
            ClientId::new("store"),
            secret,
            Url::parse("https://store.example.com/cb").unwrap(),
        )
    }

    async fn verify(&self, token: &str) -> Result<VerifiedToken, TokenRejected> {
        self.provider
            .verify_access_token(&self.client(), &AccessToken::new(token))
            .await
    }

    async fn refresh(&self) -> Result<TokenResponse, TokenError> {
        self.provider
            .refresh(&self.client(), &RefreshToken::new("rt"))
            .await
    }
}

fn usual(seen: &Seen, keys: &str) -> Reply {
    match seen.path.as_str() {
        "/d" => {
            let port = seen
                .head
                .lines()
                .find_map(|line| line.strip_prefix("host: login.localhost:"))
                .unwrap();
            Reply::Json(200, metadata(port).to_string())
        }
        "/keys" => Reply::Json(200, keys.to_owned()),
        "/token" => Reply::Json(200, r#"{"access_token":"at","token_type":"Bearer"}"#.into()),
        "/userinfo" => Reply::Json(200, r#"{"sub":"alice","email":"a@example.com"}"#.into()),
        "/revoke" => Reply::Json(200, String::new()),
        _ => Reply::Json(404, String::new()),
    }
}

fn metadata(port: &str) -> Value {
    let at = |path| format!("http://login.localhost:{port}/{path}");
    json!({
        "issuer": ISSUER, "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
        "jwks_uri": at("keys"), "userinfo_endpoint": at("userinfo"), "revocation_endpoint": at("revoke"),
    })
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "alice", "aud": "store", "exp": NOW + 60, "iat": NOW})
}

#[tokio::test]
async fn a_code_and_a_refresh_token_are_exchanged_in_one_call_each() {
    let world = World::new().await;
    let verifier = PkceVerifier::from_sealed("v".repeat(43));
    let code = AuthorizationCode::new("c&d");
    let tokens = world
        .provider
        .exchange_code(&world.client(), code, verifier)
        .await
        .unwrap();
    assert_eq!(tokens.access_token.expose(), "at");
    let seen = world.server.last("/token");
    for part in [
        "grant_type=authorization_code",
        "code=c%26d",
        "client_secret=s3cret",
        "code_verifier=vvv",
    ] {
        assert!(seen.body.contains(part), "{part} in {}", seen.body);
    }
    for field in ["referer:", "cookie:", "authorization:"] {
        assert!(!seen.head.to_lowercase().contains(field), "{field}");
    }
    world.refresh().await.unwrap();
    assert!(
        world
            .server
            .last("/token")
            .body
            .contains("grant_type=refresh_token&refresh_token=rt")
    );
    assert_eq!(
        (world.server.count("/token"), world.server.count("/d")),
        (2, 1)
    );
}

#[tokio::test]
async fn an_answer_gone_wrong_is_told_apart_by_what_it_means_for_the_token() {
    let world = World::with_settings(|settings| {
        settings.refresh_timeout = Duration::from_millis(300);
        settings.body_limit = 10_000;
    })
    .await;
    world.provider.metadata().await.unwrap();
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
            "token_response_malformed",
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
        world.on("/token", reply);
        let error = world.refresh().await.unwrap_err();
        assert_eq!(error.code(), code, "case {number}: {error}");
        let is_ambiguous = matches!(error, TokenError::TargetError(_));
        assert_eq!(
            is_ambiguous,
            code == "provider_no_response",
            "case {number}"
        );
        assert_eq!(
            world.server.count("/token"),
            number + 1,
            "a token call is never repeated"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    // Go CVE-2023-45289 and others: credentials that travel on.
    let world = World::new().await;
    let elsewhere = FakeProvider::start(|_| Reply::Json(200, String::from("{}"))).await;
    let location = format!("http://{}/stolen", elsewhere.address);
    for (status, path) in [
        (302, "/token"),
        (307, "/token"),
        (308, "/revoke"),
        (301, "/userinfo"),
    ] {
        let answer =
            format!("HTTP/1.1 {status} X\r\nlocation: {location}\r\nconnection: close\r\n\r\n")
                .into_bytes();
        world.on(path, move || Reply::Raw(answer.clone()));
        let (client, token) = (world.client(), RefreshToken::new("rt"));
        match path {
            "/token" => assert_eq!(
                world.refresh().await.unwrap_err().code(),
                "token_response_malformed"
            ),
            "/revoke" => {
                assert_eq!(
                    world
                        .provider
                        .revoke(&client, &token)
                        .await
                        .unwrap_err()
                        .code(),
                    "provider_status"
                );
            }
            _ => {
                let verdict = world
                    .provider
                    .userinfo(&AccessToken::new("at"), &Subject::new("alice"))
                    .await;
                assert_eq!(verdict.unwrap_err().code(), "provider_status");
            }
        }
    }
    assert_eq!(elsewhere.count("/stolen"), 0);
}

#[tokio::test]
async fn a_provider_that_is_not_there_got_nothing() {
    let world = World::new().await;
    world.provider.metadata().await.unwrap();
    let port = world.server.address.port();
    let World {
        server,
        provider,
        clock,
        ..
    } = world;
    drop(server);
    // The port stays free: a listener that shut just now is not taken over by this process.
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
        .refresh(&client, &RefreshToken::new("rt"))
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
    // What is no token at all is the token's fault, outage or not.
    let rejected = provider
        .verify_access_token(&client, &AccessToken::new("garbage"))
        .await
        .unwrap_err();
    assert_eq!(rejected, TokenRejected::Signature(JwsError::Malformed));
    drop(clock);
}

#[tokio::test]
async fn bad_discovery_documents_are_named_and_not_asked_for_again_at_once() {
    let world = World::new().await;
    let cases: [Case; 5] = [
        (
            "discovery_not_json",
            Box::new(|| Reply::Json(200, String::from("<!doctype html>"))),
        ),
        (
            "provider_status",
            Box::new(|| Reply::Json(500, String::from("{}"))),
        ),
        (
            "provider_response_too_large",
            Box::new(|| Reply::Json(200, " ".repeat(1024 * 1024 + 1))),
        ),
        (
            "discovery_issuer_mismatch",
            Box::new(|| {
                Reply::Json(
                    200,
                    with(
                        &metadata("1"),
                        "issuer",
                        Some(json!("https://evil.example")),
                    )
                    .to_string(),
                )
            }),
        ),
        (
            "discovery_endpoint_insecure",
            Box::new(|| {
                Reply::Json(
                    200,
                    with(
                        &metadata("1"),
                        "jwks_uri",
                        Some(json!("http://192.0.2.1/keys")),
                    )
                    .to_string(),
                )
            }),
        ),
    ];
    for (number, (code, reply)) in cases.into_iter().enumerate() {
        world.on("/d", reply);
        for _ in 0..3 {
            assert_eq!(world.provider.metadata().await.unwrap_err().code(), code);
        }
        assert_eq!(world.server.count("/d"), number + 1, "{code}");
        world.clock.advance(Duration::from_secs(2));
    }
    *world.script.lock().unwrap() = Box::new(|_| None);
    assert_eq!(
        world.provider.metadata().await.unwrap().issuer.as_str(),
        ISSUER
    );
}

#[tokio::test]
async fn many_callers_make_one_fetch() {
    let world = World::new().await;
    let calls = (0..20).map(|_| {
        let provider = Arc::clone(&world.provider);
        tokio::spawn(async move { provider.metadata().await.is_ok() })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap());
    }
    assert_eq!(world.server.count("/d"), 1);
}

#[tokio::test]
async fn a_rotated_key_is_found_and_a_flood_of_unknown_ones_is_not_passed_on() {
    let world = World::new().await;
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    world.publish(&[&old]);
    world.verify(&old.sign(&claims())).await.unwrap();
    let at_first = world.provider.keys().unwrap();
    world.publish(&[&old, &new]);
    world.clock.advance(Duration::from_secs(10));
    let token = world.verify(&new.sign(&claims())).await.unwrap();
    assert_eq!((token.kid(), world.server.count("/keys")), (Some("new"), 2));
    assert!(
        !at_first.contains(&token.key()) && world.provider.keys().unwrap().contains(&token.key())
    );
    for number in 0..50 {
        let stranger = Signer::es256(&format!("unknown-{number}"));
        let rejected = world.verify(&stranger.sign(&claims())).await.unwrap_err();
        assert_eq!(rejected, TokenRejected::Signature(JwsError::UnknownKey));
    }
    assert_eq!(world.server.count("/keys"), 2, "rate-limited");
    world.clock.advance(Duration::from_secs(10));
    world
        .verify(&Signer::es256("unknown").sign(&claims()))
        .await
        .unwrap_err();
    world
        .verify(&Signer::es256("unknown").sign(&claims()))
        .await
        .unwrap_err();
    assert_eq!(world.server.count("/keys"), 3);
}

#[tokio::test]
async fn the_last_good_keys_outlive_a_bad_answer() {
    let world = World::new().await;
    let good = Signer::es256("good");
    world.publish(&[&good]);
    world.verify(&good.sign(&claims())).await.unwrap();
    for (status, reply) in [
        (200, "<html>"),
        (200, r#"{"keys":[]}"#),
        (200, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#),
        (500, r#"{"keys":[]}"#),
        (503, "down"),
    ] {
        world.on("/keys", move || Reply::Json(status, String::from(reply)));
        world.clock.advance(Duration::from_secs(10));
        let unknown = world
            .verify(&Signer::es256("unknown").sign(&claims()))
            .await
            .unwrap_err();
        assert!(unknown.is_outage(), "{unknown}");
        assert!(
            world
                .verify(&good.sign(&with(&claims(), "exp", Some(json!(NOW + 600)))))
                .await
                .is_ok()
        );
    }
}

#[tokio::test]
async fn a_provider_that_comes_back_with_another_key_is_followed_at_once() {
    let world = World::new().await;
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    world.publish(&[&old]);
    world.verify(&old.sign(&claims())).await.unwrap();
    world.publish(&[&new]);
    world.on("/keys", || Reply::Json(503, String::new()));
    world.clock.advance(Duration::from_secs(10));
    assert!(
        world
            .verify(&new.sign(&claims()))
            .await
            .unwrap_err()
            .is_outage()
    );
    *world.script.lock().unwrap() = Box::new(|_| None);
    assert!(
        world
            .verify(&new.sign(&claims()))
            .await
            .unwrap_err()
            .is_outage(),
        "it is not hammered"
    );
    world.clock.advance(REMEMBER_FAILURE);
    let token = world.verify(&new.sign(&claims())).await.unwrap();
    assert_eq!(
        world.verify(&old.sign(&claims())).await.unwrap_err().code(),
        "token_key_unknown"
    );
    assert!(world.provider.keys().unwrap().contains(&token.key()));
}

#[tokio::test]
async fn the_keys_are_kept_fresh_while_discovery_fails_and_the_other_way_round() {
    let world = World::new().await;
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    world.publish(&[&old]);
    world.provider.freshen().await.unwrap();
    world.on("/d", || Reply::Json(500, String::new()));
    world.publish(&[&new]);
    assert_eq!(
        world.provider.freshen().await.unwrap_err().code(),
        "provider_status"
    );
    assert!(
        world.provider.keys().unwrap().has_kid("new") && world.provider.known_metadata().is_some()
    );
    world.on("/keys", || Reply::Json(500, String::new()));
    let before = world.server.count("/d");
    assert_eq!(
        world.provider.freshen().await.unwrap_err().code(),
        "provider_status"
    );
    assert!(
        world.provider.keys().unwrap().has_kid("new") && world.server.count("/d") == before + 1
    );
}

#[tokio::test]
async fn bad_keys_beside_good_ones_do_no_harm() {
    let world = World::new().await;
    let good = Signer::new("good", crate::oidc::jws::Algorithm::Rs256);
    let bad = [
        json!({"kty": "oct", "k": "AAAA", "kid": "good"}),
        json!(null),
        json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
    ];
    *world.keys.lock().unwrap() = jwks(&[&bad[..], &[good.jwk()]].concat());
    world.verify(&good.sign(&claims())).await.unwrap();
    assert_eq!(world.provider.keys().unwrap().skipped().len(), 3);
}

#[tokio::test]
async fn an_id_token_is_verified_for_one_login_and_one_client() {
    let world = World::new().await;
    let signer = Signer::es256("k");
    world.publish(&[&signer]);
    let token = IdToken::new(signer.sign(&with(&claims(), "nonce", Some(json!("n")))));
    let (right, wrong) = (Nonce::new("n"), Nonce::new("m"));
    let expect = |nonce| IdTokenExpectation {
        nonce: Some(nonce),
        ..Default::default()
    };
    let client = world.client();
    assert!(
        world
            .provider
            .verify_id_token(&client, &token, expect(&right))
            .await
            .is_ok()
    );
    let rejected = world
        .provider
        .verify_id_token(&client, &token, expect(&wrong))
        .await
        .unwrap_err();
    assert_eq!(
        (rejected.code(), rejected.is_outage()),
        ("token_nonce_mismatch", false)
    );
    // `audiences` is about access tokens: an ID token is for the client and nobody else.
    let mut other = world.client();
    other.client_id = ClientId::new("forum");
    other.audiences = vec![String::from("store")];
    let rejected = world
        .provider
        .verify_id_token(&other, &token, expect(&right))
        .await
        .unwrap_err();
    assert_eq!(rejected.code(), "token_audience_mismatch");
    world.clock.advance(Duration::from_secs(90));
    let rejected = world
        .provider
        .verify_id_token(&client, &token, expect(&right))
        .await
        .unwrap_err();
    assert_eq!(rejected.code(), "token_expired");
}

#[tokio::test]
async fn userinfo_is_about_the_same_person_and_sent_with_the_token() {
    let world = World::new().await;
    let (token, alice) = (AccessToken::new("at"), Subject::new("alice"));
    assert_eq!(
        world
            .provider
            .userinfo(&token, &alice)
            .await
            .unwrap()
            .get("email")
            .unwrap(),
        "a@example.com"
    );
    assert!(
        world
            .server
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
        world.on("/userinfo", move || Reply::Json(200, String::from(body)));
        assert_eq!(
            world
                .provider
                .userinfo(&token, &alice)
                .await
                .unwrap_err()
                .code(),
            code,
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_refresh_token_is_revoked_where_that_is_offered() {
    let world = World::new().await;
    let (client, token) = (world.client(), RefreshToken::new("rt"));
    assert_eq!(
        world.provider.revoke(&client, &token).await.unwrap(),
        Revoked::Done
    );
    let body = world.server.last("/revoke").body;
    assert!(
        body.contains("token=rt&token_type_hint=refresh_token") && body.contains("client_id=store"),
        "{body}"
    );
    let bare = World::new().await;
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
async fn a_provider_that_was_down_is_found_again_by_itself() {
    let world = World::new().await;
    world.on("/d", || Reply::Json(503, String::new()));
    let task = tokio::spawn(Arc::clone(&world.provider).keep_fresh());
    let until = |what: fn(&World) -> bool| {
        let world = &world;
        async move {
            let begun = Instant::now();
            while !what(world) && begun.elapsed() < Duration::from_secs(10) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            what(world)
        }
    };
    assert!(until(|world| world.server.count("/d") >= 1).await);
    assert!(world.provider.keys().is_none() && world.provider.known_metadata().is_none());
    *world.script.lock().unwrap() = Box::new(|_| None);
    assert!(until(|world| world.provider.keys().is_some()).await);
    task.abort();
}

#[tokio::test]
async fn plain_http_to_another_machine_is_not_even_tried() {
    let world = World::with_settings(|settings| {
        settings.discovery_url = Url::parse("http://login.example.com/d").unwrap();
    })
    .await;
    let error = world.provider.metadata().await.unwrap_err();
    assert_eq!(
        error,
        ProviderError::Insecure {
            endpoint: Endpoint::Discovery
        }
    );
}

#[tokio::test]
async fn every_call_can_be_spawned() {
    // A compile-time check: the control runtime has several threads.
    fn spawnable<F: Future + Send>(_: &F) {}
    let world = World::new().await;
    let (provider, client) = (&world.provider, world.client());
    let (access, id, refresh) = (
        AccessToken::new("a"),
        IdToken::new("i"),
        RefreshToken::new("r"),
    );
    let (code, verifier) = (
        AuthorizationCode::new("c"),
        PkceVerifier::from_entropy([0; 32]),
    );
    let alice = Subject::new("alice");
    spawnable(&provider.exchange_code(&client, code, verifier));
    spawnable(&provider.refresh(&client, &refresh));
    spawnable(&provider.revoke(&client, &refresh));
    spawnable(&provider.userinfo(&access, &alice));
    spawnable(&provider.verify_access_token(&client, &access));
    spawnable(&provider.verify_id_token(&client, &id, IdTokenExpectation::default()));
    assert_eq!(
        world.server.count("/d"),
        0,
        "nothing is asked before a call is awaited"
    );
}
