"""Load generation: runs wrk and h2load against a proxy and measures its CPU time and memory."""

import contextlib
import dataclasses
import http.client
import json
import pathlib
import re
import socket
import ssl
import statistics
import subprocess
import time

from login import PUBLIC_HOST
from peers import ANSWER_BYTES, LARGE_MIB

HERE = pathlib.Path(__file__).parent
CONNECTIONS = 64
# HTTP/2: fewer connections with several streams each; the same number of requests in flight.
H2_CONNECTIONS, H2_STREAMS = 16, 4
NEW_CONNECTIONS = 1000


@dataclasses.dataclass
class Ask:
    """The request of a row.

    `fields` are pairs of name and value. `tokens` is a file of bearer tokens: each request takes
    the next one.
    """

    protocol: str
    path: str = "/public"
    fields: tuple = ()
    tokens: pathlib.Path | None = None


def _client():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


TLS = _client()


def connect(proxy):
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return TLS.wrap_socket(connection, server_hostname=PUBLIC_HOST) if proxy.tls else connection


def ask_once(proxy, ask):
    """Status and body of one request over HTTP/1.1."""
    if proxy.tls:
        connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=10, context=TLS)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    fields = list(ask.fields)
    if ask.tokens:
        with open(ask.tokens) as tokens:
            fields.append(("Authorization", f"Bearer {tokens.readline().strip()}"))
    connection.request("GET", ask.path, headers={"Host": PUBLIC_HOST, **joined(fields)})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def joined(fields):
    """The fields with all cookies joined into one `Cookie` field, as HTTP/1.1 requires."""
    cookies = [value for name, value in fields if name == "Cookie"]
    others = {name: value for name, value in fields if name != "Cookie"}
    return {**others, "Cookie": "; ".join(cookies)} if cookies else others


def first_answer_ms(process, proxy, ask):
    """Milliseconds from the start of the process to the end of its first response."""
    while time.perf_counter() - process.started < 10:
        process.check_alive()
        try:
            status, _ = ask_once(proxy, ask)
        except OSError:
            time.sleep(0.0002)
            continue
        if status in (200, 401):
            return (time.perf_counter() - process.started) * 1000
        raise SystemExit(f"{proxy.name} responded with status {status}")
    raise SystemExit(f"{proxy.name} did not respond within 10 s")


def check(proxy, ask):
    status, body = ask_once(proxy, ask)
    if status != 200 or len(body) != ANSWER_BYTES:
        raise SystemExit(
            f"{proxy.name} responded with status {status} and {len(body)} bytes: {body[:300]}"
        )


def requests(process, proxy, ask, seconds, core, directory):
    """Many requests over persistent connections: CPU time per request, rate, latencies."""
    before = process.cpu_seconds()
    told = (_h2load if ask.protocol == "h2" else _wrk)(proxy, ask, seconds, core, directory)
    spent = process.cpu_seconds() - before
    if told["errors"] or not told["answers"]:
        raise SystemExit(f"{proxy.name}: {told['errors']} of {told['answers']} requests failed")
    return {
        "cpu_us": spent * 1e6 / told["answers"],
        "per_second": told["answers"] * 1e6 / told["duration_us"],
        "p50_us": told["p50_us"],
        "p99_us": told["p99_us"],
        "resident_kib": process.resident_kib(),
    }


def _wrk(proxy, ask, seconds, core, _):
    fields = {"Host": PUBLIC_HOST, **joined(ask.fields)}
    given = [part for name, value in fields.items() for part in ("-H", f"{name}: {value}")]
    scheme = "https" if proxy.tls else "http"
    command = [
        "taskset", "-c", str(core), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s",
        "-s", str(HERE / "wrk.lua"), *given, f"{scheme}://127.0.0.1:{proxy.port}{ask.path}",
        *([str(ask.tokens)] if ask.tokens else []),
    ]  # fmt: skip
    said = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 30, check=True
    ).stdout
    told = json.loads(said.splitlines()[-1])
    if ask.tokens:
        # wrk idles once the tokens are used up; every connection was busy until then.
        told["duration_us"] = told["answers"] * told["mean_us"] / CONNECTIONS
    return told


