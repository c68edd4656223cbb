//! Return targets of logins: a path on the app's own origin. This is the protection against
//! open redirect attacks.

use std::fmt;

use crate::identity::post_id::PostId;
use crate::types::target::Target;

/// Maximum length in bytes of a return target in `state` or a login attempt. A longer one becomes
/// `/`.
pub const MAX_RETURN_TO: usize = 2048;

/// A path and query on the app's own origin. Its constructor validates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// The root path.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Accepts `text` if every browser resolves it to a page of this origin. It must start with
    /// exactly one `/`. It must not contain a backslash, white space, a control character or a
    /// non-ASCII character, nor start with an encoded one, nor contain a dot segment. It must not
    /// be an endpoint under `prefix`, in any encoding, except the confirmation page of a preserved
    /// POST, which changes nothing. A path that the request parser would reject is rejected too.
    pub fn parse(text: &str, prefix: &str) -> Option<Self> {
        let replay_query = text
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix("/form?"));
        if let Some(id) = replay_query.and_then(PostId::in_query) {
            return Some(Self::post_replay_page(prefix, &id));
        }
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let visible = text
            .bytes()
            .all(|byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'\\' | b'"' | b'<' | b'>'));
        let one_slash = text.starts_with('/') && !text.starts_with("//");
        let lower = path.to_ascii_lowercase();
        let disguised = ["%2f", "%5c", "%09", "%0a", "%0d", "%00", "%20"]
            .iter()
            .any(|escape| {
                lower
                    .strip_prefix('/')
                    .is_some_and(|inner| inner.starts_with(escape))
            });
        let short = text.len() <= MAX_RETURN_TO;
        let is_app_page = Target::parse(path, None).is_ok_and(|target| {
            !target
                .path()
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        (short && visible && one_slash && !disguised && is_app_page).then(|| Self(text.to_owned()))
    }

    /// The confirmation page of a preserved POST: the only endpoint that a login leads to.
    pub fn post_replay_page(prefix: &str, id: &PostId) -> Self {
        Self(id.page(prefix))
    }

    /// Path and query.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReturnTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_of_this_origin_is_accepted() {
        for good in [
            "/",
            "/shopping-cart",
            "/a/b?c=d&e=https://x.example/",
            "/a%20b",
            "/~u/.well-known/x",
            "/.doorwardly",
        ] {
            assert_eq!(
                ReturnTo::parse(good, "/.doorward")
                    .map(|to| to.to_string())
                    .as_deref(),
                Some(good)
            );
        }
    }

    #[test]
    fn target_that_could_leave_the_origin_is_rejected() {
        let bad = [
            "",
            "a",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/\n/evil.example",
            "/ /evil.example",
            "/%09/evil.example",
            "/%2f/evil.example",
            "/%5cevil.example",
            "/%5Cevil.example",
            "/..//evil.example",
            "/a/../..//evil.example",
            "/./evil",
            "/%2e%2e/evil",
            "/.%2E/x",
            "/caf\u{e9}",
            "/\u{2028}",
            "/a\0b",
            "/a\"b",
            "/.doorward",
            "/.doorward/logout",
            "/.doorward?x",
            "/%2edoorward/logout",
            "/.d%6Forward/login?return_to=/",
            "/a/%5c../b",
            "/a%zz",
            " /a",
            "/a\\b",
        ];
        for bad in bad {
            assert_eq!(ReturnTo::parse(bad, "/.doorward"), None, "{bad:?}");
        }
        assert_eq!(
            ReturnTo::parse(&format!("/{}", "a".repeat(MAX_RETURN_TO)), "/.doorward"),
            None
        );
    }

    #[test]
    fn only_the_post_replay_endpoint_is_accepted() {
        let page = "/.doorward/form?id=AbCdEfGhIjKlMnOpQrSt-_";
        assert_eq!(ReturnTo::parse(page, "/.doorward").unwrap().as_str(), page);
        for bad in ["", "&x=1", "#x", "A", "\r"]
            .map(|more| format!("{page}{more}"))
            .iter()
            .skip(1)
        {
            assert_eq!(ReturnTo::parse(bad, "/.doorward"), None, "{bad}");
        }
        for bad in [
            "/.doorward/form",
            "/.doorward/form?id=",
            "/.doorward/form?x=1",
            "/.doorward/form/../logout",
        ] {
            assert_eq!(ReturnTo::parse(bad, "/.doorward"), None, "{bad}");
        }
    }
}
