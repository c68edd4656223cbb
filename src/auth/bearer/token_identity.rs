//! Identity of an access token: of a user, or of an OAuth client on its own behalf.

use serde_json::{Map, Value};

use crate::identity::claims::{ClaimSource, Claims};
use crate::identity::identity::{HeaderTemplate, Identity};
use crate::oidc::presented_token::TokenSubject;

/// The identity that an app sees of an access token.
#[derive(Debug)]
pub struct TokenIdentity {
    /// The identity.
    pub identity: Identity,
    /// Whether the subject is a user.
    pub is_user: bool,
}

/// The identity headers of an app.
#[derive(Clone, Copy, Debug)]
pub struct IdentityHeaders<'a> {
    /// Those about the caller.
    pub templates: &'a [HeaderTemplate],
    /// The header that names an OAuth client.
    pub client: &'a HeaderTemplate,
}

impl TokenIdentity {
    /// The identity of a token with these claims.
    pub fn new(
        subject: &TokenSubject,
        claims: Map<String, Value>,
        source: ClaimSource<'_>,
        headers: IdentityHeaders<'_>,
    ) -> Self {
        match subject {
            TokenSubject::User(subject) => {
                let claims = Claims::new(claims, Map::new()).from_source(source);
                Self {
                    identity: Identity::new(subject.clone(), claims, headers.templates),
                    is_user: true,
                }
            }
            TokenSubject::Client(client_id) => {
                let claims = Claims::of_client(client_id, claims).from_source(source);
                let IdentityHeaders { templates, client } = headers;
                Self {
                    identity: Identity::of_client(client_id, claims, templates, client),
                    is_user: false,
                }
            }
        }
    }
}
