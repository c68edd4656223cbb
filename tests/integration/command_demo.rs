//! `doorward demo` as a process: output, temporary files, and start errors.

use std::fs;
use std::sync::Arc;

use doorward::types::time::SystemClock;

use crate::support::backend::Backend;
use crate::support::browser::Browser;
use crate::support::journey;
use crate::support::process::{DemoProcess, Process};

#[tokio::test]
async fn demo_prints_addresses_and_events() {
    let demo = DemoProcess::start(60);
    for part in [
        "alice / alice",
        "bob / bob",
        &format!("{}/shopping-cart", demo.store),
        "60 s",
    ] {
        demo.process.line_with(part);
    }
    let mut browser = Browser::new(Arc::new(SystemClock));
    for origin in [&demo.store, &demo.forum, &demo.provider] {
        let page = browser.visit(&format!("{origin}/")).await;
        assert_eq!((page.status(), page.chain.len()), (200, 1), "{page}");
    }
    journey::log_in(&mut browser, &format!("{}/admin", demo.store), "bob").await;
    let lines: Vec<String> = ["bob signed in for store", "store exchanged its code"]
        .map(|part| demo.process.line_with(part))
        .into();
    assert!(
        lines[0].starts_with("login ") && lines[1].starts_with("code "),
        "{lines:?}"
    );
}

#[test]
fn demo_exits_cleanly_and_removes_its_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let temporary = folder.path().to_str().expect("a plain name");
    let arguments = ["demo", "--port", "0", "--provider-port", "0"];
    let mut process = Process::start(&arguments, &[("TMPDIR", temporary)]);
    process.line_with("Sign in at");
    let entries = || fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(entries(), 1, "key, secrets and configuration");
    process.terminate();
    assert_eq!(process.ended().code(), Some(0), "{:?}", process.said());
    assert_eq!(entries(), 0);
}

#[test]
fn demo_ends_when_its_terminal_is_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let temporary = folder.path().to_str().expect("a plain name");
    let arguments = ["demo", "--port", "0", "--provider-port", "0"];
    let mut process = Process::start(&arguments, &[("TMPDIR", temporary)]);
    process.line_with("Sign in at");
    process.send("HUP");
    assert_eq!(process.ended().code(), Some(0), "{:?}", process.said());
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn demo_names_a_port_in_use() {
    let backend = Backend::start();
    let url = backend.url();
    let port = url.rsplit(':').next().expect("a port");
    for (doorward, provider) in [(port, "0"), ("0", port)] {
        let mut process = Process::start(
            &["demo", "--port", doorward, "--provider-port", provider],
            &[],
        );
        assert_eq!(process.ended().code(), Some(1), "{:?}", process.said());
        process.line_with(&format!("127.0.0.1:{port}"));
    }
}

#[test]
fn demo_rejects_invalid_arguments() {
    for arguments in [
        ["--port", "80000"],
        ["--jwt-lifetime", "soon"],
        ["--jwt-lifetime", "0s"],
        ["--listen", "::"],
    ] {
        let mut process = Process::start(&["demo", arguments[0], arguments[1]], &[]);
        assert_eq!(
            process.ended().code(),
            Some(64),
            "{arguments:?}: {:?}",
            process.said()
        );
    }
}
