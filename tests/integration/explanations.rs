//! `doorward explain` and the server agree: on generated requests of several users, about the app,
//! the decision, the status and the headers that the app gets.
//!
//! `DOORWARD_EXPLAINED_REQUESTS` sets the number of requests.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward::server::explain::{Explainer, Explanation, PresumedCaller, PresumedRequest};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;

use crate::decisions::check::cookies;
use crate::path_confusion::adversarial_inputs;
use crate::support::assertions::{Dialogue, signed_in};
use crate::support::backend::Received;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually;
use crate::support::provider::User;
use crate::support::wire::Wire;

/// Requests of a usual run.
const USUAL: usize = 400;

const RULES: &str = r#"
[[apps.store.rules]]
name = "pages for everybody"
paths = ["/public/**", "/"]
allow = "public"

[[apps.store.rules]]
paths = ["/read/**"]
methods = ["GET"]
allow = "public"

[[apps.store.rules]]
name = "admins"
paths = ["/admin/**"]
allow = { roles = ["admin"] }

[[apps.store.rules]]
paths = ["/office/**"]
allow = { all = [{ from = ["10.0.0.0/8"] }, { not = { roles = ["suspended"] } }] }

[[apps.store.rules]]
paths = ["/domain/**"]
allow = { any = [{ email_domains = ["example.org"] }, { claim = "org.unit", any_of = ["it"] }] }

[[apps.store.rules]]
name = "orders"
paths = ["/api/orders/**"]
auth_methods = ["bearer"]
allow = { scopes = ["orders:read"] }

[[apps.store.rules]]
paths = ["/api/**"]
auth_methods = ["bearer"]
allow = "authenticated"

[[apps.store.rules]]
paths = ["/closed/**"]
allow = "deny"

[[apps.store.routes]]
path = "/office/**"
request_headers.set = { X-Route = "office {org.unit}" }

[[apps.store.routes]]
path = "/read/old/**"
redirect = { to = "/read/**", status = 308 }

[[apps.store.routes]]
path = "/public/gone"
respond = { status = 410 }

[apps.store.bearer]

[apps.store.headers]
X-Forwarded-User = "{sub}"
X-Roles = "{roles}"
X-Unit = "{org.unit}"
"#;

const TARGETS: [&str; 26] = [
    "/",
    "/public/x",
    "/public/x?a=/admin",
    "/read/x",
    "/read/old/x?y",
    "/public/gone",
    "/%72ead/x",
    "/page",
    "/admin",
    "/admin/x",
    "/Admin/x",
    "/public/../admin/x",
    "/office/x",
    "/domain/x",
    "/api/orders/7",
    "/api/profile",
    "/closed/x",
    "/public;/../page",
    "//public/x",
    "/office.",
    "/.doorward/login?return_to=/page",
    "/.doorward/session",
    "/.doorward/logout",
    "/.doorward/signed-out",
    "/.doorward/callback?code=x",
    "/.doorward/elsewhere",
];

const METHODS: [&str; 10] = [
    "GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "get",
];

const HOSTS: [&str; 9] = [
    "store.localhost:8080",
    "store.localhost:8080",
    "store.localhost:8080",
    "store.localhost:8080",
    "STORE.localhost:8080",
    "www.store.localhost:8080",
    "store.localhost",
    "forum.localhost:8080",
    "other.test",
];

const FIELDS: [&str; 27] = [
    "Accept: text/html",
    "Accept: text/html",
    "Accept: */*",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Dest: iframe",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Site: cross-site",
    "Origin: http://store.localhost:8080",
    "Origin: https://evil.example",
    "Referer: http://store.localhost:8080/page",
    "Content-Type: application/x-www-form-urlencoded",
    "Content-Type: application/grpc",
    "X-Requested-With: XMLHttpRequest",
    "X-Forwarded-For: 10.1.2.3",
    "X-Forwarded-For: 10.1.2.3",
    "X-Forwarded-For: 203.0.113.9",
    "X-Forwarded-For: unknown",
    "X-Forwarded-User: f0rged",
    "X_Roles: admin",
    "Cookie: theme=dark",
    "Connection: X-Unit",
    "Transfer-Encoding: gzip",
    "Expect: a-pony",
    "Upgrade: websocket",
    "X-Custom: kept",
];

