"""A scan's way from its journal to where the import finds it: once, wherever a run is killed.

The file is made whole beside the journal, the journal begun anew, the file given its name, which is one step. A run
that finds the file beside the journal goes on from there: its scan has been asked to the end and judged.
"""

import csv
import io
import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from systemscripts import directory_management, settings, whole_files
from systemscripts.sources import meetmax
from systemscripts.sources.meetmax_journal import LEFT_ALONE, Journal, journal_file
from systemscripts.sources.meetmax_plan import Plan

log = logging.getLogger(__name__)

STAMP = "%Y%m%dT%H%M%S"


def publish(plan: Plan, journal: Journal, event_ids: Sequence[int]) -> Path:
    """Put the results where the import finds them, and begin the journal anew."""
    own = journal_file(plan)
    finished = own.with_name(f"{own.stem}.{settings.now():{STAMP}}.csv")
    with directory_management.new_file(finished) as stream:
        text = io.TextIOWrapper(stream, "utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(meetmax.CSV_HEADER)
        writer.writerows(result.csv_row() for result in journal.results(event_ids))
        text.detach()
    journal.begin_anew()
    return _let_appear(finished)


def publish_at_last(plan: Plan, journal: Journal) -> bool:
    """Publish what an earlier run was killed over, and return whether that is still today's scan."""
    is_todays = False
    for finished in sorted(journal_file(plan).parent.iterdir()):
        if (moment := _moment(plan, finished.name)) is not None:
            journal.begin_anew()
            target = _let_appear(finished)
            text = "%s: published at last, an earlier run had asked all of it"
            log.info(text, target.name, extra={"step": "publish"})
            is_todays = abs(settings.now() - moment) <= LEFT_ALONE
    return is_todays


def _moment(plan: Plan, name: str) -> datetime | None:
    """Return when the scan ended whose file is called so; None where it is another plan's, or no such file."""
    if found := re.fullmatch(rf"{re.escape(journal_file(plan).stem)}\.(\d{{8}}T\d{{6}})\.csv", name):
        with suppress(ValueError):
            return datetime.strptime(found[1], STAMP).astimezone()
    return None


def _let_appear(finished: Path) -> Path:
    """Give the file its name; another scan may take that at the same moment, and then it gets the next second's."""
    directory = directory_management.ensure_directory(settings.file_watcher_dir())
    moment = datetime.strptime(finished.suffixes[-2][1:], STAMP).astimezone()
    while True:
        target = meetmax.scan_file(moment)
        with suppress(FileExistsError):
            whole_files.move(finished, target)
            whole_files.sync_directory(directory)
            return target
