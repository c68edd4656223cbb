//! Examination of an app's registration at its provider: client, secret, redirect URI, scopes and
//! audience. Nobody logs in.

mod binding;

use std::sync::Arc;

use super::finding::{Explained, Finding, Findings, Subject};
use super::provider::listed;
use crate::config::{AppConfig, BearerConfig, Registration};
use crate::oidc::discovery::Metadata;
use crate::oidc::error::ProviderError;
use crate::oidc::provider::{AuthorizationProbe, Rejected};
use crate::oidc::token::{TokenError, TokenResponse};
use crate::oidc::{Announced, ClientAuth, ClientSettings, Provider, SessionTokenSource};
use crate::policy::app::App;
use crate::policy::login_providers::LoginSite;
use crate::types::oauth::ProviderName;

/// Errors that end an authorization request without a user, after client and redirect URI were
/// accepted (OpenID Connect Core section 3.1.2.6).
const USER_NEEDED: [&str; 4] = [
    "login_required",
    "interaction_required",
    "consent_required",
    "account_selection_required",
];

/// An app with its registration at one provider.
pub(super) struct RegisteredApp {
    policy: App,
    client: ClientSettings,
    bearer: Option<BearerConfig>,
    provider: ProviderName,
}

impl RegisteredApp {
    /// `app` with one of its registrations.
    pub(super) fn new(app: &AppConfig, registration: &Registration) -> Self {
        Self {
            policy: app.policy.clone(),
            client: registration.client.clone(),
            bearer: registration.bearer.clone(),
            provider: registration.provider.clone(),
        }
    }

    /// Completes the key of a finding, if each of several providers has a table of its own.
    fn name_registration(&self, key: &mut String) {
        const SHARED: [&str; 2] = ["public_url", "bearer"];
        let app = format!("apps.{}.", self.policy.name);
        let rest = key.strip_prefix(&app).unwrap_or_default();
        let is_shared = SHARED.iter().any(|shared| rest.starts_with(shared));
        if self.policy.providers.are_several() && !rest.is_empty() && !is_shared {
            *key = format!("{app}registrations.{}.{rest}", self.provider);
        }
    }

    /// Whether the redirect URI is at the app's own host.
    fn has_own_callback(&self) -> bool {
        let mut providers = self.policy.providers.iter();
        providers.any(|one| one.name == self.provider && one.site == LoginSite::Own)
    }
}

/// The token endpoint's verdict on the client.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ClientVerdict {
    Accepted,
    /// With the provider's error.
    Rejected(String),
    /// The endpoint is unavailable.
    Failing(String),
    /// Any other response.
    Unclear(String),
}

/// Sends an authorization request and a token request that cannot succeed, and judges the responses.
pub(super) async fn examine(app: RegisteredApp, provider: Arc<Provider>) -> Vec<Finding> {
    let mut findings = Findings::about(Subject::App(app.policy.name.to_string()));
    let Some(metadata) = provider.known_metadata() else {
        return Vec::new();
    };
    let verdict = ClientVerdict::of(provider.probe_code_exchange(&app.client).await);
    if app.policy.hosts.wildcard().is_some() && app.has_own_callback() {
        let message = "whether the provider accepts the redirect URI of each host was not checked";
        let hint = "register every host, or use a login host";
        let code = "redirect_uri_unclear";
        findings.advice(code, "public_url", Explained::new(message, hint));
    } else {
        let authorization = provider.probe_authorization(&app.client).await;
        judge_authorization(&app, &authorization, &verdict, &mut findings);
    }
    judge_secret(&app, &verdict, &metadata.announced, &mut findings);
    judge_scopes(&app, &metadata.announced, &mut findings);
    judge_grants(&app, &metadata.announced, &mut findings);
    judge_audience(&app, &mut findings);
    binding::judge(
        &app.client,
        provider.settings(),
        &metadata.announced,
        &mut findings,
    );
    if needs_introspection(&app, &provider, &metadata) {
        let message = "the provider has no introspection endpoint";
        let hint = "set `introspection_endpoint` of the provider, or accept JWTs only";
        let code = "introspection_not_supported";
        findings.error(code, "bearer.opaque_tokens", Explained::new(message, hint));
    }
    let mut findings = findings.into_list();
    for finding in &mut findings {
        app.name_registration(&mut finding.key);
    }
    findings
}

