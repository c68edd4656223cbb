//! State of the flows, shared by all configurations of a process: a reload keeps it.

use std::sync::Arc;

use super::basic::LazyHasher;
use super::context::Context;
use super::device_binding::OfferedRegistrations;
use super::login::StartedLogins;
use super::native::KnownSubjects;
use super::post_replay::quota::PostQuota;
use super::refresh::generations::NewestGenerations;
use super::refresh::single_flight::RefreshState;
use super::revocation::command::AppliedCommands;
use super::revocation::replication::ReplicationState;
use super::session::key_rotation::PreviousKeySessions;
use super::session::outage_grace::GraceFailures;
use super::session::recorded_changes::RecordedChanges;
use super::session::seen_proofs::SeenProofs;
use super::session::stream::StreamedSessions;
use super::session::writer::ReplacedSessions;
use super::session_list::SessionListState;
use crate::session::client_continuity::DetectedChange;
use crate::session::network_hint::NetworkHint;

/// The state of all flows. Clones share it.
#[derive(Clone)]
pub(super) struct FlowState {
    pub(super) generations: Arc<NewestGenerations>,
    pub(super) replication: Arc<ReplicationState>,
    pub(super) refreshes: Arc<RefreshState>,
    pub(super) grace_failures: Arc<GraceFailures>,
    pub(super) client_changes: Arc<RecordedChanges<DetectedChange>>,
    pub(super) network_changes: Arc<RecordedChanges<NetworkHint>>,
    pub(super) previous_keys: Arc<PreviousKeySessions>,
    pub(super) replaced: Arc<ReplacedSessions>,
    pub(super) streamed: Arc<StreamedSessions>,
    pub(super) offered_registrations: Arc<OfferedRegistrations>,
    pub(super) seen_proofs: Arc<SeenProofs>,
    pub(super) started_logins: StartedLogins,
    pub(super) known_subjects: Arc<KnownSubjects>,
    pub(super) basic_hasher: Arc<LazyHasher>,
    pub(super) posts: Arc<PostQuota>,
    pub(super) applied_commands: Arc<AppliedCommands>,
    pub(super) session_list: Arc<SessionListState>,
}

impl FlowState {
    /// The state of a process that has just started.
    pub(super) fn new(context: &Context) -> Self {
        Self {
            generations: Arc::default(),
            replication: Arc::default(),
            refreshes: Arc::default(),
            grace_failures: Arc::default(),
            client_changes: Arc::default(),
            network_changes: Arc::default(),
            previous_keys: Arc::default(),
            replaced: Arc::default(),
            streamed: Arc::default(),
            offered_registrations: Arc::default(),
            seen_proofs: Arc::default(),
            started_logins: StartedLogins::default(),
            known_subjects: Arc::default(),
            basic_hasher: Arc::default(),
            posts: Arc::new(PostQuota::new(context.stores.max_anonymous)),
            applied_commands: Arc::default(),
            session_list: Arc::new(SessionListState::new(context.now())),
        }
    }
}
