"""What is done to a proxy, and what it costs."""

import http.client
import json
import pathlib
import socket
import subprocess
import time

from peers import ANSWER_BYTES, LARGE_MIB

HERE = pathlib.Path(__file__).parent
CONNECTIONS = 64


def ask_once(target, path=None):
    """Status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)
    connection.request("GET", path or target.path, headers=target.headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def first_answer_ms(process, target):
    """From the start of the process to the end of its first answer."""
    while time.perf_counter() - process.started < 10:
        process.check_alive()
        try:
            status, _ = ask_once(target)
        except OSError:
            time.sleep(0.0002)
            continue
        if status == 200:
            return (time.perf_counter() - process.started) * 1000
        raise SystemExit(f"{target.name} answers with status {status}")
    raise SystemExit(f"{target.name} did not answer within 10 s")


def check(target):
    status, body = ask_once(target)
    if status != 200 or len(body) != ANSWER_BYTES:
        raise SystemExit(f"{target.name} answers with status {status} and {len(body)} bytes")


def requests(process, target, seconds, core):
    """Many requests over kept connections: cost of one, rate, latencies."""
    fields = [part for name, value in target.headers.items() for part in ("-H", f"{name}: {value}")]
    command = [
        "taskset", "-c", str(core), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(HERE / "wrk.lua"),
        *fields, f"http://127.0.0.1:{target.port}{target.path}",
    ]  # fmt: skip
    before = process.cpu_seconds()
    said = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 20, check=True).stdout
    spent = process.cpu_seconds() - before
    told = json.loads(said.splitlines()[-1])
    if told["errors"] or not told["answers"]:
        raise SystemExit(f"{target.name}: {told['errors']} of {told['answers']} requests failed")
    return {
        "cpu_us": spent * 1e6 / told["answers"],
        "per_second": told["answers"] * 1e6 / told["duration_us"],
        "busy": spent * 1e6 / told["duration_us"],
        "p50_us": told["p50_us"],
        "p99_us": told["p99_us"],
    }


def download(process, target):
    """CPU microseconds of the proxy for each MiB of one large answer."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "localhost", **target.headers}.items())
    request = f"GET /public/large HTTP/1.1\r\n{fields}Connection: close\r\n\r\n"
    room, received = bytearray(256 * 1024), 0
    before = process.cpu_seconds()
    with socket.create_connection(("127.0.0.1", target.port), timeout=20) as connection:
        connection.sendall(request.encode())
        while count := connection.recv_into(room):
            received += count
    spent = process.cpu_seconds() - before
    if received < LARGE_MIB * 1024 * 1024:
        raise SystemExit(f"{target.name} sent {received} bytes of the large answer")
    return spent * 1e6 / LARGE_MIB


def idle_kib(process, target, count):
    """Memory for each of `count` connections that had one answer and then rest."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "localhost", **target.headers}.items())
    request = f"GET {target.path} HTTP/1.1\r\n{fields}\r\n".encode()
    before, open_ones = process.resident_kib(), []
    try:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", target.port), timeout=10)
            open_ones.append(connection)
            connection.sendall(request)
            received = b""
            while len(received.partition(b"\r\n\r\n")[2]) < ANSWER_BYTES:
                more = connection.recv(65536)
                if not more:
                    raise SystemExit(f"{target.name} closed a connection that was to rest")
                received += more
        time.sleep(0.3)
        return (process.resident_kib() - before) / count
    finally:
        for connection in open_ones:
            connection.close()