/// A generated request.
#[derive(Clone, Debug)]
struct Generated {
    method: &'static str,
    target: String,
    host: &'static str,
    fields: Vec<&'static str>,
    /// The index of its caller; the last is anonymous.
    caller: usize,
}

/// A caller of the server and the same caller for the explainer: the header field that
/// authenticates it, and the presumed caller.
struct Sender {
    field: String,
    presumed: PresumedCaller,
}

fn corpus(count: usize, callers: usize) -> Vec<Generated> {
    let target = prop_oneof![
        6 => select(TARGETS.as_slice()).prop_map(str::to_owned),
        1 => adversarial_inputs::paths(),
    ];
    let strategy = (
        select(METHODS.as_slice()),
        target,
        select(HOSTS.as_slice()),
        subsequence(FIELDS.as_slice(), 0..5),
        0..callers,
    )
        .prop_map(|(method, target, host, fields, caller)| Generated {
            method,
            target,
            host,
            fields,
            caller,
        });
    let mut runner = TestRunner::deterministic();
    let mut made = Vec::new();
    while made.len() < count {
        let mut request = strategy.new_tree(&mut runner).expect("a request").current();
        if request.host.starts_with("forum") {
            // The sessions and tokens are the store's.
            request.caller = callers - 1;
        }
        // Others are no request line, or no target of the origin form.
        let is_target = request.target.starts_with('/')
            && !request.target.contains(['\r', '\n', ' ', '#'])
            && request.target.is_ascii();
        // It would end the sender's session.
        let is_logout = request.method == "POST" && request.target.contains("logout");
        if is_target && !is_logout {
            made.push(request);
        }
    }
    made
}

#[expect(
    clippy::disallowed_methods,
    reason = "a setting of this test, not of Doorward"
)]
fn count_of_requests() -> usize {
    let count = std::env::var("DOORWARD_EXPLAINED_REQUESTS").ok();
    count.and_then(|count| count.parse().ok()).unwrap_or(USUAL)
}

async fn senders(doorward: &Doorward) -> Vec<Sender> {
    let users = [
        User::new("alice", &[]),
        User::new("root", &["admin", "clerk"]),
        User::new("mallory", &["suspended"]),
        User::new("ida", &["clerk"]).with_claim("org", json!({"unit": "it"})),
        User::new("ola", &[]).with_claim("email", json!("ola@example.org")),
        User::new("uma", &[])
            .with_claim("email", json!("uma@example.org"))
            .with_claim("email_verified", json!(false)),
    ];
    let mut senders = Vec::new();
    for user in users {
        let mut claims = user.claims.clone();
        claims.insert("sub".to_owned(), json!(user.sub));
        let browser = signed_in(doorward, user).await;
        senders.push(Sender {
            field: format!("Cookie: {}", cookies(doorward, &browser)),
            presumed: PresumedCaller::Session(claims),
        });
    }
    for claims in [
        json!({"sub": "bob-id", "scope": "orders:read profile"}),
        json!({"sub": "bob-id", "roles": ["admin"]}),
        json!({"sub": "reports", "client_id": "reports", "scope": "orders:read"}),
        json!({"sub": "reports", "client_id": "reports", "scope": "other"}),
    ] {
        let token = doorward.provider.access_token(&claims, &[]);
        senders.push(Sender {
            presumed: PresumedCaller::Token(payload(&token)),
            field: format!("Authorization: Bearer {token}"),
        });
    }
    senders.push(Sender {
        field: String::new(),
        presumed: PresumedCaller::Anonymous,
    });
    senders
}

fn payload(token: &str) -> Map<String, Value> {
    let payload = token.split('.').nth(1).expect("a JWT");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("claims")
}

/// The server's decision.
struct Served {
    status: u16,
    received: Option<Received>,
}

impl Generated {
    fn fields(&self, id: &str) -> Vec<String> {
        let mut fields: Vec<String> = self
            .fields
            .iter()
            .map(|field| (*field).to_owned())
            .collect();
        fields.push(format!("X-Request-Id: {id}"));
        if !self
            .fields
            .iter()
            .any(|field| field.starts_with("Connection"))
        {
            fields.push("Connection: close".to_owned());
        }
        fields.push("Content-Length: 0".to_owned());
        fields
    }

