"""The table, as text that says nothing of the machine but what the figures depend on."""

import os
import statistics

BASE = "nginx, plain"


def text(measured, options):
    rounds, singles = measured["rounds"], measured["singles"]
    known = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    parts = [
        "# Doorward beside nginx and HAProxy\n",
        "Written by `benches/run`; all rows of a table were measured in the same run. "
        f"{known}; {os.cpu_count()} cores.\n",
        "Everything is on loopback. One worker or thread each, 64 connections that are kept, answers of 1 KiB from an "
        "nginx with one worker. Load and backend share one core, the proxy has another. nginx and Doorward write an "
        "access log to a file, in pieces of 32 KiB; HAProxy writes none. The session is a real one, from a login at "
        f"the demonstration's provider: its cookies have {measured['cookie_bytes']} bytes, and the backend gets "
        "identity headers in their place. The other rows are asked without cookies.\n",
        "*CPU* is the time on a core of the proxy's whole process tree for each request. The *ratio* to nginx is formed "
        f"within a round; every figure is the median of {options.rounds} rounds of {options.seconds} s. Requests per "
        "second and latencies depend on the core that the load needs, and say less.\n",
        requests_table(rounds),
    ]
    if singles:
        parts.append(others_table(rounds, singles))
    return "\n".join(parts)


def requests_table(rounds):
    lines = [
        "| | CPU a request | ratio | lowest and highest | requests a second | p50 | p99 | resident |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rounds[0]:
        ratios = [seen[row]["cpu_us"] / seen[BASE]["cpu_us"] for seen in rounds]
        middle = {key: statistics.median(seen[row][key] for seen in rounds) for key in rounds[0][row]}
        lines.append(
            f"| {row} | {middle['cpu_us']:.1f} µs | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f}–{max(ratios):.2f} | {middle['per_second']:,.0f} "
            f"| {middle['p50_us'] / 1000:.2f} ms | {middle['p99_us'] / 1000:.2f} ms "
            f"| {middle['resident_kib'] / 1024:.1f} MiB |"
        )
    return "\n".join(lines) + "\n"


def others_table(rounds, singles):
    lines = [
        "Start-up is from the start of the process to the end of its first answer. Memory is that of 1,000 connections "
        "that had one answer each and rest. The download is one answer of 64 MiB.\n",
        "| | start-up | memory a connection at rest | download, CPU a MiB | ratio |",
        "|---|---|---|---|---|",
    ]
    for name, single in singles.items():
        row = next(row for row in rounds[0] if row.startswith(f"{name},"))
        costs = [seen[row]["download_us"] for seen in rounds]
        ratios = [cost / seen[BASE]["download_us"] for cost, seen in zip(costs, rounds, strict=True)]
        lines.append(
            f"| {name} | {single['start_ms']:.0f} ms | {single['idle_kib']:.1f} KiB "
            f"| {statistics.median(costs):.0f} µs | {statistics.median(ratios):.2f} |"
        )
    return "\n".join(lines) + "\n"
