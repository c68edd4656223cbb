//! Files that the configuration names: secrets, keys, certificates. Relative paths start from the
//! folder of the configuration file. `env:NAME` names an environment variable in place of a file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::inputs::InputFile;
use super::report::{Location, quoted};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// The largest secret, in bytes. A larger file is probably the wrong one.
const MAX_SECRET: usize = 4096;

/// The prefix of the name of a variable that holds the content, in place of a path.
const VARIABLE: &str = "env:";

/// The client secret of the shipped reference file.
const EXAMPLE_SECRET: &str = "only-an-example";
/// The prefix of secrets in the shipped manifests.
const PLACEHOLDER: &str = "REPLACE ";
/// The byte order mark that some editors write.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The folder that relative paths start from, and the variables that can stand for files.
pub(super) struct Folder {
    path: PathBuf,
    variables: Vec<(OsString, OsString)>,
}

/// A PEM file, and the certificates in it.
pub(super) struct Certificates {
    pub(super) pem: Vec<u8>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// Whether a file's permissions are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Confidentiality {
    Secret,
    Public,
}

/// The advice about a missing file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// Provide it.
    Refused,
    /// Let `doorward keygen` write it.
    Generated,
}

impl Folder {
    /// The folder of `file`. Without a file, the working directory.
    pub(super) fn of(file: Option<&Path>, variables: &[(OsString, OsString)]) -> Self {
        let folder = file.and_then(Path::parent);
        Self {
            path: folder.map(Path::to_path_buf).unwrap_or_default(),
            variables: variables.to_vec(),
        }
    }

