//! One request, six stages; and the only place that words our own answers.

pub mod pages;
