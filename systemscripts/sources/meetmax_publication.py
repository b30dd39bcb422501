"""Publish a scan from its journal to the place of the import: once, even if a run is killed.

The file is made whole beside the journal. Then the journal is emptied, and the file gets its name in one step. A run
that finds the file beside the journal continues from there, because its scan is complete and was judged.
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
    """Put the results where the import finds them, and empty the journal."""
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
    """Publish the scan of an earlier run that was killed, and return whether it is still today's scan."""
    is_todays = False
    name_of_plan = re.compile(rf"{re.escape(journal_file(plan).stem)}\.(\d{{8}}T\d{{6}})\.csv")
    for finished in sorted(journal_file(plan).parent.iterdir()):
        found = name_of_plan.fullmatch(finished.name)
        try:
            moment = datetime.strptime(found[1], STAMP).astimezone() if found else None
        except ValueError:
            moment = None
        if moment is not None:
            journal.begin_anew()
            target = _let_appear(finished)
            text = "%s: published now; an earlier run had completed this scan"
            log.info(text, target.name, extra={"step": "publish"})
            is_todays = abs(settings.now() - moment) <= LEFT_ALONE
    return is_todays


def _let_appear(finished: Path) -> Path:
    """Give the file its name; if another scan takes that name at the same moment, use the next second."""
    directory = directory_management.ensure_directory(settings.file_watcher_dir())
    moment = datetime.strptime(finished.suffixes[-2][1:], STAMP).astimezone()
    while True:
        target = meetmax.scan_file(moment)
        with suppress(FileExistsError):
            whole_files.move(finished, target)
            whole_files.sync_directory(directory)
            return target