    async fn serve(&self, id: &str, doorward: &Doorward, sender: &Sender) -> Option<Served> {
        let before = doorward.store.count() + doorward.forum.count();
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n",
            self.method, self.target, self.host
        );
        for field in self.fields(id) {
            let _ = write!(text, "{field}\r\n");
        }
        if !sender.field.is_empty() {
            let _ = write!(text, "{}\r\n", sender.field);
        }
        text.push_str("\r\n");
        let stream = TcpStream::connect(doorward.address())
            .await
            .expect("a connection");
        let mut dialogue = Dialogue(Wire::new(stream));
        dialogue.say(text).await;
        let reply = dialogue.try_hear(self.method).await?;
        let status = reply.status();
        // The HTTP library refuses some heads before Doorward sees them, with a bare response.
        if status >= 400 && reply.head.header("cache-control").is_none() {
            return None;
        }
        let has_received = doorward.store.count() + doorward.forum.count() > before;
        let backend = if self.host.starts_with("forum") {
            &doorward.forum
        } else {
            &doorward.store
        };
        Some(Served {
            status,
            received: has_received.then(|| backend.last()),
        })
    }

    fn explain(&self, id: &str, explainer: &Explainer, sender: &Sender) -> Option<Explanation> {
        let url = format!("http://{}{}", self.host, self.target);
        // Otherwise the HTTP library refuses the target.
        let mut request = PresumedRequest::new(self.method, &url).ok()?;
        for field in self.fields(id) {
            let (name, value) = field.split_once(':').expect("a field");
            request.add_header(name, value).expect("a field");
        }
        request.peer = Some("127.0.0.1".parse().expect("an address"));
        request.caller = sender.presumed.clone();
        Some(explainer.explain(request).expect("an explanation"))
    }
}

/// The fields that the app received, without those of the connection.
fn end_to_end(received: &Received) -> BTreeMap<String, Vec<String>> {
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &received.head.headers {
        let name = name.to_lowercase();
        if !["host", "connection", "content-length", "transfer-encoding"].contains(&name.as_str()) {
            fields.entry(name).or_default().push(value.clone());
        }
    }
    fields
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explanation_and_server_agree_on_generated_requests() {
    let count = count_of_requests();
    let doorward = Setup::plain()
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .store("aliases = [\"http://www.store.localhost:8080\"]\npreserve_post_max_bytes = 0")
        .store_rules(RULES)
        .start();
    let explainer = Explainer::new(&doorward.config()).expect("an explainer");
    let senders = senders(&doorward).await;
    let requests = corpus(count, senders.len());
    let mut pairs = HashMap::new();
    for (number, request) in requests.iter().enumerate() {
        let sender = &senders[request.caller];
        let id = format!("generated-{number}");
        let served = request.serve(&id, &doorward, sender).await;
        let explained = request.explain(&id, &explainer, sender);
        if let (Some(served), Some(explained)) = (served, explained) {
            pairs.insert(id, (request, served, explained));
        }
    }
    eventually("the access log", || {
        let text = doorward.log.text();
        pairs.keys().all(|id| text.contains(&format!("\"{id}\"")))
    })
    .await;
    let lines: HashMap<String, Value> = doorward
        .log
        .lines()
        .into_iter()
        .map(|line| {
            (
                line["request_id"].as_str().unwrap_or_default().to_owned(),
                line,
            )
        })
        .collect();
    let mut complaints = Vec::new();
    let mut decisions: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, (request, served, explained)) in &pairs {
        let line = &lines[id];
        *decisions.entry(explained.decision).or_default() += 1;
        let is_forwarded = explained.decision == "forward";
        let has_app = line["app"].as_str() == explained.app.as_deref();
        // The rest is decided by the app, the provider or the store.
        let is_final = explained.status.is_some() || is_forwarded;
        let has_decision = !is_final || line["decision"] == explained.decision;
        let has_status = explained
            .status
            .is_none_or(|status| status == served.status);
        let is_refused = explained.status.is_some_and(|status| status >= 400);
        let expected_rule = explained.rule.as_ref().map(|rule| rule.name.as_str());
        let has_rule = line["rule"].is_null() || line["rule"].as_str() == expected_rule;
        let names_rule =
            !is_refused || explained.decision != "forbidden" || line["rule"].is_string();
        let has_missing =
            line["missing"].as_str() == explained.missing.as_deref() || explained.route == "none";
        let headers = served.received.as_ref().map(end_to_end);
        let has_headers = headers.unwrap_or_default() == explained.headers;
        let has_user =
            explained.route == "none" || line["user"].as_str() == explained.user.as_deref();
        let is_explained = has_rule && names_rule && has_missing && has_user;
        if !(has_app && has_decision && has_status && has_headers && is_explained) {
            complaints.push(format!(
                "{request:?}\n  {line}\n  {explained:?}\n  {:?}",
                served.status
            ));
        }
    }
    println!("{} of {count} requests: {decisions:#?}", pairs.len());
    assert!(
        complaints.is_empty(),
        "{} of {count}:\n{}",
        complaints.len(),
        complaints[..complaints.len().min(5)].join("\n")
    );
    assert!(
        pairs.len() * 10 > count * 8,
        "{} of {count} compared",
        pairs.len()
    );
    for decision in [
        "forward",
        "start_login",
        "no_session",
        "forbidden",
        "denied",
    ] {
        assert!(decisions.contains_key(decision), "{decisions:?}");
    }
}

