//! Doorward from outside: a browser before it, a provider and an app behind it.
#![expect(missing_docs, reason = "members of fixtures are named for what they are")]

#[cfg(test)]
mod command_demo;
#[cfg(test)]
mod command_run;
#[cfg(test)]
mod real_provider;
#[cfg(test)]
pub mod support;
#[cfg(test)]
mod support_itself;
#[cfg(test)]
mod web_workflow;
