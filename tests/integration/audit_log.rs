//! Audit log: a day with logins, refusals, a stolen token, logouts, commands and reloads is complete, and
//! each event names user, session, rule and what was missing. A target that takes nothing delays no
//! request.

use std::fs;
use std::os::unix::net::UnixDatagram;

use doorward::auth::revocation::command::RevocationTarget;
use doorward::server;
use doorward::types::oauth::Subject;
use serde_json::{Value, json};

use crate::mobile_workflow::{PASSWORD, Phone};
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually;
use crate::support::provider::{Endpoint, Fault, User};

const CART: &str = "/shopping-cart";

const DROPPED: &str = "doorward_audit_log_dropped_total";

fn setup() -> Setup {
    Setup::plain().more("\n[log]\naudit = \"file:audit.log\"\nuser = \"{email}\"\n")
}

/// The audit log of one server.
struct Audit<'d>(&'d Doorward);

impl Audit<'_> {
    fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.0.file().with_file_name("audit.log")).expect("a file");
        let events = text.lines();
        events
            .map(|line| serde_json::from_str(line).expect("a JSON object"))
            .collect()
    }

    /// The event with these members, as `jq 'select(.event == "denied" and …)'` finds it.
    async fn event(&self, members: Value) -> Value {
        let members = members.as_object().expect("members").clone();
        let fits = |event: &Value| members.iter().all(|(name, value)| event[name] == *value);
        eventually(&format!("{members:?} in the audit log"), || {
            self.events().iter().any(fits)
        })
        .await;
        let event = self.events().into_iter().rfind(fits);
        event.expect("it was there")
    }
}

async fn post(doorward: &Doorward, path: &str, command: String) -> Page {
    let url = format!("http://{}{path}", doorward.admin_address());
    let request = RequestSpec::new(Kind::Program, &url)
        .method("POST")
        .body("text/plain", command);
    Browser::new(doorward.clock.clone()).send(request).await
}

fn revocation(doorward: &Doorward) -> String {
    let apps = server::apps(&doorward.config()).expect("apps");
    let mut apps = apps.iter();
    let store = apps.find(|app| app.app.name.as_str() == "store");
    RevocationTarget::Subject(Subject::new("bob-id"))
        .sealed_commands(store.expect("the store"), doorward.now())
        .expect("a command")
}

