"""A server by SSH that has OpenSSH's own sftp-server at work behind it, and changes what that answers."""

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import paramiko
from needs import missing
from ssh_server import make_key

SFTP_SERVER = "/usr/lib/openssh/sftp-server"

INIT, OPEN, CLOSE, READ, WRITE, LSTAT = 1, 3, 4, 5, 6, 7
OPENDIR, READDIR, REMOVE, STAT, RENAME = 11, 12, 13, 17, 18
VERSION, STATUS, HANDLE, DATA, NAME, ATTRS = 2, 101, 102, 103, 104, 105
OK, END, NO_SUCH_FILE, DENIED, FAILURE = 0, 1, 2, 3, 4


class Asked(NamedTuple):
    """A request, and the path that it is about, if only by its handle; `number` is in the answer too."""

    kind: int
    number: bytes
    path: bytes


# Called with a request and the answer, from its kind on, before it goes out; returns what goes out in its place as it
# stands on the wire, None to let it pass. Raising EOFError hangs up.
Lie = Callable[[Asked, bytes], bytes | None]
# Called with a request before the server behind gets it; returns the answer that is given in its stead, if any.
Instead = Callable[[Asked], bytes | None]


def string(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


def packet(kind: int, number: bytes, *rest: bytes) -> bytes:
    return string(bytes([kind]) + number + b"".join(rest))


def status(asked: Asked, code: int, text: bytes = b"told") -> bytes:
    return packet(STATUS, asked.number, struct.pack(">I", code), string(text), string(b"en"))


def attributes(size: int | None = None, mode: int | None = None, mtime: int | None = None) -> bytes:
    flags = (size is not None) | (mode is not None) << 2 | (mtime is not None) << 3
    told = b"" if size is None else struct.pack(">Q", size)
    told += b"" if mode is None else struct.pack(">I", mode)
    return struct.pack(">I", flags) + told + (b"" if mtime is None else struct.pack(">II", mtime, mtime))


def names(asked: Asked, *entries: tuple[bytes, bytes]) -> bytes:
    """Return a piece of a listing: names with their attributes."""
    listed = b"".join(string(name) + string(b"-rw " + name) + told for name, told in entries)
    return packet(NAME, asked.number, struct.pack(">I", len(entries)), listed)


class _Host(paramiko.ServerInterface):
    """Lets everybody in, and gives them SFTP alone."""

    def __init__(self, lie: Lie, instead: Instead) -> None:
        self.lie, self.instead = lie, instead

    def get_allowed_auths(self, _username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, _username: str, _key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, _kind: str, _number: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_subsystem_request(self, channel: paramiko.Channel, _name: str) -> bool:
        threading.Thread(target=self.serve, args=(channel,), daemon=True).start()
        return True

    def serve(self, channel: paramiko.Channel) -> None:
        with contextlib.closing(channel), subprocess.Popen([SFTP_SERVER], stdin=-1, stdout=-1) as behind:
            assert behind.stdin
            assert behind.stdout
            dialogue = Dialogue(channel, behind.stdin, self.lie, self.instead)
            back = threading.Thread(target=dialogue.give, args=(behind.stdout,), daemon=True)
            back.start()
            with contextlib.suppress(OSError, EOFError):
                dialogue.pass_on()
            behind.kill()
            back.join()


class Dialogue:
    """What goes to and fro, and which path a handle is of."""

    def __init__(self, channel: paramiko.Channel, behind: IO[bytes], lie: Lie, instead: Instead) -> None:
        self._channel, self._behind, self._lie, self._instead = channel, behind, lie, instead
        self._open: dict[bytes, Asked] = {}
        self._paths: dict[bytes, bytes] = {}

    def pass_on(self) -> None:
        while True:
            came = _read(self._channel.recv)
            (length,) = struct.unpack(">I", came[5:9].rjust(4, b"\0"))
            about = came[9 : 9 + length]
            asked = Asked(came[0], came[1:5], self._paths.get(about, about))
            told = self._instead(asked)
            if told is None:
                self._open[asked.number if asked.kind != INIT else b""] = asked
                self._behind.write(string(came))
                self._behind.flush()
            else:
                self._channel.sendall(told)

    def give(self, behind: IO[bytes]) -> None:
        with contextlib.suppress(OSError, EOFError), contextlib.closing(self._channel):
            while True:
                answer = _read(behind.read)
                asked = self._open.pop(answer[1:5] if answer[0] != VERSION else b"")
                if answer[0] == HANDLE:
                    self._paths[answer[9:]] = asked.path
                told = self._lie(asked, answer)
                self._channel.sendall(string(answer) if told is None else told)


def _read(read: Callable[[int], bytes]) -> bytes:
    def exactly(number: int) -> bytes:
        found = b""
        while len(found) < number:
            piece = read(number - len(found))
            if not piece:
                raise EOFError
            found += piece
        return found

    return exactly(*struct.unpack(">I", exactly(4)))


class Liar(NamedTuple):
    port: int
    key: Path
    known_host: str


def drip(channel: paramiko.Channel, drop: bytes, every: float = 0.02) -> None:
    while True:
        channel.sendall(drop)
        time.sleep(every)


@contextlib.contextmanager
def lying(folder: Path, lie: Lie = lambda *_: None, instead: Instead = lambda _: None) -> Iterator[Liar]:
    """Serve this machine's files to everybody who has a key, with these lies."""
    if not shutil.which(SFTP_SERVER):
        missing("there is no sftp-server", "openssh-server")
    folder.mkdir(parents=True, exist_ok=True)
    own = make_key(folder / "host")
    host_key = paramiko.Ed25519Key.from_private_key_file(str(own))
    transports = []

    def accept(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                transport = paramiko.Transport(listening.accept()[0])
                transports.append(transport)
                transport.add_server_key(host_key)
                with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                    transport.start_server(server=_Host(lie, instead))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        threading.Thread(target=accept, args=(listening,), daemon=True).start()
        line = f"[127.0.0.1]:{port} {own.with_suffix('.pub').read_text()}"
        yield Liar(port, make_key(folder / "login"), line)
        listening.shutdown(socket.SHUT_RDWR)
    for transport in transports:
        transport.close()
