//! Background runtime for provider and store calls. Workers wait for results with their own timeouts;
//! a timeout never cancels the task.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{AbortHandle, JoinSet};

use crate::limits::{TaskLimit, current_client, on_behalf_of};
use crate::telemetry::request_scope::in_same_request;

/// The limit of concurrent tasks. Further ones are rejected.
const MAX_TASKS: usize = 4096;

/// How long a task that panicked stays down.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// A handle of the background runtime, with a concurrency limit and a share of it per client.
#[derive(Clone, Debug)]
pub struct BackgroundRuntime {
    handle: Handle,
    limit: TaskLimit,
}

/// A supervised task, which ends when this is dropped.
#[derive(Debug)]
#[must_use = "the task ends with it"]
pub struct SupervisedTask(AbortHandle);

impl Drop for SupervisedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Errors of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The timeout has passed. The task continues.
    #[error("timed out")]
    TooSlow,
    /// The concurrency limit or the client's share is reached. The task was not started.
    #[error("too many calls in flight")]
    Busy,
    /// The task panicked.
    #[error("the task panicked")]
    Panicked,
}

impl TaskError {
    /// The stable code for logs, metrics and pages.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooSlow => "provider_too_slow",
            Self::Busy => "too_many_provider_calls",
            Self::Panicked => "internal_error",
        }
    }
}

impl BackgroundRuntime {
    /// Starts the runtime on its own thread. It ends when the returned [`Runtime`] is dropped.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub fn start() -> io::Result<(Self, Runtime)> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("doorward-control")
            .enable_all()
            .build()?;
        Ok((Self::on(runtime.handle().clone()), runtime))
    }

    /// Uses an existing runtime.
    pub fn on(handle: Handle) -> Self {
        Self {
            handle,
            limit: TaskLimit::new(MAX_TASKS),
        }
    }

    /// The runtime itself, for tasks without a limit.
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The same runtime with a separate limit of `max_tasks`.
    #[must_use]
    pub fn with_limit(&self, max_tasks: usize) -> Self {
        Self {
            handle: self.handle.clone(),
            limit: TaskLimit::new(max_tasks),
        }
    }

    /// Starts `task`, which is never cancelled. It counts towards the share of the client on whose
    /// behalf the caller runs, and its events name the caller's request.
    ///
    /// # Errors
    /// [`TaskError::Busy`].
    pub fn spawn<F>(&self, task: F) -> Result<(), TaskError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let client = current_client();
        let guard = self.limit.try_acquire(client).ok_or(TaskError::Busy)?;
        let on_behalf = on_behalf_of(client, async move {
            let _guard = guard;
            task.await;
        });
        self.handle.spawn(in_same_request(on_behalf));
        Ok(())
    }

    /// Runs the task that `make` returns, and starts it again if it panics. A task that returns is
    /// over. Does not count towards the limit.
    pub fn supervise<F>(&self, name: &'static str, make: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let _detached = self.supervise_with(name, RESTART_DELAY, make);
    }

    /// Like [`Self::supervise`], until the returned task is dropped.
    pub fn supervise_while_held<F>(
        &self,
        name: &'static str,
        make: impl Fn() -> F + Send + 'static,
    ) -> SupervisedTask
    where
        F: Future<Output = ()> + Send + 'static,
    {
        SupervisedTask(self.supervise_with(name, RESTART_DELAY, make))
    }

    fn supervise_with<F>(
        &self,
        name: &'static str,
        delay: Duration,
        make: impl Fn() -> F + Send + 'static,
    ) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = self.handle.clone();
        let supervisor = self.handle.spawn(async move {
            loop {
                // Aborts the task if the supervisor is aborted.
                let mut task = JoinSet::new();
                task.spawn_on(make(), &handle);
                match task.join_next().await {
                    Some(Err(error)) if error.is_panic() => {}
                    // It is over, or the runtime ends.
                    Some(_) | None => return,
                }
                tracing::error!(task = name, "background_task_restarted");
                tokio::time::sleep(delay).await;
            }
        });
        supervisor.abort_handle()
    }

    /// Starts `task`, and waits for its result until `timeout`.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn run<F>(&self, timeout: Duration, task: F) -> Result<F::Output, TaskError>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.spawn(async move {
            // The receiver is gone after a timeout.
            let _ = sender.send(task.await);
        })?;
        match tokio::time::timeout(timeout, receiver).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(_)) => Err(TaskError::Panicked),
            Err(_) => Err(TaskError::TooSlow),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::limits::ClientKey;

    #[tokio::test]
    async fn one_client_leaves_tasks_to_others_and_tasks_keep_their_client() {
        let runtime = BackgroundRuntime::on(Handle::current()).with_limit(10);
        let client = |name| Some(ClientKey::of_test(name));
        let started = on_behalf_of(client("a"), async {
            let endless = || runtime.spawn(std::future::pending());
            (0..20).filter(|_| endless().is_ok()).count()
        });
        assert_eq!(started.await, 6);
        let within = on_behalf_of(
            client("b"),
            runtime.run(Duration::from_secs(60), async { current_client() }),
        );
        assert_eq!(within.await, Ok(client("b")));
    }

    #[tokio::test]
    async fn panicking_task_is_restarted_until_it_returns() {
        let runtime = BackgroundRuntime::on(Handle::current());
        let starts = Arc::new(AtomicU32::new(0));
        let (done, mut ended) = tokio::sync::mpsc::channel(1);
        let counted = Arc::clone(&starts);
        let _detached = runtime.supervise_with("test", Duration::ZERO, move || {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            let done = done.clone();
            async move {
                assert!(number >= 2, "panics twice");
                let _ = done.send(()).await;
            }
        });
        assert_eq!(ended.recv().await, Some(()));
        assert_eq!(ended.recv().await, None, "a task that returned is over");
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn held_task_ends_when_it_is_dropped() {
        let runtime = BackgroundRuntime::on(Handle::current());
        let (running, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        let task = runtime.supervise_while_held("test", move || {
            let running = running.clone();
            async move {
                let _ = running.send(()).await;
                std::future::pending::<()>().await;
            }
        });
        assert_eq!(ended.recv().await, Some(()));
        drop(task);
        assert_eq!(ended.recv().await, None);
    }
}
