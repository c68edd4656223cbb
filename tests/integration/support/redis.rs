//! A real Redis: a separate server for each test, on a free loopback port, with its own directory.
//! Unit tests of the store include this file, so it depends on no other support module.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(20);
/// Another process may take a free port before the server binds it.
const TRIES: usize = 5;

/// A running `redis-server`; it is killed on drop.
pub struct RedisServer {
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// Without a password and without persistence.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more options, such as `["--requirepass", "secret"]`.
    pub fn start_with(options: &[&str]) -> Self {
        Self::on_a_free_port(|_, port| {
            [&["--port", port], options]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect()
        })
    }

    /// With persistence across restarts.
    pub fn start_persistent() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// TLS only, with this certificate and key in PEM, and more options.
    pub fn start_tls(chain_pem: &str, key_pem: &str, options: &[&str]) -> Self {
        Self::on_a_free_port(|folder, port| {
            fs::write(folder.path().join("cert.pem"), chain_pem).expect("a file");
            fs::write(folder.path().join("key.pem"), key_pem).expect("a file");
            let files =
                "--tls-cert-file cert.pem --tls-key-file key.pem --tls-ca-cert-file cert.pem";
            let tls = format!("--port 0 --tls-port {port} {files} --tls-auth-clients no");
            tls.split(' ')
                .chain(options.iter().copied())
                .map(str::to_owned)
                .collect()
        })
    }

    /// A Redis Cluster of one node with all slots.
    pub fn start_cluster() -> Self {
        let bus = free_port().to_string();
        Self::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).with_all_slots()
    }

    /// A node of a Redis Cluster, without slots.
    fn start_cluster_node() -> ClusterNode {
        let bus = free_port();
        // A node that fails is replaced soon.
        let options = "--cluster-enabled yes --cluster-node-timeout 500 --repl-diskless-sync-delay 0 \
                       --cluster-replica-validity-factor 0 --repl-ping-replica-period 1 --cluster-port";
        let bus_port = bus.to_string();
        let options: Vec<&str> = options.split(' ').filter(|word| !word.is_empty()).collect();
        let server = Self::start_with(&[&options[..], &[&bus_port]].concat());
        ClusterNode { server, bus }
    }

    /// Like `start_cluster`, over TLS.
    pub fn start_tls_cluster(chain_pem: &str, key_pem: &str) -> Self {
        let bus = free_port().to_string();
        let options = [
            "--cluster-enabled",
            "yes",
            "--tls-cluster",
            "yes",
            "--cluster-port",
            &bus,
        ];
        Self::start_tls(chain_pem, key_pem, &options).with_all_slots()
    }

    fn with_all_slots(self) -> Self {
        self.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        until("the cluster comes up", || {
            self.command(&["CLUSTER", "INFO"])
                .contains("cluster_state:ok")
        });
        self
    }

    /// A replica of this server.
    pub fn start_replica(&self) -> Self {
        let replica = Self::start_with(&["--replicaof", "127.0.0.1", &self.port.to_string()]);
        until("the replica follows", || {
            replica
                .try_command(&["ROLE"])
                .is_ok_and(|role| role.contains("connected"))
        });
        replica
    }

    /// Waits until this server is a master.
    pub fn await_master(&self) {
        until("it becomes the master", || {
            let role = self.try_command(&["ROLE"]);
            role.is_ok_and(|role| role.starts_with("master"))
        });
    }

    /// A Sentinel that monitors this server as `master`.
    pub fn start_sentinel(&self, master: &str) -> Self {
        let watched = self.port;
        let sentinel = Self::on_a_free_port(|folder, port| {
            let told = format!("port {port}\nsentinel monitor {master} 127.0.0.1 {watched} 1\n");
            fs::write(folder.path().join("sentinel.conf"), told).expect("a file");
            vec!["sentinel.conf".to_owned(), "--sentinel".to_owned()]
        });
        until("the sentinel knows the master", || {
            sentinel.command(&["SENTINEL", "MASTERS"]).contains(master)
        });
        sentinel
    }

    fn on_a_free_port(arguments: impl Fn(&TempDir, &str) -> Vec<String>) -> Self {
        for _ in 0..TRIES {
            let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
            let arguments = arguments(&folder, &port.to_string());
            let mut server = Self {
                folder,
                port,
                arguments,
                process: None,
            };
            if server.try_start() {
                return server;
            }
        }
        panic!("redis-server does not start; ./tests/run installs it");
    }

    /// Starts the process; `false` if it exits at once.
    fn try_start(&mut self) -> bool {
        let log = self.folder.path().join("redis.log");
        // The file does not exist at the first start.
        let _absent = fs::remove_file(&log);
        let always = [
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--logfile",
            "redis.log",
        ];
        let process = Command::new("redis-server")
            .args(&self.arguments)
            .args(always)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed: ./tests/run does it");
        let process = self.process.insert(process);
        let begun = Instant::now();
        while begun.elapsed() < TIMEOUT {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.contains("Ready to accept connections") || said.contains("+monitor master") {
                return true;
            }
            if process.try_wait().expect("a child process").is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("redis-server does not get ready");
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL for a configuration.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The output of a `redis-cli` command.
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Like `command`, but returns an error: a server that changes its role closes its connections.
    pub fn try_command(&self, words: &[&str]) -> Result<String, String> {
        let port = self.port.to_string();
        let is_tls = self
            .arguments
            .iter()
            .any(|argument| argument == "--tls-port");
        let how = if is_tls {
            &["--tls", "--insecure"][..]
        } else {
            &[]
        };
        let output = Command::new("redis-cli")
            .args(["-p", &port])
            .args(how)
            .args(words)
            .output()
            .expect("redis-cli");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// Stops the server; data without persistence is lost.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a child process");
            process.wait().expect("a child process");
        }
    }

    /// Starts it again on the same port and with the same directory.
    pub fn restart(&mut self) {
        self.stop();
        assert!(self.try_start(), "redis-server does not start again");
    }

    /// Suspends the process: it accepts connections and does not respond.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Resumes the process.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("it runs");
        let kill = format!("kill -{name} {}", process.id());
        assert!(
            Command::new("sh")
                .arg("-c")
                .arg(kill)
                .status()
                .is_ok_and(|status| status.success())
        );
    }
}

