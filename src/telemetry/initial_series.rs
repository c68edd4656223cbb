//! Series that begin at zero. Without its first value, the first increment of a counter is no increase to
//! Prometheus. Providers, upstreams and the store begin theirs where they count.

use prometheus::IntCounterVec;

use super::metrics::Metrics;

const LOGINS_STARTED: [&str; 2] = ["first", "restarted"];
const LOGINS: [&str; 4] = ["signed_in", "already_signed_in", "restarted", "handed_over"];
const PASSWORD_LOGINS: [&str; 3] = ["tokens", "cookies", "basic"];
const REFRESHES: [&str; 1] = ["renewed"];
const REUSES: [&str; 2] = ["session_ended", "refused"];
const INTROSPECTIONS: [&str; 2] = ["active", "inactive"];
const APP_LOGOUTS: [&str; 4] = ["logged_out", "no_app_session", "refused", "timed_out"];
const PROOFS_OF_OTHER_KEYS: [&str; 2] = ["device_signature_invalid", "device_key_mismatch"];
const CLIENT_CHANGES: [&str; 5] = [
    "network_observed",
    "browser_observed",
    "network_refused",
    "browser_refused",
    "confirmed",
];
const LOOKUPS: [&str; 3] = ["found", "not_found", "failed"];
const RELOAD_TRIGGERS: [&str; 3] = ["signal", "files", "command"];
const RELOADS: [&str; 3] = ["applied", "unchanged", "refused"];

impl Metrics {
    /// Begins the series of the process.
    pub fn begin(&self) {
        for outcome in LOOKUPS {
            self.dns_lookups.with_label_values(&[outcome]);
        }
        for trigger in RELOAD_TRIGGERS {
            begin(&self.config_reloads, trigger, &RELOADS);
        }
    }

    /// Begins the series of an app. Those of failures, which have many codes, begin with the first one.
    pub fn begin_app<'p>(&self, app: &str, providers: impl Iterator<Item = &'p str>) {
        for (family, outcomes) in [
            (&self.password_logins, &PASSWORD_LOGINS[..]),
            (&self.introspections, &INTROSPECTIONS),
            (&self.app_logouts, &APP_LOGOUTS),
            (&self.device_proofs, &PROOFS_OF_OTHER_KEYS),
            (&self.client_changes, &CLIENT_CHANGES),
        ] {
            begin(family, app, outcomes);
        }
        self.rotation_states_missing.with_label_values(&[app]);
        self.session_cookie_bytes.with_label_values(&[app]);
        for provider in providers {
            self.begin_app_at_provider(app, provider);
        }
    }

    fn begin_app_at_provider(&self, app: &str, provider: &str) {
        for (family, outcomes) in [
            (&self.logins_started, &LOGINS_STARTED[..]),
            (&self.logins, &LOGINS),
            (&self.refreshes, &REFRESHES),
            (&self.refresh_tokens_reused, &REUSES),
        ] {
            for outcome in outcomes {
                family.with_label_values(&[app, outcome, provider]);
            }
        }
        self.login_duration.with_label_values(&[app, provider]);
    }
}

fn begin(family: &IntCounterVec, first: &str, outcomes: &[&str]) {
    for outcome in outcomes {
        family.with_label_values(&[first, outcome]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_begin_at_zero_and_keep_their_values() {
        let metrics = Metrics::new().unwrap();
        metrics.begin();
        metrics.begin_app("store", ["login", "staff"].into_iter());
        let reused =
            metrics
                .refresh_tokens_reused
                .with_label_values(&["store", "session_ended", "login"]);
        reused.inc();
        // After a reload.
        metrics.begin_app("store", ["login", "staff"].into_iter());
        let text = metrics.text().unwrap();
        for line in [
            r#"doorward_logins_total{app="store",outcome="signed_in",provider="staff"} 0"#,
            r#"doorward_refresh_tokens_reused_total{app="store",outcome="session_ended",provider="login"} 1"#,
            r#"doorward_config_reloads_total{outcome="refused",trigger="files"} 0"#,
            r#"doorward_login_duration_seconds_count{app="store",provider="login"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