/// A day with ten refusals: for each, one command says who, which rule, and what was missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_explained_from_the_access_log() {
    let doorward = Setup::plain()
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .more("[log]\nuser = \"{preferred_username}\"\n")
        .store_rules(RULES)
        .start();
    let admins = r#"roles any of ["admin"], got "#;
    let domain = r#"verified email at any of ["example.org"], got an address at ["example.com"]; "#;
    let office = "client address in [10.0.0.0/8], got 203.0.113.9";
    let user = |name: &str| User::new(name, &[]);
    let clerk = User::new("carla", &["clerk", "cook"]);
    let mallory = User::new("mallory", &["suspended"]);
    let sales = user("sam").with_claim("org", json!({"unit": "sales"}));
    let unverified = user("uma").with_claim("email_verified", json!(false));
    let cases = [
        (
            user("alice"),
            "/admin/1",
            "rule `admins`",
            format!("{admins}nothing"),
        ),
        (
            clerk,
            "/admin/2",
            "rule `admins`",
            format!("{admins}[\"clerk\", \"cook\"]"),
        ),
        (
            user("bob"),
            "/domain/3",
            "rule 5",
            format!("{domain}or org.unit any of [\"it\"], got nothing"),
        ),
        (
            sales,
            "/domain/4",
            "rule 5",
            format!("{domain}or org.unit any of [\"it\"], got [\"sales\"]"),
        ),
        (
            unverified,
            "/domain/5",
            "rule 5",
            "got no verified address; or".to_owned(),
        ),
        (user("ben"), "/office/6", "rule 4", office.to_owned()),
        (
            mallory,
            "/office/7",
            "rule 4",
            format!("{office}; and not (roles any of [\"suspended\"], got [\"suspended\"])"),
        ),
        (user("dan"), "/closed/8", "rule 8", "denied".to_owned()),
        (user("eve"), "/closed/9", "rule 8", "denied".to_owned()),
        (
            user("fay"),
            "/admin/10",
            "rule `admins`",
            format!("{admins}nothing"),
        ),
    ];
    let mut expected = Vec::new();
    for (user, path, rule, missing) in cases {
        let name = user.claims["preferred_username"]
            .as_str()
            .expect("a name")
            .to_owned();
        let mut browser = signed_in(&doorward, user).await;
        let request = RequestSpec::new(Kind::Navigation, &doorward.store_url(path))
            .header("x-forwarded-for", "203.0.113.9");
        assert_eq!(browser.send(request).await.status(), 403, "{path}");
        let decision = if rule == "rule 8" {
            "denied"
        } else {
            "forbidden"
        };
        let line = doorward.log.line(path, decision).await;
        expected.push((
            line["request_id"].as_str().expect("an ID").to_owned(),
            name,
            rule,
            missing,
        ));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    fs::write(&log, doorward.log.text()).expect("a file");
    for (id, name, rule, missing) in expected {
        let ended = Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(["explain", "--request-id", &id, "--log"])
            .arg(&log)
            .output()
            .expect("a process");
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        for part in [
            format!("user      {name}\n"),
            format!("because   {rule}\n"),
            missing,
        ] {
            assert!(text.contains(&part), "{part}: {text}");
        }
    }
}
