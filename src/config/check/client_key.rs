//! Private keys of an OAuth client that sign JWTs.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::super::files::Folder;
use super::super::raw::RawRegistration;
use super::super::report::{Location, quoted};
use super::elements;
use crate::oidc::{ClientKey, ClientSettings, DpopKeys};

/// The most keys that the tokens of a client are bound to.
const MAX_DPOP_KEYS: usize = 8;

/// A key file whose text was read.
pub(super) struct KeyFile<'f> {
    pub(super) name: &'f str,
    pub(super) text: &'f str,
    /// The location of its setting.
    pub(super) at: Location<'f>,
}

impl KeyFile<'_> {
    /// Parses the key.
    pub(super) fn parse(
        &self,
        kid: Option<String>,
        certificate: Option<&CertificateDer<'_>>,
    ) -> Option<ClientKey> {
        match ClientKey::from_pem(self.text.as_bytes(), kid, certificate) {
            Ok(key) => Some(key),
            Err(error) => {
                let hint = "for example from `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`";
                self.at
                    .error(format!("the file {}: {error}", quoted(self.name)), hint);
                None
            }
        }
    }
}

/// Takes the key of request objects out of `raw`.
pub(super) fn of_request_objects(
    raw: &mut RawRegistration,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<Arc<ClientKey>> {
    let kid = raw.request_object_key_id.take();
    let Some(name) = raw.request_object_key_file.take() else {
        if kid.is_some() {
            let hint = "set `request_object_key_file` too, or remove the key";
            at.key("request_object_key_id")
                .error("there is no key with this ID", hint);
        }
        return None;
    };
    let at = at.key("request_object_key_file");
    let text = folder.private_text(&at, &name)?;
    let file = KeyFile {
        name: &name,
        text: &text,
        at,
    };
    file.parse(kid, None).map(Arc::new)
}

/// Takes the keys that the client's tokens are bound to out of `raw`: the first binds new sessions.
pub(super) fn of_tokens(
    raw: &mut RawRegistration,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<DpopKeys> {
    let names = raw.dpop_key_files.take()?;
    let at = at.key("dpop_key_files");
    if names.is_empty() || names.len() > MAX_DPOP_KEYS {
        let hint = "the first binds new sessions, the others are those of sessions before";
        at.error(format!("not 1 to {MAX_DPOP_KEYS} key files"), hint);
    }
    let mut keys: Vec<Arc<ClientKey>> = Vec::new();
    for (at, name) in elements(Some(names), &at) {
        let Some(text) = folder.private_text(&at, &name) else {
            continue;
        };
        let is_known = |found: &ClientKey| {
            let mut known = keys.iter();
            known.any(|known| known.thumbprint() == found.thumbprint())
        };
        let file = KeyFile {
            name: &name,
            text: &text,
            at,
        };
        match file.parse(None, None) {
            Some(key) if is_known(&key) => file.at.error(
                format!("{} holds the same key as a previous file", quoted(&name)),
                "list each key once",
            ),
            found => keys.extend(found.map(Arc::new)),
        }
    }
    let mut keys = keys.into_iter();
    Some(DpopKeys::new(keys.next()?, keys.collect()))
}

/// Reports that a token for another program is bound to a key of Doorward.
pub(super) fn check_unbound(clients: &[&ClientSettings], at: &Location<'_>) {
    if clients.iter().any(|client| client.dpop_keys.is_some()) {
        let hint = "remove this key, or `dpop_key_files` of the registration";
        at.error(
            "access tokens are bound to a key of Doorward, so no other program can use them",
            hint,
        );
    }
}
