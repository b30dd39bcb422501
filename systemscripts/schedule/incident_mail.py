"""The text of the mail about the schedule: an incident's run, its last lines, and how to run it again.

Names and output are untrusted: each stays within its line, as plain text.
"""

import contextlib
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo

from systemscripts import settings
from systemscripts.cron import cron_file
from systemscripts.cron.cron_file import ScheduledJob
from systemscripts.errors import JobError
from systemscripts.job_catalog import SYSTEM_PATH
from systemscripts.plain_text import on_one_line
from systemscripts.schedule import held_datasets

MOST_INCIDENTS = 30
TAIL_LINES = 20
MOST_FEEDS_OF_A_SOURCE = 3  # more of them are one block of the mail
LONGEST_LINE = 300  # characters
LONGEST_SUBJECT = 150
_LATELY = "SELECT * FROM dba.varrival ORDER BY 1 DESC LIMIT 5"


@dataclass(frozen=True)
class Notice:
    """What to mail about an incident: that it is new (`is_new`), that it is over, or both."""

    id: int
    kind: str
    table: str
    row_id: int
    name: str
    first_slot: datetime
    last_slot: datetime
    occurrences: int
    detail: str
    is_new: bool
    is_over: bool
    run_uuid: str | None
    output_tail: str
    script: str
    arguments: str
    closed_at: datetime | None = None
    # Of a feed: its import, its source, and who is told (empty: the owner).
    import_name: str = ""
    source: str = ""
    reader: str = ""
    # low: it is not mailed; high: it is mailed in the quiet hours too.
    severity: str = "normal"

    def __str__(self) -> str:
        over = "" if self.is_new else "over: "
        return f"{over}{self.kind}: {self.name} ({self.table} {self.row_id}): {self.occurrences} times; {self.detail}"


def subject_of(notices: list[Notice]) -> str:
    """Return one line: the incident itself, or the number of each kind."""
    counts = Counter(notice.kind if notice.is_new else "over" for notice in notices)
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    if len(notices) == 1:
        told = f"{'' if notices[0].is_new else 'over: '}{notices[0].kind}: {notices[0].name}"
    return one_line(f"[ETL {settings.host_name()}] {told}", LONGEST_SUBJECT)


def text_of(notices: list[Notice], now: datetime, zone: tzinfo) -> str:
    """Return the mail's text: first new incidents, then ended ones; at most MOST_INCIDENTS, then how many more."""
    ordered = sorted(notices, key=lambda notice: (not notice.is_new, notice.is_over))
    blocks = [f"The schedule on {settings.host_name()}, {local_time(now, zone)}"]
    told = ["\n".join(lines) for lines in _blocks(ordered, zone)]
    blocks += told[:MOST_INCIDENTS]
    if (more := len(told) - MOST_INCIDENTS) > 0:
        blocks.append(f"and {more} more: see dba.tincident")
    if page := page_address():
        blocks.append(f"The status page: {page}")
    return "\n\n".join(blocks) + "\n"


def page_address(place: str = "") -> str:
    """Return the address of the status page, or of a place on it; "" if none is set that can be used."""
    page = ""
    # The alert itself matters more; `etl doctor` says what is wrong with the address.
    with contextlib.suppress(settings.SettingError):
        page = settings.page_url()
    return f"{page}#{place}" if page and place else page


def _on_the_page(notice: Notice) -> list[str]:
    """Return the line with the notice's place on the status page."""
    place = {"failed": f"run-{notice.run_uuid}", held_datasets.KIND: "waits", "missing": "feeds"}.get(notice.kind, "")
    if not place or (notice.kind == "failed" and notice.run_uuid is None) or not (page := page_address(place)):
        return []
    return [f"  On the status page:  {page}"]


def _blocks(notices: list[Notice], zone: tzinfo) -> Iterator[list[str]]:
    """Yield the lines of each notice; the feeds of one source are told together if they are many."""
    sources = [(notice.kind, notice.is_new, notice.source) for notice in notices]
    together = {key for key, count in Counter(sources).items() if key[2] and count > MOST_FEEDS_OF_A_SOURCE}
    for place, (notice, key) in enumerate(zip(notices, sources, strict=True)):
        if key not in together:
            yield _lines(notice, zone)
        elif key not in sources[:place]:
            yield _of_one_source([other for other, its in zip(notices, sources, strict=True) if its == key], zone)


