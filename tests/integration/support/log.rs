//! The access log in memory.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// The access log.
#[derive(Clone, Default)]
pub struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    fault: Arc<Mutex<Option<SinkFault>>>,
}

/// A fault of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkFault {
    /// It takes nothing.
    Blocks,
    /// It takes a tenth of a second for each write.
    Slow,
    /// It fails, as a full disk does.
    Fails,
}

impl Log {
    /// The log as text. Lines appear within 200 ms.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("no test panicked inside")).into_owned()
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

impl Log {
    /// From now on the output has this fault.
    pub fn fault(&self, fault: SinkFault) {
        *self.fault.lock().expect("no test panicked inside") = Some(fault);
    }

    /// From now on the output has no fault.
    pub fn heal(&self) {
        *self.fault.lock().expect("no test panicked inside") = None;
    }

    fn is_faulty(&self, fault: SinkFault) -> bool {
        *self.fault.lock().expect("no test panicked inside") == Some(fault)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while self.is_faulty(SinkFault::Blocks) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.is_faulty(SinkFault::Slow) {
            std::thread::sleep(Duration::from_millis(100));
        }
        if self.is_faulty(SinkFault::Fails) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.text
            .lock()
            .expect("no test panicked inside")
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