    /// The path of the file `name`.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether the folder is `other` or within it.
    pub(super) fn is_within(&self, other: &Path) -> bool {
        let own = if self.path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &self.path
        };
        let (own, other) = (own.canonicalize(), other.canonicalize());
        // A folder that cannot be found may be any.
        own.and_then(|own| Ok(own.starts_with(other?)))
            .unwrap_or(true)
    }

    /// The secret in the file `name`, without a byte order mark and one trailing newline.
    pub(super) fn secret(&self, at: &Location<'_>, name: &str) -> Option<Zeroizing<String>> {
        let mut text = self.read(at, name, Confidentiality::Secret, Missing::Refused)?;
        if text.starts_with(BYTE_ORDER_MARK) {
            text.remove(0);
        }
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if text.trim().is_empty() {
            at.error(
                format!("the file {} is empty", quoted(name)),
                "it must hold the secret and nothing else",
            );
            return None;
        }
        if text.trim() != text.as_str() {
            at.error(
                format!(
                    "the secret in the file {} begins or ends with a blank",
                    quoted(name)
                ),
                "remove the blank: it would be sent as a part of the secret",
            );
            return None;
        }
        if text.len() > MAX_SECRET || text.contains(char::is_control) {
            at.error(
                format!("the file {} does not hold a secret", quoted(name)),
                "a secret is one line of at most 4096 bytes",
            );
            return None;
        }
        if is_example_secret(&text) {
            at.error(
                format!("the file {} still contains a placeholder", quoted(name)),
                "replace it by the secret",
            );
            return None;
        }
        Some(text)
    }

    /// The text of the confidential file `name`.
    pub(super) fn private_text(&self, at: &Location<'_>, name: &str) -> Option<Zeroizing<String>> {
        self.read(at, name, Confidentiality::Secret, Missing::Refused)
    }

    /// The text of the key file `name`, which `doorward keygen` writes.
    pub(super) fn key_text(&self, at: &Location<'_>, name: &str) -> Option<Zeroizing<String>> {
        self.read(at, name, Confidentiality::Secret, Missing::Generated)
    }

    /// The text of the file `name`, which is no secret.
    pub(super) fn public_text(&self, at: &Location<'_>, name: &str) -> Option<Zeroizing<String>> {
        self.read(at, name, Confidentiality::Public, Missing::Refused)
    }

    /// The content of the file `name`, which is no secret.
    pub(super) fn public_bytes(&self, at: &Location<'_>, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.read_bytes(at, name, Confidentiality::Public, Missing::Refused)
    }

    /// The PEM file `name` with its certificates, at least one.
    pub(super) fn certificates(&self, at: &Location<'_>, name: &str) -> Option<Certificates> {
        let text = self.read(at, name, Confidentiality::Public, Missing::Refused)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        // Checks that TLS can parse each certificate.
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
                let hint = "a certificate in PEM begins with `-----BEGIN CERTIFICATE-----`";
                at.error(
                    format!("the file {} holds no valid certificates", quoted(name)),
                    hint,
                );
                None
            }
        }
    }

    fn read(
        &self,
        at: &Location<'_>,
        name: &str,
        confidentiality: Confidentiality,
        missing: Missing,
    ) -> Option<Zeroizing<String>> {
        match text(self.read_bytes(at, name, confidentiality, missing)?) {
            Ok(text) => Some(text),
            Err(error) => {
                report_unreadable(at, name, &error, self.path_hint(name));
                None
            }
        }
    }

    fn read_bytes(
        &self,
        at: &Location<'_>,
        name: &str,
        confidentiality: Confidentiality,
        missing: Missing,
    ) -> Option<Zeroizing<Vec<u8>>> {
        if let Some(variable) = name.strip_prefix(VARIABLE) {
            return self.variable(at, variable);
        }
        let path = self.path(name);
        let file = InputFile::before_reading(at.key_path(), &path);
        match read_file(&path) {
            Ok((bytes, mode)) => {
                at.note_file(file.with_content(&bytes));
                if confidentiality == Confidentiality::Secret && mode & 0o007 != 0 {
                    let hint = format!("run `chmod o-rwx {}`", path.display());
                    at.warning(
                        format!(
                            "every user of this machine can read the file {}",
                            quoted(name)
                        ),
                        hint,
                    );
                }
                Some(bytes)
            }
            Err(error) => {
                at.note_file(file);
                let is_missing = error.kind() == io::ErrorKind::NotFound && !name.is_empty();
                let hint = if missing == Missing::Generated && is_missing {
                    format!(
                        "run `doorward keygen --out {}`, once for all replicas",
                        path.display()
                    )
                } else {
                    self.path_hint(name)
                };
                report_unreadable(at, name, &error, hint);
                None
            }
        }
    }

    fn path_hint(&self, name: &str) -> String {
        if name.is_empty() {
            return String::new();
        }
        format!("the path is `{}`", self.path(name).display())
    }

    /// The path of the file `name`, which must be one: it is read once more later.
    pub(super) fn file_path(&self, at: &Location<'_>, name: &str) -> Option<PathBuf> {
        if name.starts_with(VARIABLE) {
            let hint = "mount it, or let a proxy in front terminate TLS";
            at.error(
                "certificates and keys for TLS are read from files only",
                hint,
            );
            return None;
        }
        Some(self.path(name))
    }

    /// The value of the variable `name` of the process, if it is text.
    pub(super) fn variable_value(&self, name: &str) -> Option<&str> {
        let mut known = self.variables.iter();
        let (_, value) = known.find(|(known, _)| known == name)?;
        value.to_str()
    }

    /// The value of the variable `variable`, which a key names in place of a file.
    fn variable(&self, at: &Location<'_>, variable: &str) -> Option<Zeroizing<Vec<u8>>> {
        let mut known = self.variables.iter();
        let value = known.find(|(name, _)| name == variable);
        let Some((_, value)) = value else {
            at.error(
                format!("the environment variable {} is not set", quoted(variable)),
                "`env:NAME` is the value of the variable NAME of the process",
            );
            return None;
        };
        let Some(text) = value.to_str() else {
            let message = format!("the environment variable {} is not UTF-8", quoted(variable));
            at.error(message, "");
            return None;
        };
        // There is no such file, so that it never changes.
        let file = PathBuf::from(format!("{VARIABLE}{variable}"));
        let file = InputFile::before_reading(at.key_path(), &file);
        at.note_file(file.with_content(text.as_bytes()));
        Some(Zeroizing::new(text.as_bytes().to_vec()))
    }
}

/// Whether a secret was copied from a shipped example.
pub(super) fn is_example_secret(secret: &str) -> bool {
    secret == EXAMPLE_SECRET || secret.starts_with(PLACEHOLDER)
}

fn report_unreadable(at: &Location<'_>, name: &str, error: &io::Error, hint: String) {
    let cause = describe(error);
    at.error(
        format!("the file {} cannot be read: {cause}", quoted(name)),
        hint,
    );
}

/// The text of a file and its permissions.
pub(super) fn read_text(path: &Path) -> io::Result<(Zeroizing<String>, u32)> {
    let (bytes, mode) = read_file(path)?;
    Ok((text(bytes)?, mode))
}

fn text(mut bytes: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<String>> {
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

/// The content of a file and its permissions.
fn read_file(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
    // Before opening it, because opening a named pipe blocks.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "larger than 1 MiB",
        ));
    }
    Ok((bytes, mode))
}

/// Describes an error without the system's error number.
pub(super) fn describe(error: &io::Error) -> String {
    let known = [
        (io::ErrorKind::NotFound, "no such file"),
        (io::ErrorKind::PermissionDenied, "permission denied"),
        (io::ErrorKind::InvalidData, "not UTF-8 text"),
    ];
    let found = known.iter().find(|(kind, _)| *kind == error.kind());
    found.map_or_else(|| error.to_string(), |(_, text)| (*text).to_owned())
}
