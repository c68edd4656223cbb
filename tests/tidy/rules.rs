//! Every rule is shown what it must refuse and what it must let pass.

use super::*;

type Rule = fn(&File) -> Vec<String>;

#[test]
fn every_rule_can_fail() {
    let bad: [(Rule, &str, &str); 43] = [
        (opening, "src/a.rs", "use x;\n//! late"),
        (opening, "tests/a.rs", ""),
        (size, "src/a.rs", &"x\n".repeat(MAX_LINES + 1)),
        (
            size,
            "src/a.rs",
            &format!(
                "#[cfg(test)]\nmod tests {{\n{}}}",
                "x\n".repeat(MAX_LINES_WITH_TESTS)
            ),
        ),
        (floors, "src/unheard_of.rs", ""),
        (floors, "src/types/net.rs", "use crate::policy::Route;"),
        (
            floors,
            "src/session/jwt.rs",
            "use crate::{types::net, store::Store};",
        ),
        (
            floors,
            "src/policy/decide.rs",
            "fn f() { super::super::auth::session::authenticate() }",
        ),
        (floors, "src/policy/mod.rs", "use super::proxy::act;"),
        (
            floors,
            "src/auth/login.rs",
            "fn f() -> crate::proxy::Page {}",
        ),
        (floors, "src/oidc/jwks.rs", "use crate::store::memory;"),
        (
            floors,
            "src/store/redis.rs",
            "use crate::{\n    types::net::Origin,\n    upstream::client,\n};",
        ),
        (
            floors,
            "src/upstream/client.rs",
            "use super::super::oidc::http;",
        ),
        (floors, "src/wire/tls.rs", "use crate::session::seal;"),
        (floors, "src/server.rs", "use crate::demo::run;"),
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
        (purity, "src/session/assess.rs", "let now = Instant::now();"),
        (purity, "src/session/assess.rs", "tracing::info!(x);"),
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
        (doors, "src/auth/login.rs", "use reqwest::Client;"),
        (doors, "src/oidc/jwks.rs", "reqwest::get(x)"),
        (doors, "src/auth/login.rs", "let now = SystemTime::now();"),
        (doors, "src/auth/login.rs", "let home = std::env::var(x);"),
        (doors, "src/auth/login.rs", "tokio::spawn(async {});"),
        (
            doors,
            "src/auth/login.rs",
            "use tokio::{\n    sync::mpsc,\n    task::spawn,\n};",
        ),
        (
            doors,
            "src/auth/login.rs",
            "use std::{collections::BTreeMap, env};",
        ),
        (
            purity,
            "src/session/seal.rs",
            "use std::{fmt, fs::{self, File}};",
        ),
        (doors, "src/proxy/act.rs", "Response::builder()"),
        (doors, "src/auth/login.rs", "use redis::Client;"),
        (doors, "src/session/jwt.rs", "use jsonwebtoken::decode;"),
        (permits, "src/proxy/act.rs", "let permit = Permit { app };"),
        (permits, "src/proxy/act.rs", "Some(policy::Permit{ app })"),
        (allows, "src/a.rs", "#[allow(dead_code)]"),
        (
            strange_words,
            "README.md",
            &format!("see {}main", ["/wo", "rk/"].concat()),
        ),
        (
            strange_words,
            "tests/provider/package-lock.json",
            &["https://registry.npm", "js.org/x"].concat(),
        ),
    ];
    for (rule, path, text) in bad {
        assert_ne!(judged(rule, path, text), 0, "{path}: {text}");
    }
}

#[test]
fn every_rule_lets_good_code_pass() {
    let good: [(Rule, &str, &str); 22] = [
        (opening, "src/a.rs", "//! What lives here."),
        (size, "src/a.rs", &"x\n".repeat(MAX_LINES)),
        (
            floors,
            "src/proxy/act.rs",
            "use crate::{auth::session::authenticate, types::net, proxy::respond};",
        ),
        (
            floors,
            "src/oidc/jwks.rs",
            "use super::http;\nuse crate::oidc::jws;\nuse crate::types::net;",
        ),
        (
            floors,
            "src/oidc/jwks.rs",
            "// like crate::store\nlet x = \"crate::store\";",
        ),
        (
            floors,
            "src/types/net.rs",
            "#[cfg(test)]\nmod tests { use crate::demo::x; }",
        ),
        (
            floors,
            "src/oidc/jwks.rs",
            "use some_crate::store;\nuse crate::Anything;",
        ),
        (floors, "src/cli.rs", "use crate::demo;"),
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
        (doors, "src/oidc/http.rs", "use reqwest::Client;"),
        (doors, "src/control.rs", "tokio::spawn(x);"),
        (
            doors,
            "src/auth/login.rs",
            "let x = \"std::env\"; // reqwest",
        ),
        (permits, PERMIT_MAKER, "Permit { app }"),
        (
            permits,
            "src/proxy/act.rs",
            "impl Permit {}\npub struct Permit {\nfn f() -> Permit {\nPermitted { x }",
        ),
        (allows, "src/a.rs", "#[expect(dead_code, reason = \"x\")]"),
        (
            strange_words,
            "Cargo.lock",
            &["index.crat", "es.io"].concat(),
        ),
        (
            strange_words,
            "README.md",
            "homework/ and https://example.com/work/ are fine, so is $HOME/work/",
        ),
    ];
    for (rule, path, text) in good {
        assert_eq!(judged(rule, path, text), 0, "{path}: {text}");
    }
}

#[test]
fn the_demo_is_held_to_the_public_api() {
    let file = |path: &str, text: &str| File {
        path: path.into(),
        text: text.into(),
    };
    let hidden = hidden_from_demo(&[
        file("src/lib.rs", "pub mod server;\nmod secret_rooms;"),
        file(
            "src/server.rs",
            "pub(crate) async fn start_quietly() {}\npub fn start() {}\n    pub(super) const KEY: u8 = 1;",
        ),
    ]);
    for (text, complaints) in [
        ("use crate::server::start;", 0),
        ("use crate::server::{start, start_quietly};", 1),
        ("fn f() { crate::server::KEY }", 1),
        ("use crate::secret_rooms::x;", 1),
        ("use crate::demo::start_quietly;", 0),
    ] {
        assert_eq!(
            demo_is_a_guest(&file("src/demo/store.rs", text), &hidden).len(),
            complaints,
            "{text}"
        );
        assert!(
            demo_is_a_guest(&file("src/worker.rs", text), &hidden).is_empty(),
            "{text}"
        );
    }
}

fn judged(rule: Rule, path: &str, text: &str) -> usize {
    rule(&File {
        path: path.into(),
        text: text.into(),
    })
    .len()
}
