"""Soak test: a long mixed load with disconnecting clients, slow readers and a restarting backend.

Prints idle memory and descriptors before and after, and the responses by decision. Exits with 1 if
Doorward exited, leaked descriptors, or sent responses that the load does not explain.
"""

import argparse
import collections
import os
import pathlib
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from process import Processes, free_port, raise_file_limit

ROOT = pathlib.Path(__file__).resolve().parent.parent
ANSWER = "x" * 1024
LARGE_MIB = 64
# Longer than Doorward's own idle timeouts, so that everything it releases is released by then.
IDLE_SECONDS = 20
# Idle connections to the backend may stay in the pool.
MORE_DESCRIPTORS = 80

NGINX = """\
{user}worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.error error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {directory}/files;
        location / {{ return 200 "{answer}"; }}
        location /large {{ }}
    }}
}}
"""

DOORWARD = """\
[server]
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:{admin}"
shutdown_delay = "0s"
header_read_timeout = "5s"
max_connections_per_client = 10000
[session]
key_files = ["session.key"]
[providers.login]
issuer = "https://login.localhost:1"
[apps.store]
provider = "login"
public_url = "http://127.0.0.1:{port}"
upstream = "http://127.0.0.1:{backend}"
client_id = "store"
[[apps.store.rules]]
paths = ["/**"]
allow = "public"
"""


class Soak:
    def __init__(self, options, directory, processes):
        self.directory, self.processes = directory, processes
        self.port, self.admin, self.backend_port = free_port(), free_port(), free_port()
        self.cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        self.over = threading.Event()
        self.counts = collections.Counter()
        self.restarts = 0
        (directory / "files").mkdir()
        (directory / "files/large").write_bytes(bytes(LARGE_MIB << 20))
        user = "user root;\n" if os.geteuid() == 0 else ""
        nginx = NGINX.format(user=user, directory=directory, port=self.backend_port, answer=ANSWER)
        (directory / "nginx.conf").write_text(nginx)
        self.backend = self.start_backend()
        subprocess.run(
            [options.binary, "keygen", "--out", directory / "session.key"],
            check=True,
            capture_output=True,
        )
        config = DOORWARD.format(port=self.port, admin=self.admin, backend=self.backend_port)
        (directory / "doorward.toml").write_text(config)
        command = [options.binary, "run", "--config", str(directory / "doorward.toml")]
        # The access log is written and discarded.
        self.doorward = processes.start("Doorward", command, self.cores, out=None)
        self.wait_until_ready()

    def start_backend(self):
        files = ["-e", f"{self.directory}/nginx.error", "-c", f"{self.directory}/nginx.conf"]
        return self.processes.start("backend", ["nginx", *files], self.cores)

    def wait_until_ready(self):
        for _ in range(1000):
            try:
                with self.connect() as connection:
                    connection.sendall(
                        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n"
                        % self.port
                    )
                    if connection.recv(12) == b"HTTP/1.1 200":
                        return
            except OSError:
                pass
            time.sleep(0.01)
        raise SystemExit("Doorward does not respond")

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def held(self):
        """Memory in KiB and descriptors of the process."""
        self.doorward.check_alive()
        pid = self.doorward.popen.pid
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        resident = int(re.search(r"VmRSS:\s+(\d+)", status).group(1))
        return resident, len(os.listdir(f"/proc/{pid}/fd"))

    # The load generators. Each runs until `self.over` is set.

    @staticmethod
    def output_of(command):
        """The standard output, also of a load generator that failed: the backend restarts."""
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        return done.stdout

    def wrk(self):
        while not self.over.is_set():
            command = ["wrk", "-t1", "-c50", "-d5s", "-s", str(ROOT / "benches/wrk.lua")]
            said = self.output_of([*command, f"http://127.0.0.1:{self.port}/"])
            if found := re.search(r'"answers": (\d+)', said):
                self.counts["HTTP/1.1 requests"] += int(found.group(1))

    def h2load(self):
        while not self.over.is_set():
            command = ["h2load", "-t1", "-c20", "-m10", "-D5", f"http://127.0.0.1:{self.port}/"]
            said = self.output_of(command)
            if found := re.search(r"(\d+) succeeded", said):
                self.counts["HTTP/2 requests"] += int(found.group(1))

    def leavers(self):
        """Disconnects at random points of a request or response, half the time with a reset."""
        host = f"Host: 127.0.0.1:{self.port}\r\n"
        head = f"POST /upload HTTP/1.1\r\n{host}Content-Length: 200000\r\n\r\n"
        whole = head.encode() + bytes(200_000)
        large = f"GET /large HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode()
        while not self.over.is_set():
            try:
                with self.connect() as connection:
                    if random.random() < 0.5:
                        connection.sendall(whole[: random.randrange(len(whole))])
                    else:
                        connection.sendall(large)
                        connection.recv(random.randrange(1, 65536))
                    if random.random() < 0.5:
                        connection.setsockopt(
                            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                        )
                self.counts["clients that left"] += 1
            except OSError:
                self.counts["clients that left"] += 1
            time.sleep(0.002)

    def slow_reader(self):
        large = f"GET /large HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode()
        while not self.over.is_set():
            try:
                with self.connect() as connection:
                    connection.sendall(large)
                    for _ in range(random.randrange(10, 200)):
                        if self.over.is_set() or not connection.recv(4096):
                            break
                        time.sleep(0.05)
            except OSError:
                pass
            self.counts["slow readers"] += 1

    def restarts_of_the_backend(self):
        while not self.over.wait(random.uniform(4, 8)):
            self.processes.stop(self.backend)
            time.sleep(0.1)
            self.backend = self.start_backend()
            self.restarts += 1

    def answers(self):
        """Counts of responses by decision and status class, from Doorward's own metrics."""
        with socket.create_connection(("127.0.0.1", self.admin), timeout=10) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            text = b""
            while more := connection.recv(65536):
                text += more
        found = re.findall(
            r'doorward_requests_total\{app="store",decision="(\w+)",status_class="(\w+)"\} (\d+)',
            text.decode(),
        )
        return {(decision, status): int(count) for decision, status, count in found}


