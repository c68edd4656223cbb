//! What the flows report, as counters and log lines; and the gauges, read from time to time.

use std::sync::Arc;

use crate::auth::app::AppAuth;
use crate::auth::{Auth, Event, Observer};
use crate::oidc::Provider;
use crate::proxy::Room;
use crate::telemetry::metrics::Metrics;

/// Counts and logs what happens.
pub(super) struct Telemetry {
    metrics: Arc<Metrics>,
}

impl Telemetry {
    pub(super) const fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl Observer for Telemetry {
    fn happened(&self, app: &AppAuth, event: Event, outcome: &'static str) {
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
            Event::Theft => &self.metrics.thefts,
            Event::Logout => &self.metrics.logouts,
            Event::Introspection => &self.metrics.introspections,
            Event::AppLogout => &self.metrics.app_logouts,
            Event::Form => &self.metrics.forms,
        };
        counter.with_label_values(&[name, outcome]).inc();
    }

    fn knows_endings(&self, known: bool) {
        if known {
            tracing::info!("revocations_known");
        } else {
            tracing::warn!("revocations_unknown");
        }
        self.metrics.revocations_known.set(i64::from(known));
    }

    fn sessions_on_old_keys(&self, count: usize) {
        self.metrics.sessions_on_old_keys.set(whole(count));
    }

    fn weighed(&self, app: &AppAuth, bytes: usize) {
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
    rooms: &[(&str, &Room)],
    metrics: &Metrics,
) {
    for (app, room) in rooms {
        let app = [*app];
        metrics
            .requests_under_way
            .with_label_values(&app)
            .set(whole(room.inside()));
        metrics
            .requests_waiting
            .with_label_values(&app)
            .set(whole(room.waiting()));
    }
    let (entries, revoked) = auth.remembered();
    metrics.store_entries.set(whole(entries));
    metrics.revoked_sessions.set(whole(revoked));
    let (forms, bytes) = auth.kept_forms();
    metrics.kept_forms.set(whole(forms));
    metrics.kept_form_bytes.set(whole(bytes));
    metrics
        .revocations_unreadable
        .set(i64::try_from(auth.unreadable_announcements()).unwrap_or(i64::MAX));
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
