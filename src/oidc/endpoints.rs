//! Endpoints that the configuration sets, and an internal address for the requests of servers. Both
//! change the discovery document before it is read. PURE.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use url::Url;

use super::discovery::MTLS_ALIASES;
use crate::types::oauth::Issuer;

/// Members that browsers are sent to.
const FOR_BROWSERS: [&str; 2] = ["authorization_endpoint", "end_session_endpoint"];

/// Members that Doorward sends requests to.
const FOR_SERVERS: [&str; 6] = [
    "token_endpoint",
    "jwks_uri",
    "userinfo_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "pushed_authorization_request_endpoint",
];

/// Where the endpoints of a provider are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Whether there is no discovery document, so that [`Self::configured`] has all endpoints.
    pub without_discovery: bool,
    /// Endpoints by their names in the discovery document. They are used as they are.
    pub configured: BTreeMap<&'static str, Url>,
    /// An internal address for the requests of servers.
    pub internal: Option<InternalBase>,
    /// The key set, if it is not fetched. It is valid.
    pub jwks: Option<Vec<u8>>,
}

impl EndpointSettings {
    /// The members that can be set.
    pub fn members() -> impl Iterator<Item = &'static str> {
        FOR_BROWSERS.into_iter().chain(FOR_SERVERS)
    }

    /// The addresses that the configuration sets.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Url> {
        let internal = self.internal.iter().map(|internal| &internal.base);
        self.configured.values().chain(internal)
    }

    /// Where servers reach the page at `url`.
    pub(super) fn for_servers(&self, url: &Url) -> Url {
        let internal = self
            .internal
            .as_ref()
            .and_then(|internal| internal.internal(url));
        internal.unwrap_or_else(|| url.clone())
    }

    /// The document of a provider that publishes none.
    pub(super) fn document(&self, issuer: &Issuer) -> Map<String, Value> {
        let mut document = Map::new();
        document.insert("issuer".to_owned(), issuer.as_str().into());
        self.complete(&mut document);
        document
    }

    /// Moves the members of `document` to their internal and public addresses, and sets the
    /// configured ones. Members that are no URLs are left to the validation.
    pub(super) fn complete(&self, document: &mut Map<String, Value>) {
        if let Some(internal) = &self.internal {
            for name in FOR_SERVERS {
                replace(document, name, |url| internal.internal(url));
            }
            for name in FOR_BROWSERS {
                replace(document, name, |url| internal.public(url));
            }
        }
        for (name, url) in &self.configured {
            document.insert((*name).to_owned(), url.as_str().into());
        }
        let aliases = document.get_mut(MTLS_ALIASES);
        let Some(aliases) = aliases.and_then(Value::as_object_mut) else {
            return;
        };
        aliases.retain(|name, _| !self.configured.contains_key(name.as_str()));
        if let Some(internal) = &self.internal {
            for name in FOR_SERVERS {
                replace(aliases, name, |url| internal.internal(url));
            }
        }
    }

    /// The URL of an endpoint as the provider knows it.
    pub(super) fn published(&self, url: &Url) -> Url {
        let public = self
            .internal
            .as_ref()
            .and_then(|internal| internal.public(url));
        public.unwrap_or_else(|| url.clone())
    }
}

/// Replaces the member `name` if it is a URL that `moved` moves.
fn replace(members: &mut Map<String, Value>, name: &str, moved: impl Fn(&Url) -> Option<Url>) {
    let Some(member) = members.get_mut(name) else {
        return;
    };
    let url = member.as_str().and_then(|text| Url::parse(text).ok());
    if let Some(url) = url.and_then(|url| moved(&url)) {
        *member = Value::from(String::from(url));
    }
}

/// The two addresses of a provider: that of its issuer, and one for the requests of servers, such as a
/// service in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalBase {
    public: Url,
    base: Url,
}

impl InternalBase {
    /// `base` in place of the origin of `public`. Its path comes before that of each URL.
    pub const fn new(public: Url, base: Url) -> Self {
        Self { public, base }
    }

    /// The address for servers. `None` for URLs of other origins.
    pub fn internal(&self, url: &Url) -> Option<Url> {
        if url.origin() != self.public.origin() {
            return None;
        }
        let prefix = self.base.path().trim_end_matches('/');
        let mut moved = self.base.clone();
        moved.set_path(&format!("{prefix}{}", url.path()));
        moved.set_query(url.query());
        Some(moved)
    }

    /// The address for browsers of an internal URL, which a provider announces that builds its
    /// metadata from the requested host. `None` for other URLs.
    fn public(&self, url: &Url) -> Option<Url> {
        let prefix = self.base.path().trim_end_matches('/');
        let path = url.path().strip_prefix(prefix)?;
        if url.origin() != self.base.origin() || !path.starts_with('/') {
            return None;
        }
        let mut moved = self.public.clone();
        moved.set_path(path);
        moved.set_query(url.query());
        Some(moved)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn internal(base: &str) -> EndpointSettings {
        let public = url("https://login.example.com/realms/shop");
        EndpointSettings {
            internal: Some(InternalBase::new(public, url(base))),
            ..EndpointSettings::default()
        }
    }

    fn completed(settings: &EndpointSettings, document: Value) -> Value {
        let Value::Object(mut document) = document else {
            panic!("an object");
        };
        settings.complete(&mut document);
        document.into()
    }

    #[test]
    fn servers_use_the_internal_base_and_browsers_the_public_origin() {
        let document = json!({
            "authorization_endpoint": "https://login.example.com/a?x=1",
            "end_session_endpoint": "http://keycloak:8080/sso/end",
            "token_endpoint": "https://login.example.com/t?x=1",
            "jwks_uri": "https://keys.example.net/k",
            "userinfo_endpoint": "http://keycloak:8080/sso/u",
            "revocation_endpoint": 7,
            "issuer": "https://login.example.com/realms/shop",
        });
        let expected = json!({
            "authorization_endpoint": "https://login.example.com/a?x=1",
            "end_session_endpoint": "https://login.example.com/end",
            "token_endpoint": "http://keycloak:8080/sso/t?x=1",
            "jwks_uri": "https://keys.example.net/k",
            "userinfo_endpoint": "http://keycloak:8080/sso/u",
            "revocation_endpoint": 7,
            "issuer": "https://login.example.com/realms/shop",
        });
        for base in ["http://keycloak:8080/sso", "http://keycloak:8080/sso/"] {
            assert_eq!(completed(&internal(base), document.clone()), expected);
        }
    }

    #[test]
    fn a_prefix_of_a_segment_is_not_the_internal_base() {
        let document = json!({"end_session_endpoint": "http://keycloak:8080/ssox/end"});
        let settings = internal("http://keycloak:8080/sso");
        assert_eq!(completed(&settings, document.clone()), document);
    }

    #[test]
    fn configured_endpoints_are_used_as_they_are() {
        let mut settings = internal("http://keycloak:8080");
        let token = url("https://login.example.com/other");
        settings.configured.insert("token_endpoint", token);
        let document = json!({"token_endpoint": "https://login.example.com/t"});
        let expected = json!({"token_endpoint": "https://login.example.com/other"});
        assert_eq!(completed(&settings, document), expected);
    }
}
