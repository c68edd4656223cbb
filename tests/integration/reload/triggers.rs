//! Triggers of a reload of the real process: SIGHUP, changed files, and `doorward reload`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use doorward::config::SealingKey;

use crate::support::assertions::SOON;
use crate::support::doorward::Setup;
use crate::support::eventually_async;
use crate::support::folder::{ANY_PORTS, Folder, at, one_public_app};
use crate::support::process::Process;
use crate::support::replicas::Replicas;

const FILE: &str = "doorward.toml";
const UPSTREAM: &str = "http://127.0.0.1:1";

/// The same app, whose public paths are elsewhere.
fn moved() -> String {
    one_public_app(UPSTREAM).replace("/public/**", "/moved/**")
}

/// Starts a process that answers `/public/x` with 502: the path is public, and there is no backend.
async fn started(folder: &Folder) -> (Process, u16) {
    let process = Process::run(folder.path(FILE).as_os_str(), &ANY_PORTS);
    let port = process.port("address");
    assert_eq!(at("store.localhost", port, "/public/x").await, 502);
    assert_ne!(at("store.localhost", port, "/moved/x").await, 502);
    (process, port)
}

async fn is_moved(port: u16) {
    eventually_async("the rules are reloaded", SOON, async || {
        at("store.localhost", port, "/moved/x").await == 502
    })
    .await;
    assert_ne!(at("store.localhost", port, "/public/x").await, 502);
}

#[tokio::test]
async fn sighup_reloads() {
    let folder = Folder::with(FILE, &without_watch(&one_public_app(UPSTREAM)));
    let (process, port) = started(&folder).await;
    assert!(!process.said().join("").contains("upstream_address_failed"));
    let verbose = format!("[log]\nlevel = \"debug\"\n{}", moved());
    folder.write(FILE, &without_watch(&verbose));
    process.send("HUP");
    is_moved(port).await;
    process.line_with("upstream_address_failed");
    let line = process.line_with("config_reloaded");
    assert!(line.contains("trigger=\"signal\""), "{line}");
    let line = process.line_with("config_changed");
    for part in [
        "key=\"apps.store.rules.0.paths\"",
        "/public/**",
        "/moved/**",
    ] {
        assert!(line.contains(part), "{line}");
    }
}

fn without_watch(text: &str) -> String {
    format!("[server]\nwatch_files = false\n{text}")
}

#[tokio::test]
async fn changed_file_reloads_and_a_repaired_one_too() {
    let folder = Folder::with(FILE, &one_public_app(UPSTREAM));
    let (process, port) = started(&folder).await;
    folder.write(FILE, &moved().replace("[session]", "[sesion]"));
    let line = process.line_with("config_refused");
    assert!(line.contains("trigger=\"files\""), "{line}");
    process.line_with("sesion");
    assert_eq!(at("store.localhost", port, "/public/x").await, 502);
    folder.write(FILE, &moved());
    is_moved(port).await;
    // A secret that the file names.
    folder.write("store.secret", "hunter2-hunter2\n");
    let line = process.line_with("key=\"apps.store.client_secret_file\"");
    assert!(line.contains("new content of"), "{line}");
    let said = process.said().join("\n");
    assert!(!said.contains("hunter2") && !said.contains("a-secret-of"));
}

/// Kubernetes writes the files of a volume into a new folder, and replaces the link `..data`.
fn publish(volume: &Path, version: &str, config: &str) {
    let folder = volume.join(format!("..{version}"));
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join(FILE), config).expect("a file");
    let key = SealingKey::generate().expect("a key").to_text();
    fs::write(folder.join("doorward.key"), key).expect("a file");
    fs::write(folder.join("store.secret"), "secret-of-the-test\n").expect("a file");
    let link = volume.join("..data_tmp");
    symlink(&folder, &link).expect("a link");
    fs::rename(link, volume.join("..data")).expect("a link");
}

#[tokio::test]
async fn replaced_volume_of_kubernetes_reloads_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let volume = folder.path();
    publish(volume, "first", &one_public_app(UPSTREAM));
    for name in [FILE, "doorward.key", "store.secret"] {
        symlink(Path::new("..data").join(name), volume.join(name)).expect("a link");
    }
    let process = Process::run(volume.join(FILE).as_os_str(), &ANY_PORTS);
    let port = process.port("address");
    assert_eq!(at("store.localhost", port, "/public/x").await, 502);
    publish(volume, "second", &moved());
    is_moved(port).await;
    process.line_with("key=\"session.key_files.0\"");
    let said = process.said();
    let reloads = said.iter().filter(|line| line.contains("config_reloaded"));
    assert_eq!(reloads.count(), 1, "{}", said.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_command_reports_the_outcome() {
    let replicas = Replicas::start(1, Setup::plain());
    let admin = format!("127.0.0.1:{}", replicas.processes[0].port("admin"));
    let reload = || replicas.ended(&["reload", "--admin", &admin]);
    let file = &replicas.around.file;
    let text = fs::read_to_string(file).expect("the file");
    let ended = reload();
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert!(ended.said.contains("changes: 0"), "{}", ended.said);

    // Sealed with the new key, which the server does not have yet, and with the old one.
    let key = SealingKey::generate().expect("randomness");
    key.write_new(&file.with_file_name("new.key"))
        .expect("a key file");
    let both = text
        .replace("[\"doorward.key\"]", "[\"new.key\", \"doorward.key\"]")
        .replace("workers = 2", "workers = 1");
    fs::write(file, &both).expect("the file");
    let ended = reload();
    assert_eq!(ended.code, 0, "{}", ended.said);
    for part in ["changes: 2", "needs a restart: server.workers"] {
        assert!(ended.said.contains(part), "{}", ended.said);
    }
    let line = replicas.processes[0].line_with("config_reloaded");
    assert!(line.contains("trigger=\"command\""), "{line}");
    replicas.processes[0].line_with("config_needs_restart");

    fs::write(file, both.replace("[session]", "[sesion]")).expect("the file");
    let ended = reload();
    assert_eq!(ended.code, 78, "{}", ended.said);
    assert!(ended.said.contains("sesion"), "{}", ended.said);

    // Another deployment's key.
    fs::remove_file(file.with_file_name("doorward.key")).expect("the file");
    let stranger = SealingKey::generate().expect("randomness");
    stranger
        .write_new(&file.with_file_name("doorward.key"))
        .expect("a key file");
    fs::write(file, &text).expect("the file");
    let ended = reload();
    assert_eq!(ended.code, 1, "{}", ended.said);
    assert!(
        ended.said.contains("not sealed with a key"),
        "{}",
        ended.said
    );
}
