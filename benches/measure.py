"""Compares Doorward with nginx and HAProxy.

Every round measures every row once. Ratios are computed within a round and reduced to their median,
so that a machine that is slow for a while distorts them little.
"""

import argparse
import dataclasses
import os
import pathlib
import subprocess
import tempfile

import load
import peers
import report
from device import BoundSession
from load import Ask
from login import TOKENS, Provider, Session
from process import Processes, free_port, raise_file_limit
from rows import EDGES, ONCE, ROUNDS, chosen

ROOT = pathlib.Path(__file__).resolve().parent.parent
IDLE = (1_000, 10_000)
STARTS = 3


def main():
    options = arguments()
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="doorward-bench-") as name, Processes() as processes:
        measured = Bench(options, pathlib.Path(name), processes).measure()
    text = report.text(measured, options)
    print(text)
    if options.out:
        pathlib.Path(options.out).write_text(text)


def arguments():
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit(
            "two cores are needed: one for the proxy, one for the load and the backend"
        )
    parser = argparse.ArgumentParser(prog="benches/run", description=__doc__)
    parser.add_argument(
        "--only",
        help="rows to measure, separated by commas; the nginx rows that they are compared with are "
        f"added. Available: {', '.join([*ROUNDS, *ONCE])}",
    )
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (%(default)s)")
    parser.add_argument(
        "--seconds", type=int, default=2, help="duration of each measurement (%(default)s)"
    )
    parser.add_argument(
        "--proxy-core", type=int, default=cores[-1], help="core of the proxy (%(default)s)"
    )
    parser.add_argument(
        "--load-core",
        type=int,
        default=cores[0],
        help="core of the load generator and the backend (%(default)s)",
    )
    parser.add_argument(
        "--binary", default=str(ROOT / "target/release/doorward"), help="Doorward binary to measure"
    )
    parser.add_argument(
        "--beside", help="second Doorward binary to compare, measured in the same rounds"
    )
    parser.add_argument(
        "--profile", metavar="FILE", help="record one more measurement of the last row with perf"
    )
    parser.add_argument(
        "--out", help="file for the tables; default: benches/RESULTS.md, or no file with --only"
    )
    options = parser.parse_args()
    options.rows, options.once = chosen(options.only)
    if options.beside:
        options.rows = [twin for row in options.rows for twin in with_beside(row)]
    if options.out is None and not options.only:
        options.out = str(ROOT / "benches/RESULTS.md")
    return options


def with_beside(row):
    """The row, followed by the same row for the second binary."""
    if row.kind != "Doorward":
        return [row]
    label = row.label.replace("Doorward", "the one beside")
    return [row, dataclasses.replace(row, name=f"beside-{row.name}", label=label, kind="beside")]


