//! Authorization responses of callbacks: plain or signed, in the query or in a form that was posted.

use std::sync::Arc;

use super::failure::LoginFailure;
use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::CALL_TIMEOUT;
use crate::oidc::callback::{Callback, signed_response};
use crate::session::posted_response::authorization_response;

/// The response in the `query` of a callback of `app`. A signed one is verified with the keys of the
/// provider.
pub(in crate::auth) async fn of_callback(
    context: &Context,
    app: &Arc<AppAuth>,
    query: &str,
) -> Result<Callback, LoginFailure> {
    let metadata = context.provider_metadata(app).await;
    let metadata = metadata.map_err(LoginFailure::Unavailable)?;
    let response = authorization_response(query, &app.seals.posted_response, context.now());
    let response = response.ok_or(LoginFailure::StateInvalid)?;
    let provider = Arc::clone(&app.provider);
    let Some(token) = signed_response(&response)? else {
        let requires_iss = provider.requires_iss(&metadata);
        let issuer = &provider.settings().issuer;
        return Ok(Callback::parse(&response, issuer, requires_iss)?);
    };
    let verified = context.anonymous_tasks.run(CALL_TIMEOUT, async move {
        provider.verify_authorization_response(&token).await
    });
    let verified = verified.await;
    Ok(verified.map_err(|error| LoginFailure::Unavailable(error.into()))??)
}
