//! Outputs that block or fail, for tests.

use std::io::{self, Write};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use crate::lock::lock;

/// Blocks until its sender is dropped.
pub(super) struct Blocked(pub(super) Receiver<()>);

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            let _ = self.0.recv();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fails as a full disk does, if a test says so. Clones share the text.
#[derive(Clone, Default)]
pub(super) struct Faulty(Arc<Mutex<FaultyState>>);

#[derive(Default)]
struct FaultyState {
    text: Vec<u8>,
    /// How many bytes it takes until it fails.
    left: Option<usize>,
}

impl Faulty {
    pub(super) fn fail(&self) {
        self.fail_after(0);
    }

    pub(super) fn fail_after(&self, bytes: usize) {
        lock(&self.0).left = Some(bytes);
    }

    pub(super) fn heal(&self) {
        lock(&self.0).left = None;
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(lock(&self.0).text.clone()).unwrap()
    }
}

impl Write for Faulty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = lock(&self.0);
        let taken = state.left.unwrap_or(usize::MAX).min(bytes.len());
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.text.extend_from_slice(&bytes[..taken]);
        state.left = state.left.map(|left| left - taken);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
