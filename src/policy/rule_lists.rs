//! Lists in files that conditions of access rules use: their format, and their current content.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// The most entries of a list.
pub const MAX_ENTRIES: usize = 100_000;

/// Which of the lists of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListId(usize);

impl ListId {
    /// The list at `index` of [`RuleLists`].
    pub const fn new(index: usize) -> Self {
        Self(index)
    }
}

/// The kinds of entries of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Values of a claim.
    Values,
    /// Email addresses.
    Emails,
    /// Domains of email addresses.
    EmailDomains,
    /// Addresses and networks of clients.
    Networks,
}

/// The entries of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListContent {
    /// Texts, in the form in which they are compared.
    Texts(HashSet<String>),
    /// Networks.
    Networks(Networks),
}

/// Why the text of a list is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// A line is not an entry of its kind.
    #[error("line {line} is not {expected}")]
    Entry {
        /// The line, from 1.
        line: usize,
        /// The expected kind.
        expected: &'static str,
    },
    /// It has more than [`MAX_ENTRIES`] entries.
    #[error("more than {MAX_ENTRIES} entries")]
    TooMany,
}

impl ListKind {
    /// The kind of an entry, for error messages.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Values => "a value",
            Self::Emails => "an email address",
            Self::EmailDomains => "a domain",
            Self::Networks => "an address or a network",
        }
    }

    /// The entry in the form in which texts are compared. `None` if it is not valid, and for
    /// networks.
    pub fn comparable(self, entry: &str) -> Option<String> {
        match self {
            Self::Values => Some(entry.to_owned()),
            Self::Emails => comparable_email(entry),
            Self::EmailDomains => comparable_domain(entry),
            Self::Networks => None,
        }
    }
}

/// An email address in the form in which addresses are compared: providers differ in case.
pub fn comparable_email(address: &str) -> Option<String> {
    let email = crate::identity::claims::EmailAddress::parse(address)?;
    let local = email.address.strip_suffix(email.domain)?;
    Some(format!(
        "{}{}",
        local.to_lowercase(),
        comparable_domain(email.domain)?
    ))
}

/// A domain in the form in which domains are compared: lower-case ASCII (RFC 5891 section 4.4).
pub fn comparable_domain(domain: &str) -> Option<String> {
    let ascii = match url::Host::parse(domain).ok()? {
        url::Host::Domain(ascii) => ascii,
        url::Host::Ipv4(_) | url::Host::Ipv6(_) => return None,
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    ascii.split('.').all(is_label).then_some(ascii)
}

/// An address, or a network in CIDR notation (RFC 4632 section 3.1).
pub fn parse_network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().ok();
    network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl ListContent {
    /// Parses a list: an entry in each line. Blank lines, and lines that begin with `#`, are ignored.
    ///
    /// # Errors
    /// [`ListError`]: a line is not an entry, or there are too many.
    pub fn parse(kind: ListKind, text: &str) -> Result<Self, ListError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let entries = text
            .lines()
            .map(str::trim)
            .enumerate()
            .filter(|(_, entry)| !entry.is_empty() && !entry.starts_with('#'));
        if entries.clone().count() > MAX_ENTRIES {
            return Err(ListError::TooMany);
        }
        let invalid = |index: usize| ListError::Entry {
            line: index + 1,
            expected: kind.expected(),
        };
        if kind == ListKind::Networks {
            let networks = entries
                .map(|(index, entry)| parse_network(entry).ok_or_else(|| invalid(index)))
                .collect::<Result<Vec<_>, _>>()?;
            return Ok(Self::Networks(Networks::new(&networks)));
        }
        let texts = entries
            .map(|(index, entry)| kind.comparable(entry).ok_or_else(|| invalid(index)))
            .collect::<Result<HashSet<_>, _>>()?;
        Ok(Self::Texts(texts))
    }

    /// The number of entries. Networks that are parts of others do not count.
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Networks(networks) => networks.0.len(),
        }
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Networks that do not overlap, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// These networks. IPv4-mapped IPv6 networks count as IPv4.
    pub fn new(networks: &[IpNet]) -> Self {
        let canonical: Vec<IpNet> = networks.iter().map(canonical).collect();
        let mut disjoint = IpNet::aggregate(&canonical);
        disjoint.sort_unstable_by_key(IpNet::network);
        Self(disjoint)
    }

    /// Whether one of them contains `address`.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let after = self
            .0
            .partition_point(|network| network.network() <= address);
        let candidate = after.checked_sub(1).and_then(|at| self.0.get(at));
        candidate.is_some_and(|network| network.contains(&address))
    }

    /// The networks.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }
}

fn canonical(network: &IpNet) -> IpNet {
    let IpNet::V6(v6) = network else {
        return network.trunc();
    };
    let mapped = v6
        .network()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96));
    let v4 = mapped.and_then(|(address, len)| IpNet::new(address.into(), len).ok());
    v4.unwrap_or(IpNet::V6(*v6)).trunc()
}

