//! Shows every rule code that it must reject and code that it must accept.

use super::*;

type Rule = fn(&File) -> Vec<String>;

#[test]
fn rules_reject_bad_code() {
    let bad: [(Rule, &str, &str); 43] = [
        (module_doc, "src/a.rs", "use x;\n//! late"),
        (module_doc, "tests/a.rs", ""),
        (size, "src/a.rs", &"x\n".repeat(MAX_LINES + 1)),
        (
            size_of_tests,
            "tests/a.rs",
            &"x\n".repeat(MAX_LINES_WITH_TESTS + 1),
        ),
        (
            size,
            "src/a.rs",
            &format!(
                "#[cfg(test)]\nmod tests {{\n{}}}",
                "x\n".repeat(MAX_LINES_WITH_TESTS)
            ),
        ),
        (layers, "src/unknown.rs", ""),
        (layers, "src/types/net.rs", "use crate::policy::Route;"),
        (
            layers,
            "src/session/jwt.rs",
            "use crate::{types::net, store::Store};",
        ),
        (
            layers,
            "src/policy/decide.rs",
            "fn f() { super::super::auth::resume() }",
        ),
        (layers, "src/policy/mod.rs", "use super::proxy::act;"),
        (
            layers,
            "src/auth/login.rs",
            "fn f() -> crate::proxy::Page {}",
        ),
        (layers, "src/oidc/jwks.rs", "use crate::store::memory;"),
        (
            layers,
            "src/store/redis.rs",
            "use crate::{\n    types::net::Origin,\n    upstream::client,\n};",
        ),
        (
            layers,
            "src/upstream/client.rs",
            "use super::super::oidc::http;",
        ),
        (layers, "src/downstream/tls.rs", "use crate::session::seal;"),
        (layers, "src/server.rs", "use crate::demo::run;"),
        (purity, "src/policy/route.rs", "pub async fn f() {}"),
        (purity, "src/policy/route.rs", "use tokio::sync::mpsc;"),
        (
            purity,
            "src/session/seal.rs",
            "let text = std::fs::read(path);",
        ),
        (
            purity,
            "src/session/seal.rs",
            "use std::net::{IpAddr, TcpStream};",
        ),
        (
            purity,
            "src/session/seal.rs",
            "aws_lc_rs::rand::fill(&mut nonce)",
        ),
        (
            purity,
            "src/session/validate.rs",
            "let now = Instant::now();",
        ),
        (purity, "src/session/validate.rs", "tracing::info!(x);"),
        (
            purity,
            "src/types/net.rs",
            "static SEEN: AtomicU64 = AtomicU64::new(0);",
        ),
        (
            purity,
            "src/types/net.rs",
            "static SEEN: OnceLock<u8> = OnceLock::new();",
        ),
        (purity, "src/types/time.rs", "use tokio::time;"),
        (purity, "src/types/body.rs", "SystemTime::now()"),
        (
            purity,
            "src/oidc/id_token.rs",
            "//! Claims. PURE: `now` is an argument.\nasync fn f() {}",
        ),
        (single_owners, "src/auth/login.rs", "use reqwest::Client;"),
        (single_owners, "src/oidc/jwks.rs", "reqwest::get(x)"),
        (
            single_owners,
            "src/auth/login.rs",
            "let now = SystemTime::now();",
        ),
        (
            single_owners,
            "src/auth/login.rs",
            "let home = std::env::var(x);",
        ),
        (
            single_owners,
            "src/auth/login.rs",
            "tokio::spawn(async {});",
        ),
        (
            single_owners,
            "src/auth/login.rs",
            "use tokio::{\n    sync::mpsc,\n    task::spawn,\n};",
        ),
        (
            single_owners,
            "src/auth/login.rs",
            "use std::{collections::BTreeMap, env};",
        ),
        (
            purity,
            "src/session/seal.rs",
            "use std::{fmt, fs::{self, File}};",
        ),
        (single_owners, "src/proxy/act.rs", "Response::builder()"),
        (single_owners, "src/auth/login.rs", "use redis::Client;"),
        (
            single_owners,
            "src/session/jwt.rs",
            "use jsonwebtoken::decode;",
        ),
        (permits, "src/proxy/act.rs", "let permit = Permit { app };"),
        (permits, "src/proxy/act.rs", "Some(policy::Permit{ app })"),
        (allows, "src/a.rs", "#[allow(dead_code)]"),
        (layers, "src/session/jwt.rs", "use crate::policy::Route;"),
    ];
    for (rule, path, text) in bad {
        assert_ne!(complaints(rule, path, text), 0, "{path}: {text}");
    }
}

