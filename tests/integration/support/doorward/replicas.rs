//! Further replicas of a [`Doorward`], and the readiness of each.

use std::sync::Arc;

use doorward::config::{self, SealingKey};
use doorward::server::Server;
use doorward::telemetry::line_writer::LineWriter;
use doorward::types::time::Clock;
use serde_json::Value;

use super::Doorward;
use crate::support::browser::Browser;

impl Doorward {
    /// Starts another replica with the same file and keys and returns its number. The first is 0.
    pub fn add_replica(&mut self) -> usize {
        self.add_replica_by(self.clock.clone())
    }

    /// The same, with a clock of its own.
    pub fn add_replica_by(&mut self, clock: Arc<dyn Clock>) -> usize {
        let log = LineWriter::start("log", self.log.clone()).expect("a thread");
        let server = Server::start(self.loaded(), clock, Some(Arc::new(log))).expect("a server");
        self.servers.push(server);
        self.servers.len() - 1
    }

    /// Starts another replica with the same file and these environment variables.
    pub fn add_replica_with(&mut self, variables: &[(&str, &str)]) -> usize {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let loaded = config::load(&self.file, variables);
        let loaded = loaded.unwrap_or_else(|diagnosis| panic!("{diagnosis:?}"));
        let log = LineWriter::start("log", self.log.clone()).expect("a thread");
        let server = Server::start(loaded, self.clock.clone(), Some(Arc::new(log)));
        self.servers.push(server.expect("a server"));
        self.servers.len() - 1
    }

    /// The status and the report of `/readyz` of a replica.
    pub async fn readiness_of(&self, replica: usize) -> (u16, Value) {
        let url = format!("http://{}/readyz", self.admin_address_of(replica));
        let page = Browser::new(self.clock.clone()).step(&url).await;
        assert_eq!(page.header("content-type"), Some("application/json"));
        let report = serde_json::from_str(&page.text()).expect("a JSON report");
        (page.status(), report)
    }

    /// Starts another replica with this key ring. The first key seals. Missing keys are generated.
    pub fn add_replica_with_keys(&mut self, key_files: &[&str]) -> usize {
        for file in key_files
            .iter()
            .map(|name| self.file.with_file_name(name))
            .filter(|file| !file.exists())
        {
            SealingKey::generate()
                .expect("randomness")
                .write_new(&file)
                .expect("a key file");
        }
        let text = std::fs::read_to_string(&self.file).expect("the file");
        let ring = format!("key_files = {key_files:?}");
        let lines = text.lines().map(|line| {
            if line.starts_with("key_files = ") {
                &ring
            } else {
                line
            }
        });
        std::fs::write(&self.file, lines.collect::<Vec<_>>().join("\n")).expect("the file");
        self.add_replica()
    }
}
