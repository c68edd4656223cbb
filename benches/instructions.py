"""Counts the instructions that Doorward executes for one request, by row.

Callgrind counts what a process executes outside the kernel. The count of a row is the difference
between a run of 2 N requests and one of N, divided by N: start-up and handshakes cancel out. It
does not depend on the load of the machine, and differs by less than 1 % between runs.
"""

import argparse
import contextlib
import dataclasses
import functools
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import load
import peers
from device import BoundSession
from load import Ask
from login import PUBLIC_HOST, Provider, Session
from process import Processes, free_port, raise_file_limit

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORE = 0
REQUESTS = 1000
# The first requests of a process fill its caches and grow its buffers.
WARM_UP = 200
H2_STREAMS = 4
# Under callgrind a process is about fifty times slower.
START_SECONDS = 180


@dataclasses.dataclass
class Row:
    """A request: its protocol, path and credential."""

    protocol: str
    path: str = "/account"
    # "session", one that is "bound" to a device, or a bearer token that was "seen" before or is
    # "new" in each request
    credential: str = ""

    @property
    def tls(self):
        return self.protocol != "h1"

    @property
    def instance(self):
        return self.tls, peers.BOUND if self.credential == "bound" else "Doorward"


ROWS = {
    "public-h1": Row("h1", "/public"),
    "session-h1": Row("h1", credential="session"),
    "bound-h1": Row("h1", credential="bound"),
    "bearer-seen-h1": Row("h1", credential="seen"),
    "bearer-new-h1": Row("h1", credential="new"),
    "public-tls": Row("tls", "/public"),
    "session-tls": Row("tls", credential="session"),
    "public-h2": Row("h2", "/public"),
    "session-h2": Row("h2", credential="session"),
}


def main():
    options = arguments()
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="doorward-bench-") as name, Processes() as processes:
        counter = Counter(options, pathlib.Path(name), processes)
        counts = [counter.count(binary) for binary in options.binaries]
    for row in options.rows:
        print(f"{row:16}", *(f"{count[row]:>10,}" for count in counts))


def arguments():
    parser = argparse.ArgumentParser(prog="benches/instructions", description=__doc__)
    parser.add_argument("--only", help=f"rows, separated by commas: {', '.join(ROWS)}")
    parser.add_argument(
        "--binary", default=str(ROOT / "target/release/doorward"), help="Doorward binary to count"
    )
    parser.add_argument("--beside", help="second Doorward binary to compare")
    parser.add_argument(
        "--profiles", type=pathlib.Path, help="directory for the profiles, for callgrind_annotate"
    )
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        raise SystemExit(f"unknown rows: {', '.join(unknown)}; available: {', '.join(ROWS)}")
    options.rows = {name: ROWS[name] for name in names}
    options.binaries = [options.binary, *([options.beside] if options.beside else [])]
    if options.profiles:
        options.profiles.mkdir(parents=True, exist_ok=True)
    return options


