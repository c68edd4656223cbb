//! A shared connection to Redis with automatic reconnection. Every call ends within its timeout.
//!
//! The first call connects. After a failure, calls fail at once during a backoff with jitter, so that
//! replicas do not reconnect simultaneously. A connection attempt may take longer than a call, so that
//! slow paths (an unavailable Sentinel, TLS) succeed eventually.
//!
//! A connection to a Cluster stays in use after a failure, because other nodes may serve, until a new
//! one replaces it. If no node can be reached, it is closed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redis::{Cmd, RedisError, Value};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::{Connection, Connector};
use crate::lock::lock;
use crate::store::StoreError;

const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// A connection that fails earlier counts as a failure to connect. One to a Cluster is not replaced
/// earlier.
const MIN_LIFETIME: Duration = Duration::from_secs(1);
/// The timeout of a connection attempt, in timeouts of a call.
const CONNECT_TIMEOUT_FACTOR: u32 = 5;
/// The longest error text, in characters.
const MAX_ERROR: usize = 200;

/// The connection, which reconnects after failures.
pub(super) struct SharedConnection {
    connector: Arc<Connector>,
    timeout: Duration,
    state: Arc<Mutex<State>>,
}

struct State {
    stage: Stage,
    /// Consecutive failures to connect.
    failures: u32,
    /// The number of the connection, so that a late failure does not close a newer one.
    number: u64,
}

enum Stage {
    Up {
        connection: Connection,
        since: Instant,
        /// The attempt to replace it.
        replacement: Option<Attempt>,
    },
    Connecting(Attempt),
    Down {
        until: Instant,
        why: String,
    },
}

/// An attempt to connect.
#[derive(Clone)]
struct Attempt {
    done: watch::Receiver<()>,
    since: Instant,
}

impl Attempt {
    /// The sender of an attempt that panicked is gone.
    fn is_running(&self) -> bool {
        self.done.has_changed().is_ok()
    }
}

