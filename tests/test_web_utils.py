"""web_utils and web/manners.py against a real server on the loopback interface that misbehaves on demand."""

import hashlib
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from systemscripts import web_utils
from systemscripts.errors import TemporaryFailure
from systemscripts.web.answers import redirect_target
from systemscripts.web.manners import Manners, pause_before_retry, refusal_in, retry_after
from systemscripts.web.pace import LONGEST_WAIT, Pacer
from systemscripts.web_utils import (
    BadAnswer,
    BadStatus,
    FetchError,
    ForbiddenByRobots,
    Refused,
    Unreachable,
    WebSession,
)

Reply = tuple[int, dict[str, str], bytes]


class Server:
    """Answers each path with its scripted replies in order, the last one for ever; keeps what it was asked."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    def on(self, path: str, *replies: Reply) -> str:
        self.replies[path] = list(replies)
        return self.url + path

    def take(self, path: str) -> Reply:
        replies = self.replies.get(path, [(404, {}, b"nothing here")])
        return replies.pop(0) if len(replies) > 1 else replies[0]


@pytest.fixture
def server() -> Iterator[Server]:
    script = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.asked.append(self.path)
            script.headers.append(dict(self.headers))
            status, headers, body = script.take(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    with running(Handler) as url:
        script.url = url
        yield script


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}"
        finally:
            httpd.shutdown()


class Clock:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def session(
    clock: Clock | None = None, interval: float = 0, retries: int = 2, allowed: int = 5, robots: bool = False
) -> WebSession:
    clock = clock or Clock()
    manners = Manners("tester/1.0", interval, 2.0, retries, allowed, robots)
    return WebSession(manners, Pacer(interval, Path(tempfile.mkdtemp()), clock, clock.sleep))


PAGE = (200, {"Content-Type": "text/html; charset=utf-8"}, "<title>Café</title>".encode())


# ---- pages ---------------------------------------------------------------------------------


def test_it_returns_the_page_and_says_who_asks(server: Server) -> None:
    page = session().get(server.on("/page", PAGE))

    assert (page.status, page.text, page.url) == (200, "<title>Café</title>", f"{server.url}/page")
    assert server.headers[0]["User-Agent"] == "tester/1.0"


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/html", "é".encode(), "é"),
        ("text/html", "é".encode("cp1252"), "é"),
        ("text/html; charset=ISO-8859-1", "é".encode("latin-1"), "é"),
        ("text/html; charset=no-such-thing", b"e", "e"),
    ],
)
def test_it_decodes_a_page_whatever_its_charset(server: Server, content_type: str, body: bytes, text: str) -> None:
    assert session().get(server.on("/", (200, {"Content-Type": content_type}, body))).text == text


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_it_asks_again_after_a_failure_of_the_moment(server: Server, status: int) -> None:
    url = server.on("/", (status, {}, b""), PAGE)

    assert session().get(url).status == 200
    assert server.asked == ["/", "/"]


def test_it_asks_again_after_a_refusal_that_calls_itself_200(server: Server) -> None:
    url = server.on("/", (200, {}, b"<h1>Access Denied</h1>"), PAGE)

    assert session().get(url).text == "<title>Café</title>"


@pytest.mark.parametrize(
    ("reply", "failure", "requests"),
    [
        ((429, {}, b""), Refused, 3),
        ((403, {}, b""), Refused, 1),
        ((200, {}, b"<title>Just a moment...</title>"), Refused, 3),
        ((404, {}, b""), BadStatus, 1),
        ((204, {}, b""), BadStatus, 1),
        ((500, {}, b""), Unreachable, 3),
        ((200, {"Content-Length": "50"}, b"cut short"), Unreachable, 3),
        ((200, {}, b"x" * (10 << 20 | 1)), BadAnswer, 1),
    ],
)
def test_it_gives_up_with_the_failure_that_fits(
    server: Server, reply: Reply, failure: type[FetchError], requests: int
) -> None:
    url = server.on("/", reply)

    with pytest.raises(failure, match=server.url):
        session().get(url)
    assert len(server.asked) == requests


def test_it_says_so_when_nobody_listens() -> None:
    with running(BaseHTTPRequestHandler) as url:
        pass
    with pytest.raises(Unreachable, match="refused"):
        session(retries=1).get(url)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "http:///x", "file:///etc/passwd", "x", "http://[::1/x"])
def test_it_refuses_what_is_no_web_address(url: str) -> None:
    with pytest.raises(BadAnswer, match="not a web address"):
        session().get(url)


def test_it_ignores_a_proxy_for_this_machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert session().get(server.on("/", PAGE)).status == 200


# ---- redirects -----------------------------------------------------------------------------


def test_it_follows_a_redirect_within_the_host(server: Server) -> None:
    server.on("/~public/new?a=1", PAGE)
    page = session().get(server.on("/old", (302, {"Location": "~public/new?a=1"}, b"")))

    assert page.url == f"{server.url}/~public/new?a=1"
    assert server.asked == ["/old", "/~public/new?a=1"]


@pytest.mark.parametrize(
    "location", ["http://127.0.0.2/x", "//example.com/x", "https://127.0.0.1:1/x", "file:///x", "http://[::1/x"]
)
def test_it_refuses_a_redirect_elsewhere(server: Server, location: str) -> None:
    with pytest.raises(BadAnswer, match="redirect"):
        session().get(server.on("/", (302, {"Location": location}, b"")))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("https://h/a", "https://h:443/b", "https://h:443/b"),
        ("https://h/a", "https://H/b", "https://H/b"),
        ("http://h:80/a", "http://h/b", "http://h/b"),
        ("http://h/a", "https://h:443/b", "https://h:443/b"),
        ("http://h:8000/a", "https://h/b", "https://h/b"),
        ("https://h/a", "http://h/b", ""),
        ("https://h/a", "https://h:8443/b", ""),
        ("https://h/a", "https://me@h/b", ""),
        ("https://h/a", "https://h.evil.example/b", ""),
    ],
)
def test_a_host_may_be_written_in_more_than_one_way(url: str, location: str, target: str) -> None:
    if target:
        assert redirect_target(url, location) == target
    else:
        with pytest.raises(BadAnswer):
            redirect_target(url, location)


def test_it_refuses_to_go_in_circles(server: Server) -> None:
    with pytest.raises(BadAnswer, match="more than 5 redirects"):
        session().get(server.on("/", (301, {"Location": "/"}, b"")))


# ---- pace, retries, breaker ----------------------------------------------------------------


def test_it_keeps_the_interval_between_any_two_requests(server: Server) -> None:
    clock = Clock()
    web = session(clock, interval=5)
    url = server.on("/", PAGE)
    for _ in range(3):
        web.get(url)

    assert len(clock.slept) == 2
    assert all(5 <= pause <= 6 for pause in clock.slept)


def test_threads_share_the_pace(tmp_path: Path) -> None:
    pauses: list[float] = []
    pacer = Pacer(10, tmp_path, clock=lambda: 50.0 + sum(pauses), sleep=pauses.append)
    threads = [threading.Thread(target=pacer.wait, args=("a",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(pauses) >= 30


def test_hosts_do_not_wait_for_each_other(tmp_path: Path) -> None:
    clock = Clock()
    pacer = Pacer(10, tmp_path, clock, clock.sleep)
    for host in ("a", "b", "c"):
        pacer.wait(host)

    assert clock.slept == []


def test_it_waits_as_long_as_the_site_asks(server: Server) -> None:
    clock = Clock()
    session(clock).get(server.on("/", (429, {"Retry-After": "7"}, b""), PAGE))

    assert sum(clock.slept) == pytest.approx(7)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("0", 0, 0),
        (" 120 ", 120, 120),
        ("in 90 s", 60, 90),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
    ],
)
def test_it_reads_retry_after_as_seconds_and_as_a_date(header: str, least: float, most: float) -> None:
    if header == "in 90 s":  # made here: the table is made long before the test runs
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)

    seconds = retry_after(header)

    assert seconds is not None
    assert least <= seconds <= most


@pytest.mark.parametrize("header", [None, "", "soon", "-5", "1.5.2"])
def test_it_ignores_a_retry_after_that_says_nothing(header: str | None) -> None:
    assert retry_after(header) is None


def test_the_pause_doubles_and_has_a_limit() -> None:
    pauses = [pause_before_retry(5, attempt, None) for attempt in range(8)]

    assert all(15 * 2**n <= pause <= 18 * 2**n for n, pause in enumerate(pauses[:4]))
    assert pauses[-1] == LONGEST_WAIT
    assert pause_before_retry(5, 0, 1e9) == LONGEST_WAIT
    assert pause_before_retry(0, 3, None) == 0


def test_it_stops_asking_after_too_many_refusals_in_a_row(server: Server) -> None:
    web = session(retries=0, allowed=3)
    url = server.on("/", (429, {}, b""))
    for _ in range(2):
        with pytest.raises(Refused):
            web.get(url)
    with pytest.raises(TemporaryFailure, match="3 requests in a row.* again"):
        web.get(url)
    with pytest.raises(TemporaryFailure):
        web.get(server.on("/other", PAGE))

    assert len(server.asked) == 3


def test_an_answer_in_between_ends_the_row(server: Server) -> None:
    web = session(retries=0, allowed=2)
    url = server.on("/", (429, {}, b""), PAGE, (429, {}, b""), (404, {}, b""), (429, {}, b""))
    seen = []
    for _ in range(5):
        try:
            seen.append(str(web.get(url).status))
        except FetchError as failure:
            seen.append(type(failure).__name__)

    assert seen == ["Refused", "200", "Refused", "BadStatus", "Refused"]


# ---- what a refusal looks like -------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "error code: 1015",
        "<html><title>Just a moment...</title>" + "x" * 9000,
        "<TITLE lang=en>\n Attention Required! | Cloudflare </TITLE>",
        "<html><head><title>Access Denied</title></head>",
        "<p>Sorry, access\n<b>denied</b>.</p>",
        f"<script>{'x' * 9000}</script><h1>ACCESS DENIED</h1>",
    ],
)
def test_it_knows_a_refusal(text: str) -> None:
    assert refusal_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<title>Company List - MeetMax</title><p>No companies found</p>",
        "<td>Access Denied Software, a maker of doors</td>" + "<td>word </td>" * 1000,
        "error code: 7",
        "<!-- access denied --><p>fine</p>",
    ],
)
def test_it_takes_no_other_page_for_a_refusal(text: str) -> None:
    assert refusal_in(text) == ""


# ---- robots.txt ----------------------------------------------------------------------------


def test_it_obeys_robots_txt_and_asks_for_it_once(server: Server) -> None:
    server.on("/robots.txt", (200, {}, b"User-agent: *\nDisallow: /private\nDisallow: /*.xls$\nCrawl-delay: 30\n"))
    clock = Clock()
    web = session(clock, robots=True)
    web.get(server.on("/page", PAGE))
    for path in ("/private/x", "/list.xls"):
        with pytest.raises(ForbiddenByRobots, match="ETL_OBEY_ROBOTS=no"):
            web.get(server.on(path, PAGE))
    web.get(f"{server.url}/page")

    assert server.asked == ["/robots.txt", "/page", "/page"]
    assert sum(clock.slept) >= 30


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_site_without_robots_txt_allows_everything(server: Server, status: int) -> None:
    server.on("/robots.txt", (status, {}, b"none"))

    assert session(robots=True).get(server.on("/page", PAGE)).status == 200


def test_a_robots_txt_that_cannot_be_had_allows_nothing(server: Server) -> None:
    server.on("/robots.txt", (503, {}, b""))
    with pytest.raises(Unreachable, match=r"/robots\.txt"):
        session(robots=True).get(server.on("/page", PAGE))

    assert "/page" not in server.asked


@pytest.mark.parametrize("rules", [PAGE, (200, {}, b"User-agent: *\nDisallow: /private\n")])
def test_a_robots_txt_may_be_redirected(server: Server, rules: Reply) -> None:
    """Many sites send any path that is not there to a page of theirs; the rules are asked for no permission."""
    server.on("/robots.txt", (302, {"Location": "/one"}, b""))
    server.on("/one", (301, {"Location": "/two"}, b""))
    server.on("/two", rules)

    assert session(robots=True).get(server.on("/page", PAGE)).status == 200
    assert server.asked == ["/robots.txt", "/one", "/two", "/page"]


def test_a_robots_txt_at_another_host_is_none(server: Server) -> None:
    server.on("/robots.txt", (302, {"Location": "http://127.0.0.2/robots.txt"}, b""))

    assert session(robots=True).get(server.on("/page", PAGE)).status == 200


def test_the_words_of_a_refusal_in_robots_txt_are_a_comment(server: Server) -> None:
    server.on("/robots.txt", (200, {}, b"# access denied to these:\nUser-agent: *\nDisallow: /private\n"))

    assert session(robots=True).get(server.on("/page", PAGE)).status == 200


def test_of_an_endless_robots_txt_the_beginning_counts(server: Server) -> None:
    server.on("/robots.txt", (200, {}, b"User-agent: *\nDisallow: /private\n" + b"# x\n" * 3_000_000))
    web = session(robots=True)

    assert web.get(server.on("/page", PAGE)).status == 200
    with pytest.raises(ForbiddenByRobots):
        web.get(server.on("/private", PAGE))


def test_robots_txt_can_be_switched_off(server: Server) -> None:
    server.on("/robots.txt", (200, {}, b"User-agent: *\nDisallow: /\n"))

    assert session(robots=False).get(server.on("/page", PAGE)).status == 200


# ---- downloads -----------------------------------------------------------------------------

CONTENT = b"PK\x03\x04" + bytes(range(256)) * 1000


def test_a_download_is_whole_and_described(server: Server, tmp_path: Path) -> None:
    download = session().download(server.on("/f", (200, {}, CONTENT)), tmp_path / "f.xls")

    assert (tmp_path / "f.xls").read_bytes() == CONTENT
    assert (download.size, download.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert [file.name for file in tmp_path.iterdir()] == ["f.xls"]


@pytest.mark.parametrize(
    "reply",
    [
        (200, {"Content-Length": "999999"}, CONTENT),
        (200, {}, b"<title>Access Denied</title>"),
        (200, {}, b"error code: 1015"),
        (404, {}, CONTENT),
        (200, {}, CONTENT * 3),
    ],
)
def test_a_download_that_fails_leaves_nothing(server: Server, tmp_path: Path, reply: Reply) -> None:
    with pytest.raises(FetchError):
        session().download(server.on("/f", reply), tmp_path / "f.xls", limit=len(CONTENT) * 2)

    assert list(tmp_path.iterdir()) == []


def test_a_download_that_was_cut_is_fetched_again(server: Server, tmp_path: Path) -> None:
    url = server.on("/f", (200, {"Content-Length": str(len(CONTENT))}, CONTENT[:70_000]), (200, {}, CONTENT))
    session().download(url, tmp_path / "f.xls")

    assert (tmp_path / "f.xls").read_bytes() == CONTENT


def test_the_callers_check_sees_the_first_bytes_and_may_refuse(server: Server, tmp_path: Path) -> None:
    seen: list[bytes] = []

    class Check:
        def head(self, head: bytes, _url: str) -> None:
            seen.append(head)
            raise BadAnswer("not what I asked for")

        def is_cut(self, _head: bytes, _tail: bytes) -> bool:
            return False

    with pytest.raises(BadAnswer, match="not what I asked for"):
        session().download(server.on("/f", (200, {}, CONTENT)), tmp_path / "f.xls", Check())

    assert CONTENT.startswith(seen[0])
    assert len(seen[0]) >= 64 << 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537])
def test_downloads_of_any_size_are_exact(server: Server, tmp_path: Path, size: int) -> None:
    content = bytes(n % 251 for n in range(size))
    session().download(server.on("/f", (200, {}, content)), tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == content


# ---- fetch_url, which jobs from older installations import ---------------------------------


def fetch(url: str, **options: object) -> requests.Response | None:
    with requests.Session() as session:
        return web_utils.fetch_url(session, url, **{"initial_delay": 0, **options})


def test_it_returns_the_answer(server: Server) -> None:
    response = fetch(server.on("/", (200, {}, b"a page")), headers={"X-Mine": "yes"}, run_uuid="x", user="y")
    assert response is not None
    assert (response.status_code, response.text, server.headers[0]["X-Mine"]) == (200, "a page", "yes")


@pytest.mark.parametrize(("status", "asked"), [(503, 3), (429, 3), (404, 1), (403, 1)])
def test_it_asks_again_after_what_may_pass_and_returns_none_at_the_end(
    server: Server, caplog: pytest.LogCaptureFixture, status: int, asked: int
) -> None:
    assert fetch(server.on("/", (status, {}, b""))) is None
    assert len(server.asked) == asked
    assert f"{status} " in caplog.messages[-1]
    assert caplog.messages[-1].endswith(f"attempt {asked} of 3")


def test_it_returns_the_answer_of_a_later_attempt(server: Server) -> None:
    response = fetch(server.on("/", (503, {}, b""), (200, {}, b"at last")), retries=2)
    assert response is not None
    assert response.content == b"at last"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "no address", "ftp://127.0.0.1/"])
def test_it_returns_none_where_nobody_answers(url: str) -> None:
    assert fetch(url, retries=1) is None


def test_its_pauses_double(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(web_utils.time, "sleep", pauses.append)
    fetch(server.on("/", (500, {}, b"")), retries=4, initial_delay=2)
    assert pauses == [2, 4, 8]
