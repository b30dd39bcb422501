"""How fast 5,000 small files come from a cloud: the whole job, against one `rclone copy` of the same folder.

    venv/bin/python benchmarks/cloud_files.py                     5,000 files of 600 bytes, three rounds
    venv/bin/python benchmarks/cloud_files.py --latency 20        each answer of the store takes 20 ms, as from far away
    venv/bin/python benchmarks/cloud_files.py --files 500 --rounds 1

The store is `rclone serve s3` on this machine, or with a latency the store of the tests. Both leave the objects where they
are. `rclone copy` lists and reads; the job also looks again after it has read, compares hashes, writes each file's row
and brings it to disk. "moved" is the job that moves each object to taken/ besides. Not as root.
"""

import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from installation import PROJECT, Installation, installation
from measuring import Report, command_line, measure, tell

sys.path.append(str(PROJECT / "tests"))
from cloud_servers import PROGRAM, s3_section, serving, write_remote
from lying_s3 import lying

SHARE = 0.5


@contextlib.contextmanager
def store(folder: Path, files: int, latency_ms: float) -> Iterator[str]:
    """Yield the section of a remote whose bucket has the files in in/."""
    contents = {f"{number:05}.csv": os.urandom(300).hex().encode() for number in range(files)}
    if latency_ms:
        with lying() as far:
            for name, content in contents.items():
                far.keep(f"bucket/in/{name}", content)
            far.latency = latency_ms / 1000
            yield far.remote("far")
        return
    (folder / "cloud/bucket/in").mkdir(parents=True)
    for name, content in contents.items():
        (folder / "cloud/bucket/in" / name).write_bytes(content)
    with serving("s3", folder / "cloud", folder / "ca.pem", cache="5m") as address:
        yield s3_section("far", address)


def compare(etl: Installation, files: int, latency_ms: float) -> tuple[float, float, float]:
    """Return the seconds of `rclone copy`, of the job that leaves the objects, and of the one that moves them."""
    with tempfile.TemporaryDirectory(prefix="etl_bench_") as name, store(Path(name), files, latency_ms) as section:
        folder = Path(name)
        file = write_remote(folder / "remotes", "far", section)
        etl.environment |= {"ETL_REMOTES_DIR": str(folder / "remotes"), "SSL_CERT_FILE": str(folder / "ca.pem")}
        feed = etl.home / "feed"
        etl.sql("UPDATE dba.texchangeconfig SET local_repository_path = %s", str(feed))
        etl.settle()
        command = [PROGRAM, "copy", "--use-server-modtime", "far:bucket/in", folder / "copied"]
        alone = measure(command, {**etl.environment, "RCLONE_CONFIG": str(file)})
        if len(list((folder / "copied").iterdir())) != files:
            raise SystemExit("rclone copy has not copied every file")
        return alone.seconds, job(etl, feed, files, moves=False), job(etl, feed, files, moves=True)


def job(etl: Installation, feed: Path, files: int, moves: bool) -> float:
    etl.sql("TRUNCATE dba.treceivedfile CASCADE")
    etl.sql("UPDATE dba.texchangeconfig SET remove_taken = %s", moves)
    etl.settle()
    usage = etl.door("sftp_exchange.py", "far")
    if len(list(feed.iterdir())) != files:
        raise SystemExit("the job has not taken every file")
    for taken in feed.iterdir():
        taken.unlink()
    return usage.seconds


def main() -> None:
    parser = command_line(__doc__, rounds=3)
    parser.add_argument("--files", type=int, default=5_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--latency", type=float, default=0, metavar="MS", help="of each answer; default: %(default)s")
    args = parser.parse_args()
    report = Report()
    with installation() as etl:
        etl.sql(
            "INSERT INTO dba.texchangeconfig (config_name, remote, incoming_path, local_repository_path)"
            " VALUES ('far', 'far', 'bucket/in', '/tmp')"
        )
        rounds = []
        for number in range(args.rounds):
            tell(f"round {number + 1} of {args.rounds}: {args.files} files")
            rounds.append(compare(etl, args.files, args.latency))
    names = ("round", "rclone copy files/s", "job files/s", "job, moved, files/s")
    for number, seconds in enumerate(rounds):
        report.figures.append(dict(zip(names, [number + 1, *(args.files / one for one in seconds)], strict=True)))
    share = statistics.median(alone / left for alone, left, _ in rounds)
    report.at_least("files a second against rclone copy", share, SHARE)
    report.show(args.json)


if __name__ == "__main__":
    main()