impl SharedConnection {
    pub(super) fn new(connector: Connector, timeout: Duration) -> Self {
        let stage = Stage::Down {
            until: Instant::now(),
            why: String::new(),
        };
        let state = State {
            stage,
            failures: 0,
            number: 0,
        };
        Self {
            connector: Arc::new(connector),
            timeout,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The deadline of a call that starts now.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Sends `command` and waits for its reply. If the connection fails, the command is sent again over a
    /// new one: every command here is idempotent.
    pub(super) async fn execute(
        &self,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, StoreError> {
        let mut failed = match self.execute_once(command, deadline).await? {
            Ok(value) => return Ok(value),
            Err(failed) => failed,
        };
        if failed.is_connection_lost {
            failed = match self.execute_once(command, deadline).await? {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
        }
        Err(failed.error)
    }

    async fn execute_once(
        &self,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Result<Value, Failed>, StoreError> {
        let (connection, number) = self.connection(deadline).await?;
        if let Some(discovery) = self.connector.discovery(&connection) {
            tokio::spawn(discovery);
        }
        let failed = match timeout_at(deadline, connection.send(command)).await {
            Ok(Ok(value)) => return Ok(Ok(value)),
            Ok(Err(error)) => Failed::of(&error),
            Err(_) => {
                // The server may be gone without a word.
                self.handle_failure(number, "timed out");
                return Err(StoreError::Unavailable("timed out".to_owned()));
            }
        };
        if failed.is_connection_lost {
            self.handle_failure(number, &failed.error.to_string());
        }
        Ok(Err(failed))
    }

    async fn connection(&self, deadline: Instant) -> Result<(Connection, u64), StoreError> {
        let mut attempt = match self.stage(true) {
            Found::Up(connection, number) => return Ok((connection, number)),
            Found::Down(why) => return Err(StoreError::Unavailable(why)),
            Found::Connecting(attempt) => attempt,
        };
        // In each case, the stage has the result.
        let deadline = deadline.min(attempt.since + self.timeout);
        let _ = timeout_at(deadline, attempt.done.changed()).await;
        match self.stage(false) {
            Found::Up(connection, number) => Ok((connection, number)),
            Found::Down(why) => Err(StoreError::Unavailable(why)),
            Found::Connecting(_) => Err(StoreError::Unavailable("connecting timed out".to_owned())),
        }
    }

    fn stage(&self, may_connect: bool) -> Found {
        let mut state = self.lock();
        match &state.stage {
            Stage::Up { connection, .. } => return Found::Up(connection.clone(), state.number),
            Stage::Connecting(attempt) if attempt.is_running() => {
                return Found::Connecting(attempt.clone());
            }
            Stage::Down { until, why } if !may_connect || Instant::now() < *until => {
                return Found::Down(why.clone());
            }
            Stage::Connecting(_) if !may_connect => {
                return Found::Down("connecting failed".to_owned());
            }
            Stage::Connecting(_) | Stage::Down { .. } => {}
        }
        let attempt = self.start_connecting();
        state.stage = Stage::Connecting(attempt.clone());
        Found::Connecting(attempt)
    }

    /// Connects beside the caller, and then sets the stage.
    fn start_connecting(&self) -> Attempt {
        let (sender, done) = watch::channel(());
        let connector = Arc::clone(&self.connector);
        let connect_timeout = self.timeout * CONNECT_TIMEOUT_FACTOR;
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            let connected = timeout(connect_timeout, connector.connect()).await;
            lock(&state).finish(match connected {
                Ok(Ok(connection)) => Ok(connection),
                Ok(Err(error)) => Err(describe(&error)),
                Err(_) => Err("connecting timed out".to_owned()),
            });
            // All receivers may be gone.
            let _ = sender.send(());
        });
        Attempt {
            done,
            since: Instant::now(),
        }
    }

    /// Closes the failed connection, or replaces it if other servers may still serve.
    fn handle_failure(&self, number: u64, why: &str) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Stage::Up {
            connection,
            since,
            replacement,
        } = &mut state.stage
        else {
            return;
        };
        if state.number != number {
            return;
        }
        let is_young = since.elapsed() < MIN_LIFETIME;
        if !is_young {
            state.failures = 0;
        }
        if connection.has_several_servers() {
            let is_replacing = replacement.as_ref().is_some_and(Attempt::is_running);
            if !is_young && !is_replacing {
                *replacement = Some(self.start_connecting());
            }
        } else if is_young {
            state.fail(why.to_owned());
        } else {
            state.stage = Stage::Down {
                until: Instant::now(),
                why: why.to_owned(),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl fmt::Debug for SharedConnection {
    /// Shows no fields, because the clients hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedConnection").finish_non_exhaustive()
    }
}

/// The state of the connection for one call.
enum Found {
    Up(Connection, u64),
    Connecting(Attempt),
    Down(String),
}

/// A failed command.
struct Failed {
    error: StoreError,
    /// The connection is unusable, but a new one may work.
    is_connection_lost: bool,
}

impl Failed {
    fn of(error: &RedisError) -> Self {
        // READONLY: the master was demoted. A new connection finds the current one.
        let is_connection_lost = error.is_unrecoverable_error()
            || error.is_io_error()
            || error.code() == Some("READONLY");
        let text = describe(error);
        // Older versions quote errors of a script.
        let is_full = error.code() == Some("OOM") || text.contains("-OOM ");
        Self {
            error: if is_full {
                StoreError::Full
            } else {
                StoreError::Unavailable(text)
            },
            is_connection_lost,
        }
    }
}

impl State {
    fn finish(&mut self, connected: Result<Connection, String>) {
        match connected {
            Ok(connection) => {
                self.number += 1;
                self.stage = Stage::Up {
                    connection,
                    since: Instant::now(),
                    replacement: None,
                };
            }
            Err(why) => self.fail(why),
        }
    }

    fn fail(&mut self, why: String) {
        let backoff = MIN_BACKOFF
            .saturating_mul(1 << self.failures.min(8))
            .min(MAX_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        self.stage = Stage::Down {
            until: Instant::now() + backoff.mul_f64(jitter()),
            why,
        };
    }
}

/// A factor between 0.5 and 1.
fn jitter() -> f64 {
    let mut byte = [0];
    // Without random bytes there is no jitter.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    1.0 - f64::from(byte[0]) / 512.0
}

/// Describes an error, without the arguments that Redis quotes: keys contain session IDs.
pub(super) fn describe(error: &RedisError) -> String {
    let text = match error.code() {
        Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
        None => error.to_string(),
    };
    let message = text.split(", with args").next().unwrap_or_default();
    message
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_ERROR)
        .collect()
}
