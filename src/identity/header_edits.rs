//! Header edits: header fields that the configuration sets, adds and removes. A template contains
//! claims and facts of the request in braces.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::claims::Claims;
use super::identity::{HeaderTemplate, joined};
use crate::types::host_label::HostLabel;
use crate::types::request_id::RequestId;

/// Names in braces that are facts of the request, and no claims.
pub const REQUEST_FACTS: [&str; 3] = ["client_ip", "request_id", "host"];

/// The variables of templates.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'r> {
    /// `{request_id}`.
    pub request_id: RequestId,
    /// `{client_ip}`; none over a Unix domain socket.
    pub client: Option<IpAddr>,
    /// `{host}`: the requested host, with a port if the request has one.
    pub host: &'r str,
    /// `{label}` at a host of a wildcard.
    pub label: Option<&'r HostLabel>,
    /// The claims of the caller. `None` without a session or token.
    pub claims: Option<&'r Claims>,
}

impl RequestFacts<'_> {
    fn value(&self, name: &str) -> Option<String> {
        match name {
            "client_ip" => self.client.map(|client| client.to_string()),
            "request_id" => Some(self.request_id.to_string()),
            "host" => Some(self.host.to_owned()),
            "label" if self.label.is_some() => self.label.map(ToString::to_string),
            claim => joined(self.claims?, claim),
        }
    }
}

/// Changes of the header fields of one kind of message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Fields that are removed.
    pub remove: Vec<HeaderName>,
    /// Fields that replace those of the message. Without a value for one of its names in braces, a
    /// field is removed only.
    pub set: Vec<HeaderTemplate>,
    /// Fields beside those of the message.
    pub add: Vec<HeaderTemplate>,
    /// Fields that are set if the message has none of the name.
    pub default: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderEdits {
    /// The names of all fields that are removed or replaced.
    pub fn replaced(&self) -> impl Iterator<Item = &HeaderName> {
        let set = self.set.iter().map(HeaderTemplate::name);
        self.remove.iter().chain(set)
    }

    /// These edits with those of `other`. Where both concern a field, those of `other` apply. Many
    /// servers read `_` in a name as `-`.
    #[must_use]
    pub fn overridden_by(mut self, other: &Self) -> Self {
        let folded = |name: &HeaderName| name.as_str().replace('_', "-");
        let replaced: Vec<String> = other.replaced().map(folded).collect();
        let stays = |name: &HeaderName| !replaced.contains(&folded(name));
        self.remove.retain(stays);
        self.set.retain(|template| stays(template.name()));
        self.add.retain(|template| stays(template.name()));
        self.default.retain(|(name, _)| stays(name));
        self.remove.extend_from_slice(&other.remove);
        self.set.extend_from_slice(&other.set);
        self.add.extend_from_slice(&other.add);
        self.default.extend_from_slice(&other.default);
        self
    }

    /// The claims in the templates.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        let templates = self.set.iter().chain(&self.add);
        let names = templates.flat_map(HeaderTemplate::claims);
        names.filter(|name| !REQUEST_FACTS.contains(name))
    }

    /// Calls `put` with each field that is set or added.
    pub fn each_field(
        &self,
        facts: &RequestFacts<'_>,
        mut put: impl FnMut(&HeaderName, &HeaderValue),
    ) {
        for template in self.set.iter().chain(&self.add) {
            if let Some(value) = template.value(|name| facts.value(name)) {
                put(template.name(), &value);
            }
        }
    }

    /// Changes the header fields of a message.
    pub fn apply(&self, headers: &mut HeaderMap, facts: &RequestFacts<'_>) {
        for name in self.replaced() {
            headers.remove(name);
        }
        self.each_field(facts, |name, value| {
            headers.append(name.clone(), value.clone());
        });
        for (name, value) in &self.default {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(name: &str, value: &str) -> HeaderTemplate {
        HeaderTemplate::parse(name, value).unwrap()
    }

    fn edited(
        edits: &HeaderEdits,
        fields: &[(&'static str, &str)],
        claims: Option<&Claims>,
    ) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let facts = RequestFacts {
            request_id: RequestId::new(1),
            client: Some("2001:db8::1".parse().unwrap()),
            host: "store.test",
            label: None,
            claims,
        };
        edits.apply(&mut headers, &facts);
        let mut edited: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        edited.sort();
        edited
    }

    #[test]
    fn fields_are_removed_set_added_and_defaulted() {
        let edits = HeaderEdits {
            remove: vec![HeaderName::from_static("server")],
            set: vec![
                template("x-client", "{client_ip} {request_id}"),
                template("x-host", "{host}"),
            ],
            add: vec![template("vary", "origin")],
            default: vec![
                (
                    HeaderName::from_static("x-frame-options"),
                    HeaderValue::from_static("SAMEORIGIN"),
                ),
                (
                    HeaderName::from_static("referrer-policy"),
                    HeaderValue::from_static("no-referrer"),
                ),
            ],
        };
        let fields = [
            ("server", "nginx"),
            ("x-client", "forged"),
            ("vary", "accept"),
            ("x-frame-options", "DENY"),
        ];
        assert_eq!(
            edited(&edits, &fields, None),
            [
                "referrer-policy: no-referrer",
                "vary: accept",
                "vary: origin",
                "x-client: 2001:db8::1 0000000000000001",
                "x-frame-options: DENY",
                "x-host: store.test",
            ]
        );
    }

    #[test]
    fn field_without_its_claim_is_removed() {
        let edits = HeaderEdits {
            set: vec![template("x-team", "{team}")],
            ..HeaderEdits::default()
        };
        assert_eq!(edits.claims().collect::<Vec<_>>(), ["team"]);
        let claims = json!({"team": "a,b"}).as_object().unwrap().clone();
        let claims = Claims::new(claims, serde_json::Map::new());
        assert_eq!(
            edited(&edits, &[("x-team", "forged")], Some(&claims)),
            ["x-team: a%2Cb"]
        );
        assert!(edited(&edits, &[("x-team", "forged")], None).is_empty());
    }
}
