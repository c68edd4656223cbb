//! Loads metadata and keys: from the provider, from the configuration, and from the file of an earlier
//! process.

use serde_json::{Map, Value};
use url::Url;

use super::Provider;
use crate::oidc::discovery::{Metadata, MetadataError};
use crate::oidc::document::{Document, SavedDocuments, SavedError};
use crate::oidc::error::{Endpoint, ProviderError, displayed_url};
use crate::oidc::json;
use crate::oidc::jwks::KeySet;

/// The place of keys that are not fetched, for messages.
const JWKS_FILE: &str = "jwks_file";

impl Provider {
    pub(super) async fn fetch_metadata(&self) -> Result<Metadata, ProviderError> {
        let endpoints = &self.settings.endpoints;
        if endpoints.without_discovery {
            let document = endpoints.document(&self.settings.issuer);
            return self.read_metadata(document);
        }
        self.observed(self.load_metadata().await)
    }

    async fn load_metadata(&self) -> Result<Metadata, ProviderError> {
        let (http, url) = (&self.http, self.discovery_url());
        let document = self.metadata_copy.fetch(http, Endpoint::Discovery, &url);
        let document = document.await?;
        let metadata = self.parse_metadata(&document)?;
        self.metadata_copy.keep(document);
        self.log_unusable_members(&metadata);
        Ok(metadata)
    }

    fn discovery_url(&self) -> Url {
        let dialect = &self.settings.dialect;
        dialect.discovery_url(&self.settings.discovery_url)
    }

    /// Reads a discovery document.
    fn parse_metadata(&self, document: &Document) -> Result<Metadata, ProviderError> {
        match json::object(document.text.as_bytes()) {
            Some(mut members) => {
                self.settings.endpoints.complete(&mut members);
                self.read_metadata(members)
            }
            None => Err(self.invalid_metadata(MetadataError::NotJson)),
        }
    }

    fn read_metadata(&self, members: Map<String, Value>) -> Result<Metadata, ProviderError> {
        let settings = &self.settings;
        let metadata = Metadata::read(&members, &settings.issuer, settings.plain_http());
        metadata.map_err(|error| self.invalid_metadata(error))
    }

    fn invalid_metadata(&self, error: MetadataError) -> ProviderError {
        ProviderError::Metadata {
            url: displayed_url(&self.discovery_url()),
            error,
        }
    }

    /// Logs each optional member that cannot be used, once as long as it stays so.
    fn log_unusable_members(&self, metadata: &Metadata) {
        let before = self.metadata.current();
        let before = before.as_ref().map(|before| before.unusable.as_slice());
        let before = before.unwrap_or_default();
        for error in metadata
            .unusable
            .iter()
            .filter(|error| !before.contains(error))
        {
            tracing::warn!(provider = %self.settings.name, code = error.code(), %error, "provider_member_ignored");
        }
    }

    pub(super) async fn fetch_keys(&self) -> Result<KeySet, ProviderError> {
        if let Some(jwks) = &self.settings.endpoints.jwks {
            return parse_keys(jwks, JWKS_FILE);
        }
        self.observed(self.load_keys().await)
    }

    async fn load_keys(&self) -> Result<KeySet, ProviderError> {
        let metadata = self.metadata().await?;
        let url = self.jwks_uri(&metadata)?;
        let document = self.keys_copy.fetch(&self.http, Endpoint::Keys, url);
        let document = document.await?;
        let keys = parse_keys(document.text.as_bytes(), &displayed_url(url))?;
        self.keys_copy.keep(document);
        for skipped in keys.skipped() {
            let kid = skipped.kid.as_deref().unwrap_or_default();
            tracing::warn!(provider = %self.settings.name, kid, reason = skipped.reason.code(), "provider_key_skipped");
        }
        Ok(keys)
    }

    fn jwks_uri<'m>(&self, metadata: &'m Metadata) -> Result<&'m Url, ProviderError> {
        let missing = || self.invalid_metadata(MetadataError::Missing("jwks_uri"));
        metadata.jwks_uri.as_ref().ok_or_else(missing)
    }

    /// Restores what an earlier process fetched, so that a start does not need the provider.
    pub(super) async fn restore_documents(&self) {
        let Some(file) = self.settings.document_file.clone() else {
            return;
        };
        let (path, now) = (file.path.display().to_string(), self.clock.now());
        let issuer = self.settings.issuer.clone();
        let read = tokio::task::spawn_blocking(move || SavedDocuments::read(&file, &issuer, now));
        let restored = match read.await {
            Ok(Ok(Some(saved))) => self.restore(saved),
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => Err(error),
        };
        let provider = &self.settings.name;
        match restored {
            Ok(()) => tracing::info!(%provider, path, "provider_documents_restored"),
            Err(error) => tracing::warn!(%provider, path, %error, "provider_documents_ignored"),
        }
    }

    fn restore(&self, saved: SavedDocuments) -> Result<(), SavedError> {
        let endpoints = &self.settings.endpoints;
        let metadata = match &saved.metadata {
            _ if endpoints.without_discovery => {
                let document = endpoints.document(&self.settings.issuer);
                self.read_metadata(document)
            }
            Some(document) if document.url == self.discovery_url().as_str() => {
                self.parse_metadata(document)
            }
            Some(_) | None => return Err(SavedError::OtherUrl),
        };
        let metadata = metadata.map_err(SavedError::Invalid)?;
        let jwks_uri = metadata.jwks_uri.as_ref().map(Url::as_str);
        let keys = match (&endpoints.jwks, &saved.keys) {
            (Some(jwks), _) => parse_keys(jwks, JWKS_FILE),
            (None, Some(document)) if jwks_uri == Some(&document.url) => {
                parse_keys(document.text.as_bytes(), &document.url)
            }
            (None, Some(_) | None) => return Err(SavedError::OtherUrl),
        };
        let keys = keys.map_err(SavedError::Invalid)?;
        self.metadata.seed(metadata);
        self.keys.seed(keys);
        if let Some(document) = saved.metadata {
            self.metadata_copy.keep(document);
        }
        if let Some(document) = saved.keys {
            self.keys_copy.keep(document);
        }
        Ok(())
    }

    /// Writes what was fetched into the file.
    pub(super) async fn save_documents(&self) {
        let Some(file) = &self.settings.document_file else {
            return;
        };
        let saved = SavedDocuments::new(
            &self.settings.issuer,
            self.clock.now(),
            self.metadata_copy.current(),
            self.keys_copy.current(),
        );
        let path = file.path.clone();
        let written = tokio::task::spawn_blocking(move || saved.write(&path)).await;
        if let Ok(Err(error)) = written {
            let (provider, path) = (&self.settings.name, file.path.display());
            tracing::warn!(%provider, %path, %error, "provider_documents_not_saved");
        }
    }
}

fn parse_keys(jwks: &[u8], url: &str) -> Result<KeySet, ProviderError> {
    KeySet::parse(jwks).map_err(|error| ProviderError::Keys {
        url: url.to_owned(),
        error,
    })
}
