"""A session for the benchmarks: logs in at a stub provider and keeps cookies as a browser does."""

import http.client
import pathlib
import time
import urllib.parse

from process import free_port

HERE = pathlib.Path(__file__).parent
PUBLIC_HOST = "store.example.test"
# The most unseen tokens that one visit can use. Doorward is restarted before each such visit, so
# that no token is in its cache.
TOKENS = 30_000


class Provider:
    """The stub provider, its access tokens and its public key."""

    def __init__(self, processes, core, directory, tokens=TOKENS):
        self.directory = directory
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.tokens_file, self.public_key_file = directory / "tokens", directory / "signing.pub.pem"
        command = ["node", str(HERE / "provider.mjs"), str(self.port), str(directory), str(tokens)]
        self.process = processes.start(
            "the provider", command, core, out=directory / "provider.out"
        )

    def wait(self):
        """Waits until the provider has signed all tokens."""
        for _ in range(1200):
            self.process.check_alive()
            try:
                ask(self.port, f"127.0.0.1:{self.port}", "/jwks")
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the provider did not start within two minutes")

    def seen_token(self):
        return (self.directory / "seen.token").read_text()


class Session:
    """Alice's session with the app."""

    host = PUBLIC_HOST

    def __init__(self):
        self.cookies = {}

    def log_in(self, port):
        """Logs in at the Doorward that listens on `port`, through the provider."""
        _, to_provider, _ = self.ask(port, "/who")
        provider = urllib.parse.urlsplit(to_provider or "")
        if not provider.port:
            raise SystemExit("no login was started")
        _, headers, _ = ask(provider.port, provider.netloc, f"{provider.path}?{provider.query}")
        back = urllib.parse.urlsplit(headers["Location"])
        status, _, text = self.ask(port, f"{back.path}?{back.query}")
        if status not in (302, 303):
            raise SystemExit(f"the login ended with status {status}: {text[:300]}")

    def ask(self, port, path):
        headers = {
            "Accept": "text/html",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
        }
        status, answered, text = ask(port, PUBLIC_HOST, path, {**headers, **self.sent(path)})
        self.keep(answered)
        return status, answered.get("Location"), text

    def sent(self, path):
        """The `Cookie` header of a request."""
        to_callback = "/callback" in path
        sent = [
            f"{name}={value}"
            for name, (value, rest) in self.cookies.items()
            if to_callback or rest == "/"
        ]
        return {"Cookie": "; ".join(sent)} if sent else {}

    def keep(self, headers):
        """Stores the cookies of a response."""
        for line in headers.get_all("Set-Cookie") or []:
            self._keep(line)

    def _keep(self, line):
        pair, *attributes = line.split(";")
        name, _, value = pair.strip().partition("=")
        told = dict(a.strip().lower().partition("=")[::2] for a in attributes)
        if told.get("max-age") == "0":
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = (value, told.get("path", "/"))

    def crumbs(self):
        """The cookies sent to the app's pages, one string each."""
        return [f"{name}={value}" for name, (value, path) in self.cookies.items() if path == "/"]

    def use(self, port):
        """Requests a page from the Doorward at `port` and stores renewed cookies."""
        status, _, text = self.ask(port, "/who")
        if status != 200 or "alice.arnold@example.com" not in text:
            raise SystemExit(
                f"the session is not accepted: status {status}, the backend saw `{text[:300]}`"
            )
        if "doorward_" in text:
            raise SystemExit("the backend received the session cookies")


def ask(port, host, path, headers=None, method="GET"):
    """Status, headers and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={"Host": host, **(headers or {})})
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, answer.headers, text
