"""What a mail says and holds, read from bytes that anybody may have written."""

import base64
import contextlib
import email
from pathlib import Path

import pytest
from gmail_server import mail
from hypothesis import example, given
from hypothesis import strategies as st

from systemscripts.inbox import long_runs, mime
from systemscripts.inbox.mime import MailRefused, ParsedMail, decoded, envelope_of, header_envelope, parse_mail
from systemscripts.inbox.rules import InboxRule, RuleError

ATTACHMENT = """\
From: a@example.com
Subject: x
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=B

--B
Content-Type: application/octet-stream{type_more}
Content-Disposition: attachment{more}
Content-Transfer-Encoding: {encoding}

{body}
--B--
"""


def with_file(
    more: str = "; filename=a.csv", body: str = "YQ==", encoding: str = "base64", type_more: str = ""
) -> bytes:
    text = ATTACHMENT.format(more=more, body=body, encoding=encoding, type_more=type_more)
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8", "surrogateescape")


def read(raw: bytes) -> ParsedMail:
    """Read a mail of which everything is wanted."""
    parsed = parse_mail(raw)
    for file in parsed.files:
        file.content()
    if parsed.damage:
        raise MailRefused(parsed.damage)
    return parsed


def names(raw: bytes) -> list[str]:
    return [file.name for file in parse_mail(raw).files]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('; filename="a b.csv"', "a b.csv"),
        ("; filename*=UTF-8''caf%C3%A9.csv", "café.csv"),
        ("; filename*0*=UTF-8''caf%C3%A9; filename*1=\".csv\"", "café.csv"),
        ("; filename=\"=?utf-8?b?Y2Fmw6kuY3N2?=\"", "café.csv"),
        ('; filename="=?utf-8?q?caf=C3=A9?=\r\n =?utf-8?q?=2Ecsv?="', "café.csv"),
        ('; filename="=?iso-8859-1?q?caf=E9=2Ecsv?="', "café.csv"),
        ('; filename="=?no-such-charset?q?caf=2Ecsv?="', "caf.csv"),
        ('; filename="café.csv"', "café.csv"),
        ('; filename="caf\udce9.csv"', "café.csv"),
        ('; filename="../../x.csv"', "../../x.csv"),
        ("", "unnamed.bin"),
    ],
)  # fmt: skip
def test_names_of_files_however_they_are_written(more: str, expected: str):
    assert names(with_file(more)) == [expected]


def test_the_name_of_the_type_does_where_the_disposition_has_none():
    assert names(with_file("", type_more='; name="b.csv"')) == ["b.csv"]


def test_files_in_an_attached_mail_are_found():
    inner = mail(("inner.csv", b"1"))
    outer = b"From: a@x.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=O\r\n\r\n--O\r\n"
    raw = outer + b"Content-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--O--\r\n"
    assert names(raw) == ["inner.csv"]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (with_file(body="YQ="), None),  # padding that is missing changes nothing
        (with_file(body="YQ==\r\n!!damage!!"), "base64 .* is damaged"),
        (with_file(body="YQYQY"), "base64 .* is damaged"),
        (with_file()[:-8], "was cut off"),
        (b"Content-Type: multipart/mixed; boundary=B\r\n\r\nno parts", "was cut off"),
        (b"Content-Type: text/plain\r\n\r\n" + b"boundary=x\r\n" * 51, "nest too deep"),
        (b"Subject: x\r\n" * 30_000, "its headers have more than"),
        (b"Subject: x\r\n\r\n" + b"--\n" * 50_001, "lines that may separate parts"),
        (b"Subject: x\r\n\r\n" + b"\n" * 3_000_001, "3,000,000 lines"),
        (with_file("".join(f"; filename*{n}*=a" for n in range(3000))), "the headers of one of its parts"),
        (with_file(encoding="base64 (a comment)"), None),
        (with_file(encoding='"base64";'), None),
        (with_file(encoding="x-foo"), "an encoding that nobody knows"),
        (with_file(encoding="quoted-printable", body="a=ZZ"), "quoted-printable .* is damaged"),
        (with_file(encoding="quoted-printable", body="a=3D=\nb"), None),
        (with_file(encoding="x-uuencode", body="begin 644 a\n#0V%T\n`"), "uuencoding .* is damaged"),
        (with_file(encoding="x-uuencode", body="begin 644 a\n#0V%T\n`\nend"), None),
    ],
)
def test_what_cannot_be_told_for_certain_is_refused(raw: bytes, told: str | None):
    if told is None:
        assert len(read(raw).files) == 1
    else:
        with pytest.raises(MailRefused, match=told):
            read(raw)


def test_parts_within_parts_without_end_are_refused():
    raw = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(900))
    with pytest.raises(MailRefused):
        read(raw)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_mail_or_refused(raw: bytes):
    header_envelope(raw)
    with contextlib.suppress(MailRefused):
        read(b"Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n" + raw)


@given(st.binary(min_size=1, max_size=500))
def test_content_comes_out_as_it_went_in(content: bytes):
    body = base64.encodebytes(content).decode().replace("\n", "\r\n").strip()
    assert parse_mail(with_file(body=body)).files[0].content() == content


def test_the_mails_of_the_corpus_are_read_or_refused(corpus_dir: Path):
    files = [path for path in (corpus_dir / "mime").rglob("*") if path.is_file()]
    refused = {}
    for path in files:
        try:
            read(path.read_bytes())
        except MailRefused as refusal:
            refused[path.name] = str(refusal)

    assert len(files) >= 100
    told = ("cut off", "damaged", "an encoding that nobody knows")
    assert all(any(words in reason for words in told) for reason in refused.values()), refused
    assert len(refused) < len(files) / 10


