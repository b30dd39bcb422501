"""Show the last imports: the result of each file, its rejected lines, and which columns were new or missing.

Reads   dba.timportfile, dba.timportreject, dba.timportdrift
Writes  nothing; prints a table, or JSON
Run by  hand

Examples:
  etl imports
  etl imports MeetMax_Events_XLS_Import --last 5
  etl imports --failed --json
  etl imports --newest               of each import the newest date, and whether it is behind
  etl imports --waiting              what waits for a person: refused and stray files, with what to type
"""

import argparse
import json
import os
from typing import TYPE_CHECKING, Any

from systemscripts import db_config
from systemscripts.errors import WrongCall
from systemscripts.importing.config import unknown
from systemscripts.importing.waiting import Waiting, all_waiting
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

LAST = 20
MOST_LINES_SHOWN = 5
MOST_NAMED = 3

FILES = """
    SELECT f.importfileid, f.created_at, c.config_name, f.file_name, f.status, f.row_count, f.reject_count, f.datasetid, d.isactive,
           s.statusname = 'Held' AS is_held,
           (SELECT e.event || ': ' || e.reason FROM dba.tdatasetevent e WHERE e.datasetid = f.datasetid AND e.event IN ('held', 'warned')
            ORDER BY e.dataseteventid DESC LIMIT 1) AS doubts,
           f.encoding, f.delimiter, f.above_header, f.below_data, f.error, f.archived_path, f.run_uuid::text,
           f.status IN ('Failed', 'Undone') AND f.archived_path = f.source_path AS was_tried_again
    FROM dba.timportfile f JOIN dba.timportconfig c USING (config_id) LEFT JOIN dba.tdataset d USING (datasetid)
    LEFT JOIN dba.tdatastatus s USING (datastatusid)
    WHERE (%(config)s::integer IS NULL OR f.config_id = %(config)s) AND (NOT %(failed)s OR f.status = 'Failed')
    ORDER BY f.importfileid DESC LIMIT %(last)s
"""
NEWEST = """
    SELECT c.config_name, newest.datasetdate AS newest_date, last.created_at AS last_file_at,
           (SELECT count(*) FROM dba.tcalendardays
            WHERE isbusday AND fulldate > newest.datasetdate AND fulldate <= current_date) AS business_days_behind
    FROM dba.timportconfig AS c
    LEFT JOIN LATERAL (SELECT max(d.datasetdate) AS datasetdate FROM dba.tdataset AS d JOIN dba.tdatasettype AS t USING (datasettypeid)
                       WHERE t.typename = c.datasettype AND d.isactive) AS newest ON true
    LEFT JOIN LATERAL (SELECT f.created_at FROM dba.timportfile AS f WHERE f.config_id = c.config_id
                       ORDER BY f.importfileid DESC LIMIT 1) AS last ON true
    WHERE c.is_active = B'1' ORDER BY newest.datasetdate NULLS FIRST, c.config_name
"""
NUMBER = "SELECT config_id FROM dba.timportconfig WHERE config_name = %(config)s OR config_id::text = %(config)s"
REJECTS = "SELECT line_number, column_name, reason, original FROM dba.timportreject WHERE importfileid = %s ORDER BY rejectid LIMIT %s"
DRIFT = """
    SELECT d.kind, d.column_name FROM dba.timportdrift d JOIN dba.timportfile f
      ON f.config_id = d.config_id AND f.file_name = d.file_name AND f.created_at = d.created_at  -- one transaction
    WHERE f.importfileid = %s ORDER BY d.driftid
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configuration", nargs="?", help="config_id or config_name (default: all)")
    parser.add_argument("--last", type=int, metavar="N", help=f"how many files (default {LAST})")
    parser.add_argument("--failed", action="store_true", help="only files that were refused")
    parser.add_argument("--waiting", action="store_true", help="what waits for a person, of all imports")
    parser.add_argument(
        "--newest",
        action="store_true",
        help="of each active import the newest date, the one that is furthest behind first",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def rows(connection: "Connection", query: str, values: Any) -> list[dict[str, Any]]:
    with connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def last_imports(connection: "Connection", args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the files, newest first, each with its first rejects and its drift."""
    config_id = None
    if args.configuration is not None:
        known = rows(connection, NUMBER, {"config": args.configuration})
        if not known:
            raise unknown(connection, args.configuration)
        config_id = known[0]["config_id"]
    found = rows(connection, FILES, {"config": config_id, "failed": args.failed, "last": args.last or LAST})
    for file in found:
        file["rejects"] = (
            rows(connection, REJECTS, (file["importfileid"], MOST_LINES_SHOWN)) if file["reject_count"] else []
        )
        file["is_gone"] = file["archived_path"] is not None and is_gone(file["archived_path"])
        file["drift"] = rows(connection, DRIFT, (file["importfileid"],))
    return found


