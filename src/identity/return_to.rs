//! Return targets of logins: a path on the app's own origin. This is the protection against
//! open redirect attacks.

use std::borrow::Cow;
use std::fmt;

use crate::identity::post_id::PostId;
use crate::types::app_paths::AppPaths;
use crate::types::target::{MAX_TARGET, Target};

/// Maximum length in bytes of a return target: the longest target of a request. A longer one becomes
/// the start page.
pub const MAX_RETURN_TO: usize = MAX_TARGET;

/// A path and query on the app's own origin. Its constructor validates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// The app's start page.
    pub fn home(paths: &AppPaths) -> Self {
        Self(paths.base.home())
    }

    /// Accepts `text` if every browser resolves it to a page of this origin. It must start with
    /// exactly one `/`. Its path must not contain a backslash, white space, a control character or
    /// a non-ASCII character, nor start with an encoded one, nor contain a dot segment. It must belong
    /// to the app, and not to another one at the same origin. It must not be an endpoint, in any encoding, except the confirmation page of a preserved
    /// POST and the page of the user's sessions, which change nothing. A path that the request parser would reject is rejected too.
    ///
    /// The query and the fragment cannot change the origin. Their bytes that no URL may contain are
    /// escaped.
    pub fn parse(text: &str, paths: &AppPaths) -> Option<Self> {
        let prefix = &paths.endpoints;
        let replay_query = text
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix("/form?"));
        if let Some(id) = replay_query.and_then(PostId::in_query) {
            return Some(Self::post_replay_page(paths, &id));
        }
        if text.strip_prefix(prefix) == Some("/sessions") {
            return Some(Self::sessions_page(paths));
        }
        let path_len = text.find(['?', '#']).unwrap_or(text.len());
        let (path, rest) = text.split_at_checked(path_len)?;
        let visible = path
            .bytes()
            .all(|byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'\\' | b'"' | b'<' | b'>'));
        let one_slash = path.starts_with('/') && !path.starts_with("//");
        let lower = path.to_ascii_lowercase();
        let disguised = ["%2f", "%5c", "%09", "%0a", "%0d", "%00", "%20"]
            .iter()
            .any(|escape| {
                lower
                    .strip_prefix('/')
                    .is_some_and(|inner| inner.starts_with(escape))
            });
        let is_app_page = Target::parse(path, None).is_ok_and(|target| {
            paths.contain(target.path()) && paths.endpoint(target.path()).is_none()
        });
        let target = format!("{path}{}", visible_ascii(rest));
        let is_short = target.len() < MAX_RETURN_TO;
        (is_short && visible && one_slash && !disguised && is_app_page).then_some(Self(target))
    }

    /// The same page without its query and fragment.
    #[must_use]
    pub fn without_query(&self) -> Self {
        let path = self.0.split(['?', '#']).next().unwrap_or("/");
        Self(path.to_owned())
    }

    /// The page of the user's sessions.
    pub fn sessions_page(paths: &AppPaths) -> Self {
        Self(format!("{}/sessions", paths.endpoints))
    }

    /// The confirmation page of a preserved POST.
    pub fn post_replay_page(paths: &AppPaths, id: &PostId) -> Self {
        Self(id.page(&paths.endpoints))
    }

    /// Path and query.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Percent-encodes white space, control characters and non-ASCII characters (RFC 3986 section 2.1).
fn visible_ascii(text: &str) -> Cow<'_, str> {
    let is_visible = |byte: u8| byte.is_ascii_graphic();
    if text.bytes().all(is_visible) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 32);
    for byte in text.bytes() {
        if is_visible(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped.into()
}

impl fmt::Display for ReturnTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::public_url::BasePath;

    fn parse(text: &str) -> Option<ReturnTo> {
        ReturnTo::parse(text, &AppPaths::new(BasePath::default(), "/.doorward"))
    }

    #[test]
    fn page_of_this_origin_is_accepted() {
        for good in [
            "/",
            "/shopping-cart",
            "/a/b?c=d&e=https://x.example/",
            "/a%20b",
            "/~u/.well-known/x",
            "/.doorwardly",
            "/.doorward/sessions",
            "/search?path=C:\\Users\\alice&q=\"a\"|{b}^<c>`",
            "/a?//evil.example/\\x#/\\evil",
        ] {
            assert_eq!(parse(good).map(|to| to.to_string()).as_deref(), Some(good));
        }
    }

    #[test]
    fn query_is_escaped_where_a_url_may_not_contain_it() {
        for (sent, expected) in [
            ("/a?b=caf\u{e9} x", "/a?b=caf%C3%A9%20x"),
            (
                "/a?b=\r\nLocation: https://evil.example",
                "/a?b=%0D%0ALocation:%20https://evil.example",
            ),
            ("/a#\t\u{2028}", "/a#%09%E2%80%A8"),
        ] {
            let to = parse(sent).unwrap();
            assert_eq!(to.as_str(), expected);
            assert_eq!(to.without_query().as_str(), "/a");
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
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        let of_length = |length: usize| format!("/a?{}", "b".repeat(length - 3));
        let too_long = of_length(MAX_RETURN_TO);
        assert_eq!(parse(&too_long), None);
        let longest = of_length(MAX_RETURN_TO - 1);
        assert!(parse(&longest).is_some());
    }

    #[test]
    fn only_the_post_replay_endpoint_is_accepted() {
        let page = "/.doorward/form?id=AbCdEfGhIjKlMnOpQrSt-_";
        assert_eq!(parse(page).unwrap().as_str(), page);
        for bad in ["", "&x=1", "#x", "A", "\r"]
            .map(|more| format!("{page}{more}"))
            .iter()
            .skip(1)
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
        for bad in [
            "/.doorward/form",
            "/.doorward/form?id=",
            "/.doorward/form?x=1",
            "/.doorward/form/../logout",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn page_of_another_app_at_the_origin_is_rejected() {
        let base = |text: &str| BasePath::parse(text).unwrap();
        let paths = |own: &str, nested: &[&str]| AppPaths {
            nested: nested.iter().map(|nested| base(nested)).collect(),
            ..AppPaths::new(base(own), "/.doorward")
        };
        let root = paths("", &["/shop"]);
        let shop = paths("/shop", &["/shop/admin"]);
        for (text, at_root, at_shop) in [
            ("/", true, false),
            ("/shop", false, true),
            ("/shop/a?b", false, true),
            ("/shopping", true, false),
            ("/%73hop/a", false, true),
            ("/shop/.doorward/logout", false, false),
            ("/shop/.doorward/sessions", false, true),
            ("/.doorward/sessions", true, false),
            ("/.doorward/logout", false, false),
            ("/shop/admin/.doorward/logout", false, false),
            ("/shop/admin", false, false),
            ("/forum/.doorward/x", true, false),
        ] {
            let is_accepted = |paths| ReturnTo::parse(text, paths).is_some();
            assert_eq!(
                (is_accepted(&root), is_accepted(&shop)),
                (at_root, at_shop),
                "{text}"
            );
        }
        assert_eq!(ReturnTo::home(&shop).as_str(), "/shop/");
    }
}
