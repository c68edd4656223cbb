//! Files of a folder as a route. They pass the same rules as every path.

use std::fs;

use tempfile::TempDir;

use super::request;
use crate::support::assertions::{
    alice, assert_error_page, assert_login_starts, assert_problem, fetched,
};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};

/// A store with files at `/public/docs` and `/docs`.
struct Site {
    doorward: Doorward,
    folder: TempDir,
}

fn write(folder: &TempDir, name: &str, text: &str) {
    let file = folder.path().join(name);
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    fs::write(file, text).expect("a file");
}

impl Site {
    fn start() -> Self {
        Self::start_with("")
    }

    /// With these lines of the route below `/public`.
    fn start_with(lines: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [
            ("site/index.html", "<h1>home"),
            ("site/guide/index.html", "<h1>guide"),
            ("site/a.txt", "0123456789"),
            ("site/.git/config", "SECRET"),
            ("users/en/guide/index.html", "<h1>for users"),
        ] {
            write(&folder, name, text);
        }
        let path = folder.path().display();
        let routes = format!(
            "\n[[apps.store.routes]]\npath = \"/public/docs/**\"\nfiles = \"{path}/site\"\n\
             strip_prefix = \"/public/docs\"\n{lines}\n[[apps.store.routes]]\npath = \"/docs/**\"\n\
             files = \"{path}/users\"\nstrip_prefix = \"/docs\"\nadd_prefix = \"/en\"\n"
        );
        let doorward = Setup::plain().more(&routes).start();
        Self { doorward, folder }
    }
}

#[tokio::test]
async fn files_have_paths_below_the_route() {
    let Site {
        doorward,
        folder: _folder,
    } = Site::start();
    let before = doorward.store.count();
    for (path, text) in [
        ("/public/docs/", "<h1>home"),
        ("/public/docs/guide/", "<h1>guide"),
        ("/public/docs/a.txt?v=1", "0123456789"),
    ] {
        let reply = request(&doorward, "GET", path, "").await;
        assert_eq!(
            (reply.status(), reply.text().as_str()),
            (200, text),
            "{path}"
        );
        assert_eq!(reply.head.all("x-content-type-options"), ["nosniff"]);
        assert_eq!(reply.head.all("cache-control"), ["no-cache"]);
    }
    let own = "http://store.localhost:8080";
    for (path, location) in [
        ("/public/docs", "/public/docs/"),
        ("/public/docs/index.html?a=/b", "/public/docs/?a=/b"),
        ("/public/docs/guide?x", "/public/docs/guide/?x"),
    ] {
        let reply = request(&doorward, "GET", path, "").await;
        assert_eq!(reply.status(), 307, "{path}");
        assert_eq!(reply.head.all("location"), [format!("{own}{location}")]);
    }
    let reply = request(
        &doorward,
        "GET",
        "/public/docs/a.txt",
        "Range: bytes=2-4\r\n",
    )
    .await;
    assert_eq!((reply.status(), reply.text().as_str()), (206, "234"));
    let reply = request(&doorward, "HEAD", "/public/docs/a.txt", "").await;
    assert_eq!(reply.head.all("content-length"), ["10"]);
    assert!(reply.body.is_empty());
    assert_eq!(doorward.store.count(), before);
    let line = doorward.log.line("/public/docs/guide/", "route_file").await;
    assert!(line.get("upstream_ms").is_none(), "{line}");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let Site { doorward, folder } = Site::start();
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("site/link")).expect("a link");
    for path in [
        "/public/docs/none",
        "/public/docs/.git/config",
        "/public/docs/%2egit/config",
        "/public/docs/link",
        "/public/docs/x/",
        "/public/docs/a.txt/",
    ] {
        let spec = RequestSpec::new(Kind::Navigation, &doorward.store_url(path));
        let page = doorward.browser().send(spec).await;
        assert_error_page(&page, 404, "file_not_found");
    }
    for path in [
        "/public/docs/../../docs/guide/",
        "/public/docs/..%2fa",
        "/public/docs//a.txt",
    ] {
        assert_eq!(
            request(&doorward, "GET", path, "").await.status(),
            400,
            "{path}"
        );
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let reply = request(
            &doorward,
            method,
            "/public/docs/a.txt",
            "Content-Length: 0\r\n",
        )
        .await;
        assert_eq!(reply.status(), 405, "{method}");
        assert_eq!(reply.head.all("allow"), ["GET, HEAD"]);
    }
    doorward
        .log
        .line("/public/docs/.git/config", "file_not_found")
        .await;
}

#[tokio::test]
async fn files_of_users_need_a_login_and_stay_out_of_shared_caches() {
    let lines =
        "response_headers.set = { Cache-Control = \"public, max-age=60\", X-Site = \"docs\" }";
    let Site {
        doorward,
        folder: _folder,
    } = Site::start_with(lines);
    let url = doorward.store_url("/docs/guide/");
    assert_login_starts(&doorward, &doorward.browser().step(&url).await);
    let spec = RequestSpec::new(Kind::Fetch, &url);
    assert_problem(&doorward.browser().send(spec).await, 401, "no_session");
    let mut browser = alice(&doorward).await;
    let page = fetched(&mut browser, &url).await;
    assert_eq!(page.text(), "<h1>for users");
    assert_eq!(page.header("cache-control"), Some("private, no-cache"));
    // Also where the session was not needed.
    let public = doorward.store_url("/public/docs/a.txt");
    let page = fetched(&mut browser, &public).await;
    assert_eq!(page.header("cache-control"), Some("private, max-age=60"));
    let reply = request(&doorward, "GET", "/public/docs/a.txt", "").await;
    assert_eq!(reply.head.all("cache-control"), ["public, max-age=60"]);
    assert_eq!(reply.head.all("x-site"), ["docs"]);
}

#[tokio::test]
async fn reload_changes_the_folder() {
    let Site { doorward, folder } = Site::start();
    write(&folder, "next/a.txt", "next");
    let path = folder.path().display().to_string();
    doorward.edit(&format!("{path}/site"), &format!("{path}/next"));
    doorward.reload_changes().await;
    let reply = request(&doorward, "GET", "/public/docs/a.txt", "").await;
    assert_eq!(reply.text(), "next");
    fs::remove_dir_all(folder.path().join("next")).expect("the folder is gone");
    let reply = request(&doorward, "GET", "/public/docs/a.txt", "").await;
    assert_eq!(reply.status(), 500);
}
