//! Events of the provider, one for each action of a user or a client.

/// An event at the provider. User and client names come from the settings, never from a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The login form was shown.
    FormShown {
        /// The client that sent the user.
        client: String,
    },
    /// A wrong name or password was entered.
    SignInRefused {
        /// The client that sent the user.
        client: String,
    },
    /// A user signed in with the form.
    SignedIn {
        /// The user.
        user: String,
        /// The client that sent the user.
        client: String,
    },
    /// The user was signed in already, so no form was shown.
    SignOnReused {
        /// The user.
        user: String,
        /// The client that sent the user.
        client: String,
    },
    /// A client exchanged its code for tokens.
    CodeExchanged {
        /// The user.
        user: String,
        /// The client.
        client: String,
    },
    /// A code was refused.
    CodeRefused {
        /// The client.
        client: String,
        /// The reason.
        reason: &'static str,
    },
    /// A client got tokens by the password grant.
    PasswordGranted {
        /// The user.
        user: String,
        /// The client.
        client: String,
    },
    /// A client refreshed its tokens.
    Refreshed {
        /// The user.
        user: String,
        /// The client.
        client: String,
    },
    /// A refresh token was refused.
    RefreshRefused {
        /// The client.
        client: String,
        /// The reason.
        reason: &'static str,
    },
    /// A refresh token was reused, so its token family was revoked.
    ReuseDetected {
        /// The user.
        user: String,
        /// The client.
        client: String,
    },
    /// A client revoked its tokens.
    Revoked {
        /// The user.
        user: String,
        /// The client.
        client: String,
    },
    /// A user signed out.
    SignedOut {
        /// The user.
        user: String,
    },
    /// A webhook about revoked tokens was queued.
    WebhookSent,
    /// A webhook was dropped: the queue is full.
    WebhookLost,
}
