"""Configurations of the backend and of each proxy.

All have one worker, keep-alive on both sides, the same certificate and default session tickets. No
proxy has a feature switched on that the others lack.
"""

import dataclasses
import os
import pathlib
import re
import subprocess

from login import PUBLIC_HOST

ROOT = pathlib.Path(__file__).resolve().parent.parent
EDGES = ROOT / "deploy/edges"

LARGE_MIB = 64
ANSWER_BYTES = 1024


@dataclasses.dataclass
class Proxy:
    """A proxy to measure: one process that listens with or without TLS."""

    name: str
    command: list
    port: int
    out: pathlib.Path
    tls: bool


NGINX = """\
{user}worker_processes 1;
daemon off;
pid {directory}/{name}.pid;
error_log {directory}/{name}.error warn;
events {{ worker_connections 16384; }}
http {{
    access_log {log};
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path {directory}/{name}-body;
    proxy_temp_path {directory}/{name}-proxy;
    fastcgi_temp_path {directory}/{name}-fastcgi;
    uwsgi_temp_path {directory}/{name}-uwsgi;
    scgi_temp_path {directory}/{name}-scgi;
    large_client_header_buffers 8 16k;
    {body}
}}
"""

BACKEND = """
    sendfile on;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {directory}/files;
        location / {{ return 200 "{answer}"; }}
        location /who {{
            return 200 "$http_x_forwarded_user $http_x_forwarded_email $http_cookie";
        }}
        location /public/large {{ }}
    }}
"""

# Responses are buffered in memory only: writing large ones to a file would count as proxying.
NGINX_PROXY = """
    upstream backend {{
        server 127.0.0.1:{backend};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096{tls};
        {certificate}
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_max_temp_file_size 0;
        }}
    }}
"""

NGINX_CERTIFICATE = """ssl_certificate {directory}/cert.pem;
        ssl_certificate_key {directory}/key.pem;
        ssl_protocols TLSv1.3;
        ssl_session_cache off;"""

HAPROXY = """\
global
    nbthread 1
    maxconn 11000
    no strict-limits
defaults
    mode http
    option forwardfor
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 600s
frontend front
    bind 127.0.0.1:{port} backlog 4096{tls}
    {check}
    default_backend back
backend back
    server backend 127.0.0.1:{backend}
"""

# The algorithm is checked too: otherwise a token could choose another.
HAPROXY_CHECK = """http-request set-var(txn.bearer) http_auth_bearer
    acl is_rs256 var(txn.bearer),jwt_header_query('$.alg') -m str RS256
    acl is_signed var(txn.bearer),jwt_verify("RS256","{key}") -m int 1
    http-request deny deny_status 401 unless is_rs256
    http-request deny deny_status 401 unless is_signed"""

# Doorward with device-bound sessions.
BOUND = "Doorward-bound"

DOORWARD = """\
[server]
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:0"
workers = 1
keep_alive_timeout = "10m"
max_connections = 20000
max_connections_per_client = 20000
{decisions}{tls}
[session]
key_files = ["session.key"]

[store]
url = "memory:"

[providers.login]
issuer = "{provider.issuer}"

[apps.store]
provider = "login"
public_url = "{scheme}://{host}"
dangerously_allow_http_public_url = true
upstream = "http://127.0.0.1:{backend}"
client_id = "store"
client_secret_file = "store.secret"
scopes = ["openid", "email", "profile", "offline_access"]
session_jwt = "access"

[apps.store.bearer]

{binding}
[[apps.store.rules]]
paths = ["/public", "/public/**", "/assets/**", "/favicon.ico"]
allow = "public"

[[apps.store.rules]]
paths = ["/admin/**"]
allow = {{ roles = ["admin"] }}
"""

# A proof is valid for longer than a measurement, which renews none.
DOORWARD_BINDING = """\
[apps.store.device_binding]
mode = "offer"
validity = "10m"
refresh_interval = "9m"
strict = ["POST /checkout"]
"""

# The edges of the benchmark have no TLS, so the public URL is http.
DOORWARD_DECISIONS = """\
decision_listen = "127.0.0.1:{port}"
trusted_proxies = ["127.0.0.0/8"]
"""

DOORWARD_TLS = '[server.tls]\ncert_file = "cert.pem"\nkey_file = "key.pem"\n'


