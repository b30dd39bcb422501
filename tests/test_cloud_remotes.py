"""A cloud's remote: what it says is believed only when it is there; who may be reached, and with which words it fails."""

import io
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import pytest
from cloud_servers import PASSWORD, PROGRAM, SECRET, need_rclone, s3_section, serving, webdav_section, write_remote
from conftest import PROJECT
from lying_s3 import Answer, Asked, Store, headers_of, lying, refused

from systemscripts import known_secrets
from systemscripts.cloud import content_hashes, refusals, remotes
from systemscripts.cloud import remote as remote_module
from systemscripts.cloud.remote import Changed, CloudObject, Contradicts, Remote, opened
from systemscripts.errors import JobError, TemporaryFailure

need_rclone()

CONTENT = b"a,b\n1,2\n"


@pytest.fixture
def remotes_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "remotes"
    monkeypatch.setenv("ETL_REMOTES_DIR", str(folder))
    monkeypatch.setattr(known_secrets, "_texts", [])
    monkeypatch.setattr(known_secrets, "_bytes", [])
    monkeypatch.setattr(remote_module, "PATIENCE_SECONDS", 0.2)
    return folder


@pytest.fixture(scope="module")
def liar() -> Iterator[Store]:
    with lying() as store:
        yield store


@pytest.fixture
def store(liar: Store, remotes_dir: Path) -> Store:
    """An empty store that tells the truth, with a remote `far` for it."""
    liar.objects.clear()
    liar.asked.clear()
    liar.lies.clear()
    write_remote(remotes_dir, "far", liar.remote("far"))
    return liar


@pytest.fixture
def far(store: Store) -> Iterator[Remote]:
    with opened("far") as remote:
        yield remote


def read(remote: Remote, path: str, listed: CloudObject) -> bytes:
    target = io.BytesIO()
    remote.read(path, listed, target)
    return target.getvalue()


def only(found: list[CloudObject]) -> CloudObject:
    assert len(found) == 1
    return found[0]


def about(
    method: str, path: str, told: Answer | Callable[[], Answer | None] | None, after: int = 0
) -> Callable[[Asked], Answer | None]:
    """Tell this for each such request about the path, after so many with the truth."""
    seen = 0

    def lie(asked: Asked) -> Answer | None:
        nonlocal seen
        if (asked.method, asked.path) != (method, path):
            return None
        seen += 1
        return None if seen <= after else told() if callable(told) else told

    return lie


# ---- the plain way, at rclone's own servers ----------------------------------------------------


