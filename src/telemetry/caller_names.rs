//! Names of a caller in the logs: hashes, which are computed once for each session and token.

use std::sync::OnceLock;

/// The names of one caller, once they are known.
#[derive(Debug, Default)]
pub struct CallerNames(OnceLock<Names>);

/// How the logs name a caller.
#[derive(Debug)]
pub struct Names {
    /// The user or OAuth client. `None`: the logs do not name it.
    pub user: Option<String>,
    /// The session or access token.
    pub session: String,
}

impl CallerNames {
    /// The names. `make` is called at the first request only.
    pub fn get_or_make(&self, make: impl FnOnce() -> Names) -> &Names {
        self.0.get_or_init(make)
    }

    /// The names, if they are known.
    pub fn get(&self) -> Option<&Names> {
        self.0.get()
    }
}
