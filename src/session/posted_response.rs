//! Authorization responses that the provider lets the browser send as a form (`response_mode=form_post`).
//!
//! Such a POST comes from the provider's site, so browsers leave `SameSite=Lax` cookies out, and nothing
//! can be decided about it. Its form is sealed into a redirect to the same endpoint. That is a GET, which
//! has the cookies, and the code is in no URL.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seal::{Purpose, Seal};
use crate::types::time::Timestamp;

/// How long the redirect may take.
const LIFETIME: Duration = Duration::from_secs(60);

/// The beginning of a query with a sealed response.
pub const PARAMETER: &str = "posted_response=";

/// The purpose of the parameter `posted_response`.
#[derive(Debug)]
pub struct PostedResponseParameter;

impl Purpose for PostedResponseParameter {
    type Payload = PostedResponse;
    const NAME: &'static str = "posted authorization response";
}

/// A form with an authorization response. Nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostedResponse {
    /// The form, which has the syntax of a query.
    pub form: String,
    /// When it arrived.
    pub received_at: Timestamp,
}

/// The authorization response of a callback: the query, or the form that is sealed in it. `None`: the
/// seal is invalid or too old.
pub fn authorization_response<'q>(
    query: &'q str,
    seal: &Seal<PostedResponseParameter>,
    now: Timestamp,
) -> Option<Cow<'q, str>> {
    let Some(sealed) = query.strip_prefix(PARAMETER) else {
        return Some(Cow::Borrowed(query));
    };
    let posted = seal.open(sealed)?;
    let is_recent = now.since(posted.received_at) <= LIFETIME;
    is_recent.then_some(Cow::Owned(posted.form))
}
