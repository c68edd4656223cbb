//! The last-user cookie: a sealed hash of the user who logged in last in this browser. It outlives
//! the session, so that the app's own cookies are not left to the next user. It is stored in the
//! browser only.

use std::time::Duration;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::seal::Purpose;
use crate::types::oauth::{Issuer, Subject};

/// How long it is kept: the maximum of browsers (RFC 6265bis section 5.5). It does not depend on
/// the browser cookie, which ends with the browser session, because an app's cookies may not.
pub const KEPT: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The purpose of `__Host-doorward_last_user`.
#[derive(Debug)]
pub struct LastUserCookie;

impl Purpose for LastUserCookie {
    type Payload = SubjectHash;
    const NAME: &'static str = "last person";
}

/// The hash of a subject, whose seal is bound to the issuer, or of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubjectHash([u8; 16]);

impl SubjectHash {
    /// The hash of `subject`.
    pub fn of(subject: &Subject) -> Self {
        Self::of_text(subject.as_str())
    }

    /// The hash of `subject` at `issuer`, for seals that all providers of an app share.
    pub fn of_user(issuer: &Issuer, subject: &Subject) -> Self {
        let issuer = issuer.as_str();
        Self::of_text(&format!("{} {issuer} {}", issuer.len(), subject.as_str()))
    }

    fn of_text(text: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        Self(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }
}
