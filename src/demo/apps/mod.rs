//! Two small apps to put behind Doorward. They know nothing of OAuth: whom they serve is what the
//! request's headers say, as an old app behind a proxy would have it.

pub mod forum;
mod render;
pub mod store;
#[cfg(test)]
mod tests;
mod visitor;

use std::net::SocketAddr;

use super::serve::Running;

/// The public origins of the apps, without a `/` at the end: how each links to the other.
#[derive(Clone, Debug)]
pub struct Links {
    /// Of the store.
    pub store: String,
    /// Of the forum.
    pub forum: String,
}

/// An app that serves until this is dropped.
pub struct RunningApp(Running);

impl RunningApp {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}
