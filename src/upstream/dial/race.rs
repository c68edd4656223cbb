//! Connection attempts to several addresses (RFC 8305 section 5): a new one starts when the last
//! one fails, or does not answer for a moment. The first that succeeds wins.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::upstream::error::UpstreamError;

/// The delay between two attempts.
const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The shortest delay, if there are many addresses.
const MIN_CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(10);

/// The delay between attempts, such that all addresses are tried within half of `time`.
pub(super) fn delay(time: Duration, addresses: usize) -> Duration {
    let addresses = u32::try_from(addresses).unwrap_or(u32::MAX).max(1);
    (time / 2 / addresses).clamp(MIN_CONNECTION_ATTEMPT_DELAY, CONNECTION_ATTEMPT_DELAY)
}

/// The attempts to connect to one backend.
#[derive(Default)]
pub(super) struct Race {
    /// In the order in which they were started.
    pending: Vec<SocketAddr>,
    failed: Vec<SocketAddr>,
}

impl Race {
    /// Connects to the first of `untried` that accepts, and removes from it what was tried.
    ///
    /// # Errors
    /// None accepts.
    pub(super) async fn run(
        &mut self,
        untried: &mut VecDeque<SocketAddr>,
        delay: Duration,
    ) -> Result<(SocketAddr, TcpStream), UpstreamError> {
        let mut attempts = JoinSet::new();
        let mut error = UpstreamError::Unresolved(io::ErrorKind::NotFound.into());
        loop {
            if let Some(address) = untried.pop_front() {
                self.pending.push(address);
                attempts.spawn(async move { (address, TcpStream::connect(address).await) });
            }
            let ended = tokio::select! {
                ended = attempts.join_next() => ended,
                () = sleep(delay), if !untried.is_empty() => continue,
            };
            match ended {
                Some(Ok((address, Ok(stream)))) => {
                    self.end_with(address, untried);
                    return Ok((address, stream));
                }
                Some(Ok((address, Err(refused)))) => {
                    self.pending.retain(|pending| *pending != address);
                    self.failed.push(address);
                    error = UpstreamError::ConnectRefused(refused);
                }
                // The task cannot panic, and is not cancelled.
                Some(Err(_)) => {}
                None => return Err(error),
            }
        }
    }

    /// Counts the addresses that were overtaken by a later attempt as failed. All that did not
    /// refuse remain untried.
    fn end_with(&mut self, winner: SocketAddr, untried: &mut VecDeque<SocketAddr>) {
        let overtaken = self
            .pending
            .iter()
            .take_while(|address| **address != winner);
        self.failed.extend(overtaken);
        untried.extend(self.pending.iter().filter(|address| **address != winner));
        self.pending.clear();
    }

    /// Counts the addresses that have not answered as failed.
    pub(super) fn give_up(&mut self) {
        self.failed.append(&mut self.pending);
    }

    /// The addresses that refused, or were too slow.
    pub(super) fn failed(&self) -> &[SocketAddr] {
        &self.failed
    }
}
