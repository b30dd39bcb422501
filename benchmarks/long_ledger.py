"""How long the commands of an operator take on ten years of ledger.

    venv/bin/python benchmarks/long_ledger.py                 313,000 files, 2.8 million changes of columns, 350,000 runs,
                                                              6 million records of the log
    venv/bin/python benchmarks/long_ledger.py --files 10000

Each command is started as a person types it, through the door. Not as root.
"""

from installation import Installation, installation
from measuring import Report, command_line, middle, tell

SECONDS = 0.5
COMMANDS = {
    "etl": ["show_state.py"],
    "etl imports": ["show_imports.py"],
    "etl imports --failed": ["show_imports.py", "--failed"],
    "etl imports NAME": ["show_imports.py", "rare"],
    "etl imports --waiting": ["show_imports.py", "--waiting"],
    "etl runs": ["jobs.py", "last"],
    "etl log NAME": ["show_log.py", "run_import_job.py"],
    "an import that finds no file": ["run_import_job.py", "rare"],
    "etl page": ["build_status_page.py"],
}
LONGER = {"etl page": 2.0}  # seconds
# One file in 1,000 is of the import whose results are asked for.
LEDGER = """
INSERT INTO dba.tdataset (datasetdate, label, datasettypeid, datasourceid, datastatusid, isactive, effthrudate)
SELECT '2016-11-28'::date + n / 86, n %% 86, 3, 1, 1, true, '9999-01-01' FROM generate_series(1, %(files)s) AS n;
INSERT INTO dba.timportfile (config_id, file_name, file_size, sha256, status, datasetid, row_count, error, source_path, archived_path,
                             run_uuid, created_at)
SELECT CASE WHEN n %% 1000 = 0 THEN %(rare)s ELSE 2 END, 'list_' || n || '.xls', 20000 + n %% 5000, encode(sha256(n::text::bytea), 'hex'),
       CASE WHEN n %% 1500 = 0 THEN 'Failed' ELSE 'Loaded' END, datasetid, 15, CASE WHEN n %% 1500 = 0 THEN 'it is wrong' END,
       '/in/' || n, '/archive/' || n, md5((n / 86)::text)::uuid, '2016-11-28'::timestamptz + n * interval '1 day' / 86
FROM (SELECT datasetid, row_number() OVER (ORDER BY datasetid) AS n FROM dba.tdataset) AS d;
INSERT INTO dba.timportdrift (config_id, file_name, column_name, kind, run_uuid, created_at)
SELECT config_id, file_name, 'column_' || c, 'missing', run_uuid, created_at FROM dba.timportfile, generate_series(1, 9) AS c;
INSERT INTO dba.tjobrun (run_uuid, job, status, started_at, ended_at, exit_code)
SELECT gen_random_uuid(), CASE n %% 5 WHEN 0 THEN 'run_import_job.py' ELSE 'check_schedule.py' END, 'Succeeded',
       '2016-11-28'::timestamptz + n * interval '15 minutes', '2016-11-28'::timestamptz + n * interval '15 minutes', 0
FROM generate_series(1, %(files)s * 350 / 313) AS n;
ANALYZE
"""


def fill(etl: Installation, files: int) -> None:
    tell(f"making a ledger of {files:,} files")
    etl.configure("rare")
    rare = etl.sql("SELECT config_id FROM dba.timportconfig WHERE config_name = 'rare'")[0][0]
    for statement in LEDGER.split(";"):
        etl.sql(statement % {"files": files, "rare": rare})
    etl.settle()


def main() -> None:
    parser = command_line(__doc__, rounds=5)
    parser.add_argument("--files", type=int, default=313_000, metavar="N", help="default: %(default)s")
    args = parser.parse_args()
    report = Report()
    with installation() as etl:
        fill(etl, args.files)
        for name, words in COMMANDS.items():
            etl.door(*words)  # the first start compiles, and warms the caches
            took = middle([etl.door(*words, watch_memory=False) for _ in range(args.rounds)]).seconds
            report.figures.append({"command": name, "seconds": took})
            report.at_most(name, took, LONGER.get(name, SECONDS), "s")
    report.show(args.json)


if __name__ == "__main__":
    main()
