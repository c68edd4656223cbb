//! Path confusion: paths that servers parse differently, sent through Doorward to nginx, Python and
//! Node. No spelling of a path reaches a protected resource without a login. Requests that bypass
//! Doorward show that the servers do differ on these paths.

#[path = "../../properties/adversarial_inputs.rs"]
#[expect(dead_code, reason = "return targets are for the property tests")]
pub(crate) mod adversarial_inputs;
mod backends;

use std::collections::BTreeMap;

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use tokio::net::TcpStream;

use self::backends::Backends;
use crate::support::assertions::Dialogue;
use crate::support::doorward::{Doorward, Setup};
use crate::support::wire::Wire;

/// The number of generated paths; they are the same in every run.
const GENERATED: usize = 700;
/// The content of the protected resource.
const PROTECTED: &str = "PROTECTED";

/// Spellings of known vulnerabilities.
const KNOWN: [&str; 114] = [
    "/admin",
    "/admin/",
    "/admin/x",
    "/%61dmin/x",
    "/admi%6e",
    "/%61%64%6d%69%6e/x",
    "//admin/x",
    "///admin/x",
    "/.//admin/x",
    "/public//../admin/x",
    "/public/../admin/x",
    "/public/./../admin/x",
    "/public/x/../../admin/x",
    "/../admin/x",
    "/..//admin/x",
    "/./admin/x",
    "/admin/.",
    "/admin/..",
    "/admin/./x",
    "/admin/public/../x",
    "/public/%2e%2e/admin/x",
    "/public/%2E%2E/admin/x",
    "/public/.%2e/admin/x",
    "/public/%2e./admin/x",
    "/public%2f..%2fadmin%2fx",
    "/public/..%2fadmin/x",
    "/public/..%2Fadmin%2Fx",
    "/public%2f%2e%2e%2fadmin/x",
    "/%2fadmin/x",
    "/%2Fadmin",
    "/.%2fadmin/x",
    "/admin%2fx",
    "/admin%2f",
    "\\admin\\x",
    "/\\admin/x",
    "/public\\..\\admin\\x",
    "/public/..\\admin/x",
    "/public/%5c../admin/x",
    "/public/..%5cadmin%5cx",
    "/%5cadmin/x",
    "/admin%5cx",
    "/public/..;/admin/x",
    "/public/..;x=y/admin/x",
    "/public/;/../admin/x",
    "/;/admin/x",
    "/;x=y/admin/x",
    "/admin;/x",
    "/admin;x=y/x",
    "/admin/x;y",
    "/;admin/x",
    "/public/..%3b/admin/x",
    "/admin%3bx/x",
    "/%3b/admin/x",
    "/%252e%252e/admin/x",
    "/public/%252e%252e/admin/x",
    "/public/%252e%252e%252fadmin/x",
    "/%2561dmin/x",
    "/%252fadmin/x",
    "/public%252f..%252fadmin/x",
    "/%25252e/admin/x",
    "/public/%c0%ae%c0%ae/admin/x",
    "/public/%c0%ae%c0%ae%c0%afadmin/x",
    "/%c0%afadmin/x",
    "/%e0%80%afadmin/x",
    "/%c1%a1dmin/x",
    "/public/%uff0e%uff0e/admin/x",
    "/public/%u002e%u002e/admin/x",
    "/admin%00",
    "/admin%00/public/x",
    "/admin/x%00.css",
    "/public/x%00/../../admin/x",
    "/admin%3f",
    "/admin%3f/public/x",
    "/admin%3fpublic/x",
    "/admin%23",
    "/admin%23/public/x",
    "/admin#/public/x",
    "/public/x#/../../admin/x",
    "/public/x?/../../admin/x",
    "/admin?/public/x",
    "/admin?x=/public/../../y",
    "/admin%20",
    "/admin%09",
    "/admin%0a",
    "/admin%0d%0ax",
    "/admin.",
    "/admin./x",
    "/admin../x",
    "/admin%2e/x",
    "/admin%2e%2e/x",
    "/ADMIN/x",
    "/Admin/x",
    "/%41dmin/x",
    "/adm%c4%b1n/x",
    "/adm%C4%B0n/x",
    "http://app.localhost:8080/admin/x",
    "/public/..%20/admin/x",
    "/public/%20../admin/x",
    "/public/..%20%20/admin/x",
    "/public/..%c2%a0/admin/x",
    "/public/%e3%80%80../admin/x",
    "/public/..%e2%80%8b/admin/x",
    "/public/%ef%bc%8e%ef%bc%8e/admin/x",
    "/public/\u{ff0e}\u{ff0e}/admin/x",
    "/public/%e2%80%a4%e2%80%a4/admin/x",
    "/public/%e2%80%a5/admin/x",
    "/public%ef%bc%8f..%ef%bc%8fadmin/x",
    "/public%e2%88%95..%e2%88%95admin/x",
    "/admin./x",
    "/admin%20/x",
    "/.../admin/x",
    "/admin::$DATA",
    "/admin:$i30:$INDEX_ALLOCATION/x",
    "/%ef%bd%81dmin/x",
];

fn targets() -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let made_up = || {
        adversarial_inputs::paths()
            .new_tree(&mut runner)
            .expect("a path")
            .current()
    };
    let made_up: Vec<String> = std::iter::repeat_with(made_up).take(GENERATED).collect();
    let targets = KNOWN.iter().map(|&target| target.to_owned()).chain(made_up);
    // A target with a line break would be two lines, and an empty one is no target.
    targets
        .filter(|target| !target.is_empty() && !target.contains(['\r', '\n']))
        .collect()
}

