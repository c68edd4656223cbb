//! FusionAuth's discovery document: the issuer is not a URL, and there is neither revocation nor
//! introspection.

use http::StatusCode;
use serde_json::json;

use crate::demo::provider::core::Provider;
use crate::demo::provider::metadata::cacheable;
use crate::demo::provider::params::Params;
use crate::demo::provider::settings::FusionAuth;
use crate::demo::serve::{HttpRequest, HttpResponse, empty};

/// The path of the discovery document; it is also served below the tenant's id.
pub(super) const DISCOVERY: &str = "/.well-known/openid-configuration";

impl Provider {
    /// The discovery document. `?tenantId=`, if present, must name the only tenant.
    pub(super) fn fusionauth_configuration(
        &self,
        fusionauth: &FusionAuth,
        request: &HttpRequest,
    ) -> HttpResponse {
        let tenant = Params::read(request.query.as_bytes())
            .get("tenantId")
            .map(str::to_owned);
        if tenant.is_some_and(|tenant| tenant != fusionauth.tenant_id) {
            return empty(StatusCode::BAD_REQUEST);
        }
        let base = self.settings.issuer.to_string();
        cacheable(&json!({
            "issuer": fusionauth.issuer,
            "authorization_endpoint": format!("{base}/oauth2/authorize"),
            "token_endpoint": format!("{base}/oauth2/token"),
            "userinfo_endpoint": format!("{base}/oauth2/userinfo"),
            "jwks_uri": format!("{base}/.well-known/jwks.json"),
            "end_session_endpoint": format!("{base}/oauth2/logout"),
            "scopes_supported": ["openid", "offline_access"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "password", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "claims_supported": [
                "applicationId", "aud", "auth_time", "authenticationType", "email", "email_verified", "exp", "iat",
                "iss", "jti", "name", "preferred_username", "roles", "scope", "sid", "sub", "tid",
            ],
            "backchannel_logout_supported": false,
            "frontchannel_logout_supported": true,
        }))
    }
}
