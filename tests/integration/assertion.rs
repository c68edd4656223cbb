//! Signed assertions: the app gets one for each user, verifies it with the published keys, and nobody else
//! can make one.

use std::path::Path;
use std::process::Command;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward::auth::assertion::{AssertionAlgorithm, AssertionKey};
use serde_json::{Value, json};

use crate::decisions::check::{Check, Dialect, cookies, decided_by};
use crate::support::assertions::CART;
use crate::support::backend::{Answer, Backend, Content};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::User;
use crate::support::replicas::Replicas;

const JWKS: &str = "/.doorward/jwks.json";

fn key(algorithm: AssertionAlgorithm) -> String {
    let text = AssertionKey::generate(algorithm).expect("randomness");
    text.to_string()
}

/// The store gets assertions, the forum does not.
fn setup(lines: &str) -> Setup {
    Setup::plain()
        .file("assertion.key", &key(AssertionAlgorithm::Es256))
        .more("[assertion]\nkey_files = [\"assertion.key\"]\n")
        .store(&format!("assertion = {{ {lines} }}"))
}

async fn published(doorward: &Doorward) -> Value {
    let spec = RequestSpec::new(Kind::Program, &doorward.store_url(JWKS));
    let page = doorward.browser().send(spec).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(
        page.header("content-type"),
        Some("application/jwk-set+json")
    );
    assert_eq!(page.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(page.header("vary"), None);
    assert!(!page.text().contains("\"d\""), "{page}");
    page.json()
}

fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

fn header(assertion: &str) -> Value {
    let (header, _) = assertion.split_once('.').expect("a JWT");
    serde_json::from_slice(&decoded(header)).expect("a header")
}

/// The claims of an assertion that a published key has signed.
fn verified(assertion: &str, keys: &Value) -> Value {
    let header = header(assertion);
    assert_eq!(header["typ"], "doorward-assertion+jwt");
    let mut published = keys["keys"].as_array().expect("keys").iter();
    let jwk = published.find(|jwk| jwk["kid"] == header["kid"]);
    let jwk = jwk.expect("a published key");
    assert_eq!((&jwk["alg"], &jwk["use"]), (&header["alg"], &json!("sig")));
    let (signed, signature) = assertion.rsplit_once('.').expect("a JWT");
    let (bytes, signature) = (signed.as_bytes(), decoded(signature));
    let member = |name: &str| decoded(jwk[name].as_str().expect("a member"));
    let verified = if header["alg"] == "ES256" {
        let point = [vec![4], member("x"), member("y")].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(bytes, &signature)
    } else {
        UnparsedPublicKey::new(&ED25519, member("x")).verify(bytes, &signature)
    };
    verified.expect("a signature");
    let (_, claims) = signed.split_once('.').expect("a JWT");
    serde_json::from_slice(&decoded(claims)).expect("claims")
}

fn received(doorward: &Doorward) -> Option<String> {
    let received = doorward.store.last();
    let all = received.head.all("doorward-assertion");
    assert!(all.len() <= 1, "{all:?}");
    all.first().map(|value| (*value).to_owned())
}

async fn opened(doorward: &Doorward, browser: &mut Browser, path: &str) -> Option<String> {
    let page = browser.visit(&doorward.store_url(path)).await;
    assert_eq!(page.status(), 200, "{page}");
    received(doorward)
}

#[tokio::test]
async fn assertion_is_signed_for_the_app_and_reused_for_half_its_lifetime() {
    // Each worker makes assertions of its own.
    let doorward = setup("claims = [\"email\", \"roles\", \"absent\"]");
    let doorward = doorward.server("workers = 1").start();
    let alice = User::new("alice", &["admin"]);
    doorward.provider.sign_in(alice);
    let mut browser = doorward.browser();
    let first = opened(&doorward, &mut browser, CART).await.unwrap();
    let keys = published(&doorward).await;
    let claims = verified(&first, &keys);
    let now = doorward.now().secs();
    assert_eq!(
        claims,
        json!({
            "iss": "http://store.localhost:8080",
            "aud": "store",
            "sub": "alice-id",
            "email": claims["email"],
            "roles": ["admin"],
            "iat": now,
            "exp": now + 60,
        })
    );
    assert!(claims["email"].as_str().unwrap().starts_with("alice@"));
    doorward.advance_secs(29);
    assert_eq!(opened(&doorward, &mut browser, CART).await.unwrap(), first);
    doorward.advance_secs(1);
    let second = opened(&doorward, &mut browser, CART).await.unwrap();
    assert_eq!(verified(&second, &keys)["iat"], now + 30);

    let mut bob = doorward.logged_in("bob", CART).await;
    let of_bob = opened(&doorward, &mut bob, CART).await.unwrap();
    assert_eq!(verified(&of_bob, &keys)["sub"], "bob-id");
    // Another app gets none, and publishes no keys.
    browser.visit(&doorward.forum_url("/")).await;
    let forum = doorward.forum.last();
    assert_eq!(forum.header("doorward-assertion"), None);
    let spec = RequestSpec::new(Kind::Program, &doorward.forum_url(JWKS));
    assert_eq!(doorward.browser().send(spec).await.status(), 404);
}

#[tokio::test]
async fn client_cannot_send_an_assertion() {
    let doorward = setup("").server("workers = 1").start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let genuine = opened(&doorward, &mut alice, CART).await.unwrap();
    for (browser, path, expected) in [
        (&mut doorward.browser(), "/public/x", None),
        (&mut alice, CART, Some(&genuine)),
    ] {
        let mut spec = RequestSpec::new(Kind::Program, &doorward.store_url(path));
        for name in [
            "Doorward-Assertion",
            "doorward_assertion",
            "DOORWARD-ASSERTION",
            "Doorward_Assertion",
        ] {
            spec = spec.header(name, "forged");
        }
        let spec = spec.header("Connection", "doorward-assertion");
        assert_eq!(browser.send(spec).await.status(), 200);
        assert_eq!(received(&doorward).as_ref(), expected);
        let raw = String::from_utf8_lossy(&doorward.store.last().head.raw).into_owned();
        assert!(!raw.contains("forged"), "{raw}");
    }
}

#[tokio::test]
async fn old_key_stays_published_after_a_rotation() {
    let doorward = setup("").start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let before = opened(&doorward, &mut alice, CART).await.unwrap();
    doorward.replace_file("next.key", &key(AssertionAlgorithm::EdDsa));
    doorward.edit("[\"assertion.key\"]", "[\"next.key\", \"assertion.key\"]");
    doorward.reload_changes().await;
    let keys = published(&doorward).await;
    assert_eq!(keys["keys"].as_array().expect("keys").len(), 2);
    let after = opened(&doorward, &mut alice, CART).await.unwrap();
    assert_ne!(header(&before)["kid"], header(&after)["kid"]);
    for assertion in [&before, &after] {
        assert_eq!(verified(assertion, &keys)["sub"], "alice-id");
    }
}

#[tokio::test]
async fn bound_assertion_belongs_to_one_request() {
    let wiki = Backend::start();
    let route = format!(
        "[[apps.store.routes]]\npath = \"/wiki/**\"\nstrip_prefix = \"/wiki\"\nupstream = \"{}\"",
        wiki.url()
    );
    let doorward = setup("bind_request = true").more(&route).start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let keys = published(&doorward).await;
    for (path, backend) in [("/a?b=c", &doorward.store), ("/wiki/a?b=c", &wiki)] {
        let page = alice.visit(&doorward.store_url(path)).await;
        assert_eq!(page.status(), 200, "{page}");
        let received = backend.last();
        let assertion = received.header("doorward-assertion").unwrap();
        let claims = verified(assertion, &keys);
        assert_eq!(claims["htm"], "GET");
        // The SHA-256 hash of `/a?b=c`: the app does not get the prefix of the route.
        let hash = "S9re76YepIVZjIHe26af-yhWq5bo08Ld1Ydgr1V-lTo";
        assert_eq!(claims["target_hash"], hash, "{path}");
    }
}

#[tokio::test]
async fn edge_gets_the_assertion_to_set() {
    let doorward = decided_by(setup("")).start();
    let alice = doorward.logged_in("alice", CART).await;
    let keys = published(&doorward).await;
    let check = Check::new(Dialect::ForwardAuth, CART);
    let cookies = cookies(&doorward, &alice);
    let reply = check.header("Cookie", &cookies).request(&doorward).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let assertion = reply.head.header("doorward-assertion").expect("a field");
    assert_eq!(verified(assertion, &keys)["sub"], "alice-id");
    let anonymous = Check::new(Dialect::ForwardAuth, "/public/x");
    let reply = anonymous.request(&doorward).await;
    assert_eq!(reply.head.header("doorward-assertion"), None);
    let removed = reply
        .head
        .header("doorward-remove-headers")
        .unwrap_or_default();
    assert!(removed.contains("doorward-assertion"), "{removed}");
}

/// An assertion by the clock of this machine, and the URL of its keys.
struct Sample {
    replicas: Replicas,
    assertion: String,
    jwks_url: String,
}

async fn sample(algorithm: AssertionAlgorithm) -> Sample {
    let setup = setup("").file("assertion.key", &key(algorithm));
    let replicas = Replicas::start(1, setup);
    let mut alice = replicas.logged_in(0, "alice", CART).await;
    let around = &replicas.around;
    let received = around.store.last();
    let assertion = received
        .header("doorward-assertion")
        .expect("one")
        .to_owned();
    let spec = RequestSpec::new(Kind::Program, &Replicas::store_url(JWKS));
    let keys = alice.send(spec).await.text();
    // Libraries cannot map the port of the store's URL.
    let served = Answer {
        body: Content::Bytes(keys.into_bytes()),
        ..Answer::default()
    };
    around.forum.response("/keys", served);
    Sample {
        jwks_url: format!("{}/keys", around.forum.url()),
        replicas,
        assertion,
    }
}

/// The example of the documentation in this language, for the store of the test.
fn example(language: &str, sample: &Sample) -> String {
    let page = include_str!("../../docs/assertion.md");
    let (_, block) = page
        .split_once(&format!("```{language}\n"))
        .expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    block
        .replace(
            "https://store.example.com/.doorward/jwks.json",
            &sample.jwks_url,
        )
        .replace("https://store.example.com", "http://store.localhost:8080")
}

/// The output of the program for the genuine assertion, and for one with another signature.
fn run(mut program: Command, sample: &Sample) -> (String, bool) {
    let (signed, _) = sample.assertion.rsplit_once('.').expect("a JWT");
    let forged = format!("{signed}.{}", "A".repeat(86));
    program.args([&sample.assertion, &forged]);
    let output = program.output().expect("the program starts");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    (text, output.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_example_verifies_assertions() {
    for algorithm in [AssertionAlgorithm::Es256, AssertionAlgorithm::EdDsa] {
        let sample = sample(algorithm).await;
        let code = example("python", &sample)
            + "\nimport sys\nprint(verified(sys.argv[1])['sub'])\n\
               try:\n    verified(sys.argv[2])\n    print('forged')\n\
               except jwt.InvalidSignatureError:\n    print('refused')\n";
        // The Debian package python3-jwt is there.
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", &code]);
        let expected = ("alice-id\nrefused".to_owned(), true);
        assert_eq!(run(python, &sample), expected);
        drop(sample.replicas);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_example_verifies_assertions() {
    for algorithm in [AssertionAlgorithm::Es256, AssertionAlgorithm::EdDsa] {
        let sample = sample(algorithm).await;
        let code = example("js", &sample).replace("export async", "async")
            + "\nconst [genuine, forged] = process.argv.slice(1);\n\
               console.log((await verified(genuine)).sub);\n\
               await verified(forged).then(() => console.log(\"forged\"), (error) => console.log(error.code));\n";
        let mut node = Command::new("node");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provider");
        node.current_dir(folder);
        node.args(["--input-type=module", "-e", &code]);
        let expected = "alice-id\nERR_JWS_SIGNATURE_VERIFICATION_FAILED".to_owned();
        assert_eq!(run(node, &sample), (expected, true));
        drop(sample.replicas);
    }
}
