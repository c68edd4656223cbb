//! Files that the configuration names: secrets, keys, certificates. Paths are relative to the folder of the
//! configuration file, so that a configuration can be moved as a whole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::report::{Location, quoted};

/// Largest file that is read, in bytes.
const LARGEST: u64 = 1024 * 1024;
/// Largest secret, in bytes: what is larger is some other file.
const LARGEST_SECRET: usize = 4096;

/// The folder that relative paths start from.
pub(super) struct Folder(PathBuf);

/// Certificates as they stand in a file, and as they were read from it.
pub(super) struct Certificates {
    pub(super) pem: Vec<u8>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// Whether others than its owner's group should be able to read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Secret,
    Public,
}

impl Folder {
    /// The folder of `file`.
    pub(super) fn of(file: &Path) -> Self {
        Self(file.parent().map(Path::to_path_buf).unwrap_or_default())
    }

    /// The path that `name` stands for.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The secret in the file `name`, without one newline at its end.
    pub(super) fn secret(&self, at: &Location<'_>, name: &str) -> Option<Zeroizing<String>> {
        let mut text = self.read(at, name, Kept::Secret)?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if text.trim().is_empty() {
            at.error(
                format!("the file {} is empty", quoted(name)),
                "put the secret into it, and nothing else",
            );
            return None;
        }
        if text.len() > LARGEST_SECRET || text.contains(char::is_control) {
            at.error(
                format!("the file {} holds more than a secret", quoted(name)),
                "one line, at most 4096 bytes",
            );
            return None;
        }
        Some(text)
    }

    /// The text of the file `name`, which others should not be able to read.
    pub(super) fn private_text(&self, at: &Location<'_>, name: &str) -> Option<Zeroizing<String>> {
        self.read(at, name, Kept::Secret)
    }

    /// The PEM file `name`, and the certificates in it; never none.
    pub(super) fn certificates(&self, at: &Location<'_>, name: &str) -> Option<Certificates> {
        let text = self.read(at, name, Kept::Public)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        // Whatever a certificate is for, it must be one that TLS could work with.
        let usable = |certificate: &CertificateDer<'static>| {
            RootCertStore::empty().add(certificate.clone()).is_ok()
        };
        match read {
            Ok(certificates) if !certificates.is_empty() && certificates.iter().all(usable) => {
                Some(Certificates {
                    pem: text.as_bytes().to_vec(),
                    certificates,
                })
            }
            Ok(_) | Err(_) => {
                let hint = "certificates in PEM begin with `-----BEGIN CERTIFICATE-----`";
                at.error(
                    format!(
                        "the file {} holds no certificates that can be read",
                        quoted(name)
                    ),
                    hint,
                );
                None
            }
        }
    }

    fn read(&self, at: &Location<'_>, name: &str, kept: Kept) -> Option<Zeroizing<String>> {
        let path = self.path(name);
        match read_text(&path) {
            Ok((text, mode)) => {
                if kept == Kept::Secret && mode & 0o007 != 0 {
                    let hint = format!("take the right away: chmod o-rwx {}", path.display());
                    at.advise(
                        format!(
                            "every user of this machine can read the file {}",
                            quoted(name)
                        ),
                        hint,
                    );
                }
                Some(text)
            }
            Err(error) => {
                let hint = if name.is_empty() {
                    String::new()
                } else {
                    format!("looked at {}", path.display())
                };
                at.error(
                    format!(
                        "the file {} cannot be read: {}",
                        quoted(name),
                        plain(&error)
                    ),
                    hint,
                );
                None
            }
        }
    }
}

/// The text of a file and its permissions.
pub(super) fn read_text(path: &Path) -> io::Result<(Zeroizing<String>, u32)> {
    // Asked before it is opened: opening a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no ordinary file",
        ));
    }
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut text = Zeroizing::new(String::new());
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 1 MiB",
        ));
    }
    Ok((text, mode))
}

/// The error in the words of this program, without the system's numbers.
pub(super) fn plain(error: &io::Error) -> String {
    let known = [
        (io::ErrorKind::NotFound, "there is no such file"),
        (io::ErrorKind::PermissionDenied, "permission denied"),
        (io::ErrorKind::InvalidData, "it is not text"),
    ];
    let found = known.iter().find(|(kind, _)| *kind == error.kind());
    found.map_or_else(|| error.to_string(), |(_, values)| (*values).to_owned())
}
