"""Servers that at random draw out, cut, lie about lengths, compress, redirect, forget or change what they say.

Every file that arrived is the one that was sent, every other one has its reason in a ledger, no request is longer
than its deadline, and memory stays small. The suite plays some; to play thousands:
  ETL_TEST_HOSTILE_ROUNDS=5000 bash onboarding/sh/run_tests.sh tests/test_hostile_servers.py -s
"""

import contextlib
import gzip
import hashlib
import os
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import lying_sftp
import pytest
from conftest import PROJECT, Installation
from gmail_server import RESET, Answer, GmailServer, google_error, misbehaving
from imap_server import ImapServer
from lying_imap import literal, lying
from lying_sftp import Asked, packet, status, string
from mailboxes import GmailInbox, ImapInbox, Inbox
from test_sftp_exchange import Desk
from test_web_trouble import Behaviour, site

pytest_plugins = ["inbox_fixtures"]

ROUNDS = int(os.environ.get("ETL_TEST_HOSTILE_ROUNDS", "30"))
MEMORY = 150 << 20  # bytes
DEADLINE = 0.5  # seconds, in place of ten minutes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + 2 * ROUNDS)]

JOB = """
import atexit, sys
from systemscripts.web import deadline
from systemscripts.exchange import remote_folder
deadline.LONGEST_ANSWER, remote_folder.SLOWEST = {deadline}, 1_000_000
sys.argv = {arguments!r}
memory = lambda: next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
atexit.register(lambda: print(memory()))
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"), {{"__name__": "__main__"}})
"""


