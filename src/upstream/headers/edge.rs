//! Changes for another proxy: what it has to do to a permitted request that it forwards itself, so
//! that the app receives the header fields that Doorward would have sent.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::HeaderPolicy;
use crate::session::cookie::pairs;
use crate::upstream::loop_guard::CDN_LOOP;
use crate::upstream::request::ForwardRequest;

/// Fields that belong to the other proxy: the host, framing, and its connections.
static OF_THE_PROXY: [HeaderName; 12] = [
    HOST,
    CDN_LOOP,
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    CONTENT_LENGTH,
    EXPECT,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeField {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
}

/// The changes to the header fields of the client's request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeChanges {
    /// Fields to set, in place of the client's fields of the same name.
    pub set: Vec<EdgeField>,
    /// Names of fields to remove.
    pub remove: Vec<HeaderName>,
}

impl EdgeChanges {
    /// Removes these fields too, unless they are set.
    pub fn remove_too(&mut self, names: impl IntoIterator<Item = HeaderName>) {
        for name in names {
            if !self.remove.contains(&name) && self.set.iter().all(|field| field.name != name) {
                self.remove.push(name);
            }
        }
    }
}

impl HeaderPolicy {
    /// The changes that turn the fields of `client` into those of the upstream request. `identity`
    /// are the app's identity headers, which are removed in any case if they are not set, as those
    /// that the configuration sets or removes.
    pub(in crate::upstream) fn edge_changes<'a>(
        &'a self,
        client: &'a HeaderMap,
        forward: &ForwardRequest<'_>,
        identity: impl Iterator<Item = &'a HeaderName>,
    ) -> EdgeChanges {
        let sent = self.upstream_headers(client, forward);
        let is_same = |name: &HeaderName| sent.get_all(name).iter().eq(client.get_all(name));
        let changed = sent
            .keys()
            .filter(|name| !OF_THE_PROXY.contains(name) && !is_same(name));
        let set = changed.flat_map(|name| {
            sent.get_all(name).iter().map(|value| EdgeField {
                name: name.clone(),
                value: value.clone(),
            })
        });
        let removed = client.keys().filter(|name| !OF_THE_PROXY.contains(name));
        let mut remove: Vec<HeaderName> = Vec::new();
        for name in removed.chain(identity).chain(self.request_edits.replaced()) {
            if !sent.contains_key(name) && !remove.contains(name) {
                remove.push(name.clone());
            }
        }
        EdgeChanges {
            set: set.collect(),
            remove,
        }
    }

    /// Whether one of Doorward's cookies is behind a comma, as in `Cookie` fields that a proxy has
    /// joined in the wrong way. The filter would not find it.
    pub(in crate::upstream) fn hides_own_cookie(&self, client: &HeaderMap) -> bool {
        let mut pairs = client.get_all(COOKIE).iter().flat_map(pairs);
        pairs.any(|pair| {
            let mut parts = pair.split(|byte| *byte == b',').skip(1);
            parts.any(|part| self.is_doorward_cookie(part))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::header_edits::RequestFacts;
    use crate::types::request_id::RequestId;
    use crate::upstream::request::AppCredentials;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn policy() -> HeaderPolicy {
        let names = [HeaderName::from_static("x-forwarded-user")];
        HeaderPolicy::new(&names, &["doorward_"])
    }

    fn changes(client: &HeaderMap, identity: &[(HeaderName, HeaderValue)]) -> EdgeChanges {
        let forward = ForwardRequest {
            target: "/",
            route: None,
            identity_headers: identity,
            facts: RequestFacts {
                request_id: RequestId::new(1),
                client: None,
                host: "a.test",
                label: None,
                claims: None,
            },
            forwarded_for: "192.0.2.1",
            forwarded_proto: "https",
            forwarded_host: "a.test",
            authenticated: true,
            session: None,
            pin: None,
            trace: None,
            credentials: AppCredentials::default(),
        };
        let names = [HeaderName::from_static("x-forwarded-user")];
        policy().edge_changes(client, &forward, names.iter())
    }

    fn set(changes: &EdgeChanges) -> Vec<String> {
        let fields = changes.set.iter();
        let mut fields: Vec<_> = fields
            .map(|field| format!("{}: {}", field.name, field.value.to_str().unwrap()))
            .collect();
        fields.sort_unstable();
        fields
    }

    #[test]
    fn changes_set_identity_and_remove_forged_fields() {
        let client = map(&[
            ("x_forwarded_user", "forged"),
            ("x-forwarded-user", "forged"),
            ("x-forwarded-for", "6.6.6.6"),
            ("remote-user", "forged"),
            ("cookie", "doorward_jwt=x; a=b"),
            ("accept", "a"),
            ("content-length", "3"),
            ("upgrade", "websocket"),
        ]);
        let identity = [(
            HeaderName::from_static("x-forwarded-user"),
            HeaderValue::from_static("anna"),
        )];
        let changes = changes(&client, &identity);
        assert_eq!(
            set(&changes),
            [
                "cookie: a=b",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: a.test",
                "x-forwarded-proto: https",
                "x-forwarded-user: anna",
                "x-request-id: 0000000000000001",
            ]
        );
        assert_eq!(changes.remove, ["x_forwarded_user", "remote-user"]);
    }

    #[test]
    fn anonymous_request_has_identity_and_cookies_removed() {
        let changes = changes(&map(&[("cookie", "doorward_jwt=x")]), &[]);
        assert_eq!(changes.remove, ["cookie", "x-forwarded-user"]);
    }

    #[test]
    fn own_cookie_behind_a_comma_is_found() {
        for (cookie, hides) in [
            ("a=b, doorward_jwt=x", true),
            ("a=b,doorward_jwt=x; c=d", true),
            ("a=b,c; doorward_jwt=x", false),
            ("a=b", false),
        ] {
            let client = map(&[("cookie", cookie)]);
            assert_eq!(policy().hides_own_cookie(&client), hides, "{cookie}");
        }
    }
}
