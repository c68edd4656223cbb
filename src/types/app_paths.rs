//! The paths of an app at its origin, which it may share with other apps.

use super::public_url::BasePath;

/// The paths of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppPaths {
    /// Where the app begins.
    pub base: BasePath,
    /// The beginning of the paths of Doorward's endpoints, such as `/.doorward` or `/shop/.doorward`.
    pub endpoints: String,
    /// Where other apps begin below `base`.
    pub nested: Vec<BasePath>,
}

impl AppPaths {
    /// Those of an app with endpoints below `prefix`, which is relative to `base`.
    pub fn new(base: BasePath, prefix: &str) -> Self {
        Self {
            endpoints: format!("{}{prefix}", base.as_str()),
            base,
            nested: Vec::new(),
        }
    }

    /// Whether a canonical path belongs to the app.
    pub fn contain(&self, path: &str) -> bool {
        self.base.contains(path) && !self.nested.iter().any(|other| other.contains(path))
    }

    /// What follows the prefix of endpoints in a canonical path. `None` if the path is no endpoint.
    pub fn endpoint<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(&self.endpoints)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }
}
