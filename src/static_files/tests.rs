//! Requests for files of a temporary folder.

use std::fs;
use std::os::unix::fs::symlink;

use http_body_util::BodyExt as _;
use tempfile::TempDir;

use super::*;
use crate::types::body::BodyError;

/// A folder with a site and a secret beside it.
struct Site {
    outside: TempDir,
    files: StaticFiles,
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Self {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret.txt"), "secret").unwrap();
        let site = Self {
            outside,
            files: StaticFiles::default(),
        };
        for (name, text) in files {
            let file = site.root().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        site
    }

    fn root(&self) -> std::path::PathBuf {
        self.outside.path().join("site")
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        fields: &[(HeaderName, &str)],
    ) -> Result<FileResponse, FileError> {
        let fields = fields.iter();
        let headers: HeaderMap = fields
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        let request = FileRequest {
            folder: &self.root(),
            path,
            requested: path,
            method: &method,
            headers: &headers,
            client: None,
        };
        self.files.serve(request).await
    }

    async fn file(&self, path: &str, fields: &[(HeaderName, &str)]) -> Response<Body> {
        match self.request(Method::GET, path, fields).await {
            Ok(FileResponse::File(response)) => response,
            other => panic!("{path}: {other:?}"),
        }
    }

    async fn text(&self, path: &str, fields: &[(HeaderName, &str)]) -> (u16, String) {
        let response = self.file(path, fields).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn is_absent(&self, path: &str) -> bool {
        let found = self.request(Method::GET, path, &[]).await;
        matches!(found, Err(FileError::NotFound))
    }
}

#[tokio::test]
async fn file_has_type_validators_and_cache_control() {
    let site = Site::new(&[("a.html", "<p>a"), ("b.bin", "b"), ("style.css", "p{}")]);
    let response = site.file("/a.html", &[]).await;
    let header = |name: &str| response.headers()[name].to_str().unwrap();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("content-length"), "4");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("cache-control"), "no-cache");
    assert_eq!(header("vary"), "accept-encoding");
    assert!(header("etag").starts_with('"'));
    assert!(response.headers().contains_key("last-modified"));
    let response = site.file("/b.bin", &[]).await;
    assert_eq!(response.headers()[CONTENT_TYPE], "application/octet-stream");
    let response = site.file("/style.css", &[]).await;
    assert_eq!(response.headers()[CONTENT_TYPE], "text/css; charset=utf-8");
}

