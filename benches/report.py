"""The tables, as text that says nothing of the machine but what the figures depend on."""

import os
import pathlib

from load import CONNECTIONS, H2_CONNECTIONS, H2_STREAMS, NEW_CONNECTIONS, median
from rows import GOAL_REST_KIB, GOAL_START_MS, GOALS

NOTES = pathlib.Path(__file__).with_name("notes.md")


def text(measured, options):
    known = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    sizes = measured["sizes"]
    parts = [
        "# Doorward beside nginx and HAProxy\n",
        "Written by `benches/run`; all rows of a table were measured in the same run. "
        f"{known}; {os.cpu_count()} cores.\n",
        "Everything is on loopback. One worker or thread each, answers of 1 KiB from an nginx with one worker. Load and "
        "backend share one core, the proxy has another. There are "
        f"{CONNECTIONS} connections that are kept, over HTTP/2 {H2_CONNECTIONS} with {H2_STREAMS} requests at a time on "
        "each. All show the same certificate (ECDSA, P-256), speak TLS 1.3 and hand out session tickets. nginx and "
        "Doorward write an access log to a file, in pieces of 32 KiB; HAProxy writes none. The session is a real one: "
        f"its cookies have {sizes['cookies']:,} bytes, and the backend gets identity headers in their place. Bearer "
        f"tokens have {sizes['token']:,} bytes and are signed with RS256; *never seen* means that every request brings "
        "another, to a Doorward that was started anew. Rows without cookies or tokens are asked for a public path.\n",
        "*CPU* is the time on a core of the proxy's whole process tree for each request. The *ratio* is to nginx over "
        f"the same protocol within a round; every figure is the median of {options.rounds} rounds of {options.seconds} s. "
        "Requests per second and latencies depend on the core that the load needs, and say less.\n",
    ]
    parts += filter(None, [goals(measured), requests(measured, options), others(measured, options), memory(measured)])
    if NOTES.exists() and not options.only:
        parts.append(NOTES.read_text())
    return "\n".join(parts)


def ratios(measured, row):
    """Of this row to nginx, round by round."""

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
        lines.append(f"| {what} | {most} {unit} | {shown} {unit} | {'met' if found <= most else '**not met**'} |")

    for name, most in GOALS.items():
        if name in rows:
            found = median(ratios(measured, rows[name]))
            line(names.get(name) or rows[name].label.removeprefix("Doorward, ") + ", CPU over nginx", most, found, "×")
    for (kind, tls), was in measured["alone"].items():
        if kind == "Doorward" and was["used_kib"]:
            kib = at_rest(was)
            line(f"connection at rest{' with TLS' if tls else ''}, of 10,000", GOAL_REST_KIB[tls], kib, "KiB")
    for (kind, tls), was in measured["alone"].items():
        if kind == "Doorward":
            line(f"start to first answer{' with TLS' if tls else ''}", GOAL_START_MS, was["start_ms"], "ms")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def at_rest(was):
    most = max(was["used_kib"])
    return (was["used_kib"][most] - was["used_kib"][0]) / most


def requests(measured, _):
    lines = [
        "| | CPU a request | ratio | lowest and highest | requests a second | p50 | p99 | resident |",
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
        f"New connections are {NEW_CONNECTIONS:,} full TLS 1.3 handshakes, each for one request. The download is one "
        "answer of 64 MiB.\n",
        "| | new connection, CPU | ratio | a second | download, CPU a MiB | ratio | with TLS | ratio |",
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
            cells += [f"{next(iter(values.values())):.0f} µs", f"{median(ratios(measured, row)):.2f}"]
            if name == "new-tls":
                cells.append(f"{values['handshakes_per_second']:,.0f}")
        if any(cells):
            lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" if len(lines) > 3 else ""


def memory(measured):
    if not measured["alone"]:
        return ""
    lines = [
        "Start-up is from the start of the process to the end of its first answer. Memory is what the process tree has "
        "in use before its first connection, and with connections that had one answer each and then rest.\n",
        "| | start-up | resident | with 1,000 at rest | with 10,000 | each of 10,000 |",
        "|---|---|---|---|---|---|",
    ]
    for (kind, tls), was in measured["alone"].items():
        used = [f"{kib / 1024:.1f} MiB" for kib in was["used_kib"].values()] or ["", "", ""]
        each = f"{at_rest(was):.1f} KiB" if was["used_kib"] else ""
        lines.append(f"| {kind}{', TLS' if tls else ''} | {was['start_ms']:.0f} ms | {' | '.join(used)} | {each} |")
    return "\n".join(lines) + "\n"
