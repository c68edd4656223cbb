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
use crate::routes::kinds::{self, ELSEWHERE, FIXED, PREFIX, PUBLIC, RouteKind};
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

/// Where the paths of a backend are, and which ambiguous ones its app allows.
struct Placement {
    name: &'static str,
    /// The prefix of the paths, which a route strips.
    prefix: &'static str,
    /// The path at which the app begins.
    base: &'static str,
    /// The prefix that the route adds.
    added: &'static str,
    tolerates_all: bool,
}

impl Placement {
    const fn new(name: &'static str, prefix: &'static str) -> Self {
        Self {
            name,
            prefix,
            base: "",
            added: "",
            tolerates_all: false,
        }
    }

    const fn based(self) -> Self {
        Self {
            base: self.prefix,
            ..self
        }
    }

    /// Nothing outside `/public` of the backend is reached, whatever the rules.
    const fn adding(self) -> Self {
        Self {
            added: "/public",
            ..self
        }
    }

    const fn tolerant(self) -> Self {
        Self {
            tolerates_all: true,
            ..self
        }
    }
}

const PLACEMENTS: [Placement; 8] = [
    Placement::new("strict", ""),
    Placement::new("tolerant", "").tolerant(),
    Placement::new("routed-strict", "/r"),
    Placement::new("routed-tolerant", "/r").tolerant(),
    Placement::new("based-strict", "/r").based(),
    Placement::new("based-tolerant", "/r").based().tolerant(),
    Placement::new("added-strict", "/r").adding(),
    Placement::new("added-based", "/r").adding().based(),
];

/// The name of Doorward's own static files, which are those of the other servers.
const OWN_FILES: &str = "doorward-files";
/// The address of no server.
const NOWHERE: &str = "http://127.0.0.1:9";
const ALL_AMBIGUITIES: &str = "\"double-slash\", \"encoded-slash\", \"semicolon\", \"encoded-percent\", \"encoded-delimiter\", \"non-utf8\", \
    \"lookalike-slash\", \"trailing-dot\", \"ntfs-stream\", \"not-normalized\"";

/// The app of a backend at a placement. `served` is the line of its upstream or its files.
fn app(backend: &str, served: &str, placement: &Placement) -> String {
    let Placement {
        name,
        prefix,
        base,
        added,
        tolerates_all,
    } = placement;
    let name = format!("{backend}-{name}");
    let allowed = if *tolerates_all { ALL_AMBIGUITIES } else { "" };
    let any_case = backend.contains("any-case");
    let protected = if added.is_empty() {
        format!(
            "[[apps.{name}.rules]]\npaths = [\"{prefix}/admin/**\"]\nallow = \"authenticated\"\n"
        )
    } else {
        String::new()
    };
    let mut route = format!("[[apps.{name}.routes]]\npath = \"{prefix}/**\"\n{served}\n");
    for (key, value) in [("strip_prefix", prefix), ("add_prefix", added)] {
        if !value.is_empty() {
            route.push_str(&format!("{key} = \"{value}\"\n"));
        }
    }
    let (upstream, route) = match prefix.is_empty() && backend != OWN_FILES {
        true => (served.to_owned(), String::new()),
        false => (format!("upstream = \"{NOWHERE}\""), route),
    };
    format!(
        "[apps.{name}]\nprovider = \"login\"\npublic_url = \"http://{name}.localhost:8080{base}\"\n\
         client_id = \"{backend}\"\n{upstream}\nallow_ambiguous_paths = [{allowed}]\n\
         case_insensitive_paths = {any_case}\n{route}{protected}\
         [[apps.{name}.rules]]\npaths = [\"{base}/**\"]\nallow = \"public\"\n"
    )
}

/// An app for each backend at each placement.
fn before(backends: &Backends) -> Doorward {
    let mut apps = String::new();
    for placement in &PLACEMENTS {
        for (name, address) in &backends.addresses {
            let served = format!("upstream = \"{}\"", address.url());
            apps.push_str(&app(name, &served, placement));
        }
        let served = format!("files = \"{}\"", backends.files().display());
        apps.push_str(&app(OWN_FILES, &served, placement));
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
    let names = || backends.addresses.keys().map(String::as_str);
    for name in names().chain([OWN_FILES]) {
        for placement in &PLACEMENTS {
            let host = format!("{name}-{}.localhost:8080", placement.name);
            let mut kept = None;
            for target in &targets {
                if kept.is_none() {
                    let stream = TcpStream::connect(doorward.address())
                        .await
                        .expect("a connection");
                    stream.set_nodelay(true).expect("no delay");
                    kept = Some(Dialogue(Wire::new(stream)));
                }
                let asked = target.replace("app.localhost:8080", &host);
                let prefix = placement.prefix;
                let asked = match asked.split_once(&host) {
                    Some((scheme, path)) => format!("{scheme}{host}{prefix}{path}"),
                    None => format!("{prefix}{asked}"),
                };
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
    for name in names().chain([OWN_FILES]) {
        let served = served.get(name).copied().unwrap_or_default();
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

/// Where Doorward answers, no path leads a browser elsewhere or changes the response.
#[tokio::test]
async fn no_path_escapes_the_response_of_a_route() {
    for kind in RouteKind::ALL {
        if kind.forwarded(PREFIX).is_some() {
            continue;
        }
        let (doorward, routed) = kinds::start(kind, PUBLIC);
        let (host, mut kept) = ("store.localhost:8080", None);
        let mut answered = 0;
        for target in targets() {
            if kept.is_none() {
                let stream = TcpStream::connect(doorward.address()).await;
                kept = Some(Dialogue(Wire::new(stream.expect("a connection"))));
            }
            let target = target.replace("app.localhost:8080", host);
            let (origin, path) = match target.split_once(host) {
                Some((scheme, path)) => (format!("{scheme}{host}"), path),
                None => (String::new(), target.as_str()),
            };
            let path = format!("{PREFIX}{path}");
            if kind.forwarded(&path).is_some() {
                // Not below the path of the route.
                continue;
            }
            let asked = [origin, path].concat();
            let dialogue = kept.as_mut().expect("a connection");
            let request = format!("GET {asked} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            if dialogue.0.write(request.as_bytes()).await.is_err() {
                kept = None;
                continue;
            }
            let Some(reply) = dialogue.try_hear("GET").await else {
                kept = None;
                continue;
            };
            if reply.status() >= 400 {
                assert!(!reply.text().contains(PROTECTED), "{kind:?} {asked}");
                kept = None;
                continue;
            }
            answered += 1;
            match (kind, reply.head.header("location")) {
                (RouteKind::Respond, None) => assert_eq!(reply.text(), FIXED, "{asked}"),
                (RouteKind::Files, None) => {
                    assert!(
                        ["file", "probe"].contains(&reply.text().as_str()),
                        "{asked}"
                    );
                }
                (RouteKind::Files, Some(location)) => {
                    let own = format!("http://{host}{PREFIX}/");
                    assert!(location.starts_with(&own), "{asked} {location}");
                }
                (RouteKind::Redirect, Some(location)) => {
                    let below = location.strip_prefix(ELSEWHERE).expect(location);
                    let is_path = below.is_empty() || below.starts_with(['/', '?']);
                    assert!(is_path && !below.starts_with("//"), "{asked} {location}");
                }
                (kind, location) => panic!("{kind:?} {asked} {location:?}"),
            }
        }
        let is_tried = answered > 50 || kind == RouteKind::Files;
        assert!(is_tried, "{kind:?} answered {answered} only");
        assert_eq!((routed.count(), doorward.store.count()), (0, 0), "{kind:?}");
    }
}
