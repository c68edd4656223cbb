"""A real session: the demonstration runs, a person logs in through its provider, and the cookies are kept."""

import html
import http.client
import pathlib
import re
import shutil
import time
import tomllib
import urllib.parse

from process import free_port


class Browser:
    """Cookies by host; every host is on loopback."""

    def __init__(self):
        self.cookies = {}

    def ask(self, url, method="GET", form=None, headers=None):
        """The answer to one request: status, `Location` (absolute), body."""
        parts = urllib.parse.urlsplit(url)
        jar = self.cookies.setdefault(parts.hostname, {})
        sent = [f"{name}={value}" for name, (value, path) in jar.items() if parts.path.startswith(path)]
        headers = {"Host": parts.netloc, "Accept": "text/html", **(headers or {})}
        if sent:
            headers["Cookie"] = "; ".join(sent)
        body = None
        if form is not None:
            body = urllib.parse.urlencode(form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Origin"] = f"{parts.scheme}://{parts.netloc}"
        connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=10)
        connection.request(method, urllib.parse.urlunsplit(("", "", parts.path, parts.query, "")), body, headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        keep_cookies(jar, answer.headers)
        location = answer.headers.get("Location")
        return answer.status, location and urllib.parse.urljoin(url, location), text


def keep_cookies(jar, headers):
    """Does to `jar` what the `Set-Cookie` lines say."""
    for line in headers.get_all("Set-Cookie") or []:
        pair, *attributes = line.split(";")
        name, _, value = pair.strip().partition("=")
        told = dict(a.strip().lower().partition("=")[::2] for a in attributes)
        if told.get("max-age") == "0":
            jar.pop(name, None)
        else:
            path = re.search(r"(?i);\s*path=([^;]*)", line)
            jar[name] = (value, path.group(1) if path else "/")


class Login:
    """Alice's session at the store. The provider runs until `provider_ends`."""

    def __init__(self, binary, processes, core, directory):
        self.processes = processes
        self.port, provider_port = free_port(), free_port()
        demo = directory / "demo"
        demo.mkdir()
        command = [
            "env", f"TMPDIR={demo}", str(binary), "demo",
            "--port", str(self.port), "--provider-port", str(provider_port), "--jwt-lifetime", "3600s",
        ]  # fmt: skip
        self.provider = processes.start("doorward demo", command, core, out=directory / "demo.out")
        config = tomllib.loads(wait_for_file(demo, self.provider).read_text())
        store = config["apps"]["store"]
        self.public_url, self.issuer = store["public_url"], config["providers"]["login"]["issuer"]
        # The demonstration takes its files with it.
        self.key_file = shutil.copy(config["session"]["key_files"][0], directory / "session.key")
        self.secret_file = shutil.copy(store["client_secret_file"], directory / "store.secret")
        self.browser = Browser()
        self._log_in()

    def _log_in(self):
        browser = self.browser
        _, location, _ = browser.ask(f"{self.public_url}/shopping-cart")
        _, _, page = browser.ask(location)
        action = html.unescape(re.search(r'<form[^>]*action="([^"]+)"', page).group(1))
        token = html.unescape(re.search(r'name="form_token" value="([^"]*)"', page).group(1))
        form = {"form_token": token, "username": "alice", "password": "alice"}
        status, location, page = browser.ask(urllib.parse.urljoin(self.issuer, action), "POST", form)
        for _ in range(5):
            if not location:
                break
            status, location, page = browser.ask(location)
        if status != 200 or "alice" not in page:
            raise SystemExit(f"the login ended with status {status} instead of the page that alice asked for")

    def provider_ends(self):
        self.processes.stop(self.provider)

    def jar(self):
        return self.browser.cookies[urllib.parse.urlsplit(self.public_url).hostname]

    def cookie(self):
        """The `Cookie` field that goes to the app's pages."""
        return "; ".join(f"{name}={value}" for name, (value, path) in self.jar().items() if path == "/")

    def use(self, port):
        """Asks the Doorward at `port` who we are, and takes what cookies it renews: the backend's text."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        host = urllib.parse.urlsplit(self.public_url).netloc
        connection.request("GET", "/who", headers={"Host": host, "Accept": "text/html", "Cookie": self.cookie()})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        keep_cookies(self.jar(), answer.headers)
        if answer.status != 200:
            raise SystemExit(f"the session is not accepted: status {answer.status}")
        return text


def wait_for_file(directory, process):
    """The demonstration's configuration, once it answers."""
    for _ in range(200):
        process.check_alive()
        said = pathlib.Path(str(process.error_file).removesuffix(".err")).read_text()
        found = list(directory.glob("doorward-demo-*/doorward.toml"))
        if found and "Names and passwords" in said:
            return found[0]
        time.sleep(0.05)
    raise SystemExit("doorward demo did not start within 10 s")
