//! `profile` of a provider: the requirements of FAPI 2.0 on its settings and on each registration.

use super::super::raw::{RawApp, RawProvider};
use super::super::report::Location;
use super::super::settings::AppConfig;
use crate::oidc::fusionauth::RefreshBy;
use crate::oidc::{
    AssertionAudience, AssertionType, ClientAuth, ClientKey, ClientSettings, ProviderSettings,
    PushedAuthorization, ResponseMode, SecurityProfile,
};
use crate::policy::app::PassedToken;
use crate::types::oauth::ProviderName;

/// Applies the profile to the settings of a provider.
pub(super) fn check_provider(
    profile: Option<SecurityProfile>,
    settings: &mut ProviderSettings,
    at: &Location<'_>,
) {
    settings.profile = profile;
    if profile.is_none() {
        return;
    }
    let mut algorithms = settings.algorithms.iter();
    if !algorithms.all(|algorithm| SecurityProfile::ALGORITHMS.contains(algorithm)) {
        at.key("algorithms").error(
            "`profile` permits `PS256`, `ES256` and `EdDSA` only",
            "remove the key, or the other algorithms",
        );
    }
    if settings.allow_insecure_http {
        at.key("dangerously_allow_http_issuer").error(
            "`profile` requires TLS",
            "remove the key: plain http is allowed on this machine only",
        );
    }
    if refreshes_by_api(settings) {
        at.key("refresh_by").error(
            "`profile` requires refreshes at the token endpoint",
            "set `\"token\"`",
        );
    }
    check_endpoints(settings, at);
}

/// The provider announces in its metadata whether it follows the profile.
fn check_endpoints(settings: &ProviderSettings, at: &Location<'_>) {
    let endpoints = &settings.endpoints;
    let without_discovery = endpoints.without_discovery.then_some("discovery");
    let jwks = endpoints.jwks.as_ref().map(|_| "jwks_file");
    let configured = endpoints.configured.keys().copied();
    for key in configured.chain(jwks).chain(without_discovery) {
        at.key(key).error(
            "`profile` requires the endpoints and keys of the provider's metadata",
            "remove the key; `internal_base` may replace their origin",
        );
    }
}

/// Checks the keys of the registration at the provider `name` that the profile decides.
pub(super) fn check_registration(
    provider: &RawProvider,
    app: &RawApp,
    name: &str,
    at: &Location<'_>,
) {
    let Some(profile) = provider.profile else {
        return;
    };
    let mut registrations = app.registrations.iter().flatten();
    let own = registrations.find(|(found, _)| *found == name);
    let own = own.and_then(|(_, registration)| registration.as_ref());
    let pushed = own.map_or(app.pushed_authorization, |own| own.pushed_authorization);
    if pushed == Some(PushedAuthorization::WhenRequired) {
        at.key("pushed_authorization").error(
            "the provider's `profile` requires that all authorization requests are pushed",
            "remove the key",
        );
    }
    let mode = own.map_or(app.response_mode, |own| own.response_mode);
    if profile.signs_messages() && mode.is_some_and(|mode| !mode.is_signed()) {
        at.key("response_mode").error(
            "the provider's `profile` requires signed responses",
            "remove the key, or set `\"jwt\"` or `\"form_post.jwt\"`",
        );
    }
}

/// Whether refreshes are requests to FusionAuth's API in place of the token endpoint.
fn refreshes_by_api(settings: &ProviderSettings) -> bool {
    let fusionauth = settings.dialect.fusionauth();
    fusionauth.is_some_and(|settings| settings.refresh_by == RefreshBy::JwtRefresh)
}

