//! What the provider tells about: one event for each thing that a person or a client did.

/// Something that happened at the provider. Names are those of the settings, never what a request brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The login form was shown.
    FormShown {
        /// The client that sent the person.
        client: String,
    },
    /// Somebody typed a wrong name or password.
    SignInRefused {
        /// The client that sent the person.
        client: String,
    },
    /// A person signed in by the form.
    SignedIn {
        /// Who.
        user: String,
        /// The client that sent the person.
        client: String,
    },
    /// A person was signed on already, so no form was shown.
    SignOnReused {
        /// Who.
        user: String,
        /// The client that sent the person.
        client: String,
    },
    /// A client exchanged its code for tokens.
    CodeExchanged {
        /// Whose tokens.
        user: String,
        /// The client.
        client: String,
    },
    /// A code was refused.
    CodeRefused {
        /// The client.
        client: String,
        /// Why.
        reason: &'static str,
    },
    /// A client got tokens for a name and a password.
    PasswordGranted {
        /// Whose tokens.
        user: String,
        /// The client.
        client: String,
    },
    /// A client renewed its tokens.
    Refreshed {
        /// Whose tokens.
        user: String,
        /// The client.
        client: String,
    },
    /// A refresh token was refused.
    RefreshRefused {
        /// The client.
        client: String,
        /// Why.
        reason: &'static str,
    },
    /// A refresh token came a second time, so all tokens of its family were revoked.
    ReuseDetected {
        /// Whose tokens.
        user: String,
        /// The client.
        client: String,
    },
    /// A client revoked its tokens.
    Revoked {
        /// Whose tokens.
        user: String,
        /// The client.
        client: String,
    },
    /// A person signed out.
    SignedOut {
        /// Who.
        user: String,
    },
    /// The apps are told by a webhook that tokens were revoked.
    WebhookSent,
    /// There is no room for another webhook.
    WebhookLost,
}