def _of_one_source(notices: list[Notice], zone: tzinfo) -> list[str]:
    first = notices[0]
    word = first.kind.upper() if first.is_new else f"over: {first.kind}"
    due = sorted(notice.last_slot for notice in notices)
    lines = [one_line(f"{word}  {len(notices)} feeds of {first.source}  ({first.table})")]
    lines.append(f"  due from {local_time(due[0], zone)} to {local_time(due[-1], zone)}")
    lines += [one_line(f"  {notice.name}: {notice.detail}") for notice in notices[:MOST_INCIDENTS]]
    if (more := len(notices) - MOST_INCIDENTS) > 0:
        lines.append(f"  and {more} more: see dba.tincident")
    return lines


def _lines(notice: Notice, zone: tzinfo) -> list[str]:
    head = f"{notice.kind.upper() if notice.is_new else f'over: {notice.kind}'}  {notice.name}  ({notice.table} {notice.row_id})"
    lines = [one_line(head), f"  {_slots(notice, zone)}", one_line(f"  {notice.detail}", 3 * LONGEST_LINE)]
    if notice.is_over and notice.closed_at is not None:
        went_well = "that it went well again" if notice.kind != held_datasets.KIND else "that it is decided"
        lines.append(f"  It is over: the check on {local_time(notice.closed_at, zone)} found {went_well}.")
    # There is nothing to do about what is over already.
    if notice.is_over or not notice.is_new:
        return lines
    return lines + _tail(notice) + _advice(notice) + _on_the_page(notice)


def _slots(notice: Notice, zone: tzinfo) -> str:
    if notice.kind == held_datasets.KIND:
        return f"loaded {local_time(notice.first_slot, zone)}, and not active"
    word = "time" if notice.kind == "missing" else "run"
    if notice.occurrences == 1:
        return f"1 {word}, due {local_time(notice.first_slot, zone)}"
    first, last = local_time(notice.first_slot, zone), local_time(notice.last_slot, zone)
    return f"{notice.occurrences} {word}s, due from {first} to {last}"


def _tail(notice: Notice) -> list[str]:
    if notice.run_uuid is None:
        return []
    last = notice.output_tail.splitlines()[-TAIL_LINES:] if notice.kind == "failed" else []
    told = ", the end of what it printed:" if last else ""
    return [f"  run {notice.run_uuid}{told}", *(one_line(f"    | {line}") for line in last)]


def _advice(notice: Notice) -> list[str]:
    row = str(notice.row_id) if notice.table != cron_file.REPORT_TABLE else f"report:{notice.row_id}"
    if notice.kind == held_datasets.KIND:
        return [f"  To use it:  {typed('release', row)}", f"  To take it back:  {typed('undo', row)}"]
    if notice.kind in ("missed", "too often"):
        check = typed("run", "update_cron_jobs.py", "--check")
        again = _repetition(notice, row) if notice.kind == "missed" else []
        return [f"  Check cron's file; only one machine may read it:  {check}", *again]
    if notice.kind == "failed":
        return _repetition(notice, row)
    if notice.kind == "missing":
        look = ["imports", notice.import_name, "--last", "5"] if notice.import_name else ["sql", "-c", _LATELY]
        return [
            f"  What came lately:  {typed(*look)}",
            one_line(f"  If it is known:  {typed('snooze', notice.name, 'until', 'TIME')}"),
        ]
    lines = [f"  Its last runs:  {typed('runs', row, '--last', '5', '--tail')}"]
    if notice.kind == "stuck":
        lines.append(
            "  If it hangs: kill that process on that host. Set timeout_minutes in its row to end such runs automatically."
        )
    return lines


def _repetition(notice: Notice, row: str) -> list[str]:
    is_task = notice.table == cron_file.TASK_TABLE
    script, arguments = (notice.script, notice.arguments) if is_task else ("send_reports.py", str(notice.row_id))
    try:
        cron_file.door_arguments(ScheduledJob(notice.table, notice.row_id, notice.name, "", script, arguments))
    except JobError as problem:
        return [one_line(f"  It cannot be run: {problem}")]
    return [f"  Run it again:  {typed('run', row)}"]


def typed(*words: str) -> str:
    """Return a call of the command `etl` that works for whoever reads the mail, in a terminal in which nothing was typed yet."""
    is_everywhere = settings.has_short_command(SYSTEM_PATH)
    command = ["etl"] if is_everywhere else ["bash", str(cron_file.door().with_name("etl"))]
    return shlex.join([*command, *words])


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    line = on_one_line(text)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def local_time(time: datetime, zone: tzinfo) -> str:
    return f"{time.astimezone(zone):%a %Y-%m-%d %H:%M %Z}"
