"""A Django with its admin and a form for files, below a path at Doorward: `shop.py PORT FOLDER`."""

import hashlib
import socketserver
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["store.example.test"],
    AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.RemoteUserBackend"],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{sys.argv[2]}/shop.db"}
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    # Doorward removes the path from requests. Links begin with it.
    FORCE_SCRIPT_NAME="/shop",
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        f"{__name__}.DoorwardUserMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for this test only, and never for a site",
    # Doorward terminates TLS, and no client can forge the header.
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    STATIC_URL="static/",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
)
django.setup()

from django.contrib import admin  # noqa: E402
from django.contrib.auth.middleware import RemoteUserMiddleware  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.shortcuts import redirect  # noqa: E402
from django.template import engines  # noqa: E402
from django.urls import path  # noqa: E402

PAGE = """<!doctype html><link rel=icon href=data:,><h1>{{ request.user.username }}</h1>
<form method=post enctype=multipart/form-data>{% csrf_token %}
<input type=file name=file id=file><button id=send>Send</button></form>
<p id=received>{{ request.session.received }}</p>
<a id=admin href="{% url 'admin:index' %}">Admin</a>"""


class DoorwardUserMiddleware(RemoteUserMiddleware):
    """Takes the user from the header that Doorward sets."""

    header = "HTTP_X_FORWARDED_USER"


def upload(request):
    """Takes a file, and shows its name, length and hash on the next page."""
    if request.method == "POST":
        content = request.FILES["file"].read()
        digest = hashlib.sha256(content).hexdigest()
        request.session["received"] = f"{request.FILES['file'].name} {len(content)} {digest}"
        return redirect("upload")
    page = engines["django"].from_string(PAGE)
    return HttpResponse(page.render({}, request))


urlpatterns = [path("upload/", upload, name="upload"), path("admin/", admin.site.urls)]


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """Several requests at once."""

    daemon_threads = True


class Handler(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *_):
        """Drops the line."""


call_command("migrate", verbosity=0)
User.objects.create_superuser("alice-id")
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
server.set_app(get_wsgi_application())
server.serve_forever()