class Counter:
    """The processes around the counted one, and a session."""

    def __init__(self, options, directory, processes):
        self.options, self.directory, self.processes = options, directory, processes
        peers.certificate(directory)
        backend = peers.backend(directory, free_port())
        running = processes.start(backend.name, backend.command, CORE, out=backend.out)
        load.first_answer_ms(running, backend, Ask("h1"))
        self.backend_port = backend.port
        self.provider = Provider(processes, CORE, directory, WARM_UP + 3 * REQUESTS)
        self.provider.wait()
        # The login is not counted. All instances accept its session.
        self.plain = self.doorward(options.binary, False)
        running = processes.start(self.plain.name, self.plain.command, CORE, out=self.plain.out)
        load.first_answer_ms(running, self.plain, Ask("h1"))
        self.session = Session()
        self.session.log_in(self.plain.port)
        self.bound_session = BoundSession(directory)

    def doorward(self, binary, tls, name="Doorward"):
        ports = (free_port(), self.backend_port)
        return peers.doorward(binary, self.directory, *ports, self.provider, tls, name)

    def count(self, binary):
        """The instructions for a request, by row."""
        counts = {}
        for instance in ((False, "Doorward"), (True, "Doorward"), (False, peers.BOUND)):
            rows = {n: row for n, row in self.options.rows.items() if row.instance == instance}
            if rows:
                counted = Counted(self.doorward(binary, *instance), self.processes)
                counts |= {name: self.count_row(counted, name, row) for name, row in rows.items()}
                counted.stop()
        return counts

    def count_row(self, counted, name, row):
        fields = []
        if row.credential == "session":
            # Takes over the renewed activity cookie, as a browser would.
            self.session.use(self.plain.port)
            fields = [("Cookie", crumb) for crumb in self.session.crumbs()]
        if row.credential == "bound":
            if not self.bound_session.cookies:
                self.bound_session.bind(counted.proxy.port)
            self.bound_session.use(counted.proxy.port)
            fields = [("Cookie", crumb) for crumb in self.bound_session.crumbs()]
        if row.credential == "seen":
            fields = [("Authorization", f"Bearer {self.provider.seen_token()}")]
        if row.protocol == "h2":
            run = functools.partial(run_h2, counted.proxy, row.path, fields)
        else:
            new = self.provider.tokens_file.read_text().split() if row.credential == "new" else []
            run = functools.partial(run_h1, counted.proxy, row.path, fields, iter(new))
        run(WARM_UP)
        once, _ = counted.count(lambda: run(REQUESTS))
        twice, profile = counted.count(lambda: run(2 * REQUESTS))
        if self.options.profiles:
            shutil.copy(profile, self.options.profiles / name)
        return round((twice - once) / REQUESTS)


class Counted:
    """A Doorward whose instructions are counted."""

    def __init__(self, proxy, processes):
        self.proxy, self.processes, self.dumps = proxy, processes, 0
        self.out = proxy.out.with_suffix(".callgrind")
        command = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={self.out}"]
        self.process = processes.start(proxy.name, [*command, *proxy.command], CORE, out=proxy.out)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.process.check_alive()
            with contextlib.suppress(OSError):
                load.ask_once(proxy, Ask("h1"))
                return
            time.sleep(0.2)
        raise SystemExit(f"{proxy.name} did not respond within {START_SECONDS} s")

    def count(self, run):
        """The number of instructions during `run`, and the file of their profile."""
        self._control("--zero")
        run()
        self._control("--dump")
        self.dumps += 1
        profile = pathlib.Path(f"{self.out}.{self.dumps}")
        totals = re.search(r"^totals: (\d+)$", profile.read_text(), re.MULTILINE)
        return int(totals.group(1)), profile

    def _control(self, action):
        command = ["callgrind_control", action, str(self.process.popen.pid)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def stop(self):
        self.processes.stop(self.process)


def run_h1(proxy, path, fields, tokens, count):
    """Requests one after the other on one connection, with the next token each if there are any."""
    given = {"Host": PUBLIC_HOST, **load.joined(fields)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    with load.connect(proxy) as connection, connection.makefile("rb") as responses:
        for _ in range(count):
            token = next(tokens, None)
            bearer = f"Authorization: Bearer {token}\r\n" if token else ""
            connection.sendall(f"GET {path} HTTP/1.1\r\n{lines}{bearer}\r\n".encode())
            status = responses.readline()
            while responses.readline() != b"\r\n":
                pass
            responses.read(peers.ANSWER_BYTES)
            if b" 200 " not in status:
                raise SystemExit(f"{proxy.name} responded with {status.decode().strip()}")


def run_h2(proxy, path, fields, count):
    """Requests on one connection, several at a time."""
    command = [
        "h2load", f"-n{count}", "-c1", f"-m{H2_STREAMS}", "-t1",
        *(f"--header={name}: {value}" for name, value in fields),
        f"--connect-to=127.0.0.1:{proxy.port}", f"https://{PUBLIC_HOST}{path}",
    ]  # fmt: skip
    told = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout
    if f"status codes: {count} 2xx" not in told:
        raise SystemExit(f"{proxy.name} did not respond to every request:\n{told}")


if __name__ == "__main__":
    main()
