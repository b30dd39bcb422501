"""rclone as a process of our own for the time of a run; this is the only place that starts it.

It serves its remote control (https://rclone.org/rc/) at a socket in a directory that only we can enter, and
ends with this process, even by a kill. It knows one remote, because RCLONE_CONFIG names that remote's file alone.
Nothing secret stands in its arguments. A token that it renews is written back by itself.
"""

import base64
import contextlib
import fcntl
import http.client
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, LifoQueue
from typing import IO, Any

from systemscripts import known_secrets, settings
from systemscripts.errors import JobError, TemporaryFailure

PIECE = 1 << 20
_PREFIX = "etl-cloud-"
_LONGEST_SOCKET = 107  # bytes of its path
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 — as below
_IDLE_SECONDS = 20.0  # rclone itself hangs up after a minute
_START_SECONDS = 30.0
# No secret: the key is the same in every rclone (fs/config/obscure), and only keeps passwords from being read by chance.
_KEY_OF_ALL = bytes.fromhex("9c935b48730a554d6bfd7c63c886a92bd390198eb8128afbf4de162b8b95f638")
_ARGUMENTS = (
    "rcd", "--rc-no-auth", "--rc-serve", "--rc-server-read-timeout=24h", "--rc-server-write-timeout=24h",
    "--log-level=ERROR", "--ask-password=false", "--low-level-retries=3",
    # The time that the store itself gives an object, for which no further question is needed.
    "--use-server-modtime",
    # Names that differ only in how an accent is written are different names.
    "--no-unicode-normalization",
    # A bucket whose name is misspelt must not be made.
    "--s3-no-check-bucket", "--azureblob-no-check-container", "--gcs-no-check-bucket",
)  # fmt: skip


class Answered(Exception):
    """rclone's own words on what failed; `cloud.refusals` makes a sentence of them."""


class _Connection(http.client.HTTPConnection):
    """A connection to the socket; waiting for it ends at `ends`, by the clock of time.monotonic."""

    ends = 0.0

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path
        self.used_at = time.monotonic()

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.wait_at_most()
        self.sock.connect(self._path)

    def wait_at_most(self) -> None:
        """Let the next wait end in time; raises TimeoutError if there is no time left."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if self.sock:
            self.sock.settimeout(left)


class Bytes:
    """The bytes of an object on their way; `status` is that of the answer."""

    def __init__(self, connection: _Connection, answer: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._answer = answer
        self.status = answer.status

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes as they come."""
        while piece := self._answer.read1(PIECE):
            yield piece
            self._connection.wait_at_most()


class Rclone:
    """A running rclone. Several threads may ask it at the same time."""

    def __init__(self, process: "subprocess.Popen[bytes]", directory: Path, words: IO[bytes]) -> None:
        self.directory = directory
        self._process = process
        self._path = _socket_in(directory)
        self._words = words
        self._idle: LifoQueue[_Connection] = LifoQueue()

    def call(self, command: str, limit: float, **parameters: Any) -> Any:
        """Return the answer to a command; raises Answered if it failed, TemporaryFailure after `limit` seconds."""
        with self._asked("POST", f"/{command}", limit, json.dumps(parameters)) as (_, answer):
            content = json.loads(answer.read() or b"{}")
        if answer.status != http.client.OK:
            raise Answered(str(content.get("error", content)))
        return content

    @contextlib.contextmanager
    def reading(self, url_path: str, limit: float) -> Iterator[Bytes]:
        """Yield the bytes at a path of the form `/[remote:]/path`, which must come within `limit` seconds."""
        with self._asked("GET", url_path, limit) as (connection, answer):
            yield Bytes(connection, answer)

    @contextlib.contextmanager
    def _asked(
        self, method: str, path: str, limit: float, body: str | None = None
    ) -> Iterator[tuple[_Connection, http.client.HTTPResponse]]:
        connection = self._connection()
        connection.ends = time.monotonic() + limit
        is_whole = False
        try:
            connection.wait_at_most()
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            yield connection, answer
            # An answer that ends too soon is closed too, and its connection is gone.
            is_whole = answer.isclosed() and not answer.length and not answer.will_close
        except TimeoutError:
            raise TemporaryFailure(f"the cloud gave no whole answer within {limit:,.0f} s") from None
        except (ConnectionError, FileNotFoundError, http.client.HTTPException, json.JSONDecodeError) as error:
            raise TemporaryFailure(f"the answer was cut off ({type(error).__name__}){self._last_words()}") from None
        finally:
            if is_whole:
                connection.used_at = time.monotonic()
                self._idle.put(connection)
            else:
                connection.close()

    def _connection(self) -> _Connection:
        with contextlib.suppress(Empty):
            while True:
                connection = self._idle.get_nowait()
                if time.monotonic() - connection.used_at < _IDLE_SECONDS:
                    return connection
                connection.close()
        return _Connection(self._path)

    def wait_until_it_answers(self) -> None:
        ends = time.monotonic() + _START_SECONDS
        while time.monotonic() < ends and self._process.poll() is None:
            with contextlib.suppress(OSError), contextlib.closing(_Connection(self._path)) as connection:
                connection.ends = ends
                connection.connect()
                return
            time.sleep(0.01)
        raise JobError(f"rclone does not start{self._last_words()}")

    def _last_words(self) -> str:
        if self._process.poll() is None:
            return ""
        self._words.seek(0)
        lines = known_secrets.mask(self._words.read()[-1000:].decode("utf-8", "replace")).split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "nothing")
        return f"; rclone ended with status {self._process.returncode}, its last words: {last}"


