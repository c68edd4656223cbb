//! Real servers behind Doorward: nginx, Python and Node, each a separate process.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};

use crate::support::assertions::Dialogue;
use crate::support::eventually;
use crate::support::wire::Wire;

/// All backends; they are stopped on drop.
pub(super) struct Backends {
    /// The address of each backend, by name.
    pub(super) addresses: BTreeMap<String, BackendAddress>,
    processes: Vec<Child>,
    folder: TempDir,
}

/// The address of a backend.
#[derive(Clone, Debug)]
pub(super) enum BackendAddress {
    Port(u16),
    Socket(PathBuf),
}

const ON_SOCKETS: [&str; 5] = [
    "nginx-files",
    "nginx-unmerged",
    "nginx-places",
    "nginx-before-python",
    "nginx-any-case",
];

impl Backends {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let files = folder.path().join("files");
        for (name, text) in [
            ("index.html", "public"),
            ("public/x", "public"),
            ("admin/index.html", "PROTECTED"),
            ("admin/x", "PROTECTED"),
        ] {
            let file = files.join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            std::fs::write(file, text).expect("a file");
        }
        let sources =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/path_confusion");
        let mut backends = Self {
            addresses: BTreeMap::new(),
            processes: Vec::new(),
            folder,
        };
        backends.on_ports(Command::new("node").arg(sources.join("server.mjs")));
        backends.on_ports(
            Command::new("python3")
                .arg(sources.join("server.py"))
                .arg(&files),
        );
        backends
            .on_sockets(&sources.join("nginx.conf"), &files)
            .await;
        backends
    }

    /// The files of the servers.
    pub(super) fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// Starts a process that prints its ports.
    fn on_ports(&mut self, command: &mut Command) {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node and python3");
        let mut line = String::new();
        let read = BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line);
        self.processes.push(child);
        read.expect("a line");
        let ports: BTreeMap<String, u16> =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.addresses.extend(
            ports
                .into_iter()
                .map(|(name, port)| (name, BackendAddress::Port(port))),
        );
    }

    async fn on_sockets(&mut self, template: &Path, files: &Path) {
        let folder = self.folder.path().to_owned();
        let Some(BackendAddress::Port(python)) = self.addresses.get("python-files") else {
            panic!("Python comes first")
        };
        let text = std::fs::read_to_string(template).expect("the configuration");
        let text = text
            .replace("@folder@", &folder.display().to_string())
            .replace("@files@", &files.display().to_string())
            .replace("@python@", &python.to_string());
        let file = folder.join("nginx.conf");
        std::fs::write(&file, text).expect("a file");
        // The workers may run as another user, who must be able to read the files.
        let readable = Command::new("chmod")
            .args(["-R", "a+rX"])
            .arg(&folder)
            .status();
        assert!(
            readable.is_ok_and(|status| status.success()),
            "the folder could not be made readable"
        );
        let start = |program: &str| {
            Command::new(program)
                .arg("-e")
                .arg(folder.join("nginx.error"))
                .arg("-c")
                .arg(&file)
                .stdin(Stdio::null())
                .spawn()
        };
        // Debian installs it in a directory that is only in root's `PATH`.
        let child = start("nginx")
            .or_else(|_| start("/usr/sbin/nginx"))
            .expect("nginx");
        self.processes.push(child);
        let sockets = ON_SOCKETS.map(|name| (name, folder.join(format!("{name}.sock"))));
        eventually("nginx listens", || {
            sockets.iter().all(|(_, socket)| socket.exists())
        })
        .await;
        self.addresses.extend(
            sockets
                .into_iter()
                .map(|(name, socket)| (name.to_owned(), BackendAddress::Socket(socket))),
        );
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        for child in &mut self.processes {
            // SIGTERM, so that nginx stops its workers.
            let _asked = Command::new("kill").arg(child.id().to_string()).status();
            let _ended = child.wait();
        }
    }
}

impl BackendAddress {
    /// The value for an app's `upstream`.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Port(port) => format!("http://127.0.0.1:{port}"),
            Self::Socket(path) => format!("unix:{}", path.display()),
        }
    }

    /// A connection that bypasses Doorward.
    pub(super) async fn dialogue(&self) -> Dialogue {
        Dialogue(match self {
            Self::Port(port) => Wire::new(
                TcpStream::connect(("127.0.0.1", *port))
                    .await
                    .expect("a connection"),
            ),
            Self::Socket(path) => Wire::new(UnixStream::connect(path).await.expect("a connection")),
        })
    }
}
