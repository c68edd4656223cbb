"""The rows of the tables, and the goals that they are compared with."""

import dataclasses

import peers
from load import Ask


@dataclasses.dataclass
class Row:
    """One row: a proxy, a request, and the row that its cost is compared with."""

    name: str
    label: str
    kind: str
    ask: Ask
    base: str
    # "requests" over persistent connections, "new" connections, or one large "download"
    what: str = "requests"
    signed_in: bool = False
    bearer: str = ""
    # Whether the proxy is restarted before every measurement, to empty its caches.
    fresh: bool = False

    @property
    def tls(self):
        return self.ask.protocol in ("tls", "h2")

    @property
    def instance(self):
        return (self.kind, self.tls, "fresh") if self.fresh else (self.kind, self.tls)


# Proxies that ask Doorward about each request, and how. Only Doorward's process is measured.
EDGES = {"edge-nginx": "nginx by `auth_request`", "edge-Envoy": "Envoy by `ext_authz` over gRPC"}


def _rows():
    told = {"h1": "plain HTTP/1.1", "tls": "TLS, HTTP/1.1", "h2": "TLS, HTTP/2"}
    for protocol, over in told.items():
        base = f"nginx-{protocol}"
        public, page = Ask(protocol), Ask(protocol, path="/account")
        yield Row(base, f"nginx, {over}", "nginx", public, base)
        yield Row(f"haproxy-{protocol}", f"HAProxy, {over}", "HAProxy", public, base)
        if protocol == "h1":
            bearer = "HAProxy, bearer token, verified each time"
            yield Row("haproxy-bearer-h1", bearer, "HAProxy-bearer", page, base, bearer="seen")
        yield Row(f"public-{protocol}", f"Doorward, public path, {over}", "Doorward", public, base)
        session = f"Doorward, session in cookies, {over}"
        yield Row(f"cookies-{protocol}", session, "Doorward", page, base, signed_in=True)
        if protocol == "h1":
            seen, new = "Doorward, bearer token, seen before", "Doorward, bearer token, never seen"
            yield Row("bearer-seen-h1", seen, "Doorward", page, base, bearer="seen")
            yield Row("bearer-new-h1", new, "Doorward", page, base, bearer="new", fresh=True)
            bound = "Doorward, device-bound session in cookies"
            yield Row("bound-h1", bound, peers.BOUND, page, "cookies-h1", signed_in=True)
    page = Ask("h1", path="/account")
    for edge, how in EDGES.items():
        label = f"Doorward, decision for {how}"
        yield Row(edge.lower(), label, edge, page, "cookies-h1", signed_in=True)
    for kind in ("nginx", "HAProxy", "Doorward"):
        name = kind.lower()
        yield Row(f"{name}-new-tls", kind, kind, Ask("tls"), "nginx-new-tls", what="new")
        for protocol in ("h1", "tls"):
            base = f"nginx-download-{protocol}"
            yield Row(
                f"{name}-download-{protocol}", kind, kind, Ask(protocol), base, what="download"
            )


ROUNDS = {row.name: row for row in _rows()}
# Measured once, not in rounds.
ONCE = ("start", "memory")

# The highest permitted ratio of a row's CPU time to nginx's in the same round.
GOALS = {
    "cookies-h1": 1.4,
    "cookies-tls": 1.05,
    "cookies-h2": 1.2,
    "bearer-seen-h1": 1.6,
    "bearer-new-h1": 3.2,
    "doorward-new-tls": 0.5,
    "doorward-download-h1": 0.5,
    "doorward-download-tls": 0.5,
}
# KiB per idle connection, without and with TLS; milliseconds to the first response.
GOAL_IDLE_KIB = {False: 4, True: 16}
GOAL_START_MS = 20


def chosen(only):
    """The rows and single figures named by `--only`, with the rows that they are compared with."""
    if not only:
        return list(ROUNDS.values()), list(ONCE)
    names = [name.strip() for name in only.split(",")]
    if unknown := [name for name in names if name not in ROUNDS and name not in ONCE]:
        raise SystemExit(
            f"unknown rows: {', '.join(unknown)}; available: {', '.join([*ROUNDS, *ONCE])}"
        )
    wanted = {name for name in names if name in ROUNDS}
    for _ in range(2):
        wanted |= {ROUNDS[name].base for name in wanted}
    return [row for name, row in ROUNDS.items() if name in wanted], [
        name for name in ONCE if name in names
    ]
