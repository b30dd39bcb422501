"""Decide whether a dataset that was just loaded is believable enough to become active."""

from datetime import date
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import Identifier

from systemscripts.importing import dataset_checks, ledger, profile, table
from systemscripts.importing.dataset_checks import Check
from systemscripts.importing.load import Loaded
from systemscripts.importing.loading import Work
from systemscripts.importing.usual import Profile
from systemscripts.job_catalog import typed


class Doubts(NamedTuple):
    """Why a dataset is held, and what else a person is warned of; sentences without a point."""

    hold: list[str]
    warn: list[str]

    def __str__(self) -> str:
        return "; ".join([*self.hold, *self.warn])


def doubts_about(
    cursor: Cursor, work: Work, dataset: tuple[str, date], datasetid: int | None, loaded: Loaded, sha256: str
) -> Doubts:
    """Measure the dataset and keep that; return what is not as usual, and which checks it breaks.

    `dataset` is its label and date. `datasetid` is None in a dry run, which runs no checks, and keeps what it measured only
    for the files after it.
    """
    config = work.config
    tried = work.tried.past.setdefault(dataset[0], {}) if work.dry_run else None
    doubts = Doubts([], [])
    if not loaded.rows:
        # It never becomes active, so there is nothing to hold.
        judgement = profile.compare(cursor, config, dataset, Profile(0, 0, {}, {}))
        doubts.warn.extend(judgement.unusual if config.when_unusual != "ignore" else [])
        return doubts
    assert loaded.plan is not None, "records have columns"
    there = table.TRIAL if datasetid is None else Identifier(config.schema, config.table)
    measured = profile.measure(cursor, config, there, loaded.plan.filled, datasetid, loaded.rows)
    measured = measured._replace(sha256=sha256)
    judgement = profile.compare(cursor, config, dataset, measured, tried)
    if config.when_unusual != "ignore":
        (doubts.hold if config.when_unusual == "hold" else doubts.warn).extend(judgement.unusual)
    if datasetid is not None:
        profile.keep(cursor, datasetid, measured, judgement.usual_rows)
        for check in work.checks:
            if told := dataset_checks.broken(cursor, check, datasetid):
                (doubts.hold if check.holds else doubts.warn).append(told)
    return doubts


def settle(cursor: Cursor, datasetid: int, doubts: Doubts, is_wanted: bool) -> tuple[bool, str]:
    """Make the dataset active or hold it; return whether it is held, and words for a person, such as about the one that it replaces.

    `is_wanted` says that a person wants it as it is, so that it is not held.
    """
    if doubts.hold and not is_wanted:
        ledger.set_status(cursor, datasetid, "Held")
        ledger.note_event(cursor, datasetid, "held", str(doubts))
        release, undo = typed("release_dataset.py", str(datasetid)), typed("undo_dataset.py", str(datasetid))
        return True, f", held and not active: {doubts}; to use it, type: {release}; to take it back: {undo}"
    former = ledger.activate(cursor, datasetid)
    replaced = "" if former is None else f", in place of dataset {former}"
    if not any(doubts):
        return False, replaced
    ledger.note_event(cursor, datasetid, "warned", str(doubts))
    return False, f"{replaced}; warning: {doubts}"


def would_tell(doubts: Doubts) -> str:
    """Return words about the doubts of a dry run."""
    if doubts.hold:
        return f"; it would be held: {doubts}"
    return f"; warning: {doubts}" if doubts.warn else ""


def not_tried(checks: list[Check]) -> str:
    """Return words about the checks in a dry run, which has no dataset that they could ask for."""
    if not checks:
        return ""
    return f"; its {'check is' if len(checks) == 1 else f'{len(checks)} checks are'} not tried in a dry run"
