//! Key files, written by `doorward keygen`. A key is one line of text with a prefix, so that it fits
//! into a Kubernetes Secret and can be recognized.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::types::secret::Secret;
use crate::types::time::{Clock as _, SystemClock, Timestamp};

/// The prefix of a key file: type and version.
const PREFIX: &str = "doorward-key-1:";

/// A 256-bit key that seals cookies.
#[derive(Clone, Debug)]
pub struct SealingKey {
    material: Secret<[u8; 32]>,
    /// When it was generated, if its file says so.
    created: Option<Timestamp>,
}

/// Errors while parsing a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// The prefix is missing.
    #[error("not a key file: it does not begin with `doorward-key-1:`")]
    Prefix,
    /// The prefix is not followed by 32 bytes in base64url.
    #[error("damaged key file: `doorward-key-1:` must be followed by 32 bytes in base64url")]
    Damaged,
    /// The key is followed by something else than the time of its generation.
    #[error(
        "damaged key file: the key may be followed by a colon and the second since 1970 in which it was generated, and by nothing else"
    )]
    Created,
}

/// The random number generator failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the random number generator failed")]
pub struct RandomError;

impl SealingKey {
    /// A key from bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self {
            material: Secret::new(bytes),
            created: None,
        }
    }

    /// The key material.
    pub const fn material(&self) -> &Secret<[u8; 32]> {
        &self.material
    }

    /// When it was generated, if its file says so.
    pub const fn created(&self) -> Option<Timestamp> {
        self.created
    }

    /// Generates a key.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn generate() -> Result<Self, RandomError> {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| RandomError)?;
        Ok(Self {
            created: Some(SystemClock.now()),
            ..Self::from_bytes(*bytes)
        })
    }

    /// Parses the text of a key file. Surrounding white space is ignored.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let text = text
            .trim()
            .strip_prefix(PREFIX)
            .ok_or(KeyFileError::Prefix)?;
        let mut parts = text.splitn(2, ':');
        let encoded = parts.next().unwrap_or_default();
        let created = match parts.next() {
            None => None,
            Some(seconds) if seconds.bytes().all(|byte| byte.is_ascii_digit()) => Some(
                seconds
                    .parse()
                    .map(Timestamp::from_secs)
                    .map_err(|_| KeyFileError::Created)?,
            ),
            Some(_) => return Err(KeyFileError::Created),
        };
        let bytes = Zeroizing::new(
            URL_SAFE_NO_PAD
                .decode(encoded)
                .map_err(|_| KeyFileError::Damaged)?,
        );
        let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| KeyFileError::Damaged)?;
        Ok(Self {
            created,
            ..Self::from_bytes(bytes)
        })
    }

    /// The text of a key file for this key.
    pub fn to_text(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.material.expose()));
        Zeroizing::new(match self.created {
            Some(created) => format!("{PREFIX}{}:{}\n", *encoded, created.secs()),
            None => format!("{PREFIX}{}\n", *encoded),
        })
    }

    /// Writes a key file: see [`write_new_key`].
    ///
    /// # Errors
    /// The file cannot be written, or exists.
    pub fn write_new(&self, file: &Path) -> io::Result<()> {
        write_new_key(file, &self.to_text())
    }
}

/// Keys with the same material are the same key, whatever their files say about its age.
impl PartialEq for SealingKey {
    fn eq(&self, other: &Self) -> bool {
        self.material == other.material
    }
}

impl Eq for SealingKey {}

/// Writes the text of a key into a file with mode 0600.
///
/// # Errors
/// The file cannot be written, or exists: a key that may be in use is never overwritten.
pub fn write_new_key(file: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn written_key_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new.key");
        let before = SystemClock.now();
        let key = SealingKey::generate().unwrap();
        key.write_new(&file).unwrap();
        let read = SealingKey::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(read, key);
        assert!(read.created() >= Some(before));
        assert_eq!(read.created(), key.created());
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn existing_key_file_is_not_overwritten() {
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
    fn damaged_and_other_files_are_distinguished() {
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
                KeyFileError::Prefix,
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
    fn time_of_generation_is_optional() {
        let without = SealingKey::from_bytes([7; 32]);
        let text = without.to_text();
        assert_eq!(SealingKey::parse(&text).unwrap().created(), None);
        let with = |time: &str| SealingKey::parse(&format!("{}:{time}\n", text.trim_ascii()));
        let key = with("1795000000").unwrap();
        assert_eq!(key.created(), Some(Timestamp::from_secs(1_795_000_000)));
        assert_eq!(key, without);
        for damaged in [
            "",
            "-1",
            "+1",
            "1.5",
            "yesterday",
            "1:2",
            "99999999999999999999",
        ] {
            assert_eq!(
                with(damaged).unwrap_err(),
                KeyFileError::Created,
                "{damaged}"
            );
        }
    }

    #[test]
    fn generated_keys_differ_and_are_not_printed() {
        let (a, b) = (
            SealingKey::generate().unwrap(),
            SealingKey::generate().unwrap(),
        );
        assert_ne!(a, b);
        assert!(format!("{a:?}").contains("[redacted]"));
    }
}
