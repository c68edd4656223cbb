//! Two small backend apps. They know nothing of OAuth and take the user from the identity headers,
//! as an app behind an authenticating proxy does.

mod current_user;
pub mod forum;
mod render;
pub mod store;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use super::serve::RunningServer;

/// The public origins of the apps, without a trailing `/`. Each app links to the other.
#[derive(Clone, Debug)]
pub struct Links {
    /// The store's origin.
    pub store: String,
    /// The forum's origin.
    pub forum: String,
}

/// A running app. It stops when this is dropped.
pub struct RunningApp(RunningServer);

impl RunningApp {
    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}
