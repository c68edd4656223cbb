"""Backends in Python, each on a port of its own: files as the standard library serves them, and paths read as web
frameworks do. They end with their standard input. Prints one line: the ports.

Usage: server.py FOLDER
"""

import functools
import http.server
import json
import posixpath
import re
import sys
import threading
import urllib.parse


class Quiet:
    protocol_version = "HTTP/1.1"
    # The body follows the head in a packet of its own.
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A path that no file can have ends the connection, and is nobody's business."""


class Files(Quiet, http.server.SimpleHTTPRequestHandler):
    pass


class Read(Quiet, http.server.BaseHTTPRequestHandler):
    """Answers with what it takes the path for."""

    def path_of(self, target):
        raise NotImplementedError

    def do_GET(self):
        path = self.path_of(self.path)
        is_protected = path == "/admin" or path.startswith("/admin/")
        body = (b"PROTECTED " if is_protected else b"public ") + path.encode(errors="surrogatepass")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Wsgi(Read):
    """`PATH_INFO` as WSGI servers make it: decoded once; then slashes and dots as Werkzeug's routing merges them."""

    def path_of(self, target):
        path = urllib.parse.unquote(target.partition("?")[0], "latin-1")
        return posixpath.normpath(re.sub("/{2,}", "/", path))


class Servlet(Read):
    """As servlet containers map paths: parameters go first, then it is decoded, then dots are resolved."""

    def path_of(self, target):
        path = re.sub(";[^/]*", "", urllib.parse.urlsplit(target, allow_fragments=True).path)
        return posixpath.normpath(re.sub("/{2,}", "/", urllib.parse.unquote(path).replace("\\", "/")))


class Twice(Read):
    """Behind something that has decoded the path already; and what follows a NUL is lost, as in C."""

    def path_of(self, target):
        path = urllib.parse.unquote(urllib.parse.unquote(target.partition("?")[0]))
        path = re.split("[\0?#]", path)[0]
        return posixpath.normpath(re.sub("/{2,}", "/", path.replace("\\", "/")))


class AnyCase(Read):
    """An app that does not tell cases apart."""

    def path_of(self, target):
        path = urllib.parse.unquote(target.partition("?")[0])
        return posixpath.normpath(re.sub("/{2,}", "/", path)).lower()


def main(folder):
    kinds = {
        "python-files": functools.partial(Files, directory=folder),
        "python-wsgi": Wsgi,
        "python-servlet": Servlet,
        "python-twice": Twice,
        "python-any-case": AnyCase,
    }
    ports = {}
    for name, kind in kinds.items():
        server = Server(("127.0.0.1", 0), kind)
        ports[name] = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps(ports), flush=True)
    sys.stdin.read()


main(sys.argv[1])
