//! The web workflow with the fake provider and echoing apps: each step of it, and what can come between.

mod steps;
