//! Maintenance: requests to an app get 503 while its switch is on.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;

use doorward::types::time::SystemClock;

use crate::decisions::check::{Check, Dialect, decided_by};
use crate::support::assertions::{CART, SOON, assert_error_page, assert_problem};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;
use crate::support::replicas::Replicas;

async fn status(browser: &mut Browser, url: &str) -> u16 {
    browser
        .send(RequestSpec::new(Kind::Program, url))
        .await
        .status()
}

async fn becomes(doorward: &Doorward, url: &str, expected: u16) {
    eventually_async("maintenance is switched", SOON, async || {
        status(&mut doorward.browser(), url).await == expected
    })
    .await;
}

#[tokio::test]
async fn file_switches_one_app_and_another_file_all() {
    let doorward = Setup::plain()
        .store("maintenance = { file = \"store.off\", retry_after = \"10m\" }")
        .more("[maintenance]\nfile = \"all.off\"\n[[apps.forum.rules]]\npaths = [\"/**\"]\nallow = \"public\"")
        .start();
    let (store, forum) = (doorward.store_url("/public/x"), doorward.forum_url("/x"));
    let file = |name: &str| doorward.file().with_file_name(name);
    assert_eq!(status(&mut doorward.browser(), &store).await, 200);
    let mut alice = doorward.logged_in("alice", CART).await;

    fs::write(file("store.off"), "").expect("a file");
    becomes(&doorward, &store, 503).await;
    assert_eq!(status(&mut doorward.browser(), &forum).await, 200);
    let page = alice.visit(&doorward.store_url(CART)).await;
    assert_error_page(&page, 503, "maintenance");
    assert_eq!(page.header("retry-after"), Some("600"));
    assert!(page.words().contains("under maintenance"), "{page}");
    let (ready, report) = doorward.readiness_of(0).await;
    assert_eq!(ready, 200, "{report}");
    assert_eq!(
        report["maintenance"],
        serde_json::json!({ "all": false, "apps": ["store"] })
    );
    let gauge = |app: &str| format!("doorward_maintenance{{app=\"{app}\"}}");
    assert_eq!(doorward.metric(&gauge("store")).await, 1.0);
    assert_eq!(doorward.metric(&gauge("forum")).await, 0.0);
    // Sessions go on, and users can log out.
    let session = doorward.store_url("/.doorward/session");
    assert_eq!(status(&mut alice, &session).await, 200);

    fs::write(file("all.off"), "").expect("a file");
    becomes(&doorward, &forum, 503).await;
    fs::remove_file(file("all.off")).expect("the file");
    becomes(&doorward, &forum, 200).await;
    assert_eq!(status(&mut doorward.browser(), &store).await, 503);
    fs::remove_file(file("store.off")).expect("the file");
    becomes(&doorward, &store, 200).await;
    assert_eq!(alice.visit(&doorward.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn file_that_exists_at_the_start_counts_from_the_first_request() {
    let doorward = Setup::plain()
        .file("all.off", "")
        .more("[maintenance]\nfile = \"all.off\"\nallowed_addresses = [\"127.0.0.2/31\"]")
        .start();
    let url = doorward.store_url("/public/x");
    let page = doorward
        .browser()
        .send(RequestSpec::new(Kind::Program, &url))
        .await;
    assert_problem(&page, 503, "maintenance");
    assert_eq!(page.header("retry-after"), Some("60"));
    let mut allowed = doorward.browser().from_address(Ipv4Addr::new(127, 0, 0, 3));
    assert_eq!(status(&mut allowed, &url).await, 200);
    assert_eq!(doorward.store.count(), 1);
}

#[tokio::test]
async fn decisions_for_edges_are_refused_alike() {
    let doorward = decided_by(Setup::plain())
        .file("all.off", "")
        .more("[maintenance]\nfile = \"all.off\"")
        .start();
    for dialect in [
        Dialect::AuthRequest,
        Dialect::ForwardAuth,
        Dialect::ExtAuthz,
    ] {
        let refused = Check::new(dialect, "/public/x").request(&doorward).await;
        assert_eq!(refused.status(), 503, "{dialect:?} {}", refused.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_switches_a_replica_until_the_next_one() {
    let replicas = Replicas::start(1, Setup::plain());
    let admin = format!("127.0.0.1:{}", replicas.processes[0].port("admin"));
    let switch = |words: &[&str]| replicas.ended(&[words, &["--admin", &admin]].concat());
    let mut browser = replicas.moved_to(0, Browser::new(Arc::new(SystemClock)));
    let url = Replicas::store_url("/public/x");
    assert_eq!(status(&mut browser, &url).await, 200);

    let ended = switch(&["maintenance on", "--app", "store"]);
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert!(
        ended.said.contains("maintenance of store at"),
        "{}",
        ended.said
    );
    assert_eq!(status(&mut browser, &url).await, 503);
    replicas.processes[0].line_with("maintenance_switched");
    let ended = switch(&["maintenance off"]);
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert_eq!(
        status(&mut browser, &url).await,
        503,
        "that of the app is on"
    );
    assert_eq!(switch(&["maintenance off", "--app", "store"]).code, 0);
    assert_eq!(status(&mut browser, &url).await, 200);
    assert_eq!(switch(&["maintenance on"]).code, 0);
    assert_eq!(status(&mut browser, &url).await, 503);

    let ended = switch(&["maintenance on", "--app", "wiki"]);
    assert_eq!(ended.code, 1, "{}", ended.said);
    assert!(
        ended.said.contains("no app has this name"),
        "{}",
        ended.said
    );
}

#[tokio::test]
async fn command_without_a_key_of_the_deployment_is_rejected() {
    let doorward = Setup::plain().start();
    let url = format!("http://{}/maintenance", doorward.admin_address());
    let spec = RequestSpec::new(Kind::Program, &url).method("POST");
    let spec = spec.body("text/plain", "on");
    let page = Browser::new(doorward.clock.clone()).send(spec).await;
    assert_eq!(page.status(), 403, "{page}");
    let store = doorward.store_url("/public/x");
    assert_eq!(status(&mut doorward.browser(), &store).await, 200);
}