#[tokio::test]
async fn day_of_logins_and_refusals_is_complete() {
    let doorward = setup()
        .more("\n[apps.store.native]\npassword_grant = true\n")
        .start();
    doorward
        .provider
        .add_user("carol", PASSWORD, User::new("carol", &[]));

    let mut alice = doorward.logged_in("alice", CART).await;
    let login = json!({"event": "login_finished", "outcome": "signed_in"});
    let login = Audit(&doorward).event(login).await;
    assert_eq!(login["user"], "alice@example.com", "{login}");
    assert_eq!(
        (&login["app"], &login["client_ip"]),
        (&json!("store"), &json!("127.0.0.1"))
    );
    assert!(login["request_id"].is_string(), "{login}");
    let session = login["session"].clone();

    // "Why was she refused?"
    assert_eq!(
        alice
            .step(&doorward.store_url("/admin/x?token=s3cret"))
            .await
            .status(),
        403
    );
    let denied = Audit(&doorward).event(json!({"event": "denied"})).await;
    let entry = doorward.log.line("/admin/x", "forbidden").await;
    for (name, value) in [
        ("user", json!("alice@example.com")),
        ("session", session.clone()),
        ("method", json!("GET")),
        ("path", json!("/admin/x")),
        ("status", json!(403)),
        ("decision", json!("forbidden")),
        ("rule", json!("2")),
    ] {
        assert_eq!(
            (&denied[name], &entry[name]),
            (&value, &value),
            "{name}: {denied}"
        );
    }
    for name in ["request_id", "client_ip", "host", "missing"] {
        assert!(
            denied[name].is_string() && denied[name] == entry[name],
            "{name}: {denied}"
        );
    }

    // Asking for a login refuses nobody.
    assert_eq!(
        doorward
            .browser()
            .step(&doorward.store_url(CART))
            .await
            .status(),
        302
    );

    let mut thief = doorward.browser();
    let stolen = alice
        .jar
        .get(doorward.store_host(), &doorward.cookie_name("refresh"));
    thief.jar.plant(stolen.expect("a cookie").clone());
    doorward.advance_secs(300);
    for _ in 0..2 {
        assert_eq!(alice.step(&doorward.store_url(CART)).await.status(), 200);
    }
    doorward.advance_secs(31);
    assert_eq!(thief.step(&doorward.store_url(CART)).await.status(), 302);
    let reuse =
        json!({"event": "refresh_token_reuse", "outcome": "session_ended", "session": session});
    assert!(Audit(&doorward).event(reuse).await["user"].is_string());

    let mut bob = doorward.logged_in("bob", CART).await;
    doorward.advance_secs(301);
    let refused = Fault::Json(400, r#"{"error":"invalid_grant"}"#);
    doorward.provider.fault(Endpoint::Token, refused);
    assert_eq!(bob.step(&doorward.store_url(CART)).await.status(), 302);
    doorward.provider.heal(Endpoint::Token);
    let refused = json!({"event": "refresh_refused", "user": "bob@example.com", "app": "store"});
    Audit(&doorward).event(refused).await;

    let mut bob = doorward.logged_in("bob", CART).await;
    let page = bob.visit(&doorward.store_url("/.doorward/logout")).await;
    bob.submit(&page, &[]).await;
    let logout = Audit(&doorward).event(json!({"event": "logout"})).await;
    assert!(
        logout["session"].is_string() && logout["user"].is_string(),
        "{logout}"
    );

    let mut phone = Phone::of(&doorward);
    assert_eq!(
        phone.log_in("carol", "a wrong password").await.status(),
        401
    );
    assert_eq!(phone.log_in("carol", PASSWORD).await.status(), 200);
    let tokens =
        json!({"event": "password_login", "outcome": "tokens", "user": "carol@example.com"});
    Audit(&doorward).event(tokens).await;

    assert_eq!(
        post(&doorward, "/revoke", revocation(&doorward))
            .await
            .status(),
        200
    );
    assert_eq!(
        post(&doorward, "/revoke", "junk".to_owned()).await.status(),
        403
    );
    let ordered = Audit(&doorward)
        .event(json!({"event": "revocation", "outcome": "ordered"}))
        .await;
    assert!(ordered["user"].is_string(), "{ordered}");
    for status in [200, 403] {
        let call = json!({"event": "admin_call", "path": "/revoke", "status": status});
        assert_eq!(Audit(&doorward).event(call).await["client_ip"], "127.0.0.1");
    }

    doorward.edit("user = \"{email}\"", "user = \"{sub}\"");
    doorward.reload_changes().await;
    let reload = Audit(&doorward)
        .event(json!({"event": "config_reloaded", "trigger": "signal"}))
        .await;
    assert!(
        reload["changes"] == 1 && reload["hash"].is_string(),
        "{reload}"
    );
    doorward.edit("user = \"{sub}\"", "user = \"{\"");
    doorward
        .reload()
        .await
        .expect_err("an invalid configuration");
    let refused = Audit(&doorward)
        .event(json!({"event": "config_refused"}))
        .await;
    assert!(
        refused["error"]
            .as_str()
            .is_some_and(|error| error.contains("log.user")),
        "{refused}"
    );
    // The names changed with the configuration.
    doorward.logged_in("bob", CART).await;
    Audit(&doorward)
        .event(json!({"event": "login_finished", "user": "bob-id"}))
        .await;

    let mut names: Vec<String> = Vec::new();
    for event in Audit(&doorward).events() {
        names.push(event["event"].as_str().expect("a name").to_owned());
    }
    let expected = [
        "login_finished",
        "denied",
        "refresh_token_reuse",
        "refresh_refused",
        "login_finished",
        "refresh_refused",
        "login_finished",
        "logout",
        "password_login",
        "password_login",
        "revocation",
        "admin_call",
        "admin_call",
        "config_reloaded",
        "config_refused",
        "login_finished",
    ];
    assert_eq!(names, expected);
}

/// A rotated file is created again, and nothing is lost meanwhile.
#[tokio::test]
async fn rotated_file_is_created_again() {
    let doorward = setup().start();
    let alice = doorward.logged_in("alice", CART).await;
    Audit(&doorward)
        .event(json!({"event": "login_finished"}))
        .await;
    let file = doorward.file().with_file_name("audit.log");
    fs::rename(&file, doorward.file().with_file_name("audit.log.1")).expect("a file");
    let mut alice = alice;
    assert_eq!(
        alice.step(&doorward.store_url("/admin/x")).await.status(),
        403
    );
    eventually("the file is created again", || file.exists()).await;
    Audit(&doorward).event(json!({"event": "denied"})).await;
    assert_eq!(Audit(&doorward).events().len(), 1);
}

/// The socket's queue and the buffer fill up. Requests go on, dropped events are counted, and one event
/// tells their number when the server reads again.
#[tokio::test]
async fn syslog_that_never_reads_delays_no_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let syslog = UnixDatagram::bind(&path).expect("a socket");
    let target = path.display();
    let log = format!("\n[log]\naudit = \"unix:{target}\"\nmax_audit_buffer_bytes = 16384\n");
    let doorward = Setup::plain().more(&log).start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let mut refused = 0.0;
    while doorward.metric(DROPPED).await == 0.0 {
        assert_eq!(
            alice.step(&doorward.store_url("/admin/x")).await.status(),
            403
        );
        refused += 1.0;
        assert!(refused < 2000.0, "the buffer has a limit");
    }
    let dropped = doorward.metric(DROPPED).await;
    let mut taken = 0.0;
    let lost = tokio::task::spawn_blocking(move || {
        let mut message = [0; 4096];
        loop {
            let size = syslog.recv(&mut message).expect("a message");
            let text = std::str::from_utf8(&message[..size]).expect("ASCII");
            let (header, event) = text.split_once(": ").expect("a tag");
            assert!(
                header.starts_with("<8") && header.contains(">doorward["),
                "{header}"
            );
            let event: Value = serde_json::from_str(event).expect("JSON");
            match event["event"].as_str() {
                Some("audit_events_lost") => return (event["count"].as_f64(), taken),
                Some("denied") => taken += 1.0,
                _ => {}
            }
        }
    });
    let (count, taken) = lost.await.expect("a thread that does not panic");
    assert_eq!((count, taken), (Some(dropped), refused - dropped));
}
