//! Templates of backend addresses, with the label of a wildcard host.

use std::fmt;

use super::address::UpstreamUrl;
use crate::types::host_label::HostLabel;

/// The placeholder of the label in an address.
pub const LABEL: &str = "{label}";

/// The address of a backend by label, such as `http://{label}.apps.internal:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTemplate(String);

impl UpstreamTemplate {
    /// The template `text`. `None` without `{label}`, or if it is no address with a label.
    pub fn parse(text: &str) -> Option<Self> {
        let template = Self(text.to_owned());
        (text.contains(LABEL) && template.at("label").is_some()).then_some(template)
    }

    /// Whether the label is the first of a longer host name, so that every address is under one
    /// domain.
    pub fn is_under_domain(&self) -> bool {
        let host = self.0.split_once("://").map(|(_, rest)| rest);
        let domain = host.and_then(|host| host.strip_prefix(LABEL)?.strip_prefix('.'));
        domain.is_some_and(|domain| !domain.contains(LABEL))
    }

    fn at(&self, label: &str) -> Option<UpstreamUrl> {
        self.0.replace(LABEL, label).parse().ok()
    }

    /// The address for a label.
    pub(super) fn at_label(&self, label: &HostLabel) -> Option<UpstreamUrl> {
        self.at(label.as_str())
    }
}

impl fmt::Display for UpstreamTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Addresses by label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByLabel {
    /// The addresses.
    pub template: UpstreamTemplate,
    /// How many of them have open connections, in each worker.
    pub max_labels: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_is_an_address_with_a_label() {
        let label = HostLabel::parse("blue").unwrap();
        for (text, address, is_under_domain) in [
            (
                "http://{label}.apps.internal:8080",
                "http://blue.apps.internal:8080",
                true,
            ),
            ("https://{label}.internal", "https://blue.internal", true),
            ("http://app-{label}:80", "http://app-blue:80", false),
            ("http://{label}:80", "http://blue:80", false),
            (
                "http://{label}.{label}.internal",
                "http://blue.blue.internal",
                false,
            ),
            ("unix:/run/{label}.sock", "unix:/run/blue.sock", false),
        ] {
            let template = UpstreamTemplate::parse(text).unwrap();
            assert_eq!(template.at_label(&label), address.parse().ok(), "{text}");
            assert_eq!(template.is_under_domain(), is_under_domain, "{text}");
        }
        for text in [
            "http://apps.internal",
            "http://apps.internal:{label}",
            "http://apps.internal/{label}",
            "http://{label}@apps.internal",
            "{label}://apps.internal",
        ] {
            assert_eq!(UpstreamTemplate::parse(text), None, "{text}");
        }
    }
}
