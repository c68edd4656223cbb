//! What `[providers.NAME]` says of a FusionAuth, and of nobody else.

use http::{HeaderName, header};

use super::super::files::Folder;
use super::super::raw::{RawApp, RawProvider, RawWebhooks};
use super::super::report::{Location, quoted};
use super::super::settings::AppConfig;
use super::super::values::{self, ProviderKind};
use crate::oidc::fusionauth::sender::{SenderProofs, SignatureKey};
use crate::oidc::fusionauth::{FusionAuth, RefreshBy};
use crate::oidc::{Dialect, ProviderSettings};
use crate::types::secret::Secret;

/// Shortest secret for signatures that goes without advice, in bytes: as long as the shortest hash (RFC 7518 section 3.2).
const GOOD_SECRET: usize = 32;

/// Takes the dialect's keys out of `raw`; `None` if one of them cannot be used.
pub(super) fn dialect(
    raw: &mut RawProvider,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<Dialect> {
    match raw.kind.unwrap_or(ProviderKind::Oidc) {
        ProviderKind::Oidc => {
            strangers(raw, at);
            Some(Dialect::Standard)
        }
        ProviderKind::FusionAuth => {
            fusionauth(raw, at, folder).map(|own| Dialect::FusionAuth(Box::new(own)))
        }
    }
}

/// An app has the endpoint for webhooks if its provider sends any.
pub(super) fn offer_webhooks(app: &mut AppConfig, providers: &[ProviderSettings]) {
    let provider = providers
        .iter()
        .find(|provider| provider.name == app.provider);
    let own = provider.and_then(|provider| provider.dialect.fusionauth());
    app.policy.offers.fusionauth_webhooks = own.is_some_and(|own| own.webhooks.is_some());
}

/// What an app at a FusionAuth needs: tells what the app's and the provider's table cannot see alone.
pub(super) fn check_app(provider: &RawProvider, app: &RawApp, at: &Location<'_>) {
    let is_fusionauth = provider.kind == Some(ProviderKind::FusionAuth);
    if !is_fusionauth || app.session_jwt == Some(values::SessionTokenSource::Access) {
        return;
    }
    const HINT: &str =
        "write `session_jwt = \"access\"`: FusionAuth's access tokens are JWTs for the app";
    let at = at.key("session_jwt");
    if provider.refresh_by == Some(values::RefreshBy::JwtRefresh) {
        at.error(
            "`refresh_by = \"jwt-refresh\"` brings no ID token, which this app's sessions rest on",
            HINT,
        );
    } else if provider.require_registration.unwrap_or(true) {
        let hint = format!("{HINT}; or `require_registration = false` for the provider");
        at.error("an ID token does not say whether the person is registered for this app, nor with which roles", hint);
    }
}

fn strangers(raw: &RawProvider, at: &Location<'_>) {
    let given = [
        ("tenant_id", raw.tenant_id.is_some()),
        ("refresh_by", raw.refresh_by.is_some()),
        ("api_key_file", raw.api_key_file.is_some()),
        ("require_registration", raw.require_registration.is_some()),
        ("webhooks", raw.webhooks.is_some()),
    ];
    for (key, _) in given.into_iter().filter(|(_, given)| *given) {
        let hint = "write `kind = \"fusionauth\"`, or take the key away";
        at.key(key)
            .refuse_key(format!("{} is for FusionAuth only", quoted(key)), hint);
    }
}

fn fusionauth(raw: &mut RawProvider, at: &Location<'_>, folder: &Folder) -> Option<FusionAuth> {
    let tenant_id = raw.tenant_id.take();
    if let Some(tenant) = tenant_id.as_deref().filter(|tenant| !is_uuid(tenant)) {
        let hint =
            "such as `30663132-6464-6665-3032-326466613934`; FusionAuth shows it under Tenants";
        at.key("tenant_id")
            .error(format!("{} is not a tenant's id", quoted(tenant)), hint);
    }
    let api_key = raw
        .api_key_file
        .take()
        .map(|name| visible(&at.key("api_key_file"), &name, folder));
    let webhooks = raw
        .webhooks
        .take()
        .map(|raw| proofs(raw, &at.key("webhooks"), folder));
    Some(FusionAuth {
        tenant_id,
        refresh_by: match raw.refresh_by.unwrap_or(values::RefreshBy::Token) {
            values::RefreshBy::Token => RefreshBy::Token,
            values::RefreshBy::JwtRefresh => RefreshBy::JwtRefresh,
        },
        api_key: api_key.map_or(Some(None), |key| key.map(Some))?,
        require_registration: raw.require_registration.unwrap_or(true),
        webhooks: webhooks.map_or(Some(None), |proofs| proofs.map(Some))?,
    })
}

fn proofs(raw: RawWebhooks, at: &Location<'_>, folder: &Folder) -> Option<SenderProofs> {
    let nothing = raw.signature.is_none() && raw.username.is_none() && raw.header.is_none();
    if nothing && !at.has_gaps() {
        let hint = "write `signature = \"jwks\"`, and let FusionAuth sign the webhook's events";
        at.error("anybody could send such webhooks", hint);
    }
    let signature = signature(raw.signature, raw.signature_secret_file, at, folder);
    let basic = basic(raw.username, raw.password_file, at, folder);
    let header = secret_header(raw.header, raw.header_secret_file, at, folder);
    if let (Some(Some((name, _))), Some(Some(_))) = (&header, &basic)
        && name == header::AUTHORIZATION
    {
        let hint = "keep one of the two, or let FusionAuth send another header";
        at.key("header")
            .error("the user name and password go into this header too", hint);
    }
    Some(SenderProofs {
        signature: signature?,
        basic: basic?,
        header: header?,
    })
}

/// `None`: cannot be used; `Some(None)`: not wanted.
fn signature(
    wanted: Option<values::WebhookSignature>,
    secret_file: Option<String>,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<Option<SignatureKey>> {
    let secret_at = at.key("signature_secret_file");
    match (wanted, secret_file) {
        (None, None) => Some(None),
        (Some(values::WebhookSignature::Jwks), None) => Some(Some(SignatureKey::KeySet)),
        (Some(values::WebhookSignature::Hmac), Some(name)) => {
            let secret = folder.secret(&secret_at, &name)?;
            if secret.len() < GOOD_SECRET {
                secret_at.advise(
                    "so short a secret can be guessed from one webhook",
                    "take 32 random bytes or more",
                );
            }
            Some(Some(SignatureKey::Shared(Secret::new(
                secret.as_bytes().to_vec(),
            ))))
        }
        (Some(values::WebhookSignature::Hmac), None) => {
            at.refuse_missing(
                "signature_secret_file",
                "the file of the secret that FusionAuth signs with",
            );
            None
        }
        (Some(values::WebhookSignature::Jwks) | None, Some(_)) => {
            secret_at.error(
                "a secret is for signatures by HMAC",
                "write `signature = \"hmac\"`, or take it away",
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
            at.refuse_missing(
                "password_file",
                "the file of the password that goes with `username`",
            );
            return None;
        }
        (None, Some(_)) => {
            at.refuse_missing("username", "the user name that goes with `password_file`");
            return None;
        }
    };
    if username.is_empty() || username.contains(':') || username.contains(char::is_control) {
        let hint = "as in FusionAuth's webhook settings; a `:` cannot be in it (RFC 7617)";
        at.key("username")
            .error(format!("{} cannot be a user name", quoted(&username)), hint);
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
            at.refuse_missing(
                "header_secret_file",
                "the file of the value that the header must have",
            );
            return None;
        }
        (None, Some(_)) => {
            at.refuse_missing("header", "the name of the header that must have this value");
            return None;
        }
    };
    let name = HeaderName::from_bytes(name.as_bytes());
    if name.is_err() {
        at.key("header")
            .error("this cannot be a header's name", "such as `X-Webhook-Key`");
    }
    let secret = visible(&at.key("header_secret_file"), &file, folder);
    Some(Some((name.ok()?, secret?)))
}

/// A secret that goes into a header.
fn visible(at: &Location<'_>, name: &str, folder: &Folder) -> Option<Secret<String>> {
    let secret = folder.secret(at, name)?;
    if !secret
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        at.error(
            format!("the file {} holds what a header cannot", quoted(name)),
            "visible ASCII",
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