class Bench:
    """The running processes and the session."""

    def __init__(self, options, directory, processes):
        self.options, self.directory, self.processes = options, directory, processes
        peers.certificate(directory)
        backend = peers.backend(directory, free_port())
        running = processes.start(backend.name, backend.command, options.load_core, out=backend.out)
        load.first_answer_ms(running, backend, Ask("h1"))
        self.backend_port = backend.port
        tokens = TOKENS if any(row.bearer == "new" for row in options.rows) else 1
        self.provider = Provider(processes, options.load_core, directory, tokens)
        self.session, self.edge_session = Session(), Session()
        self.bound_session = BoundSession(directory)
        self.running = {}

    def proxy(self, kind, tls):
        """The command and configuration of a proxy of this kind."""
        common = (self.directory, free_port(), self.backend_port)
        if kind == "nginx":
            return peers.nginx(*common, tls)
        if kind.startswith("HAProxy"):
            return peers.haproxy(
                *common, tls, self.provider.public_key_file if kind == "HAProxy-bearer" else None
            )
        binary = self.options.beside if kind == "beside" else self.options.binary
        return peers.doorward(binary, *common, self.provider, tls, kind)

    def start(self, kind, tls):
        """Starts a proxy. Returns its process, the proxy, and the milliseconds to readiness."""
        if kind in EDGES:
            return self.start_edge(kind)
        proxy = self.proxy(kind, tls)
        process = self.processes.start(
            proxy.name, proxy.command, self.options.proxy_core, out=proxy.out
        )
        return process, proxy, load.first_answer_ms(process, proxy, Ask("h1"))

    def start_edge(self, kind):
        """Starts Doorward and a proxy that asks it, on the core of the load.

        Returns Doorward's process and the proxy.
        """
        options, ports = self.options, (free_port(), free_port())
        common = (self.directory, ports[0], self.backend_port)
        asked = peers.doorward(
            options.binary, *common, self.provider, False, kind, decision_port=ports[1]
        )
        process = self.processes.start(asked.name, asked.command, options.proxy_core, out=asked.out)
        load.first_answer_ms(process, asked, Ask("h1"))
        if not self.edge_session.cookies:
            self.edge_session.log_in(asked.port)
        proxy = peers.edge(kind, self.directory, free_port(), self.backend_port, *ports)
        edge = self.processes.start(proxy.name, proxy.command, options.load_core, out=proxy.out)
        return process, proxy, load.first_answer_ms(edge, proxy, Ask("h1"))

    def ready(self, row):
        """The running proxy of a row, and the request for this round."""
        if row.fresh and row.instance in self.running:
            self.processes.stop(self.running.pop(row.instance)[0])
        if row.instance not in self.running:
            process, proxy, _ = self.start(row.kind, row.tls)
            self.running[row.instance] = (process, proxy)
        process, proxy = self.running[row.instance]
        ask = row.ask
        if row.signed_in:
            # Takes over the renewed activity cookie, as a browser would.
            if row.kind in EDGES:
                session = self.edge_session
                session.use(proxy.port)
            elif row.kind == peers.BOUND:
                session = self.bound_session
                if not session.cookies:
                    session.bind(proxy.port)
                session.use(proxy.port)
            else:
                session = self.session
                session.use(self.running[("Doorward", False)][1].port)
            ask = dataclasses.replace(
                ask, fields=tuple(("Cookie", crumb) for crumb in session.crumbs())
            )
        if row.bearer == "seen":
            ask = dataclasses.replace(
                ask, fields=(("Authorization", f"Bearer {self.provider.seen_token()}"),)
            )
        if row.bearer == "new":
            ask = dataclasses.replace(ask, tokens=self.provider.tokens_file)
        return process, proxy, ask

    def measure(self):
        options = self.options
        self.provider.wait()
        process, proxy, _ = self.start("Doorward", False)
        self.running[("Doorward", False)] = (process, proxy)
        self.session.log_in(proxy.port)
        alone = self.alone() if "start" in options.once or "memory" in options.once else {}
        rounds = []
        for number in range(options.rounds):
            rounds.append(self.round())
            print(
                f"round {number + 1}:",
                *(f"{row} {told(was)};" for row, was in rounds[-1].items()),
                flush=True,
            )
        if options.profile:
            self.profile(options.rows[-1])
        cookies = "; ".join(self.session.crumbs())
        sizes = {"cookies": len(cookies), "token": len(self.provider.seen_token())}
        return {
            "rows": options.rows,
            "rounds": rounds,
            "alone": alone,
            "sizes": sizes,
            "versions": versions(options),
        }

    def round(self):
        options, seen = self.options, {}
        for row in options.rows:
            process, proxy, ask = self.ready(row)
            if row.what == "new":
                seen[row.name] = load.new_connections(process, proxy, options.load_core)
            elif row.what == "download":
                seen[row.name] = {"download_us": load.download(process, proxy)}
            else:
                if not ask.tokens:
                    load.check(proxy, ask)
                visit = (options.seconds, options.load_core, self.directory)
                seen[row.name] = load.requests(process, proxy, ask, *visit)
        return seen

    def alone(self):
        """Start-up time and memory of each proxy, measured once in separate processes."""
        found = {}
        for kind in ("nginx", "HAProxy", "Doorward"):
            for tls in (False, True):
                starts = []
                for count in range(STARTS):
                    process, proxy, took = self.start(kind, tls)
                    starts.append(took)
                    if count + 1 < STARTS:
                        self.processes.stop(process)
                used = load.memory(process, proxy, IDLE) if "memory" in self.options.once else {}
                self.processes.stop(process)
                found[(kind, tls)] = {"start_ms": load.median(starts), "used_kib": used}
                print(f"{kind}{' with TLS' if tls else ''}: {found[(kind, tls)]}", flush=True)
        return found

    def profile(self, row):
        process, proxy, ask = self.ready(row)
        pids = ",".join(map(str, process.tree()))
        options = ["-q", "-F", "2999", "-g", "-o", self.options.profile, "-p", pids]
        recording = subprocess.Popen(["perf", "record", *options])
        load.requests(
            process, proxy, ask, self.options.seconds, self.options.load_core, self.directory
        )
        recording.terminate()
        recording.wait(60)
        print(f"{row.name}: recorded in {self.options.profile}")


def told(was):
    """The first figure of a measurement, formatted."""
    return f"{next(iter(was.values())):.1f} µs"


def versions(options):
    def said(*command):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return (done.stdout + done.stderr).splitlines()[0]

    return {
        "Doorward": said(options.binary, "--version").split()[-1],
        "nginx": said("nginx", "-v").rpartition("/")[2],
        "HAProxy": said("haproxy", "-v").split()[2].partition("-")[0],
    }


if __name__ == "__main__":
    main()
