"""What the door adds to a job that does nothing, and how long an import takes that finds no file.

    venv/bin/python benchmarks/starting.py
    venv/bin/python benchmarks/starting.py --rounds 5 --json

The job is one line of Python in the frame of every job, run through the door with its row, lock, logs
and supervision. `python -c pass` is taken in turns with it and subtracted. Not as root.
"""

import statistics
import sys

from installation import Installation, installation
from measuring import Report, command_line, measure, tell

DOOR_MS, NOTHING_TO_DO_MS = 100, 150

PYTHON, NOTHING, IMPORT = "python -c pass", "a job that does nothing", "an import that finds no file"

JOB = '''"""Do nothing."""

import argparse

from systemscripts.job_runner import run_job


def main(args: argparse.Namespace) -> int:
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__)
'''


def take_turns(etl: Installation, rounds: int) -> dict[str, list[float]]:
    """Return each one's times in milliseconds."""
    times: dict[str, list[float]] = {PYTHON: [], NOTHING: [], IMPORT: []}
    for _ in range(rounds):
        usages = {
            PYTHON: measure([sys.executable, "-c", "pass"], etl.environment, watch_memory=False),
            NOTHING: etl.door("do_nothing.py", watch_memory=False),
            IMPORT: etl.door("run_import_job.py", "empty", watch_memory=False),
        }
        for name, usage in usages.items():
            times[name].append(usage.seconds * 1000)
    return times


def main() -> None:
    parser = command_line(__doc__, rounds=20)
    args = parser.parse_args()
    report = Report()
    with installation() as etl:
        etl.configure("empty")
        (etl.code / "jobscripts" / "do_nothing.py").write_text(JOB)
        take_turns(etl, 2)  # writes the bytecode
        tell(f"{args.rounds} rounds")
        times = take_turns(etl, args.rounds)
    for name, of_one in times.items():
        report.figures.append({
            "command": name, "median ms": statistics.median(of_one), "fastest ms": min(of_one), "slowest ms": max(of_one),
        })  # fmt: skip
    added = [with_door - bare for with_door, bare in zip(times[NOTHING], times[PYTHON], strict=True)]
    report.at_most("what the door adds", statistics.median(added), DOOR_MS, "ms")
    report.at_most(IMPORT, statistics.median(times[IMPORT]), NOTHING_TO_DO_MS, "ms")
    report.show(args.json)


if __name__ == "__main__":
    main()
