//! Keys whose values a reload cannot change: they take effect at a restart.

use crate::config::{Config, Inputs, LogConfig};

/// The keys and tables, and why: sockets are opened and threads are started once, the store has what
/// sessions need, and the logs are written from the start.
const RESTART_KEYS: [&str; 18] = [
    "server.listen",
    "server.listeners",
    "server.admin_listen",
    "server.decision_listen",
    "server.proxy_protocol",
    "server.unix_socket_mode",
    "server.unix_socket_owner",
    "server.unix_socket_group",
    "server.workers",
    "server.max_connections",
    "server.max_bytes_in_flight",
    "store",
    "log.format",
    "log.access",
    "log.access_format",
    "log.audit",
    "log.max_audit_buffer_bytes",
    "tracing.otlp_endpoint",
];

/// `[server.tls]` itself. Its certificates can change.
const TLS: &str = "server.tls";

/// The keys that differ from those with which the process started.
pub(super) fn restart_keys(now: &Inputs, at_start: &Inputs, is_tls_changed: bool) -> Vec<String> {
    let needs_restart = |key: &str| {
        RESTART_KEYS.iter().any(|restart_key| {
            let rest = key.strip_prefix(restart_key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let changes = now.changes_since(at_start).into_iter();
    let keys = changes.map(|change| change.key);
    let keys = keys.filter(|key| needs_restart(key));
    keys.chain(is_tls_changed.then(|| TLS.to_owned())).collect()
}

/// Whether TLS is switched on or off.
pub(super) const fn is_tls_changed(config: &Config, at_start: &Config) -> bool {
    config.server.tls.is_some() != at_start.server.tls.is_some()
}

/// The configuration with what the process cannot change as it is in `current`.
pub(super) fn keep_unchangeable(config: Config, current: &Config) -> Config {
    let mut config = config;
    if is_tls_changed(&config, current) {
        config.server.tls.clone_from(&current.server.tls);
    }
    let (server, kept) = (&mut config.server, &current.server);
    server.listeners.clone_from(&kept.listeners);
    server.admin_listen.clone_from(&kept.admin_listen);
    server.decision_listen.clone_from(&kept.decision_listen);
    server.workers = kept.workers;
    server.limits.max_connections = kept.limits.max_connections;
    server.limits.max_bytes_in_flight = kept.limits.max_bytes_in_flight;
    config
        .tracing
        .otlp_endpoint
        .clone_from(&current.tracing.otlp_endpoint);
    config.store = current.store.clone();
    config.log = LogConfig {
        filter: config.log.filter,
        user: config.log.user,
        user_agent: config.log.user_agent,
        ..current.log.clone()
    };
    config
}