/// The current content of all lists in files.
#[derive(Clone, Debug, Default)]
pub struct RuleLists(Vec<Arc<ListContent>>);

impl RuleLists {
    /// No list.
    pub const NONE: &'static Self = &Self(Vec::new());

    /// These lists, in the order of their [`ListId`]s.
    pub const fn new(lists: Vec<Arc<ListContent>>) -> Self {
        Self(lists)
    }

    /// Whether the list contains this text.
    pub fn contain_text(&self, id: ListId, text: &str) -> bool {
        match self.0.get(id.0).map(AsRef::as_ref) {
            Some(ListContent::Texts(texts)) => texts.contains(text),
            Some(ListContent::Networks(_)) | None => false,
        }
    }

    /// Whether the list contains this address.
    pub fn contain_address(&self, id: ListId, address: IpAddr) -> bool {
        match self.0.get(id.0).map(AsRef::as_ref) {
            Some(ListContent::Networks(networks)) => networks.contain(address),
            Some(ListContent::Texts(_)) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(kind: ListKind, text: &str) -> Result<Vec<String>, ListError> {
        match ListContent::parse(kind, text)? {
            ListContent::Texts(texts) => {
                let mut texts: Vec<_> = texts.into_iter().collect();
                texts.sort_unstable();
                Ok(texts)
            }
            ListContent::Networks(_) => panic!("texts"),
        }
    }

    #[test]
    fn lists_ignore_blank_lines_and_comments() {
        let text = "\u{feff}# staff\r\n\n  Admin \r\nuser#1\n\tadmin\nadmin\n";
        let found = texts(ListKind::Values, text).unwrap();
        assert_eq!(found, ["Admin", "admin", "user#1"]);
        assert!(
            ListContent::parse(ListKind::Emails, "# none\n")
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn emails_and_domains_are_compared_in_lower_case_ascii() {
        let emails = texts(ListKind::Emails, "Bob@Example.COM\nA.b@B\u{fc}cher.example").unwrap();
        assert_eq!(emails, ["a.b@xn--bcher-kva.example", "bob@example.com"]);
        let domains = texts(ListKind::EmailDomains, "Example.COM\nb\u{fc}cher.example").unwrap();
        assert_eq!(domains, ["example.com", "xn--bcher-kva.example"]);
    }

    #[test]
    fn invalid_line_is_named() {
        for (kind, text, line) in [
            (ListKind::Emails, "a@x.com\n\nnobody", 3),
            (ListKind::Emails, "a@x.com, b@x.com", 1),
            (ListKind::EmailDomains, "# c\n*.example.com", 2),
            (ListKind::EmailDomains, "@example.com", 1),
            (ListKind::EmailDomains, "10.0.0.1", 1),
            (ListKind::Networks, "10.0.0.0/8\n10.0.0.0/33", 2),
            (ListKind::Networks, "localhost", 1),
        ] {
            let expected = kind.expected();
            assert_eq!(
                ListContent::parse(kind, text),
                Err(ListError::Entry { line, expected }),
                "{text}"
            );
        }
        let long = "a\n".repeat(MAX_ENTRIES + 1);
        assert_eq!(
            ListContent::parse(ListKind::Values, &long),
            Err(ListError::TooMany)
        );
    }

    #[test]
    fn networks_contain_addresses_of_their_parts() {
        let text = "10.0.0.0/8\n10.1.0.0/16\n192.0.2.7\n2001:db8::/32\n::ffff:198.51.100.0/120\n192.0.2.129/25";
        let Ok(ListContent::Networks(networks)) = ListContent::parse(ListKind::Networks, text)
        else {
            panic!("networks")
        };
        for (address, expected) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("192.0.2.128", true),
            ("198.51.100.9", true),
            ("::ffff:198.51.100.9", true),
            ("198.51.101.0", false),
            ("2001:db8:1::1", true),
            ("2001:db9::", false),
            ("::1", false),
        ] {
            let found = networks.contain(address.parse().unwrap());
            assert_eq!(found, expected, "{address}");
        }
        assert!(!Networks::default().contain("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn lists_are_found_by_their_id() {
        let list = |text| Arc::new(ListContent::parse(ListKind::Values, text).unwrap());
        let lists = RuleLists::new(vec![list("a"), list("b")]);
        assert!(lists.contain_text(ListId::new(0), "a"));
        assert!(lists.contain_text(ListId::new(1), "b"));
        assert!(!lists.contain_text(ListId::new(0), "b"));
        assert!(!lists.contain_text(ListId::new(2), "b"));
        assert!(!lists.contain_address(ListId::new(0), "10.0.0.1".parse().unwrap()));
    }
}
