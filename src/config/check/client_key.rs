//! Private keys of an OAuth client that sign JWTs.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::super::files::Folder;
use super::super::raw::RawRegistration;
use super::super::report::{Location, quoted};
use crate::oidc::ClientKey;

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
