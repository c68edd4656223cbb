"""Formats the tables of RESULTS.md. Names nothing of the machine that the figures do not need."""

import os
import pathlib

from load import CONNECTIONS, H2_CONNECTIONS, H2_STREAMS, NEW_CONNECTIONS, median
from rows import GOAL_IDLE_KIB, GOAL_START_MS, GOALS

NOTES = pathlib.Path(__file__).with_name("notes.md")

SETUP = (
    "Everything runs on loopback. Each proxy has one worker or thread. The backend is nginx with "
    "one worker and responds with 1 KiB. The load generator and the backend share one core; the "
    "proxy has another. HTTP/1.1 rows use {connections} persistent connections, HTTP/2 rows "
    "{h2_connections} with {h2_streams} concurrent requests each. All proxies present the same "
    "certificate (ECDSA, P-256), speak TLS 1.3 and issue session tickets. nginx and Doorward write "
    "an access log to a file, buffered in blocks of 32 KiB; HAProxy writes none. The session comes "
    "from a real login: its cookies have {cookies:,} bytes, and the backend receives identity "
    "headers instead of them. Bearer tokens have {token:,} bytes and are signed with RS256; *never "
    "seen* means that every request carries a new token, sent to a restarted Doorward. Rows "
    "without cookies or tokens request a public path.\n"
)
FIGURES = (
    "*CPU* is the CPU time of the proxy's whole process tree per request. The *ratio* is to nginx "
    "over the same protocol within a round; every figure is the median of {rounds} rounds of "
    "{seconds} s. Requests per second and latencies depend on the core that the load generator "
    "uses, and are less meaningful. Rows of a *decision* go through another proxy in the "
    "configuration of `deploy/edges/`, which asks Doorward: their CPU is Doorward's alone, their "
    "ratio is to Doorward that proxies the same request, and the other proxy shares the core of "
    "the load generator.\n"
)


def text(measured, options):
    known = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    sizes = measured["sizes"]
    parts = [
        "# Doorward compared with nginx and HAProxy\n",
        (
            "Written by `benches/run`; all rows of a table were measured in the same run. "
            f"{known}; {os.cpu_count()} cores.\n"
        ),
        SETUP.format(
            connections=CONNECTIONS,
            h2_connections=H2_CONNECTIONS,
            h2_streams=H2_STREAMS,
            cookies=sizes["cookies"],
            token=sizes["token"],
        ),
        FIGURES.format(rounds=options.rounds, seconds=options.seconds),
    ]
    parts += filter(
        None,
        [goals(measured), requests(measured, options), others(measured, options), memory(measured)],
    )
    if NOTES.exists() and not options.only:
        parts.append(NOTES.read_text())
    return "\n".join(parts)


def ratios(measured, row):
    """The ratio of this row to its nginx row in each round."""

    def cost(seen, name):
        return next(iter(seen[name].values()))

    return [cost(seen, row.name) / cost(seen, row.base) for seen in measured["rounds"]]


def goals(measured):
    lines = ["| goal | at most | is | |", "|---|---|---|---|"]
    rows = {row.name: row for row in measured["rows"]}
    names = {
        "doorward-new-tls": "new TLS 1.3 connection, CPU over nginx",
        "doorward-download-h1": "download, CPU over nginx",
        "doorward-download-tls": "download over TLS, CPU over nginx",
    }

    def line(what, most, found, unit):
        shown = f"{found:.2f}" if unit == "×" else f"{found:.1f}"
        met = "met" if found <= most else "**not met**"
        lines.append(f"| {what} | {most} {unit} | {shown} {unit} | {met} |")

    for name, most in GOALS.items():
        if name in rows:
            found = median(ratios(measured, rows[name]))
            line(
                names.get(name) or rows[name].label.removeprefix("Doorward, ") + ", CPU over nginx",
                most,
                found,
                "×",
            )
    for (kind, tls), was in measured["alone"].items():
        if kind == "Doorward" and was["used_kib"]:
            kib = idle_kib(was)
            line(
                f"idle connection{' with TLS' if tls else ''}, of 10,000",
                GOAL_IDLE_KIB[tls],
                kib,
                "KiB",
            )
    for (kind, tls), was in measured["alone"].items():
        if kind == "Doorward":
            line(
                f"start to first response{' with TLS' if tls else ''}",
                GOAL_START_MS,
                was["start_ms"],
                "ms",
            )
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def idle_kib(was):
    most = max(was["used_kib"])
    return (was["used_kib"][most] - was["used_kib"][0]) / most


def requests(measured, _):
    lines = [
        "| | CPU per request | ratio | lowest and highest | requests/s | p50 | p99 | resident |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in measured["rows"]:
        if row.what != "requests":
            continue
        of_row = ratios(measured, row)
        rounds = [seen[row.name] for seen in measured["rounds"]]
        middle = {key: median(seen[key] for seen in rounds) for key in rounds[0]}
        lines.append(
            f"| {row.label} | {middle['cpu_us']:.1f} µs | {median(of_row):.2f} "
            f"| {min(of_row):.2f}–{max(of_row):.2f} | {middle['per_second']:,.0f} "
            f"| {middle['p50_us'] / 1000:.2f} ms | {middle['p99_us'] / 1000:.2f} ms "
            f"| {middle['resident_kib'] / 1024:.1f} MiB |"
        )
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def others(measured, _):
    lines = [
        (
            f"*New connections* are {NEW_CONNECTIONS:,} full TLS 1.3 handshakes with one request "
            "each. The download is one response of 64 MiB.\n"
        ),
        (
            "| | new connection, CPU | ratio | per second | download, CPU per MiB | ratio "
            "| with TLS | ratio |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = {row.name: row for row in measured["rows"]}
    for kind in ("nginx", "HAProxy", "Doorward"):
        cells = []
        for name in ("new-tls", "download-h1", "download-tls"):
            row = rows.get(f"{kind.lower()}-{name}")
            if not row:
                cells += ["", "", ""] if name == "new-tls" else ["", ""]
                continue
            rounds = [seen[row.name] for seen in measured["rounds"]]
            values = {key: median(seen[key] for seen in rounds) for key in rounds[0]}
            cells += [
                f"{next(iter(values.values())):.0f} µs",
                f"{median(ratios(measured, row)):.2f}",
            ]
            if name == "new-tls":
                cells.append(f"{values['handshakes_per_second']:,.0f}")
        if any(cells):
            lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" if len(lines) > 3 else ""


def memory(measured):
    if not measured["alone"]:
        return ""
    lines = [
        (
            "Start-up is the time from the start of the process to the end of its first response. "
            "Memory is the proportional set size of the process tree before its first connection, "
            "and with idle connections that carried one request each.\n"
        ),
        "| | start-up | resident | 1,000 idle | 10,000 idle | each of 10,000 |",
        "|---|---|---|---|---|---|",
    ]
    for (kind, tls), was in measured["alone"].items():
        used = [f"{kib / 1024:.1f} MiB" for kib in was["used_kib"].values()] or ["", "", ""]
        each = f"{idle_kib(was):.1f} KiB" if was["used_kib"] else ""
        name = f"{kind}{', TLS' if tls else ''}"
        lines.append(f"| {name} | {was['start_ms']:.0f} ms | {' | '.join(used)} | {each} |")
    return "\n".join(lines) + "\n"
