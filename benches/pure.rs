//! Micro-benchmarks of the pure stages of a request: `cargo bench --bench pure`. `benches/run` measures whole
//! requests and compares them with other proxies.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start should panic"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use doorward::identity::claims::{ClaimSource, UnverifiedClaims};
use doorward::identity::identity::{HeaderTemplate, Identity};
use doorward::policy::app::{App, AppLogoutPolicy, OptionalEndpoints};
use doorward::policy::background_paths::BackgroundPaths;
use doorward::policy::client_address::TrustedProxies;
use doorward::policy::condition::Condition;
use doorward::policy::decide::{AccessContext, Caller, decide};
use doorward::policy::hosts::AppHosts;
use doorward::policy::login_providers::{LoginProvider, LoginProviders};
use doorward::policy::path_pattern::PathPattern;
use doorward::policy::request_info::RequestInfo;
use doorward::policy::route::{HostRouter, Route};
use doorward::policy::rule_lists::RuleLists;
use doorward::policy::rules::{Access, AccessRequirement, AuthMethods, Rule, Rules};
use doorward::session::client_continuity::UnboundSessions;
use doorward::session::cookie::{CookieNames, RequestCookies};
use doorward::session::jwt::{JwtCookie, PackedJwt, SessionJwt};
use doorward::session::seal::{Binding, Key, KeyRing, Seal, read_payload};
use doorward::session::validity::{
    Limits, LiveSession, PresentedSession, Session, ValidityContext, validate,
};
use doorward::types::app_paths::AppPaths;
use doorward::types::net::Origin;
use doorward::types::oauth::{
    AppName, ClientId, Generation, Issuer, KeyFingerprint, ProviderName, ProviderSid, SessionId,
    Subject,
};
use doorward::types::public_url::BasePath;
use doorward::types::secret::Secret;
use doorward::types::target::{PathAmbiguities, Target};
use doorward::types::time::Timestamp;
use http::request::Parts;
use http::{HeaderValue, Request, header};
use serde_json::json;

const SOURCE: ClaimSource<'static> = ClaimSource {
    provider: None,
    unverified: UnverifiedClaims::Absent,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LIMITS: Limits = Limits {
    idle: Duration::from_secs(1800),
    absolute: Duration::from_secs(43200),
};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    info(&mut criterion);
    cookies(&mut criterion);
    decision(&mut criterion);
    headers(&mut criterion);
    criterion.final_summary();
}