/// A Redis Cluster of several nodes: each master has a share of the slots and one replica.
pub struct RedisCluster {
    /// The nodes that were masters at the start.
    pub masters: Vec<RedisServer>,
    /// The replica of each master.
    pub replicas: Vec<RedisServer>,
}

struct ClusterNode {
    server: RedisServer,
    /// The port of the cluster bus.
    bus: u16,
}

/// The number of masters. A majority of them must be alive for a failover.
const MASTERS: u16 = 3;
const SLOTS: u16 = 16384;

impl RedisCluster {
    pub fn start() -> Self {
        let start = |_| RedisServer::start_cluster_node();
        let masters: Vec<ClusterNode> = (0..MASTERS).map(start).collect();
        let replicas: Vec<ClusterNode> = (0..MASTERS).map(start).collect();
        let (first, nodes) = (&masters[0].server, || masters.iter().chain(&replicas));
        for node in nodes() {
            let (port, bus) = (node.server.port().to_string(), node.bus.to_string());
            first.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        for (master, number) in masters.iter().zip(0..) {
            let from = SLOTS / MASTERS * number;
            let to = if number + 1 == MASTERS {
                SLOTS
            } else {
                from + SLOTS / MASTERS
            };
            let (from, to) = (from.to_string(), (to - 1).to_string());
            master
                .server
                .command(&["CLUSTER", "ADDSLOTSRANGE", &from, &to]);
        }
        let is_up = |node: &ClusterNode| {
            let info = node.server.command(&["CLUSTER", "INFO"]);
            let known = format!("cluster_known_nodes:{}\r", MASTERS * 2);
            info.contains("cluster_state:ok") && info.contains(&known)
        };
        until("the cluster comes up", || nodes().all(is_up));
        for (master, replica) in masters.iter().zip(&replicas) {
            let id = master.server.command(&["CLUSTER", "MYID"]);
            replica.server.command(&["CLUSTER", "REPLICATE", &id]);
        }
        let follows = |node: &ClusterNode| {
            let role = node.server.try_command(&["ROLE"]);
            role.is_ok_and(|role| role.contains("connected"))
        };
        until("the replicas follow", || replicas.iter().all(follows));
        let knows_replicas = |node: &ClusterNode| {
            let slots = node.server.command(&["CLUSTER", "SLOTS"]);
            let is_listed =
                |replica: &ClusterNode| slots.contains(&replica.server.port().to_string());
            replicas.iter().all(is_listed)
        };
        until("all nodes know the replicas", || {
            nodes().all(knows_replicas)
        });
        let servers = |nodes: Vec<ClusterNode>| nodes.into_iter().map(|node| node.server).collect();
        Self {
            masters: servers(masters),
            replicas: servers(replicas),
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that was free a moment ago, for a process that must be told its port.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < TIMEOUT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
