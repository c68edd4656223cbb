//! Event counters and audit log entries of the authentication flows, and gauges that are refreshed
//! at each scrape.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::IntCounterVec;

use crate::auth::app::AppAuth;
use crate::auth::{Auth, Event, EventSession, Observer};
use crate::config::AppConfig;
use crate::limits::{ByClient, ByteBudget, ClientLimit, ConcurrencyLimiter};
use crate::oidc::Provider;
use crate::proxy::log_names::LogNames;
use crate::proxy::{AppLimiters, MaintenanceState};
use crate::session::jwt::SessionJwt;
use crate::telemetry::audit::{AuditBuffer, AuditEvent};
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::request_scope::current_request;
use crate::types::oauth::{ProviderSid, SessionId};

/// The concurrency limiters, with the names of the apps that have one.
pub(super) struct NamedLimiters<'a> {
    pub(super) server: &'a ConcurrencyLimiter,
    pub(super) body_reads: &'a ConcurrencyLimiter,
    pub(super) bytes: &'a ByteBudget,
    pub(super) apps: Vec<(&'a str, &'a AppLimiters)>,
}

/// Counts and logs authentication events.
pub(super) struct MetricsObserver {
    metrics: Arc<Metrics>,
    audit: Option<AuditBuffer>,
    names: ArcSwap<LogNames>,
}

impl MetricsObserver {
    pub(super) fn new(metrics: Arc<Metrics>, audit: Option<AuditBuffer>, names: LogNames) -> Self {
        Self {
            metrics,
            audit,
            names: ArcSwap::from_pointee(names),
        }
    }

    /// From now on, names users like this.
    pub(super) fn set_names(&self, names: LogNames) {
        self.names.store(Arc::new(names));
    }
}

impl Observer for MetricsObserver {
    fn record_event(
        &self,
        app: &AppAuth,
        event: Event,
        outcome: &'static str,
        session: &EventSession,
    ) {
        let name = app.app.name.as_str();
        let provider = app.named_provider();
        let EventSession {
            sid,
            subject,
            claims,
        } = session;
        let names = self.names.load();
        let user = subject.as_ref();
        let user = user.and_then(|subject| names.user(subject, claims.as_ref()));
        let session = sid.as_ref().map(SessionId::log_name);
        let (user, session) = (user.as_deref(), session.as_deref());
        if matches!(event, Event::Introspection | Event::DeviceProof) {
            // Too frequent for `info`: API clients may cause one per request, browsers two per minute.
            tracing::debug!(app = name, outcome, "{}", event.name());
        } else {
            tracing::info!(
                app = name,
                provider,
                user,
                session,
                outcome,
                "{}",
                event.name()
            );
        }
        if let (Some(audit), true) = (&self.audit, event.is_audited()) {
            let request = current_request();
            let event = AuditEvent {
                outcome: Some(outcome),
                is_warning: matches!(
                    event,
                    Event::RefreshRefused | Event::RefreshTokenReuse | Event::DeviceProofRefused
                ),
                app: Some(name),
                provider,
                user,
                session,
                ..AuditEvent::new(event.name())
            };
            audit.write(&event.of_request(request.as_ref()));
        }
        let metrics = &self.metrics;
        let by_provider = |counter: &IntCounterVec| {
            let provider = app.login_provider().name.as_str();
            counter.with_label_values(&[name, outcome, provider]).inc();
        };
        let of_app = |counter: &IntCounterVec| counter.with_label_values(&[name, outcome]).inc();
        match event {
            Event::LoginStarted => by_provider(&metrics.logins_started),
            Event::LoginFinished => by_provider(&metrics.logins),
            Event::PasswordLogin => of_app(&metrics.password_logins),
            Event::Refresh | Event::RefreshRefused => by_provider(&metrics.refreshes),
            Event::Revocation => by_provider(&metrics.revocations),
            Event::RefreshTokenReuse => by_provider(&metrics.refresh_tokens_reused),
            Event::Logout => by_provider(&metrics.logouts),
            Event::Introspection => of_app(&metrics.introspections),
            Event::AppLogout => of_app(&metrics.app_logouts),
            Event::DeviceRegistration => of_app(&metrics.device_registrations),
            Event::DeviceProof | Event::DeviceNetworkChange | Event::DeviceProofRefused => {
                of_app(&metrics.device_proofs);
            }
            Event::ClientChanged => of_app(&metrics.client_changes),
            Event::PostReplay => of_app(&metrics.post_replays),
        }
    }

    fn session_started(&self, app: &AppAuth, jwt: &SessionJwt) {
        let claims = jwt.claims();
        let user = self.names.load().user(&jwt.subject, claims.as_ref());
        let provider_sid = jwt.provider_sid.as_ref().map(ProviderSid::as_str);
        let provider = app.named_provider();
        let (app, session) = (app.app.name.as_str(), jwt.sid.log_name());
        tracing::info!(app, provider, user, session, sid = %jwt.sid, provider_sid, "session_started");
    }

    fn revocations_synced(&self, is_synced: bool) {
        if is_synced {
            tracing::info!("revocations_synced");
        } else {
            tracing::warn!("revocations_not_synced");
        }
        self.metrics.revocation_sync_up.set(i64::from(is_synced));
    }

    fn revocation_event_invalid(&self) {
        self.metrics.revocation_events_invalid.inc();
    }

    fn store_data_lost(&self) {
        self.metrics.store_data_losses.inc();
    }

    fn rotation_state_missing(&self, app: &AppAuth) {
        self.metrics
            .rotation_states_missing
            .with_label_values(&[app.app.name.as_str()])
            .inc();
    }

    fn sessions_on_previous_keys(&self, count: usize) {
        self.metrics
            .sessions_on_previous_keys
            .set(gauge_value(count));
    }