def program() -> Path:
    """Return rclone's program; raises JobError with what installs it."""
    found = Path(sys.prefix) / "bin" / "rclone"
    if not found.is_file():
        script = shlex.quote(str(settings.project_dir() / "onboarding/sh/make_venv.sh"))
        raise JobError(f"files in clouds need rclone, which is not installed; type: bash {script} --cloud")
    return found


@contextlib.contextmanager
def running(config_file: Path) -> Iterator[Rclone]:
    """Yield an rclone that knows the remotes of this file, and end it after the block."""
    with _private_directory() as directory, tempfile.TemporaryFile() as words:
        limit = settings.cloud_timeout()
        process = subprocess.Popen(
            [
                "/usr/bin/setpriv", "--pdeathsig", "KILL", "--", str(program()), *_ARGUMENTS,
                f"--rc-addr=unix://{_socket_in(directory)}", f"--timeout={limit:g}s", f"--contimeout={min(limit, 20):g}s",
            ],
            stdin=subprocess.DEVNULL, stdout=words, stderr=words, cwd=directory, env=_environment(config_file, directory),
        )  # fmt: skip
        rclone = Rclone(process, directory, words)
        try:
            rclone.wait_until_it_answers()
            yield rclone
        finally:
            process.kill()
            process.wait()


def revealed(obscured: str) -> str:
    """Return the password that rclone keeps in another form in its file; "" if this is none."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    with contextlib.suppress(ValueError):
        content = base64.urlsafe_b64decode(obscured + "=" * (-len(obscured) % 4))
        decryptor = Cipher(algorithms.AES(_KEY_OF_ALL), modes.CTR(content[:16])).decryptor()
        return decryptor.update(content[16:]).decode("utf-8", "replace")
    return ""


def _socket_in(directory: Path) -> str:
    return f"{directory}/socket"


def _environment(config_file: Path, home: Path) -> dict[str, str]:
    # With a home of its own it finds none of the user's other keys, such as those in ~/.aws.
    return {**settings.cloud_environment(), "RCLONE_CONFIG": str(config_file), "HOME": str(home)}


@contextlib.contextmanager
def _private_directory() -> Iterator[Path]:
    """Yield a new directory that only we can enter; what a killed run left of its own is removed first."""
    # In memory where that can be had: small objects lie in it for a moment, and on a disk each would cost some writes.
    place = _IN_MEMORY if os.access(_IN_MEMORY, os.R_OK | os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    if len(os.fsencode(place)) + len(_PREFIX) + len("12345678/socket") > _LONGEST_SOCKET:
        place = Path("/tmp")  # noqa: S108 — the directory in it is new, and of mode 700
    _sweep(place)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The lock shows others that a process lives here; it goes with the process.
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(handle)


def _sweep(place: Path) -> None:
    for left in place.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            status = left.lstat()
            # A new one may not be locked yet.
            if status.st_uid != os.geteuid() or time.time() - status.st_mtime < 60:
                continue
            handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
            finally:
                os.close(handle)
