"""Measures Doorward beside nginx and HAProxy: every round visits every row in turn, ratios are formed within a
round and then reduced to their median, so that a machine that is slow for a while disturbs little."""

import argparse
import dataclasses
import os
import pathlib
import statistics
import subprocess
import tempfile

import load
import peers
import report
from login import Login
from process import Processes, free_port, raise_file_limit

ROOT = pathlib.Path(__file__).resolve().parent.parent
IDLE = 1000


def main():
    options = arguments()
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="doorward-bench-") as name, Processes() as processes:
        measured = measure(options, pathlib.Path(name), processes)
    text = report.text(measured, options)
    print(text)
    if options.out:
        pathlib.Path(options.out).write_text(text)


def arguments():
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed: one for the proxy, one for the load and the backend")
    parser = argparse.ArgumentParser(prog="benches/run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often every row is visited (%(default)s)")
    parser.add_argument("--seconds", type=int, default=3, help="how long each visit lasts (%(default)s)")
    parser.add_argument("--proxy-core", type=int, default=cores[-1], help="where the proxy runs (%(default)s)")
    parser.add_argument("--load-core", type=int, default=cores[0], help="where load and backend run (%(default)s)")
    parser.add_argument("--binary", default=str(ROOT / "target/release/doorward"), help="the Doorward to measure")
    parser.add_argument("--beside", help="a second Doorward, measured in the same rounds: to judge a change")
    parser.add_argument("--only-requests", action="store_true", help="leave out start-up, memory and download")
    parser.add_argument("--profile", metavar="FILE", help="record one more visit of the session row with perf")
    parser.add_argument("--out", default=str(ROOT / "benches/RESULTS.md"), help="file for the table; '' for none")
    return parser.parse_args()


def measure(options, directory, processes):
    backend = peers.backend(directory, free_port())
    running_backend = processes.start(backend.name, backend.command, options.load_core, out=backend.out)
    load.first_answer_ms(running_backend, backend)
    login = Login(options.binary, processes, options.load_core, directory)

    proxies = [
        peers.nginx(directory, free_port(), backend.port),
        peers.haproxy(directory, free_port(), backend.port),
        peers.doorward(options.binary, directory, free_port(), backend.port, login),
    ]
    if options.beside:
        (directory / "beside").mkdir()
        other = peers.doorward(options.beside, directory / "beside", free_port(), backend.port, login)
        proxies.append(dataclasses.replace(other, name="beside"))
    singles = {} if options.only_requests else measure_alone(options, processes, proxies)

    rows = []
    for target in proxies:
        process = processes.start(target.name, target.command, options.proxy_core, out=target.out)
        load.first_answer_ms(process, target)
        rows.extend(rows_of(target, process, login))
    cookie_bytes = len(login.cookie())
    login.provider_ends()

    rounds = []
    for number in range(options.rounds):
        seen = {}
        for row, process, target, signed_in in rows:
            if signed_in:
                # As a browser would: the note of the last activity is taken over when it is renewed.
                login.use(target.port)
                target = dataclasses.replace(target, headers={**target.headers, "Cookie": login.cookie()})
            load.check(target)
            seen[row] = load.requests(process, target, options.seconds, options.load_core)
            seen[row]["resident_kib"] = process.resident_kib()
            if not options.only_requests and not signed_in:
                seen[row]["download_us"] = load.download(process, target)
        rounds.append(seen)
        print(f"round {number + 1}:", *(f"{row} {was['cpu_us']:.1f} µs;" for row, was in seen.items()), flush=True)
    if options.profile:
        profile(options, login, *[row for row in rows if row[3]][0])
    return {"rounds": rounds, "singles": singles, "cookie_bytes": cookie_bytes, "versions": versions(options)}


def rows_of(target, process, login):
    if target.name not in ("Doorward", "beside"):
        return [(f"{target.name}, plain", process, target, False)]
    told = login.use(target.port)
    if "alice" not in told and "@" not in told:
        raise SystemExit(f"the backend was not told who asks: `{told}`")
    if "doorward_" in told:
        raise SystemExit("the backend was given the session's cookies")
    session = dataclasses.replace(target, path="/account")
    return [
        (f"{target.name}, public path", process, target, False),
        (f"{target.name}, signed-in session", process, session, True),
    ]


def measure_alone(options, processes, proxies):
    """Start-up and idle memory, of processes that did nothing else."""
    singles = {}
    for target in proxies:
        starts, idle = [], []
        for number in range(5):
            process = processes.start(target.name, target.command, options.proxy_core, out=target.out)
            starts.append(load.first_answer_ms(process, target))
            if number < 3:
                idle.append(load.idle_kib(process, target, IDLE))
            processes.stop(process)
        singles[target.name] = {"start_ms": statistics.median(starts), "idle_kib": statistics.median(idle)}
    return singles


def profile(options, login, row, process, target, _):
    target = dataclasses.replace(target, headers={**target.headers, "Cookie": login.cookie()})
    pids = ",".join(map(str, process.tree()))
    command = ["perf", "record", "-q", "-F", "2999", "-g", "-o", options.profile, "-p", pids]
    recording = subprocess.Popen(command)
    load.requests(process, target, options.seconds, options.load_core)
    recording.terminate()
    recording.wait(60)
    print(f"{row}: recorded in {options.profile}")


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