/// Apps whose paths are below the prefix of a route, which is stripped.
const ROUTED: [&str; 2] = ["routed-strict", "routed-tolerant"];
/// The address of no server.
const NOWHERE: &str = "http://127.0.0.1:9";

/// One app per backend with the default path policy, and one with all ambiguous paths allowed. The
/// same with the backend behind a route.
fn before(backends: &Backends) -> Doorward {
    let mut apps = String::new();
    for (name, address) in &backends.addresses {
        const TOLERATED: &str = "\"double-slash\", \"encoded-slash\", \"semicolon\", \"encoded-percent\", \"encoded-delimiter\", \"non-utf8\", \
                 \"lookalike-slash\", \"trailing-dot\", \"ntfs-stream\", \"not-normalized\"";
        for (kind, allowed) in [
            ("strict", ""),
            ("tolerant", TOLERATED),
            (ROUTED[0], ""),
            (ROUTED[1], TOLERATED),
        ] {
            let is_routed = ROUTED.contains(&kind);
            let (upstream, prefix) = match is_routed {
                true => (NOWHERE.to_owned(), "/r"),
                false => (address.url(), ""),
            };
            apps.push_str(&format!(
                "[apps.{name}-{kind}]\nprovider = \"login\"\npublic_url = \"http://{name}-{kind}.localhost:8080\"\n\
                 client_id = \"{name}\"\nupstream = \"{}\"\nallow_ambiguous_paths = [{allowed}]\n\
                 case_insensitive_paths = {}\n[[apps.{name}-{kind}.rules]]\npaths = [\"{prefix}/admin/**\"]\nallow = \"authenticated\"\n\
                 [[apps.{name}-{kind}.rules]]\npaths = [\"/**\"]\nallow = \"public\"\n",
                upstream,
                name.contains("any-case"),
            ));
            if is_routed {
                apps.push_str(&format!(
                    "[[apps.{name}-{kind}.routes]]\npath = \"/r/**\"\nstrip_prefix = \"/r\"\nupstream = \"{}\"\n",
                    address.url()
                ));
            }
        }
    }
    Setup::plain().more(&apps).start()
}

/// Requests `target` on a keep-alive connection; `None` if the connection closes without a
/// response.
async fn request(kept: &mut Option<Dialogue>, host: &str, target: &str) -> Option<(u16, String)> {
    let mut dialogue = kept.take().expect("a connection");
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n");
    dialogue.0.write(request.as_bytes()).await.ok()?;
    let reply = dialogue.try_hear("GET").await?;
    let closes = reply
        .head
        .all("connection")
        .iter()
        .any(|value| value.eq_ignore_ascii_case("close"));
    if !closes && reply.status() < 400 {
        *kept = Some(dialogue);
    }
    Some((reply.status(), reply.text()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_backend_parser_exposes_a_protected_path() {
    let backends = Backends::start().await;
    let doorward = before(&backends);
    let (targets, mut holes) = (targets(), Vec::new());
    let mut served: BTreeMap<&str, usize> = BTreeMap::new();
    for name in backends.addresses.keys() {
        for kind in ["strict", "tolerant", ROUTED[0], ROUTED[1]] {
            let host = format!("{name}-{kind}.localhost:8080");
            let mut kept = None;
            for target in &targets {
                if kept.is_none() {
                    let stream = TcpStream::connect(doorward.address())
                        .await
                        .expect("a connection");
                    stream.set_nodelay(true).expect("no delay");
                    kept = Some(Dialogue(Wire::new(stream)));
                }
                let mut asked = target.replace("app.localhost:8080", &host);
                if ROUTED.contains(&kind) {
                    asked = match asked.split_once(&host) {
                        Some((scheme, path)) => format!("{scheme}{host}/r{path}"),
                        None => format!("/r{asked}"),
                    };
                }
                let Some((status, text)) = request(&mut kept, &host, &asked).await else {
                    continue;
                };
                if text.contains(PROTECTED) {
                    holes.push(format!("{host}: {target:?} gave {status} {text}"));
                }
                *served.entry(name).or_default() +=
                    usize::from(status < 400 && text.contains("public"));
            }
        }
    }
    assert!(holes.is_empty(), "{}", holes.join("\n"));
    for name in backends.addresses.keys() {
        let served = served.get(name.as_str()).copied().unwrap_or_default();
        assert!(
            served > 50,
            "{name} served {served} public paths only: nothing was tried"
        );
    }
}

/// Without Doorward, most backends serve it under spellings that look like another path.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn backend_parsers_do_differ_on_these_paths() {
    let backends = Backends::start().await;
    let looks_protected = |target: &str| {
        target
            .strip_prefix("/admin")
            .is_some_and(|rest| !rest.starts_with('.'))
    };
    for (name, address) in &backends.addresses {
        let (mut kept, mut disguises) = (None, Vec::new());
        for target in targets().iter().filter(|target| !looks_protected(target)) {
            if kept.is_none() {
                kept = Some(address.dialogue().await);
            }
            if let Some((200, text)) = request(&mut kept, "backend.example", target).await
                && text.contains(PROTECTED)
            {
                disguises.push(target.clone());
            }
        }
        assert!(
            disguises.len() >= 10,
            "{name} gives it away under {disguises:?} only"
        );
    }
}
