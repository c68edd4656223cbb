//! Readiness: named conditions that must all be met. Each component holds its own condition, and
//! `/readyz` lists those that are not met.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The conditions of readiness.
#[derive(Debug, Default)]
pub struct Health {
    conditions: Vec<(&'static str, Arc<AtomicBool>)>,
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
}
