"""How many pages a second a scan of MeetMax asks for when nothing tells it to wait, and in how much memory.

    venv/bin/python benchmarks/scan.py                           5,000 events, then 25,000
    venv/bin/python benchmarks/scan.py --events 1000 --rounds 1

Measured is the whole job through the door, with one worker, against the stand-in of the demonstration
in a process of its own. Every result is on disk before the next request. Not as root.
"""

import contextlib
import csv
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from installation import PROJECT, Installation, installation
from measuring import Report, Usage, command_line, middle, tell

PAGES_A_SECOND = 300
MOST_GROWTH = 1.15
FIRST_EVENT = 118_000  # the events that exist in the stand-in are among the first that follow


@contextlib.contextmanager
def site(folder: Path) -> Iterator[str]:
    port_file = folder / "port"
    command = [sys.executable, str(PROJECT / "onboarding/demo/meetmax_site.py"), "--port-file", str(port_file)]
    with subprocess.Popen(command) as process:
        while not port_file.exists():
            if process.poll() is not None:
                raise SystemExit("the stand-in of the site did not start")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port_file.read_text()}"
        process.terminate()


def scan(etl: Installation, events: int) -> Usage:
    """Scan so many events; stop if one is missing in the result."""
    usage = etl.door("meetmax_url_check.py", "--first", str(FIRST_EVENT), "--last", str(FIRST_EVENT + events - 1))
    (result,) = (etl.home / "file_watcher").glob("*_MeetMaxURLCheck.csv")
    with result.open(newline="", encoding="utf-8") as stream:
        answers = [row["StatusCode"] for row in csv.DictReader(stream)]
    if answers != ["200"] * events:
        raise SystemExit(f"of {events} events {answers.count('200')} have an answer")
    result.unlink()
    return usage


def main() -> None:
    parser = command_line(__doc__, rounds=3)
    parser.add_argument(
        "--events", type=int, nargs="*", default=[5_000, 25_000], metavar="N", help="default: 5000 25000"
    )
    args = parser.parse_args()
    report = Report()
    memory: dict[int, float] = {}
    with installation() as etl, site(etl.home) as base_url:
        etl.environment.update(MEETMAX_BASE_URL=base_url, ETL_REQUEST_INTERVAL="0")
        for events in args.events:
            usages = []
            for number in range(1, args.rounds + 1):
                tell(f"round {number} of {args.rounds}: {events:,} events")
                usages.append(scan(etl, events))
            seconds, memory[events] = middle(usages)
            rate = events / seconds
            report.figures.append({"events": events, "seconds": seconds, "pages/s": rate, "memory MB": memory[events]})
            report.at_least(f"{events}: pages a second", rate, PAGES_A_SECOND)
    if len(memory) > 1:
        growth = memory[max(memory)] / memory[min(memory)]
        report.at_most("memory", growth, MOST_GROWTH, f"times that of {min(memory):,} events")
    report.show(args.json)


if __name__ == "__main__":
    main()
