"""A server by SFTP that says what is not so: what arrives is whole, the others have their reason, and no file waits for another."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Installation
from lying_sftp import (
    ATTRS,
    DATA,
    END,
    FAILURE,
    HANDLE,
    INIT,
    LSTAT,
    NAME,
    OK,
    OPEN,
    READ,
    READDIR,
    REMOVE,
    RENAME,
    STATUS,
    Asked,
    Instead,
    Lie,
    attributes,
    lying,
    packet,
    status,
    string,
)  # fmt: skip
from test_sftp_exchange import CSV, Desk, exchange

from systemscripts import db_config
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.exchange import remote_folder
from systemscripts.exchange.config import load_configs
from systemscripts.exchange.taking import take_files

# paramiko's own thread, which asks ahead, ends with the connection.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

BIG = b"a,b\n" + b"1,2\n" * 20_000  # three requests long
PLAIN = attributes(len(CSV), 0o100644, 10**9)


def about(name: str, kind: int, told: Callable[[Asked, bytes], bytes | None]) -> Lie:
    """Tell this for each such request about the file."""
    return lambda asked, answer: (
        told(asked, answer) if asked.kind == kind and asked.path.endswith(name.encode()) else None
    )


@pytest.fixture
def far(etl: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Far"]:
    monkeypatch.setenv("ETL_SFTP_SETTLE_SECONDS", "0")
    monkeypatch.setenv("ETL_SFTP_TIMEOUT", "0.2")
    monkeypatch.setattr("systemscripts.exchange.remote_folder.SLOWEST", 1_000_000)
    monkeypatch.setenv("ETL_SFTP_KNOWN_HOSTS", str(tmp_path / "known_hosts"))
    far = Far()
    with lying(tmp_path / "liar", far.told, far.in_stead) as liar:
        (tmp_path / "known_hosts").write_text(liar.known_host)
        far.desk = Desk(etl, host="127.0.0.1", port=liar.port, username="any", key_file=str(liar.key))
        yield far


class Far:
    """A desk at a server, and the lies that it tells."""

    desk: Desk

    def __init__(self) -> None:
        self.lies: list[Lie] = []
        self.instead: Instead = lambda _: None

    def in_stead(self, asked: Asked) -> bytes | None:
        return self.instead(asked)

    def told(self, asked: Asked, answer: bytes) -> bytes | None:
        return next((told for lie in self.lies if (told := lie(asked, answer)) is not None), None)


def in_short_parts(asked: Asked, answer: bytes) -> bytes | None:
    """Which is no lie: the protocol allows it."""
    return packet(DATA, asked.number, string(answer[9:][:5000])) if answer[0] == DATA else None


def filled_up(asked: Asked, answer: bytes) -> bytes | None:
    return (
        packet(DATA, asked.number, struct.pack(">I", len(answer) - 9), answer[9:][:10]) if answer[0] == DATA else None
    )


def one_more(asked: Asked, answer: bytes) -> bytes | None:
    return packet(DATA, asked.number, string(b"x")) if answer[0] == STATUS else None


OF_A_FILE: dict[str, tuple[int, Callable[[Asked, bytes], bytes | None], str]] = {
    "none.csv": (READ, lambda asked, _: packet(DATA, asked.number, string(b"")), "it was to have 80,004 bytes, and has 0"),
    "ends.csv": (READ, lambda asked, _: status(asked, END), "it was to have 80,004 bytes, and has 0"),
    "more.csv": (READ, one_more, "it was to have 80,004 bytes, and has more, although it has not changed"),
    "fails.csv": (READ, lambda asked, _: status(asked, FAILURE, b"lu \xe4 peu"), "the server refuses 'fails.csv'"),
    "handle.csv": (READ, lambda asked, _: packet(HANDLE, asked.number, string(b"h")), "the server does not keep to SFTP"),
    "opened.csv": (OPEN, lambda asked, _: status(asked, OK), "the server does not keep to SFTP"),
    "over.csv": (OPEN, lambda asked, _: status(asked, END), "the server does not keep to SFTP"),
    "fine.csv": (LSTAT, lambda asked, _: status(asked, OK), "the server does not keep to SFTP"),
    "other.csv": (LSTAT, lambda asked, _: packet(ATTRS, asked.number, PLAIN), "it lists other values"),
    "silent.csv": (LSTAT, lambda asked, _: packet(ATTRS, asked.number, attributes()), "it lists other values"),
    "gone.csv": (LSTAT, lambda asked, _: status(asked, 2), "it lists other values"),
}  # fmt: skip


def test_what_is_wrong_with_one_file_is_its_failure_and_stops_no_other(far: Far) -> None:
    for name, (kind, told, _) in OF_A_FILE.items():
        far.desk.put(name, BIG)
        far.lies.append(about(name, kind, told))
    far.desk.put("short.csv", BIG)
    far.lies.append(about("short.csv", READ, in_short_parts))
    far.desk.put(b"\xe9t\xe9.csv".decode("utf-8", "surrogateescape"))

    with db_config.session() as connection:
        (config,) = load_configs(connection, None)
        with remote_folder.opened(config) as folder:
            told = {it.file: it for it in take_files(connection, config, folder, dry_run=False)}

    assert far.desk.taken == {"short.csv": BIG, "_t_.csv": CSV}
    assert far.desk.left == sorted(OF_A_FILE)
    for name, (_, _, reason) in OF_A_FILE.items():
        assert told[name].status == "Refused", name
        assert reason in told[name].detail


GARBLED: dict[str, tuple[int, Callable[[Asked, bytes], bytes | None]]] = {
    "a file's part filled up": (READ, filled_up),
    "a part twice": (READ, lambda asked, answer: packet(DATA, asked.number, string(answer[9:] * 2))),
    "a part of 15 MiB": (READ, lambda asked, _: packet(DATA, asked.number, string(bytes(15 << 20)))),
    "attributes without end": (LSTAT, lambda asked, _: packet(ATTRS, asked.number, struct.pack(">II", 1 << 31, 2**32 - 1))),
    "names without end": (READDIR, lambda asked, _: packet(NAME, asked.number, struct.pack(">I", 2**32 - 1))),
    "a listing of junk": (READDIR, lambda asked, _: packet(NAME, asked.number, b"\xff" * 100)),
    "an answer of nothing": (LSTAT, lambda *_: string(b"")),
    "an answer of 16 MiB": (LSTAT, lambda *_: b"\x00\xff\xff\xff" + bytes(100)),
    "a version of a byte": (INIT, lambda *_: string(b"\x02\x00")),
}  # fmt: skip


def test_what_is_no_answer_ends_the_visit_and_nothing_of_it_is_saved(far: Far) -> None:
    far.desk.put(content=BIG)
    for name, (kind, told) in GARBLED.items():
        far.lies = [lambda asked, answer, k=kind, t=told: t(asked, answer) if asked.kind == k else None]  # type: ignore[misc]
        with pytest.raises(JobError, match=r"keep to SFTP|gives no SFTP"):
            exchange()
        assert (far.desk.taken, far.desk.rows) == ({}, []), name

    far.lies = []
    assert exchange() == [("list.csv", "Saved")]


def test_a_listing_without_end_or_that_is_cut_is_no_listing(far: Far) -> None:
    far.desk.put()
    far.lies = [lambda asked, _: packet(NAME, asked.number, struct.pack(">I", 0)) if asked.kind == READDIR else None]
    with pytest.raises(TemporaryFailure, match="the connection was cut"):
        exchange()
    assert far.desk.taken == {}


def test_odd_entries_are_named_once_and_not_without_end(far: Far, caplog: pytest.LogCaptureFixture) -> None:
    odd = [(b"../x.csv", PLAIN), (b"/etc/x.csv", PLAIN), (b"nul\0.csv", PLAIN), (b"", PLAIN), (b"l.csv", attributes(5, 0o120777, 1)),
           (b"untold.csv", attributes())] + [(b"%d/x.csv" % number, PLAIN) for number in range(200)]  # fmt: skip
    # The real ones come twice.
    more = b"".join(string(name) + string(name) + told for name, told in odd)

    def with_odd_ones(asked: Asked, answer: bytes) -> bytes | None:
        if asked.kind != READDIR or answer[0] != NAME:
            return None
        (number,) = struct.unpack(">I", answer[5:9])
        return packet(NAME, asked.number, struct.pack(">I", len(odd) + 2 * number), more, answer[9:] * 2)

    far.lies = [with_odd_ones]
    far.desk.put()

    assert exchange() == [("list.csv", "Saved")]
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == len(set(told)) == remote_folder.MOST_SAID + 1
    for name in ("../x.csv", "/etc/x.csv", "nul\0.csv", ""):
        assert any(line.startswith(f"acme: {name!r} is not a possible") for line in told)
    assert any(line.startswith("acme: 'l.csv' is a link") for line in told)
    assert told[-1].startswith("acme: there are more")


def test_sizes_beyond_all_files_are_refused(far: Far) -> None:
    sizes = {b"huge.csv": 1 << 63, b"huger.csv": (1 << 64) - 1}
    listed = b"".join(string(n) + string(n) + attributes(size, 0o100644, 2**32 - 1) for n, size in sizes.items())
    pieces = iter([struct.pack(">I", 2) + listed])
    far.lies = [
        lambda asked, _: (
            packet(NAME, asked.number, piece) if asked.kind == READDIR and (piece := next(pieces, b"")) else None
        )
    ]

    assert sorted(exchange()) == [("huge.csv", "Refused"), ("huger.csv", "Refused")]


@pytest.mark.parametrize("kept", [REMOVE, RENAME])
def test_what_the_server_has_done_by_its_word_alone_is_told_and_done_in_the_end(far: Far, kept: int) -> None:
    """Nor is a file taken anew, or told of anew, because it is still there."""
    far.instead = lambda asked: status(asked, OK) if asked.kind == kept else None
    far.desk.put()

    first = exchange()
    far.desk.import_says("Loaded", rows=2)
    if kept == REMOVE:
        assert (first, exchange(), exchange()) == ([("list.csv", "Refused")],) * 3
    else:
        for _ in range(2):
            with pytest.raises(JobError, match="says that it has renamed"):
                exchange()
    far.instead = lambda _: None
    exchange()

    assert (far.desk.rows, far.desk.taken, far.desk.left) == ([("list.csv", "Saved")], {"list.csv": CSV}, [])
    assert list(far.desk.receipts) == ["list.csv.1.receipt.txt"]


def test_a_connection_that_is_cut_at_any_answer_leaves_nothing_half_taken(far: Far) -> None:
    far.desk.put(content=BIG)
    for answers in range(100):
        left = iter(range(answers))

        def hang_up(_asked: Asked, _answer: bytes, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise EOFError

        far.lies = [hang_up]
        try:
            exchange()
        except JobError:
            assert set(far.desk.taken.values()) <= {BIG}
            continue
        break

    assert answers > 8
    assert (far.desk.taken, far.desk.left, far.desk.rows) == ({"list.csv": BIG}, [], [("list.csv", "Saved")])
