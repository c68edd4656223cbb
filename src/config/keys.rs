//! Key files: what `doorward keygen` writes and the configuration reads. One line of text, so that a key can be
//! carried in a Kubernetes Secret or pasted by hand, and is known for what it is.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::types::secret::Secret;

/// What a key file begins with: kind and version.
const PREFIX: &str = "doorward-key-1:";

/// A key that seals cookies, of 256 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealingKey(Secret<[u8; 32]>);

/// Why a text is not a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// It does not begin as one.
    #[error("not a key file: it does not begin with `doorward-key-1:`")]
    Foreign,
    /// It begins as one and goes on as something else.
    #[error("a damaged key file: 32 bytes in base64url must stand behind `doorward-key-1:`")]
    Damaged,
}

/// The system's random generator failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct RandomError;

impl SealingKey {
    /// A key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::new(bytes))
    }

    /// The bytes, for the cipher.
    pub const fn material(&self) -> &Secret<[u8; 32]> {
        &self.0
    }

    /// A new key.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn generate() -> Result<Self, RandomError> {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| RandomError)?;
        Ok(Self::from_bytes(*bytes))
    }

    /// Reads the text of a key file; white space around it does not count.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let encoded = text
            .trim()
            .strip_prefix(PREFIX)
            .ok_or(KeyFileError::Foreign)?;
        let bytes = Zeroizing::new(
            URL_SAFE_NO_PAD
                .decode(encoded)
                .map_err(|_| KeyFileError::Damaged)?,
        );
        let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| KeyFileError::Damaged)?;
        Ok(Self::from_bytes(bytes))
    }

    /// The text of a key file with this key.
    pub fn to_text(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0.expose()));
        Zeroizing::new(format!("{PREFIX}{}\n", *encoded))
    }

    /// Writes a key file that only its owner can read.
    ///
    /// # Errors
    /// The file cannot be written, or is there already: a key that is in use must never be lost.
    pub fn write_new(&self, file: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)?;
        file.write_all(self.to_text().as_bytes())?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_written_key_reads_as_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new.key");
        let key = SealingKey::generate().unwrap();
        key.write_new(&file).unwrap();
        let read = SealingKey::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(read, key);
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_key_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("old.key");
        std::fs::write(&file, "precious").unwrap();
        let error = SealingKey::from_bytes([1; 32])
            .write_new(&file)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    }

    #[test]
    fn damaged_and_foreign_files_are_told_apart() {
        let good = SealingKey::from_bytes([7; 32]).to_text();
        assert!(SealingKey::parse(&good).is_ok());
        for text in [
            "",
            "hunter2",
            "doorward-key-2:AAAA",
            "-----BEGIN PRIVATE KEY-----",
        ] {
            assert_eq!(
                SealingKey::parse(text).unwrap_err(),
                KeyFileError::Foreign,
                "{text}"
            );
        }
        let short: String = good.chars().take(40).collect();
        for text in [
            "doorward-key-1:",
            "doorward-key-1:AAAA",
            "doorward-key-1:!!",
            short.as_str(),
        ] {
            assert_eq!(
                SealingKey::parse(text).unwrap_err(),
                KeyFileError::Damaged,
                "{text}"
            );
        }
    }

    #[test]
    fn two_keys_differ_and_neither_is_printed() {
        let (a, b) = (
            SealingKey::generate().unwrap(),
            SealingKey::generate().unwrap(),
        );
        assert_ne!(a, b);
        assert!(format!("{a:?}").contains("[redacted]"));
    }
}
