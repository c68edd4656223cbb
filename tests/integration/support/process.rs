//! The real binary as a process of its own: what it says is kept line by line, and it ends with its owner.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A running `doorward`. It is told to end, and if it does not, killed, when this is dropped.
pub struct Process {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

/// A running `doorward demo`.
#[cfg(feature = "demo")]
pub struct DemoProcess {
    /// Origins without a slash at the end.
    pub store: String,
    pub forum: String,
    pub provider: String,
    pub process: Process,
}

impl Process {
    /// Starts it with these arguments, and these variables as its whole environment.
    pub fn start<A: AsRef<OsStr>>(arguments: &[A], environment: &[(&str, &str)]) -> Self {
        Self::spawn(
            Command::new(env!("CARGO_BIN_EXE_doorward"))
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped()),
            environment,
        )
    }

    /// The same after these commands of the shell, such as `ulimit`.
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

    /// `doorward run` with this configuration file and one or two sockets, with their names, that were opened for it, as
    /// systemd hands them over.
    pub fn run_on(
        sockets: Vec<(&str, OwnedFd)>,
        config: &OsStr,
        environment: &[(&str, &str)],
    ) -> Self {
        let process = Self::start_on(sockets, config, environment);
        process.line_with("serving");
        process
    }

    /// The same, which may fail to start.
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
        // The standard streams are what can be handed to a child; the shell then puts them where systemd does.
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

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `doorward run` with this configuration file, listening.
    pub fn run(config: &OsStr, environment: &[(&str, &str)]) -> Self {
        let process = Self::start(
            &[OsStr::new("run"), OsStr::new("--config"), config],
            environment,
        );
        process.line_with("serving");
        process
    }

    /// What it said so far on both outputs, line by line.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("no reader panicked").clone()
    }

    /// Waits until it has said a line with `part`, and gives the first such line.
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

    /// The port that it says it listens on, under this `name` in the line that tells so: `address` or `admin`.
    pub fn port(&self, name: &str) -> u16 {
        let line = self.line_with("serving");
        // As text `address=127.0.0.1:1`, as JSON `"address":"127.0.0.1:1"`.
        let words = line
            .split(['"', '=', ',', ' '])
            .filter(|word| !matches!(*word, "" | ":"));
        let port = words.skip_while(|word| *word != name).nth(1);
        let port = port.and_then(|address| address.rsplit_once(':')?.1.parse().ok());
        port.unwrap_or_else(|| panic!("no port under `{name}` in `{line}`"))
    }

    /// Sends SIGTERM, as a service manager does.
    pub fn terminate(&self) {
        assert!(
            self.signal("TERM"),
            "the process is gone:\n{}",
            self.said().join("\n")
        );
    }

    /// Sends SIGINT, as the terminal does for Ctrl-C.
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
        // In good order first: it has temporary files to remove.
        if self.signal("TERM") && self.ends_within(Duration::from_secs(2)).is_some() {
            return;
        }
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[cfg(feature = "demo")]
impl DemoProcess {
    /// Starts it on free ports, with JWTs that live so many seconds.
    pub fn start(jwt_lifetime: u64) -> Self {
        Self::start_with(jwt_lifetime, &[])
    }

    /// The same with more arguments.
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

/// The binary, after these commands of the shell, whose process becomes its own.
fn prepared<A: AsRef<OsStr>>(shell: &str, arguments: &[A]) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(format!("{shell}; exec \"$0\" \"$@\""))
        .arg(env!("CARGO_BIN_EXE_doorward"))
        .args(arguments);
    command
}

/// A pipe that fills up would stop the process.
fn keep(pipe: impl Read + Send + 'static, said: &Arc<Mutex<Vec<String>>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            said.lock().expect("no reader panicked").push(line);
        }
    });
}
