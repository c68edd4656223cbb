//! The schema of `[apps.NAME.registrations.PROVIDER]`.

use serde::Deserialize;

use super::keywords::TokenEndpointAuthMethod;
use super::values::{List, Named};
use crate::oidc::{
    AssertionAudience, AssertionType, PushedAuthorization, ResponseMode, SessionTokenSource,
};
use crate::types::oauth::ClientSecret;

/// The registration of an app at one provider: `[apps.NAME.registrations.PROVIDER]`, or the keys of the
/// same names of an app with one provider.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawRegistration {
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
    pub(super) session_jwt: Option<SessionTokenSource>,
    pub(super) audiences: Option<List<String>>,
}

impl RawRegistration {
    /// The keys that are set.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("client_id", self.client_id.is_some()),
            ("client_secret_file", self.client_secret_file.is_some()),
            ("client_secret", self.client_secret.is_some()),
            (
                "token_endpoint_auth_method",
                self.token_endpoint_auth_method.is_some(),
            ),
            ("client_key_file", self.client_key_file.is_some()),
            ("client_key_id", self.client_key_id.is_some()),
            ("client_cert_file", self.client_cert_file.is_some()),
            (
                "client_assertion_file",
                self.client_assertion_file.is_some(),
            ),
            (
                "client_assertion_type",
                self.client_assertion_type.is_some(),
            ),
            (
                "client_assertion_audience",
                self.client_assertion_audience.is_some(),
            ),
            ("scopes", self.scopes.is_some()),
            (
                "extra_authorization_params",
                self.extra_authorization_params.is_some(),
            ),
            ("pushed_authorization", self.pushed_authorization.is_some()),
            ("dpop_key_files", self.dpop_key_files.is_some()),
            (
                "request_object_key_file",
                self.request_object_key_file.is_some(),
            ),
            (
                "request_object_key_id",
                self.request_object_key_id.is_some(),
            ),
            ("resources", self.resources.is_some()),
            ("response_mode", self.response_mode.is_some()),
            ("session_jwt", self.session_jwt.is_some()),
            ("audiences", self.audiences.is_some()),
        ];
        let set = keys.into_iter().filter(|(_, is_set)| *is_set);
        set.map(|(key, _)| key)
    }
}
