"""How many faults of a simulated year of sixty feeds are found on the day, and how many right files are called unusual.

    venv/bin/python benchmarks/usual_days.py
    venv/bin/python benchmarks/usual_days.py --rounds 50 --json

Each round is a year of its own: feeds that grow, shrink, vary, have large Mondays and month ends, and 320 planted
faults. The simulation is that of the tests (tests/content_year.py). Needs no PostgreSQL.
"""

import sys
from collections import Counter
from pathlib import Path

from measuring import Report, command_line

TESTS = Path(__file__).resolve().parents[1] / "tests"
LEAST_FOUND, MOST_FALSE_A_MONTH = 0.95, 1


def main() -> None:
    args = command_line(__doc__, rounds=10).parse_args()
    sys.path.append(str(TESTS))
    from content_year import simulate

    years = [simulate(seed) for seed in range(args.rounds)]
    report = Report()
    planted: Counter[str] = sum((year.planted for year in years), Counter())
    found: Counter[str] = sum((year.found for year in years), Counter())
    report.figures = [
        {"fault": kind, "planted": number, "found on the day": found[kind], "share": found[kind] / number}
        for kind, number in planted.most_common()
    ]
    share = min(year.found.total() / year.planted.total() for year in years)
    report.at_least("faults found on the day, in the worst year", share, LEAST_FOUND)
    worst = max(year.false_alarms for year in years) / 12
    report.at_most("right files called unusual, in the worst year", worst, MOST_FALSE_A_MONTH, "a month")
    report.show(args.json)


if __name__ == "__main__":
    main()
