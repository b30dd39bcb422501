"""What a site can do wrong, over real connections: each has its outcome, and none is taken for an event without data."""

import contextlib
import gzip
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from systemscripts.sources import meetmax
from systemscripts.sources.meetmax_download import CompanyFile
from systemscripts.web import deadline
from systemscripts.web.manners import Manners
from systemscripts.web.pace import Pacer
from systemscripts.web_utils import FetchError, Unreachable, Validators, WebSession

pytestmark = pytest.mark.slow

Behaviour = Callable[[socket.socket, str], None]
INVALID = b'<div class="alert alert-danger">Invalid Event ID: 7</div>'
FILE = b"PK\x03\x04" + bytes(range(256)) * 1000
HTML = "Content-Type: text/html; charset=utf-8\r\n"


def answer(body: bytes, status: str = "200 OK", headers: str = HTML, announced: int | None = None) -> Behaviour:
    length = len(body) if announced is None else announced

    def send(connection: socket.socket, _request: str) -> None:
        connection.sendall(
            f"HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n".encode() + body
        )

    return send


def reset(connection: socket.socket, _request: str) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def stall(connection: socket.socket, _request: str) -> None:
    connection.recv(1)  # until the visitor gives up


def stall_in_the_body(connection: socket.socket, _request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + INVALID)
    connection.recv(1)


