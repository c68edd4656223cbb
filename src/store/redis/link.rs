//! The one connection to a Redis, dialled by whoever needs it first and shared by all. Every call ends within its time,
//! however Redis or the network hang.
//!
//! After a failure there is a short pause, a little different for everybody, in which calls fail at once: a Redis that
//! comes back is not met by all who waited for it. A dial goes on for longer than the call that began it may wait, so
//! that a slow way (Sentinels of which one is gone, TLS) is found in the end.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Cmd, RedisError, Value};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::dial::{Connection, Dialler};
use crate::store::StoreError;

/// The shortest pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A connection that did not even last so long counts as a failure to connect.
const LASTED: Duration = Duration::from_secs(1);
/// How many times the time of one call a dial may take.
const DIAL_CALLS: u32 = 5;
/// Longest text of an error, in characters.
const MAX_ERROR: usize = 200;

/// See above.
pub(super) struct Link {
    dialler: Arc<Dialler>,
    timeout: Duration,
    state: Arc<Mutex<State>>,
}

struct State {
    stage: Stage,
    /// How often in a row there was no connection to be had.
    failures: u32,
    /// Counts connections, so that one is not thrown away for the failure of another.
    number: u64,
}

enum Stage {
    Up {
        connection: Connection,
        since: Instant,
    },
    Dialling {
        done: watch::Receiver<()>,
        since: Instant,
    },
    Down {
        until: Instant,
        why: String,
    },
}

impl Link {
    pub(super) fn new(dialler: Dialler, timeout: Duration) -> Self {
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
            dialler: Arc::new(dialler),
            timeout,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The time that one call has.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Sends `command` and waits for its answer. Where the connection breaks, it is sent once more over the next one:
    /// every command here does and says the same if it comes twice.
    pub(super) async fn ask(&self, command: &Cmd, deadline: Instant) -> Result<Value, StoreError> {
        let mut failed = match self.ask_once(command, deadline).await? {
            Ok(value) => return Ok(value),
            Err(failed) => failed,
        };
        if failed.is_over {
            failed = match self.ask_once(command, deadline).await? {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
        }
        Err(failed.error)
    }

    async fn ask_once(
        &self,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Result<Value, Failed>, StoreError> {
        let (connection, number) = self.connection(deadline).await?;
        let asked = match timeout_at(deadline, connection.send(command)).await {
            Ok(Ok(value)) => return Ok(Ok(value)),
            Ok(Err(error)) => Failed::of(&error),
            Err(_) => {
                // Nothing may ever come over it again.
                self.drop_connection(number, "it did not answer in time");
                return Err(StoreError::Unavailable(
                    "it did not answer in time".to_owned(),
                ));
            }
        };
        if asked.is_over {
            self.drop_connection(number, &asked.error.to_string());
        }
        Ok(Err(asked))
    }

    async fn connection(&self, deadline: Instant) -> Result<(Connection, u64), StoreError> {
        let (mut done, since) = match self.stage(true) {
            Found::Up(connection, number) => return Ok((connection, number)),
            Found::Down(why) => return Err(StoreError::Unavailable(why)),
            Found::Dialling(done, since) => (done, since),
        };
        // Whether it was done, given up or not done in time: the stage tells.
        let _ = timeout_at(deadline.min(since + self.timeout), done.changed()).await;
        match self.stage(false) {
            Found::Up(connection, number) => Ok((connection, number)),
            Found::Down(why) => Err(StoreError::Unavailable(why)),
            Found::Dialling(..) => Err(StoreError::Unavailable(
                "connecting takes too long".to_owned(),
            )),
        }
    }

    fn stage(&self, may_dial: bool) -> Found {
        let mut state = self.lock();
        match &state.stage {
            Stage::Up { connection, .. } => return Found::Up(connection.clone(), state.number),
            // A dial that broke off has told nobody.
            Stage::Dialling { done, since } if done.has_changed().is_ok() => {
                return Found::Dialling(done.clone(), *since);
            }
            Stage::Down { until, why } if !may_dial || Instant::now() < *until => {
                return Found::Down(why.clone());
            }
            Stage::Dialling { .. } if !may_dial => {
                return Found::Down("connecting broke off".to_owned());
            }
            Stage::Dialling { .. } | Stage::Down { .. } => {}
        }
        let (tell, done) = watch::channel(());
        let since = Instant::now();
        state.stage = Stage::Dialling {
            done: done.clone(),
            since,
        };
        drop(state);
        let (dialler, limit, state) = (
            Arc::clone(&self.dialler),
            self.timeout * DIAL_CALLS,
            Arc::clone(&self.state),
        );
        tokio::spawn(async move {
            let dialled = timeout(limit, dialler.dial()).await;
            lock(&state).take(match dialled {
                Ok(Ok(connection)) => Ok(connection),
                Ok(Err(error)) => Err(describe(&error)),
                Err(_) => Err("connecting takes too long".to_owned()),
            });
            // Whoever waited has perhaps given up.
            let _ = tell.send(());
        });
        Found::Dialling(done, since)
    }

    fn drop_connection(&self, number: u64, why: &str) {
        let mut state = self.lock();
        if let Stage::Up { since, .. } = &state.stage
            && state.number == number
        {
            if since.elapsed() < LASTED {
                state.fail(why.to_owned());
            } else {
                state.failures = 0;
                state.stage = Stage::Down {
                    until: Instant::now(),
                    why: why.to_owned(),
                };
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl fmt::Debug for Link {
    /// Nothing of it: what is inside has the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

enum Found {
    Up(Connection, u64),
    Dialling(watch::Receiver<()>, Instant),
    Down(String),
}

/// Redis gave no answer, or an error for one.
struct Failed {
    error: StoreError,
    /// The connection is of no use any more, and another one may be.
    is_over: bool,
}

impl Failed {
    fn of(error: &RedisError) -> Self {
        // What was a master is one no longer: the next dial finds the one that is.
        let is_over = error.is_unrecoverable_error()
            || error.is_io_error()
            || error.code() == Some("READONLY");
        let text = describe(error);
        // Older ones quote what went wrong within a script.
        let no_room = error.code() == Some("OOM") || text.contains("-OOM ");
        Self {
            error: if no_room {
                StoreError::Full
            } else {
                StoreError::Unavailable(text)
            },
            is_over,
        }
    }
}

impl State {
    fn take(&mut self, dialled: Result<Connection, String>) {
        match dialled {
            Ok(connection) => {
                self.number += 1;
                self.stage = Stage::Up {
                    connection,
                    since: Instant::now(),
                };
            }
            Err(why) => self.fail(why),
        }
    }

    fn fail(&mut self, why: String) {
        let pause = PAUSES
            .0
            .saturating_mul(1 << self.failures.min(8))
            .min(PAUSES.1);
        self.failures = self.failures.saturating_add(1);
        self.stage = Stage::Down {
            until: Instant::now() + pause.mul_f64(some_part()),
            why,
        };
    }
}

/// Between a half and the whole, so that not everybody comes at once.
fn some_part() -> f64 {
    let mut byte = [0];
    // Without randomness everybody comes at once.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    1.0 - f64::from(byte[0]) / 512.0
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error in few words. What Redis quotes of a command is left out: keys name sessions.
pub(super) fn describe(error: &RedisError) -> String {
    let text = match error.code() {
        Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
        None => error.to_string(),
    };
    let told = text.split(", with args").next().unwrap_or_default();
    told.chars()
        .filter(|c| !c.is_control())
        .take(MAX_ERROR)
        .collect()
}
