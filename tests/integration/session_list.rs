//! `doorward sessions`: an operator lists sessions and ends them.

use doorward::auth::session_list::query::{SessionEntry, SessionQuery, SessionReport};
use doorward::server;
use serde_json::Value;

use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::process::Process;
use crate::support::replicas::Replicas;

const CART: &str = "/shopping-cart";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// The sessions that a command lists.
fn listed(replicas: &Replicas, replica: usize, words: &[&str]) -> Vec<Value> {
    let admin = format!("127.0.0.1:{}", replicas.processes[replica].port("admin"));
    let fixed = ["sessions list", "--admin", &admin, "--format", "json"];
    let output = replicas.command(&[&fixed, words].concat()).expect("a list");
    let line = output.lines().find(|line| line.starts_with('{'));
    let report: Value = serde_json::from_str(line.expect("an object")).expect("JSON");
    assert_eq!(report["enabled"], true, "{report}");
    report["sessions"].as_array().expect("sessions").clone()
}

fn users(sessions: &[Value]) -> Vec<&str> {
    let mut users: Vec<&str> = sessions
        .iter()
        .map(|session| session["user"].as_str().expect("a name"))
        .collect();
    users.sort_unstable();
    users
}

async fn status(browser: &mut Browser, path: &str) -> u16 {
    let request = RequestSpec::new(Kind::Navigation, &Replicas::store_url(path))
        .header("user-agent", FIREFOX);
    browser.send(request).await.status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_listed_by_condition_and_ended() {
    let setup = Setup::plain().more("[session.list]\nuser = \"{email}\"\n");
    let replicas = Replicas::start(1, setup);
    let mut alice = replicas.logged_in(0, "alice", CART).await;
    let mut other_alice = replicas.logged_in(0, "alice", CART).await;
    let mut bob = replicas.logged_in(0, "bob", CART).await;

    let all = listed(&replicas, 0, &[]);
    assert_eq!(all.len(), 3, "{all:?}");
    let [by_sub, by_name, by_email] = [
        &["--user", "alice-id"],
        &["--user", users(&all)[0]],
        &["--email", "ALICE@example.com"],
    ]
    .map(|words| listed(&replicas, 0, words).len());
    assert_eq!((by_sub, by_name, by_email), (2, 2, 2), "{all:?}");
    for (words, expected) in [
        (&["--app", "store"][..], 3),
        (&["--app", "forum"], 0),
        (&["--app", "store", "--user", "bob-id"], 1),
        (&["--provider", "none"], 0),
        (&["--older-than", "1h"], 0),
        (&["--idle-for", "0s"], 3),
        (&["--limit", "2"], 2),
    ] {
        assert_eq!(listed(&replicas, 0, words).len(), expected, "{words:?}");
    }
    let session = &all[0];
    assert_eq!(session["host"], "store.localhost", "{session}");
    assert_eq!(session["network"], "127.0.0.0/24", "{session}");
    assert_eq!(session["holder"], "browser", "{session}");

    let run = |words: &[&str]| {
        let admin = format!("127.0.0.1:{}", replicas.processes[0].port("admin"));
        replicas.command(&[words, &["--admin", &admin]].concat())
    };
    let bobs = listed(&replicas, 0, &["--user", "bob-id"]);
    let name = bobs[0]["session"].as_str().expect("a name");
    let shown = run(&["sessions show", name]).expect("a session");
    assert!(
        shown.contains("bob@example.com") && shown.contains("store.localhost"),
        "{shown}"
    );
    let ended = run(&["sessions end", name]).expect("an order that is followed");
    assert!(ended.contains("ended: 1 session\n"), "{ended}");
    assert_eq!(status(&mut bob, CART).await, 302);
    assert_eq!(users(&listed(&replicas, 0, &[])), ["alice@example.com"; 2]);
    assert_eq!(status(&mut alice, CART).await, 200);
    let ended = run(&["sessions end", "--user", "alice-id", "--app", "store"]);
    assert!(ended.expect("an order").contains("ended: 2 sessions\n"));
    assert_eq!(status(&mut alice, CART).await, 302);
    assert_eq!(status(&mut other_alice, CART).await, 302);
    assert_eq!(listed(&replicas, 0, &[]).len(), 0);

    for (words, told) in [
        (&["sessions show", name][..], "the list has no session"),
        (&["sessions end", "no\u{1b}such"], "no\\u{1b}such"),
        (&["sessions end"], "name a session"),
        (&["sessions end", "--older-than", "0s"], "name a session"),
        (&["sessions list", "--older-than", "soon"], "`8h`"),
    ] {
        let said = run(words).expect_err("no session");
        assert!(said.contains(told), "{words:?}: {said}");
    }
}

#[tokio::test]
async fn forged_or_stale_query_lists_nothing() {
    let mut doorward = Setup::plain().start();
    let _alice = doorward.logged_in("alice", CART).await;
    let old = query(&doorward);
    doorward.advance_secs(61);
    let foreign = query(&Setup::plain().start());
    let reload = server::reload_command(&doorward.config()).expect("keys");
    for (message, told) in [
        (old, "more than a minute"),
        (foreign, "not sealed"),
        (reload.expect("a message"), "not sealed"),
        ("junk".to_owned(), "not sealed"),
        (String::new(), "not sealed"),
    ] {
        let page = post(&doorward, message).await;
        assert_eq!(page.status(), 403, "{page}");
        assert!(page.text().contains(told), "{page}");
    }
    assert_eq!(post(&doorward, query(&doorward)).await.status(), 200);
    let url = format!("http://{}/sessions", doorward.admin_address());
    let get = RequestSpec::new(Kind::Program, &url);
    assert_eq!(doorward.browser().send(get).await.status(), 404);
    let replica = doorward.add_replica();
    assert_eq!(reported(&doorward).await.len(), 1);
    assert_eq!(
        reported_at(&doorward, replica).await.len(),
        0,
        "`memory:` is each replica's own"
    );
}

#[tokio::test]
async fn session_is_listed_until_it_ends() {
    let doorward = Setup::plain().start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let mut bob = doorward.logged_in("bob", CART).await;
    let login = doorward.now().secs();
    let of = |sessions: Vec<SessionEntry>| {
        let mut times: Vec<_> = sessions
            .iter()
            .map(|session| (session.started_at - login, session.last_activity - login))
            .collect();
        times.sort_unstable();
        times
    };
    assert_eq!(of(reported(&doorward).await), [(0, 0), (0, 0)]);
    // A tenth of the idle timeout.
    doorward.advance_secs(180);
    assert_eq!(alice.step(&doorward.store_url(CART)).await.status(), 200);
    assert_eq!(of(reported(&doorward).await), [(0, 0), (0, 180)]);
    // The other one has been idle for the timeout.
    doorward.advance_secs(1620);
    assert_eq!(of(reported(&doorward).await), [(0, 180)]);
    assert_eq!(bob.step(&doorward.store_url(CART)).await.status(), 302);
    let page = alice.visit(&doorward.store_url("/.doorward/logout")).await;
    alice.submit(&page, &[]).await;
    assert!(reported(&doorward).await.is_empty());
}

#[tokio::test]
async fn reload_keeps_the_list_and_forgets_names_that_it_may_not_show() {
    let doorward = Setup::plain()
        .more("[session.list]\nuser = \"{sub}\"\n")
        .start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let named = reported(&doorward).await;
    assert_eq!(named[0].user.as_deref(), Some("alice-id"));
    assert!(named[0].network.is_some());
    doorward.edit("user = \"{sub}\"", "user = \"none\"\nclient = \"none\"");
    doorward.reload().await.expect("a valid configuration");
    let kept = reported(&doorward).await;
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(
        (&kept[0].sid, &kept[0].user, &kept[0].network),
        (&named[0].sid, &None, &None)
    );
    // Later entries have none either.
    doorward.advance_secs(200);
    assert_eq!(alice.step(&doorward.store_url(CART)).await.status(), 200);
    let later = reported(&doorward).await;
    assert_eq!(later[0].last_activity, named[0].last_activity + 200);
    assert_eq!((&later[0].user, &later[0].program), (&None, &None));
    doorward.edit("user = \"none\"", "max_sessions = 0");
    doorward.reload().await.expect("a valid configuration");
    assert!(reported(&doorward).await.is_empty());
    assert_eq!(alice.step(&doorward.store_url(CART)).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_empties_the_list_until_sessions_are_used() {
    let mut replicas = Replicas::start(1, Setup::plain());
    let mut alice = replicas.logged_in(0, "alice", CART).await;
    assert_eq!(listed(&replicas, 0, &[]).len(), 1);
    let said = replicas.command(&["sessions list", "--email", "alice@example.com"]);
    let said = said.expect_err("users have no names here");
    assert!(said.contains("session.list.user"), "{said}");
    replicas.processes[0].kill();
    let process = Process::run(replicas.around.file.as_os_str(), &[]);
    replicas.processes.push(process);
    assert_eq!(listed(&replicas, 1, &[]).len(), 0);
    alice = replicas.moved_to(1, alice);
    assert_eq!(status(&mut alice, CART).await, 200);
    let again = listed(&replicas, 1, &[]);
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(again[0]["program"], "Firefox on Linux", "{again:?}");
}

fn query(doorward: &Doorward) -> String {
    let query = SessionQuery {
        given_at: doorward.now(),
        ..SessionQuery::default()
    };
    let message = server::session_query(&doorward.config(), &query);
    message.expect("keys").expect("a message")
}

async fn post(doorward: &Doorward, message: String) -> Page {
    post_to(doorward, 0, message).await
}

async fn post_to(doorward: &Doorward, replica: usize, message: String) -> Page {
    let url = format!("http://{}/sessions", doorward.admin_address_of(replica));
    let request = RequestSpec::new(Kind::Program, &url)
        .method("POST")
        .body("text/plain", message);
    Browser::new(doorward.clock.clone()).send(request).await
}

/// The sessions in the list.
async fn reported(doorward: &Doorward) -> Vec<SessionEntry> {
    reported_at(doorward, 0).await
}

async fn reported_at(doorward: &Doorward, replica: usize) -> Vec<SessionEntry> {
    let page = post_to(doorward, replica, query(doorward)).await;
    assert_eq!(page.status(), 200, "{page}");
    let report: SessionReport = serde_json::from_str(&page.text()).expect("a report");
    report.sessions
}