def cut_chunks(connection: socket.socket, _request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n39\r\n" + INVALID[:20])


def cut_without_length(connection: socket.socket, _request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + INVALID[:40])


def endless(connection: socket.socket, _request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(INVALID * 1000)


def garbage(connection: socket.socket, _request: str) -> None:
    connection.sendall(b"\x00\x01 I am no web server\r\n\r\n")


class Site(socketserver.ThreadingTCPServer):
    """Does for each connection what is next in its list, the last for ever."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *behaviours: Behaviour, certificate: trustme.LeafCert | None = None) -> None:
        self.behaviours = list(behaviours)
        self.requests: list[str] = []
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(self._tls)
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://localhost:{self.server_address[1]}"

    def finish_request(self, request: socket.socket, _address: object) -> None:  # type: ignore[override]
        with contextlib.suppress(OSError):
            connection = self._tls.wrap_socket(request, server_side=True) if self._tls else request
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := connection.recv(65536)):
                    return
                head += data
            with self._lock:
                self.requests.append(head.decode())
                act = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
            act(connection, head.decode())


@contextlib.contextmanager
def site(*behaviours: Behaviour, certificate: trustme.LeafCert | None = None) -> Iterator[Site]:
    with Site(*behaviours, certificate=certificate) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def web(folder: Path, retries: int = 0) -> WebSession:
    pacer = Pacer(0, folder / "pace", clock=lambda: 0.0, sleep=lambda _seconds: None)
    return WebSession(Manners("tester/1.0", 0, 0.5, retries, 50, False), pacer)


@pytest.mark.parametrize(
    ("behaviour", "status", "words"),
    [
        pytest.param(answer(b"", "429 Too Many", "Retry-After: 0\r\n"), "Failed", "status 429", id="429"),
        pytest.param(answer(b"error code: 1015", "429 Too Many"), "Failed", "status 429", id="429 of Cloudflare"),
        pytest.param(answer(b"", "503 Busy"), "Failed", "status 503", id="503"),
        pytest.param(answer(INVALID, "500 Oops"), "Failed", "status 500", id="500 with the words"),
        pytest.param(answer(INVALID, "403 Forbidden"), "Failed", "status 403", id="403 with the words"),
        pytest.param(answer(INVALID, "404 Not Found"), "404", "status 404", id="404 with the words"),
        pytest.param(answer(INVALID, "206 Partial"), "206", "status 206", id="a part nobody asked for"),
        pytest.param(answer(b"", "304 Not Modified"), "304", "status 304", id="unchanged from nothing"),
        pytest.param(answer(b"error code: 1015"), "Failed", "'error code: 1015'", id="1015 with 200"),
        pytest.param(answer(b"<h1>Access denied</h1>"), "Failed", "Access denied", id="denied with 200"),
        pytest.param(answer(b"<title>Just a moment...</title>"), "Failed", "Just a moment", id="challenge"),
        pytest.param(answer(b"<input type=password>"), "Error", "asks for a login", id="login"),
        pytest.param(answer(b""), "Error", "neither a company list nor", id="nothing"),
        pytest.param(answer(b"<h1>Maintenance</h1>"), "Error", "neither a company list nor", id="maintenance"),
        pytest.param(answer(INVALID, "302 Found", "Location: https://evil.example/\r\n"), "Failed", "redirects to", id="elsewhere"),
        pytest.param(answer(INVALID, "302 Found", "Location: /\r\n"), "Failed", "more than 5 redirects", id="in circles"),
        pytest.param(answer(INVALID, announced=500), "Failed", "57 bytes", id="cut"),
        pytest.param(cut_chunks, "Failed", "", id="cut chunks"),
        pytest.param(cut_without_length, "Error", "neither a company list nor", id="cut without a length"),
        pytest.param(reset, "Failed", "", id="reset"),
        pytest.param(stall, "Failed", "timed out", id="stall"),
        pytest.param(stall_in_the_body, "Failed", "timed out", id="stall in the body"),
        pytest.param(endless, "Failed", "larger than the limit", id="endless"),
        pytest.param(garbage, "Failed", "", id="no web server"),
        pytest.param(
            answer(gzip.compress(b" " * 300_000_000, 9), headers=HTML + "Content-Encoding: gzip\r\n"),
            "Failed", "larger than the limit", id="gzip bomb",
        ),
        pytest.param(
            answer(b"no gzip at all", headers=HTML + "Content-Encoding: gzip\r\n"), "Failed", "", id="broken gzip"
        ),
    ],
)  # fmt: skip
def test_no_trouble_is_taken_for_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, status: str, words: str
) -> None:
    with site(behaviour) as server:
        monkeypatch.setenv("MEETMAX_BASE_URL", server.url)
        result = meetmax.check_event(web(tmp_path), "7", lambda *_: "")

    assert (result.exists, result.invalid, result.downloadable) == (False, False, False)
    assert result.status_code == status
    assert words in result.problem
    assert "\n" not in result.problem
    assert "0x" not in result.problem


def _drip(connection: socket.socket, drop: bytes) -> None:
    for _ in range(2_000):
        connection.sendall(drop)
        time.sleep(0.01)


def trickle_in_the_status_line(connection: socket.socket, _request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 ")
    _drip(connection, b"O")


def trickle_in_a_header(connection: socket.socket, _request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    _drip(connection, b"x")


def continue_for_ever(connection: socket.socket, _request: str) -> None:
    _drip(connection, b"HTTP/1.1 100 Continue\r\n\r\n")


def trickle_in_the_body(connection: socket.socket, _request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n")
    _drip(connection, b"x")


def trickle_without_a_length(connection: socket.socket, _request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    _drip(connection, b"x")


@pytest.mark.parametrize(
    "trickle",
    [trickle_in_the_status_line, trickle_in_a_header, continue_for_ever, trickle_in_the_body, trickle_without_a_length],
)
@pytest.mark.parametrize("used_before", [False, True])
def test_an_answer_that_trickles_in_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trickle: Behaviour, used_before: bool
) -> None:
    monkeypatch.setattr(deadline, "LONGEST_ANSWER", 0.2)

    def first_a_good_one(connection: socket.socket, request: str) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\n{HTML}Content-Length: {len(INVALID)}\r\n\r\n".encode() + INVALID)
        connection.recv(65536)
        trickle(connection, request)

    with site(first_a_good_one if used_before else trickle) as server:
        monkeypatch.setenv("MEETMAX_BASE_URL", server.url)
        visitor = web(tmp_path)
        if used_before:
            assert meetmax.check_event(visitor, "7", lambda *_: "").invalid
        result = meetmax.check_event(visitor, "7", lambda *_: "")

    assert result.status_code == "Failed"
    assert "after 0.2 seconds" in result.problem
    assert (result.exists, result.invalid) == (False, False)


def test_a_tls_handshake_that_trickles_in_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "LONGEST_ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB begins
                _drip(connection, b"\x02")

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(FetchError, match=r"after 0\.2 seconds|timed out"):
            web(tmp_path).get(f"https://localhost:{listener.getsockname()[1]}/")


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_the_body_of_a_redirect_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    sent = 0

    def endless_redirect(connection: socket.socket, _request: str) -> None:
        nonlocal sent
        coded = f"Content-Encoding: {encoding}\r\n" if encoding else ""
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: /page\r\n{coded}Connection: close\r\n\r\n".encode())
        with contextlib.suppress(OSError):
            while sent < 1 << 30:
                sent += connection.send(bytes(1 << 16))

    with site(endless_redirect, answer(INVALID)) as server:
        page = web(tmp_path).get(server.url)

    assert page.text == INVALID.decode()
    assert sent < 32 << 20, "what fits into the buffers of two sockets"


def test_a_chunk_of_a_negative_length_is_that_answers_problem_alone(tmp_path: Path) -> None:
    def negative(connection: socket.socket, _request: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n")

    with site(negative) as server, pytest.raises(Unreachable):
        web(tmp_path).get(server.url)


@pytest.mark.parametrize(
    ("from_now", "problem"), [(timedelta(days=30), ""), (timedelta(days=-1), "certificate has expired")]
)
def test_a_certificate_that_has_expired_is_no_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_now: timedelta, problem: str
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    certificate = authority.issue_cert("localhost", not_after=datetime.now(UTC) + from_now)
    with site(answer(INVALID), certificate=certificate) as server:
        monkeypatch.setenv("MEETMAX_BASE_URL", server.url)
        result = meetmax.check_event(web(tmp_path), "7", lambda *_: "")

    assert result.invalid is (problem == "")
    assert problem in result.problem


def test_plain_http_in_place_of_tls_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with site(answer(INVALID)) as plain:
        leads_down = answer(b"", "302 Found", f"Location: {plain.url}/sched\r\n")
        with site(leads_down, certificate=authority.issue_cert("localhost")) as server:
            monkeypatch.setenv("MEETMAX_BASE_URL", server.url)
            result = meetmax.check_event(web(tmp_path), "7", lambda *_: "")

    assert "from https to http" in result.problem
    assert plain.requests == []


# ---- downloads that are cut, and those that have not changed -------------------------------


def serving(content: bytes, etag: str, cut_after: int | None, with_ranges: bool = True) -> Behaviour:
    """Serve a file, or the rest of it that is asked for, up to so many bytes of the answer."""

    def send(connection: socket.socket, request: str) -> None:
        asked = dict(line.split(": ", 1) for line in request.splitlines()[1:] if ": " in line)
        begin, status, more = 0, "200 OK", ""
        if with_ranges and asked.get("If-Range") == etag:
            begin = int(asked["Range"].removeprefix("bytes=").removesuffix("-"))
            status, more = "206 Partial Content", f"Content-Range: bytes {begin}-{len(content) - 1}/{len(content)}\r\n"
        head = f"HTTP/1.1 {status}\r\nETag: {etag}\r\nContent-Length: {len(content) - begin}\r\n{more}\r\n"
        connection.sendall(head.encode() + content[begin:][:cut_after])

    return send


def range_asked(request: str) -> str:
    return next((line for line in request.splitlines() if line.startswith("Range: ")), "")


def test_a_cut_file_is_gone_on_with_where_it_was_cut(tmp_path: Path) -> None:
    with site(serving(FILE, '"v1"', 100_000), serving(FILE, '"v1"', 50_000), serving(FILE, '"v1"', None)) as server:
        done = web(tmp_path, retries=3).download(server.url, tmp_path / "f.xls")

    assert (tmp_path / "f.xls").read_bytes() == FILE
    assert done is not None
    assert done.validators == Validators('"v1"')
    assert [range_asked(request) for request in server.requests] == ["", "Range: bytes=100000-", "Range: bytes=150000-"]


@pytest.mark.parametrize(
    ("etag", "second"),
    [
        ('"v1"', serving(FILE[::-1], '"v2"', None)),
        ('"v1"', serving(FILE[::-1], '"v1"', None, with_ranges=False)),
        ('W/"v1"', serving(FILE[::-1], 'W/"v1"', None)),
    ],
)
def test_another_version_begins_anew(tmp_path: Path, etag: str, second: Behaviour) -> None:
    with site(serving(FILE, etag, 100_000), second) as server:
        web(tmp_path, retries=1).download(server.url, tmp_path / "f.xls")

    assert (tmp_path / "f.xls").read_bytes() == FILE[::-1]


@pytest.mark.parametrize(
    "wrong",
    [
        answer(b"", "416 Range Not Satisfiable"),
        answer(FILE[5:], "206 Partial Content", f"Content-Range: bytes 5-{len(FILE) - 1}/{len(FILE)}\r\n"),
        answer(FILE, "206 Partial Content", ""),
        # Of another file: the length that was announced first, and this one's, differ.
        answer(FILE[100_000:], "206 Partial Content", f"Content-Range: bytes 100000-{len(FILE) - 1}/999999\r\n"),
        # Its end and its bytes differ, and nobody says the length of the whole.
        answer(FILE[100_000:100_040], "206 Partial Content", "Content-Range: bytes 100000-999998/*\r\n"),
    ],
)
def test_a_part_that_does_not_fit_is_not_joined(tmp_path: Path, wrong: Behaviour) -> None:
    with site(serving(FILE, '"v1"', 100_000), wrong, serving(FILE, '"v1"', None)) as server:
        web(tmp_path, retries=2).download(server.url, tmp_path / "f.xls")

    assert (tmp_path / "f.xls").read_bytes() == FILE
    assert range_asked(server.requests[2]) == ""


def test_a_part_that_ends_before_the_file_does_is_gone_on_with(tmp_path: Path) -> None:
    """With an unknown total, the length that was announced first counts."""
    part = answer(
        FILE[100_000:131_072], "206 Partial Content", 'ETag: "v1"\r\nContent-Range: bytes 100000-131071/*\r\n'
    )
    with site(serving(FILE, '"v1"', 100_000), part, serving(FILE, '"v1"', None)) as server:
        web(tmp_path, retries=2).download(server.url, tmp_path / "f.xls")

    assert (tmp_path / "f.xls").read_bytes() == FILE
    assert range_asked(server.requests[2]) == "Range: bytes=131072-"


LIST = b"<html><body><table><tr><th>company</th><th>ticker</th></tr>" + b"<tr><td>A</td><td>T</td></tr>" * 500
ENDS = b"</table></body></html>"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(LIST + ENDS, id="page"),
        pytest.param(LIST.replace(b"<html><body>", b"") + b"</table>", id="table"),
        pytest.param(b"PK\x03\x04" + bytes(5000) + b"PK\x05\x06" + bytes(18), id="workbook"),
    ],
)
def test_a_list_without_its_end_is_cut_whatever_nobody_announces(tmp_path: Path, content: bytes) -> None:
    def until_the_end_of_the_line(body: bytes) -> Behaviour:
        def send(connection: socket.socket, _request: str) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)

        return send

    half, whole = until_the_end_of_the_line(content[: len(content) // 2]), until_the_end_of_the_line(content)
    with site(half, half, whole) as server:
        with pytest.raises(Unreachable, match="end of the file"):
            web(tmp_path).download(server.url, tmp_path / "f.xls", CompanyFile("7"))
        assert not (tmp_path / "f.xls").exists()
        web(tmp_path, retries=1).download(server.url, tmp_path / "f.xls", CompanyFile("7"))

    assert (tmp_path / "f.xls").read_bytes() == content


def test_a_list_may_hold_the_words_of_a_refusal(tmp_path: Path) -> None:
    content = b"company_name,ticker\nAccess Denied Security Inc,ADS\n"
    page = b"<html><title>Just a Moment Conference 2026 - MeetMax</title>" + LIST.removeprefix(b"<html>") + ENDS
    with site(answer(content), answer(page)) as server:
        web(tmp_path).download(server.url, tmp_path / "f.xls", CompanyFile("7"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MEETMAX_BASE_URL", server.url)
            result = meetmax.check_event(web(tmp_path), "7", lambda *_: "")

    assert (tmp_path / "f.xls").read_bytes() == content
    assert (result.exists, result.problem) == (True, "")


@pytest.mark.parametrize(
    "header",
    ["Content-Type: text/html; charset*=a; charset*0=b", f"Content-Type: text/html; charset*{'1' * 5000}=b",
     "Content-Length: ²", f"Content-Length: {'9' * 5000}"],
)  # fmt: skip
def test_a_header_that_makes_no_sense_is_that_answers_problem_alone(tmp_path: Path, header: str) -> None:
    def send(connection: socket.socket, _request: str) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nConnection: close\r\n{header}\r\n\r\n".encode("latin-1") + INVALID)

    with site(send) as server:
        for fetch in (
            lambda: web(tmp_path).get(server.url),
            lambda: web(tmp_path).download(server.url, tmp_path / "f"),
        ):
            with contextlib.suppress(FetchError):
                fetch()


def test_the_list_of_another_event_is_not_taken(tmp_path: Path) -> None:
    content = b"company_name,ticker\nAcme,AC\n"
    elsewhere = answer(b"", "302 Found", "Location: /sched/event_8/__co-list_cp.xls?event_id=7\r\n")
    with site(elsewhere, answer(content)) as server, pytest.raises(FetchError, match="list of another event"):
        web(tmp_path).download(f"{server.url}/sched/event_7/x.xls", tmp_path / "f.xls", CompanyFile("7"))


@pytest.mark.parametrize("etag", ['"a\0b"', '"\x1b[31m"', '"' + "x" * 2000 + '"'])
def test_a_validator_that_cannot_be_one_is_none(tmp_path: Path, etag: str) -> None:
    with site(answer(FILE, headers=f"ETag: {etag}\r\n")) as server:
        done = web(tmp_path).download(server.url, tmp_path / "f.xls")

    assert done is not None
    assert done.validators == Validators()


def test_what_has_not_changed_is_not_sent_again(tmp_path: Path) -> None:
    kept = Validators('"v1"', "Mon, 02 Mar 2026 05:00:00 GMT")
    with site(answer(b"", "304 Not Modified")) as server:
        assert web(tmp_path).download(server.url, tmp_path / "f.xls", kept=kept) is None

    assert 'If-None-Match: "v1"' in server.requests[0]
    assert "If-Modified-Since: Mon, 02 Mar 2026 05:00:00 GMT" in server.requests[0]
    assert [path.name for path in tmp_path.iterdir()] == ["pace"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 120_000), max_size=8), size=st.integers(1, 400_000))
def test_however_often_a_file_is_cut_it_arrives_as_it_is(tmp_path: Path, cuts: list[int], size: int) -> None:
    content = (FILE * 2)[:size]
    with site(*(serving(content, '"v"', cut) for cut in cuts), serving(content, '"v"', None)) as server:
        (tmp_path / "f.xls").unlink(missing_ok=True)
        done = web(tmp_path, retries=len(cuts)).download(server.url, tmp_path / "f.xls")

    assert (tmp_path / "f.xls").read_bytes() == content
    assert done is not None
    assert done.size == size