@pytest.mark.parametrize(
    ("header", "senders"),
    [
        ("Client <Client@Example.com>", ("client@example.com",)),
        ('"evil@x.org" <client@example.com>', ("client@example.com",)),
        ("=?utf-8?q?client=40example=2Ecom=2C?= <evil@x.org>", ("evil@x.org",)),
        ("a@x.org, b@x.org", ("a@x.org", "b@x.org")),
        ("=?utf-8?q?x=40evil=2Eorg=2C?=@example.com", ()),
        ("a" * 3000 + "@example.com", ()),
        ("", ()),
    ],
)
def test_senders_are_addresses_not_names(header: str, senders: tuple[str, ...]):
    assert envelope_of([("From", header)]).senders == senders


def test_encoded_words_that_are_broken_stay_as_they_are():
    assert decoded("=?utf-8?b?%%%?=") in ("=?utf-8?b?%%%?=", "")
    assert decoded("=?utf-7?q?+2AA-?=")


def rule(**values: object) -> InboxRule:
    fields = dict.fromkeys(InboxRule._fields) | {
        "config_id": 1,
        "config_name": "r",
        "gmail_account": "a@x.org",
        "folder": "INBOX",
        **values,
    }
    return InboxRule(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("allowed", "sender", "fits"),
    [
        ("client@example.com", "client@example.com", True),
        ("Client <CLIENT@example.com>", "client@example.com", True),
        ("@example.com", "any@example.com", True),
        ("example.com", "any@example.com", True),
        ("@example.com", "any@evil-example.com", False),
        ("@example.com", "any@example.com.evil.org", False),
        ("client@example.com", "my-client@example.com", False),
        ("other@x.org, @example.com", "any@example.com", True),
    ],
)
def test_whose_mail_a_rule_takes(allowed: str, sender: str, fits: bool):
    from systemscripts.settings import now

    assert rule(sender_filter=allowed).wants(envelope_of([("From", sender)]), now(), {"inbox"}) is fits


@pytest.mark.parametrize("filter_", ["Dealogic", "a b@x.org", "", "x.org,"])
def test_a_sender_that_is_none_is_refused(filter_: str):
    with pytest.raises(RuleError, match="neither an address nor a domain"):
        rule(sender_filter=filter_).check()


LINES = st.sampled_from(
    [
        "--B", "--B--", "--C", "--C--", "", "AAAA", "YWJjZGVm", "/+8=", "=", "YQ==", "A", "AA\rAA", "AA\r--B", "AA\r\rAA",
        "From: a@x.org", "From nobody", " folded", "-",
        "no colon", "begin 644 x", "end", "Content-Type: text/csv; name=a.csv", "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: quoted-printable", "Content-Transfer-Encoding: x-uuencode",
        "Content-Disposition: attachment; filename=b",
        "Content-Type: multipart/mixed; boundary=C", "Content-Type: message/rfc822",
    ]
)  # fmt: skip


def said_of(raw: bytes) -> object:
    """Return all that is read from a mail, or why it is refused."""
    try:
        parsed = parse_mail(raw)
    except MailRefused as refusal:
        return str(refusal)
    contents: list[bytes | str] = []
    for file in parsed.files:
        try:
            contents.append(file.content())
        except MailRefused as refusal:
            contents.append(str(refusal))
    return parsed.envelope, parsed.damage, [file.name for file in parsed.files], contents


@example(["Content-Disposition: attachment; filename=b", "AAAA"], "\r\n", True)
@example(["Content-Disposition: attachment; filename=b", "", "AAAA"], "\r\n", True)
@example(["Content-Disposition: attachment; filename=b", "\rAAAA"], "\n", True)
@given(st.lists(LINES, max_size=40), st.sampled_from(["\r\n", "\n", "\r"]), st.booleans())
def test_a_mail_says_the_same_whether_or_not_its_long_runs_are_kept_from_the_parser(
    lines: list[str], line_end: str, is_ended: bool
):
    head = ["From: a@example.com", "MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=B", "", "--B"]
    raw = (line_end.join([*head, *lines]) + line_end * is_ended).encode()
    with pytest.MonkeyPatch.context() as patch:
        usual = said_of(raw)  # it is too short to have a long run
        patch.setattr(long_runs, "LONG", 1)
        assert said_of(raw) == usual


def test_the_parser_gets_a_large_file_as_one_line_and_the_file_is_whole(monkeypatch: pytest.MonkeyPatch):
    content = bytes(range(256)) * 4_000
    raw = with_file(body=base64.encodebytes(content).decode().rstrip())
    given: list[int] = []

    def count_lines(text: bytes, policy: object) -> object:
        given.append(len(text.splitlines()))
        return email.message_from_bytes(text, policy=policy)  # type: ignore[arg-type]

    monkeypatch.setattr(mime, "message_from_bytes", count_lines)
    (file,) = parse_mail(raw).files
    assert file.content() == content
    assert given[0] < 20 < len(raw.splitlines())
    (damaged,) = parse_mail(raw.replace(b"AAEC", b"AAEC=", 1)).files
    with pytest.raises(MailRefused, match=r"the base64 of its file 'a\.csv' is damaged"):
        damaged.content()
