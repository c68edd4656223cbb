"""Two unmodified OAuth client libraries log in, refresh and load a page through Doorward.

Usage: oauth_libraries.py ORIGIN PORT CLIENT_ID NAME PASSWORD. Connections to ORIGIN go to
127.0.0.1:PORT. Debian packages: python3-requests-oauthlib, python3-authlib.
"""

import os
import socket
import sys

# Both libraries require https by default; the test uses plain http on loopback.
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from oauthlib.oauth2 import InvalidGrantError, LegacyApplicationClient
from requests_oauthlib import OAuth2Session

ORIGIN, PORT, CLIENT_ID, NAME, PASSWORD = sys.argv[1:]
TOKEN_URL, CART = f"{ORIGIN}/.doorward/token", f"{ORIGIN}/shopping-cart"

resolve = socket.getaddrinfo
socket.getaddrinfo = lambda _host, _port, *more, **others: resolve(
    "127.0.0.1", int(PORT), *more, **others
)


def shows_the_cart(session):
    answer = session.get(CART)
    assert answer.status_code == 200, answer.text
    assert NAME in answer.text.lower(), answer.text


def requests_oauthlib():
    session = OAuth2Session(client=LegacyApplicationClient(client_id=CLIENT_ID))
    try:
        session.fetch_token(token_url=TOKEN_URL, username=NAME, password="not " + PASSWORD)
        raise AssertionError("a wrong password was accepted")
    except InvalidGrantError as error:
        assert "wrong" in error.description, error
    first = session.fetch_token(token_url=TOKEN_URL, username=NAME, password=PASSWORD)
    assert first["token_type"] == "Bearer" and first["expires_in"] > 0, first
    shows_the_cart(session)
    second = session.refresh_token(TOKEN_URL, client_id=CLIENT_ID)
    assert second["access_token"] != first["access_token"]
    assert second["refresh_token"] != first["refresh_token"]
    shows_the_cart(session)


def authlib():
    session = AuthlibSession(
        CLIENT_ID, token_endpoint=TOKEN_URL, scope="openid email offline_access"
    )
    try:
        session.fetch_token(username=NAME, password="not " + PASSWORD)
        raise AssertionError("a wrong password was accepted")
    except OAuthError as error:
        assert error.error == "invalid_grant", error
    first = session.fetch_token(username=NAME, password=PASSWORD)
    assert "offline_access" in first["scope"], first
    shows_the_cart(session)
    # The library refreshes an expired token itself.
    session.token["expires_at"] = 1
    shows_the_cart(session)
    assert session.token["access_token"] != first["access_token"]
    assert session.token["refresh_token"] != first["refresh_token"]


requests_oauthlib()
authlib()
print("both libraries logged in, refreshed and loaded the cart")