def main():
    parser = argparse.ArgumentParser(prog="benches/soak", description=__doc__)
    parser.add_argument("minutes", type=float)
    parser.add_argument(
        "--binary", default=str(ROOT / "target/release/doorward"), help="Doorward binary to test"
    )
    options = parser.parse_args()
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="doorward-soak-") as name, Processes() as processes:
        sys.exit(run(Soak(options, pathlib.Path(name), processes), options.minutes))


def run(soak, minutes):
    # What the first requests allocate permanently is not a leak.
    load(soak, 10)
    before = soak.held()
    print(f"idle before: {before[0]} KiB, {before[1]} descriptors", flush=True)
    load(soak, minutes * 60)
    after = soak.held()
    print(f"idle after:  {after[0]} KiB, {after[1]} descriptors")
    print(
        ", ".join(f"{count} {what}" for what, count in sorted(soak.counts.items())),
        f"and {soak.restarts} restarts of the backend",
    )
    unexplained = 0
    for (code, status), count in sorted(soak.answers().items(), key=lambda answer: -answer[1]):
        explained = status == "2xx" or code.startswith(
            ("upstream_", "client_", "request_", "answer_")
        )
        unexplained += 0 if explained else count
        print(
            f"{count:>12} {code} {status}{'' if explained else '  <-- not explained by the load'}"
        )
    grown = after[1] - before[1]
    if grown > MORE_DESCRIPTORS or unexplained:
        print(f"{grown} more descriptors, {unexplained} unexplained responses")
        return 1
    return 0


def load(soak, seconds):
    soak.over.clear()
    jobs = [
        soak.wrk,
        soak.h2load,
        soak.restarts_of_the_backend,
        *[soak.leavers] * 4,
        *[soak.slow_reader] * 20,
    ]
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(30, left))
        resident, descriptors = soak.held()
        print(f"{left:6.0f} s left: {resident} KiB, {descriptors} descriptors", flush=True)
    soak.over.set()
    for thread in threads:
        thread.join()
    time.sleep(IDLE_SECONDS)


if __name__ == "__main__":
    main()
