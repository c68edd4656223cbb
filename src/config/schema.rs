//! The schema of the configuration file: its tables and their keys. The documentation is tested against it.

use figment::error::Kind;
use figment::value::{Dict, Value};
use serde::Deserialize;

use super::raw::{
    RawApp, RawAppCookie, RawAssertion, RawAssertionKeys, RawBasic, RawBearer, RawCertificate,
    RawClientLimit, RawClientLimits, RawConfig, RawDeviceBinding, RawHeaderEdits, RawHealthCheck,
    RawListener, RawLog, RawLoginParameters, RawMaintenance, RawNative, RawProvider, RawProxy,
    RawRedis, RawRegistration, RawServer, RawSession, RawSessionList, RawStore, RawTls, RawTracing,
    RawUnboundSessions, RawWebhooks,
};
use super::raw_credentials::{RawTokenExchange, RawUpstreamBasicAuth};
use super::raw_pages::RawPages;
use super::raw_routes::{RawRedirect, RawRespond, RawRoute};
use super::raw_rules::{RawCondition, RawRequire, RawRule};

/// One table of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its path, with `NAME` for a name of the operator's choice; empty for the file itself.
    pub path: &'static str,
    /// The keys that it accepts.
    pub keys: &'static [&'static str],
}

/// Every table with fixed keys.
pub fn tables() -> [Table; 47] {
    [
        table::<RawConfig>(""),
        table::<RawServer>("server"),
        table::<RawListener>("server.listeners"),
        table::<RawTls>("server.tls"),
        table::<RawCertificate>("server.tls.certificates"),
        table::<RawLog>("log"),
        table::<RawTracing>("tracing"),
        table::<RawSession>("session"),
        table::<RawSessionList>("session.list"),
        table::<RawStore>("store"),
        table::<RawRedis>("store.redis"),
        table::<RawPages>("pages"),
        table::<RawMaintenance>("maintenance"),
        table::<RawAssertionKeys>("assertion"),
        table::<RawProvider>("providers.NAME"),
        table::<RawProxy>("providers.NAME.proxy"),
        table::<RawWebhooks>("providers.NAME.webhooks"),
        table::<RawApp>("apps.NAME"),
        table::<RawLoginParameters>("apps.NAME.login_parameters"),
        table::<RawAppCookie>("apps.NAME.app_cookies"),
        table::<RawRule>("apps.NAME.rules"),
        table::<RawCondition>("apps.NAME.rules.allow"),
        table::<RawRequire>("apps.NAME.rules.require"),
        table::<RawRoute>("apps.NAME.routes"),
        table::<RawRedirect>("apps.NAME.routes.redirect"),
        table::<RawRespond>("apps.NAME.routes.respond"),
        table::<RawHeaderEdits>("apps.NAME.routes.request_headers"),
        table::<RawHeaderEdits>("apps.NAME.routes.response_headers"),
        table::<RawHeaderEdits>("apps.NAME.request_headers"),
        table::<RawHeaderEdits>("apps.NAME.response_headers"),
        table::<RawNative>("apps.NAME.native"),
        table::<RawBearer>("apps.NAME.bearer"),
        table::<RawBasic>("apps.NAME.basic"),
        table::<RawDeviceBinding>("apps.NAME.device_binding"),
        table::<RawUnboundSessions>("apps.NAME.unbound_sessions"),
        table::<RawClientLimits>("apps.NAME.client_limits"),
        table::<RawClientLimit>("apps.NAME.client_limits.address"),
        table::<RawClientLimit>("apps.NAME.client_limits.session"),
        table::<RawMaintenance>("apps.NAME.maintenance"),
        table::<RawAssertion>("apps.NAME.assertion"),
        table::<RawUpstreamBasicAuth>("apps.NAME.upstream_basic_auth"),
        table::<RawTokenExchange>("apps.NAME.token_exchange"),
        table::<RawUpstreamBasicAuth>("apps.NAME.routes.upstream_basic_auth"),
        table::<RawHealthCheck>("apps.NAME.health_check"),
        table::<RawHealthCheck>("apps.NAME.routes.health_check"),
        table::<RawRegistration>("apps.NAME.registrations.NAME"),
        table::<RawPages>("apps.NAME.pages"),
    ]
}

fn table<T: for<'de> Deserialize<'de>>(path: &'static str) -> Table {
    let keys = keys_of::<T>();
    Table { path, keys }
}

/// The keys of a table, which serde lists when it refuses an unknown one.
pub(super) fn keys_of<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let unknown = Value::from(Dict::from([("?".to_owned(), Value::from(1))]));
    match T::deserialize(&unknown).err().map(|error| error.kind) {
        Some(Kind::UnknownField(_, known)) => known,
        Some(_) | None => &[],
    }
}
