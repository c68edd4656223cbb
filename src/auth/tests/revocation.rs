//! Revocations at the border of a second.

use std::sync::Arc;
use std::time::Duration;

use super::{Setup, closed_port};
use crate::auth::revocation::replication::RevocationReplicator;
use crate::auth::session_id::start_of;
use crate::store::{Revocation, SessionKeyRef};
use crate::types::oauth::Subject;

#[tokio::test]
async fn revocation_of_the_last_second_covers_sessions_that_started_in_it() {
    let setup = Setup::new(closed_port().await);
    let replicator = RevocationReplicator::new(Arc::clone(&setup.context), Arc::default());
    let (alice, now) = (Subject::new("alice"), setup.context.now());
    let before = setup.context.new_session_id().await.unwrap();
    let revocation = Revocation::User(alice.clone(), now);
    // The revocation is applied in the next second.
    setup.clock.advance(Duration::from_secs(1));
    let ends_at = now.plus(Duration::from_secs(3600));
    replicator
        .revoke(&setup.app, revocation, ends_at, now)
        .detach();
    let after = setup.context.new_session_id().await.unwrap();
    let is_revoked = |sid, started_at| {
        setup.app.revocations.snapshot().contains(SessionKeyRef {
            issuer: None,
            sid,
            provider_sid: None,
            subject: &alice,
            started_at,
            order: start_of(sid),
            is_access_token: false,
        })
    };
    assert!(is_revoked(&before, now));
    assert!(!is_revoked(&after, setup.context.now()));
}
