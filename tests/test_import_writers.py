"""How programs write a file, and when it counts as whole: never before, though each leaves other traces of size, times and inode.

While a program writes, only its open handle gives it away: the size may already be the last one, and the time of
the last write may be set to years ago. Once it is done, nothing that it did to the name, the mode or the times
tells so for certain: a mode may be set before the next byte. So the file has to be left alone for a while.
"""

import contextlib
import getpass
import http.server
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import Installation
from needs import AS_ROOT, missing, need_programs, need_root
from ssh_server import free_port
from test_generic_import import add_import

from systemscripts import db_config
from systemscripts.importing import files
from systemscripts.importing.config import ImportConfig, load_config

NAME = "clients_20260302.csv"
CONTENT = b"x,y\n" + b"1,2\n" * 40_000
SFTP_SERVER = "/usr/lib/openssh/sftp-server"
OLD = (1_700_000_000, 1_700_000_000)


class Desk(NamedTuple):
    """Where a writer works: a file with the content, a pipe and a server that give it half by half, and the file it makes."""

    source: Path
    pipe: Path
    url: str
    target: Path
    go_on: threading.Event


Writer = Callable[[Desk], list[str]]


def cp(desk: Desk) -> list[str]:
    return ["cp", str(desk.pipe), str(desk.target)]


def redirection(desk: Desk) -> list[str]:
    return ["sh", "-c", f"cat {desk.pipe} > {desk.target}"]


def cp_keeping_the_times(desk: Desk) -> list[str]:
    return ["cp", "--preserve", str(desk.source), str(desk.target)]


def mv(desk: Desk) -> list[str]:
    beside = desk.target.with_name(".beside")
    shutil.copy2(desk.source, beside)
    return ["mv", str(beside), str(desk.target)]


def mv_from_another_disk(desk: Desk) -> list[str]:
    elsewhere = Path(tempfile.mkdtemp(dir="/dev/shm")) / "source"
    shutil.copy2(desk.source, elsewhere)
    return ["sh", "-c", f"mv {elsewhere} {desk.target}; rmdir {elsewhere.parent}"]


def install(desk: Desk) -> list[str]:
    return ["sh", "-c", f"cat {desk.pipe} | install -m 640 /dev/stdin {desk.target}"]


def mode_before_the_first_byte(desk: Desk) -> list[str]:
    # One handle from the first moment: a file that is made and closed again is, for that moment, a whole empty one.
    return ["sh", "-c", f"exec >> {desk.target}; chmod 640 {desk.target}; cat {desk.pipe}"]


def scp(desk: Desk) -> list[str]:
    return ["scp", "-q", "-D", SFTP_SERVER, "-l", "4000", str(desk.source), f"nowhere:{desk.target}"]


def scp_keeping_the_times(desk: Desk) -> list[str]:
    return ["scp", "-q", "-p", "-D", SFTP_SERVER, "-l", "4000", str(desk.source), f"nowhere:{desk.target}"]


def sftp(desk: Desk) -> list[str]:
    batch = desk.source.with_name("batch")
    batch.write_text(f"put {desk.source} {desk.target}\n")
    return ["sftp", "-q", "-D", SFTP_SERVER, "-l", "4000", "-b", str(batch)]


def sftp_keeping_the_times(desk: Desk) -> list[str]:
    batch = desk.source.with_name("batch")
    batch.write_text(f"put -p {desk.source} {desk.target}\n")
    return ["sftp", "-q", "-D", SFTP_SERVER, "-l", "4000", "-b", str(batch)]


def rsync(desk: Desk) -> list[str]:
    return ["rsync", "--times", "--whole-file", "--bwlimit=400", str(desk.source), str(desk.target)]


def rsync_in_place(desk: Desk) -> list[str]:
    return ["rsync", "--times", "--inplace", "--bwlimit=400", str(desk.source), str(desk.target)]


def curl(desk: Desk) -> list[str]:
    return ["curl", "--silent", "--output", str(desk.target), desk.url]


def curl_keeping_the_time(desk: Desk) -> list[str]:
    return ["curl", "--silent", "--remote-time", "--output", str(desk.target), desk.url]


def an_editor_that_replaces(desk: Desk) -> list[str]:
    shutil.copy(desk.source, desk.target)
    return ["sed", "--in-place", "s/^x/x/", str(desk.target)]


def an_editor_that_rewrites(desk: Desk) -> list[str]:
    shutil.copy(desk.source, desk.target)
    return ["sh", "-c", f"printf '1p\\nw\\nq\\n' | ed -s {desk.target}"]


def a_browser(desk: Desk) -> list[str]:
    profile = desk.source.with_name("profile")
    (profile / "Default").mkdir(parents=True)
    wishes = {"download": {"default_directory": str(desk.target.parent), "prompt_for_download": False}}
    (profile / "Default/Preferences").write_text(json.dumps(wishes))
    browser = (
        f"chromium --headless=new --no-sandbox --disable-gpu --user-data-dir={profile} {desk.url} 2> {profile}/log"
    )
    # It stays when the file has come.
    return ["sh", "-c", f"{browser} & until test -e {desk.target}; do sleep 0.1; done; kill $!; wait"]


