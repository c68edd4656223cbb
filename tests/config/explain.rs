//! `doorward explain` and `doorward test`: output and exit codes, and the shipped file of tests.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::support::{Folder, GOOD};

fn doorward(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_doorward"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn shipped(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name);
    fs::read_to_string(file).unwrap()
}

struct Case(Folder);

impl Case {
    fn path(&self, name: &str) -> String {
        self.0.path(name).to_str().unwrap().to_owned()
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Output {
        let config = self.path("doorward.toml");
        doorward(&[&[command, "--config", &config], arguments].concat())
    }

    fn test(&self, tests: &str) -> Output {
        self.0.write("tests.toml", tests);
        self.run("test", &[&self.path("tests.toml")])
    }
}

#[test]
fn shipped_tests_pass_and_a_changed_rule_fails_them() {
    let config = shipped("store-and-forum.toml");
    let tests = shipped("store-and-forum.tests.toml");
    let good = Case(Folder::with(&config)).test(&tests);
    let shown = text(&good.stdout);
    assert_eq!(good.status.code(), Some(0), "{shown}{}", text(&good.stderr));
    assert!(shown.ends_with("10 requests, 0 failed\n"), "{shown}");

    let admins = "allow = { roles = [\"admin\"] }";
    let changed = config.replacen(admins, "allow = { roles = [\"customer\"] }", 1);
    assert_ne!(changed, config);
    let bad = Case(Folder::with(&changed)).test(&tests);
    assert_eq!(bad.status.code(), Some(1));
    let shown = text(&bad.stdout);
    for line in [
        "failed: sales administrates nothing else (GET https://store.example.com/admin/users)",
        "  decision: expected forbidden, got forward",
        "  status: expected 403, got none",
        "holds: roles any of [\"customer\"], got [\"customer\"]",
        "10 requests, 1 failed",
    ] {
        assert!(shown.contains(line), "{line}:\n{shown}");
    }
}

#[test]
fn test_that_cannot_fail_is_an_error() {
    let case = Case(Folder::with(GOOD));
    let request = "[[requests]]\nurl = \"https://store.example.com/\"\n";
    for (tests, expected) in [
        (format!("{request}expect = {{}}"), "cannot fail"),
        (
            format!("{request}expect = {{ decison = \"x\" }}"),
            "decison",
        ),
        (request.to_owned(), "expect"),
        (
            format!("{request}claims = {{ name = \"x\" }}\nexpect = {{ status = 200 }}"),
            "need `sub`",
        ),
        (
            format!("{request}headers = {{ \"a b\" = \"x\" }}\nexpect = {{ status = 200 }}"),
            "not a header field",
        ),
    ] {
        let ended = case.test(&tests);
        assert_eq!(ended.status.code(), Some(1), "{tests}");
        let shown = text(&ended.stdout) + &text(&ended.stderr);
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
}

#[test]
fn explain_says_which_rule_and_which_value() {
    let case = Case(Folder::with(GOOD));
    case.0
        .write("claims.json", r#"{"sub": "alice", "roles": ["clerk"]}"#);
    let claims = case.path("claims.json");
    let url = "https://store.example.com/admin/users?x=y";
    let of_alice = [
        "GET",
        url,
        "--claims",
        &claims,
        "--client-ip",
        "203.0.113.7",
    ];
    let ended = case.run("explain", &of_alice);
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    let json = case.run("explain", &[&of_alice[..], &["--format", "json"]].concat());
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let hash = json["user"].as_str().unwrap().to_owned();
    assert_eq!(hash.len(), 16);
    assert_eq!(
        text(&ended.stdout).replace(&hash, "HASH"),
        "app       store\n\
         route     app\n\
         client    203.0.113.7, non-browser\n\
         caller    alice, in the log HASH\n\
         rule      2: /admin/**, GET, allows condition by session\n  \
           fails: roles any of [\"admin\"], got [\"clerk\"]\n\
         decision  forbidden, status 403\n\
         missing   roles any of [\"admin\"], got [\"clerk\"]\n"
    );
    assert_eq!(json["decision"], "forbidden");
    assert_eq!(json["rule"]["pattern"], "/admin/**");
    assert_eq!(json["rule"]["condition"]["verdict"], "fails");

    let header = "X-Forwarded-User: forged";
    let forwarded = ["POST", url, "--claims", &claims, "--header", header];
    let shown = text(&case.run("explain", &forwarded).stdout);
    assert!(
        shown.contains("rule      default, allows authenticated"),
        "{shown}"
    );
    assert!(shown.contains("decision  forward\n"), "{shown}");
    assert!(shown.contains("  x-forwarded-user: alice\n"), "{shown}");
    assert!(!shown.contains("forged"), "{shown}");
}

#[test]
fn explain_says_where_a_route_leads() {
    let routes = "[[apps.store.routes]]\npath = \"/wiki/**\"\nupstream = \"http://127.0.0.1:3100\"\n\
                  strip_prefix = \"/wiki\"\n[[apps.store.routes]]\npath = \"/old/**\"\n\
                  redirect = { to = \"/new/**\", status = 308 }\n[[apps.store.routes]]\n\
                  path = \"/docs/**\"\nfiles = \"static\"\nstrip_prefix = \"/docs\"\n";
    let case = Case(Folder::with(&format!("{GOOD}\n{routes}")));
    case.0.write("claims.json", r#"{"sub": "alice"}"#);
    let claims = case.path("claims.json");
    for (path, shown) in [
        (
            "/wiki/a?b",
            "path      /wiki/** to http://127.0.0.1:3100/a?b\n",
        ),
        ("/wiki/a", "\n  x-forwarded-prefix: /wiki\n"),
        (
            "/old/a",
            "path      /old/** to https://store.example.com/new/a\n",
        ),
        ("/old/a", "decision  route_redirect, status 308\n"),
        ("/docs/a.txt?b", "/static/a.txt\n"),
        ("/docs/a.txt", "decision  route_file\n"),
    ] {
        let url = format!("https://store.example.com{path}");
        let ended = case.run("explain", &["GET", &url, "--claims", &claims]);
        let text = text(&ended.stdout);
        assert!(text.contains(shown), "{shown}: {text}");
    }
    let other = [
        "GET",
        "https://store.example.com/wikipedia",
        "--claims",
        &claims,
    ];
    let text = text(&case.run("explain", &other).stdout);
    assert!(!text.contains("path "), "{text}");
}

#[test]
fn explain_finds_a_request_in_a_log() {
    let case = Case(Folder::with(GOOD));
    let denied = r#"{"time":"2026-11-29T14:03:07Z","request_id":"r1","app":"store","user":"a1b2","session":"c3d4","client_ip":"203.0.113.7","method":"GET","host":"store.example.com","path":"/admin/users","status":403,"decision":"forbidden","rule":"admins","missing":"roles any of [\"admin\"], got [\"clerk\u001b\"]","duration_ms":0.3,"bytes_in":0,"bytes_out":9}"#;
    let other = denied.replace("r1", "r10").replace("admins", "3");
    let event = "2026-11-29T14:03:07Z WARN upstream_failed app=store request_id=r2";
    case.0
        .write("log", &format!("{other}\n{denied}\n{event}\n"));
    let log = case.path("log");
    let of = |id: &str| doorward(&["explain", "--request-id", id, "--log", &log]);
    let ended = of("r1");
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    assert_eq!(
        text(&ended.stdout),
        "time      2026-11-29T14:03:07Z\n\
         request   GET store.example.com/admin/users\n\
         app       store\n\
         client    203.0.113.7\n\
         user      a1b2\n\
         session   c3d4\n\
         decision  forbidden, status 403\n\
         because   rule `admins`\n\
         missing   roles any of [\"admin\"], got [\"clerk\\u{1b}\"]\n"
    );
    assert!(text(&of("r10").stdout).contains("because   rule 3\n"));
    let absent = of("r2");
    assert_eq!(absent.status.code(), Some(1));
    assert!(text(&absent.stderr).contains("no entry of request `r2`"));
    assert!(text(&absent.stdout).contains("upstream_failed"));
    assert_eq!(
        doorward(&["explain", "--request-id", "r1"]).status.code(),
        Some(64)
    );
}

#[test]
fn explain_exits_with_1_64_or_78() {
    let case = Case(Folder::with(GOOD));
    let url = "https://store.example.com/";
    let code = |arguments: &[&str]| case.run("explain", arguments).status.code();
    assert_eq!(code(&["GET", "store.example.com"]), Some(1));
    assert_eq!(code(&["GET", url, "--header", "x y"]), Some(1));
    assert_eq!(
        code(&["GET", url, "--claims", &case.path("absent")]),
        Some(1)
    );
    assert_eq!(code(&["GET"]), Some(64));
    case.0.write("doorward.toml", "[server]\nlisten = 1\n");
    assert_eq!(code(&["GET", url]), Some(78));
}