def is_gone(path: str) -> bool:
    """Return whether nothing is there any more; a place that cannot be looked into counts as full."""
    if "\\" in path:  # signs that PostgreSQL cannot hold are written out
        return False
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def lines_of(file: dict[str, Any]) -> list[str]:
    """Return one line for the file, and more lines for its reason, rejects and columns."""
    count = "" if file["row_count"] is None else f" {file['row_count']} rows"
    state = {True: " (active)", False: " (not active)"}.get(file["isactive"], "")
    state = " (held)" if file["is_held"] else state
    dataset = "" if file["datasetid"] is None else f", dataset {file['datasetid']}{state}"
    place = f", {'no longer at' if file['is_gone'] else 'now'} {file['archived_path']}" if file["archived_path"] else ""
    place = ", tried again since" if file["was_tried_again"] else place
    rejected = f", {file['reject_count']} rejected" if file["reject_count"] else ""
    came = f"{file['created_at'].astimezone():%Y-%m-%d %H:%M} {file['status']:<9} {file['config_name']}: {file['file_name']}"
    lines = [f"{came}{count}{dataset}{rejected}{place}"]
    if file["above_header"]:
        lines.append(f"    above the headings: {file['above_header'].replace(chr(10), ' / ')[:200]!r}")
    if file["below_data"]:
        lines.append(f"    the footer: {file['below_data'].replace(chr(10), ' / ')[:200]!r}")
    lines += [f"    {told}" for told in (file["doubts"], file["error"]) if told]
    for reject in file["rejects"]:
        column = f", column {reject['column_name']}" if reject["column_name"] else ""
        lines.append(f"    line {reject['line_number']}{column}: {reject['reason']}: {reject['original'][:80]!r}")
    for kind in ("added", "ignored", "missing"):
        names = [change["column_name"] for change in file["drift"] if change["kind"] == kind]
        if names:
            more = f", and {len(names) - MOST_NAMED} more (--json has all)" if len(names) > MOST_NAMED else ""
            lines.append(f"    columns {kind}: {', '.join(names[:MOST_NAMED])}{more}")
    return lines


def show_waiting(found: list[Waiting], as_json: bool) -> None:
    """Print each thing with its reason and what to type."""
    if as_json:
        say(json.dumps([thing._asdict() for thing in found]))
        return
    for thing in found:
        say(f"{thing.kind:<10}{thing.where}: {thing.what}", f"          {thing.reason}")
        if thing.command:
            say(f"          {thing.command}" + (f"   (to take it back: {thing.undo})" if thing.undo else ""))
    if not found:
        say("nothing waits for a person")


def show_newest(found: list[dict[str, Any]], as_json: bool) -> None:
    """Print a line an import: its newest date, how far that is behind, and when its last file came."""
    if as_json:
        say(json.dumps(found, default=str))
        return
    for row in found:
        newest, days, last = row["newest_date"], row["business_days_behind"], row["last_file_at"]
        behind = f"{days} business {'day' if days == 1 else 'days'} behind" if days else "up to date"
        told = f"newest {newest}, {behind}" if newest else "nothing is loaded"
        say(
            f"{row['config_name']}: {told}; "
            + (f"last file {last.astimezone():%Y-%m-%d %H:%M}" if last else "no file came yet")
        )


def main(args: argparse.Namespace) -> int:
    """Return 0."""
    if args.last is not None and args.last < 1:
        raise WrongCall(f"--last is {args.last}; it must be 1 or more")
    which = "--waiting" if args.waiting else "--newest"
    if (args.waiting or args.newest) and (
        args.configuration or args.failed or args.last or args.waiting is args.newest
    ):
        raise WrongCall(f"{which} shows all imports, and nothing else; leave the import and other options out")
    with db_config.session() as connection:
        if args.waiting:
            show_waiting(list(all_waiting(connection)), args.json)
            return 0
        if args.newest:
            show_newest(rows(connection, NEWEST, None), args.json)
            return 0
        found = last_imports(connection, args)
    if args.json:
        say(json.dumps(found, default=str))
    else:
        none = "no file was refused" if args.failed else "no file was imported yet"
        say(*(line for file in found for line in lines_of(file)) if found else [none])
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
