//! The token of the user for an app that gets it, or one in exchange for it.

use http::HeaderMap;

use super::Proxy;
use crate::auth::Unavailable;
use crate::auth::token_exchange::SubjectToken;
use crate::identity::credentials::{Credentials, Scheme};
use crate::oidc::SubjectTokenKind;
use crate::policy::app::PassedToken;
use crate::policy::decide::Permit;
use crate::types::secret::Secret;
use crate::types::time::Timestamp;

impl Proxy {
    /// The token that the app of a permitted request gets.
    pub(super) async fn token_for_app(
        &self,
        permit: &Permit<'_>,
        client: &HeaderMap,
    ) -> Result<Option<Secret<String>>, Unavailable> {
        let Some(subject) = passed_token(permit, client, self.auth.now()) else {
            return Ok(None);
        };
        let app_ref = permit.app_ref();
        let route = permit.path_route().map(|matched| matched.index);
        let upstream = self.upstreams.get(app_ref, route);
        if !upstream.is_some_and(|upstream| upstream.takes_token()) {
            return Ok(None);
        }
        let Some(policy) = &app_ref.app.token_exchange else {
            return Ok(Some(subject.token));
        };
        let exchange = self
            .auth
            .token_exchanger
            .exchanged(app_ref, policy, subject);
        // Boxed, so that the future of a forwarded request has no space for it.
        Box::pin(exchange).await.map(Some)
    }
}

/// The token of the caller of a permitted request: that of its session while it is valid, or its own bearer
/// token. `None` on public paths. A token that is bound to a key (RFC 9449) is of no use to the app.
fn passed_token(permit: &Permit<'_>, client: &HeaderMap, now: Timestamp) -> Option<SubjectToken> {
    let app = permit.app_ref().app;
    let passed = app.passed_token?;
    if !permit.is_protected() {
        return None;
    }
    if let Some(live) = permit.session() {
        let session = live.session();
        let token = session.passed_jwt.clone();
        return Some(SubjectToken {
            token: token.filter(|_| now < session.valid_until)?,
            kind: match passed {
                PassedToken::Access => SubjectTokenKind::Access,
                PassedToken::Id => SubjectTokenKind::Id,
            },
        });
    }
    let own = permit
        .token()
        .filter(|live| live.scheme() == Scheme::Bearer);
    own.filter(|_| passed == PassedToken::Access || app.token_exchange.is_some())?;
    let token = Credentials::read(client)?.token?;
    Some(SubjectToken {
        token: Secret::new(token.to_owned()),
        kind: SubjectTokenKind::Access,
    })
}
