"""How many planted faults of 60 feeds the watch finds in a year, how often it is wrong, and what a check takes.

    venv/bin/python benchmarks/arrivals.py                 400 faults, a check each hour
    venv/bin/python benchmarks/arrivals.py --every 15      a check every 15 minutes, as cron does
    venv/bin/python benchmarks/arrivals.py --seed 7

The year is that of tests/feed_year.py: free days, month ends, feeds that begin and end, and what did not come, came
late, came under another name, was known already, or was refused. Not as root.
"""

import logging
import sys
import time
from datetime import date, datetime, timedelta

from installation import PROJECT, installation
from measuring import Report, command_line, tell

from systemscripts import db_config

sys.path.append(str(PROJECT / "tests"))
from feed_year import ZONE, Year


def main() -> None:
    parser = command_line(__doc__, rounds=1)
    parser.add_argument("--faults", type=int, default=400, metavar="N", help="default: %(default)s")
    parser.add_argument("--every", type=int, default=60, metavar="MINUTES", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=24, metavar="N", help="another year; default: %(default)s")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)  # each incident is logged as a warning
    report = Report()
    step = timedelta(minutes=args.every)
    checks = timedelta(days=1) // step

    def of_a_day(day: date) -> list[datetime]:
        if day.day == 1:
            tell(f"{day:%B %Y}")
        midnight = datetime(day.year, day.month, day.day, tzinfo=ZONE)
        return [midnight + number * step for number in range(checks)]

    with installation() as etl, etl.session() as superuser, db_config.session() as connection:
        tell("planning the year, and loading it")
        year = Year(superuser, args.faults, args.seed)
        started = time.perf_counter()
        found = year.watched(connection, superuser, of_a_day)
        took = time.perf_counter() - started
    report.figures.append({**found._asdict(), "milliseconds a check": 1000 * took / (365 * checks)})
    report.at_least("faults found on their day", 100 * found.share, 95, "%")
    report.at_most("false alarms a month, of all feeds", found.false_alarms / 12, 1)
    report.at_most("mails when an incident begins", found.most_mails, 1)
    report.show(args.json)


if __name__ == "__main__":
    main()
