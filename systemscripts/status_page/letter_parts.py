"""The parts of the weekly letter, each in HTML, as mail programs show it, and in lines of text."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any

from markupsafe import Markup

from systemscripts.doctor import Finding, database, look
from systemscripts.mail.oauth import endings
from systemscripts.reporting.columns import NO_OPTIONS
from systemscripts.reporting.model import GridOptions, Table
from systemscripts.reporting.tables import html_table, text_table
from systemscripts.status_page.history import Row
from systemscripts.status_page.timeline import FAILED, MISSED, RAN, SKIPPED, Line
from systemscripts.status_page.to_do import ToDo
from systemscripts.status_page.week import Source
from systemscripts.status_page.words import line, number, size, span

TEXT_WIDTH = 78
NAME, SHORTEST_NAME = 40, 12  # characters of a name in the first column; in text they give way to the figures
MOST_LINES, MOST_ROWS = 12, 80
AHEAD = timedelta(days=30)
_HEADING = Markup('<h2 style="font-size:17px;margin:24px 0 6px 0">{}</h2>\n')
_LINE = Markup('<p style="margin:0 0 6px 0;overflow-wrap:anywhere">{}</p>\n')


@dataclass(frozen=True)
class Section:
    """A heading with sentences, and a table below them."""

    heading: str
    lines: list[str]
    columns: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    options: GridOptions = NO_OPTIONS

    def html(self) -> Markup:
        told = Markup("").join([_HEADING.format(self.heading), *(_LINE.format(told) for told in self.lines)])
        return told + html_table(self._table(NAME), self.options) if self.rows else told

    def text(self) -> str:
        told = [textwrap.fill(told, TEXT_WIDTH, subsequent_indent="  ", break_on_hyphens=False) for told in self.lines]
        if self.rows:
            told += ["", self._text_table()]
        return "\n".join([self.heading.upper(), *told])

    def _text_table(self) -> str:
        whole = self._table(NAME)
        too_wide = max(map(len, text_table(whole, self.options, 10 * TEXT_WIDTH).split("\n"))) - TEXT_WIDTH
        longest = max(len(str(first)) for first, *_ in whole.rows) - max(too_wide, 0)
        return text_table(self._table(max(longest, SHORTEST_NAME)), self.options, TEXT_WIDTH)

    def _table(self, longest: int) -> Table:
        return Table(self.columns, tuple((line(first, longest), *others) for first, *others in self.rows[:MOST_ROWS]))


def _with_figures(
    heading: str,
    told: list[str],
    columns: tuple[str, ...],
    rows: list[tuple[Any, ...]],
    formats: dict[str, str],
    colours: dict[str, dict[str, str]],
) -> Section:
    """Return a section whose table has no column that is blank in each row, because a telephone is narrow."""
    kept = [place for place in range(len(columns)) if any(row[place] is not None for row in rows)]
    names = tuple(columns[place] for place in kept)
    options = GridOptions(
        formats={name: form for name, form in formats.items() if name in names},
        colours={name: rules for name, rules in colours.items() if name in names},
    )
    return Section(heading, told, names, [tuple(row[place] for place in kept) for row in rows], options)


def waiting(things: list[ToDo]) -> Section:
    told = [
        f"{thing.kind}: {line(thing.title)}{f'; type: {thing.commands[0][1]}' if thing.commands else ''}"
        for thing in things
    ]
    return Section("Waits for you", _some(told, "Nothing."))


def of_jobs(jobs: list[Line]) -> Section:
    wrong = sum(job.is_wrong for job in jobs)
    told = [f"{number(len(jobs), 'job')} had something to do; of {wrong} not all went well."] if jobs else []
    told += [f"{line(job.name, 60)}: {line(job.problem)}" for job in jobs if job.problem][:MOST_LINES]
    columns = ("Job", "Ran", "Failed", "Missed", "Late", "Skipped")
    rows = [
        (job.name, job.counts[RAN], *_seen(job.counts[FAILED], job.counts[MISSED], job.late, job.counts[SKIPPED]))
        for job in jobs
    ]
    reds = {name: {">0": "red"} for name in ("Failed", "Missed")}
    return _with_figures(
        "Jobs", _with_more(told, len(rows), "etl jobs") or ["No job was due."], columns, rows, {}, reds
    )


def of_sources(sources: list[Source]) -> Section:
    lists, rows = (sum(getattr(source, name) for source in sources) for name in ("lists", "row_count"))
    more = lists - sum(source.lists_before for source in sources)
    told = (
        [f"{number(lists, 'list')} came ({more:+,} to the week before), with {number(rows, 'row')}."] if sources else []
    )
    columns = ("Feed", "Lists", "Missing", "Held", "Refused", "Rows", "± lists", "± rows")
    figures = [
        (
            source.name,
            source.lists,
            *_seen(source.missing, source.held, source.refused),
            source.row_count,
            *_seen(source.lists - source.lists_before, source.row_count - source.rows_before),
        )
        for source in sources
    ]
    reds = {name: {">0": "red"} for name in ("Missing", "Refused")} | {"Held": {">0": "amber"}}
    told = _with_more(told, len(figures), "etl feeds") or ["There is none."]
    return _with_figures("Feeds and imports", told, columns, figures, {"± lists": "+,d", "± rows": "+,d"}, reds)


def of_database(figures: Row, growth: float | None) -> Section:
    grew = "Its growth is not known: sizes are noted every night by run_maintenance.py."
    if growth is not None:
        grew = (
            f"Its tables grew by {size(growth)} in this week."
            if growth >= 0
            else f"Its tables shrank by {size(-growth)}."
        )
    rows = [
        (table["name"], size(table["size"]), size(table["in_a_week"]), table["row_count"])
        for table in figures["tables"]
    ]
    told = [f"The database has {size(figures['size'])}. {grew}"]
    return Section("Database", told, ("Table", "Size", "In a week", "Rows"), rows)


def of_slow_jobs(slow: list[Row]) -> Section:
    slower = [row for row in slow if row["usual"] and row["took"] > 2 * row["usual"]]
    told = "None took more than twice as long as in the 30 days before."
    if slower:
        told = (
            f"More than twice as long as in the 30 days before: {', '.join(line(row['name'], 60) for row in slower)}."
        )
    rows = [(row["name"], span(row["took"]), span(row["usual"]), span(row["longest"])) for row in slow]
    return Section(
        "The slowest jobs",
        [told if slow else "No run of the schedule ended."],
        ("Job", "In the week", "Usual", "Longest"),
        rows,
    )


def of_backups() -> Section:
    return Section("Backups", [_told(finding) for finding in look({"backup": database.backups})])


def _told(finding: Finding) -> str:
    told = f"{finding.name}: {line(finding.told)}"
    return told if finding.state == "ok" else f"{told}; {finding.cure}"


def of_rights(now: datetime) -> Section:
    told = [f"{ending.told}; {ending.cure}" for ending in endings.endings(now, AHEAD)]
    return Section("Rights that end within 30 days", _some(told, "None."))


def of_unused(unused: list[Row]) -> Section:
    told = [f"{row['what']} {line(row['name'], 60)}: {line(row['told'])}" for row in unused]
    return Section("Set up and never used, or paused for a month", _some(told, "Nothing."))


def of_changes(changes: list[Row], zone: tzinfo) -> Section:
    told = []
    for row in changes:
        who = f", by {line(row['who'], 40)}" if row["who"] else ""
        when = f"{row['moment'].astimezone(zone):%a %H:%M}"
        told.append(f"{when}: {row['what']} {line(row['name'], 60)}: {line(row['told'])}{who}")
    return Section("Changed in this week, as far as the tables keep it", _some(told, "Nothing."))


def _some(told: list[str], otherwise: str) -> list[str]:
    """Return the first lines, and how many more there are."""
    more = [f"and {len(told) - MOST_LINES} more"] if len(told) > MOST_LINES else []
    return [*told[:MOST_LINES], *more] or [otherwise]


def _with_more(told: list[str], rows: int, command: str) -> list[str]:
    more = f"The first {MOST_ROWS} are below, those with something wrong first; all of them: {command}"
    return [*told, more] if rows > MOST_ROWS else told


def _seen(*figures: int) -> Iterator[int | None]:
    """Yield the figures; a zero is blank, so that the others are seen."""
    return (figure or None for figure in figures)
