//! Deadline timer: the task that runs a worker's timer wheel for its connections.

use std::sync::Arc;

use tokio::task::AbortHandle;

use super::deadlines::{Deadlines, TimerContext};
use super::drain::Drain;
use super::settings::ListenerSettings;

/// A running timer wheel. Dropping it stops the task.
pub(super) struct DeadlineTimer {
    context: Arc<TimerContext>,
    task: AbortHandle,
}

impl DeadlineTimer {
    /// Starts the timer on the current runtime.
    pub(super) fn start(settings: &ListenerSettings, drain: Drain) -> Self {
        let context = TimerContext::new(settings);
        let running = Arc::clone(&context);
        let task = tokio::spawn(async move { running.wheel.run(drain).await }).abort_handle();
        Self { context, task }
    }

    /// Registers a new connection.
    pub(super) fn watch(&self) -> Arc<Deadlines> {
        let connection = Arc::new(Deadlines::new(Arc::clone(&self.context)));
        self.context.wheel.register(&connection);
        connection
    }
}

impl Drop for DeadlineTimer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::super::deadlines::ReadPhase;
    use super::super::timer_wheel::{SLOTS, TICK};
    use super::*;

    #[derive(Default)]
    struct WakeCounter(AtomicUsize);

    impl Wake for WakeCounter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The ticks after `start` at which a connection is woken that waits in `phase` and receives
    /// nothing.
    fn wake_ticks(phase: ReadPhase, start: u64, step: usize, hibernating: bool) -> Vec<u64> {
        let settings = ListenerSettings {
            hibernate_after: 5 * TICK,
            first_byte_timeout: 70 * TICK,
            header_read_timeout: 200 * TICK,
            keep_alive_timeout: 1000 * TICK,
            ..ListenerSettings::default()
        };
        let context = TimerContext::new(&settings);
        let connection = Arc::new(Deadlines::new(Arc::clone(&context)));
        context.wheel.register(&connection);
        let counter = Arc::new(WakeCounter::default());
        connection.register_waker(&Arc::clone(&counter).into());
        (0..=start).for_each(|tick| context.wheel.set_now(tick));
        connection.set_phase(phase);
        let gauge = prometheus::IntGauge::new("hibernating", "Hibernating.").unwrap();
        let _hibernation = hibernating.then(|| connection.hibernate(&gauge));
        let mut ticks = Vec::new();
        for tick in (start + 1..start + 1500).step_by(step) {
            context.wheel.set_now(tick);
            if counter.0.swap(0, Ordering::Relaxed) > 0 {
                assert_eq!(
                    connection.overdue().is_some(),
                    tick > start + timeout_ticks(phase),
                    "{phase:?} at {tick}"
                );
                ticks.push(tick - start);
            }
        }
        ticks
    }

    fn timeout_ticks(phase: ReadPhase) -> u64 {
        match phase {
            ReadPhase::Nothing => u64::MAX / 2,
            ReadPhase::FirstByte => 70,
            ReadPhase::NextRequest => 1000,
            ReadPhase::RestOfHead => 200,
        }
    }

    #[tokio::test]
    async fn connection_woken_at_deadline_and_not_before() {
        for start in [0, 1, 63, 64, 130] {
            for step in [1, 3, 70, 200] {
                let late = u64::try_from(step).unwrap();
                let never = wake_ticks(ReadPhase::Nothing, start, step, false);
                assert!(
                    never.is_empty(),
                    "a request in flight has no deadline: {never:?}"
                );
                for phase in [ReadPhase::FirstByte, ReadPhase::NextRequest] {
                    let first = wake_ticks(phase, start, step, true)[0];
                    let limit = timeout_ticks(phase);
                    assert!(
                        first > limit && first <= limit + 1 + late,
                        "{phase:?} from {start} by {step}: {first}"
                    );
                    let first = wake_ticks(phase, start, step, false)[0];
                    assert!(
                        (5..=10 + late).contains(&first),
                        "{phase:?} from {start} by {step}: hibernation at {first}"
                    );
                }
                let first = wake_ticks(ReadPhase::RestOfHead, start, step, false)[0];
                assert!(
                    (201..=201 + late).contains(&first),
                    "from {start} by {step}: {first}"
                );
            }
        }
    }

    #[tokio::test]
    async fn dropped_connections_removed_from_wheel() {
        let context = TimerContext::new(&ListenerSettings::default());
        for number in 0..1000 {
            let connection = Arc::new(Deadlines::new(Arc::clone(&context)));
            context.wheel.register(&connection);
            if number % 2 == 0 {
                connection.set_phase(ReadPhase::NextRequest);
            }
            context.wheel.set_now(number / 10);
        }
        assert!(!context.wheel.is_empty());
        (100..100 + SLOTS as u64).for_each(|tick| context.wheel.set_now(tick));
        assert!(context.wheel.is_empty());
    }
}
