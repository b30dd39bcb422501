"""Say how fresh the data of a report is: for each required dataset, whether it is of the day, older, missing or held.

It is read in the transaction of the report's queries, so what is said is true of the data in the mail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from systemscripts.plain_text import as_words
from systemscripts.reporting.model import Report
from systemscripts.reporting.queries import ReportQueries

_MOST_NAMED = 3
_LONGEST_NAME = 60  # characters of a type and label in a sentence

# A type without a label may have many labels a day. What is dated after the day is not in question.
_STATES = """
    SELECT w.wanted, newest.datasetdate, newest.loaded, held.datasetid
    FROM unnest(%(wanted)s::text[]) WITH ORDINALITY AS w (wanted, place)
    LEFT JOIN LATERAL (
        SELECT d.datasetdate, max(d.createddate) AS loaded
        FROM dba.tdataset AS d JOIN dba.tdatasettype AS t USING (datasettypeid)
        WHERE d.isactive AND d.datasetdate <= %(day)s AND w.wanted IN (t.typename, t.typename || ':' || d.label)
        GROUP BY d.datasetdate ORDER BY d.datasetdate DESC LIMIT 1) AS newest ON true
    LEFT JOIN LATERAL (
        SELECT max(d.datasetid) AS datasetid
        FROM dba.tdataset AS d JOIN dba.tdatasettype AS t USING (datasettypeid) JOIN dba.tdatastatus AS s USING (datastatusid)
        WHERE s.statusname = 'Held' AND d.datasetdate = %(day)s
          AND w.wanted IN (t.typename, t.typename || ':' || d.label)) AS held ON true
    ORDER BY w.place
"""


@dataclass(frozen=True)
class DatasetState:
    """A required dataset on a day: the newest active one up to that day, if any, and the id of one of the day that is held."""

    wanted: str
    day: date
    newest: date | None
    loaded: datetime | None
    held: int | None

    @property
    def is_there(self) -> bool:
        return self.newest == self.day

    @property
    def name(self) -> str:
        words = as_words(self.wanted)
        return words if len(words) <= _LONGEST_NAME else f"{words[: _LONGEST_NAME - 1]}…"

    @property
    def sentence(self) -> str:
        """Say that it is not there, and since when the newest one is."""
        lacks = "is held until somebody has checked it" if self.held is not None else "is missing"
        newest = "there is none yet"
        if self.newest is not None:
            newest = f"the newest is of {self.newest}"
            newest += f", loaded {self.loaded:%Y-%m-%d %H:%M}" if self.loaded else ""
        return f"{self.name} of {self.day} {lacks}; {newest}"


def states_of(queries: ReportQueries, report: Report, day: date) -> list[DatasetState]:
    """Return the state of each required dataset on the day, as the queries of the report see it."""
    if not report.required_datasets:
        return []
    values = {"wanted": list(report.required_datasets), "day": day}
    return [DatasetState(wanted, day, *found) for wanted, *found in queries.read(_STATES, values)]


def lacking(states: Sequence[DatasetState]) -> list[DatasetState]:
    return [state for state in states if not state.is_there]


def _and_more(mark: str, count: int) -> str:
    return f"{mark}{count} more {'is' if count == 1 else 'are'} missing" if count > 0 else ""


def partial_sentence(states: Sequence[DatasetState]) -> str:
    """Return the sentence for the top of a partial report, "" if nothing is missing."""
    missing = lacking(states)
    named = ". ".join(state.sentence for state in missing[:_MOST_NAMED])
    return f"This report is partial: {named}{_and_more('. ', len(missing) - _MOST_NAMED)}." if missing else ""


def partial_subject(subject: str, states: Sequence[DatasetState]) -> str:
    """Return the subject of a partial report: what is missing follows it, because a telephone shows only its beginning."""
    missing = lacking(states)
    return f"Partial: {subject} ({missing[0].sentence}{_and_more('; ', len(missing) - 1)})" if missing else subject