#[tokio::test]
async fn links_and_special_files_lead_nowhere_outside() {
    let site = Site::new(&[("in/a.txt", "a"), (".hidden", "b"), ("in/.hidden", "b")]);
    let root = site.root();
    symlink("a.txt", root.join("in/link.txt")).unwrap();
    symlink("in", root.join("alias")).unwrap();
    for (name, target) in [
        ("up.txt", "../secret.txt"),
        ("in/up.txt", "../../secret.txt"),
        ("up", ".."),
        ("loop", "loop"),
        ("proc", "/proc/self/environ"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    symlink(
        site.outside.path().join("secret.txt"),
        root.join("absolute.txt"),
    )
    .unwrap();
    symlink(root.join("in/a.txt"), root.join("absolute-within.txt")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    assert_eq!(site.text("/in/link.txt", &[]).await.1, "a");
    assert_eq!(site.text("/alias/a.txt", &[]).await.1, "a");
    for path in [
        "/up.txt",
        "/in/up.txt",
        "/up/secret.txt",
        "/up/site/in/a.txt",
        "/absolute.txt",
        "/absolute-within.txt",
        "/loop",
        "/proc",
        "/pipe",
        "/.hidden",
        "/in/.hidden",
        "/in",
        "/in/",
        "/in/a.txt/",
        "/in/a.txt/b",
        "/missing",
        "/",
    ] {
        assert!(site.is_absent(path).await, "{path}");
    }
    let long = format!("/{}", "a".repeat(300));
    assert!(site.is_absent(&long).await);
}

#[tokio::test]
async fn folder_has_its_index_at_one_path() {
    let site = Site::new(&[("index.html", "home"), ("docs/index.html", "docs")]);
    assert_eq!(site.text("/", &[]).await.1, "home");
    assert_eq!(site.text("/docs/", &[]).await.1, "docs");
    for (path, moved) in [
        ("/docs", "/docs/"),
        ("/docs/index.html", "/docs/"),
        ("/index.html", "/"),
    ] {
        match site.request(Method::GET, path, &[]).await {
            Ok(FileResponse::MovedTo(to)) => assert_eq!(to, moved),
            other => panic!("{path}: {other:?}"),
        }
    }
    // A route adds the name.
    let request = FileRequest {
        folder: &site.root(),
        path: "/index.html",
        requested: "/home",
        method: &Method::GET,
        headers: &HeaderMap::new(),
        client: None,
    };
    let found = site.files.serve(request).await;
    assert!(matches!(found, Ok(FileResponse::File(_))), "{found:?}");
}

#[tokio::test]
async fn precompressed_variant_has_the_path_of_its_file() {
    let site = Site::new(&[
        ("a.js", "plain"),
        ("a.js.br", "brotli"),
        ("a.js.gz", "gzip"),
        ("b.gz", "archive"),
        ("only.js.gz", "gzip"),
    ]);
    for (accepted, text, encoding) in [
        ("br, gzip", "brotli", Some("br")),
        ("gzip", "gzip", Some("gzip")),
        ("br;q=0, gzip;q=0", "plain", None),
        ("zstd", "plain", None),
    ] {
        let fields = [(ACCEPT_ENCODING, accepted)];
        let response = site.file("/a.js", &fields).await;
        let found = response.headers().get("content-encoding");
        assert_eq!(found.map(|found| found.to_str().unwrap()), encoding);
        let kind = response.headers()[CONTENT_TYPE].to_str().unwrap();
        assert!(kind.contains("javascript"), "{kind}");
        assert_eq!(site.text("/a.js", &fields).await.1, text, "{accepted}");
    }
    assert!(site.is_absent("/a.js.br").await);
    assert!(site.is_absent("/a.js.gz").await);
    assert_eq!(site.text("/b.gz", &[]).await.1, "archive");
    assert!(site.is_absent("/only.js").await);
}

#[tokio::test]
async fn head_finds_the_same_variant_as_get() {
    let site = Site::new(&[
        ("a.js", "plain"),
        ("a.js.br/file", "x"),
        ("a.js.gz", "gzip"),
    ]);
    for (accepted, encoding) in [("br", None), ("br, gzip", Some("gzip"))] {
        for method in [Method::GET, Method::HEAD] {
            let fields = [(ACCEPT_ENCODING, accepted)];
            let found = site.request(method.clone(), "/a.js", &fields).await;
            let Ok(FileResponse::File(response)) = found else {
                panic!("{method} {accepted}: {found:?}")
            };
            let found = response.headers().get("content-encoding");
            let found = found.map(|found| found.to_str().unwrap());
            assert_eq!(found, encoding, "{method} {accepted}");
        }
    }
}

#[tokio::test]
async fn validators_are_of_the_later_change() {
    let site = Site::new(&[("a.txt", "a")]);
    for (seconds, is_shown) in [(946_684_800, false), (2_145_916_800, true)] {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let file = fs::File::options()
            .append(true)
            .open(site.root().join("a.txt"));
        file.unwrap().set_modified(time).unwrap();
        let response = site.file("/a.txt", &[]).await;
        let tag = response.headers()[ETAG].to_str().unwrap();
        let begin = format!("\"{seconds:x}.");
        assert_eq!(tag.starts_with(&begin), is_shown, "{tag}");
    }
}

#[tokio::test]
async fn conditions_and_ranges_are_evaluated() {
    let site = Site::new(&[("a.txt", "0123456789")]);
    let tag = site.file("/a.txt", &[]).await.headers()[ETAG].clone();
    let tag = tag.to_str().unwrap();
    let late = "Fri, 31 Dec 9999 23:59:59 GMT";
    let whole = "0123456789";
    for (fields, status, text) in [
        (vec![(IF_NONE_MATCH, tag)], 304, ""),
        (vec![(IF_NONE_MATCH, "\"other\"")], 200, whole),
        (vec![(IF_MODIFIED_SINCE, late)], 304, ""),
        (vec![(IF_MATCH, "\"other\"")], 412, ""),
        (vec![(RANGE, "bytes=2-4")], 206, "234"),
        (vec![(RANGE, "bytes=-3")], 206, "789"),
        (vec![(RANGE, "bytes=20-")], 416, ""),
        (vec![(RANGE, "bytes=0-1,4-5")], 200, whole),
        (vec![(RANGE, "bytes=2-4"), (IF_RANGE, tag)], 206, "234"),
        (
            vec![(RANGE, "bytes=2-4"), (IF_RANGE, "\"other\"")],
            200,
            whole,
        ),
        (vec![(RANGE, "bytes=2-4"), (IF_RANGE, late)], 200, whole),
        (vec![(RANGE, "bytes=20-"), (IF_RANGE, tag)], 416, ""),
        (
            vec![(RANGE, "bytes=20-"), (IF_RANGE, "\"other\"")],
            200,
            whole,
        ),
        (vec![(RANGE, "Bytes=2-4")], 206, "234"),
        (vec![(RANGE, "lines=2-4")], 200, whole),
        (vec![(RANGE, "bytes")], 200, whole),
    ] {
        let found = site.text("/a.txt", &fields).await;
        assert_eq!(found, (status, text.to_owned()), "{fields:?}");
    }
    let unchanged = site.file("/a.txt", &[(IF_NONE_MATCH, tag)]).await;
    assert_eq!(unchanged.headers()[VARY], "accept-encoding");
    let range = [(RANGE, "bytes=2-4")];
    let head = site.request(Method::HEAD, "/a.txt", &range).await;
    let Ok(FileResponse::File(head)) = head else {
        panic!("{head:?}")
    };
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-length"], "10");
    assert!(
        head.into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .is_empty()
    );
}

#[tokio::test]
async fn file_is_sent_as_it_was_when_opened() {
    let long = "a".repeat(4 * CHUNK);
    let site = Site::new(&[("log", &long), ("cut", &long)]);
    let response = site.file("/log", &[]).await;
    fs::write(site.root().join("log"), format!("{long}more")).unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), long.len());
    let response = site.file("/cut", &[]).await;
    fs::write(site.root().join("cut"), "short").unwrap();
    let cut = response.into_body().collect().await;
    assert!(matches!(cut, Err(BodyError::File(_))), "{cut:?}");
}

#[tokio::test]
async fn open_files_are_limited_until_their_bodies_end() {
    let mut site = Site::new(&[("a.txt", "a")]);
    site.files.open_files = TaskLimit::new(2);
    let first = site.file("/a.txt", &[]).await;
    let second = site.file("/a.txt", &[]).await;
    let third = site.request(Method::GET, "/a.txt", &[]).await;
    assert!(matches!(third, Err(FileError::Busy)), "{third:?}");
    drop(first);
    assert_eq!(site.text("/a.txt", &[]).await.1, "a");
    drop(second);
}

#[tokio::test]
async fn replaced_folder_is_used_at_once() {
    let site = Site::new(&[]);
    let outside = site.outside.path();
    for version in ["1", "2"] {
        fs::create_dir(outside.join(version)).unwrap();
        fs::write(outside.join(version).join("a.txt"), version).unwrap();
    }
    symlink("1", site.root()).unwrap();
    assert_eq!(site.text("/a.txt", &[]).await.1, "1");
    symlink("2", outside.join("next")).unwrap();
    fs::rename(outside.join("next"), site.root()).unwrap();
    assert_eq!(site.text("/a.txt", &[]).await.1, "2");
    fs::remove_file(site.root()).unwrap();
    let gone = site.request(Method::GET, "/a.txt", &[]).await;
    assert!(matches!(gone, Err(FileError::Unreadable(_))), "{gone:?}");
}
