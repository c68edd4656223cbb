//! Request parameters from a query or a form (RFC 6749 sections 3.1 and 3.2).

use std::collections::HashSet;

use url::form_urlencoded;

/// The parameters of one request.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Parses `application/x-www-form-urlencoded` text. A parameter without a value is omitted.
    pub(super) fn read(text: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(text).filter(|(_, value)| !value.is_empty());
        Self(
            pairs
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// The first value of the parameter `name`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }

    /// The space-separated values of the parameter `name`.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.get(name)
            .unwrap_or_default()
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect()
    }

    /// Whether one of `names` is repeated.
    pub(super) fn repeats_any(&self, names: &[&str]) -> bool {
        names
            .iter()
            .any(|name| self.0.iter().filter(|(key, _)| key == name).count() > 1)
    }

    /// Whether any parameter is repeated.
    pub(super) fn repeats(&self) -> bool {
        let mut seen = HashSet::new();
        self.0.iter().any(|(name, _)| !seen.insert(name))
    }

    /// The parameters as a query.
    pub(super) fn to_query(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.0)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_omit_empty_values_and_detect_repetition() {
        let params = Params::read(b"scope=openid+email&state=&nonce=a%26b&nonce=c");
        assert_eq!(params.get("state"), None);
        assert_eq!(params.get("nonce"), Some("a&b"));
        assert_eq!(params.list("scope"), ["openid", "email"]);
        assert!(
            params.repeats() && params.repeats_any(&["nonce"]) && !params.repeats_any(&["scope"])
        );
        assert_eq!(params.to_query(), "scope=openid+email&nonce=a%26b&nonce=c");
    }
}
