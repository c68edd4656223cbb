//! The FusionAuth keys of `[providers.NAME]`.

use http::{HeaderName, header};

use super::super::files::Folder;
use super::super::keywords::{ProviderKind, WebhookSignature};
use super::super::raw::{RawProvider, RawWebhooks};
use super::super::report::{Location, quoted};
use super::super::settings::AppConfig;
use crate::oidc::fusionauth::sender::{SenderProofs, SignatureKey};
use crate::oidc::fusionauth::{FusionAuth, RefreshBy};
use crate::oidc::{Dialect, ProviderSettings, SessionTokenSource};
use crate::types::oauth::ProviderName;
use crate::types::secret::Secret;

/// The shortest HMAC secret without a warning, in bytes: the size of the shortest hash (RFC 7518
/// section 3.2).
const MIN_HMAC_SECRET: usize = 32;

/// Takes the dialect's keys out of `raw`. `None` if one of them is invalid.
pub(super) fn dialect(
    raw: &mut RawProvider,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<Dialect> {
    match raw.kind.unwrap_or(ProviderKind::Oidc) {
        ProviderKind::Oidc => {
            reject_fusionauth_keys(raw, at);
            Some(Dialect::Standard)
        }
        ProviderKind::FusionAuth => {
            fusionauth(raw, at, folder).map(|settings| Dialect::FusionAuth(Box::new(settings)))
        }
    }
}

/// Enables the webhook endpoint of an app if its provider has webhooks.
pub(super) fn offer_webhooks(app: &mut AppConfig, providers: &[ProviderSettings]) {
    let has_webhooks = |name: &ProviderName| {
        let mut named = providers.iter().filter(|provider| provider.name == *name);
        named.any(|provider| {
            let fusionauth = provider.dialect.fusionauth();
            fusionauth.is_some_and(|fusionauth| fusionauth.webhooks.is_some())
        })
    };
    let logins = &app.policy.providers;
    let mut indices = logins.indices();
    app.policy.optional_endpoints.fusionauth_webhooks =
        indices.find(|index| has_webhooks(&logins.get(*index).name));
}

/// Checks a registration of an app, with its `session_jwt`, together with its FusionAuth provider.
pub(super) fn check_app(
    provider: &RawProvider,
    session_jwt: Option<SessionTokenSource>,
    at: &Location<'_>,
) {
    let is_fusionauth = provider.kind == Some(ProviderKind::FusionAuth);
    if !is_fusionauth || session_jwt == Some(SessionTokenSource::Access) {
        return;
    }
    const HINT: &str =
        "set `session_jwt = \"access\"`: FusionAuth's access tokens are JWTs for the app";
    let at = at.key("session_jwt");
    if provider.refresh_by == Some(RefreshBy::JwtRefresh) {
        at.error(
            "`refresh_by = \"jwt-refresh\"` returns no ID token, which this app's sessions need",
            HINT,
        );
    } else if provider.require_registration.unwrap_or(true) {
        let hint = format!("{HINT}; or set `require_registration = false` for the provider");
        at.error(
            "an ID token has neither the user's registration for this app nor the roles",
            hint,
        );
    }
}

fn reject_fusionauth_keys(raw: &RawProvider, at: &Location<'_>) {
    let keys = [
        ("tenant_id", raw.tenant_id.is_some()),
        ("refresh_by", raw.refresh_by.is_some()),
        ("api_key_file", raw.api_key_file.is_some()),
        ("require_registration", raw.require_registration.is_some()),
        ("webhooks", raw.webhooks.is_some()),
    ];
    for (key, _) in keys.into_iter().filter(|(_, is_set)| *is_set) {
        let hint = "set `kind = \"fusionauth\"`, or remove the key";
        at.key(key)
            .key_error(format!("{} is for FusionAuth only", quoted(key)), hint);
    }
}

fn fusionauth(raw: &mut RawProvider, at: &Location<'_>, folder: &Folder) -> Option<FusionAuth> {
    let tenant_id = raw.tenant_id.take();
    if let Some(tenant) = tenant_id.as_deref().filter(|tenant| !is_uuid(tenant)) {
        let hint = "a UUID such as `30663132-6464-6665-3032-326466613934`, shown by FusionAuth under Tenants";
        at.key("tenant_id")
            .error(format!("{} is not a tenant ID", quoted(tenant)), hint);
    }
    let api_key = raw
        .api_key_file
        .take()
        .map(|name| header_secret(&at.key("api_key_file"), &name, folder));
    let webhooks = raw
        .webhooks
        .take()
        .map(|raw| sender_proofs(raw, &at.key("webhooks"), folder));
    Some(FusionAuth {
        tenant_id,
        refresh_by: raw.refresh_by.unwrap_or_default(),
        api_key: api_key.map_or(Some(None), |key| key.map(Some))?,
        require_registration: raw.require_registration.unwrap_or(true),
        webhooks: webhooks.map_or(Some(None), |proofs| proofs.map(Some))?,
    })
}

fn sender_proofs(raw: RawWebhooks, at: &Location<'_>, folder: &Folder) -> Option<SenderProofs> {
    let has_none = raw.signature.is_none() && raw.username.is_none() && raw.header.is_none();
    if has_none && !at.has_invalid() {
        let hint = "set `signature = \"jwks\"`, and let FusionAuth sign the events";
        at.error("the webhooks are not authenticated", hint);
    }
    let signature = signature(raw.signature, raw.signature_secret_file, at, folder);
    let basic = basic(raw.username, raw.password_file, at, folder);
    let header = secret_header(raw.header, raw.header_secret_file, at, folder);
    if let (Some(Some((name, _))), Some(Some(_))) = (&header, &basic)
        && name == header::AUTHORIZATION
    {
        let hint = "keep one of the two, or use another header";
        at.key("header")
            .error("`username` and `password_file` use this header too", hint);
    }
    Some(SenderProofs {
        signature: signature?,
        basic: basic?,
        header: header?,
    })
}

/// `None` if invalid, `Some(None)` if not set.
fn signature(
    kind: Option<WebhookSignature>,
    secret_file: Option<String>,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<Option<SignatureKey>> {
    let secret_at = at.key("signature_secret_file");
    match (kind, secret_file) {
        (None, None) => Some(None),
        (Some(WebhookSignature::Jwks), None) => Some(Some(SignatureKey::KeySet)),
        (Some(WebhookSignature::Hmac), Some(name)) => {
            let secret = folder.secret(&secret_at, &name)?;
            if secret.len() < MIN_HMAC_SECRET {
                secret_at.warning(
                    "the secret is short enough to be guessed",
                    "use at least 32 random bytes",
                );
            }
            Some(Some(SignatureKey::Shared(Secret::new(
                secret.as_bytes().to_vec(),
            ))))
        }
        (Some(WebhookSignature::Hmac), None) => {
            at.missing("signature_secret_file", "the file with the HMAC secret");
            None
        }
        (Some(WebhookSignature::Jwks) | None, Some(_)) => {
            secret_at.error(
                "the secret is not used without HMAC signatures",
                "set `signature = \"hmac\"`, or remove this key",
            );
            None
        }
    }
}

fn basic(
    username: Option<String>,
    password_file: Option<String>,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<Option<Secret<String>>> {
    let (username, file) = match (username, password_file) {
        (None, None) => return Some(None),
        (Some(username), Some(file)) => (username, file),
        (Some(_), None) => {
            at.missing("password_file", "the file with the password for `username`");
            return None;
        }
        (None, Some(_)) => {
            at.missing("username", "the user name for `password_file`");
            return None;
        }
    };
    if username.is_empty() || username.contains(':') || username.contains(char::is_control) {
        let hint = "as in FusionAuth's webhook settings, without `:` (RFC 7617)";
        at.key("username")
            .error(format!("invalid user name {}", quoted(&username)), hint);
        return None;
    }
    let password = folder.secret(&at.key("password_file"), &file)?;
    Some(Some(Secret::new(format!(
        "{username}:{}",
        password.as_str()
    ))))
}

fn secret_header(
    name: Option<String>,
    secret_file: Option<String>,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<Option<(HeaderName, Secret<String>)>> {
    let (name, file) = match (name, secret_file) {
        (None, None) => return Some(None),
        (Some(name), Some(file)) => (name, file),
        (Some(_), None) => {
            at.missing(
                "header_secret_file",
                "the file with the value of the header",
            );
            return None;
        }
        (None, Some(_)) => {
            at.missing("header", "the name of the header with this value");
            return None;
        }
    };
    let name = HeaderName::from_bytes(name.as_bytes());
    if name.is_err() {
        at.key("header")
            .error("invalid header name", "for example `X-Webhook-Key`");
    }
    let secret = header_secret(&at.key("header_secret_file"), &file, folder);
    Some(Some((name.ok()?, secret?)))
}

/// A secret that is sent in a header.
fn header_secret(at: &Location<'_>, name: &str, folder: &Folder) -> Option<Secret<String>> {
    let secret = folder.secret(at, name)?;
    if !secret
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        at.error(
            format!("the file {} is not valid in a header", quoted(name)),
            "use visible ASCII characters",
        );
        return None;
    }
    Some(Secret::new(secret.as_str().to_owned()))
}

fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(part, length)| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
}
