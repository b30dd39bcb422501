"""Counterparts of clouds on this machine: rclone's own servers of S3 and WebDAV, with TLS and with logins that are checked."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import trustme
from needs import RCLONE, missing

KEY, SECRET = "AKIDOFTHESERVER", "the-secret-of-the-server-4711"
USER, PASSWORD = "client", "the password of the client"
PROGRAM = Path(sys.prefix) / "bin" / "rclone"


def need_rclone() -> None:
    if not PROGRAM.is_file():
        missing("rclone is not installed", RCLONE)


def write_remote(folder: Path, name: str, section: str) -> Path:
    """Write the file of a remote as an operator does."""
    folder.mkdir(exist_ok=True, mode=0o700)
    file = folder / f"{name}.conf"
    file.touch(0o600)
    file.write_text(section)
    return file


@contextlib.contextmanager
def serving(kind: str, folder: Path, certificate: Path, cache: str = "1ms") -> Iterator[str]:
    """Serve the folder, whose subfolders are the buckets, and yield the address; what is changed beside it shows after `cache`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(certificate))
    own = certificate.with_suffix(".server.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(own))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    login = [f"--auth-key={KEY},{SECRET}"] if kind == "s3" else [f"--user={USER}", f"--pass={PASSWORD}"]
    command = [
        str(PROGRAM), "serve", kind, f"--addr=localhost:{port}", f"--cert={own}", f"--key={own}", f"--dir-cache-time={cache}",
        *login, str(folder),
    ]  # fmt: skip
    environment = {"HOME": str(folder.parent), "PATH": os.environ["PATH"]}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield f"https://localhost:{port}"
        finally:
            process.kill()


def _wait_for(port: int) -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError("rclone does not serve")


def s3_section(name: str, address: str, **more: str) -> str:
    settings = {
        "type": "s3", "provider": "Rclone", "access_key_id": KEY, "secret_access_key": SECRET, "endpoint": address, **more
    }  # fmt: skip
    return _section(name, settings)


def webdav_section(name: str, address: str, password: str = PASSWORD, **more: str) -> str:
    obscured = subprocess.run(
        [str(PROGRAM), "obscure", "-"], input=password, capture_output=True, text=True, check=True
    ).stdout.strip()
    return _section(
        name, {"type": "webdav", "url": address, "vendor": "rclone", "user": USER, "pass": obscured, **more}
    )


def _section(name: str, settings: dict[str, str]) -> str:
    return f"[{name}]\n" + "".join(f"{setting} = {value}\n" for setting, value in settings.items())