def certificate(directory):
    """Creates one certificate for all proxies, with an ECDSA key on P-256."""
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-days", "30",
        "-subj", f"/CN={PUBLIC_HOST}", "-addext", f"subjectAltName=DNS:{PUBLIC_HOST}",
        "-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    # HAProxy reads certificate and key from one file.
    both = (directory / "cert.pem").read_text() + (directory / "key.pem").read_text()
    (directory / "both.pem").write_text(both)


def _nginx(directory, name, port, log, body, tls):
    file = directory / f"{name}.conf"
    user = "user root;\n" if os.geteuid() == 0 else ""
    file.write_text(NGINX.format(user=user, directory=directory, name=name, log=log, body=body))
    command = ["nginx", "-e", f"{directory}/{name}.error", "-c", str(file)]
    return Proxy(name, command, port, directory / f"{name}.out", tls)


def backend(directory, port):
    """nginx: 1 KiB of text for every path, except a large file and a page of identity headers."""
    files = directory / "files" / "public"
    files.mkdir(parents=True)
    with open(files / "large", "wb") as large:
        large.writelines(os.urandom(1024 * 1024) for _ in range(LARGE_MIB))
    body = BACKEND.format(port=port, directory=directory, answer="x" * ANSWER_BYTES)
    return _nginx(directory, "backend", port, "off", body, False)


def nginx(directory, port, backend_port, tls):
    name = "nginx-tls" if tls else "nginx"
    shown = NGINX_CERTIFICATE.format(directory=directory) if tls else ""
    body = NGINX_PROXY.format(
        port=port, backend=backend_port, tls=" ssl http2" if tls else "", certificate=shown
    )
    return _nginx(
        directory, name, port, f"{directory}/{name}.access combined buffer=32k flush=1s", body, tls
    )


def haproxy(directory, port, backend_port, tls, key_file=None):
    """HAProxy. With `key_file` it requires a bearer token signed by that key."""
    name = "HAProxy-bearer" if key_file else "HAProxy-tls" if tls else "HAProxy"
    check = HAPROXY_CHECK.format(key=key_file) if key_file else ""
    shown = f" ssl crt {directory}/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.3" if tls else ""
    file = directory / f"{name}.cfg"
    file.write_text(HAPROXY.format(port=port, backend=backend_port, tls=shown, check=check))
    return Proxy(name, ["haproxy", "-db", "-f", str(file)], port, directory / f"{name}.out", tls)


def edge(kind, directory, port, backend_port, doorward_port, decision_port):
    """A proxy in its shipped configuration, which asks Doorward about each request."""
    ports = {8000: port, 8080: doorward_port, 8082: decision_port, 3000: backend_port}

    def shipped(file):
        text = (EDGES / file).read_text()
        for given, real in ports.items():
            text = re.sub(rf"(127\.0\.0\.1:|port_value: ){given}\b", rf"\g<1>{real}", text)
        return text

    if kind == "edge-nginx":
        client = shipped("nginx/doorward_client.conf")
        (directory / "doorward_client.conf").write_text(client)
        body = shipped("nginx/nginx.conf").replace("app.example.com", PUBLIC_HOST)
        return _nginx(directory, kind, port, "off", body, False)
    file = directory / f"{kind}.yaml"
    file.write_text(shipped("envoy/grpc.yaml"))
    envoy = ROOT / "target/python/bin/envoy"
    command = [str(envoy), "-c", str(file), "--concurrency", "1", "--log-level", "error"]
    command.append("--disable-hot-restart")
    return Proxy(kind, command, port, directory / f"{kind}.out", False)


def doorward(
    binary, directory, port, backend_port, provider, tls, name="Doorward", decision_port=None
):
    """Doorward. All instances share the session key, so one session is valid at each of them.

    With `decision_port` it decides for other proxies, and its public URL is http.
    """
    key, secret = directory / "session.key", directory / "store.secret"
    if not key.exists():
        subprocess.run([str(binary), "keygen", "--out", str(key)], check=True, capture_output=True)
        secret.touch(mode=0o600)
        secret.write_text("not-much-of-a-secret\n")
    file = directory / f"{name.lower()}{'-tls' if tls else ''}-{port}.toml"
    text = DOORWARD.format(
        port=port,
        backend=backend_port,
        provider=provider,
        host=PUBLIC_HOST,
        scheme="http" if decision_port else "https",
        decisions=DOORWARD_DECISIONS.format(port=decision_port) if decision_port else "",
        tls=DOORWARD_TLS if tls else "",
        binding=DOORWARD_BINDING if name == BOUND else "",
    )
    file.write_text(text)
    command = [str(binary), "run", "--config", str(file)]
    return Proxy(name, command, port, directory / f"{file.stem}.out", tls)