#[test]
fn rules_accept_good_code() {
    let good: [(Rule, &str, &str); 21] = [
        (module_doc, "src/a.rs", "//! What this file contains."),
        (size, "src/a.rs", &"x\n".repeat(MAX_LINES)),
        (
            size_of_tests,
            "tests/a.rs",
            &"x\n".repeat(MAX_LINES_WITH_TESTS),
        ),
        (
            layers,
            "src/proxy/act.rs",
            "use crate::{auth::resume, types::net, proxy::respond};",
        ),
        (
            layers,
            "src/oidc/jwks.rs",
            "use super::http;\nuse crate::oidc::jws;\nuse crate::types::net;",
        ),
        (
            layers,
            "src/oidc/jwks.rs",
            "// like crate::store\nlet x = \"crate::store\";",
        ),
        (
            layers,
            "src/types/net.rs",
            "#[cfg(test)]\nmod tests { use crate::demo::x; }",
        ),
        (
            layers,
            "src/oidc/jwks.rs",
            "use some_crate::store;\nuse crate::Anything;",
        ),
        (layers, "src/cli.rs", "use crate::demo;"),
        (
            purity,
            "src/policy/route.rs",
            "/// no async\npub fn asynchronous(x: &'static str) {}",
        ),
        (purity, "src/types/net.rs", "use std::net::IpAddr;"),
        (
            purity,
            "src/types/net.rs",
            "static NAMES: [&str; 1] = [\"tokio\"];",
        ),
        (purity, "src/types/time.rs", "std::time::SystemTime::now()"),
        (purity, "src/types/body.rs", "use hyper::body::Incoming;"),
        (purity, "src/oidc/http.rs", "pub async fn get() {}"),
        (single_owners, "src/oidc/http.rs", "use reqwest::Client;"),
        (single_owners, "src/runtime.rs", "tokio::spawn(x);"),
        (
            single_owners,
            "src/auth/login.rs",
            "let x = \"std::env\"; // reqwest",
        ),
        (permits, PERMIT_OWNER, "Permit { app }"),
        (
            permits,
            "src/proxy/act.rs",
            "impl Permit {}\npub struct Permit {\nfn f() -> Permit {\nPermitted { x }",
        ),
        (allows, "src/a.rs", "#[expect(dead_code, reason = \"x\")]"),
    ];
    for (rule, path, text) in good {
        assert_eq!(complaints(rule, path, text), 0, "{path}: {text}");
    }
}

#[test]
fn demo_may_use_the_public_api_only() {
    let file = |path: &str, text: &str| File {
        path: path.into(),
        text: text.into(),
    };
    let hidden = hidden_from_demo(&[
        file("src/lib.rs", "pub mod server;\nmod internals;"),
        file(
            "src/server.rs",
            "pub(crate) async fn start_quietly() {}\npub fn start() {}\n    pub(super) const KEY: u8 = 1;",
        ),
    ]);
    for (text, expected) in [
        ("use crate::server::start;", 0),
        ("use crate::server::{start, start_quietly};", 1),
        ("fn f() { crate::server::KEY }", 1),
        ("use crate::internals::x;", 1),
        ("use crate::demo::start_quietly;", 0),
    ] {
        assert_eq!(
            demo_uses_public_api(&file("src/demo/store.rs", text), &hidden).len(),
            expected,
            "{text}"
        );
        assert!(
            demo_uses_public_api(&file("src/worker.rs", text), &hidden).is_empty(),
            "{text}"
        );
    }
}

fn complaints(rule: Rule, path: &str, text: &str) -> usize {
    rule(&File {
        path: path.into(),
        text: text.into(),
    })
    .len()
}