    fn session_not_listed(&self) {
        self.metrics.sessions_not_listed.inc();
    }

    fn login_took(&self, app: &AppAuth, duration: Duration) {
        self.metrics
            .login_duration
            .with_label_values(&[app.app.name.as_str(), app.login_provider().name.as_str()])
            .observe(duration.as_secs_f64());
    }

    fn observe_cookie_size(&self, app: &AppAuth, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.metrics
            .session_cookie_bytes
            .with_label_values(&[app.app.name.as_str()])
            .observe(bytes.into());
    }
}

/// Sets the gauges to their current values.
pub(super) fn refresh_gauges<'a>(
    auth: &Auth,
    providers: impl Iterator<Item = &'a Provider>,
    limiters: &NamedLimiters<'_>,
    metrics: &Metrics,
) {
    metrics
        .server_requests_in_flight
        .set(gauge_value(limiters.server.in_flight()));
    metrics
        .server_requests_queued
        .set(gauge_value(limiters.server.queued()));
    metrics
        .endpoint_body_reads_in_flight
        .set(gauge_value(limiters.body_reads.in_flight()));
    metrics
        .bytes_in_flight
        .set(gauge_value(limiters.bytes.used()));
    for (app, limiters) in &limiters.apps {
        let ByClient { address, session } = &limiters.clients;
        for (by, limit) in [("address", address), ("session", session)] {
            if let Some(limit) = limit {
                refresh_client_limit([app, by], limit, metrics);
            }
        }
        if limiters.all().next().is_none() {
            continue;
        }
        let sum =
            |count: fn(&ConcurrencyLimiter) -> usize| -> usize { limiters.all().map(count).sum() };
        metrics
            .requests_in_flight
            .with_label_values(&[app])
            .set(gauge_value(sum(ConcurrencyLimiter::in_flight)));
        metrics
            .requests_queued
            .with_label_values(&[app])
            .set(gauge_value(sum(ConcurrencyLimiter::queued)));
    }
    metrics
        .log_events_dropped
        .inc_by(log::newly_dropped_events());
    let holdings = auth.holdings();
    metrics
        .store_entries
        .set(gauge_value(holdings.store_entries));
    metrics
        .revoked_sessions
        .set(gauge_value(holdings.revocations));
    metrics
        .refreshes_in_flight
        .set(gauge_value(holdings.refreshes));
    metrics
        .revocations_pending
        .set(gauge_value(holdings.pending_revocations));
    metrics.successors.set(gauge_value(holdings.successors));
    metrics
        .streamed_sessions
        .set(gauge_value(holdings.streamed_sessions));
    metrics
        .listed_sessions
        .set(gauge_value(holdings.listed_sessions));
    metrics
        .session_list_sync_up
        .set(i64::from(holdings.is_session_list_complete));
    for (app, ratio) in auth.revocation_limit_ratios() {
        metrics
            .revocation_limit_ratio
            .with_label_values(&[app])
            .set(ratio);
    }
    let preserved = auth.post_replay.usage();
    metrics.preserved_posts.set(gauge_value(preserved.posts));
    metrics
        .preserved_post_bytes
        .set(gauge_value(preserved.bytes));
    metrics
        .introspected_tokens
        .set(gauge_value(auth.bearer.cached_introspections()));
    metrics
        .basic_cached_logins
        .set(gauge_value(auth.basic.cached_logins()));
    for provider in providers {
        let name = [provider.settings().name.as_str()];
        metrics
            .provider_circuit_open
            .with_label_values(&name)
            .set(i64::from(provider.is_circuit_open()));
        metrics
            .provider_up
            .with_label_values(&name)
            .set(i64::from(provider.is_up()));
        if let Some(at) = provider.last_fetch() {
            metrics
                .provider_last_fetch
                .with_label_values(&name)
                .set(i64::try_from(at.secs()).unwrap_or(i64::MAX));
        }
        if let Some(skew) = provider.clock_skew() {
            metrics
                .provider_clock_skew
                .with_label_values(&name)
                .set(skew);
        }
        if let Some(keys) = provider.keys() {
            metrics
                .provider_keys
                .with_label_values(&name)
                .set(gauge_value(keys.usable()));
            metrics
                .provider_keys_skipped
                .with_label_values(&name)
                .set(gauge_value(keys.skipped().len()));
        }
    }
}

fn refresh_client_limit(labels: [&str; 2], limit: &ClientLimit, metrics: &Metrics) {
    metrics
        .client_limit_entries
        .with_label_values(&labels)
        .set(gauge_value(limit.remembered()));
    metrics
        .client_limit_evictions
        .with_label_values(&labels)
        .inc_by(limit.newly_evicted());
}

/// Sets which apps are in maintenance.
pub(super) fn refresh_maintenance(state: &MaintenanceState, apps: &[AppConfig], metrics: &Metrics) {
    for app in apps {
        let name = app.policy.name.as_str();
        let is_on = state.all || state.apps.iter().any(|app| app == name);
        metrics
            .maintenance
            .with_label_values(&[name])
            .set(i64::from(is_on));
    }
}

/// Removes the values of apps, providers and certificates that are gone. The others are set again.
pub(super) fn reset_gauges(metrics: &Metrics) {
    for gauge in [
        &metrics.requests_in_flight,
        &metrics.requests_queued,
        &metrics.client_limit_entries,
        &metrics.maintenance,
        &metrics.provider_circuit_open,
        &metrics.provider_clock_skew,
        &metrics.provider_up,
        &metrics.provider_last_fetch,
        &metrics.provider_keys,
        &metrics.provider_keys_skipped,
        &metrics.certificate_expiry,
    ] {
        gauge.reset();
    }
    metrics.revocation_limit_ratio.reset();
    metrics.hosts_without_certificate.set(0);
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
