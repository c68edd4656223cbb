//! Authentication of the OAuth client of an app: its secret, key, certificate or assertion.

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::super::files::{Certificates, Folder, is_example_secret, read_text};
use super::super::keywords::TokenEndpointAuthMethod as Method;
use super::super::raw::RawRegistration;
use super::super::report::{Location, quoted};
use super::client_key::KeyFile;
use crate::oidc::{
    AssertionAudience, AssertionFile, AssertionType, ClientAuth, ClientKey, SignedAssertion,
    TlsClient, TlsIdentity, is_jwt,
};
use crate::types::oauth::ClientSecret;
use crate::types::secret::Secret;

/// Takes the keys for client authentication out of `raw`.
pub(super) fn check(
    raw: &mut RawRegistration,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<ClientAuth> {
    let has_secret = raw.client_secret.is_some() || raw.client_secret_file.is_some();
    let by_keys = if raw.client_key_file.is_some() || raw.client_assertion_file.is_some() {
        Some(Method::PrivateKeyJwt)
    } else if has_secret {
        None
    } else {
        Some(Method::None)
    };
    let method = raw.token_endpoint_auth_method.or(by_keys);
    check_unused(raw, method, at);
    match method {
        None => secret(raw, at, folder).map(ClientAuth::Secret),
        Some(Method::Basic) => secret(raw, at, folder).map(ClientAuth::Basic),
        Some(Method::Post) => secret(raw, at, folder).map(ClientAuth::Post),
        Some(Method::PrivateKeyJwt) => assertion(raw, at, folder),
        Some(Method::TlsClientAuth) => certificate(raw, false, at, folder),
        Some(Method::SelfSignedTlsClientAuth) => certificate(raw, true, at, folder),
        Some(Method::None) => Some(ClientAuth::None),
    }
}

/// Reports keys that the method does not use.
fn check_unused(raw: &RawRegistration, method: Option<Method>, at: &Location<'_>) {
    let secrets = matches!(method, None | Some(Method::Basic | Method::Post));
    let assertions = matches!(method, Some(Method::PrivateKeyJwt));
    let is_tls = matches!(
        method,
        Some(Method::TlsClientAuth | Method::SelfSignedTlsClientAuth)
    );
    let keys = assertions || is_tls;
    let uses = [
        ("client_secret", raw.client_secret.is_some(), secrets),
        (
            "client_secret_file",
            raw.client_secret_file.is_some(),
            secrets,
        ),
        ("client_key_file", raw.client_key_file.is_some(), keys),
        ("client_key_id", raw.client_key_id.is_some(), assertions),
        ("client_cert_file", raw.client_cert_file.is_some(), keys),
        (
            "client_assertion_file",
            raw.client_assertion_file.is_some(),
            assertions,
        ),
        (
            "client_assertion_type",
            raw.client_assertion_type.is_some(),
            assertions,
        ),
        (
            "client_assertion_audience",
            raw.client_assertion_audience.is_some(),
            assertions,
        ),
    ];
    for (key, _, _) in uses
        .into_iter()
        .filter(|(_, is_set, is_used)| *is_set && !is_used)
    {
        let hint = "remove the key, or set `token_endpoint_auth_method` to the method that uses it";
        at.key(key).error(
            "the method of client authentication does not use this key",
            hint,
        );
    }
}

/// The key of `private_key_jwt`, or the file with an assertion.
fn assertion(raw: &mut RawRegistration, at: &Location<'_>, folder: &Folder) -> Option<ClientAuth> {
    let (key, file) = (raw.client_key_file.take(), raw.client_assertion_file.take());
    let file_at = at.key("client_assertion_file");
    match (key, file) {
        (Some(_), Some(_)) => {
            file_at.error("`client_key_file` is set too", "keep one of the two");
            None
        }
        (None, None) => {
            let hint = "set `client_key_file` or `client_assertion_file`";
            at.key("token_endpoint_auth_method")
                .error("this method needs a key or an assertion", hint);
            None
        }
        (None, Some(name)) => assertion_file(raw, &name, &file_at, folder),
        (Some(name), None) => {
            if raw.client_assertion_type.is_some() {
                let hint = "remove the key: Doorward signs a `jwt-bearer` assertion";
                at.key("client_assertion_type")
                    .error("only an assertion in a file has another type", hint);
            }
            let key = client_key(raw, &name, at, folder)?;
            let audience = raw.client_assertion_audience.take();
            Some(ClientAuth::SignedAssertion(SignedAssertion {
                key: Arc::new(key),
                audience: audience.unwrap_or(AssertionAudience::Issuer),
            }))
        }
    }
}

fn assertion_file(
    raw: &mut RawRegistration,
    name: &str,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<ClientAuth> {
    let path = folder.file_path(at, name)?;
    // It is read for each request, and its changes are no change of the configuration.
    match read_text(&path) {
        Ok((text, _)) if is_jwt(text.trim()) => {}
        Ok(_) => {
            let hint = "three parts of base64url, separated by dots";
            at.error(format!("the file {} holds no JWT", quoted(name)), hint);
            return None;
        }
        Err(error) => {
            let hint = format!("the path is `{}`", path.display());
            at.error(
                format!("the file {} cannot be read: {error}", quoted(name)),
                hint,
            );
            return None;
        }
    }
    let kind = raw.client_assertion_type.take();
    Some(ClientAuth::AssertionFile(AssertionFile {
        path,
        kind: kind.unwrap_or(AssertionType::JwtBearer),
    }))
}

fn client_key(
    raw: &mut RawRegistration,
    name: &str,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<ClientKey> {
    let key_at = at.key("client_key_file");
    let text = folder.private_text(&key_at, name)?;
    let chain = match raw.client_cert_file.take() {
        None => None,
        Some(cert) => {
            let chain = folder.certificates(&at.key("client_cert_file"), &cert)?;
            check_pair(&chain, text.as_bytes(), at)?;
            Some(chain)
        }
    };
    let certificate = chain.as_ref().and_then(|chain| chain.certificates.first());
    let file = KeyFile {
        name,
        text: &text,
        at: key_at,
    };
    file.parse(raw.client_key_id.take(), certificate)
}

/// The certificate of `tls_client_auth`.
fn certificate(
    raw: &mut RawRegistration,
    is_self_signed: bool,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<ClientAuth> {
    let hint = "this method needs a certificate and its key, in PEM";
    let cert = at.required("client_cert_file", raw.client_cert_file.take(), hint);
    let key = at.required("client_key_file", raw.client_key_file.take(), hint);
    let chain = folder.certificates(&at.key("client_cert_file"), &cert?)?;
    let key = folder.private_text(&at.key("client_key_file"), &key?)?;
    check_pair(&chain, key.as_bytes(), at)?;
    let mut pem = key.as_bytes().to_vec();
    pem.push(b'\n');
    pem.extend_from_slice(&chain.pem);
    Some(ClientAuth::Tls(TlsClient {
        identity: Arc::new(TlsIdentity {
            pem: Secret::new(pem),
        }),
        is_self_signed,
    }))
}

/// Checks that the certificate is for the key.
fn check_pair(chain: &Certificates, key: &[u8], at: &Location<'_>) -> Option<()> {
    let at = at.key("client_key_file");
    let Ok(key) = PrivateKeyDer::from_pem_slice(key) else {
        let hint = "a key in PEM without a password begins with `-----BEGIN PRIVATE KEY-----`";
        at.error("the file holds no valid private key", hint);
        return None;
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match CertifiedKey::from_der(chain.certificates.clone(), key, &provider) {
        Ok(_) => Some(()),
        Err(error) => {
            let hint = "use the key that the certificate was issued for";
            at.error(format!("key and certificate do not fit: {error}"), hint);
            None
        }
    }
}

fn secret(raw: &mut RawRegistration, at: &Location<'_>, folder: &Folder) -> Option<ClientSecret> {
    let (inline, file) = (raw.client_secret.take(), raw.client_secret_file.take());
    let inline_at = at.key("client_secret");
    if inline.is_none() && file.is_none() {
        let hint = "set `client_secret_file`, or `\"none\"` for a public client";
        at.key("token_endpoint_auth_method")
            .error("this method needs a client secret", hint);
    }
    if inline.is_some() && file.is_some() {
        inline_at.error(
            "`client_secret_file` is set too",
            "keep one of the two, preferably the file",
        );
    } else if inline
        .as_ref()
        .is_some_and(|secret| !is_example_secret(secret.expose()))
        && !inline_at.is_from_environment()
    {
        let hint = "put it into a separate file, and set `client_secret_file`";
        inline_at.warning("the secret is readable in the configuration file", hint);
    }
    if let Some(name) = file {
        let text = folder.secret(&at.key("client_secret_file"), &name)?;
        return Some(ClientSecret::new(text.as_str()));
    }
    inline.filter(|secret| {
        let is_valid = !secret.expose().trim().is_empty();
        if !is_valid {
            inline_at.error(
                "the client secret is empty",
                "remove the key for a public client",
            );
        }
        let is_example = is_example_secret(secret.expose());
        if is_example {
            inline_at.error(
                "the client secret is copied from an example",
                "set the secret that the provider gave you, preferably in `client_secret_file`",
            );
        }
        is_valid && !is_example
    })
}
