//! Invalid configurations, and keys that need a restart.

use doorward::admin::ReloadError;
use doorward::server::Trigger;

use crate::support::assertions::{CART, alice};
use crate::support::doorward::Setup;

#[tokio::test]
async fn invalid_configuration_leaves_the_last_good_one_until_it_is_repaired() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let (status, report) = doorward.readiness_of(0).await;
    assert_eq!(status, 200);
    let configuration = &report["configuration"];
    assert_eq!(configuration["last_reload"], serde_json::Value::Null);
    let hash = configuration["hash"].as_str().expect("a hash").to_owned();
    let info = |hash: &str| format!("doorward_config_info{{hash=\"{hash}\"}}");
    assert_eq!(doorward.metric(&info(&hash)).await, 1.0);

    doorward.edit("[session]", "[session]\nidle_timeout = \"soon\"");
    let Err(ReloadError::Invalid(diagnosis)) = doorward.reload().await else {
        panic!("an invalid configuration is used");
    };
    assert!(diagnosis.contains("session.idle_timeout"), "{diagnosis}");
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    let (status, report) = doorward.readiness_of(0).await;
    assert_eq!(status, 200, "the last good configuration is in use");
    let last = &report["configuration"]["last_reload"];
    assert_eq!(last["successful"], false);
    let problem = last["problems"][0].as_str().expect("a problem");
    assert!(problem.starts_with("session.idle_timeout: "), "{problem}");
    assert_eq!(report["configuration"]["hash"], *hash);
    let successful = "doorward_config_last_reload_successful";
    assert_eq!(doorward.metric(successful).await, 0.0);
    let success = "doorward_config_last_reload_success_timestamp_seconds";
    let started_at = doorward.metric(success).await;

    doorward.advance_secs(100);
    doorward.edit("idle_timeout = \"soon\"", "idle_timeout = \"50m\"");
    assert_eq!(doorward.reload_changes().await.changes, 1);
    let (_, report) = doorward.readiness_of(0).await;
    assert_eq!(report["configuration"]["last_reload"]["successful"], true);
    let new_hash = report["configuration"]["hash"].as_str().expect("a hash");
    assert_ne!(new_hash, hash);
    assert_eq!(doorward.metric(&info(new_hash)).await, 1.0);
    assert_eq!(
        doorward.metric(&info(&hash)).await,
        0.0,
        "the old one is gone"
    );
    assert_eq!(doorward.metric(successful).await, 1.0);
    assert_eq!(doorward.metric(success).await, started_at + 100.0);
}

#[tokio::test]
async fn missing_or_damaged_files_are_refused() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let key = std::fs::read_to_string(doorward.file().with_file_name("doorward.key"));
    let key = key.expect("the key");
    for (name, text, named) in [
        ("doorward.key", "damaged", "session.key_files"),
        ("store.secret", "", "apps.store.client_secret_file"),
        ("doorward.toml", "[server", "not TOML"),
    ] {
        let before = std::fs::read_to_string(doorward.file().with_file_name(name));
        doorward.replace_file(name, text);
        let Err(ReloadError::Invalid(diagnosis)) = doorward.reload().await else {
            panic!("{name} is used");
        };
        assert!(diagnosis.contains(named), "{diagnosis}");
        assert!(!diagnosis.contains(key.trim()), "{diagnosis}");
        doorward.replace_file(name, &before.expect("the file"));
        let reloaded = doorward.reload().await.expect("as before");
        assert_eq!(reloaded.changes, 0, "{name}");
    }
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn keys_that_need_a_restart_are_named_and_the_others_are_live() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    doorward.edit("workers = 2", "workers = 3\nmax_header_count = 25");
    doorward.edit("[session]", "[store]\nmax_entries = 5000\n[session]");
    let reloaded = doorward.reload_changes().await;
    assert_eq!(
        reloaded.restart_keys,
        ["server.workers", "store.max_entries"]
    );
    let series = "doorward_config_restart_keys";
    assert_eq!(doorward.metric(series).await, 2.0);
    let (_, report) = doorward.readiness_of(0).await;
    let keys = &report["configuration"]["restart_keys"];
    assert_eq!(
        *keys,
        serde_json::json!(["server.workers", "store.max_entries"])
    );

    // New connections have the new limits.
    let mut spec = crate::support::browser::RequestSpec::new(
        crate::support::browser::Kind::Fetch,
        &doorward.store_url("/public/x"),
    );
    for number in 0..25 {
        spec = spec.header(&format!("X-Field-{number}"), "1");
    }
    assert_eq!(browser.send(spec).await.status(), 431);

    // Still pending after another reload, until the value is what the process started with.
    doorward.edit("max_header_count = 25", "max_header_count = 30");
    assert_eq!(doorward.reload_changes().await.restart_keys.len(), 2);
    doorward.edit("workers = 3", "workers = 2");
    let reloaded = doorward.servers[0].reload(Trigger::Command).await;
    let reloaded = reloaded.expect("a valid configuration");
    assert_eq!(reloaded.restart_keys, ["store.max_entries"]);
    assert_eq!(doorward.metric(series).await, 1.0);
}
