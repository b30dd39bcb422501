"""How long a report takes from its row to the finished mail: three grids of 50 rows, a chart, and a workbook of 10,000 rows.

    venv/bin/python benchmarks/report.py
    venv/bin/python benchmarks/report.py --rounds 1

Measured is the whole job through the door, with the mail written to a file. Not as root.
"""

import email
import email.policy
import json

from installation import Installation, installation
from measuring import Report, command_line, middle, tell

MOST_SECONDS = 3.0

GRID = "SELECT n AS id, 'Company ' || n AS name, date '2026-03-02' + n AS day, n * 1.25 AS price FROM generate_series(1, 50) AS n"
FILE = "SELECT n AS id, 'Company ' || n AS name, now() - n * interval '1 h' AS seen, n * 1.25 AS price FROM generate_series(1, 10000) n"
CHART = "SELECT date '2026-01-01' + n AS day, n AS one, 100 - n AS two FROM generate_series(1, 90) AS n"

ADD = """
    INSERT INTO dba.treportmanager (
        reportname, frequency, subjectheader, emailbodytemplate, emailbodyqueries, emailbodycharts, hasattachment, attachmentqueries)
    VALUES ('Measured', '@daily', 'Measured', '{{grid1}}{{chart:days}}{{grid2}}{{grid3}}', %s, %s, true, %s)
    RETURNING reportid
"""


def add_report(etl: Installation) -> int:
    grids = json.dumps({f"grid{number}": GRID for number in (1, 2, 3)})
    charts = json.dumps({"days": {"query": CHART, "kind": "line", "title": "Days"}})
    ((report,),) = etl.sql(ADD, grids, charts, json.dumps([{"name": "all.xlsx", "query": FILE}]))
    return int(report)


def main() -> None:
    args = command_line(__doc__, rounds=5).parse_args()
    report = Report()
    with installation() as etl:
        report_id, target = add_report(etl), etl.home / "report.eml"
        usages = []
        for number in range(1, args.rounds + 1):
            tell(f"round {number} of {args.rounds}")
            usages.append(etl.door("send_reports.py", str(report_id), "--preview", str(target)))
        message = email.message_from_bytes(target.read_bytes(), policy=email.policy.default)
        kinds = [part.get_content_subtype() for part in message.walk() if not part.is_multipart()]
        if sorted(kinds) != ["html", "plain", "png", "vnd.openxmlformats-officedocument.spreadsheetml.sheet"]:
            raise SystemExit(f"the mail has other parts than expected: {kinds}")
    seconds, memory_mb = middle(usages)
    report.figures.append({"seconds": seconds, "first": usages[0].seconds, "memory MB": memory_mb})
    report.at_most("a report", seconds, MOST_SECONDS, "s")
    report.show(args.json)


if __name__ == "__main__":
    main()
