"""Backends in Python, one port each: the standard library's file server, and servers that interpret
paths as web frameworks do. Prints the ports as one line of JSON. Exits when standard input closes.

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
    # The body follows the head in a separate packet.
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A path that cannot name a file closes the connection; the traceback is not printed."""


class Files(Quiet, http.server.SimpleHTTPRequestHandler):
    pass


class Read(Quiet, http.server.BaseHTTPRequestHandler):
    """Responds with the path as it interprets it."""

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
    """`PATH_INFO` of a WSGI server, decoded once; then Werkzeug merges slashes and dots."""

    def path_of(self, target):
        path = urllib.parse.unquote(target.partition("?")[0], "latin-1")
        return posixpath.normpath(re.sub("/{2,}", "/", path))


class Servlet(Read):
    """A servlet container: removes parameters, decodes, then resolves dot segments."""

    def path_of(self, target):
        path = re.sub(";[^/]*", "", urllib.parse.urlsplit(target, allow_fragments=True).path)
        return posixpath.normpath(
            re.sub("/{2,}", "/", urllib.parse.unquote(path).replace("\\", "/"))
        )


class Twice(Read):
    """Decodes twice, as behind another decoding proxy; cuts at NUL, as a C string."""

    def path_of(self, target):
        path = urllib.parse.unquote(urllib.parse.unquote(target.partition("?")[0]))
        path = re.split("[\0?#]", path)[0]
        return posixpath.normpath(re.sub("/{2,}", "/", path.replace("\\", "/")))


class AnyCase(Read):
    """An app with case-insensitive paths."""

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
