"""How the backend and each proxy are set up: one worker, keep-alive on both sides, nothing that the others lack."""

import dataclasses
import os
import pathlib

LARGE_MIB = 64
ANSWER_BYTES = 1024


@dataclasses.dataclass
class Target:
    """A proxy to be measured, and what to ask it."""

    name: str
    command: list
    port: int
    out: pathlib.Path
    headers: dict = dataclasses.field(default_factory=dict)
    path: str = "/public"


NGINX = """\
{user}worker_processes 1;
daemon off;
pid {directory}/{name}.pid;
error_log {directory}/{name}.error warn;
events {{ worker_connections 8192; }}
http {{
    access_log {log};
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path {directory}/{name}-body;
    proxy_temp_path {directory}/{name}-proxy;
    fastcgi_temp_path {directory}/{name}-fastcgi;
    uwsgi_temp_path {directory}/{name}-uwsgi;
    scgi_temp_path {directory}/{name}-scgi;
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
        location /who {{ return 200 "$http_x_forwarded_user $http_x_forwarded_email $http_cookie"; }}
        location /public/large {{ }}
    }}
"""

# Whole answers stay in memory: writing a large one to a file first would be measured as proxying.
NGINX_PROXY = """
    upstream backend {{
        server 127.0.0.1:{backend};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
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

HAPROXY = """\
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    option forwardfor
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 600s
frontend front
    bind 127.0.0.1:{port} backlog 4096
    default_backend back
backend back
    server backend 127.0.0.1:{backend}
"""

DOORWARD = """\
[server]
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:0"
workers = 1
keep_alive_timeout = "10m"
max_connections = 20000
max_connections_per_client = 20000

[session]
key_files = ["{login.key_file}"]

[store]
url = "memory:"

[providers.login]
issuer = "{login.issuer}"

[apps.store]
provider = "login"
public_url = "{login.public_url}"
upstream = "http://127.0.0.1:{backend}"
client_id = "store"
client_secret_file = "{login.secret_file}"
scopes = ["openid", "email", "profile", "offline_access"]
session_jwt = "access"

[[apps.store.rules]]
paths = ["/public", "/public/**"]
allow = "everyone"
"""


def _nginx(directory, name, port, log, body):
    file = directory / f"{name}.conf"
    user = "user root;\n" if os.geteuid() == 0 else ""
    file.write_text(NGINX.format(user=user, directory=directory, name=name, log=log, body=body))
    return Target(name, ["nginx", "-e", f"{directory}/{name}.error", "-c", str(file)], port, directory / f"{name}.out")


def backend(directory, port):
    """nginx with 1 KiB of text for everything, but for a large file and for what says who asked."""
    files = directory / "files" / "public"
    files.mkdir(parents=True)
    with open(files / "large", "wb") as large:
        for _ in range(LARGE_MIB):
            large.write(os.urandom(1024 * 1024))
    body = BACKEND.format(port=port, directory=directory, answer="x" * ANSWER_BYTES)
    return _nginx(directory, "backend", port, "off", body)


def nginx(directory, port, backend_port):
    log = f"{directory}/nginx.access combined buffer=32k flush=1s"
    return _nginx(directory, "nginx", port, log, NGINX_PROXY.format(port=port, backend=backend_port))


def haproxy(directory, port, backend_port):
    file = directory / "haproxy.cfg"
    file.write_text(HAPROXY.format(port=port, backend=backend_port))
    return Target("HAProxy", ["haproxy", "-db", "-f", str(file)], port, directory / "haproxy.out")


def doorward(binary, directory, port, backend_port, login):
    """Doorward before the same backend, with the key that sealed the cookies of `login`."""
    file = directory / "doorward.toml"
    file.write_text(DOORWARD.format(port=port, backend=backend_port, login=login))
    command = [str(binary), "run", "--config", str(file)]
    host = login.public_url.partition("//")[2]
    return Target("Doorward", command, port, directory / "doorward.out", {"Host": host})
