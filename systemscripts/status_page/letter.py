"""The weekly letter: the same in HTML, as mail programs show it, and in lines of text."""

import textwrap
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from systemscripts import settings
from systemscripts.plain_text import on_its_lines
from systemscripts.reporting.cell_formats import PALETTE
from systemscripts.reporting.render import page
from systemscripts.schedule.incident_mail import page_address
from systemscripts.schedule.promises import Calendar
from systemscripts.status_page import history, letter_parts, to_do, week
from systemscripts.status_page.letter_parts import TEXT_WIDTH, Section
from systemscripts.status_page.overview import BAD, GOOD, LOOK
from systemscripts.status_page.timeline import FAILED, MISSED, RAN, RUNNING, SKIPPED, Line
from systemscripts.status_page.to_do import ToDo
from systemscripts.status_page.week import Source, Week
from systemscripts.status_page.words import number

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

_WORDS = {GOOD: ("Good", "green"), LOOK: ("Look", "amber"), BAD: ("Bad", "red")}

_VERDICT = Markup(
    '<table width="100%" cellpadding="12" cellspacing="0" border="0"><tr>'
    '<td bgcolor="{}" style="color:{};font-family:Arial,Helvetica,sans-serif;font-size:16px"><b>{}.</b> {}</td></tr></table>\n'
)
_LINK = Markup('<p style="margin:12px 0"><a href="{0}">The status page: {0}</a></p>\n')


class Letter(NamedTuple):
    subject: str
    text: str
    html: str


def letter(connection: "Connection", when: Week, now: datetime, zone: tzinfo) -> Letter:
    """Return the letter of a week; what it says of the present is as of `now`."""
    with connection, connection.cursor() as cursor:
        calendar = Calendar(cursor, now, zone)
        jobs, sources = week.jobs(cursor, when, now, zone), week.sources(cursor, calendar, when, now)
        figures = history.database(cursor, now)
        growth, slow = week.growth(cursor, when), week.slow_jobs(cursor, when)
        unused, changes = week.unused(cursor, now), week.changes(cursor, when)
        refused = history.refused_files(cursor, now)
    things = to_do.things(connection, refused, now, zone)
    parts = [
        letter_parts.waiting(things),
        letter_parts.of_jobs(jobs),
        letter_parts.of_sources(sources),
        letter_parts.of_database(figures, growth),
        letter_parts.of_slow_jobs(slow),
        letter_parts.of_backups(),
        letter_parts.of_rights(now),
        letter_parts.of_unused(unused),
        letter_parts.of_changes(changes, zone),
    ]
    state, sentence = _verdict(jobs, sources, things)
    return _written(when, state, sentence, parts)


def _written(when: Week, state: str, sentence: str, parts: list[Section]) -> Letter:
    word, tint = _WORDS[state]
    days = f"{when.days[0]:%a %d %b} to {when.days[-1]:%a %d %b %Y}"
    title = f"The week from {days} on {settings.host_name()}"
    link = page_address()
    body = Markup('<h1 style="font-size:20px;margin:0 0 12px 0">{}</h1>\n').format(title)
    body += _VERDICT.format(PALETTE[tint].background, PALETTE[tint].text, word, sentence)
    body += _LINK.format(link) if link else ""
    body += Markup("").join(part.html() for part in parts)
    head = [title, textwrap.fill(f"{word}. {sentence}", TEXT_WIDTH), *([f"The status page: {link}"] if link else [])]
    text = "\n\n".join([*head, *(part.text() for part in parts)])
    subject = f"[ETL {settings.host_name()}] {word}: the week to {when.days[-1]:%a %d %b}"
    return Letter(subject, f"{on_its_lines(text)}\n", page(subject, str(body)))


def _verdict(jobs: list[Line], sources: list[Source], things: list[ToDo]) -> tuple[str, str]:
    """Return the state of the week and one sentence, by the rules of the status page."""
    over = [_over(job) for job in jobs]
    went, due = sum(ran for ran, _ in over), sum(ran + wrong for ran, wrong in over)
    lists, awaited = sum(source.lists for source in sources if source.due), sum(source.due for source in sources)
    ran = f"{went:,} of {number(due, 'run')} went well" if due else "Nothing was due"
    came = f"{lists:,} of {number(awaited, 'list')} came" if awaited else ""
    waits = f"{number(len(things), 'thing')} {'waits' if len(things) == 1 else 'wait'} for you"
    sentence = ", ".join(part for part in (ran, came, waits if things else "nothing waits for you") if part)
    is_bad = went < due or lists < awaited or any(thing.is_bad for thing in things)
    return BAD if is_bad else LOOK if things or not due else GOOD, f"{sentence}."


def _over(job: Line) -> tuple[int, int]:
    """Return how many slots went well, and how many did not."""
    wrong = job.counts[FAILED] + job.counts[MISSED]
    return job.counts[RAN] + job.counts[SKIPPED] + job.counts[RUNNING], wrong
