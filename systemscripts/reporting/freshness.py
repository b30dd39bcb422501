"""Say how fresh the data of a report is: for each required dataset, whether it is of the day, older, missing or held.

It is read in the transaction of the report's queries, so what is said is true of the data in the mail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from markupsafe import Markup

from systemscripts.plain_text import as_words
from systemscripts.reporting.model import GridOptions, Report, Table
from systemscripts.reporting.queries import ReportQueries
from systemscripts.reporting.tables import html_table, text_table
from systemscripts.reporting.template import Shown

NOT_STATED = "This report does not say which datasets it is made of."

_MOST_NAMED = 3
_LONGEST_NAME = 60  # characters of a type and label in a sentence
_COLOURS = {"State": {"of the day": "green", "older": "amber", "held": "amber", "missing": "red"}}

# A type without a label may have many labels a day. What is dated after the day is not in question.
_STATES = """
    SELECT w.wanted, newest.datasetdate, newest.labels, newest.label, newest.loaded, newest.row_count, held.datasetid
    FROM unnest(%(wanted)s::text[]) WITH ORDINALITY AS w (wanted, place)
    LEFT JOIN LATERAL (
        SELECT d.datasetdate, count(DISTINCT d.label) AS labels, min(d.label) AS label, max(d.createddate) AS loaded,
               sum(f.row_count)::bigint AS row_count
        FROM dba.tdataset AS d JOIN dba.tdatasettype AS t USING (datasettypeid)
        LEFT JOIN LATERAL (SELECT max(row_count) AS row_count FROM dba.timportfile
                           WHERE datasetid = d.datasetid AND status IN ('Loaded', 'Empty')) AS f ON true
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
    label_count: int | None
    label: str | None
    loaded: datetime | None
    rows: int | None
    held: int | None

    @property
    def is_there(self) -> bool:
        return self.newest == self.day

    @property
    def state(self) -> str:
        if self.is_there:
            return "of the day"
        if self.held is not None:
            return "held"
        return "missing" if self.newest is None else "older"

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


def in_a_line(states: Sequence[DatasetState]) -> str:
    """Return what `{{freshness}}` is in a subject."""
    told = [f"{state.name} {state.newest or state.day} {state.state}" for state in states]
    more = [f"{len(told) - _MOST_NAMED} more"] if len(told) > _MOST_NAMED else []
    return ", ".join([*told[:_MOST_NAMED], *more]) or "datasets not stated"


def as_shown(states: Sequence[DatasetState]) -> Shown:
    """Return what `{{freshness}}` is in the body."""
    if not states:
        sentence = str(Markup("<p>{}</p>").format(NOT_STATED))
        return Shown(0, sentence, sentence)
    # A telephone shows the first three columns, and scrolls to the others.
    table = Table(("Dataset", "State", "Date", "Label", "Loaded", "Rows"), tuple(map(_row, states)))
    options = GridOptions(colours=_COLOURS)
    text = Markup("<pre>{}</pre>").format(text_table(table, options))
    return Shown(len(states), str(html_table(table, options)), str(text))


def _row(state: DatasetState) -> tuple[object, ...]:
    several = state.label_count is not None and state.label_count > 1
    wanted_type, _, wanted_label = state.wanted.partition(":")
    label = f"{state.label_count} labels" if several else state.label or wanted_label
    return wanted_type, state.state, state.newest, label, state.loaded, state.rows
