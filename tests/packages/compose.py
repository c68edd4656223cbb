"""Compose files: valid by the Compose Specification, and their variables accepted by Doorward."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import compose_spec
import yaml

FILES = sorted(Path("deploy/docker").glob("compose*.yaml"))
DOORWARD = Path("target/debug/doorward").resolve()


def validate(file):
    try:
        compose = compose_spec.PyCompose.from_yaml(file.read_text())
        compose.validate()
        compose.to_spec()
    except ValueError as error:
        sys.exit(f"{file}: {error}")
    services = yaml.safe_load(file.read_text())["services"]
    for name, service in services.items():
        own_image = service["image"] == "doorward"
        assert own_image or ":" in service["image"], f"{file}: {name} has no version"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            shipped = source.startswith("./") and source != "./doorward"
            assert not shipped or (file.parent / source).is_file(), f"{file}: there is no {source}"
    return services


def check(file, services):
    """Runs `doorward check` with the variables, and the configuration that the file describes."""
    environment = services["doorward"].get("environment")
    if not environment:
        return
    key = subprocess.run([DOORWARD, "keygen"], check=True, capture_output=True, text=True).stdout
    variables = dict(environment)
    if "SESSION_KEY" in variables:
        assert variables["SESSION_KEY"].startswith("${SESSION_KEY:?")
        variables["SESSION_KEY"] = key
        arguments = ["check"]
    else:
        # The rest is in the file that the administrator writes.
        folder = Path(tempfile.mkdtemp(dir="target"))
        (folder / "session.key").write_text(key)
        (folder / "session.key").chmod(0o600)
        config = 'session.key_files = ["session.key"]\nproviders.login.issuer = "https://login.example.com"\n'
        for app, port in [("store", 3000), ("forum", 4000)]:
            upstream = f"http://{app}:{port}"
            assert upstream in file.read_text()
            config += (
                f'[apps.{app}]\nprovider = "login"\npublic_url = "https://{app}.example.com"\n'
            )
            config += f'client_id = "{app}"\nupstream = "{upstream}"\n'
        (folder / "doorward.toml").write_text(config)
        arguments = ["check", "--config", folder / "doorward.toml"]
    ended = subprocess.run(
        [DOORWARD, *arguments], check=False, env=variables, capture_output=True, text=True
    )
    assert ended.returncode == 0, f"{file}: {ended.stderr}"


if __name__ == "__main__":
    os.environ.pop("SESSION_KEY", None)
    assert len(FILES) == 3
    for file in FILES:
        check(file, validate(file))
    print(f"{len(FILES)} compose files: valid, and accepted by Doorward")
