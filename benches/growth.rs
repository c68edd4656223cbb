//! How costs grow with the number of revocations, rules, routes and apps, and what an API token that was
//! never seen costs: `cargo bench --bench growth`. With arguments, one of these: `revocations NUMBER`,
//! `rules NUMBER`, `routes NUMBER`, `hosts NUMBER` or `paths NUMBER` (apps by host and by path), or
//! `tokens NUMBER`. The last does the same work for each token, so that callgrind can count its
//! instructions.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints its result, and panics if it cannot start"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward::auth::bearer::token_identity::{IdentityHeaders, TokenIdentity};
use doorward::config::{SealingKey, load};
use doorward::identity::claims::{ClaimSource, UnverifiedClaims};
use doorward::identity::identity::HeaderTemplate;
use doorward::oidc::Algorithm;
use doorward::oidc::jwks::KeySet;
use doorward::oidc::jws::{Jws, is_jwt};
use doorward::oidc::presented_token::{self, PresentedTokenProfile};
use doorward::policy::client_address::TrustedProxies;
use doorward::policy::path_pattern::PathPattern;
use doorward::policy::path_routes::{PathPrefix, PathRoute, PathRoutes, RoutePath};
use doorward::policy::request_info::RequestInfo;
use doorward::policy::route::{HostRouter, Route};
use doorward::policy::rules::{Access, AccessRequirement, AuthMethods, Rule, Rules};
use doorward::store::{Revocation, RevocationEvent, Revocations, SessionKeyRef};
use doorward::types::oauth::{ClientId, Issuer, SessionId, Subject};
use doorward::types::target::Target;
use doorward::types::time::Timestamp;
use http::{Method, Request};
use serde_json::json;

/// What is shipped uses it, and the memory of revocations depends on it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LIFE: Duration = Duration::from_secs(43_200);

/// How many of the last insertions are timed, and how often a look-up is repeated.
const TIMED: usize = 10_000;

fn main() {
    let arguments = std::env::args().skip(1);
    let arguments: Vec<String> = arguments.filter(|text| text != "--bench").collect();
    let number = || arguments.get(1).unwrap().parse().unwrap();
    match arguments.first().map(String::as_str) {
        Some("revocations") => revocations(number()),
        Some("rules") => rules(number()),
        Some("routes") => routes(number()),
        Some("hosts") => apps(number(), Placed::ByHost),
        Some("paths") => apps(number(), Placed::ByPath),
        Some("tokens") => tokens(number()),
        Some(other) => println!("unknown: {other}"),
        None => {
            [10_000, 100_000, 1_000_000]
                .into_iter()
                .for_each(revocations);
            [10, 100, 1000, 10_000].into_iter().for_each(rules);
            [1, 10, 100, 1000, 10_000].into_iter().for_each(routes);
            for placed in [Placed::ByHost, Placed::ByPath] {
                [1, 10, 100, 1000]
                    .into_iter()
                    .for_each(|number| apps(number, placed));
            }
            tokens(TIMED);
        }
    }
}

/// The memory of the process, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes / 1024
}

/// Revokes sessions of as many users, one by one.
fn revocations(number: usize) {
    let before = resident();
    let revocations = Revocations::new(number + 1, LIFE);
    let mut times = Vec::with_capacity(TIMED);
    for session in 0..number {
        let sid = SessionId::new(format!("abcdefghijklmnop{session:06}"));
        let user = Subject::new(format!("8d0c2a6e-4d5f-4a56-9d5c-{session:012}"));
        let revocation = Revocation::Session(sid, user);
        let event = RevocationEvent::new(revocation, NOW.plus(LIFE));
        let start = Instant::now();
        revocations.revoke_all([event], NOW);
        if session + TIMED >= number {
            times.push(start.elapsed());
        }
    }
    let memory = resident().saturating_sub(before);
    let (sid, user) = (SessionId::new("nobody"), Subject::new("nobody"));
    let start = Instant::now();
    for _ in 0..TIMED {
        black_box(revocations.snapshot().contains(SessionKeyRef {
            issuer: None,
            sid: black_box(&sid),
            provider_sid: None,
            subject: &user,
            started_at: NOW,
            order: None,
            is_access_token: false,
        }));
    }
    let look_up = start.elapsed() / TIMED as u32;
    let start = Instant::now();
    revocations.sweep(NOW);
    let sweep = start.elapsed();
    let sum: Duration = times.iter().sum();
    println!(
        "{number:>9} revocations: mean {:?}, worst {:?}, look-up {look_up:?}, sweep {sweep:?}, {memory} MiB",
        sum / times.len() as u32,
        times.iter().max().unwrap(),
    );
}

