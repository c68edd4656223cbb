//! Examination of a Redis: reachable, its version, eviction policy and persistence, the rights of its
//! user, and its clock. No key is left behind.

use std::sync::Arc;
use std::time::Duration;

use super::connection::TlsFault;
use super::finding::{Explained, Finding, Findings, Subject};
use super::provider::{Version, listed};
use crate::store::{
    CommandCheck, LogLimits, Redis, RedisSettings, ServerInfo, StoreError, StoreTime,
};
use crate::types::time::{Clock, Timestamp};

/// The oldest Redis with all commands that the store needs.
const MIN_VERSION: Version = Version::new(6, 2, 0);
/// The largest difference of clocks that needs no attention.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5);
/// The most calls at once; the examination makes one after the other.
const MAX_CALLS: usize = 1;
/// The limits of a log to which nothing is written.
const NO_LOG: LogLimits = LogLimits {
    max_lifetime: Duration::ZERO,
    max_entries: 0,
};

/// Calls the Redis and judges its replies.
pub(super) async fn examine(settings: RedisSettings, clock: Arc<dyn Clock>) -> Vec<Finding> {
    let mut findings = Findings::about(Subject::Store);
    let redis = match Redis::new(&settings, "sessions", MAX_CALLS, NO_LOG) {
        Ok(redis) => redis,
        Err(error) => {
            findings.error(
                "store_unavailable",
                "",
                Explained::new(error.to_string(), ""),
            );
            return findings.into_list();
        }
    };
    match redis.check_commands().await {
        Ok(check) => {
            judge_commands(&check, &mut findings);
            judge_clock(check.time, clock.now(), &mut findings);
        }
        Err(error) => judge_failure(&error, &settings, &mut findings),
    }
    // A user without the right to run scripts may still read the state.
    match redis.server_info().await {
        Ok(servers) => {
            for server in &servers {
                judge_server(server, &mut findings);
            }
        }
        Err(error) if error.to_string().contains("NOPERM") => {
            let message = "version, `maxmemory-policy` and `appendonly` could not be checked: the \
                           user may not run `INFO`";
            let hint = "grant it for the check: `+info`";
            findings.advice(
                "store_info_denied",
                "redis.username",
                Explained::new(message, hint),
            );
        }
        // Reported above.
        Err(_) => {}
    }
    findings.into_list()
}

/// Why no script could be run.
fn judge_failure(error: &StoreError, settings: &RedisSettings, findings: &mut Findings) {
    let text = error.to_string();
    if let Some(fault) = TlsFault::in_text(&text) {
        let key = match fault {
            TlsFault::UnknownAuthority => "redis.ca_file",
            TlsFault::Expired | TlsFault::NotYetValid | TlsFault::OtherName | TlsFault::NotTls => {
                "url"
            }
        };
        findings.error(
            fault.finding_code(),
            key,
            Explained::new(text, fault.hint()),
        );
        return;
    }
    let (code, key, hint) = if text.contains("NOPERM") && text.contains(" key") {
        let prefix = &settings.key_prefix;
        let hint = format!("grant the user the keys: `~{prefix}*`");
        ("store_keys_denied", "redis.key_prefix", hint)
    } else if text.contains("NOPERM") {
        let hint = "grant the user the commands that the page about replicas lists";
        ("store_command_denied", "redis.username", hint.to_owned())
    } else if ["WRONGPASS", "NOAUTH", "authentication failed"]
        .iter()
        .any(|word| text.contains(word))
    {
        let hint = "compare user name and password with the ACL of Redis";
        (
            "store_login_rejected",
            "redis.password_file",
            hint.to_owned(),
        )
    } else {
        let hint = "run `redis-cli -u URL ping` on this machine: address, firewall, TLS";
        ("store_unavailable", "url", hint.to_owned())
    };
    findings.error(code, key, Explained::new(text, hint));
}

fn judge_commands(check: &CommandCheck, findings: &mut Findings) {
    let (denied, failed): (Vec<_>, Vec<_>) =
        check.failed.iter().partition(|failed| failed.is_denied());
    if !denied.is_empty() {
        let mut names: Vec<&str> = denied.iter().map(|failed| failed.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let grants = names.iter().map(|name| format!("+{}", name.to_lowercase()));
        let grants = grants.collect::<Vec<_>>().join(" ");
        let message = format!("the user may not run {}", listed(&names));
        let hint = format!("grant it: `{grants}`");
        let code = "store_command_denied";
        findings.error(code, "redis.username", Explained::new(message, hint));
    }
    // All have the same cause.
    if let Some(failed) = failed.first() {
        let message = format!("`{}` failed: {}", failed.name, failed.error);
        let (code, hint) = if failed.error.contains("READONLY") {
            (
                "store_read_only",
                "set the address of the master, or use Sentinels",
            )
        } else if failed.error.contains("OOM") {
            ("store_out_of_memory", "raise `maxmemory`")
        } else {
            ("store_command_failed", "")
        };
        findings.error(code, "url", Explained::new(message, hint));
    }
}

fn judge_server(server: &ServerInfo, findings: &mut Findings) {
    let version = server.version.as_deref().unwrap_or_default();
    if Version::parse(version).is_some_and(|version| version < MIN_VERSION) {
        let message = format!("Redis {version} is too old");
        let hint = "use Redis 6.2 or later";
        findings.error("store_outdated", "url", Explained::new(message, hint));
    }
    if let Some(policy) = server
        .eviction_policy
        .as_ref()
        .filter(|policy| *policy != "noeviction")
    {
        let message = format!("`maxmemory-policy` is `{policy}`: Redis may forget logouts");
        let explained = Explained::new(message, "`CONFIG SET maxmemory-policy noeviction`");
        if server.max_memory == Some(0) {
            findings.warning("store_evicts", "url", explained);
        } else {
            findings.error("store_evicts", "url", explained);
        }
    }
    if server.has_append_only_file == Some(false) && server.replicas.unwrap_or(0) == 0 {
        let message = "Redis has neither an append-only file nor a replica: a restart forgets \
                       logouts and new tokens";
        let hint = "`CONFIG SET appendonly yes`, also in its configuration file";
        findings.warning("store_not_persistent", "url", Explained::new(message, hint));
    }
}

fn judge_clock(time: Option<StoreTime>, now: Timestamp, findings: &mut Findings) {
    let Some(time) = time else { return };
    let difference = Duration::from_millis(time.millis().abs_diff(now.secs().saturating_mul(1000)));
    if difference > MAX_CLOCK_DIFFERENCE {
        let seconds = difference.as_secs();
        let message = format!("the clocks of Redis and of this machine differ by {seconds} s");
        let hint = "synchronize both by NTP";
        findings.warning("store_clock_differs", "url", Explained::new(message, hint));
    }
}

#[cfg(test)]
mod tests;
