"""How long the configuration of many feeds takes as a file, each a whole job with its door.

    venv/bin/python benchmarks/configuration.py
    venv/bin/python benchmarks/configuration.py --feeds 600

Each feed has a source, a type, an import with five column rules, a task, a promise and a report. Not as root.
"""

import sys
from collections.abc import Iterator

from installation import installation
from measuring import Report, Usage, command_line, middle, tell

APPLY_GOAL_S = 2.0
FEEDS = 60
RULES = 5
FEED = """\
imports:
  Feed_{n}:
    datasource: Sender {n}
    datasettype: Type {n}
    source_directory: /srv/feeds/{n}/incoming
    archive_directory: /srv/feeds/{n}/archive
    file_pattern: 'prices_*.csv'
    file_type: CSV
    metadata_label_source: static
    metadata_label_location: all
    dateconfig: filename
    datelocation: '1'
    dateformat: yyyyMMdd
    delimiter: _
    target_table: public.tfeed{n}
    columns:
{rules}
datasources:
  Sender {n}: {{}}
datasettypes:
  Type {n}: {{}}
schedule:
  Import {n}: {{frequency: 30 6 * * 1-5, scriptpath: run_import_job.py, scriptargs: Feed_{n}}}
feeds:
  Feed {n}: {{config_id: Feed_{n}, due_by: 0 7 * * 1-5, labels: [Bern, Basel]}}
reports:
  Report {n}:
    frequency: 30 7 * * 1-5
    subjectheader: Prices {n}
    emailbodytemplate: |
      <h2>Prices</h2>
      {{{{grid1}}}}
    emailbodyqueries:
      grid1: |
        SELECT day, price
        FROM public.vfeed{n}_latest
"""


def lines(feeds: int) -> Iterator[str]:
    """Yield the sections, each with the rows of all feeds."""
    rules = "\n".join(f"      price{rule}: {{data_type: numeric, decimal_sign: ','}}" for rule in range(RULES))
    sections: dict[str, list[str]] = {}
    for number in range(feeds):
        for line in FEED.format(n=number, rules=rules).splitlines():
            if not line.startswith(" "):
                name = line
                sections.setdefault(name, [])
            else:
                sections[name].append(line)
    for name, rows in sections.items():
        yield from (name, *rows)


def main() -> None:
    parser = command_line(__doc__, rounds=3)
    parser.add_argument("--feeds", type=int, default=FEEDS)
    args = parser.parse_args()
    report = Report()
    usages: dict[str, list[Usage]] = {}
    for turn in range(args.rounds):
        tell(f"round {turn + 1}")
        with installation() as etl:
            file, copy = etl.home / "new.yaml", etl.home / "copy.yaml"
            file.write_text("\n".join(lines(args.feeds)) + "\n")
            etl.settle()
            for what, command in (
                ("apply", ["apply", str(file)]),
                ("apply what is there", ["apply", str(file)]),
                ("check", ["check", str(file)]),
                ("export", ["export", str(copy)]),
            ):
                usages.setdefault(what, []).append(etl.door("config.py", *command))
    for what, of_it in usages.items():
        usage = middle(of_it)
        report.figures.append(
            {"what": what, "feeds": args.feeds, "seconds": usage.seconds, "memory MB": usage.memory_mb}
        )
    if args.feeds == FEEDS:
        report.at_most(f"apply {FEEDS} feeds", middle(usages["apply"]).seconds, APPLY_GOAL_S, "s")
    report.show(args.json)


if __name__ == "__main__":
    sys.exit(main())
