//! Tables of what is concluded from the replies of Redis.

use super::*;
use crate::doctor::testing::found;
use crate::store::{FailedCommand, RedisNode, Topology};

fn settings() -> RedisSettings {
    RedisSettings {
        nodes: vec![RedisNode {
            host: "127.0.0.1".to_owned(),
            port: 6379,
        }],
        topology: Topology::Single,
        tls: None,
        login: None,
        database: 0,
        key_prefix: "doorward:".to_owned(),
        timeout: Duration::from_secs(1),
    }
}

#[test]
fn servers_are_judged_by_info() {
    let good = ServerInfo {
        version: Some("7.2.4".to_owned()),
        eviction_policy: Some("noeviction".to_owned()),
        max_memory: Some(1_000_000),
        has_append_only_file: Some(true),
        replicas: Some(0),
    };
    let evicting = |max_memory| ServerInfo {
        eviction_policy: Some("allkeys-lru".to_owned()),
        max_memory: Some(max_memory),
        ..good.clone()
    };
    let in_memory = |replicas| ServerInfo {
        has_append_only_file: Some(false),
        replicas,
        ..good.clone()
    };
    let old = ServerInfo {
        version: Some("6.0.20".to_owned()),
        ..good.clone()
    };
    for (server, expected) in [
        (ServerInfo::default(), ""),
        (evicting(1_000_000), "error store_evicts url"),
        (evicting(0), "warning store_evicts url"),
        (in_memory(Some(0)), "warning store_not_persistent url"),
        (in_memory(None), "warning store_not_persistent url"),
        (in_memory(Some(1)), ""),
        (old, "error store_outdated url"),
        (good, ""),
    ] {
        let found = found(|findings| judge_server(&server, findings));
        assert_eq!(found.concat(), expected, "{server:?}");
    }
}

#[test]
fn failed_commands_are_named_once() {
    let failed = |name: &str, error: &str| FailedCommand {
        name: name.to_owned(),
        error: error.to_owned(),
    };
    let check = CommandCheck {
        time: None,
        failed: vec![
            failed("XADD", "NOPERM User doorward has no permissions"),
            failed(
                "HSET",
                "ERR The user executing the script can't run this command",
            ),
            failed(
                "HSET",
                "ERR The user executing the script can't run this command",
            ),
        ],
    };
    let mut findings = Findings::about(Subject::Store);
    judge_commands(&check, &mut findings);
    let [finding] = <[Finding; 1]>::try_from(findings.into_list()).unwrap();
    assert_eq!(finding.message, "the user may not run `HSET`, `XADD`");
    assert_eq!(finding.hint, "grant it: `+hset +xadd`");
    for (error, expected) in [
        ("READONLY You can't write", "error store_read_only url"),
        ("OOM command not allowed", "error store_out_of_memory url"),
        ("ERR something", "error store_command_failed url"),
    ] {
        let check = CommandCheck {
            time: None,
            failed: vec![failed("SET", error), failed("HSET", error)],
        };
        let found = found(|findings| judge_commands(&check, findings));
        assert_eq!(found, [expected], "{error}");
    }
}

#[test]
fn failures_name_their_cause() {
    for (text, expected) in [
        ("connection refused", "error store_unavailable url"),
        (
            "NOPERM this user has no permissions to run the 'eval' command",
            "error store_command_denied redis.username",
        ),
        (
            "NOPERM No permissions to access a key",
            "error store_keys_denied redis.key_prefix",
        ),
        (
            "WRONGPASS invalid username-password pair",
            "error store_login_rejected redis.password_file",
        ),
        (
            "NOAUTH Authentication required.",
            "error store_login_rejected redis.password_file",
        ),
        (
            "invalid peer certificate: UnknownIssuer",
            "error certificate_authority_unknown redis.ca_file",
        ),
        (
            "received corrupt message of type InvalidContentType",
            "error tls_not_spoken url",
        ),
    ] {
        let error = StoreError::Unavailable(text.to_owned());
        let found = found(|findings| judge_failure(&error, &settings(), findings));
        assert_eq!(found, [expected], "{text}");
    }
}

#[test]
fn clock_may_differ_by_seconds() {
    let now = Timestamp::from_secs(1_000_000);
    for (millis, is_found) in [
        (1_000_000_000, false),
        (1_000_005_000, false),
        (1_000_005_001, true),
        (999_994_000, true),
    ] {
        let time = Some(StoreTime::from_millis(millis));
        let found = found(|findings| judge_clock(time, now, findings));
        assert_eq!(!found.is_empty(), is_found, "{millis}");
    }
}
