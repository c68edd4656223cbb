//! The one runtime that talks to the provider. Workers hand it whole tasks and wait for their results, with
//! deadlines of their own: what runs here is never cancelled because somebody stopped waiting for it.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;

/// How many tasks may run at once before more are refused.
const MAX_TASKS: usize = 4096;

/// How long a task that panicked stays down.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// A way to run tasks on the control runtime.
#[derive(Clone, Debug)]
pub struct BackgroundRuntime {
    handle: Handle,
    limiter: Arc<Semaphore>,
}

/// A task did not yield a result in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It still runs.
    #[error("it takes too long")]
    TooSlow,
    /// Too many tasks run already.
    #[error("too many calls to the provider are under way")]
    Busy,
    /// It failed in a way that was not foreseen.
    #[error("it broke off")]
    BrokeOff,
}

impl TaskError {
    /// The stable word for logs, metrics and pages.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooSlow => "provider_too_slow",
            Self::Busy => "too_many_provider_calls",
            Self::BrokeOff => "internal_error",
        }
    }
}

impl BackgroundRuntime {
    /// Starts the runtime, on a thread of its own. It ends when the returned [`Runtime`] is dropped.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start() -> io::Result<(Self, Runtime)> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("doorward-control")
            .enable_all()
            .build()?;
        Ok((Self::on(runtime.handle().clone()), runtime))
    }

    /// Uses a runtime that runs already.
    pub fn on(handle: Handle) -> Self {
        Self {
            handle,
            limiter: Arc::new(Semaphore::new(MAX_TASKS)),
        }
    }

    /// The same runtime with room of its own for `app_refs` tasks, which take none from others.
    #[must_use]
    pub fn with_limit(&self, app_refs: usize) -> Self {
        Self {
            handle: self.handle.clone(),
            limiter: Arc::new(Semaphore::new(app_refs)),
        }
    }

    /// Runs `task` to its end, whoever waits for it.
    ///
    /// # Errors
    /// [`TaskError::Busy`]: it was not begun.
    pub fn spawn<F>(&self, task: F) -> Result<(), TaskError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let app_ref = Arc::clone(&self.limiter)
            .try_acquire_owned()
            .map_err(|_| TaskError::Busy)?;
        self.handle.spawn(async move {
            let _place = app_ref;
            task.await;
        });
        Ok(())
    }

    /// Runs the task that `make` returns, and starts it again if it panics. A task that returns is
    /// over. Does not count towards the limit.
    pub fn supervise<F>(&self, name: &'static str, make: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.supervise_with(name, RESTART_DELAY, make);
    }

    fn supervise_with<F>(
        &self,
        name: &'static str,
        delay: Duration,
        make: impl Fn() -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = self.handle.clone();
        self.handle.spawn(async move {
            // A cancelled task means that the runtime ends.
            while let Err(error) = handle.spawn(make()).await
                && error.is_panic()
            {
                tracing::error!(task = name, "background_task_restarted");
                tokio::time::sleep(delay).await;
            }
        });
    }

    /// Runs `task` to its end, and waits for it no longer than `patience`.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn run<F>(&self, patience: Duration, task: F) -> Result<F::Output, TaskError>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (done, queued) = tokio::sync::oneshot::channel();
        self.spawn(async move {
            // Nobody may be waiting any more: the task had to be finished all the same.
            let _ = done.send(task.await);
        })?;
        match tokio::time::timeout(patience, queued).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(_)) => Err(TaskError::BrokeOff),
            Err(_) => Err(TaskError::TooSlow),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn panicking_task_is_restarted_until_it_returns() {
        let runtime = BackgroundRuntime::on(Handle::current());
        let starts = Arc::new(AtomicU32::new(0));
        let (done, mut ended) = tokio::sync::mpsc::channel(1);
        let counted = Arc::clone(&starts);
        runtime.supervise_with("test", Duration::ZERO, move || {
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
}