/// Matches the path of the last rule, and one of no rule.
fn rules(number: usize) {
    let rule = |index| Rule {
        name: None,
        paths: vec![PathPattern::parse(&format!("/area-{index}/**")).unwrap()],
        methods: Vec::new(),
        allow: AccessRequirement::new(Access::Authenticated, AuthMethods::SESSION),
        cors: None,
    };
    let start = Instant::now();
    let rules = Rules::new((0..number).map(rule).collect(), false, AuthMethods::SESSION);
    let built = start.elapsed();
    let last = format!("/area-{}/invoices/4711", number - 1);
    for path in [last.as_str(), "/elsewhere/invoices/4711"] {
        let target = Target::parse(path, None).unwrap();
        let start = Instant::now();
        for _ in 0..TIMED {
            black_box(rules.requirement(&Method::GET, black_box(&target)));
        }
        let matched = start.elapsed() / TIMED as u32;
        println!("{number:>9} rules: built in {built:?}, {path} {matched:?}");
    }
}

/// Finds the last route and the forwarded path, and the route of another path.
fn routes(number: usize) {
    let start = Instant::now();
    let mut routes = PathRoutes::new(false);
    for index in 0..number {
        let path = format!("/area-{index}");
        let route = PathRoute::new(RoutePath::parse(&format!("{path}/**")).unwrap());
        let strip_prefix = PathPrefix::parse(&path).unwrap();
        let route = PathRoute {
            strip_prefix,
            ..route
        };
        routes.insert(route).unwrap();
    }
    let built = start.elapsed();
    let last = format!("/area-{}/invoices/4711", number - 1);
    for path in [last.as_str(), "/elsewhere/invoices/4711"] {
        let target = Target::parse(path, None).unwrap();
        let found = time(|| {
            let found = routes.find(black_box(&target)).unwrap();
            black_box(found.map(|found| found.forwarded(&target)));
        });
        println!("{number:>9} routes: built in {built:?}, {path} {found:?}");
    }
}

/// Where apps are.
#[derive(Clone, Copy, Debug)]
enum Placed {
    ByHost,
    ByPath,
}

impl Placed {
    fn url(self, index: usize) -> String {
        match self {
            Self::ByHost => format!("https://app-{index}.example.com"),
            Self::ByPath => format!("https://example.com/app-{index}"),
        }
    }
}

