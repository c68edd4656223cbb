//! Who was signed in last on this browser: outlives the session, so that the backend's own cookies of one person are
//! not left to the next. Kept in the browser that it is about and nowhere else, and there only as a sealed hash.

use std::time::Duration;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::seal::Purpose;
use crate::types::oauth::Subject;

/// How long it is kept: as long as browsers keep anything (RFC 6265bis section 5.5). Not bound to the browser cookie,
/// which ends when the browser is closed: what a backend leaves behind may not.
pub const KEPT: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The purpose of `__Host-doorward_last_user`.
#[derive(Debug)]
pub struct LastUserCookie;

impl Purpose for LastUserCookie {
    type Payload = SubjectHash;
    const NAME: &'static str = "last person";
}

/// The hash of a subject. What its seal is bound to says at which issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SubjectHash([u8; 16]);

impl SubjectHash {
    /// This person.
    pub fn of(subject: &Subject) -> Self {
        let hash = digest::digest(&digest::SHA256, subject.as_str().as_bytes());
        Self(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }
}
