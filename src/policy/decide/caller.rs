//! Callers: who sent a request, as established by authentication.

use crate::session::token::LiveToken;
use crate::session::validity::{LiveSession, NoSessionReason};

/// The sender of a request.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The caller is not authenticated.
    Anonymous(NoSessionReason),
    /// A user with a session, by cookies.
    Authenticated(LiveSession),
    /// A user with a session, by an access token that Doorward issued to a native app.
    NativeSession(LiveSession),
    /// A client with an access token of an issuer. Only apps accept one, not endpoints.
    Bearer(LiveToken),
    /// A user with a name and a password. Only apps accept them, not endpoints.
    Basic(LiveSession),
}
