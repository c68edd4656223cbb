//! The schema of `[providers.NAME]`.

use serde::Deserialize;

use super::keywords::{ProviderKind, WebhookSignature};
use super::values::{HumanDuration, List};
use crate::oidc::SecurityProfile;
use crate::oidc::fusionauth::RefreshBy;
use crate::oidc::settings::OnStoreOutage;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawProvider {
    pub(super) issuer: Option<String>,
    pub(super) discovery_url: Option<String>,
    pub(super) title: Option<String>,
    pub(super) logo_file: Option<String>,
    pub(super) login_hint_domains: Option<List<String>>,
    pub(super) login_url: Option<String>,
    pub(super) login_endpoint_prefix: Option<String>,
    pub(super) discovery: Option<bool>,
    pub(super) authorization_endpoint: Option<String>,
    pub(super) token_endpoint: Option<String>,
    pub(super) jwks_uri: Option<String>,
    pub(super) jwks_file: Option<String>,
    pub(super) userinfo_endpoint: Option<String>,
    pub(super) revocation_endpoint: Option<String>,
    pub(super) introspection_endpoint: Option<String>,
    pub(super) pushed_authorization_request_endpoint: Option<String>,
    pub(super) end_session_endpoint: Option<String>,
    pub(super) internal_base: Option<String>,
    pub(super) metadata_file: Option<String>,
    pub(super) metadata_file_max_age: Option<HumanDuration>,
    pub(super) proxy: Option<RawProxy>,
    pub(super) kind: Option<ProviderKind>,
    pub(super) profile: Option<SecurityProfile>,
    pub(super) ca_file: Option<String>,
    pub(super) algorithms: Option<List<String>>,
    pub(super) request_timeout: Option<HumanDuration>,
    pub(super) refresh_timeout: Option<HumanDuration>,
    pub(super) leeway: Option<HumanDuration>,
    pub(super) on_store_outage: Option<OnStoreOutage>,
    pub(super) dangerously_allow_http_issuer: Option<bool>,
    pub(super) dangerously_allow_unverified_claims: Option<bool>,
    pub(super) dangerously_allow_logout_tokens_without_exp: Option<bool>,
    pub(super) tenant_id: Option<String>,
    pub(super) refresh_by: Option<RefreshBy>,
    pub(super) api_key_file: Option<String>,
    pub(super) require_registration: Option<bool>,
    pub(super) webhooks: Option<RawWebhooks>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawWebhooks {
    pub(super) signature: Option<WebhookSignature>,
    pub(super) signature_secret_file: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) header: Option<String>,
    pub(super) header_secret_file: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawProxy {
    pub(super) url: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) no_proxy: Option<List<String>>,
    pub(super) from_environment: Option<bool>,
}
