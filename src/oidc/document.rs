//! Documents of a provider as they were fetched, for conditional requests, and for a file that
//! survives a restart while the provider is unavailable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};
use url::Url;

use super::error::{Endpoint, ProviderError};
use super::http::Http;
use crate::types::oauth::Issuer;
use crate::types::time::Timestamp;

/// The version of the file.
const VERSION: u32 = 1;
/// The largest file, in bytes: two documents of 1 MiB, with escapes.
const MAX_FILE: u64 = 8 * 1024 * 1024;
/// The clock difference to the process that wrote the file.
const LEEWAY: Duration = Duration::from_secs(5 * 60);
/// The longest entity tag that is sent back, in bytes.
const MAX_ETAG: usize = 256;

/// A document.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Document {
    pub(super) url: String,
    etag: Option<String>,
    pub(super) text: String,
}

/// The last valid copy of one document.
#[derive(Default)]
pub(super) struct LastCopy(ArcSwapOption<Document>);

impl LastCopy {
    /// The document at `url`, fetched unless the copy is still current (RFC 9110 section 13.1.2).
    pub(super) async fn fetch(
        &self,
        http: &Http,
        endpoint: Endpoint,
        url: &Url,
    ) -> Result<Arc<Document>, ProviderError> {
        let known = self.0.load_full().filter(|known| known.url == url.as_str());
        let etag = known.as_ref().and_then(|known| known.etag.as_deref());
        let response = http.get(endpoint, url, etag).await?;
        if let Some(known) = known.filter(|known| response.status == 304 && known.etag.is_some()) {
            return Ok(known);
        }
        let etag = response.etag.clone();
        let body = response.ok()?;
        Ok(Arc::new(Document {
            url: url.as_str().to_owned(),
            etag: etag.filter(|etag| (1..=MAX_ETAG).contains(&etag.len())),
            // Invalid UTF-8 is invalid JSON.
            text: String::from_utf8_lossy(&body).into_owned(),
        }))
    }

    /// Keeps a document that was read successfully.
    pub(super) fn keep(&self, document: Arc<Document>) {
        self.0.store(Some(document));
    }

    /// The copy.
    pub(super) fn current(&self) -> Option<Arc<Document>> {
        self.0.load_full()
    }
}

/// The file that keeps the documents of one provider: `metadata_file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentFile {
    /// The path.
    pub path: PathBuf,
    /// The largest age of documents that are read from it.
    pub max_age: Duration,
}

/// The content of a [`DocumentFile`].
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedDocuments {
    doorward_provider_documents: u32,
    issuer: String,
    /// In seconds since 1970.
    fetched_at: u64,
    /// `None`: the provider publishes none.
    pub(super) metadata: Option<Arc<Document>>,
    /// `None`: the keys are in a file of their own.
    pub(super) keys: Option<Arc<Document>>,
}

/// Why saved documents cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SavedError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is not a regular file")]
    NotAFile,
    #[error("other users may write to it")]
    WritableByOthers,
    #[error("it is larger than {MAX_FILE} bytes")]
    TooLarge,
    #[error("it was not written by this version of Doorward")]
    NotOurs,
    #[error("it is of issuer `{0}`")]
    OtherIssuer(String),
    #[error("it is {0} s old")]
    TooOld(u64),
    #[error("its time is in the future")]
    Future,
    #[error("the provider's documents are at other addresses now")]
    OtherUrl,
    #[error("{0}")]
    Invalid(ProviderError),
}

impl SavedDocuments {
    pub(super) fn new(
        issuer: &Issuer,
        fetched_at: Timestamp,
        metadata: Option<Arc<Document>>,
        keys: Option<Arc<Document>>,
    ) -> Self {
        Self {
            doorward_provider_documents: VERSION,
            issuer: issuer.as_str().to_owned(),
            fetched_at: fetched_at.secs(),
            metadata,
            keys,
        }
    }

    /// Writes the file: a new one replaces it atomically. Blocks.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut new_path = path.as_os_str().to_owned();
        new_path.push(".new");
        let new_path = PathBuf::from(new_path);
        match fs::remove_file(&new_path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            // A crash may have left a file.
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new_path)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&new_path, path)
    }

    /// Reads the file. `None` if it does not exist. Blocks. The documents in it are not validated yet.
    pub(super) fn read(
        file: &DocumentFile,
        issuer: &Issuer,
        now: Timestamp,
    ) -> Result<Option<Self>, SavedError> {
        // Before opening it, because opening a named pipe blocks.
        match fs::metadata(&file.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(found) if !found.is_file() => return Err(SavedError::NotAFile),
            Ok(_) => {}
        }
        let opened = File::open(&file.path)?;
        // A user who can write to it can add a key, and so sign tokens.
        if opened.metadata()?.mode() & 0o022 != 0 {
            return Err(SavedError::WritableByOthers);
        }
        let mut content = Vec::new();
        opened.take(MAX_FILE + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_FILE {
            return Err(SavedError::TooLarge);
        }
        let saved: Self = serde_json::from_slice(&content).map_err(|_| SavedError::NotOurs)?;
        if saved.doorward_provider_documents != VERSION {
            return Err(SavedError::NotOurs);
        }
        if saved.issuer != issuer.as_str() {
            return Err(SavedError::OtherIssuer(saved.issuer));
        }
        let fetched_at = Timestamp::from_secs(saved.fetched_at);
        let age = now.since(fetched_at);
        if fetched_at > now.plus(LEEWAY) {
            return Err(SavedError::Future);
        }
        if age > file.max_age {
            return Err(SavedError::TooOld(age.as_secs()));
        }
        Ok(Some(saved))
    }
}
