//! TLS to the upstream: `upstream_…` keys of `[apps.NAME]` for the trusted certificates, the server
//! name and the client certificate.

use std::sync::Arc;

use rustls_pki_types::ServerName;

use super::super::files::Folder;
use super::super::raw::RawApp;
use super::super::report::{Location, quoted};
use super::certificates::check_validity;
use super::server::check_private_key;
use crate::upstream::{ClientCertificate, UpstreamUrl};

/// The TLS settings of an upstream.
#[derive(Default)]
pub(super) struct UpstreamTls {
    pub(super) ca_certificates: Option<Vec<u8>>,
    pub(super) client_certificate: Option<Arc<ClientCertificate>>,
    pub(super) server_name: Option<ServerName<'static>>,
}

pub(super) fn check(
    raw: &mut RawApp,
    upstream: Option<&UpstreamUrl>,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<UpstreamTls> {
    let ca = raw.upstream_ca_file.take();
    let name = raw.upstream_server_name.take();
    let cert = raw.upstream_cert_file.take();
    let key = raw.upstream_key_file.take();
    if upstream.is_some_and(|url| !url.uses_tls()) {
        for (name, is_set) in [
            ("upstream_ca_file", ca.is_some()),
            ("upstream_server_name", name.is_some()),
            ("upstream_cert_file", cert.is_some()),
            ("upstream_key_file", key.is_some()),
        ] {
            if is_set {
                let hint = "remove the key, or use an upstream `https://…`";
                at.key(name).error("the upstream does not use TLS", hint);
            }
        }
    }
    let ca = ca.map(|name| {
        folder
            .certificates(&at.key("upstream_ca_file"), &name)
            .map(|found| found.pem)
    });
    let name = name.map(|name| server_name(name, &at.key("upstream_server_name")));
    let certificate = match (cert, key) {
        (None, None) => None,
        (cert, key) => Some(client_certificate(cert, key, at, folder)),
    };
    Some(UpstreamTls {
        ca_certificates: all_or_none(ca)?,
        client_certificate: all_or_none(certificate)?,
        server_name: all_or_none(name)?,
    })
}

/// `None` if the value is set but invalid.
fn all_or_none<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    value.map_or(Some(None), |valid| valid.map(Some))
}

fn server_name(name: String, at: &Location<'_>) -> Option<ServerName<'static>> {
    let text = quoted(&name);
    let parsed = ServerName::try_from(name).ok();
    if parsed.is_none() {
        at.error(
            format!("{text} is not a valid name for a certificate"),
            "use a host name such as `store.internal`",
        );
    }
    parsed
}

/// A certificate with its matching key.
fn client_certificate(
    cert: Option<String>,
    key: Option<String>,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<Arc<ClientCertificate>> {
    let cert = at.required(
        "upstream_cert_file",
        cert,
        "the certificate for `upstream_key_file`, in PEM",
    );
    let key = at.required(
        "upstream_key_file",
        key,
        "the private key of `upstream_cert_file`, in PEM",
    );
    let chain = cert
        .as_deref()
        .and_then(|name| folder.certificates(&at.key("upstream_cert_file"), name));
    let private_key = key
        .as_deref()
        .and_then(|name| check_private_key(&at.key("upstream_key_file"), name, folder));
    chain?;
    private_key?;
    let cert = folder.file_path(&at.key("upstream_cert_file"), &cert?)?;
    let key = folder.file_path(&at.key("upstream_key_file"), &key?)?;
    match ClientCertificate::read(cert, key) {
        Ok(certificate) => {
            if let Some(validity) = certificate.validity() {
                check_validity(validity, &at.key("upstream_cert_file"));
            }
            Some(certificate)
        }
        Err(error) => {
            let hint = "use the key that the certificate was issued for";
            at.key("upstream_key_file").error(error.to_string(), hint);
            None
        }
    }
}
