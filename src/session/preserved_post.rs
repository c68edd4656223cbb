//! Preserved POST: a form submission that arrived without a live session, to be replayed after the
//! login. The store holds it sealed. It belongs to one browser, and to one user if the user is
//! known.

use serde::{Deserialize, Serialize};

use super::attempt::BrowserHash;
use super::last_user::SubjectHash;
use super::seal::Purpose;
use crate::types::time::Timestamp;

/// The purpose of a preserved POST in the store.
#[derive(Debug)]
pub struct StoredPost;

impl Purpose for StoredPost {
    type Payload = PreservedPost;
    const NAME: &'static str = "kept form";
}

/// A form submission.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreservedPost {
    /// The canonical request target.
    pub target: String,
    /// The `Content-Type` header, unchanged.
    pub content_type: String,
    /// The `Referer` header, unchanged: some apps check it.
    pub referer: Option<String>,
    /// The encoded fields, unchanged.
    pub body: Vec<u8>,
    /// The browser that submitted it.
    pub browser: BrowserHash,
    /// The user of the expired session, if its cookies were present.
    pub user: Option<SubjectHash>,
    /// When it expires.
    pub ends_at: Timestamp,
}

/// Whether a preserved POST may be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostOwnership {
    /// The browser and the user match.
    Owner,
    /// Another user has logged in.
    OtherUser,
    /// The request came from another browser, which must not learn that the submission exists.
    OtherBrowser,
}

impl PreservedPost {
    /// Checks the browser and the user that request the replay.
    pub fn claim(&self, browser: Option<&BrowserHash>, user: SubjectHash) -> PostOwnership {
        if !browser.is_some_and(|browser| browser.is(&self.browser)) {
            return PostOwnership::OtherBrowser;
        }
        if self.user.is_some_and(|owner| owner != user) {
            PostOwnership::OtherUser
        } else {
            PostOwnership::Owner
        }
    }

    /// The distinct names of its fields, in order; empty names are skipped.
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
        f.write_str("PreservedPost")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::oauth::Subject;

    fn post(user: Option<&str>) -> PreservedPost {
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
    fn claim_checks_browser_and_known_user() {
        let browser = BrowserHash::of("browser");
        let alice = SubjectHash::of(&Subject::new("alice"));
        let bob = SubjectHash::of(&Subject::new("bob"));
        assert_eq!(
            post(Some("alice")).claim(Some(&browser), alice),
            PostOwnership::Owner
        );
        assert_eq!(
            post(Some("alice")).claim(Some(&browser), bob),
            PostOwnership::OtherUser
        );
        assert_eq!(post(None).claim(Some(&browser), bob), PostOwnership::Owner);
        for other in [None, Some(&BrowserHash::of("other"))] {
            assert_eq!(
                post(Some("alice")).claim(other, alice),
                PostOwnership::OtherBrowser
            );
            assert_eq!(post(None).claim(other, bob), PostOwnership::OtherBrowser);
        }
    }

    #[test]
    fn field_names_are_distinct() {
        assert_eq!(post(None).field_names(), ["a", "b", "c", "\u{FFFD}"]);
    }
}
