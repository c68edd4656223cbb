//! Loop detection by `CDN-Loop` (RFC 8586): an upstream address may lead back to Doorward, through
//! another proxy for example, and each round of a request would open one more connection. `Via`
//! would do as well, but servers compress no responses for requests that have it.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header field.
pub(super) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// A request that has passed an app this many times is a loop. A few are permitted, because a
/// gateway and a sidecar may serve the same host one behind the other.
const MAX_PASSES: usize = 4;

/// Marks requests to one app, and recognizes those that it marked before.
#[derive(Clone, Debug)]
pub(super) struct LoopGuard {
    /// The host and port of the app's public URL, which no other deployment has.
    id: HeaderValue,
}

impl LoopGuard {
    /// `None` if the authority cannot be in a header.
    pub(super) fn new(authority: &str) -> Option<Self> {
        let id = HeaderValue::from_str(authority).ok()?;
        Some(Self { id })
    }

    /// The value to add to a request.
    pub(super) const fn id(&self) -> &HeaderValue {
        &self.id
    }

    /// Whether a request has passed this app too often.
    pub(super) fn is_loop(&self, headers: &HeaderMap) -> bool {
        let fields = headers.get_all(CDN_LOOP).iter();
        let entries = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
        // Parameters follow after `;`.
        let ids = entries.filter_map(|entry| entry.split(|byte| *byte == b';').next());
        let own = ids.filter(|id| id.trim_ascii().eq_ignore_ascii_case(self.id.as_bytes()));
        own.take(MAX_PASSES).count() == MAX_PASSES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_loop_after_several_passes_of_the_same_app() {
        let guard = LoopGuard::new("store.test:8443").unwrap();
        let is_loop = |fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(CDN_LOOP, field.parse().unwrap());
            }
            guard.is_loop(&headers)
        };
        let once = "store.test:8443";
        assert!(!is_loop(&[]));
        assert!(!is_loop(&[once; 3]));
        assert!(is_loop(&[once; 4]));
        assert!(is_loop(&[
            "a, store.test:8443 ,STORE.test:8443;v=1",
            "store.test:8443; a=b, other,store.test:8443",
        ]));
        assert!(!is_loop(
            &["store.test, store.test:844, xstore.test:8443, store.test:8443x"; 4]
        ));
    }
}
