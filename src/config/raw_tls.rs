//! The schema of TLS settings of listeners.

use serde::Deserialize;

use super::values::List;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawTls {
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) client_ca_file: Option<String>,
    pub(super) certificates: Option<List<RawCertificate>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawCertificate {
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
}
