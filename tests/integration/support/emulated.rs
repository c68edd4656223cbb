//! Doorward with the demo's store and forum and an emulated FusionAuth as the provider, all in this
//! process with a controllable clock. The configuration is that of `doorward demo --fusionauth`.

use std::sync::Arc;
use std::time::Duration;

use doorward::config::{self, SealingKey};
use doorward::demo::provider::RunningProvider;
use doorward::demo::{Demo, DemoFiles, DemoOptions, FusionAuthOptions};
use doorward::server::Server;
use doorward::types::time::ManualClock;

use super::browser::{Browser, Kind, Page, RequestSpec};
use super::doorward::BEGIN;
use super::journey::Site;

/// The whole deployment; it is stopped on drop.
pub struct Emulated {
    pub clock: Arc<ManualClock>,
    pub api_key: String,
    demo: Demo,
    server: Option<Server>,
    _files: DemoFiles,
}

impl Emulated {
    /// Starts with the demo's configuration after `edits`; each edited text must occur exactly
    /// once.
    pub async fn start(one_time_use: bool, edits: &[(&str, &str)]) -> Self {
        let clock = Arc::new(ManualClock::starting_at(BEGIN));
        let options = DemoOptions {
            port: 0,
            provider_port: 0,
            jwt_lifetime: Duration::from_secs(60),
            fusionauth: Some(FusionAuthOptions { one_time_use }),
        };
        let demo_clock = clock.clone();
        let started =
            super::runtime().spawn(async move { Demo::start(&options, demo_clock).await });
        let (demo, _events) = started.await.expect("no panic").expect("the demo");
        let files = DemoFiles::write(
            &demo,
            &SealingKey::generate().expect("randomness").to_text(),
        )
        .expect("files");
        let mut text = std::fs::read_to_string(files.config_file()).expect("the file");
        for (from, to) in edits {
            assert_eq!(text.matches(from).count(), 1, "`{from}` in:\n{text}");
            text = text.replace(from, to);
        }
        std::fs::write(files.config_file(), text).expect("the file");
        let loaded = config::load(&files.config_file(), [])
            .unwrap_or_else(|diagnosis| panic!("{diagnosis:?}"));
        let server = Server::start(loaded, clock.clone(), None).expect("a server");
        let api_key = std::fs::read_to_string(files.key_file().with_file_name("api-key.secret"))
            .expect("the key");
        Self {
            clock,
            api_key,
            demo,
            server: Some(server),
            _files: files,
        }
    }

    /// The apps' origins.
    pub fn site(&self) -> Site {
        Site {
            store: self.demo.links().store.clone(),
            forum: self.demo.links().forum.clone(),
        }
    }

    /// The provider.
    pub fn provider(&self) -> &RunningProvider {
        self.demo.provider()
    }

    /// A URL at the provider.
    pub fn at_provider(&self, path: &str) -> String {
        format!(
            "http://login.localhost:{}{path}",
            self.provider().address().port()
        )
    }

    /// A browser without cookies.
    pub fn browser(&self) -> Browser {
        Browser::new(self.clock.clone())
    }

    /// Advances the clock of all parts.
    pub fn advance_secs(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    /// Calls the provider's API with its key.
    pub async fn call_api(&self, method: &str, path: &str) -> Page {
        let request = RequestSpec::new(Kind::Program, &self.at_provider(path)).method(method);
        self.browser()
            .send(request.header("authorization", &self.api_key))
            .await
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        let server = self.server.take();
        // Draining blocks, which is not allowed on a test's runtime.
        let ended =
            std::thread::spawn(move || server.into_iter().for_each(Server::shut_down)).join();
        assert!(
            ended.is_ok() || std::thread::panicking(),
            "doorward broke off while ending"
        );
    }
}
