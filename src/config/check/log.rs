//! `[log]`.

use std::path::PathBuf;

use super::super::files::Folder;
use super::super::keywords::LogLevel;
use super::super::raw::RawLog;
use super::super::report::{Location, quoted};
use super::super::settings::LogConfig;
use super::server::bounded;
use crate::identity::identity::HeaderTemplate;
use crate::proxy::log_names::LoggedUser;
use crate::telemetry::audit::{AuditSettings, AuditTarget};
use crate::telemetry::log::LogFormat;
use crate::telemetry::syslog::SyslogAddress;

/// The sizes of the audit log's buffer, in bytes.
const MIN_BUFFER: u32 = 16 * 1024;
const MAX_BUFFER: u32 = 256 * 1024 * 1024;
const DEFAULT_BUFFER: u32 = 1024 * 1024;

pub(super) fn check(raw: RawLog, at: &Location<'_>, folder: &Folder) -> LogConfig {
    let filter = match raw.level.unwrap_or(LogLevel::Info) {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let max_buffered = bounded(
        raw.max_audit_buffer_bytes,
        &at.key("max_audit_buffer_bytes"),
        "bytes",
        DEFAULT_BUFFER,
        MIN_BUFFER..=MAX_BUFFER,
    );
    let target = raw.audit.as_deref();
    let target = target.and_then(|text| audit_target(text, &at.key("audit"), folder));
    LogConfig {
        format: raw.format.unwrap_or_default(),
        filter,
        access: raw.access.unwrap_or(true),
        access_format: raw.access_format.unwrap_or(LogFormat::Json),
        audit: target.map(|target| AuditSettings {
            target,
            max_buffered: usize::try_from(max_buffered).unwrap_or(usize::MAX),
        }),
        user: raw
            .user
            .map(|user| logged_user(&user, &at.key("user")))
            .unwrap_or_default(),
        user_agent: raw.user_agent.unwrap_or(false),
    }
}

/// Where the audit log goes. `None`: it is off, or invalid.
fn audit_target(text: &str, at: &Location<'_>, folder: &Folder) -> Option<AuditTarget> {
    const HINT: &str = "`\"off\"`, `\"stdout\"`, `\"file:audit.log\"` in an existing folder, or syslog: `\"unix:/dev/log\"`, `\"udp://127.0.0.1:514\"`, `\"tcp://127.0.0.1:601\"`";
    let refused = || {
        at.error(
            format!("{} is no target for the audit log", quoted(text)),
            HINT,
        );
        None
    };
    match text {
        "off" => return None,
        "stdout" => return Some(AuditTarget::Stdout),
        _ => {}
    }
    let address = |rest: &str| is_host_and_port(rest).then(|| rest.to_owned());
    let target = if let Some(name) = text.strip_prefix("file:") {
        file_in_folder(name, folder).map(AuditTarget::File)
    } else if let Some(path) = text.strip_prefix("unix:") {
        path.starts_with('/')
            .then(|| AuditTarget::Syslog(SyslogAddress::Unix(PathBuf::from(path))))
    } else if let Some(rest) = text.strip_prefix("udp://") {
        address(rest).map(|address| AuditTarget::Syslog(SyslogAddress::Udp(address)))
    } else if let Some(rest) = text.strip_prefix("tcp://") {
        address(rest).map(|address| AuditTarget::Syslog(SyslogAddress::Tcp(address)))
    } else {
        None
    };
    target.or_else(refused)
}

/// The path of a file, which need not exist yet, in a folder that does.
fn file_in_folder(name: &str, folder: &Folder) -> Option<PathBuf> {
    let path = folder.path(name);
    let parent = path.parent()?;
    let has_folder = parent.as_os_str().is_empty() || parent.is_dir();
    (!name.is_empty() && !path.is_dir() && has_folder).then_some(path)
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_ipv6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    let is_host = is_ipv6 || (!host.is_empty() && host.bytes().all(is_host));
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

pub(super) fn logged_user(text: &str, at: &Location<'_>) -> LoggedUser {
    const HINT: &str = "`\"hash\"`, `\"none\"`, or claims in braces, as in `\"{email}\"`";
    if text == "hash" {
        return LoggedUser::Hash;
    }
    if text == "none" {
        return LoggedUser::None;
    }
    match HeaderTemplate::parse("user", text) {
        Ok(template) if template.claims().next().is_some() => LoggedUser::Claims(template),
        Ok(_) => {
            at.error(format!("{} names no claim", quoted(text)), HINT);
            LoggedUser::None
        }
        Err(error) => {
            at.error(format!("{} is not a template: {error}", quoted(text)), HINT);
            LoggedUser::None
        }
    }
}