def samba(desk: Desk) -> list[str]:
    share, port = desk.source.with_name("share"), free_port()
    share.mkdir()
    places = [
        f"{name} = {share}"
        for name in ("private dir", "lock dir", "state directory", "cache directory", "pid directory")
    ]
    settings = [
        "[global]", "server role = standalone server", "map to guest = bad user", f"guest account = {getpass.getuser()}",
        "bind interfaces only = yes", "interfaces = lo", f"smb ports = {port}", "disable netbios = yes", "load printers = no",
        "printcap name = /dev/null", f"ncalrpc dir = {share}/rpc", f"log file = {share}/log", *places,
        "[drop]", f"path = {desk.target.parent}", "guest ok = yes", "read only = no",
    ]  # fmt: skip
    (share / "smb.conf").write_text("\n".join(settings))
    server = f"{' '.join(AS_ROOT)} smbd --foreground --configfile={share}/smb.conf"
    put = f"smbclient //127.0.0.1/drop -s /dev/null -p {port} -N -c 'put {desk.source} {NAME}' > /dev/null"
    stop = (
        f"{' '.join(AS_ROOT)} kill $({' '.join(AS_ROOT)} cat {share}/smbd.pid); wait; {' '.join(AS_ROOT)} rm -r {share}"
    )
    return ["sh", "-c", f"{server} & until {put}; do sleep 0.1; done; {stop}"]


# With the package that has the program.
WRITERS: list[tuple[Writer, str]] = [
    (cp, ""),
    (redirection, ""),
    (cp_keeping_the_times, ""),
    (mv, ""),
    (mv_from_another_disk, ""),
    (install, ""),
    (mode_before_the_first_byte, ""),
    (scp, "openssh-client"),
    (scp_keeping_the_times, "openssh-client"),
    (sftp, "openssh-client"),
    (sftp_keeping_the_times, "openssh-client"),
    (rsync, "rsync"),
    (rsync_in_place, "rsync"),
    (curl, "curl"),
    (curl_keeping_the_time, "curl"),
    (an_editor_that_replaces, ""),
    (an_editor_that_rewrites, "ed"),
    (a_browser, "chromium"),
    (samba, "smbd"),
]


@pytest.fixture
def desk(etl: Installation, tmp_path: Path) -> Iterator[Desk]:
    add_import(etl)
    source, pipe = tmp_path / "source", tmp_path / "pipe"
    source.write_bytes(CONTENT)
    os.utime(source, OLD)
    os.mkfifo(pipe)
    go_on = threading.Event()

    class HalfByHalf(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Disposition", f"attachment; filename={NAME}")
            self.send_header("Content-Length", str(len(CONTENT)))
            self.send_header("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")
            self.end_headers()
            give_half_by_half(self.wfile.write, go_on)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), HalfByHalf)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Desk(source, pipe, f"http://127.0.0.1:{server.server_port}/", etl.home / "file_watcher" / NAME, go_on)
    server.shutdown()
    server.server_close()


def give_half_by_half(write: Callable[[bytes], object], go_on: threading.Event) -> None:
    half = len(CONTENT) // 2
    write(CONTENT[:half])
    go_on.wait(20)
    write(CONTENT[half:])


def feed(pipe: Path, go_on: threading.Event) -> None:
    with contextlib.suppress(OSError), pipe.open("wb", buffering=0) as stream:
        give_half_by_half(stream.write, go_on)


def is_ready(config: ImportConfig) -> bool:
    ready, _ = files.pending_files(config)
    return [file.name for file in ready] == [NAME]


def size_of(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def configuration() -> ImportConfig:
    with db_config.session() as connection:
        return load_config(connection, "clients")


def need(program: str, package: str) -> None:
    if program == "smbd":
        need_programs("smbd", "smbclient")
        need_root()
    elif shutil.which(program) is None or (program in ("scp", "sftp") and not Path(SFTP_SERVER).exists()):
        missing(f"{program} is not installed", package or program)


@pytest.mark.parametrize(("writer", "package"), WRITERS, ids=[writer.__name__ for writer, _ in WRITERS])
def test_a_file_counts_as_whole_when_its_writer_is_done_and_not_before(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, writer: Writer, package: str
) -> None:
    command = writer(desk)
    need(command[0] if command[0] != "sh" else package or "sh", package)
    config = configuration()
    feeder = threading.Thread(target=feed, args=(desk.pipe, desk.go_on), daemon=True)
    feeder.start()

    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        while process.poll() is None:
            # Only the writer's open handle can give it away: nobody waits for the file to settle.
            before, was_ready, after = size_of(desk.target), is_ready(config), size_of(desk.target)
            assert not was_ready or len(CONTENT) in (before, after), f"{before} bytes were taken for whole"
            if before or any(desk.target.parent.glob("*.crdownload")):
                desk.go_on.set()
    assert process.returncode == 0

    assert desk.target.read_bytes() == CONTENT
    assert is_ready(config)
    monkeypatch.setenv("ETL_SETTLE_SECONDS", "3600")
    assert not is_ready(config)
    monkeypatch.setattr(files.time, "time", lambda: desk.target.stat().st_ctime + 3601)
    assert is_ready(config)