def _h2load(proxy, ask, seconds, core, directory):
    log = directory / "h2load.log"
    log.unlink(missing_ok=True)
    given = [f"--header={name}: {value}" for name, value in ask.fields]
    command = [
        "taskset", "-c", str(core), "h2load", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}", "-t1",
        f"-D{seconds}", f"--log-file={log}", *given, f"--connect-to=127.0.0.1:{proxy.port}",
        f"https://{PUBLIC_HOST}{ask.path}",
    ]  # fmt: skip
    said = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 30, check=True
    ).stdout
    if "Application protocol: h2" not in said:
        raise SystemExit(f"{proxy.name} does not speak HTTP/2:\n{said}")
    good = int(re.search(r"status codes: (\d+) 2xx", said).group(1))
    done = int(re.search(r"(\d+) done", said).group(1))
    times = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
    return {
        "answers": good,
        "errors": done - good,
        "duration_us": seconds * 1e6,
        "p50_us": times[len(times) // 2],
        "p99_us": times[len(times) * 99 // 100],
    }


def new_connections(process, proxy, core):
    """Full TLS 1.3 handshakes with one request each: CPU time per handshake, and rate."""
    command = [
        "taskset", "-c", str(core), "h2load", "--h1", f"-n{NEW_CONNECTIONS}",
        f"-c{NEW_CONNECTIONS}", "-t1", f"--connect-to=127.0.0.1:{proxy.port}",
        f"https://{PUBLIC_HOST}/public",
    ]  # fmt: skip
    before = process.cpu_seconds()
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    spent = process.cpu_seconds() - before
    good = int(re.search(r"status codes: (\d+) 2xx", said).group(1))
    if good != NEW_CONNECTIONS or "TLSv1.3" not in said:
        raise SystemExit(
            f"{proxy.name}: {good} of {NEW_CONNECTIONS} new connections were served\n{said}"
        )
    amount, unit = re.search(r"finished in ([\d.]+)(us|ms|s)", said).groups()
    took = float(amount) * {"us": 1e-6, "ms": 1e-3, "s": 1}[unit]
    return {
        "handshake_us": spent * 1e6 / NEW_CONNECTIONS,
        "handshakes_per_second": NEW_CONNECTIONS / took,
    }


def download(process, proxy):
    """CPU microseconds of the proxy for each MiB of one large response."""
    request = f"GET /public/large HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\nConnection: close\r\n\r\n"
    buffer, received = bytearray(256 * 1024), 0
    before = process.cpu_seconds()
    with connect(proxy) as connection:
        connection.sendall(request.encode())
        with contextlib.suppress(ssl.SSLEOFError):
            while count := connection.recv_into(buffer):
                received += count
    spent = process.cpu_seconds() - before
    if received < LARGE_MIB * 1024 * 1024:
        raise SystemExit(f"{proxy.name} sent {received} bytes of the large response")
    return spent * 1e6 / LARGE_MIB


def memory(process, proxy, steps):
    """KiB in use without connections, and with each number of idle connections in `steps`.

    Every connection carries one request before it becomes idle.
    """
    request = f"GET /public HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\n\r\n".encode()
    used, open_ones = {0: process.resident_kib()}, []
    try:
        for step in steps:
            while len(open_ones) < step:
                connection = connect(proxy)
                open_ones.append(connection)
                connection.sendall(request)
                received = b""
                while len(received.partition(b"\r\n\r\n")[2]) < ANSWER_BYTES:
                    more = connection.recv(65536)
                    if not more:
                        raise SystemExit(f"{proxy.name} closed an idle connection")
                    received += more
            # Buffers of idle connections are released after a short delay.
            time.sleep(3)
            used[step] = process.resident_kib()
        return used
    finally:
        for connection in open_ones:
            connection.close()


def median(values):
    return statistics.median(list(values))
