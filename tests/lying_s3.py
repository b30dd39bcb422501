"""A store that speaks as much of S3 as rclone asks for, keeps its objects in memory, and lies where it is told to."""

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

KEY, SECRET = "AKIDOFTHETESTS", "a-secret-of-the-tests-0815"


class Asked(NamedTuple):
    """A request; `path` is bucket and key, or the bucket of a listing."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Any

    @property
    def lists(self) -> bool:
        return self.method == "GET" and "/" not in self.path


class Answer(NamedTuple):
    """What is answered in place of the truth; with `length` other than that of the body it is cut off, or never whole."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    length: int | None = None


class Kept(NamedTuple):
    content: bytes
    etag: str
    changed_at: float
    meta: tuple[tuple[str, str], ...] = ()


# Called with a request; returns what is answered in place of the truth, None to let it pass.
Lie = Callable[[Asked], Answer | None]


def refused(status: int, code: str, words: str = "told") -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code><Message>{words}</Message></Error>".encode())


class Store:
    """The objects by bucket and key, what was asked, and the lies, of which the first that answers counts."""

    def __init__(self) -> None:
        self.objects: dict[str, Kept] = {}
        self.buckets = {"bucket"}
        self.asked: list[Asked] = []
        self.lies: list[Lie] = []
        self.latency = 0.0
        self.address = ""
        self._lock = threading.Lock()

    def keep(self, path: str, content: bytes, etag: str = "", changed_at: float | None = None, **meta: str) -> None:
        etag = etag or hashlib.md5(content).hexdigest()
        kept = Kept(content, etag, time.time() if changed_at is None else changed_at, tuple(meta.items()))
        with self._lock:
            self.objects[path] = kept

    def names(self, folder: str) -> list[str]:
        return sorted(path.removeprefix(f"{folder}/") for path in self.objects if path.startswith(f"{folder}/"))

    def count(self, method: str, path: str) -> int:
        return sum(asked.method == method and asked.path == path for asked in self.asked)

    def remote(self, name: str, **more: str) -> str:
        """Return the section of a remote for this store."""
        settings = {
            "type": "s3", "provider": "Other", "access_key_id": KEY, "secret_access_key": SECRET,
            "endpoint": self.address, "region": "us-east-1", **more,
        }  # fmt: skip
        return f"[{name}]\n" + "".join(f"{setting} = {value}\n" for setting, value in settings.items())

    # ---- the truth -------------------------------------------------------------------------

    def answer(self, asked: Asked, body: bytes) -> Answer:
        self.asked.append(asked)
        if self.latency:
            time.sleep(self.latency)
        for lie in self.lies:
            if (told := lie(asked)) is not None:
                return told
        if asked.path.partition("/")[0] not in self.buckets:
            return refused(404, "NoSuchBucket")
        if asked.lists:
            return self._listing(asked)
        return {"GET": self._get, "HEAD": self._get, "PUT": self._put, "DELETE": self._delete}[asked.method](
            asked, body
        )

    def _get(self, asked: Asked, _body: bytes) -> Answer:
        kept = self.objects.get(asked.path)
        if kept is None:
            return refused(404, "NoSuchKey")
        return Answer(200, kept.content, headers_of(kept))

    def _put(self, asked: Asked, body: bytes) -> Answer:
        if source := asked.headers.get("x-amz-copy-source"):
            kept = self.objects.get(unquote(source).lstrip("/"))
            if kept is None:
                return refused(404, "NoSuchKey")
            self.keep(asked.path, kept.content, kept.etag)
            return Answer(200, f'<CopyObjectResult><ETag>"{kept.etag}"</ETag></CopyObjectResult>'.encode())
        if "aws-chunked" in (asked.headers.get("content-encoding") or ""):
            body = unchunked(body)
        self.keep(asked.path, body)
        return Answer(200, b"", (("ETag", f'"{hashlib.md5(body).hexdigest()}"'),))

    def _delete(self, asked: Asked, _body: bytes) -> Answer:
        with self._lock:
            self.objects.pop(asked.path, None)
        return Answer(204)

    def _listing(self, asked: Asked) -> Answer:
        prefix, first = (
            asked.query.get("prefix", [""])[0],
            asked.query.get("marker", asked.query.get("continuation-token", [""]))[0],
        )
        start = f"{asked.path}/{prefix}"
        with self._lock:
            keys = sorted(path.partition("/")[2] for path in self.objects if path.startswith(start))
        here = [key for key in keys if "/" not in key[len(prefix) :] and key > first]
        below = {prefix + key[len(prefix) :].partition("/")[0] + "/" for key in keys if "/" in key[len(prefix) :]}
        page, more = here[:1000], len(here) > 1000
        written: Callable[[str], str] = quote if "encoding-type" in asked.query else escape
        rows = "".join(self._row(asked.path, key, written(key)) for key in page)
        rows += "".join(
            f"<CommonPrefixes><Prefix>{written(name)}</Prefix></CommonPrefixes>" for name in sorted(below) if not first
        )
        last = written(page[-1]) if more else ""
        body = (
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"<NextMarker>{last}</NextMarker><NextContinuationToken>{last}</NextContinuationToken>{rows}</ListBucketResult>"
        )
        return Answer(200, body.encode())

    def _row(self, bucket: str, key: str, written: str) -> str:
        kept = self.objects[f"{bucket}/{key}"]
        at = (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(kept.changed_at))
            + f".{int(kept.changed_at * 1000) % 1000:03}Z"
        )
        return (
            f"<Contents><Key>{written}</Key><LastModified>{at}</LastModified><ETag>&quot;{kept.etag}&quot;</ETag>"
            f"<Size>{len(kept.content)}</Size></Contents>"
        )


def headers_of(kept: Kept) -> tuple[tuple[str, str], ...]:
    meta = tuple((f"x-amz-meta-{name}", value) for name, value in kept.meta)
    return (("ETag", f'"{kept.etag}"'), ("Last-Modified", formatdate(kept.changed_at, usegmt=True)), *meta)


def unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        head, _, rest = body.partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        if not size:
            break
        whole, body = whole + rest[:size], rest[size + 2 :]
    return whole


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def _do(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = Asked(self.command, unquote(parts.path).lstrip("/"), parse_qs(parts.query), self.headers)
        if asked.path.endswith("/") and asked.path.count("/") == 1:
            asked = asked._replace(path=asked.path.rstrip("/"))
        told = self.store.answer(asked, body)
        self.send_response(told.status)
        for name, value in told.headers:
            self.send_header(name, value)
        length = len(told.body) if told.length is None else told.length
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(told.body)
            if length > len(told.body):
                self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_DELETE = _do  # noqa: N815 — the names that the base class wants

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        pass  # a client that hangs up


@contextlib.contextmanager
def lying() -> Iterator[Store]:
    store = Store()
    with _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store})) as server:
        store.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield store
        finally:
            server.shutdown()
            thread.join()
