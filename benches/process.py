"""Child processes: start, CPU time, memory, stop."""

import contextlib
import os
import pathlib
import resource
import signal
import socket
import subprocess
import time


def raise_file_limit():
    """Raises the descriptor limit as far as permitted; processes started later inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(most, 65536), most):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Process:
    """A process and its descendants, pinned to one core."""

    def __init__(self, name, command, core, out=None):
        self.name = name
        self.started = time.perf_counter()
        self.error_file = pathlib.Path(f"{out}.err" if out else os.devnull)
        with open(out or os.devnull, "ab") as stdout, open(self.error_file, "ab") as stderr:
            self.popen = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    def tree(self):
        """The ids of the process and all its descendants."""
        children = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                children.setdefault(int(after_name[1]), []).append(int(entry.name))
        found, waiting = [], [self.popen.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting.extend(children.get(pid, []))
        return found

    def cpu_seconds(self):
        """CPU time of all threads of the process tree so far."""
        total = 0
        for pid in self.tree():
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
                try:
                    total += int(task.read_text().split()[0])
                except OSError:
                    continue
        return total / 1e9

    def resident_kib(self):
        """Proportional set size of the process tree: shared pages count once."""
        total = 0
        for pid in self.tree():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total

    def check_alive(self):
        if self.popen.poll() is not None:
            said = self.error_file.read_text(errors="replace")[-2000:]
            raise SystemExit(f"{self.name} ended with status {self.popen.returncode}:\n{said}")

    def stop(self):
        """Sends SIGTERM, then SIGKILL after 5 s."""
        if self.popen.poll() is not None:
            return
        tree = self.tree()
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(5)
        except subprocess.TimeoutExpired:
            for pid in tree:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.popen.wait(5)


class Processes:
    """The running processes; stopped in reverse order when the `with` block ends."""

    def __init__(self):
        self.running = []

    def start(self, *arguments, **more):
        process = Process(*arguments, **more)
        self.running.append(process)
        return process

    def stop(self, process):
        process.stop()
        self.running.remove(process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        while self.running:
            self.running.pop().stop()