impl ClientVerdict {
    fn of(response: Result<TokenResponse, TokenError>) -> Self {
        match response {
            Err(TokenError::GrantRejected { .. }) => Self::Accepted,
            Err(error) => {
                let text = error.to_string();
                match error {
                    TokenError::ClientRejected { error, .. } if is_about_client(&error) => {
                        Self::Rejected(text)
                    }
                    TokenError::Unavailable { .. }
                    | TokenError::Unreachable(_)
                    | TokenError::OutcomeUnknown(_) => Self::Failing(text),
                    TokenError::GrantRejected { .. }
                    | TokenError::ClientRejected { .. }
                    | TokenError::BadResponse(_) => Self::Unclear(text),
                }
            }
            Ok(_) => Self::Unclear("it issued tokens for a code that does not exist".to_owned()),
        }
    }
}

/// Keycloak answers `unauthorized_client` to a wrong secret.
fn is_about_client(error: &str) -> bool {
    matches!(error, "invalid_client" | "unauthorized_client" | "http_401")
}

fn judge_authorization(
    app: &RegisteredApp,
    authorization: &Result<AuthorizationProbe, ProviderError>,
    verdict: &ClientVerdict,
    findings: &mut Findings,
) {
    match authorization {
        Err(error) => {
            let message = error.to_string();
            findings.error(error.code(), "provider", Explained::new(message, ""));
        }
        Ok(AuthorizationProbe::Returned { error, description }) => {
            let described = description.as_deref().map(|text| format!(" ({text})"));
            if let Some(error) = error {
                judge_error(error, &described.unwrap_or_default(), findings);
            }
        }
        Ok(AuthorizationProbe::Invalid(error)) if error.is_outage() => {
            let explained = Explained::new(error.to_string(), "run the check again");
            findings.warning("authorization_failing", "provider", explained);
        }
        Ok(AuthorizationProbe::Invalid(error)) => {
            let hint = "no login can succeed: correct the provider, or the issuer";
            let code = "authorization_response_invalid";
            findings.error(code, "provider", Explained::new(error.to_string(), hint));
        }
        Ok(AuthorizationProbe::Redirected(url)) if !is_error_page(url) => {
            unclear(app, &format!("it leads to {url}"), findings);
        }
        Ok(AuthorizationProbe::Redirected(url)) => {
            rejected(app, &format!("it leads to {url}"), None, verdict, findings);
        }
        Ok(AuthorizationProbe::Page {
            status,
            rejected: named,
        }) => {
            let shown = format!("it shows a page with status {status}");
            match (status, named) {
                (500.. | 408 | 425 | 429, _) => {
                    let message = format!("the authorization endpoint fails: {shown}");
                    let hint = "run the check again";
                    let code = "authorization_failing";
                    findings.warning(code, "provider", Explained::new(message, hint));
                }
                (400.., _) | (_, Some(_)) => rejected(app, &shown, *named, verdict, findings),
                (_, None) => unclear(app, &shown, findings),
            }
        }
    }
}

/// An authorization response with an error shows that client and redirect URI are accepted.
fn judge_error(error: &str, described: &str, findings: &mut Findings) {
    let rejects = |what| format!("the provider rejects {what}: `{error}`{described}");
    match error {
        _ if USER_NEEDED.contains(&error) => {}
        "invalid_scope" => {
            let hint = "request scopes that the client may have";
            let explained = Explained::new(rejects("the scopes"), hint);
            findings.error("scope_rejected", "scopes", explained);
        }
        "invalid_target" => {
            let hint = "register the resource at the provider, or correct the parameter";
            let explained = Explained::new(rejects("the requested resource"), hint);
            findings.error("audience_rejected", "extra_authorization_params", explained);
        }
        "temporarily_unavailable" | "server_error" => {
            let explained = Explained::new(rejects("the request for now"), "run the check again");
            findings.warning("authorization_failing", "provider", explained);
        }
        _ => {
            let hint = "allow the client the authorization code flow with PKCE (S256)";
            let explained = Explained::new(rejects("the authorization request"), hint);
            findings.error("authorization_rejected", "client_id", explained);
        }
    }
}

