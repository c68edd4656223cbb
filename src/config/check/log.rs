//! `[log]`.

use super::super::keywords::LogLevel;
use super::super::raw::RawLog;
use super::super::settings::LogConfig;

pub(super) fn check(raw: RawLog) -> LogConfig {
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
    }
}
