//! Real clients: curl, git over HTTP, and vdirsyncer with Radicale as the app.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{PASSWORD, checks};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::User;
use crate::support::real_server::{RealServer, tool};
use crate::support::redis::free_port;

/// A Doorward whose port real clients can reach, with an app at `http://localhost:PORT`, or below a path
/// there, that accepts Basic only.
struct Site {
    doorward: Doorward,
    url: String,
    folder: TempDir,
    _app: RealServer,
}

impl Site {
    fn start(app: RealServer, folder: TempDir) -> Self {
        Self::start_below("", app, folder, "")
    }

    /// The same below the path `base`, with these tables.
    fn start_below(base: &str, app: RealServer, folder: TempDir, more: &str) -> Self {
        let port = free_port();
        let url = format!("http://localhost:{port}{base}");
        let tables = format!(
            "[apps.real]\nprovider = \"login\"\npublic_url = \"{url}\"\n\
             upstream = \"http://127.0.0.1:{}\"\nclient_id = \"store\"\n\
             client_secret_file = \"store.secret\"\n\
             [apps.real.headers]\n\"X-Remote-User\" = \"{{preferred_username}}\"\n\
             [[apps.real.rules]]\npaths = [\"/**\"]\nallow = \"authenticated\"\n\
             auth_methods = [\"basic\"]\n{more}",
            app.port
        );
        let doorward = Setup::plain().port(port).more(&tables).start();
        let alice = User::new("alice", &[]);
        doorward.provider.add_user("alice", PASSWORD, alice);
        Self {
            doorward,
            url,
            folder,
            _app: app,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn curl(&self, arguments: &[&str], path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--write-out", "\n%{http_code}"]);
        curl.args(arguments).arg(format!("{}{path}", self.url));
        curl
    }

    /// A curl that sends alice's password.
    fn curl_as_alice(&self, arguments: &[&str], path: &str) -> Command {
        let mut curl = self.curl(arguments, path);
        curl.arg("--user").arg(format!("alice:{PASSWORD}"));
        curl
    }
}

async fn run(mut command: Command) -> (bool, String) {
    let output = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
    let output = output
        .await
        .expect("no panic")
        .expect("an installed client");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// Files over HTTP, which git reads as a repository without a service of its own.
async fn file_server(folder: &Path) -> RealServer {
    let port = free_port();
    let mut server = Command::new("python3");
    server.args([
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        &port.to_string(),
    ]);
    server.current_dir(folder);
    RealServer::start(server, port).await
}

fn git(folder: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .args([
            "-c",
            "user.name=Alice",
            "-c",
            "user.email=alice@example.test",
        ]);
    git
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_clones_with_a_password() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [
        &["init", "--quiet", "work"][..],
        &[
            "-C",
            "work",
            "commit",
            "--quiet",
            "--allow-empty",
            "--message",
            "First",
        ],
        &["clone", "--quiet", "--bare", "work", "book.git"],
        &["-C", "book.git", "update-server-info"],
    ] {
        let mut git = git(folder.path());
        git.args(arguments);
        let (succeeded, output) = run(git).await;
        assert!(succeeded, "{arguments:?}: {output}");
    }
    let app = file_server(folder.path()).await;
    let site = Site::start(app, folder);
    let with_password = |user: &str, password: &str| {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let (user, password) = (encode(user), encode(password));
        site.url.replace("//", &format!("//{user}:{password}@"))
    };
    let mut list = git(site.folder.path());
    list.args([
        "ls-remote",
        &format!("{}/book.git", with_password("alice", PASSWORD)),
    ]);
    let (succeeded, output) = run(list).await;
    assert!(succeeded && output.contains("refs/heads/"), "{output}");
    let mut clone = git(site.folder.path());
    clone.args([
        "clone",
        "--quiet",
        &format!("{}/book.git", with_password("alice", PASSWORD)),
        "copy",
    ]);
    let (succeeded, output) = run(clone).await;
    assert!(succeeded && site.path("copy/.git").exists(), "{output}");
    assert_eq!(checks(&site.doorward), 1);

    let mut wrong = git(site.folder.path());
    wrong.args([
        "ls-remote",
        &format!("{}/book.git", with_password("alice", "wrong")),
    ]);
    let (succeeded, output) = run(wrong).await;
    assert!(
        !succeeded && output.contains("Authentication failed"),
        "{output}"
    );
    let mut anonymous = git(site.folder.path());
    anonymous.args(["ls-remote", &format!("{}/book.git", site.url)]);
    let (succeeded, output) = run(anonymous).await;
    assert!(
        !succeeded && output.contains("could not read Username"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_answers_the_challenge() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("page"), "hello").expect("a file");
    let app = file_server(folder.path()).await;
    let site = Site::start(app, folder);
    for arguments in [
        &["--basic"][..],
        &["--anyauth"],
        &["--http2-prior-knowledge"],
    ] {
        let (_, output) = run(site.curl_as_alice(arguments, "/page")).await;
        assert_eq!(output, "hello\n200", "{arguments:?}");
    }
    let (_, output) = run(site.curl(&["--user", "alice:wrong"], "/page")).await;
    assert!(output.ends_with("\n401"), "{output}");
    let (_, output) = run(site.curl(&[], "/page")).await;
    assert!(output.ends_with("\n401"), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vdirsyncer_keeps_a_calendar_in_step() {
    keeps_a_calendar_in_step("", "").await;
}

/// Radicale makes the paths in its responses from `X-Script-Name`, which it gets beside stripped paths.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vdirsyncer_keeps_a_calendar_below_a_path_in_step() {
    let route = "[[apps.real.routes]]\npath = \"/dav/**\"\nstrip_prefix = \"/dav\"\n\
                 request_headers.set = { X-Script-Name = \"/dav\" }\n";
    keeps_a_calendar_in_step("/dav", route).await;
}

async fn keeps_a_calendar_in_step(base: &str, tables: &str) {
    const EVENT: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:one\r\n\
        DTSTAMP:20270101T000000Z\r\nDTSTART:20270102T100000Z\r\nSUMMARY:Tea\r\nEND:VEVENT\r\n\
        END:VCALENDAR\r\n";
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mut radicale = tool("radicale");
    radicale.args(["--config", "", "--auth-type", "http_x_remote_user"]);
    radicale.args(["--server-hosts", &format!("127.0.0.1:{port}")]);
    radicale
        .arg("--storage-filesystem-folder")
        .arg(folder.path().join("storage"));
    let app = RealServer::start(radicale, port).await;
    let site = Site::start_below(base, app, folder, tables);
    let create = site.curl_as_alice(&["--request", "MKCALENDAR"], "/alice/work/");
    let (_, output) = run(create).await;
    assert!(output.ends_with("\n201"), "{output}");

    let write = |name: &str, text: &str| fs::write(site.path(name), text).expect("a file");
    fs::create_dir(site.path("local")).expect("a folder");
    write("local/one.ics", EVENT);
    let config = |password: &str| {
        format!(
            "[general]\nstatus_path = \"{folder}/status\"\n\
             [pair work]\na = \"here\"\nb = \"there\"\ncollections = null\n\
             [storage here]\ntype = \"filesystem\"\npath = \"{folder}/local\"\nfileext = \".ics\"\n\
             [storage there]\ntype = \"caldav\"\nurl = \"{url}/alice/work/\"\n\
             username = \"alice\"\npassword = \"{password}\"\n",
            folder = site.folder.path().display(),
            url = site.url,
        )
    };
    let vdirsyncer = |action: &str| {
        let mut vdirsyncer = tool("vdirsyncer");
        vdirsyncer
            .arg("--config")
            .arg(site.path("config"))
            .arg(action);
        vdirsyncer
    };
    write("config", &config(PASSWORD));
    for action in ["discover", "sync", "sync"] {
        let (succeeded, output) = run(vdirsyncer(action)).await;
        assert!(succeeded, "{action}: {output}");
    }
    let (_, calendar) = run(site.curl_as_alice(&[], "/alice/work/")).await;
    assert!(
        calendar.contains("SUMMARY:Tea") && calendar.ends_with("\n200"),
        "{calendar}"
    );
    assert_eq!(
        checks(&site.doorward),
        1,
        "for all requests of both clients"
    );

    write("config", &config("wrong"));
    let (_, discovery) = run(vdirsyncer("discover")).await;
    let (succeeded, output) = run(vdirsyncer("sync")).await;
    let refused = [&discovery, &output]
        .iter()
        .any(|output| output.contains("401") || output.contains("Too Many Requests"));
    assert!(!succeeded && refused, "{discovery}\n{output}");
}
