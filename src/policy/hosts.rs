//! The hosts of an app: one, or every host that matches a wildcard.

use crate::types::host_label::HostLabel;

/// Which hosts an app has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AppHosts {
    /// The host of its origin.
    #[default]
    One,
    /// Every host that matches its origin, whose first label is `*`. Such an app serves no request
    /// itself: each of its hosts is an app of its own.
    Wildcard(Wildcard),
    /// The host with this label in place of a `*`.
    Matched(HostLabel),
}

/// A wildcard in the host of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wildcard {
    /// The accepted labels. `None` accepts each.
    pub labels: Option<Vec<HostLabel>>,
    /// How many hosts are kept in memory.
    pub max_hosts: usize,
}

impl AppHosts {
    /// The wildcard, if there is one.
    pub const fn wildcard(&self) -> Option<&Wildcard> {
        match self {
            Self::Wildcard(wildcard) => Some(wildcard),
            Self::One | Self::Matched(_) => None,
        }
    }

    /// The label of a host that matched a wildcard.
    pub const fn label(&self) -> Option<&HostLabel> {
        match self {
            Self::Matched(label) => Some(label),
            Self::One | Self::Wildcard(_) => None,
        }
    }
}

impl Wildcard {
    /// Whether the app has a host with this label.
    pub fn accepts(&self, label: &HostLabel) -> bool {
        let listed = self.labels.as_ref();
        listed.is_none_or(|labels| labels.contains(label))
    }
}
