//! Reads files below a folder. The kernel resolves each path beneath the folder (`openat2`), so neither
//! the path nor a symbolic link leads out of it.

use std::fs::{self, File};
use std::future::{Ready, ready};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready as poll_ready};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio::task::spawn_blocking;
use tower_http::services::fs::{Backend, File as ServedFile, Metadata};

use super::file_path::FilePath;
use crate::limits::TaskGuard;

/// The file of a folder's own path.
const INDEX: &str = "index.html";

/// How often a path is resolved again after a concurrent change of its folders.
const MAX_ATTEMPTS: usize = 8;

type BoxFuture<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// A folder, opened for one request.
#[derive(Clone, Debug)]
pub(super) struct FolderReader {
    folder: Arc<OwnedFd>,
    /// Held until nothing of the request is read any more.
    guard: Arc<TaskGuard>,
}

/// Where the content of a path is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Located {
    /// In the file of this path.
    File,
    /// In a file of this folder.
    Index { name: &'static str },
    /// At the path of the folder, without this name.
    AtFolder { name: &'static str },
}

/// Checks that the folder can be read, and that the kernel resolves paths beneath it.
///
/// # Errors
/// It is no such folder.
pub fn check_folder(path: &Path) -> io::Result<()> {
    let folder = open_folder(path)?;
    open_beneath(&folder, Path::new("."), OFlags::PATH | OFlags::DIRECTORY)?;
    Ok(())
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn open_beneath(folder: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open = || {
        openat2(
            folder,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
    };
    let mut opened = open();
    for _ in 1..MAX_ATTEMPTS {
        if !matches!(opened, Err(Errno::AGAIN)) {
            break;
        }
        opened = open();
    }
    opened
}

/// The error of a path below a folder. To clients, a file that they may not have does not exist.
fn file_error(errno: Errno) -> io::Error {
    let is_absent = [
        Errno::ACCESS,
        Errno::INVAL,
        Errno::LOOP,
        Errno::NAMETOOLONG,
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::NXIO,
        // It leads out of the folder.
        Errno::XDEV,
    ];
    if is_absent.contains(&errno) {
        not_found()
    } else {
        errno.into()
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// Runs a task that waits for the file system, in the threads of the worker for that.
async fn blocking<T: Send + 'static>(
    task: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match spawn_blocking(task).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error)),
    }
}

impl FolderReader {
    /// Opens the folder. It is looked up for each request, so that a link to it can be replaced.
    pub(super) async fn open(path: &Path, guard: Arc<TaskGuard>) -> io::Result<Self> {
        let path = path.to_owned();
        blocking(move || {
            let folder = Arc::new(open_folder(&path).map_err(io::Error::other)?);
            Ok(Self { folder, guard })
        })
        .await
    }

    /// Finds the content of a path. With `is_folder`, the requested path ends with a slash.
    pub(super) async fn locate(&self, path: FilePath, is_folder: bool) -> io::Result<Located> {
        let this = self.clone();
        blocking(move || this.locate_blocking(&path, is_folder)).await
    }

    fn locate_blocking(&self, path: &FilePath, is_folder: bool) -> io::Result<Located> {
        let found = self.stat(path.as_path())?;
        if found.is_dir() {
            let index = self.stat(&path.as_path().join(INDEX))?;
            return match (index.is_file(), is_folder) {
                (true, true) => Ok(Located::Index { name: INDEX }),
                (true, false) => Ok(Located::AtFolder { name: "" }),
                (false, _) => Err(not_found()),
            };
        }
        if is_folder || !found.is_file() {
            return Err(not_found());
        }
        if path.as_path().ends_with(INDEX) {
            return Ok(Located::AtFolder { name: INDEX });
        }
        let uncompressed = path.uncompressed();
        let uncompressed = uncompressed.and_then(|path| self.stat(&path).ok());
        if uncompressed.is_some_and(|found| found.is_file()) {
            // Served at the path of the other file only.
            return Err(not_found());
        }
        Ok(Located::File)
    }

    fn stat(&self, path: &Path) -> io::Result<fs::Metadata> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let found = open_beneath(&self.folder, path, OFlags::PATH).map_err(file_error)?;
        File::from(found).metadata()
    }

    fn open_file(&self, path: &Path) -> io::Result<OpenFile> {
        // Without waiting for the writer of a named pipe.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(open_beneath(&self.folder, path, flags).map_err(file_error)?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(not_found());
        }
        Ok(OpenFile {
            rest: metadata.len(),
            metadata: FileMetadata::of(&metadata)?,
            file: file.into(),
            _guard: Arc::clone(&self.guard),
        })
    }
}

impl Backend for FolderReader {
    type File = OpenFile;
    type Metadata = FileMetadata;
    type OpenFuture = BoxFuture<OpenFile>;
    type MetadataFuture = BoxFuture<FileMetadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let this = self.clone();
        Box::pin(blocking(move || this.open_file(&path)))
    }

    /// Opens the file, so that HEAD finds the same one as GET.
    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let this = self.clone();
        Box::pin(blocking(move || {
            this.open_file(&path).map(|file| file.metadata)
        }))
    }
}

/// The facts of a regular file in its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileMetadata {
    length: u64,
    changed: SystemTime,
}

impl FileMetadata {
    fn of(file: &fs::Metadata) -> io::Result<Self> {
        let modified = file.modified()?;
        let seconds = u64::try_from(file.ctime()).unwrap_or_default();
        let nanoseconds = u64::try_from(file.ctime_nsec()).unwrap_or_default();
        let status_changed = Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds);
        // Programs can set the time of modification back, as `cp -p` does. The kernel sets the other one.
        let status_changed = SystemTime::UNIX_EPOCH.checked_add(status_changed);
        Ok(Self {
            length: file.len(),
            changed: status_changed.map_or(modified, |changed| changed.max(modified)),
        })
    }
}

impl Metadata for FileMetadata {
    fn is_dir(&self) -> bool {
        false
    }

    fn modified(&self) -> io::Result<SystemTime> {
        Ok(self.changed)
    }

    fn len(&self) -> u64 {
        self.length
    }
}

/// A file as it was when it was opened. Data that is appended later is not read.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: tokio::fs::File,
    metadata: FileMetadata,
    /// Bytes from the position to the end.
    rest: u64,
    _guard: Arc<TaskGuard>,
}

impl ServedFile for OpenFile {
    type Metadata = FileMetadata;
    type MetadataFuture<'a> = Ready<io::Result<FileMetadata>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        ready(Ok(self.metadata))
    }
}

impl AsyncRead for OpenFile {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let wanted = usize::try_from(this.rest).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.remaining());
        if wanted == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(wanted));
        poll_ready!(Pin::new(&mut this.file).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        if read == 0 {
            // It was truncated, so the response must not look complete.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        buffer.advance(read);
        this.rest = this
            .rest
            .saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for OpenFile {
    fn start_seek(self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.get_mut().file).start_seek(position)
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let this = self.get_mut();
        let position = poll_ready!(Pin::new(&mut this.file).poll_complete(cx))?;
        this.rest = this.metadata.length.saturating_sub(position);
        Poll::Ready(Ok(position))
    }
}
