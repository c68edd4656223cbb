//! The whole demo, without Doorward in front.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use super::test_client::Browser;
use super::{Demo, DemoFiles, DemoOptions};
use crate::types::time::SystemClock;

async fn demo() -> (Demo, super::EventLog) {
    let options = DemoOptions {
        port: 0,
        provider_port: 0,
        jwt_lifetime: Duration::from_secs(5),
        fusionauth: None,
    };
    Demo::start(&options, Arc::new(SystemClock)).await.unwrap()
}

#[tokio::test]
async fn config_refers_to_the_running_provider_and_apps() {
    let (demo, _narration) = demo().await;
    let files = DemoFiles::write(&demo, "a key").unwrap();
    let text = std::fs::read_to_string(files.config_file()).unwrap();
    let config: toml::Table = text.parse().unwrap();
    assert_eq!(
        config["server"]["listen"].as_str().unwrap(),
        demo.address().to_string()
    );
    let key_file = config["session"]["key_files"][0].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(key_file).unwrap(), "a key");
    for (app, public_url, address) in [
        ("store", &demo.links().store, demo.store_address()),
        ("forum", &demo.links().forum, demo.forum_address()),
    ] {
        let app = &config["apps"][app];
        assert_eq!(app["public_url"].as_str().unwrap(), public_url);
        assert_eq!(
            app["upstream"].as_str().unwrap(),
            format!("http://{address}")
        );
        assert_eq!(Browser::new(address).get("/").await.status, 200);
        let secret = app["client_secret_file"].as_str().unwrap();
        assert_eq!(
            std::fs::metadata(secret).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let client_id = app["client_id"].as_str().unwrap();
        let secret = std::fs::read_to_string(secret).unwrap();
        let form = [
            ("grant_type", "password"),
            ("username", "alice"),
            ("password", "alice"),
            ("client_id", client_id),
        ];
        let form = [&form[..], &[("client_secret", &secret)]].concat();
        assert_eq!(
            Browser::new(demo.provider().address())
                .post("/token", &form)
                .await
                .status,
            200
        );
    }
    let issuer = config["providers"]["login"]["issuer"].as_str().unwrap();
    assert_eq!(
        issuer,
        format!(
            "http://login.localhost:{}",
            demo.provider().address().port()
        )
    );
    drop(files);
    assert!(!std::path::Path::new(key_file).exists());
}

#[tokio::test]
async fn greeting_and_event_log_report_users_and_events() {
    let (demo, mut event_log) = demo().await;
    let greeting = demo.greeting();
    for part in [
        &demo.links().store,
        &demo.links().forum,
        "alice / alice",
        "bob / bob",
        "5 s",
    ] {
        assert!(greeting.contains(part), "{part}");
    }
    let files = DemoFiles::write(&demo, "a key").unwrap();
    let secret = std::fs::read_to_string(files.key_file().with_file_name("forum.secret")).unwrap();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", "x"),
        ("client_id", "forum"),
        ("client_secret", &secret),
    ];
    Browser::new(demo.provider().address())
        .post("/token", &form)
        .await;
    assert_eq!(
        event_log.next_line().await.unwrap(),
        "rejected  a refresh token of forum was rejected: unknown"
    );
    drop(demo);
    let mut out = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), event_log.write_to(&mut out))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn start_names_a_port_in_use() {
    let (demo, _narration) = demo().await;
    let port = demo.provider().address().port();
    let options = DemoOptions {
        port: 0,
        provider_port: port,
        jwt_lifetime: Duration::from_secs(5),
        fusionauth: None,
    };
    let error = Demo::start(&options, Arc::new(SystemClock))
        .await
        .err()
        .unwrap();
    let message = error.to_string();
    let expected = format!("cannot listen on `127.0.0.1:{port}`: Address already in use");
    assert!(message.starts_with(&expected), "{message}");
}
