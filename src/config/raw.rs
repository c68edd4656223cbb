//! The schema of the configuration file: all tables and keys. Unknown keys are errors. Every key is
//! optional here; `check` knows which are required, their defaults and their limits. A value with a
//! type error is reported by `extract` and is absent here.

use serde::Deserialize;

use super::keywords::{
    AccessTokenField, AppLogoutMethod, AuthorizationHeader, Dpop, IdTokenField, OpaqueTokens,
    SecurityHeaders, TokenEndpointAuthMethod,
};
pub(super) use super::raw_assertion::{RawAssertion, RawAssertionKeys};
use super::raw_credentials::{RawTokenExchange, RawUpstreamBasicAuth};
pub(super) use super::raw_device_binding::RawDeviceBinding;
pub(super) use super::raw_headers::RawHeaderEdits;
pub(super) use super::raw_health_check::RawHealthCheck;
pub(super) use super::raw_limits::{RawClientLimit, RawClientLimits, RawMaintenance};
pub(super) use super::raw_log::{RawLog, RawTracing};
pub(super) use super::raw_native::RawNative;
use super::raw_pages::RawPages;
pub(super) use super::raw_provider::{RawProvider, RawProxy, RawWebhooks};
pub(super) use super::raw_registration::RawRegistration;
use super::raw_routes::RawRoute;
use super::raw_rules::RawRule;
pub(super) use super::raw_store::{RawRedis, RawStore};
pub(super) use super::raw_tls::{RawCertificate, RawTls};
pub(super) use super::raw_unbound_sessions::RawUnboundSessions;
use super::values::HumanDuration;
pub(super) use super::values::{List, Named, OneOrMany};
use crate::auth::app::{OnReuse, RevocationMode, Userinfo};
use crate::auth::session_list::ClientDetail;
use crate::oidc::{
    AssertionAudience, AssertionType, PushedAuthorization, ResponseMode, SessionTokenSource,
};
use crate::policy::client_address::ForwardedHeader;
use crate::types::oauth::ClientSecret;
use crate::upstream::UpstreamProtocol;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawConfig {
    pub(super) server: Option<RawServer>,
    pub(super) log: Option<RawLog>,
    pub(super) tracing: Option<RawTracing>,
    pub(super) session: Option<RawSession>,
    pub(super) store: Option<RawStore>,
    pub(super) pages: Option<RawPages>,
    pub(super) maintenance: Option<RawMaintenance>,
    pub(super) assertion: Option<RawAssertionKeys>,
    pub(super) providers: Option<Named<RawProvider>>,
    pub(super) apps: Option<Named<RawApp>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawServer {
    pub(super) listen: Option<String>,
    pub(super) admin_listen: Option<String>,
    pub(super) decision_listen: Option<String>,
    pub(super) admin_hosts: Option<List<String>>,
    pub(super) unix_socket_mode: Option<String>,
    pub(super) unix_socket_owner: Option<String>,
    pub(super) unix_socket_group: Option<String>,
    pub(super) trusted_proxies: Option<List<String>>,
    pub(super) workers: Option<u32>,
    pub(super) max_connections: Option<u32>,
    pub(super) max_connections_per_client: Option<u32>,
    pub(super) proxy_protocol: Option<bool>,
    pub(super) forwarded_header: Option<ForwardedHeader>,
    pub(super) forwarded_host: Option<bool>,
    pub(super) forwarded_proto: Option<bool>,
    pub(super) max_header_bytes: Option<u32>,
    pub(super) max_header_count: Option<u32>,
    pub(super) max_http2_streams: Option<u32>,
    pub(super) http2_reset_burst: Option<u32>,
    pub(super) http2_resets_per_second: Option<u32>,
    pub(super) max_in_flight_requests: Option<u32>,
    pub(super) max_queued_requests: Option<u32>,
    pub(super) queue_timeout: Option<HumanDuration>,
    pub(super) min_upload_rate: Option<u32>,
    pub(super) max_bytes_in_flight: Option<u32>,
    pub(super) first_byte_timeout: Option<HumanDuration>,
    pub(super) header_read_timeout: Option<HumanDuration>,
    pub(super) keep_alive_timeout: Option<HumanDuration>,
    pub(super) tcp_keepalive: Option<HumanDuration>,
    pub(super) write_stall_timeout: Option<HumanDuration>,
    pub(super) half_close_timeout: Option<HumanDuration>,
    pub(super) watch_files: Option<bool>,
    pub(super) startup_provider_timeout: Option<HumanDuration>,
    pub(super) shutdown_delay: Option<HumanDuration>,
    pub(super) drain_timeout: Option<HumanDuration>,
    pub(super) listeners: Option<List<RawListener>>,
    pub(super) tls: Option<RawTls>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawListener {
    pub(super) address: Option<String>,
    pub(super) tls: Option<bool>,
    pub(super) redirect_to_https: Option<bool>,
    pub(super) proxy_protocol: Option<bool>,
    pub(super) unix_socket_mode: Option<String>,
    pub(super) unix_socket_owner: Option<String>,
    pub(super) unix_socket_group: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawSession {
    pub(super) key_files: Option<List<String>>,
    pub(super) idle_timeout: Option<HumanDuration>,
    pub(super) absolute_timeout: Option<HumanDuration>,
    pub(super) session_cache_size: Option<u32>,
    pub(super) list: Option<RawSessionList>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawSessionList {
    pub(super) max_sessions: Option<u32>,
    pub(super) user: Option<String>,
    pub(super) client: Option<ClientDetail>,
    pub(super) page: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawApp {
    pub(super) provider: Option<String>,
    pub(super) providers: Option<List<String>>,
    pub(super) password_provider: Option<String>,
    pub(super) registrations: Option<Named<RawRegistration>>,
    pub(super) public_url: Option<String>,
    pub(super) aliases: Option<List<String>>,
    pub(super) hsts: Option<bool>,
    pub(super) wildcard_labels: Option<List<String>>,
    pub(super) wildcard_max_hosts: Option<u32>,
    pub(super) dangerously_allow_http_public_url: Option<bool>,
    pub(super) upstream: Option<OneOrMany>,
    pub(super) upstream_protocol: Option<UpstreamProtocol>,
    pub(super) upstream_ping_interval: Option<HumanDuration>,
    pub(super) upstream_max_connections: Option<u32>,
    pub(super) upstream_max_http2_streams: Option<u32>,
    pub(super) upstream_idle_timeout: Option<HumanDuration>,
    pub(super) upstream_tcp_keepalive: Option<HumanDuration>,
    pub(super) upstream_ca_file: Option<String>,
    pub(super) upstream_cert_file: Option<String>,
    pub(super) upstream_key_file: Option<String>,
    pub(super) upstream_server_name: Option<String>,
    pub(super) upstream_host: Option<String>,
    pub(super) upstream_address_timeout: Option<HumanDuration>,
    pub(super) upstream_max_ejected_percent: Option<u32>,
    pub(super) upstream_retry_statuses: Option<List<u32>>,
    pub(super) upstream_affinity: Option<bool>,
    pub(super) authorization_header: Option<AuthorizationHeader>,
    pub(super) dangerously_forward_headers: Option<List<String>>,
    pub(super) connect_timeout: Option<HumanDuration>,
    pub(super) response_timeout: Option<HumanDuration>,
    pub(super) stream_idle_timeout: Option<HumanDuration>,
    pub(super) stream_max_age: Option<HumanDuration>,
    pub(super) max_in_flight_requests: Option<u32>,
    pub(super) client_id: Option<String>,
    pub(super) client_secret_file: Option<String>,
    pub(super) client_secret: Option<ClientSecret>,
    pub(super) token_endpoint_auth_method: Option<TokenEndpointAuthMethod>,
    pub(super) client_key_file: Option<String>,
    pub(super) client_key_id: Option<String>,
    pub(super) client_cert_file: Option<String>,
    pub(super) client_assertion_file: Option<String>,
    pub(super) client_assertion_type: Option<AssertionType>,
    pub(super) client_assertion_audience: Option<AssertionAudience>,
    pub(super) scopes: Option<List<String>>,
    pub(super) extra_authorization_params: Option<Named<String>>,
    pub(super) pushed_authorization: Option<PushedAuthorization>,
    pub(super) response_mode: Option<ResponseMode>,
    pub(super) dpop_key_files: Option<List<String>>,
    pub(super) request_object_key_file: Option<String>,
    pub(super) request_object_key_id: Option<String>,
    pub(super) resources: Option<List<String>>,
    pub(super) login_parameters: Option<RawLoginParameters>,
    pub(super) logout_return_to: Option<List<String>>,
    pub(super) session_jwt: Option<SessionTokenSource>,
    pub(super) audiences: Option<List<String>>,
    pub(super) userinfo: Option<Userinfo>,
    pub(super) on_refresh_token_reuse: Option<OnReuse>,
    pub(super) revocation_mode: Option<RevocationMode>,
    pub(super) frontchannel_logout: Option<bool>,
    pub(super) idle_timeout: Option<HumanDuration>,
    pub(super) absolute_timeout: Option<HumanDuration>,
    pub(super) background_paths: Option<List<String>>,
    pub(super) stream_activity: Option<bool>,
    pub(super) outage_grace: Option<HumanDuration>,
    pub(super) endpoint_prefix: Option<String>,
    pub(super) cookie_name: Option<String>,
    pub(super) preserve_post_max_bytes: Option<u32>,
    pub(super) websocket_origins: Option<List<String>>,
    pub(super) cors_origins: Option<List<String>>,
    pub(super) cors_credentials: Option<bool>,
    pub(super) app_cookies: Option<List<RawAppCookie>>,
    pub(super) app_logout_path: Option<String>,
    pub(super) app_logout_method: Option<AppLogoutMethod>,
    pub(super) allow_ambiguous_paths: Option<List<String>>,
    pub(super) case_insensitive_paths: Option<bool>,
    pub(super) native: Option<RawNative>,
    pub(super) headers: Option<Named<String>>,
    pub(super) request_headers: Option<RawHeaderEdits>,
    pub(super) response_headers: Option<RawHeaderEdits>,
    pub(super) security_headers: Option<SecurityHeaders>,
    pub(super) hide_server_headers: Option<bool>,
    pub(super) rules: Option<List<RawRule>>,
    pub(super) routes: Option<List<RawRoute>>,
    pub(super) pages: Option<RawPages>,
    pub(super) bearer: Option<RawBearer>,
    pub(super) basic: Option<RawBasic>,
    pub(super) device_binding: Option<RawDeviceBinding>,
    pub(super) client_limits: Option<RawClientLimits>,
    pub(super) maintenance: Option<RawMaintenance>,
    pub(super) assertion: Option<RawAssertion>,
    pub(super) dangerously_pass_access_token: Option<AccessTokenField>,
    pub(super) dangerously_pass_id_token: Option<IdTokenField>,
    pub(super) upstream_basic_auth: Option<RawUpstreamBasicAuth>,
    pub(super) upstream_bearer_file: Option<String>,
    pub(super) token_exchange: Option<RawTokenExchange>,
    pub(super) health_check: Option<RawHealthCheck>,
    pub(super) unbound_sessions: Option<RawUnboundSessions>,
}

impl RawApp {
    /// Takes the keys of its registration, for an app with one provider.
    pub(super) fn take_registration(&mut self) -> RawRegistration {
        RawRegistration {
            client_id: self.client_id.take(),
            client_secret_file: self.client_secret_file.take(),
            client_secret: self.client_secret.take(),
            token_endpoint_auth_method: self.token_endpoint_auth_method.take(),
            client_key_file: self.client_key_file.take(),
            client_key_id: self.client_key_id.take(),
            client_cert_file: self.client_cert_file.take(),
            client_assertion_file: self.client_assertion_file.take(),
            client_assertion_type: self.client_assertion_type.take(),
            client_assertion_audience: self.client_assertion_audience.take(),
            scopes: self.scopes.take(),
            extra_authorization_params: self.extra_authorization_params.take(),
            pushed_authorization: self.pushed_authorization.take(),
            response_mode: self.response_mode.take(),
            dpop_key_files: self.dpop_key_files.take(),
            request_object_key_file: self.request_object_key_file.take(),
            request_object_key_id: self.request_object_key_id.take(),
            resources: self.resources.take(),
            session_jwt: self.session_jwt.take(),
            audiences: self.audiences.take(),
        }
    }

    /// The names of the providers of its logins.
    pub(super) fn login_providers(&self) -> impl Iterator<Item = &str> {
        let several = self.providers.iter().flatten().flatten();
        self.provider.iter().chain(several).map(String::as_str)
    }

    /// `session_jwt` of its registration at this provider.
    pub(super) fn session_jwt_at(&self, provider: &str) -> Option<SessionTokenSource> {
        let mut registrations = self.registrations.iter().flatten();
        match registrations.find(|(name, _)| *name == provider) {
            Some((_, registration)) => registration.as_ref()?.session_jwt,
            None => self.session_jwt,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawBasic {
    pub(super) realm: Option<String>,
    pub(super) cache_lifetime: Option<HumanDuration>,
    pub(super) cache_size: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawLoginParameters {
    pub(super) prompt: Option<List<String>>,
    pub(super) acr_values: Option<List<String>>,
    pub(super) login_hint: Option<bool>,
    pub(super) ui_locales: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawBearer {
    pub(super) providers: Option<List<String>>,
    pub(super) audiences: Option<List<String>>,
    pub(super) access_token_claim: Option<String>,
    pub(super) opaque_tokens: Option<OpaqueTokens>,
    pub(super) introspection_cache: Option<HumanDuration>,
    pub(super) dpop: Option<Dpop>,
    pub(super) dpop_nonce: Option<bool>,
    pub(super) client_header: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawAppCookie {
    pub(super) name: Option<String>,
    pub(super) path: Option<String>,
    pub(super) domain: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::super::raw_routes::{RawRedirect, RawRespond};
    use super::super::raw_rules::RawCondition;
    use super::super::schema::keys_of;
    use super::*;

    const REFERENCE: &str = include_str!("../../config/reference.toml");

    /// Whether a condition, or one within it, has this key.
    fn has_key(condition: &toml::Value, key: &str) -> bool {
        match condition {
            toml::Value::Table(table) => {
                table.contains_key(key) || table.values().any(|inner| has_key(inner, key))
            }
            toml::Value::Array(list) => list.iter().any(|inner| has_key(inner, key)),
            toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_) => false,
        }
    }

    #[test]
    fn every_key_is_in_the_reference() {
        let reference: toml::Table = REFERENCE.parse().unwrap();
        const EXCLUSIVE: [&str; 4] = [
            "token_exchange",
            "dangerously_pass_access_token",
            "dangerously_pass_id_token",
            "upstream_bearer_file",
        ];
        const SEVERAL_PROVIDERS: [&str; 3] = ["providers", "password_provider", "registrations"];
        const CLIENT_KEYS: [&str; 10] = [
            "token_endpoint_auth_method",
            "client_key_file",
            "client_key_id",
            "client_cert_file",
            "client_assertion_file",
            "client_assertion_type",
            "client_assertion_audience",
            "dpop_key_files",
            "request_object_key_file",
            "request_object_key_id",
        ];
        const FUSIONAUTH_KEYS: [&str; 5] = [
            "tenant_id",
            "refresh_by",
            "api_key_file",
            "require_registration",
            "webhooks",
        ];
        let tables: [(&[&str], &[&str]); 33] = [
            (&["apps", "wiki"], &SEVERAL_PROVIDERS),
            (&[], keys_of::<RawConfig>()),
            (&["server"], keys_of::<RawServer>()),
            (&["server", "tls"], keys_of::<RawTls>()),
            (&["log"], keys_of::<RawLog>()),
            (&["session"], keys_of::<RawSession>()),
            (&["session", "list"], keys_of::<RawSessionList>()),
            (&["store"], keys_of::<RawStore>()),
            (&["store", "redis"], keys_of::<RawRedis>()),
            (&["pages"], keys_of::<RawPages>()),
            (&["apps", "store", "pages"], keys_of::<RawPages>()),
            (&["providers", "login"], keys_of::<RawProvider>()),
            (&["providers", "login", "proxy"], keys_of::<RawProxy>()),
            (&["providers", "members"], &FUSIONAUTH_KEYS),
            (
                &["providers", "members", "webhooks"],
                keys_of::<RawWebhooks>(),
            ),
            (&["apps", "store"], keys_of::<RawApp>()),
            (
                &["apps", "store", "request_headers"],
                keys_of::<RawHeaderEdits>(),
            ),
            (
                &["apps", "store", "response_headers"],
                keys_of::<RawHeaderEdits>(),
            ),
            (&["apps", "store", "native"], keys_of::<RawNative>()),
            (&["apps", "store", "bearer"], keys_of::<RawBearer>()),
            (&["apps", "store", "basic"], keys_of::<RawBasic>()),
            (
                &["apps", "store", "device_binding"],
                keys_of::<RawDeviceBinding>(),
            ),
            (
                &["apps", "store", "unbound_sessions"],
                keys_of::<RawUnboundSessions>(),
            ),
            (&["maintenance"], keys_of::<RawMaintenance>()),
            (&["assertion"], keys_of::<RawAssertionKeys>()),
            (&["apps", "store", "assertion"], keys_of::<RawAssertion>()),
            (
                &["apps", "store", "maintenance"],
                keys_of::<RawMaintenance>(),
            ),
            (
                &["apps", "store", "client_limits"],
                keys_of::<RawClientLimits>(),
            ),
            (
                &["apps", "store", "client_limits", "address"],
                keys_of::<RawClientLimit>(),
            ),
            (
                &["apps", "store", "client_limits", "session"],
                keys_of::<RawClientLimit>(),
            ),
            (
                &["apps", "store", "health_check"],
                keys_of::<RawHealthCheck>(),
            ),
            (
                &["apps", "wiki", "registrations", "login"],
                keys_of::<RawRegistration>(),
            ),
            (&["apps", "forum"], &["client_secret"]),
        ];
        for (path, keys) in tables {
            let table = path
                .iter()
                .fold(&reference, |table, step| table[*step].as_table().unwrap());
            let elsewhere = |key: &str| match path {
                ["providers", "login"] => {
                    let is_comment = REFERENCE.contains(&format!("\n# {key} = "));
                    FUSIONAUTH_KEYS.contains(&key)
                        || matches!(key, "jwks_file" | "profile") && is_comment
                }
                ["apps", "wiki", "registrations", "login"] => {
                    key == "client_secret" || CLIENT_KEYS.contains(&key)
                }
                ["apps", "store"] => {
                    let is_comment = REFERENCE.contains(&format!("\n# {key} = "));
                    SEVERAL_PROVIDERS.contains(&key)
                        || EXCLUSIVE.contains(&key)
                        || key == "client_secret"
                        || CLIENT_KEYS.contains(&key) && is_comment
                        || key.starts_with("wildcard_") && is_comment
                }
                // Only for a Unix socket, or in place of other keys, so they are comments.
                ["server"] => {
                    let is_comment = REFERENCE.contains(&format!("\n# {key} = "));
                    is_comment && (key.starts_with("unix_socket_") || key == "decision_listen")
                        || key == "listeners"
                }
                _ => false,
            };
            for key in keys.iter().filter(|key| !elsewhere(key)) {
                assert!(table.contains_key(*key), "{path:?} lacks {key}");
            }
        }
        for key in keys_of::<RawListener>() {
            assert!(
                REFERENCE.contains(&format!("\n# {key} = ")),
                "no listener has {key}"
            );
        }
        let certificates = reference["server"]["tls"]["certificates"]
            .as_array()
            .unwrap();
        for key in keys_of::<RawCertificate>() {
            assert!(
                certificates.iter().any(|one| one.get(key).is_some()),
                "no certificate has {key}"
            );
        }
        let rules = reference["apps"]["store"]["rules"].as_array().unwrap();
        for key in keys_of::<RawRule>() {
            assert!(
                rules.iter().any(|rule| rule.get(key).is_some()),
                "no rule has {key}"
            );
        }
        let routes = reference["apps"]["store"]["routes"].as_array().unwrap();
        let nested = |table: &str| {
            let tables = routes.iter().filter_map(move |route| route.get(table));
            tables.collect::<Vec<_>>()
        };
        for (keys, tables) in [
            (keys_of::<RawRoute>(), routes.iter().collect()),
            (keys_of::<RawRedirect>(), nested("redirect")),
            (keys_of::<RawRespond>(), nested("respond")),
        ] {
            for key in keys {
                let has_key = |table: &&toml::Value| table.get(key).is_some();
                assert!(
                    tables.iter().any(has_key) || EXCLUSIVE.contains(key),
                    "no route has {key}"
                );
            }
        }
        let cookies = reference["apps"]["store"]["app_cookies"]
            .as_array()
            .unwrap();
        for key in keys_of::<RawAppCookie>() {
            assert!(
                cookies.iter().any(|cookie| cookie.get(key).is_some()),
                "no cookie has {key}"
            );
        }
        for key in keys_of::<RawCondition>() {
            assert!(
                rules.iter().any(|rule| has_key(&rule["allow"], key)),
                "no condition has {key}"
            );
        }
    }
}
