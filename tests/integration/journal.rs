//! One replica with a journal: revocations survive a restart and a crash.

use crate::support::assertions::CART;
use crate::support::doorward::Setup;
use crate::support::process::Process;
use crate::support::replicas::Replicas;
use crate::support::{eventually, journey};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_survives_a_restart() {
    let mut replicas = Replicas::start(
        1,
        Setup::plain().remembering("journal_file = \"ended.journal\""),
    );
    let mut alice = replicas.logged_in(0, "alice", CART).await;
    let (stolen, bob) = (alice.clone(), replicas.logged_in(0, "bob", CART).await);
    journey::log_out(&mut alice, "http://store.localhost:8080").await;
    let journal = replicas.around.file.with_file_name("ended.journal");
    let written = || std::fs::read_to_string(&journal).is_ok_and(|text| text.lines().count() == 2);
    eventually("the logout is written down", written).await;

    let in_use = replicas.command(&["run"]).expect_err("a second process");
    assert!(
        in_use.contains("ended.journal") && in_use.contains("another process"),
        "{in_use}"
    );

    // A line that was cut off by a crash.
    drop(replicas.processes.remove(0));
    let torn = std::fs::read_to_string(&journal).expect("the journal") + "{\"ends_at\":18";
    std::fs::write(&journal, torn).expect("the journal");
    replicas
        .processes
        .push(Process::run(replicas.around.file.as_os_str(), &[]));
    replicas.processes[0].line_with("journal_lines_invalid");

    let cart = Replicas::store_url(CART);
    let page = replicas.moved_to(0, stolen).step(&cart).await;
    assert_eq!(page.status(), 302, "{page}");
    let page = replicas.moved_to(0, bob).step(&cart).await;
    assert_eq!(page.status(), 200, "{page}");
}