/// Applies the profiles of the app's providers to its registrations there.
pub(super) fn check_app(app: &mut AppConfig, providers: &[ProviderSettings], at: &Location<'_>) {
    let are_several = app.policy.providers.are_several();
    let named = |name: &ProviderName| providers.iter().find(|provider| provider.name == *name);
    let mut has_profile = false;
    for registration in &mut app.registrations {
        let Some(provider) = named(&registration.provider) else {
            continue;
        };
        let at = if are_several {
            let name = registration.provider.as_str();
            &at.key("registrations").key(name)
        } else {
            at
        };
        if registration.client.dpop_keys.is_some() && refreshes_by_api(provider) {
            at.key("dpop_key_files").error(
                "the provider's `refresh_by` takes no proof of possession",
                "remove this key, or set `refresh_by = \"token\"`",
            );
        }
        match provider.profile {
            Some(profile) => {
                has_profile = true;
                check_client(profile, &mut registration.client, at);
            }
            None => check_pushed(provider, &registration.client, at),
        }
    }
    if !has_profile {
        return;
    }
    if !app.policy.origin.is_secure() && !app.policy.origin.is_loopback() {
        at.key("dangerously_allow_http_public_url").error(
            "the provider's `profile` requires TLS",
            "remove the key: plain http is allowed on this machine only",
        );
    }
    if app.policy.passed_token == Some(PassedToken::Access) {
        at.error(
            "the provider's `profile` binds access tokens to Doorward, and the app gets them",
            "remove `dangerously_pass_access_token` or `token_exchange`",
        );
    }
    let checks_passwords = |index| {
        let provider = named(&app.policy.providers.get(index).name);
        provider.is_some_and(|provider| provider.profile.is_some())
    };
    let native = app.policy.native.as_ref().map(|native| native.provider);
    let basic = app.policy.basic.as_ref().map(|basic| basic.provider);
    if native.into_iter().chain(basic).any(checks_passwords) {
        at.error(
            "the provider's `profile` has no password grant",
            "remove `native.password_grant`, and `\"basic\"` from `auth_methods`",
        );
    }
}

/// Requests that are always pushed need an endpoint.
fn check_pushed(provider: &ProviderSettings, client: &ClientSettings, at: &Location<'_>) {
    const ENDPOINT: &str = "pushed_authorization_request_endpoint";
    let endpoints = &provider.endpoints;
    let is_offered = !endpoints.without_discovery || endpoints.configured.contains_key(ENDPOINT);
    if client.pushed_authorization == PushedAuthorization::Always && !is_offered {
        at.key("pushed_authorization").error(
            "the provider has no endpoint for pushed requests",
            format!("set its `{ENDPOINT}`"),
        );
    }
}

fn check_client(profile: SecurityProfile, client: &mut ClientSettings, at: &Location<'_>) {
    client.pushed_authorization = PushedAuthorization::Always;
    let has_certificate = matches!(client.token_auth, ClientAuth::Tls(_));
    check_authentication(&client.token_auth, at);
    match &client.dpop_keys {
        Some(keys) => {
            for key in keys.iter() {
                check_key(key, &at.key("dpop_key_files"));
            }
        }
        None if has_certificate => {}
        None => at.missing(
            "dpop_key_files",
            "the provider's `profile` requires tokens that are bound to a key, or a client with a certificate",
        ),
    }
    if let Some(key) = &client.request_object_key {
        check_key(key, &at.key("request_object_key_file"));
    }
    if !profile.signs_messages() {
        return;
    }
    if client.request_object_key.is_none() {
        let hint = "the provider's `profile` requires signed requests";
        at.missing("request_object_key_file", hint);
    }
    if !client.response_mode.is_signed() {
        client.response_mode = ResponseMode::Jwt;
    }
}

fn check_authentication(auth: &ClientAuth, at: &Location<'_>) {
    match auth {
        ClientAuth::SignedAssertion(signed) => {
            check_key(&signed.key, &at.key("client_key_file"));
            if signed.audience == AssertionAudience::TokenEndpoint {
                at.key("client_assertion_audience").error(
                    "the provider's `profile` requires the issuer as the audience of assertions",
                    "remove the key",
                );
            }
        }
        ClientAuth::AssertionFile(file) if file.kind == AssertionType::JwtBearer => {}
        ClientAuth::Tls(_) => {}
        ClientAuth::Secret(_)
        | ClientAuth::Basic(_)
        | ClientAuth::Post(_)
        | ClientAuth::AssertionFile(_)
        | ClientAuth::None => at.key("token_endpoint_auth_method").error(
            "the provider's `profile` requires a key or a certificate of the client",
            "set `client_key_file`, or `\"tls_client_auth\"`",
        ),
    }
}

fn check_key(key: &ClientKey, at: &Location<'_>) {
    if !key.fits(&SecurityProfile::ALGORITHMS) {
        at.error(
            "the provider's `profile` does not permit this type of key",
            "use RSA, P-256 or Ed25519",
        );
    }
}
