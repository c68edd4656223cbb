//! A form that met no session, as the store keeps it: sealed, for one browser, and for one person where it is known
//! whose it is.

use serde::{Deserialize, Serialize};

use super::attempt::BrowserHash;
use super::person::PersonHash;
use super::seal::Purpose;
use crate::types::time::Timestamp;

/// The purpose of what the store keeps of a form.
#[derive(Debug)]
pub struct StoredForm;

impl Purpose for StoredForm {
    type Payload = KeptForm;
    const NAME: &'static str = "kept form";
}

/// A form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptForm {
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
    pub person: Option<PersonHash>,
    /// When it is thrown away.
    pub ends_at: Timestamp,
}

/// Whether a kept form may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// By this person from this browser.
    Good,
    /// Another person has logged in than the one who sent it.
    OtherPerson,
    /// From another browser: there is nothing for it.
    OtherBrowser,
}

impl KeptForm {
    /// Judges who asks for it.
    pub fn claim(&self, browser: Option<&BrowserHash>, person: PersonHash) -> Claim {
        if !browser.is_some_and(|browser| browser.is(&self.browser)) {
            return Claim::OtherBrowser;
        }
        if self.person.is_some_and(|of| of != person) {
            Claim::OtherPerson
        } else {
            Claim::Good
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

impl std::fmt::Debug for KeptForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeptForm")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::oauth::Subject;

    fn form(person: Option<&str>) -> KeptForm {
        KeptForm {
            target: "/cart".to_owned(),
            content_type: "application/x-www-form-urlencoded".to_owned(),
            referer: None,
            body: b"a=1&b=2&a=3&=4&c&%FF=1".to_vec(),
            browser: BrowserHash::of("browser"),
            person: person.map(|name| PersonHash::of(&Subject::new(name))),
            ends_at: Timestamp::from_secs(0),
        }
    }

    #[test]
    fn it_is_for_one_browser_and_for_one_person_where_that_is_known() {
        let (here, alice, bob) = (
            BrowserHash::of("browser"),
            PersonHash::of(&Subject::new("alice")),
            PersonHash::of(&Subject::new("bob")),
        );
        assert_eq!(form(Some("alice")).claim(Some(&here), alice), Claim::Good);
        assert_eq!(
            form(Some("alice")).claim(Some(&here), bob),
            Claim::OtherPerson
        );
        assert_eq!(form(None).claim(Some(&here), bob), Claim::Good);
        for browser in [None, Some(&BrowserHash::of("other"))] {
            assert_eq!(
                form(Some("alice")).claim(browser, alice),
                Claim::OtherBrowser
            );
            assert_eq!(form(None).claim(browser, bob), Claim::OtherBrowser);
        }
    }

    #[test]
    fn its_fields_are_named_once_each() {
        assert_eq!(form(None).field_names(), ["a", "b", "c", "\u{FFFD}"]);
    }
}
