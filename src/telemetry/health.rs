//! Liveness and readiness: named conditions that must all be met. Each component holds its own condition, and
//! `/readyz` lists those that are not met.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The conditions of liveness and readiness.
#[derive(Debug, Default)]
pub struct Health {
    conditions: Vec<(&'static str, Arc<AtomicBool>)>,
    liveness: Vec<Arc<AtomicBool>>,
}

/// One condition, held by the component that it depends on.
#[derive(Clone, Debug)]
pub struct Condition(Arc<AtomicBool>);

impl Health {
    /// No conditions, so ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition that is not met yet.
    pub fn condition(&mut self, name: &'static str) -> Condition {
        let flag = Arc::new(AtomicBool::new(false));
        self.conditions.push((name, Arc::clone(&flag)));
        Condition(flag)
    }

    /// Adds a condition that is met now. When it is no longer met, the process can neither be ready
    /// nor recover.
    pub fn liveness(&mut self, name: &'static str) -> Condition {
        let condition = self.condition(name);
        condition.met();
        self.liveness.push(Arc::clone(&condition.0));
        condition
    }

    /// Whether every condition of liveness is met.
    pub fn is_alive(&self) -> bool {
        self.liveness
            .iter()
            .all(|flag| flag.load(Ordering::Acquire))
    }

    /// Whether every condition is met.
    pub fn is_ready(&self) -> bool {
        self.missing().next().is_none()
    }

    /// The conditions that are not met, in the order they were added.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.conditions
            .iter()
            .filter(|(_, flag)| !flag.load(Ordering::Acquire))
            .map(|(name, _)| *name)
    }
}

impl Condition {
    /// Marks the condition as met.
    pub fn met(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Marks the condition as not met, for example while draining.
    pub fn unmet(&self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_while_every_condition_is_met() {
        let mut health = Health::new();
        let (listening, serving) = (health.condition("listening"), health.condition("serving"));
        listening.met();
        assert_eq!(health.missing().collect::<Vec<_>>(), ["serving"]);
        serving.met();
        assert!(health.is_ready());
        serving.unmet();
        assert!(!health.is_ready());
    }

    #[test]
    fn lost_liveness_is_neither_alive_nor_ready() {
        let mut health = Health::new();
        let workers = health.liveness("workers");
        let serving = health.condition("serving");
        assert!(health.is_alive() && !health.is_ready());
        serving.met();
        assert!(health.is_ready());
        workers.unmet();
        assert!(!health.is_alive());
        assert_eq!(health.missing().collect::<Vec<_>>(), ["workers"]);
    }
}
