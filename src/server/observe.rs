//! What the flows report, as counters and log lines; and the gauges, read from time to time.

use std::sync::Arc;

use crate::auth::app::AppAuth;
use crate::auth::{Auth, Event, Observer};
use crate::oidc::Provider;
use crate::proxy::ConcurrencyLimiter;
use crate::telemetry::metrics::Metrics;

/// Counts and logs what happens.
pub(super) struct MetricsObserver {
    metrics: Arc<Metrics>,
}

impl MetricsObserver {
    pub(super) const fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl Observer for MetricsObserver {
    fn record_event(&self, app: &AppAuth, event: Event, outcome: &'static str) {
        let name = app.app.name.as_str();
        if event == Event::Introspection {
            // As often as programs ask: that is what the counter is for.
            tracing::debug!(app = name, outcome, "{}", event.name());
        } else {
            tracing::info!(app = name, outcome, "{}", event.name());
        }
        let counter = match event {
            Event::LoginStarted => return,
            Event::LoginFinished => &self.metrics.logins,
            Event::PasswordLogin => &self.metrics.password_logins,
            Event::Refresh => &self.metrics.refreshes,
            Event::Revocation => &self.metrics.revocations,
            Event::RefreshTokenReuse => &self.metrics.thefts,
            Event::Logout => &self.metrics.logouts,
            Event::Introspection => &self.metrics.introspections,
            Event::AppLogout => &self.metrics.app_logouts,
            Event::PostReplay => &self.metrics.post_replays,
        };
        counter.with_label_values(&[name, outcome]).inc();
    }

    fn revocations_synced(&self, known: bool) {
        if known {
            tracing::info!("revocations_synced");
        } else {
            tracing::warn!("revocations_not_synced");
        }
        self.metrics.revocation_sync_up.set(i64::from(known));
    }

    fn sessions_on_previous_keys(&self, count: usize) {
        self.metrics.sessions_on_previous_keys.set(whole(count));
    }

    fn observe_cookie_size(&self, app: &AppAuth, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.metrics
            .cookie_bytes
            .with_label_values(&[app.app.name.as_str()])
            .observe(bytes.into());
    }
}

/// Sets the gauges to what is.
pub(super) fn read_gauges(
    auth: &Auth,
    providers: &[Arc<Provider>],
    limiters: &[(&str, &ConcurrencyLimiter)],
    metrics: &Metrics,
) {
    for (app, limiter) in limiters {
        let app = [*app];
        metrics
            .requests_in_flight
            .with_label_values(&app)
            .set(whole(limiter.in_flight()));
        metrics
            .requests_queued
            .with_label_values(&app)
            .set(whole(limiter.queued()));
    }
    let (entries, revoked) = auth.remembered();
    metrics.store_entries.set(whole(entries));
    metrics.revoked_sessions.set(whole(revoked));
    let (post_replays, bytes) = auth.preserved_posts();
    metrics.preserved_posts.set(whole(post_replays));
    metrics.preserved_post_bytes.set(whole(bytes));
    metrics
        .revocation_events_invalid
        .set(i64::try_from(auth.invalid_events()).unwrap_or(i64::MAX));
    metrics
        .introspected_tokens
        .set(whole(auth.introspected_tokens()));
    for provider in providers {
        let name = [provider.settings().name.as_str()];
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
                .set(whole(keys.usable()));
            metrics
                .provider_keys_skipped
                .with_label_values(&name)
                .set(whole(keys.skipped().len()));
        }
    }
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
