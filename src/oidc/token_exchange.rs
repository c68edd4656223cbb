//! Token exchange requests (RFC 8693 section 2.1). PURE.

/// The kind of a token that is exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectTokenKind {
    /// An access token.
    Access,
    /// An ID token.
    Id,
}

/// What is exchanged, and for what.
#[derive(Clone, Copy)]
pub struct TokenExchangeRequest<'r> {
    /// The token of the user.
    pub token: &'r str,
    /// Its kind.
    pub kind: SubjectTokenKind,
    /// The audience of the new token.
    pub audience: &'r str,
    /// Its scopes. `None`: the provider chooses.
    pub scope: Option<&'r str>,
}

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

impl<'r> TokenExchangeRequest<'r> {
    /// The form of the request, without client authentication.
    pub(super) fn form(self) -> Vec<(&'static str, &'r str)> {
        let kind = match self.kind {
            SubjectTokenKind::Access => ACCESS_TOKEN,
            SubjectTokenKind::Id => ID_TOKEN,
        };
        let mut form = vec![
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", self.token),
            ("subject_token_type", kind),
            ("requested_token_type", ACCESS_TOKEN),
            ("audience", self.audience),
        ];
        form.extend(self.scope.map(|scope| ("scope", scope)));
        form
    }
}
