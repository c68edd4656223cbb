//! TLS configuration errors.

use std::path::PathBuf;

/// Why TLS cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or does not contain what is expected.
    #[error("`{}` cannot be used as {what}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The expected content.
        what: &'static str,
        /// The cause.
        reason: String,
    },
    /// The certificate and the key do not belong together.
    #[error("the certificate and the key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}
