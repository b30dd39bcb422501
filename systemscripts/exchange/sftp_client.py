"""paramiko's client for SFTP (version 3), with checks of the server's answers.

https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02
"""

import contextlib
from collections.abc import Iterator

import paramiko
from paramiko import sftp

MOST_BYTES = 256 << 10  # of one answer, as in OpenSSH's own client
PIECE = 256 << 10
AHEAD = 16  # pieces requested at once; paramiko keeps the received ones in memory


class Garbled(paramiko.SFTPError):  # type: ignore[misc]  # it comes without types
    """The received data is not an answer, so the beginning of the next answer is unknown."""


class NoMore(EOFError):
    """The server says that there is no more; paramiko's EOFError would also mean an ended connection."""


class Answer(paramiko.Message):  # type: ignore[misc]  # it comes without types
    """An answer that must contain what it announces; paramiko's own class would fill up with zeros."""

    def get_bytes(self, n: int) -> bytes:
        found = bytes(self.packet.read(n))
        if len(found) < n:
            raise Garbled("an answer has less than it announces")
        return found

    def get_text(self) -> str:
        """Return a text or a name, which need not be UTF-8, in Python's form of file names."""
        return bytes(self.get_string()).decode("utf-8", "surrogateescape")


class Client(paramiko.SFTPClient):  # type: ignore[misc]  # it comes without types
    """A client that raises Garbled if an answer is too long, or has less than it announces."""

    def listing(self, folder: str) -> Iterator[paramiko.SFTPAttributes]:
        """Yield the entries of a folder as they come. Requests are made one at a time, and each answer's number is checked."""
        kind, answer = self._request(sftp.CMD_OPENDIR, folder)
        if kind != sftp.CMD_HANDLE:
            raise paramiko.SFTPError(f"answer {kind} to opening a folder")
        handle = answer.get_string()
        try:
            while True:
                kind, answer = self._request(sftp.CMD_READDIR, handle)
                if kind != sftp.CMD_NAME:
                    raise paramiko.SFTPError(f"answer {kind} to reading a folder")
                entries = Answer(answer.get_remainder())
                for _ in range(entries.get_int()):
                    name, long_name = entries.get_text(), entries.get_text()
                    yield paramiko.SFTPAttributes._from_msg(entries, name, long_name)
        except NoMore:
            with contextlib.suppress(OSError):  # all of it has been read
                self._request(sftp.CMD_CLOSE, handle)

    def _read_packet(self) -> tuple[int, bytes]:
        head = self._read_all(4)
        size = int.from_bytes(head, "big")
        if not 5 <= size <= MOST_BYTES:
            raise Garbled(f"an answer of {size:,} bytes")
        content = self._read_all(size)
        kind, answer = content[0], Answer(content[1:])
        # Each of these raises Garbled if the answer has less than it announces.
        answer.get_int()  # the number of the request, or the version
        if kind == sftp.CMD_DATA and len(answer.get_string()) > paramiko.SFTPFile.MAX_REQUEST_SIZE:
            raise Garbled("an answer has more than was asked for")
        if kind == sftp.CMD_HANDLE:
            answer.get_string()
        if kind == sftp.CMD_ATTRS:
            paramiko.SFTPAttributes._from_msg(answer)
        if kind == sftp.CMD_STATUS:
            answer.get_int()
        return kind, content[1:]

    def _convert_status(self, msg: paramiko.Message) -> None:
        try:
            super()._convert_status(Answer(msg.get_remainder()))
        except EOFError as told:
            raise NoMore(*told.args) from None


def pieces(file: paramiko.SFTPFile, size: int) -> Iterator[bytes]:
    """Yield the file's bytes up to this size, and one more byte if there is one."""
    wanted = [(begin, min(PIECE, size - begin)) for begin in range(0, size, PIECE)]
    for first in range(0, len(wanted), AHEAD):
        window = wanted[first : first + AHEAD]
        for piece, (_, length) in zip(file.readv(window), window, strict=True):
            yield piece
            if len(piece) < length:
                return
    file.seek(size)
    yield file.read(1)
