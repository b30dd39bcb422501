"""Show the columns of a configuration table, with the meaning and the default of each.

Reads   the comments that the tables' columns have in the database
Writes  nothing; prints a list of 80 columns, or JSON
Run by  hand

Examples:
  etl describe imports        dba.timportconfig, and dba.timportcolumn with the rules for columns
  etl describe reports        dba.treportmanager and dba.treportrecipient
  etl describe jobs           dba.tscheduler
  etl describe inbox          dba.tinboxconfig
  etl describe feeds          dba.tfeed: what must come by when
"""

import argparse
import json
import textwrap
from typing import Any

from psycopg2.extensions import connection as Connection

from systemscripts import db_config
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say

TABLES = {
    "imports": ("dba.timportconfig", "dba.timportcolumn"),
    "reports": ("dba.treportmanager", "dba.treportrecipient"),
    "jobs": ("dba.tscheduler",),
    "inbox": ("dba.tinboxconfig",),
    "feeds": ("dba.tfeed",),
}
WIDTH = 80  # characters
COLUMNS = """
    SELECT a.attname, format_type(a.atttypid, NULL),
           CASE WHEN a.attidentity <> '' THEN 'given by the database' WHEN d.adbin IS NOT NULL THEN pg_get_expr(d.adbin, d.adrelid)
                WHEN a.attnotnull THEN '' END,
           col_description(a.attrelid, a.attnum)
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=TABLES, help="what the tables configure")
    parser.add_argument("--json", action="store_true", help="as JSON")


def described(connection: Connection, table: str) -> dict[str, Any]:
    """Return the table's comment and its columns; `default` is None for null, "" if a value must be given."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT obj_description(%s::regclass)", (table,))
        ((about,),) = cursor.fetchall()
        cursor.execute(COLUMNS, (table,))
        names = ("name", "type", "default", "meaning")
        return {"table": table, "about": about, "columns": [dict(zip(names, row, strict=True)) for row in cursor]}


def wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def lines_of(table: dict[str, Any]) -> list[str]:
    lines = [table["table"], *wrapped(table["about"] or "", "  "), ""]
    for column in table["columns"]:
        default = column["default"]
        unless = "null" if default is None else "must be given" if default == "" else default.partition("::")[0]
        lines += [f"{column['name']}  ({column['type']}; {unless})", *wrapped(column["meaning"] or "", "    ")]
    return lines


def main(args: argparse.Namespace) -> int:
    """Return 0."""
    with db_config.session() as connection:
        tables = [described(connection, table) for table in TABLES[args.kind]]
    if args.json:
        say(json.dumps(tables))
    else:
        say(*(line for table in tables for line in [*lines_of(table), ""]))
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
