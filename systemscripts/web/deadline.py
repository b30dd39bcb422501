"""A deadline for a whole answer, from the connection to its last byte; a longer answer is cut off.

The timeout of a request counts for each packet. A site that sends a byte now and then never reaches it: in the TLS
handshake, in the status line, in headers, in repeated "100 Continue" answers, or in the body.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from systemscripts.deadlines import hung_up_after
from systemscripts.web.answers import Unreachable

LONGEST_ANSWER = 600.0  # seconds


class Deadline:
    """The deadline of one answer, and its sockets."""

    def __init__(self) -> None:
        self.is_over = False
        self._lock = threading.Lock()
        self._lines: list[socket.socket] = []

    def add(self, line: socket.socket) -> None:
        """Hang up on this socket too. A duplicate is kept, because TLS takes the socket over and an answer's end closes it."""
        with self._lock:
            self._lines.append(socket.socket(fileno=os.dup(line.fileno())))
        if self.is_over:
            self.hang_up()

    def hang_up(self) -> None:
        with self._lock:
            self.is_over = True
            for line in self._lines:
                with contextlib.suppress(OSError):  # the other side has already closed it
                    line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            while self._lines:
                self._lines.pop().close()


_answers = threading.local()


@contextlib.contextmanager
def whole_in_time(url: str, limit: float | None = None) -> Iterator[None]:
    """Raise Unreachable if the requests of this block, and reading their answers, take longer than `limit` seconds.

    Without a limit it is LONGEST_ANSWER.
    """
    limit = LONGEST_ANSWER if limit is None else limit
    deadline = _answers.now = Deadline()
    try:
        with hung_up_after(limit, deadline.hang_up):
            yield
    except Exception:
        # After a hang-up many different exceptions are possible.
        if not deadline.is_over:
            raise
    finally:
        _answers.now = None
        deadline.close()
    if deadline.is_over:
        raise Unreachable(f"{url}: not complete after {limit:g} seconds", again=True)


def _notice(line: socket.socket) -> None:
    deadline: Deadline | None = getattr(_answers, "now", None)
    if deadline is not None:
        deadline.add(line)


class _Connection(HTTPConnection):
    """Adds its socket to the answer's deadline: a new socket before TLS, a reused one at each request."""

    def _new_conn(self) -> socket.socket:
        line = super()._new_conn()
        _notice(line)
        return line

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            _notice(self.sock)
        super().request(*args, **kwargs)


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class Session(requests.Session):
    """A session whose answers have a deadline; its caller handles redirects and their bodies."""

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter())

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return None; otherwise requests would read the whole body of a redirect, of any size, to reuse the connection."""
        del resp
        return None
