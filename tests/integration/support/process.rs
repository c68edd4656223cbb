//! The real binary as a child process. Its output is kept line by line, and it ends with its owner.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A running `doorward`. Dropping it sends SIGTERM, then kills the process.
pub struct Process {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

/// A running `doorward demo`.
#[cfg(feature = "demo")]
pub struct DemoProcess {
    /// Origins without a trailing slash.
    pub store: String,
    pub forum: String,
    pub provider: String,
    pub process: Process,
}

impl Process {
    /// Starts the binary with these arguments and exactly these environment variables.
    pub fn start<A: AsRef<OsStr>>(arguments: &[A], environment: &[(&str, &str)]) -> Self {
        Self::spawn(
            Command::new(env!("CARGO_BIN_EXE_doorward"))
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped()),
            environment,
        )
    }

    /// The same after these shell commands, such as `ulimit`.
    pub fn start_after<A: AsRef<OsStr>>(
        shell: &str,
        arguments: &[A],
        environment: &[(&str, &str)],
    ) -> Self {
        Self::spawn(
            prepared(shell, arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped()),
            environment,
        )
    }

    /// `doorward run` with this configuration file and one or two named sockets, passed as by
    /// systemd socket activation.
    pub fn run_on(
        sockets: Vec<(&str, OwnedFd)>,
        config: &OsStr,
        environment: &[(&str, &str)],
    ) -> Self {
        let process = Self::start_on(sockets, config, environment);
        process.line_with("serving");
        process
    }

    /// The same without waiting until it serves.
    pub fn start_on(
        sockets: Vec<(&str, OwnedFd)>,
        config: &OsStr,
        environment: &[(&str, &str)],
    ) -> Self {
        let (count, names) = (
            sockets.len().to_string(),
            sockets.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        );
        let names = names.join(":");
        let mut descriptors = sockets.into_iter().map(|(_, socket)| Stdio::from(socket));
        // A child inherits only its standard streams, so the shell moves them to the systemd
        // descriptors.
        let mut command = prepared(
            "exec 3<&0 4<&1 0</dev/null 1>&2; export LISTEN_PID=$$",
            &[OsStr::new("run"), "--config".as_ref(), config],
        );
        command.stdin(descriptors.next().expect("a socket"));
        if let Some(second) = descriptors.next() {
            command.stdout(second);
        }
        Self::spawn(
            &mut command,
            &[
                environment,
                &[("LISTEN_FDS", &count), ("LISTEN_FDNAMES", &names)],
            ]
            .concat(),
        )
    }

    fn spawn(command: &mut Command, environment: &[(&str, &str)]) -> Self {
        command
            .env_clear()
            .envs(environment.iter().copied())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let said = Arc::new(Mutex::new(Vec::new()));
        if let Some(stdout) = child.stdout.take() {
            keep(stdout, &said);
        }
        keep(child.stderr.take().expect("a pipe"), &said);
        Self { child, said }
    }

    /// The process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Starts `doorward run` with this configuration file and waits until it serves.
    pub fn run(config: &OsStr, environment: &[(&str, &str)]) -> Self {
        let process = Self::start(
            &[OsStr::new("run"), OsStr::new("--config"), config],
            environment,
        );
        process.line_with("serving");
        process
    }

    /// The output so far, line by line.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("no reader panicked").clone()
    }

    /// Waits for a line that contains `part`, and returns the first one.
    pub fn line_with(&self, part: &str) -> String {
        let begun = Instant::now();
        loop {
            let said = self.said();
            if let Some(line) = said.iter().find(|line| line.contains(part)) {
                return line.clone();
            }
            assert!(
                begun.elapsed() < TIMEOUT,
                "`{part}` was not said:\n{}",
                said.join("\n")
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The port from the field `name` of the `serving` event: `address` or `admin`.
    pub fn port(&self, name: &str) -> u16 {
        let line = self.line_with("serving");
        // Text format `address=127.0.0.1:1`, JSON format `"address":"127.0.0.1:1"`.
        let words = line
            .split(['"', '=', ',', ' '])
            .filter(|word| !matches!(*word, "" | ":"));
        let port = words.skip_while(|word| *word != name).nth(1);
        let port = port.and_then(|address| address.rsplit_once(':')?.1.parse().ok());
        port.unwrap_or_else(|| panic!("no port under `{name}` in `{line}`"))
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        assert!(
            self.signal("TERM"),
            "the process is gone:\n{}",
            self.said().join("\n")
        );
    }

    /// Sends SIGINT.
    pub fn interrupt(&self) {
        assert!(
            self.signal("INT"),
            "the process is gone:\n{}",
            self.said().join("\n")
        );
    }

    /// Sends this signal, such as `HUP`.
    pub fn send(&self, name: &str) {
        assert!(
            self.signal(name),
            "the process is gone:\n{}",
            self.said().join("\n")
        );
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child process");
        self.child.wait().expect("a child process");
    }

    fn signal(&self, name: &str) -> bool {
        let kill = format!("kill -{name} {}", self.child.id());
        Command::new("sh")
            .arg("-c")
            .arg(kill)
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Waits until the process has exited.
    pub fn ended(&mut self) -> ExitStatus {
        let ended = self.ends_within(TIMEOUT);
        ended.unwrap_or_else(|| panic!("it goes on:\n{}", self.said().join("\n")))
    }

    fn ends_within(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        while begun.elapsed() < timeout {
            if let Some(status) = self.child.try_wait().expect("a child process") {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // SIGTERM first, because the demo removes its temporary files.
        if self.signal("TERM") && self.ends_within(Duration::from_secs(2)).is_some() {
            return;
        }
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[cfg(feature = "demo")]
impl DemoProcess {
    /// Starts the demo on free ports with this JWT lifetime in seconds.
    pub fn start(jwt_lifetime: u64) -> Self {
        Self::start_with(jwt_lifetime, &[])
    }

    /// The same with additional arguments.
    pub fn start_with(jwt_lifetime: u64, more: &[&str]) -> Self {
        let lifetime = format!("{jwt_lifetime}s");
        let arguments = [
            "demo",
            "--port",
            "0",
            "--provider-port",
            "0",
            "--jwt-lifetime",
            &lifetime,
        ];
        let process = Process::start(&[&arguments, more].concat(), &[]);
        let origin = |of: &str| {
            let line = process.line_with(of);
            let address = line
                .split_whitespace()
                .last()
                .and_then(|address| address.strip_suffix('/'));
            address
                .unwrap_or_else(|| panic!("no address in `{line}`"))
                .to_owned()
        };
        let (store, forum, provider) = (
            origin("The store"),
            origin("The forum"),
            origin("The provider"),
        );
        process.line_with("Sign in at");
        Self {
            store,
            forum,
            provider,
            process,
        }
    }
}

/// The binary, executed after these shell commands.
fn prepared<A: AsRef<OsStr>>(shell: &str, arguments: &[A]) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(format!("{shell}; exec \"$0\" \"$@\""))
        .arg(env!("CARGO_BIN_EXE_doorward"))
        .args(arguments);
    command
}

/// Reads the pipe, because a full pipe would block the process.
fn keep(pipe: impl Read + Send + 'static, said: &Arc<Mutex<Vec<String>>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            said.lock().expect("no reader panicked").push(line);
        }
    });
}