/// The provider does not lead back to the app. With the verdict of the token endpoint it is known
/// whether it rejects the client or the redirect URI.
fn rejected(
    app: &RegisteredApp,
    shown: &str,
    named: Option<Rejected>,
    verdict: &ClientVerdict,
    findings: &mut Findings,
) {
    let client_id = &app.client.client_id;
    let redirect_uri = &app.client.redirect_uri;
    match (named, verdict) {
        (Some(Rejected::RedirectUri), _) | (None, ClientVerdict::Accepted) => {
            let message =
                format!("the provider rejects the redirect URI `{redirect_uri}`: {shown}");
            let hint = "register it at the provider for this client, letter by letter";
            findings.error(
                "redirect_uri_rejected",
                "public_url",
                Explained::new(message, hint),
            );
        }
        (Some(Rejected::Client), _) | (None, ClientVerdict::Rejected(_)) => {
            let message = format!("the provider does not know the client `{client_id}`: {shown}");
            let hint = "compare `client_id` with the registration, and its tenant or realm with the issuer";
            findings.error("client_unknown", "client_id", Explained::new(message, hint));
        }
        (None, ClientVerdict::Failing(_) | ClientVerdict::Unclear(_)) => {
            let message = format!(
                "the provider rejects the client `{client_id}` or the redirect URI \
                 `{redirect_uri}`: {shown}"
            );
            let hint = "compare both with the registration";
            findings.error(
                "registration_rejected",
                "client_id",
                Explained::new(message, hint),
            );
        }
    }
}

fn unclear(app: &RegisteredApp, shown: &str, findings: &mut Findings) {
    let message = format!(
        "whether the provider accepts the redirect URI `{}` could not be checked, because it ignores \
         `prompt=none`: {shown}",
        app.client.redirect_uri
    );
    let hint = "log in once to see";
    findings.advice(
        "redirect_uri_unclear",
        "public_url",
        Explained::new(message, hint),
    );
}

/// Whether a URL of the provider is an error page, by its path.
fn is_error_page(url: &str) -> bool {
    url.split('/').any(|segment| segment.starts_with("error"))
}

fn judge_secret(
    app: &RegisteredApp,
    verdict: &ClientVerdict,
    announced: &Announced,
    findings: &mut Findings,
) {
    let auth = &app.client.token_auth;
    let method = auth.method(announced.client_auth_methods.as_deref());
    let key = match auth {
        ClientAuth::Secret(_) | ClientAuth::Basic(_) | ClientAuth::Post(_) => "client_secret_file",
        ClientAuth::SignedAssertion(_) => "client_key_file",
        ClientAuth::AssertionFile(_) => "client_assertion_file",
        ClientAuth::Tls(_) => "client_cert_file",
        ClientAuth::None => "client_id",
    };
    let is_announced = announced
        .client_auth_methods
        .as_ref()
        .is_none_or(|methods| methods.iter().any(|announced| announced == method));
    if *verdict != ClientVerdict::Accepted && !is_announced {
        let methods = listed(announced.client_auth_methods.as_deref().unwrap_or_default());
        let message = format!("the provider announces {methods} for the client, not `{method}`");
        let hint = "set `token_endpoint_auth_method`";
        let code = "client_auth_not_announced";
        let key = "token_endpoint_auth_method";
        findings.warning(code, key, Explained::new(message, hint));
    }
    match verdict {
        ClientVerdict::Accepted => {}
        ClientVerdict::Rejected(error) => {
            let hint = "compare client, secret or key, and `token_endpoint_auth_method` with the registration";
            let message = format!("the token endpoint rejects the client with `{method}`: {error}");
            findings.error("client_secret_rejected", key, Explained::new(message, hint));
        }
        ClientVerdict::Failing(error) => {
            let message = format!("the token endpoint fails: {error}");
            let hint = "run the check again";
            findings.warning(
                "token_endpoint_failing",
                "provider",
                Explained::new(message, hint),
            );
        }
        ClientVerdict::Unclear(error) => {
            let message = format!(
                "whether the token endpoint accepts the client could not be checked: {error}"
            );
            let hint = "log in once to see";
            findings.advice("client_secret_unclear", key, Explained::new(message, hint));
        }
    }
}

