//! `[log]`.

use super::super::keywords::LogLevel;
use super::super::raw::RawLog;
use super::super::report::{Location, quoted};
use super::super::settings::LogConfig;
use crate::identity::identity::HeaderTemplate;
use crate::proxy::log_names::LoggedUser;

pub(super) fn check(raw: RawLog, at: &Location<'_>) -> LogConfig {
    let filter = match raw.level.unwrap_or(LogLevel::Info) {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    LogConfig {
        format: raw.format.unwrap_or_default(),
        filter,
        access: raw.access.unwrap_or(true),
        user: raw
            .user
            .map(|user| logged_user(&user, &at.key("user")))
            .unwrap_or_default(),
    }
}

fn logged_user(text: &str, at: &Location<'_>) -> LoggedUser {
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
