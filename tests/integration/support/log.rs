//! The access log in memory.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// The access log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The log as text. Lines appear within 200 ms.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no test panicked inside")).into_owned()
    }

    /// The entries as JSON.
    pub fn lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    /// Waits for a line about this path with this decision, and returns the last one.
    pub async fn line(&self, path: &str, decision: &str) -> Value {
        let fits = |line: &Value| line["path"] == path && line["decision"] == decision;
        super::eventually(&format!("a log line {path} {decision}"), || {
            self.lines().iter().any(fits)
        })
        .await;
        self.lines().into_iter().rfind(fits).expect("it was there")
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panicked inside").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