fn judge_scopes(app: &RegisteredApp, announced: &Announced, findings: &mut Findings) {
    let Some(scopes) = &announced.scopes else {
        return;
    };
    let requested = &app.client.scopes;
    // Scopes of resources are rarely announced: `api://orders/.default`, `orders:read`.
    let is_general = |scope: &&String| !scope.contains(['/', ':']);
    let unknown: Vec<&String> = requested
        .iter()
        .filter(is_general)
        .filter(|scope| !scopes.contains(scope))
        .collect();
    if !unknown.is_empty() {
        let message = format!("the provider does not announce {}", listed(&unknown));
        let hint = format!("it announces {}", listed(scopes));
        findings.warning(
            "scope_not_announced",
            "scopes",
            Explained::new(message, hint),
        );
    }
    let offline = |scopes: &[String]| scopes.iter().any(|scope| scope == "offline_access");
    if offline(scopes) && !offline(requested) {
        let message = "the provider announces `offline_access`, which is not requested";
        let hint = "without a refresh token a session ends with its JWT; some providers issue one \
                    without this scope";
        let code = "offline_access_not_requested";
        findings.advice(code, "scopes", Explained::new(message, hint));
    }
}

fn judge_grants(app: &RegisteredApp, announced: &Announced, findings: &mut Findings) {
    let Some(grants) = &announced.grant_types else {
        return;
    };
    let is_announced = |grant: &str| grants.iter().any(|announced| announced == grant);
    if !is_announced("refresh_token") {
        let message = "the provider does not announce refresh tokens";
        let hint = "without a refresh token a session ends with its JWT";
        findings.warning(
            "refresh_not_announced",
            "provider",
            Explained::new(message, hint),
        );
    }
    let (native, basic) = (&app.policy.native, &app.policy.basic);
    if (native.is_some() || basic.is_some()) && !is_announced("password") {
        let message =
            "the provider does not announce the password grant, which password logins need";
        let hint = "allow it at the provider";
        findings.warning(
            "password_not_announced",
            if native.is_some() { "native" } else { "basic" },
            Explained::new(message, hint),
        );
    }
}

/// A requested audience that the app does not accept: its tokens would be rejected.
fn judge_audience(app: &RegisteredApp, findings: &mut Findings) {
    if app.client.session_jwt != SessionTokenSource::Access {
        return;
    }
    let parameters = app.client.extra_authorization_params.iter();
    let requested = parameters.filter(|(name, _)| matches!(name.as_str(), "resource" | "audience"));
    for (name, value) in requested.filter(|(_, value)| !app.client.audiences.contains(value)) {
        let message = format!(
            "tokens are requested for the {name} `{value}`, and {} is accepted",
            listed(&app.client.audiences)
        );
        let hint = "add it to `audiences`";
        findings.warning(
            "audience_mismatch",
            "audiences",
            Explained::new(message, hint),
        );
    }
}

fn needs_introspection(app: &RegisteredApp, provider: &Provider, metadata: &Metadata) -> bool {
    let bearer = app.bearer.as_ref();
    let introspects = bearer.is_some_and(|bearer| {
        bearer.introspection.is_some() && bearer.providers.contains(&provider.settings().name)
    });
    introspects
        && metadata.introspection_endpoint.is_none()
        && provider.settings().dialect.fusionauth().is_none()
}

#[cfg(test)]
mod tests;
