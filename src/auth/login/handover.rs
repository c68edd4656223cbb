//! Hand-over of a session from a login host to an app's host: the grant waits in the store, sealed,
//! and a code names it. The code is good for one request within 30 seconds, at one app, and only for
//! the browser that began the attempt there.

use std::sync::Arc;

use bytes::Bytes;

use super::failure::LoginFailure;
use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::auth::random;
use crate::session::attempt::AttemptState;
use crate::session::grant::Grant;
use crate::session::login_host::{HANDOVER_LIFETIME, HandoverCode};
use crate::store::StoreError;

/// Hands sessions over. Clones share their state.
#[derive(Clone)]
pub(in crate::auth) struct Handovers {
    context: Arc<Context>,
}

impl Handovers {
    pub(in crate::auth) const fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Stores the grant of `attempt` at `app`. Returns its code, sealed for the app's host.
    pub(in crate::auth) async fn store(
        &self,
        app: &Arc<AppAuth>,
        attempt: AttemptState,
        grant: &Grant,
    ) -> Result<String, Unavailable> {
        let (id, key, sealed) = seal(app, grant).ok_or(Unavailable::internal("internal_error"))?;
        let now = self.context.now();
        let code = HandoverCode {
            id,
            issued_at: now,
            attempt,
        };
        let nonce = random::bytes().map_err(|_| Unavailable::internal("internal_error"))?;
        let code = app.seals.handover.seal(&code, nonce);
        let code = code.ok_or(Unavailable::internal("internal_error"))?;
        let context = Arc::clone(&self.context);
        let put = async move {
            let store = &context.stores.anonymous;
            store
                .put(&key, sealed, now.plus(HANDOVER_LIFETIME), now)
                .await
        };
        match self.context.anonymous_tasks.run(CALL_TIMEOUT, put).await {
            Ok(Ok(())) => Ok(code),
            Ok(Err(error)) => Err(Unavailable::of_store(error.code())),
            Err(error) => Err(Unavailable::of_store_task(error)),
        }
    }

    /// Claims the grant that `code` names. Nobody else can claim it after that, even if this call
    /// fails or its caller is refused.
    ///
    /// # Errors
    /// [`LoginFailure::HandoverGone`] if it was claimed or has expired, [`LoginFailure::Unavailable`]
    /// if the store is.
    pub(in crate::auth) async fn claim(
        &self,
        app: &Arc<AppAuth>,
        code: &HandoverCode,
    ) -> Result<Grant, LoginFailure> {
        let now = self.context.now();
        let is_expired = code.is_expired(now);
        let key = key(app, &code.id);
        let (context, store_key) = (Arc::clone(&self.context), key.clone());
        let take = async move {
            let store = &context.stores.anonymous;
            let Some(sealed) = store.get(&store_key, now).await? else {
                return Ok::<_, StoreError>(None);
            };
            let was_there = store.remove(&store_key, &sealed, now).await?;
            Ok(was_there.then_some(sealed))
        };
        let taken = match self.context.anonymous_tasks.run(CALL_TIMEOUT, take).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(error)) => {
                let unavailable = Unavailable::of_store(error.code());
                return Err(LoginFailure::Unavailable(unavailable));
            }
            Err(error) => {
                let unavailable = Unavailable::of_store_task(error);
                return Err(LoginFailure::Unavailable(unavailable));
            }
        };
        let sealed = taken.filter(|_| !is_expired);
        let opened = sealed.and_then(|sealed| app.seals.stored.open_at(&key, &sealed));
        opened.map_or(Err(LoginFailure::HandoverGone), |(grant, _)| Ok(grant))
    }
}

/// A new name, its store key and the sealed grant.
fn seal(app: &AppAuth, grant: &Grant) -> Option<(String, String, Bytes)> {
    let id = random::random_id().ok()?;
    let key = key(app, &id);
    let sealed = app
        .seals
        .stored
        .seal_at(&key, grant, random::bytes().ok()?)?;
    Some((id, key, Bytes::from(sealed)))
}

fn key(app: &AppAuth, id: &str) -> String {
    format!("handover/{}/{id}", app.app.name)
}
