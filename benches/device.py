"""A device-bound session for the benchmarks: registers a key and renews the proof."""

import base64
import json
import re
import subprocess

from login import Session, ask

# An ECDSA signature in DER has two integers of at most 33 bytes; a JWT has two of 32.
HALF = 32


class BoundSession(Session):
    """Alice's session with the app, bound to a key."""

    def __init__(self, directory):
        super().__init__()
        self.key = directory / "device.pem"
        curve = "ec_paramgen_curve:P-256"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out", self.key)
        self.identifier = self.challenge = None

    def bind(self, port):
        """Logs in and registers the key at the Doorward that listens on `port`."""
        self.log_in(port)
        page = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", **self.sent("/")}
        _, headers, _ = ask(port, self.host, "/who", page)
        self.keep(headers)
        offer = re.search(r'path="([^"]+)";challenge="([^"]+)"', header(headers, "Registration"))
        fields = {"Secure-Session-Response": self.proof(offer[2], True)}
        registered = self.post(port, offer[1], fields)
        self.identifier = json.loads(registered)["session_identifier"]

    def use(self, port):
        """Renews the proof, requests a page and stores renewed cookies."""
        fields = {
            "Sec-Secure-Session-Id": self.identifier,
            "Secure-Session-Response": self.proof(self.challenge, False),
        }
        self.post(port, "/.doorward/device-binding/refresh", fields)
        super().use(port)

    def post(self, port, path, fields):
        fields = {"Sec-Fetch-Site": "same-origin", **fields, **self.sent(path)}
        status, headers, text = ask(port, self.host, path, fields, method="POST")
        if status != 200:
            raise SystemExit(f"{path} responded with {status}: {text[:300]}")
        self.keep(headers)
        self.challenge = re.match(r'"([^"]+)"', header(headers, "Challenge"))[1]
        return text

    def proof(self, challenge, is_registration):
        """The proof of a challenge. That of a registration contains the key."""
        head = {"alg": "ES256", "typ": "dbsc+jwt"}
        if is_registration:
            public = openssl("pkey", "-in", self.key, "-pubout", "-outform", "DER")[-2 * HALF :]
            x, y = text(public[:HALF]), text(public[HALF:])
            head["jwk"] = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
        parts = [text(json.dumps(part).encode()) for part in (head, {"jti": challenge})]
        message = ".".join(parts)
        signature = openssl("dgst", "-sha256", "-sign", self.key, given=message.encode())
        return f"{message}.{text(halves(signature))}"


def header(headers, name):
    value = headers.get(f"Secure-Session-{name}")
    if value is None:
        raise SystemExit(f"a response lacks Secure-Session-{name}")
    return value


def halves(signature):
    """The two integers of a DER signature, 32 bytes each."""
    end = 4 + signature[3]
    integers = signature[4:end], signature[end + 2 :]
    return b"".join(integer[-HALF:].rjust(HALF, b"\0") for integer in integers)


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, given=b""):
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout
