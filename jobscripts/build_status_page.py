"""Build the status page: one HTML file that says what ran, what came, and what waits for a person.

Reads   dba.tjobrun, the schedule, dba.tfeed, dba.timportfile, dba.tdataset, dba.tincident, the imports' directories, the backups
Writes  the file ETL_PAGE_FILE, whole or not at all; the page of a feed beside it; the copy at ETL_PAGE_COPY
Run by  cron, every 15 minutes; or by hand

If the copy cannot be made, the job exits with 75, and the page itself is there.

The page needs no server and no network: open the file in a browser, send it, or put it on any web space. It says by
itself when it is old.

Examples:
  etl page                      build it, and print where it is
  etl page --output today.html  write it to another file
  etl page "Branch sales"       the page of one feed or import: its promise, its last 90 files, its configuration
"""

import argparse
import logging
from pathlib import Path

from systemscripts import db_config, directory_management, settings
from systemscripts.cron import slots
from systemscripts.errors import JobError
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say
from systemscripts.status_page import copying, feed_page, overview
from systemscripts.status_page.rendering import render

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "feed", nargs="?", help="the name or number of a feed, or of an import (default: the page of all)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write it (default: ETL_PAGE_FILE)")


def main(args: argparse.Namespace) -> int:
    """Return 0."""
    now, zone, target = settings.now(), slots.cron_zone(), args.output or settings.page_file()
    with db_config.session() as connection:
        if args.feed is None:
            html = render(overview.TEMPLATE, overview.contents(connection, now, zone))
        else:
            shown = feed_page.contents(connection, args.feed, now, zone)
            html = render(feed_page.TEMPLATE, shown)
            target = args.output or target.with_name(f"status_page_{shown['config'].config_id}.html")
    try:
        with directory_management.new_file(target) as file:
            file.write(html.encode())
    except OSError as problem:
        where = "" if args.output else "; ETL_PAGE_FILE in site.env says where it is written"
        raise JobError(f"the page cannot be written to {target}: {problem.strerror}{where}") from None
    log.info("the page has %s bytes", f"{len(html.encode()):,}")
    say(str(target))
    if args.feed is None and args.output is None and (place := copying.copy(html.encode())):
        log.info("copied to %s", place)
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
