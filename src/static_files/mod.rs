//! Static files: GET and HEAD for the files below a folder, with ranges, conditional requests and
//! precompressed variants (`tower_http::services::ServeDir`).
//!
//! Each file has one path: that of the file, or that of its folder for `index.html`. The rules of an app
//! judge paths, so no other spelling leads to the same content. Only a link within the folder gives its
//! target a second path.

mod file_body;
mod file_path;
mod folder;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Empty;
use tower_http::services::ServeDir;

use crate::limits::{ClientKey, TaskLimit};
use crate::outage::OutageLog;
use crate::types::body::Body;
use file_body::FileBody;
use file_path::FilePath;
use folder::{FolderReader, Located};

pub use folder::check_folder;

/// The most files that are open for responses, of all workers.
const MAX_OPEN_FILES: usize = 1024;

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 32 * 1024;

/// The request fields that select and condition a response.
const REQUEST_FIELDS: [HeaderName; 5] = [
    ACCEPT_ENCODING,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
];

/// Serves files. Clones share the limit of open files.
#[derive(Clone, Debug)]
pub struct StaticFiles {
    open_files: TaskLimit,
    outages: Arc<OutageLog>,
}

/// A request for a file below a folder.
#[derive(Clone, Copy, Debug)]
pub struct FileRequest<'r> {
    /// The folder.
    pub folder: &'r Path,
    /// The canonical path below it.
    pub path: &'r str,
    /// The requested path, whose last slash says whether it is that of a folder.
    pub requested: &'r str,
    /// GET or HEAD.
    pub method: &'r Method,
    /// The fields of the client.
    pub headers: &'r HeaderMap,
    /// The client, for its share of the open files.
    pub client: Option<ClientKey>,
}

/// The outcome of a request.
#[derive(Debug)]
pub enum FileResponse {
    /// A file, or the status of a conditional or range request.
    File(Response<Body>),
    /// The content has another requested path.
    MovedTo(String),
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// No file has this path.
    #[error("no file has this path")]
    NotFound,
    /// Too many files are open.
    #[error("too many files are open")]
    Busy,
    /// The file system failed.
    #[error("the file could not be read")]
    Unreadable(#[source] io::Error),
}

impl FileError {
    /// The stable code for logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "file_not_found",
            Self::Busy => "files_busy",
            Self::Unreadable(_) => "file_unreadable",
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            Self::NotFound
        } else {
            Self::Unreadable(error)
        }
    }
}

impl Default for StaticFiles {
    fn default() -> Self {
        Self {
            open_files: TaskLimit::new(MAX_OPEN_FILES),
            outages: Arc::new(OutageLog::new("files", "")),
        }
    }
}

impl StaticFiles {
    /// Responds to a request.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn serve(&self, request: FileRequest<'_>) -> Result<FileResponse, FileError> {
        let found = self.find(request).await;
        match &found {
            Ok(_) => self.outages.succeeded(),
            Err(error @ FileError::Unreadable(cause)) => {
                let folder = request.folder.display();
                let described = format_args!("{error} in {folder}: {cause}");
                self.outages.failed(error.code(), &described);
            }
            Err(FileError::NotFound | FileError::Busy) => {}
        }
        found
    }

    async fn find(&self, request: FileRequest<'_>) -> Result<FileResponse, FileError> {
        let path = FilePath::parse(request.path).ok_or(FileError::NotFound)?;
        let guard = self.open_files.try_acquire(request.client);
        let guard = Arc::new(guard.ok_or(FileError::Busy)?);
        let folder = FolderReader::open(request.folder, guard).await?;
        let is_folder = request.requested.ends_with('/');
        let path = match folder.locate(path, is_folder).await? {
            Located::File => request.path.to_owned(),
            Located::Index { name } => {
                let slash = if request.path.ends_with('/') { "" } else { "/" };
                [request.path, slash, name].concat()
            }
            Located::AtFolder { name } => match request.requested.strip_suffix(name) {
                Some(requested) => {
                    let slash = if requested.ends_with('/') { "" } else { "/" };
                    return Ok(FileResponse::MovedTo([requested, slash].concat()));
                }
                // A route gives the file another name.
                None => request.path.to_owned(),
            },
        };
        let mut fields = HeaderMap::new();
        for name in REQUEST_FIELDS {
            for value in request.headers.get_all(&name) {
                fields.append(&name, value.clone());
            }
        }
        if let Some(range) = request.byte_ranges() {
            fields.insert(RANGE, range);
        }
        let mut response = respond(&folder, request.method, &path, fields.clone()).await?;
        let is_of_range = matches!(
            response.status(),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE
        );
        if is_of_range
            && let Some(unchanged) = request.headers.get(IF_RANGE)
            && response.headers().get(ETAG) != Some(unchanged)
        {
            // The client has a part of another version (RFC 9110 section 13.1.5).
            fields.remove(RANGE);
            response = respond(&folder, request.method, &path, fields).await?;
        }
        Ok(FileResponse::File(response))
    }
}

impl FileRequest<'_> {
    /// `Range`, if the method is GET and the unit is bytes, in any case. Others are ignored (RFC 9110
    /// section 14.2).
    fn byte_ranges(&self) -> Option<HeaderValue> {
        let range = self.headers.get(RANGE)?.to_str().ok()?;
        let (unit, set) = range.split_once('=')?;
        if *self.method != Method::GET || !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        HeaderValue::try_from(["bytes=", set].concat()).ok()
    }
}

/// The response with the file of this path.
async fn respond(
    folder: &FolderReader,
    method: &Method,
    path: &str,
    fields: HeaderMap,
) -> Result<Response<Body>, FileError> {
    let mut request = Request::new(Empty::<bytes::Bytes>::new());
    *request.method_mut() = method.clone();
    *request.uri_mut() = path.parse().map_err(|_| FileError::NotFound)?;
    *request.headers_mut() = fields;
    let mut service = ServeDir::with_backend("", folder.clone())
        .append_index_html_on_directories(false)
        .ignore_multi_range_requests(true)
        .precompressed_br()
        .precompressed_gzip()
        .with_buf_chunk_size(CHUNK);
    let response = service.try_call(request).await?;
    if response.status() == StatusCode::NOT_FOUND {
        return Err(FileError::NotFound);
    }
    let length = response.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let length = length.unwrap_or_default();
    let mut response = response.map(|body| Body::read_by(Box::pin(FileBody::new(body, length))));
    let headers = response.headers_mut();
    headers.insert(
        X_CONTENT_TYPE_OPTIONS,
        const { HeaderValue::from_static("nosniff") },
    );
    // Caches ask before each use, unless the operator allows more.
    headers.insert(
        CACHE_CONTROL,
        const { HeaderValue::from_static("no-cache") },
    );
    headers.insert(VARY, const { HeaderValue::from_static("accept-encoding") });
    if let Some(utf8) = headers.get(CONTENT_TYPE).and_then(with_charset) {
        headers.insert(CONTENT_TYPE, utf8);
    }
    Ok(response)
}

/// A type of text that names its encoding. `None` for other types.
fn with_charset(kind: &HeaderValue) -> Option<HeaderValue> {
    let kind = kind.to_str().ok()?;
    if !kind.starts_with("text/") || kind.contains(';') {
        return None;
    }
    HeaderValue::try_from(format!("{kind}; charset=utf-8")).ok()
}