def measured(etl: Installation, job: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a job with short deadlines; what it prints is the most memory that it has had, in KiB."""
    script = JOB.format(deadline=DEADLINE, arguments=[str(PROJECT / "jobscripts" / job)])
    more = {"PYTHONPATH": str(PROJECT), "ETL_RUN_UUID": str(uuid.uuid4()), **variables}
    return subprocess.run(
        [sys.executable, "-c", script], env=etl.environment(**more), capture_output=True, text=True, check=False, timeout=300
    )  # fmt: skip


Way = Callable[[socket.socket, bytes], None]


def list_of(event_id: int) -> bytes:
    """Return the event's list: CSV, a page, or a workbook by its looks."""
    chance = random.Random(event_id)
    rows = [(f"Company {chance.random()}", f"T{number}") for number in range(chance.randint(1, 3000))]
    if event_id % 3 == 0:
        return "".join(f"{name},{ticker}\n" for name, ticker in [("company_name", "ticker"), *rows]).encode()
    if event_id % 3 == 1:
        cells = "".join(f"<tr><td>{name}</td><td>{ticker}</td></tr>" for name, ticker in rows)
        return f"<html><table><tr><th>company</th><th>ticker</th></tr>{cells}</table></html>".encode()
    return b"PK\x03\x04" + chance.randbytes(50_000) + b"PK\x05\x06" + bytes(18)


def drip(connection: socket.socket, drop: bytes) -> None:
    with contextlib.suppress(OSError):
        for _ in range(2_000):
            connection.sendall(drop)
            time.sleep(0.02)


class HostileSite:
    """Gives the list of an event in one of its ways, by chance; `ways` counts them."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ways: Counter[str] = Counter()

    def answer(self, connection: socket.socket, request: str) -> None:
        event_id = int(re.search(r"event_(\d+)", request)[1])  # type: ignore[index]
        content = list_of(event_id)
        etag = f'"{zlib.crc32(content)}"'
        way = self.chance.choice(["ranges"] * 6 + [*WAYS])
        self.ways[way] += 1
        if way == "ranges":
            with_ranges(connection, request, content, etag, self.chance.choice([None, None, 20_000, 33_000]))
        else:
            WAYS[way](connection, content)


def head(status: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *lines, "", ""]).encode("latin-1")


def with_ranges(connection: socket.socket, request: str, content: bytes, etag: str, cut: int | None) -> None:
    asked = re.search(r"Range: bytes=(\d+)-", request)
    if asked and f"If-Range: {etag}" in request:
        begin = int(asked[1])
        place = f"Content-Range: bytes {begin}-{len(content) - 1}/{len(content)}"
        lines = (f"ETag: {etag}", place, f"Content-Length: {len(content) - begin}")
        connection.sendall(head("206 Partial Content", *lines) + content[begin:][:cut])
    else:
        connection.sendall(head("200 OK", f"ETag: {etag}", f"Content-Length: {len(content)}") + content[:cut])


def way(status: str, *lines: str, body: Callable[[bytes], bytes] = bytes) -> Way:
    """Make a way from a status, header lines with what is known of the size, and what follows of the content."""

    def act(connection: socket.socket, content: bytes) -> None:
        known = {"size": len(content), "half": len(content) // 2, "last": len(content) - 1, "longer": len(content) + 7}
        with contextlib.suppress(OSError):
            connection.sendall(head(status, *(line.format(**known) for line in lines)) + body(content))

    return act


def drawn_out(before: bytes) -> Way:
    def act(connection: socket.socket, _content: bytes) -> None:
        connection.sendall(before)
        drip(connection, b"x")

    return act


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def half_of_what_has_an_end(content: bytes) -> bytes:
    """Nobody announces a length: a page and a workbook have an end by which they are known, CSV has none."""
    return half(content) if content.startswith((b"<", b"PK")) else b""


CHUNKED = "Transfer-Encoding: chunked"
BOMB = gzip.compress(gzip.compress(bytes(1 << 26), 9), 9)
WAYS: dict[str, Way] = {
    "cut": way("200 OK", "Content-Length: {size}", body=half),
    "cut without a length": way("200 OK", body=half_of_what_has_an_end),
    "more than has been announced": way("200 OK", "Content-Length: {size}", body=lambda content: content + content),
    "wrong length": way("200 OK", "Content-Length: {longer}"),
    "two lengths": way("200 OK", "Content-Length: {size}", "Content-Length: 5"),
    "chunks that end early": way("200 OK", CHUNKED, body=lambda content: b"%x\r\n%s" % (len(content), half(content))),
    "a negative chunk": way("200 OK", CHUNKED, body=lambda _: b"-5\r\nhello\r\n0\r\n\r\n"),
    "a part nobody asked for": way(
        "206 Part", "Content-Range: bytes 5-{last}/{size}", body=lambda content: content[5:]
    ),
    "an unknown total": way("206 Part", "Content-Range: bytes 0-39/*", body=lambda content: content[:40]),
    "gzip": way("200 OK", "Content-Encoding: gzip", body=gzip.compress),
    "cut gzip": way("200 OK", "Content-Encoding: gzip", body=lambda content: gzip.compress(content)[:-20]),
    "a bomb": way("200 OK", "Content-Encoding: gzip, gzip", body=lambda _: BOMB),
    "a bomb of one layer": way("200 OK", "Content-Encoding: gzip", body=lambda _: gzip.decompress(BOMB)),
    "a redirect with a body": way("302 Found", "Location: /event_1", body=lambda _: bytes(1 << 22)),
    "a redirect elsewhere": way("302 Found", "Location: https://example.com/"),
    "gone": way("404 Not Found"),
    "forgotten": way("200 OK", body=lambda _: b"Invalid Event ID"),
    "another layout": way("200 OK", body=lambda _: b"<html><body><div id=app></div></body></html>"),
    "refused": way("200 OK", body=lambda _: b"<title>Access Denied</title>"),
    "busy": way("503 Busy", "Retry-After: 0"),
    "an ETag with a NUL": way("200 OK", 'ETag: "a\0b"', "Content-Length: {size}"),
    "no web server": drawn_out(b"\x00\x01\r\n\r\n"),
    "a drawn out status": drawn_out(b"HTTP/1.1 200 "),
    "a drawn out header": drawn_out(b"HTTP/1.1 200 OK\r\nX: "),
    "a drawn out body": drawn_out(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n"),
}


def test_every_list_that_arrived_is_whole_and_every_other_has_its_reason(etl: Installation, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    hostile = HostileSite(seed)
    behaviour: Behaviour = hostile.answer
    with site(behaviour) as server:
        header = "EventID,URL,IfExists,InvalidEventID,IsDownloadable,DownloadLink,StatusCode,Title"
        lines = [
            f"{n},u,1,False,1,{server.url}/sched/event_{n}/__co-list_cp.xls?event_id={n},200,E"
            for n in range(1, ROUNDS + 1)
        ]
        scan = etl.home / "file_watcher/20260306T190000_MeetMaxURLCheck.csv"
        scan.write_text("\n".join([header, *lines]) + "\n")
        assert etl.door("run_import_job.py", "MeetMaxURLCheckImport").returncode == 0
        variables = {
            "MEETMAX_BASE_URL": server.url, "ETL_REQUEST_TIMEOUT": "0.5", "ETL_REQUEST_RETRIES": "2",
            "ETL_REFUSALS_ALLOWED": "1000000", "ETL_OBEY_ROBOTS": "no",
        }  # fmt: skip
        job = measured(etl, "meetmax_url_download.py", **variables)

    rows = dict(etl.query("SELECT eventid::int, status FROM dba.tdownload"))
    reasons = etl.value("SELECT count(*) FROM dba.tdownload WHERE status <> 'Downloaded' AND reason IS NULL")
    came = {int(path.stem.rpartition("_")[2]): path for path in (etl.home / "file_watcher").glob("*_MeetMax_*.xls")}
    print(f"\nseed {seed}: {dict(Counter(rows.values()))}, {int(job.stdout) >> 10} MB; {dict(hostile.ways)}")
    assert "Traceback" not in job.stderr
    assert (set(rows), reasons) == (set(range(1, ROUNDS + 1)), 0)
    for event_id, path in came.items():
        content = path.read_bytes()
        is_there = content == list_of(event_id) or (rows[event_id], content) == ("Vanished", b"Invalid Event ID")
        assert is_there, (
            f"seed {seed}: event {event_id}, {rows[event_id]}, is not what was sent: {len(content):,} bytes, {content[:80]!r}"
        )
    assert {event_id for event_id, told in rows.items() if told == "Downloaded"} <= set(came)
    assert int(job.stdout) << 10 < MEMORY


# ---- mail ----------------------------------------------------------------------------------


def fill(inbox: Inbox, number: int) -> dict[str, bytes]:
    """Let mails come, each with one file; every second one has no mark at its end."""
    inbox.rule(processed_label="processed")
    files = {
        f"{n:05}.csv": b"a,b\n" + b"%d,%s\n" % (n, os.urandom(20).hex().encode()) * (n % 50 + 1) for n in range(number)
    }
    for n, (name, content) in enumerate(files.items()):
        if n % 2:
            inbox.receive((name, content), subject=name)
        else:
            headers = f"From: client@example.com\r\nSubject: {name}\r\nMessage-ID: <{n}@example.com>\r\n"
            kind = f"Content-Type: text/csv\r\nContent-Disposition: attachment; filename={name}\r\n\r\n"
            inbox.deliver((headers + kind).encode() + content.replace(b"\n", b"\r\n"))
    return files


def plain(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest() for name, content in files.items()}


def take_until_all_are_there(inbox: Inbox, files: dict[str, bytes], **more: str) -> int:
    """Run until every mail is taken; nothing that is no file of theirs may ever lie there. Return how often it ran."""
    for runs in range(1, 200):
        result = inbox.run(**more)
        assert result.returncode in (0, 75), result.stderr
        assert plain(inbox.files).items() <= plain(files).items()
        if len(inbox.files) == len(files) and result.returncode == 0:
            return runs
    raise AssertionError("not all of them came")


def test_every_mail_comes_whole_in_the_end_whatever_its_server_says(
    etl: Installation, imap_host: ImapServer, tmp_path: Path
) -> None:
    inbox = ImapInbox(etl, imap_host, tmp_path)
    files = fill(inbox, ROUNDS)
    chance, lock, seen = random.Random(), threading.Lock(), [b""]

    def lie(content: bytes) -> bytes | None:
        with lock:
            other, seen[0] = seen[0], content
            told = {
                0: literal(content[: len(content) // 2]), 1: literal(content[:-1]), 2: b"BODY[] NIL", 3: b"FLAGS ()",
                4: literal(other), 5: literal(content + content), 6: literal(b""),
            }  # fmt: skip
            return told.get(chance.randrange(20))

    with lying(imap_host, lie) as name:
        etl.query("UPDATE dba.tinboxconfig SET imap_server = %s", name)
        runs = take_until_all_are_there(inbox, files)

    print(f"\n{len(files)} mails by IMAP in {runs} runs")
    assert set(inbox.rows) == {"Saved"}
    assert inbox.untouched() == []


def test_every_mail_comes_whole_in_the_end_whatever_gmail_says(
    etl: Installation, gmail_api: GmailServer, tmp_path: Path
) -> None:
    inbox = GmailInbox(etl, gmail_api, tmp_path)
    files = fill(inbox, ROUNDS)
    chance = random.Random()

    def trouble(request: str) -> Answer | str | None:
        lies: dict[int, Answer | str] = {
            0: RESET, 1: google_error(503, "backendError"), 2: Answer(200, {}), 3: Answer(200, {"id": "1", "raw": "YQ"}),
            4: Answer(200, {"raw": "%%"}), 5: "cut",
        }  # fmt: skip
        return lies.get(chance.randrange(60)) if "/messages/" in request and request.startswith("GET") else None

    with misbehaving(gmail_api, trouble) as url:
        runs = take_until_all_are_there(inbox, files, GMAIL_API_ENDPOINT=url)

    print(f"\n{len(files)} mails by Gmail's API in {runs} runs")
    assert set(inbox.rows) == {"Saved"}


# ---- SFTP ----------------------------------------------------------------------------------


def listed_otherwise(asked: Asked, answer: bytes) -> bytes | None:
    """Put names that no file has before a listing, and what is there twice."""
    if answer[0] != lying_sftp.NAME:
        return None
    told = lying_sftp.attributes(7, 0o100644, 10**9)
    odd = b"".join(
        string(name) * 2 + told for name in (b"../x.csv", b"/etc/x.csv", b"a\0.csv", b"", b"\xff.csv", b"\n.csv")
    )
    (number,) = struct.unpack(">I", answer[5:9])
    return packet(lying_sftp.NAME, asked.number, struct.pack(">I", 6 + 2 * number), odd, answer[9:] * 2)


def hang_up(_asked: Asked, _answer: bytes) -> bytes:
    raise EOFError


def say_nothing(_asked: Asked, _answer: bytes) -> bytes:
    time.sleep(0.5)
    return b""


SFTP_LIES: dict[str, Callable[[Asked, bytes], bytes | None]] = {
    "15 MiB": lambda asked, _: packet(lying_sftp.DATA, asked.number, string(bytes(15 << 20))),
    "hung up": hang_up,
    "silence": say_nothing,
    "nothing": lambda *_: string(b""),
    "16 MiB": lambda *_: b"\x00\xff\xff\xff",
    "4 GiB": lambda *_: b"\xff\xff\xff\xff",
    "junk": lambda asked, _: packet(lying_sftp.NAME, asked.number, b"\xff" * 99),
    "cut": lambda _, answer: string(answer[: len(answer) // 2]) if len(answer) > 9 else None,
    "another number": lambda _, answer: string(answer[:1] + b"\xff\xff\xff\xff" + answer[5:]),
    "twice": lambda _, answer: string(answer) * 2,
    "in short": lambda asked, answer: packet(answer[0], asked.number, string(answer[9:10])) if answer[0] == 103 else None,
    "fine": lambda asked, _: status(asked, lying_sftp.OK),
    "the end": lambda asked, _: status(asked, lying_sftp.END),
    "gone": lambda asked, _: status(asked, lying_sftp.NO_SUCH_FILE),
    "denied": lambda asked, _: status(asked, lying_sftp.DENIED, b"\xe4"),
    "failed": lambda asked, _: status(asked, lying_sftp.FAILURE),
    "a handle": lambda asked, _: packet(lying_sftp.HANDLE, asked.number, string(b"h")),
    "attributes": lambda asked, _: packet(lying_sftp.ATTRS, asked.number, lying_sftp.attributes(1 << 63, 0o100644, 1)),
    "no attributes": lambda asked, _: packet(lying_sftp.ATTRS, asked.number, lying_sftp.attributes()),
    "listed otherwise": listed_otherwise,
}  # fmt: skip


def test_every_file_comes_whole_in_the_end_whatever_its_sftp_server_says(etl: Installation, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    chance, ended, memory, ways = random.Random(seed), Counter[int](), 0, Counter[str]()
    files = {f"{number:05}.csv": chance.randbytes(chance.choice([0, 1, 40_000, 300_000])) for number in range(ROUNDS)}

    def lie(asked: Asked, answer: bytes) -> bytes | None:
        if chance.random() > 0.04:
            return None
        way = chance.choice([*SFTP_LIES])
        ways[way] += 1
        return SFTP_LIES[way](asked, answer)

    def instead(asked: Asked) -> bytes | None:
        by_word_alone = asked.kind in (lying_sftp.REMOVE, lying_sftp.RENAME) and chance.random() < 0.1
        return status(asked, lying_sftp.OK) if by_word_alone else None

    with lying_sftp.lying(tmp_path / "liar", lie, instead) as liar:
        (tmp_path / "known_hosts").write_text(liar.known_host)
        desk = Desk(etl, host="127.0.0.1", port=liar.port, username="any", key_file=str(liar.key))
        for name, content in files.items():
            desk.put(name, content)
        variables = {"ETL_SFTP_KNOWN_HOSTS": str(tmp_path / "known_hosts"), "ETL_SFTP_SETTLE_SECONDS": "0"}
        while desk.left:
            begun = time.monotonic()
            job = measured(etl, "sftp_exchange.py", ETL_SFTP_TIMEOUT="0.3", **variables)
            ended[job.returncode] += 1
            memory = max(memory, int(job.stdout))
            assert "Traceback" not in job.stderr, f"seed {seed}: {job.stderr}"
            assert job.returncode in (0, 1, 75), f"seed {seed}: {job.stderr}"
            assert time.monotonic() - begun < 60
            assert desk.taken.items() <= files.items(), f"seed {seed}"

    print(f"\nseed {seed}: {len(files)} files by SFTP, ended with {dict(ended)}, {memory >> 10} MB; {dict(ways)}")
    assert desk.taken == files
    # One that the server has only seemed to lose comes a second time, and is a Duplicate.
    assert sorted(name for name, told in desk.rows if told != "Duplicate") == sorted(files)
    assert {told for _, told in desk.rows} <= {"Saved", "Duplicate"}
    assert memory << 10 < MEMORY