/// Finds the last app, its rule and its route.
fn apps(number: usize, placed: Placed) {
    let folder = tempfile::tempdir().unwrap();
    let key = SealingKey::generate().unwrap();
    key.write_new(&folder.path().join("doorward.key")).unwrap();
    let mut text = "[session]\nkey_files = [\"doorward.key\"]\n[providers.login]\n\
                    issuer = \"https://login.example.com\"\n"
        .to_owned();
    for index in 0..number {
        let url = placed.url(index);
        text.push_str(&format!(
            "[apps.app-{index}]\nprovider = \"login\"\npublic_url = \"{url}\"\n\
             upstream = \"http://127.0.0.1:3000\"\nclient_id = \"app-{index}\"\n"
        ));
    }
    let file = folder.path().join("doorward.toml");
    std::fs::write(&file, text).unwrap();
    let start = Instant::now();
    let loaded = load(&file, []).unwrap();
    let apps = loaded.config.apps.into_iter();
    let router = HostRouter::new(apps.map(|app| Arc::new(app.policy)).collect());
    let built = start.elapsed();
    let url = format!("{}/invoices/4711", placed.url(number - 1));
    let url = url::Url::parse(&url).unwrap();
    let host = url.host_str().unwrap();
    let request = Request::builder().uri(url.path()).header("host", host);
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let client = "192.0.2.1".parse().unwrap();
    let info = RequestInfo::read(&parts, Some(client), &TrustedProxies::default()).unwrap();
    let found = time(|| {
        let found = router.find(black_box(&info));
        black_box(Route::of(found.as_ref(), &info));
    });
    assert!(router.find(&info).is_ok());
    println!("{number:>9} apps {placed:?}: loaded in {built:?}, the last {found:?}");
}

/// The mean time of a task that is repeated.
fn time(mut task: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..TIMED {
        task();
    }
    start.elapsed() / TIMED as u32
}

/// Verifies a token, checks its claims and makes the headers for the app, as often as `number`.
fn tokens(number: usize) {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({"kty": "RSA", "kid": "k", "alg": "RS256", "n": encode(&public.n), "e": encode(&public.e)});
    let keys = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    let claims = json!({
        "iss": "https://login.example.com", "aud": ["api", "account"], "sub": "8d0c2a6e-4d5f-4a56-9d5c-3c1f2d7b8a90",
        "exp": NOW.plus(LIFE).secs(), "iat": NOW.secs(), "jti": "4b8b8fa0-3f6c-4d0e-9a9f-1a2b3c4d5e6f", "azp": "spa",
        "scope": "openid profile email orders:read", "email": "alice@example.com", "email_verified": true,
        "preferred_username": "alice", "name": "Alice Example", "given_name": "Alice", "family_name": "Example",
        "realm_access": {"roles": ["user", "editor", "offline_access"]},
        "resource_access": {"account": {"roles": ["manage-account", "view-profile"]}},
    });
    let header = json!({"alg": "RS256", "kid": "k", "typ": "at+jwt"}).to_string();
    let input = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(claims.to_string().as_bytes())
    );
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        input.as_bytes(),
        &mut signature,
    )
    .unwrap();
    let token = format!("{input}.{}", encode(&signature));
    let (issuer, client_id) = (
        Issuer::new("https://login.example.com"),
        ClientId::new("shop"),
    );
    let audiences = ["api".to_owned()];
    let profile = PresentedTokenProfile {
        issuer: &issuer,
        audiences: &audiences,
        client_id: &client_id,
        mark: None,
        leeway: Duration::from_secs(30),
    };
    let template = |name, text| HeaderTemplate::parse(name, text).unwrap();
    let templates = [
        template("x-user", "{sub}"),
        template("x-email", "{email}"),
        template("x-roles", "{realm_access.roles}"),
    ];
    let client = template("x-client", "{client_id}");
    let start = Instant::now();
    for _ in 0..number {
        let token = black_box(token.as_str());
        assert!(is_jwt(token));
        let signed = Jws::parse(token, &Algorithm::ALL)
            .unwrap()
            .verify(&keys)
            .unwrap();
        let mut verified = presented_token::check(signed, profile, NOW).unwrap();
        let claims = verified.take_claims();
        let source = ClaimSource {
            provider: None,
            unverified: UnverifiedClaims::Absent,
        };
        let headers = IdentityHeaders {
            templates: &templates,
            client: &client,
        };
        black_box(TokenIdentity::new(
            verified.subject(),
            claims,
            source,
            headers,
        ));
    }
    println!(
        "{number:>9} tokens of {} bytes: {:?} each",
        token.len(),
        start.elapsed() / number as u32
    );
}
