//! A form that met no session, as the store keeps it: sealed, for one browser, and for one person where it is known
//! whose it is.

use serde::{Deserialize, Serialize};

use super::attempt::BrowserHash;
use super::last_user::SubjectHash;
use super::seal::Purpose;
use crate::types::time::Timestamp;

/// The purpose of what the store keeps of a form.
#[derive(Debug)]
pub struct StoredPost;

impl Purpose for StoredPost {
    type Payload = PreservedPost;
    const NAME: &'static str = "kept form";
}

/// A form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreservedPost {
    /// Where it was sent, in canonical form.
    pub target: String,
    /// `Content-Type`, as it came.
    pub content_type: String,
    /// `Referer`, as it came: some apps look at it.
    pub referer: Option<String>,
    /// The fields, byte for byte.
    pub body: Vec<u8>,
    /// The browser that sent it.
    pub browser: BrowserHash,
    /// Whose session had ended, if its cookies were still there.
    pub user: Option<SubjectHash>,
    /// When it is thrown away.
    pub ends_at: Timestamp,
}

/// Whether a kept form may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostOwnership {
    /// By this person from this browser.
    Good,
    /// Another person has logged in than the one who sent it.
    OtherPerson,
    /// From another browser: there is nothing for it.
    OtherBrowser,
}

impl PreservedPost {
    /// Judges who asks for it.
    pub fn claim(&self, browser: Option<&BrowserHash>, user: SubjectHash) -> PostOwnership {
        if !browser.is_some_and(|browser| browser.is(&self.browser)) {
            return PostOwnership::OtherBrowser;
        }
        if self.user.is_some_and(|of| of != user) {
            PostOwnership::OtherPerson
        } else {
            PostOwnership::Good
        }
    }

    /// The names of its fields, each once, in order; those without one are passed over.
    pub fn field_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (name, _) in url::form_urlencoded::parse(&self.body) {
            if !name.is_empty() && !names.iter().any(|known| *known == name) {
                names.push(name.into_owned());
            }
        }
        names
    }
}

impl std::fmt::Debug for PreservedPost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeptForm")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::oauth::Subject;

    fn form(user: Option<&str>) -> PreservedPost {
        PreservedPost {
            target: "/cart".to_owned(),
            content_type: "application/x-www-form-urlencoded".to_owned(),
            referer: None,
            body: b"a=1&b=2&a=3&=4&c&%FF=1".to_vec(),
            browser: BrowserHash::of("browser"),
            user: user.map(|name| SubjectHash::of(&Subject::new(name))),
            ends_at: Timestamp::from_secs(0),
        }
    }

    #[test]
    fn it_is_for_one_browser_and_for_one_person_where_that_is_known() {
        let (here, alice, bob) = (
            BrowserHash::of("browser"),
            SubjectHash::of(&Subject::new("alice")),
            SubjectHash::of(&Subject::new("bob")),
        );
        assert_eq!(
            form(Some("alice")).claim(Some(&here), alice),
            PostOwnership::Good
        );
        assert_eq!(
            form(Some("alice")).claim(Some(&here), bob),
            PostOwnership::OtherPerson
        );
        assert_eq!(form(None).claim(Some(&here), bob), PostOwnership::Good);
        for browser in [None, Some(&BrowserHash::of("other"))] {
            assert_eq!(
                form(Some("alice")).claim(browser, alice),
                PostOwnership::OtherBrowser
            );
            assert_eq!(form(None).claim(browser, bob), PostOwnership::OtherBrowser);
        }
    }

    #[test]
    fn its_fields_are_named_once_each() {
        assert_eq!(form(None).field_names(), ["a", "b", "c", "\u{FFFD}"]);
    }
}