/// A browser request with `cookies`.
fn parts(cookies: &str) -> Parts {
    let fields = [
        ("host", "store.example.com"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        (
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        ),
        ("accept-language", "en-GB,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("referer", "https://store.example.com/shopping-cart"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "same-origin"),
        ("upgrade-insecure-requests", "1"),
    ];
    let mut request = Request::builder().uri("/orders/2027/invoice-4711.pdf?download=1&from=list");
    for (name, value) in fields {
        request = request.header(name, value);
    }
    request
        .header(header::COOKIE, cookies)
        .body(())
        .unwrap()
        .into_parts()
        .0
}

fn read(parts: &Parts, trusted: &TrustedProxies) -> RequestInfo {
    RequestInfo::read(parts, Some("192.0.2.1".parse().unwrap()), trusted).unwrap()
}

fn info(criterion: &mut Criterion) {
    let (asked, trusted) = (parts("theme=dark"), TrustedProxies::default());
    criterion.bench_function("facts of a browser's request", |bench| {
        bench.iter(|| read(black_box(&asked), &trusted))
    });
    criterion.bench_function("target, plain", |bench| {
        bench.iter(|| {
            Target::parse(
                black_box("/orders/2027/invoice-4711.pdf"),
                Some("download=1"),
            )
            .unwrap()
        });
    });
    criterion.bench_function("target, escaped", |bench| {
        bench.iter(|| {
            Target::parse(black_box("/orders/%7Ealice/caf%c3%a9%20cr%C3%A8me"), None).unwrap()
        });
    });
}

fn jwt() -> SessionJwt {
    use base64::Engine as _;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let groups: Vec<String> = (0..24)
        .map(|at| format!("8d0c2a6e-4d5f-4a56-9d5c-0f2f1f2f7a{at}"))
        .collect();
    let claims = json!({
        "iss": "https://login.example.com", "sub": "alice-id", "aud": "store", "exp": 1_800_003_600, "iat": 1_800_000_000,
        "email": "alice.arnold@example.com", "name": "Alice Arnold", "preferred_username": "alice", "groups": groups,
    });
    let header = json!({"alg": "RS256", "kid": "2027-01", "typ": "at+jwt"}).to_string();
    let parts = [
        header.into_bytes(),
        claims.to_string().into_bytes(),
        vec![7; 256],
    ];
    let compact = parts.map(|part| encode(&part)).join(".");
    SessionJwt {
        jwt: PackedJwt::pack(&compact),
        kept_claims: "{}".to_owned(),
        key: Some(KeyFingerprint::new([0; 16])),
        valid_until: NOW.plus(Duration::from_secs(3600)),
        subject: Subject::new("alice-id"),
        provider_sid: None,
        sid: SessionId::new("0123456789abcdef"),
        generation: Generation::FIRST,
        started_at: NOW,
        sealed_at: NOW,
        active_at: NOW,
        bound_to: None,
        identity_due: None,
        identity_failing_since: None,
        authentication: Default::default(),
        device: Default::default(),
        client: None,
    }
}

fn session_of(jwt: &SessionJwt) -> Session {
    Session::of(jwt, &templates(), SOURCE).unwrap()
}

fn seal() -> Seal<JwtCookie> {
    let ring = KeyRing::new(Key::new(&Secret::new([1; 32])).unwrap(), Vec::new());
    let binding = Binding {
        origin: "https://store.example.com".into(),
        issuer: Issuer::new("https://login.example.com"),
        client_id: ClientId::new("store"),
    };
    Seal::new(Arc::new(ring), &binding)
}

fn cookies(criterion: &mut Criterion) {
    let (seal, jwt) = (seal(), jwt());
    let text = seal.seal(&jwt, [2; 12]).unwrap();
    let mut buffer = Vec::new();
    criterion.bench_function(&format!("open a cookie of {} bytes", text.len()), |bench| {
        bench.iter(|| seal.open_into(black_box(&text), &mut buffer).unwrap().stamp);
    });
    criterion.bench_function("open it, read it, and make the identity", |bench| {
        bench.iter(|| {
            let opened = seal.open_into(black_box(&text), &mut buffer).unwrap();
            session_of(&read_payload::<JwtCookie>(&opened).unwrap())
        });
    });
    criterion.bench_function("seal it", |bench| {
        bench.iter(|| seal.seal(black_box(&jwt), [2; 12]).unwrap())
    });
    let field =
        format!("theme=dark; __Host-doorward_jwt={text}; cart=7; __Host-doorward_activity=x");
    let fields = [HeaderValue::from_str(&field).unwrap()];
    criterion.bench_function("find it among the cookies", |bench| {
        bench.iter(|| {
            RequestCookies::read(black_box(&fields))
                .get_chunked("__Host-doorward_jwt")
                .unwrap()
                .len()
        });
    });
}

fn templates() -> Vec<HeaderTemplate> {
    let usual = [
        ("X-Forwarded-User", "{sub}"),
        ("X-Forwarded-Email", "{email}"),
        ("X-Forwarded-Preferred-Username", "{preferred_username}"),
        ("X-Forwarded-Groups", "{groups}"),
    ];
    usual
        .into_iter()
        .map(|(name, template)| HeaderTemplate::parse(name, template).unwrap())
        .collect()
}

fn sites() -> HostRouter {
    let rule = |paths: &[&str], access| Rule {
        name: None,
        paths: paths
            .iter()
            .map(|path| PathPattern::parse(path).unwrap())
            .collect(),
        methods: Vec::new(),
        allow: AccessRequirement::new(access, AuthMethods::BOTH),
        cors: None,
    };
    let admin = Condition::claim("roles", ["admin".to_owned()]);
    let rules = vec![
        rule(
            &["/assets/**", "/favicon.ico", "/public/**"],
            Access::Public,
        ),
        rule(&["/admin/**"], Access::If(admin)),
        rule(&["/api/**"], Access::Authenticated),
    ];
    let origin = Origin::parse("https://store.example.com").unwrap();
    HostRouter::new(vec![Arc::new(App {
        name: AppName::new("store"),
        aliases: Vec::new(),
        hsts: false,
        hosts: AppHosts::One,
        providers: LoginProviders::one(LoginProvider {
            leeway: Duration::from_secs(30),
            ..LoginProvider::new(ProviderName::new("login"))
        }),
        paths: AppPaths::new(BasePath::default(), "/.doorward"),
        rules: Arc::new(Rules::new(rules, false, AuthMethods::BOTH)),
        routes: Default::default(),
        background_paths: BackgroundPaths::default(),
        stream_activity: true,
        allowed_ambiguities: PathAmbiguities::NONE,
        headers: templates(),
        request_edits: Default::default(),
        response_edits: Default::default(),
        cookies: CookieNames::new("doorward", &origin, &BasePath::default()),
        login_parameters: Default::default(),
        native: None,
        limits: LIMITS,
        device_binding: None,
        unbound_sessions: UnboundSessions::as_all(LIMITS),
        strict_paths: Default::default(),
        optional_endpoints: OptionalEndpoints::default(),
        origin,
        bearer: None,
        logout_return_to: Vec::new(),
        basic: None,
        app_logout: AppLogoutPolicy::default(),
        max_preserved_post: 0,
        websocket_origins: Vec::new(),
        cors: Default::default(),
        assertion: None,
        passed_token: None,
        token_exchange: None,
    })])
}

/// No revocations, and every key is current.
struct Calm;

impl ValidityContext for Calm {
    fn is_revoked(
        &self,
        _: &SessionId,
        _: &Subject,
        _: Option<&ProviderSid>,
        _: Timestamp,
    ) -> bool {
        false
    }

    fn is_known_key(&self, _: &KeyFingerprint) -> bool {
        true
    }
}

fn decision(criterion: &mut Criterion) {
    let (sites, asked) = (sites(), parts("theme=dark"));
    let info = read(&asked, &TrustedProxies::default());
    let session = Arc::new(session_of(&jwt()));
    criterion.bench_function("route", |bench| {
        bench.iter(|| {
            let found = sites.find(black_box(&info));
            let _ = black_box(Route::of(found.as_ref(), &info));
        })
    });
    criterion.bench_function("assess a session", |bench| {
        bench.iter(|| {
            let jwt = Some(Arc::clone(&session));
            validate(
                PresentedSession {
                    jwt,
                    refresh: None,
                    activity: None,
                    streamed: None,
                    unreadable: false,
                },
                NOW,
                &LIMITS,
                &Calm,
            )
        });
    });
    criterion.bench_function("decide", |bench| {
        let found = sites.find(&info);
        let known = || {
            (
                Route::of(found.as_ref(), &info),
                Caller::Authenticated(LiveSession::just_verified(
                    Arc::clone(&session),
                    NOW,
                    LIMITS,
                )),
            )
        };
        let context = AccessContext {
            lists: RuleLists::NONE,
            now: NOW,
        };
        let decide =
            |(route, caller)| decide(black_box(&info), &asked.headers, route, caller, &context);
        bench.iter_batched(known, decide, BatchSize::SmallInput);
    });
}

fn headers(criterion: &mut Criterion) {
    let (jwt, templates) = (jwt(), templates());
    criterion.bench_function("claims of a token", |bench| {
        bench.iter(|| black_box(&jwt).claims().unwrap())
    });
    criterion.bench_function("identity headers of claims", |bench| {
        let claims = || jwt.claims().unwrap();
        let make = |claims| Identity::new(Subject::new("alice-id"), claims, &templates);
        bench.iter_batched(claims, make, BatchSize::SmallInput);
    });
}