@pytest.mark.parametrize("kind", ["s3", "webdav"])
def test_what_is_put_is_listed_read_moved_and_deleted_over_tls(
    kind: str, remotes_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    (tmp_path / "clouds/bucket/in").mkdir(parents=True)
    (tmp_path / "file").write_bytes(CONTENT)
    (tmp_path / "sent.csv").symlink_to("file")
    with serving(kind, tmp_path / "clouds", tmp_path / "ca.pem") as address:
        section = s3_section if kind == "s3" else webdav_section
        write_remote(remotes_dir, "far", section("far", address))
        with opened("far") as remote:
            remote.put(tmp_path / "sent.csv", "bucket/in/b ü&#?%.csv")
            listed = only(remote.list("bucket/in"))
            assert (listed.name, listed.size) == ("b ü&#?%.csv", len(CONTENT))
            assert read(remote, "bucket/in/b ü&#?%.csv", listed) == CONTENT
            found = remote.stat("bucket/in/b ü&#?%.csv")
            assert found is not None
            remote.move("bucket/in/b ü&#?%.csv", "bucket/taken/1", found)
            assert (tmp_path / "clouds/bucket/taken/1").read_bytes() == CONTENT
            remote.delete("bucket/taken/1")
            assert remote.stat("bucket/taken/1") is None
            remote.delete("bucket/taken/1")
            # No bucket is made for a name that is misspelt.
            if kind == "s3":
                with pytest.raises(
                    refusals.Gone, match=r"the remote far has no bucket or container of the name in 'bukket/a'"
                ):
                    remote.put(tmp_path / "sent.csv", "bukket/a")
                assert not (tmp_path / "clouds/bukket").exists()
            else:
                (tmp_path / "clouds/bucket/out/sent.csv").mkdir(parents=True)
                with pytest.raises(
                    JobError, match=r"the remote far has a folder in place of 'bucket/out/.*have that folder"
                ):
                    remote.put(tmp_path / "sent.csv", "bucket/out/sent.csv")
                assert sorted((tmp_path / "clouds/bucket/out").iterdir()) == [tmp_path / "clouds/bucket/out/sent.csv"]
        write_remote(remotes_dir, "far", section("far", address.replace("localhost", "127.0.0.1")))
        with opened("far") as remote, pytest.raises(JobError, match="cannot prove who it is, so nothing was sent"):
            remote.list("bucket/in")


def test_rclone_ends_with_the_process_that_started_it_and_its_secrets_are_in_no_arguments(
    store: Store, remotes_dir: Path
) -> None:
    script = (
        "import sys; from systemscripts.cloud.remote import opened\n"
        "with opened('far') as remote: print(remote._engine._process.pid, flush=True); sys.stdin.read()"
    )
    environment = {
        "PYTHONPATH": str(PROJECT),
        "ETL_REMOTES_DIR": str(remotes_dir),
        "ETL_EMAIL_PASSWORD": "not-for-rclone",
    }
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as job:
        assert job.stdout is not None
        engine = Path(f"/proc/{int(job.stdout.readline())}")
        arguments, variables = (engine / "cmdline").read_bytes(), (engine / "environ").read_bytes()
        place = (engine / "cwd").readlink()
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert b"rcd" in arguments
        assert b"a-secret-of-the-tests" not in arguments
        assert b"RCLONE_CONFIG" in variables
        assert b"not-for-rclone" not in variables
        job.kill()
        job.wait()
        ends = time.monotonic() + 10
        while engine.exists() and time.monotonic() < ends:
            os.sched_yield()
        assert not engine.exists()
    # The next one clears away the directory that was left, when it is old enough to be nobody's.
    os.utime(place, (time.time() - 100,) * 2)
    with opened("far"):
        assert not place.exists()


# ---- which remotes there may be ----------------------------------------------------------------

WRONG = {
    "no file": (None, "there is no remote far: .*/far.conf is missing"),
    "nothing in it": ("", r"must have one section, \[far\]; it has none"),
    "another section": ("[near]\ntype = s3\n", r"must have one section, \[far\]; it has \[near\]"),
    "two": ("[far]\ntype = s3\n[near]\ntype = s3\n", "must have one section"),
    "sftp": ("[far]\ntype = sftp\nhost = x\n", "by SFTP is a row with kind = 'sftp'.* the key of the host is checked"),
    "local": ("[far]\ntype = local\n", "its type in .* is 'local'; it must be one of s3, azureblob"),
    "alias": ("[far]\ntype = alias\nremote = /etc\n", "is 'alias'; it must be one of"),
    "crypt": ("[far]\ntype = crypt\nremote = /etc\n", "is 'crypt'; it must be one of"),
    "http": ("[far]\ntype = http\nurl = http://x\n", "is 'http'; it must be one of"),
    "a program": ("[far]\ntype = webdav\nurl = http://x\nbearer_token_command = id\n", "setting bearer_token_command, which can start"),
    "az": ("[far]\ntype = azureblob\nuse_az = true\n", "the setting use_az"),
    "a profile": ("[far]\ntype = s3\nshared_credentials_file = /x\n", "the setting shared_credentials_file"),
    "all of rclone": ("[far]\ntype = s3\noverride.metadata_mapper = id\n", "the setting override.metadata_mapper"),
    "no setting": ("[far]\ntype = s3\nthe-key-in-a-line\n", "is not NAME = value; write each value on one line"),
    "a key in lines": ("[far]\ntype = s3\nkey = {\nthe-key-in-a-line==\n", "is not NAME = value"),
    "no text": ("[far]\n\0\0\n", "is not NAME = value"),
    "encrypted": ("# Encrypted\n\nRCLONE_ENCRYPT_V0:\nAAAA\n", "is encrypted .*type: rclone config encryption remove"),
}  # fmt: skip


@pytest.mark.parametrize(("section", "words"), WRONG.values(), ids=WRONG)
def test_a_remote_that_may_not_be_is_refused_in_one_sentence(
    section: str | None, words: str, remotes_dir: Path
) -> None:
    if section is not None:
        write_remote(remotes_dir, "far", section)
    with pytest.raises(JobError, match=words) as told, opened("far"):
        pass
    assert "\n" not in str(told.value)
    assert "the-key-in-a-line" not in str(told.value)


@pytest.mark.parametrize(
    ("section", "words"),
    {
        "a plain password": ("type = webdav\nurl = http://x\npass = plain!\n", "the pass in .*far.conf, which is not in"),
        "half a key": (
            "type = google cloud storage\nservice_account_credentials = {\"type\":\n", r"no whole JSON from .*far\.conf"
        ),
        "half a token": ('type = dropbox\ntoken = {"access_token":"x"\n', r"no whole JSON from .*far\.conf"),
    }.values(),
)  # fmt: skip
def test_a_value_that_is_not_as_rclone_needs_it_is_told_with_its_cure(
    section: str, words: str, remotes_dir: Path
) -> None:
    write_remote(remotes_dir, "far", f"[far]\n{section}")
    with opened("far") as remote, pytest.raises(JobError, match=words):
        remote.list("bucket/in")


def test_a_file_that_others_can_read_and_a_name_that_is_a_path_are_refused(store: Store, remotes_dir: Path) -> None:
    (remotes_dir / "far.conf").chmod(0o640)
    with pytest.raises(remotes.BadRemote, match=r"can be read by others; type: chmod 600 .*far\.conf$"), opened("far"):
        pass
    (remotes_dir / "link.conf").symlink_to("far.conf")
    with pytest.raises(remotes.BadRemote, match="is no plain file"), opened("link"):
        pass
    for name in ("../far", "-P", "", "far:", "a b", "far\n"):
        with pytest.raises(remotes.BadRemote, match="is no name of a remote"):
            remotes.file_of(name)


def test_a_token_that_could_not_be_kept_is_refused_and_one_whose_writing_was_cut_off_is_found(
    remotes_dir: Path,
) -> None:
    file = write_remote(remotes_dir, "far", '[far]\ntype = dropbox\ntoken = {"access_token":"x"}\n')
    remotes_dir.chmod(0o500)
    with (
        pytest.raises(remotes.BadRemote, match=r"remotes cannot be written; type: chmod u\+w .*remotes$"),
        opened("far"),
    ):
        pass
    remotes_dir.chmod(0o700)
    with opened("far"):
        pass
    file.rename(f"{file}.old")
    with pytest.raises(remotes.BadRemote, match=r"type: mv .*far\.conf\.old .*far\.conf$"):
        remotes.check_file("far")


def test_a_path_is_never_an_option_or_something_else_than_it_shows(far: Remote) -> None:
    for path in ("", "/", "bucket/../other", "bucket//x", "./bucket", "a\0b"):
        with pytest.raises(JobError, match="is no path in a cloud"):
            far.stat(path)
    assert far.stat("bucket/--config=x") is None
    assert far.stat("bucket/local:,x=y:") is None


def test_without_rclone_the_line_to_type_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/nonexistent")
    with (
        pytest.raises(JobError, match=r"need rclone, which is not installed; type: bash .*/make_venv\.sh --cloud$"),
        opened("far"),
    ):
        pass


def test_the_secrets_of_a_remote_are_masked_also_those_in_a_token(remotes_dir: Path) -> None:
    password = subprocess.run(
        [PROGRAM, "obscure", "-"], input=PASSWORD, capture_output=True, text=True, check=True
    ).stdout.strip()
    token = '{"access_token":"ya29.the-token","refresh_token":"1//the-refresh"}'
    write_remote(
        remotes_dir, "far", f"[far]\ntype = webdav\nurl = http://x\nuser = jane\npass = {password}\ntoken = {token}\n"
    )
    with opened("far"):
        told = known_secrets.mask(f"jane {password} {PASSWORD} ya29.the-token 1//the-refresh {token} {SECRET}")
    assert told == f"jane **** **** **** **** **** {SECRET}"


class _Google(BaseHTTPRequestHandler):
    """A Google of one bucket and one object, whose tokens are renewed once each, or no longer."""

    tokens: ClassVar[list[str]]
    takes_no_longer = False

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self.takes_no_longer or asked["refresh_token"] != [f"1//refresh-{len(self.tokens)}"]:
            self._answer(400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
            return
        self.tokens.append(f"ya29.access-{len(self.tokens) + 1}")
        self._answer(
            200,
            {
                "access_token": self.tokens[-1], "refresh_token": f"1//refresh-{len(self.tokens)}",
                "token_type": "Bearer", "expires_in": 3600,
            },
        )  # fmt: skip

    def do_GET(self) -> None:
        if self.headers["Authorization"] != f"Bearer {self.tokens[-1] if self.tokens else ''}":
            self._answer(401, {"error": {"code": 401, "message": "Invalid Credentials"}})
            return
        found = {
            "name": "in/a.csv", "size": str(len(CONTENT)), "updated": "2026-03-02T07:00:00Z",
            "mediaLink": "", "md5Hash": "",
        }  # fmt: skip
        self._answer(200, {"items": [found]} if self.path.startswith("/b/bucket/o?") else found)

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def test_a_token_is_renewed_kept_and_masked_and_one_that_is_taken_no_longer_is_told(remotes_dir: Path) -> None:
    class Google(_Google):
        tokens: ClassVar[list[str]] = []

    with ThreadingHTTPServer(("localhost", 0), Google) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://localhost:{server.server_port}"
        token = {"access_token": "old", "refresh_token": "1//refresh-0", "expiry": "2026-01-01T00:00:00Z"}
        file = write_remote(
            remotes_dir,
            "far",
            f"[far]\ntype = google cloud storage\nendpoint = {address}\nclient_id = us\nclient_secret = ours\n"
            f"token_url = {address}/token\ntoken = {json.dumps(token)}\n",
        )
        with opened("far") as far:
            assert [found.name for found in far.list("bucket/in")] == ["a.csv"]
        # Who comes next needs no new one: it was written into the file, which is still ours alone.
        kept = json.loads(re.findall("(?m)^token = (.*)$", file.read_text())[0])
        assert (kept["access_token"], kept["refresh_token"]) == ("ya29.access-1", "1//refresh-1")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert known_secrets.mask("ya29.access-1 1//refresh-1") == "**** ****"
        with opened("far") as far:
            far.list("bucket/in")
        assert Google.tokens == ["ya29.access-1"]
        file.write_text(re.sub(r'"expiry":"[^"]*"', '"expiry":"2026-01-01T00:00:00Z"', file.read_text()))
        Google.takes_no_longer = True
        with pytest.raises(JobError, match=r"takes our token no longer; .*far\.conf"), opened("far") as far:
            far.list("bucket/in")
        server.shutdown()


@pytest.mark.parametrize("size", [0, 1, 160, 161, 4 << 20, (4 << 20) + 1])
def test_each_hash_is_the_one_that_the_cloud_reckons(size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    for kind in content_hashes.KNOWN:
        hasher = content_hashes.hasher(kind)
        for part in (content[: size // 3], content[size // 3 :]):
            hasher.update(part)
        command = [PROGRAM, "hashsum", kind, tmp_path / "file"]
        told = subprocess.run(command, capture_output=True, text=True, check=True, env={}).stdout.split()[0]
        assert hasher.hexdigest() == told, kind


# ---- a store that lies ---------------------------------------------------------------------------


def test_an_object_that_is_listed_and_not_there_waits(far: Remote, store: Store) -> None:
    store.keep("bucket/in/a", CONTENT)
    listed = only(far.list("bucket/in"))
    del store.objects["bucket/in/a"]
    with pytest.raises(Changed, match=r"'bucket/in/a' is listed, but it is not there"):
        read(far, "bucket/in/a", listed)


def test_what_is_replaced_between_the_list_and_the_end_of_reading_waits_or_is_read_whole(
    far: Remote, store: Store
) -> None:
    in_parts = "0" * 32 + "-2"  # no hash of the content
    store.keep("bucket/in/a", CONTENT, in_parts, changed_at=10**9)
    listed = only(far.list("bucket/in"))
    store.keep("bucket/in/a", CONTENT + b"3,4\n", in_parts, changed_at=10**9)
    with pytest.raises(Changed, match="replaced while it was being taken: 12 bytes, and listed with 8"):
        read(far, "bucket/in/a", listed)
    store.keep("bucket/in/a", CONTENT[::-1], in_parts, changed_at=10**9 + 1)
    with pytest.raises(Changed, match="replaced while it was being taken: changed 2001"):
        read(far, "bucket/in/a", listed)
    # With a hash it is proved which bytes are there now.
    store.keep("bucket/in/a", CONTENT[::-1], changed_at=10**9 + 1)
    assert read(far, "bucket/in/a", listed) == CONTENT[::-1]
    # Replaced after its bytes were sent, within the same second.
    other = store.objects["bucket/in/a"]._replace(content=CONTENT)
    store.lies.append(about("GET", "bucket/in/a", Answer(200, CONTENT, headers_of(other))))
    with pytest.raises(Contradicts, match="replaced at this moment, or the hash is not of the content"):
        read(far, "bucket/in/a", listed)


def test_bytes_that_are_refused_tell_the_stores_reason_and_come_at_a_second_asking(far: Remote, store: Store) -> None:
    store.keep("bucket/in/a", CONTENT)
    listed = only(far.list("bucket/in"))
    store.lies.append(about("GET", "bucket/in/a", refused(403, "AccessDenied")))
    with pytest.raises(refusals.Denied, match="does not allow it for 'bucket/in/a'"):
        read(far, "bucket/in/a", listed)
    seen: list[Asked] = []
    store.lies[:] = [
        lambda asked: seen.append(asked) or refused(403, "AccessDenied") if asked.method == "GET" and not seen else None  # type: ignore[func-returns-value]
    ]
    assert read(far, "bucket/in/a", listed) == CONTENT


@pytest.mark.parametrize("length", [len(CONTENT) // 2, len(CONTENT)])
def test_bytes_that_end_too_soon_are_not_taken_for_the_whole(length: int, far: Remote, store: Store) -> None:
    store.keep("bucket/in/a", CONTENT)
    listed = only(far.list("bucket/in"))
    half = Answer(200, CONTENT[: len(CONTENT) // 2], headers_of(store.objects["bucket/in/a"]), length)
    store.lies.append(about("GET", "bucket/in/a", half))
    with pytest.raises(Contradicts, match="cut off: of 8 bytes came 4; the next run tries again"):
        read(far, "bucket/in/a", listed)


def test_a_hash_that_is_missing_is_not_wanted_and_one_that_is_not_of_the_content_refuses(
    far: Remote, store: Store
) -> None:
    store.keep("bucket/in/parts", CONTENT, etag="0" * 32 + "-2")  # as of an upload in two parts
    assert read(far, "bucket/in/parts", only(far.list("bucket/in"))) == CONTENT
    store.objects.clear()
    store.keep("bucket/in/kms", CONTENT, etag="0" * 32)  # as of a bucket that encrypts
    with pytest.raises(
        Contradicts, match=r"the hash is not of the content\. .*server_side_encryption = aws:kms into .*far\.conf"
    ):
        read(far, "bucket/in/kms", only(far.list("bucket/in")))


def test_the_hashes_of_a_listing_cost_no_request_an_object(far: Remote, store: Store) -> None:
    for number in range(20):
        store.keep(f"bucket/in/{number}", CONTENT, etag="0" * 32 + "-2")
    assert len(far.list("bucket/in")) == 20
    assert [asked.method for asked in store.asked] == ["GET"]
    store.asked.clear()
    assert far.stat("bucket/in/none") is None
    assert [asked.method for asked in store.asked] == ["HEAD"]


def test_an_upload_that_the_store_has_only_half_of_is_no_success(far: Remote, store: Store, tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(CONTENT)

    def half() -> Answer:
        store.keep("bucket/out/a", CONTENT[:3])
        return Answer(200, b"", (("ETag", f'"{store.objects["bucket/out/a"].etag}"'),))

    store.lies.append(about("PUT", "bucket/out/a", half))
    with pytest.raises(TemporaryFailure):
        far.put(tmp_path / "sent", "bucket/out/a")
    store.lies[:] = [about("PUT", "bucket/out/b", Answer(200, b"", (("ETag", f'"{"0" * 32}"'),)))]
    with pytest.raises(JobError):
        far.put(tmp_path / "sent", "bucket/out/b")


def test_what_was_put_may_be_seen_a_moment_later(
    far: Remote, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_module, "PATIENCE_SECONDS", 10)
    (tmp_path / "sent").write_bytes(CONTENT)
    store.lies.append(
        lambda asked: (
            refused(404, "NoSuchKey") if asked.method == "HEAD" and store.count("HEAD", asked.path) < 4 else None
        )
    )
    assert far.put(tmp_path / "sent", "bucket/out/a").size == len(CONTENT)


def test_a_move_or_a_deletion_that_did_not_happen_is_told(far: Remote, store: Store) -> None:
    store.keep("bucket/in/a", CONTENT)
    store.lies.append(about("DELETE", "bucket/in/a", Answer(204)))
    with pytest.raises(
        refusals.Denied, match="has moved 'bucket/in/a', but it is still there; check the right to delete"
    ):
        far.move("bucket/in/a", "bucket/taken/a", only(far.list("bucket/in")))
    with pytest.raises(refusals.Denied, match="has deleted 'bucket/in/a', but it is still there"):
        far.delete("bucket/in/a")


def test_another_object_that_was_moved_is_noticed_and_not_lost(far: Remote, store: Store) -> None:
    for etag in ("", "0" * 32 + "-2"):
        store.objects.clear()
        store.keep("bucket/in/a", CONTENT, etag, changed_at=10**9)
        listed = only(far.list("bucket/in"))
        digest, expected = far.read("bucket/in/a", listed, io.BytesIO())
        store.keep("bucket/in/a", CONTENT[::-1], etag and "1" * 32 + "-2")
        with pytest.raises(Changed, match="what was moved to 'bucket/taken/a' is another object"):
            far.move("bucket/in/a", "bucket/taken/a", expected, digest)
        assert store.objects["bucket/taken/a"].content == CONTENT[::-1]


NAMES = [
    "trailing ",
    " leading",
    "back\\slash",
    "e\u0301.csv",
    "\u00e9.csv",
    "A.csv",
    "a.csv",
    "100%",
    "a＼b",
    "ü" * 100,
]


def test_names_that_are_nearly_the_same_stay_apart_and_each_is_read_moved_and_deleted(
    far: Remote, store: Store
) -> None:
    for name in NAMES:
        store.keep(f"bucket/in/{name}", name.encode())
    found = far.list("bucket/in")
    assert sorted(entry.name for entry in found) == sorted(NAMES)
    for number, entry in enumerate(found):
        assert read(far, f"bucket/in/{entry.name}", entry) == entry.name.encode()
        far.move(f"bucket/in/{entry.name}", f"bucket/taken/{number}", entry)
    assert store.names("bucket/in") == []
    assert sorted(kept.content.decode() for kept in store.objects.values()) == sorted(NAMES)


def test_characters_that_control_a_terminal_are_seen_as_pictures_of_them(far: Remote, store: Store) -> None:
    store.keep("bucket/in/line\nbreak\x1b", CONTENT)
    entry = only(far.list("bucket/in"))
    assert entry.name == "line␊break␛"
    assert read(far, f"bucket/in/{entry.name}", entry) == CONTENT


def test_folders_of_no_bytes_are_no_objects_and_an_empty_object_is_one(far: Remote, store: Store) -> None:
    for path in ("bucket/in/", "bucket/in/sub/", "bucket/in/sub/file", "bucket/in/empty"):
        store.keep(path, b"")
    entry = only(far.list("bucket/in"))
    assert entry.name == "empty"
    assert read(far, "bucket/in/empty", entry) == b""


@pytest.mark.slow
def test_a_hundred_thousand_objects_are_listed_whole(far: Remote, store: Store) -> None:
    for number in range(100_000):
        store.objects[f"bucket/in/{number:06}.csv"] = store.objects.get("x") or _kept(store)
    assert len({entry.name for entry in far.list("bucket/in")}) == 100_000
    assert len(store.asked) == 100


def _kept(store: Store) -> Any:
    store.keep("x", CONTENT)
    return store.objects["x"]


# ---- what is told of what fails ------------------------------------------------------------------

REFUSALS: dict[str, tuple[Answer, type[JobError], str]] = {
    "an unknown key": (refused(403, "InvalidAccessKeyId"), JobError, r"refuses the keys of .*far\.conf; compare"),
    "a wrong secret": (refused(403, "SignatureDoesNotMatch"), JobError, r"refuses the keys of .*far\.conf"),
    "no bucket": (refused(404, "NoSuchBucket"), refusals.Gone, "has no 'bucket/in'; check that path"),
    "a bad bucket": (refused(400, "InvalidBucketName"), JobError, "takes the name or region of the bucket"),
    "another region": (refused(301, "PermanentRedirect"), JobError, "takes the name or region of the bucket"),
    "a bad region": (refused(400, "AuthorizationHeaderMalformed"), JobError, "takes the name or region of the bucket"),
    "no right": (refused(403, "AccessDenied"), refusals.Denied, "does not allow it for 'bucket/in'; give this login the right"),
    "no right at all": (refused(403, "AllAccessDisabled"), refusals.Denied, "does not allow it for 'bucket/in'"),
    "a clock": (refused(403, "RequestTimeTooSkewed"), JobError, "clock differs from its own.* type: timedatectl"),
    "a token that ended": (refused(400, "ExpiredToken"), JobError, r"takes our token no longer; .*far\.conf"),
    "a bad token": (refused(400, "InvalidToken"), JobError, "takes our token no longer"),
    "no room": (refused(507, "QuotaExceeded"), JobError, "has no room left"),
    "too many": (refused(429, "TooManyRequests"), TemporaryFailure, "is busy or out of order, and asks to come again later"),
    "slow down": (refused(503, "SlowDown"), TemporaryFailure, "is busy or out of order"),
    "a page": (Answer(200, b"<html>Log in</html>"), Contradicts, "has whatever it is asked for, so it is no cloud"),
    "something new": (refused(418, "Teapot", "a\nb"), JobError, "the remote far gives an error for 'bucket/in'"),
}  # fmt: skip


def test_the_code_of_azure_is_told_behind_its_rulers() -> None:
    ruler = "-" * 80
    words = (
        f"GET http://x/bucket\n{ruler}\nRESPONSE 403: 403 Server failed to authenticate the request.\n"
        f"ERROR CODE: AuthorizationFailure\n{ruler}\n"
    )
    told = str(refusals.refusal("far", Path("far.conf"), "bucket/in", words))
    assert told.startswith("the remote far refuses the keys of far.conf;")
    assert told.endswith(
        r"(GET http://x/bucket; RESPONSE 403: 403 Server failed to authenticate the request.\nERROR CODE: AuthorizationFailure; )"
    )


def test_each_refusal_is_one_sentence_with_the_cure_and_no_secret(far: Remote, store: Store) -> None:
    for case, (answer, kind, words) in REFUSALS.items():
        store.lies[:] = [lambda _, answer=answer: answer]
        with pytest.raises(JobError, match=words) as told:
            far.list("bucket/in")
        assert type(told.value) is kind, case
        assert "\n" not in str(told.value)
        assert "a-secret-of-the-tests" not in str(told.value)


WORDS = {
    'couldn\'t list files: Get "https://x/y": couldn\'t fetch token: invalid_grant: maybe token expired?': "takes our token no longer",
    "empty token found - please run \"rclone config reconnect far:\"": "takes our token no longer",
    "googleapi: Error 403: a@b does not have storage.objects.list access to the bucket., forbidden": "does not allow it",
    "googleapi: Error 403: Rate Limit Exceeded, rateLimitExceeded": "is busy or out of order",
    "googleapi: Error 403: The user's Drive storage quota has been exceeded., storageQuotaExceeded": "has no room left",
    "RESPONSE 403: 403 ERROR CODE: AuthorizationPermissionMismatch": "does not allow it",
    "RESPONSE 403: 403 Server failed to authenticate the request. ERROR CODE: AuthenticationFailed": "refuses the keys of",
    "RESPONSE 404: 404 The specified container does not exist. ERROR CODE: ContainerNotFound": "has no bucket or container",
    "activityLimitReached: throttledRequest: The request has been throttled": "is busy or out of order",
    "too_many_write_operations/": "is busy or out of order",
    "path/insufficient_space/": "has no room left",
    "401 Unauthorized": "refuses the keys of",
    "423 Locked": "has 'bucket/404.csv' locked",
    "507 Insufficient Storage": "has no room left",
    'Propfind "https://x/404.csv": x509: certificate signed by unknown authority': "cannot prove who it is",
    'Get "https://x/503": dial tcp: lookup x: no such host': "cannot be reached",
    'Get "https://x/a": oauth2: cannot fetch token: Invalid JWT: Token must be a short-lived token': "clock differs",
    "404.csv: it is broken": "gives an error for 'bucket/404.csv'",
}  # fmt: skip


@pytest.mark.parametrize(("words", "told"), WORDS.items())
def test_the_words_of_each_cloud_have_their_sentence(words: str, told: str) -> None:
    sentence = str(refusals.refusal("far", Path("/etc/far.conf"), "bucket/404.csv", words))
    assert sentence.startswith("the remote far ")
    assert told in sentence


def test_a_cloud_that_is_silent_or_away_fails_for_now(
    store: Store, remotes_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_CLOUD_TIMEOUT", "0.1")
    write_remote(remotes_dir, "gone", store.remote("gone", endpoint="http://127.0.0.1:9"))
    with (
        opened("gone") as remote,
        pytest.raises(
            TemporaryFailure,
            match=r"cannot be reached; check endpoint or url in .*gone\.conf|no whole answer within 1 s",
        ),
    ):
        remote.list("bucket/in")
    monkeypatch.setattr(store, "latency", 1.0)
    with opened("far") as remote, pytest.raises(TemporaryFailure, match="cannot be reached|no whole answer within 1 s"):
        remote.list("bucket/in")


def test_an_rclone_that_ends_fails_for_now(far: Remote) -> None:
    far._engine._process.kill()
    far._engine._process.wait()
    with pytest.raises(
        TemporaryFailure, match="the remote far, 'bucket/in': the answer was cut off .*rclone ended with status -9"
    ):
        far.list("bucket/in")
