"""Make rows of the schedule out of a hand-written crontab: which lines the rows say already, which become rows, which cannot."""

import contextlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from systemscripts import db_config, settings
from systemscripts.cron import cron_file, environment
from systemscripts.cron.cron_file import REPORT_TABLE, TASK_TABLE, ScheduledJob
from systemscripts.cron.crontab import Entry, Line, Setting, Unread
from systemscripts.cron.grammar import parse
from systemscripts.cron.shell_words import CannotTell
from systemscripts.errors import JobError
from systemscripts.schedule.crontab_calls import OWN_FILE, Call, calls_of, chain_job, chain_text
from systemscripts.schedule.timetable import ACTIVE

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

NEW, CHANGED, THERE, CANNOT, NOT_NEEDED = "new row", "change", "already there", "cannot be a row", "not needed"
DELETED = 3  # dba.tdatastatus
# Settings that our own file, the door or the machine makes.
_MADE_ANYWAY = {
    "SHELL", "PATH", "MAILTO", "MAILFROM", "HOME", "LOGNAME", "USER", "LANG", "LANGUAGE", "CRON_TZ",
    "PYTHONPATH", "PROJECT_ROOT", "PARENT_LOG_FILE",
}  # fmt: skip
_INSERT_TASK = """
    SELECT dba.f_insert_tscheduler(p_taskname => %(name)s, p_taskdescription => %(about)s, p_frequency => %(frequency)s,
                                   p_scriptpath => %(script)s, p_scriptargs => %(arguments)s)
"""
_UPDATE = {
    TASK_TABLE: "UPDATE dba.tscheduler SET datastatusid = %(status)s WHERE schedulerid = %(id)s",
    REPORT_TABLE: "UPDATE dba.treportmanager SET frequency = %(frequency)s, datastatusid = %(status)s WHERE reportid = %(id)s",
}


@dataclass(frozen=True)
class Proposal:
    """What becomes of one line: one of the words above, a sentence, and the change in the tables, if there is one."""

    number: int
    kind: str
    told: str
    statement: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""  # of a shell job that is to be written


@dataclass
class Rows:
    """The rows that there are; planned ones are added, so that no line becomes a second row."""

    jobs: list[tuple[ScheduledJob, int]]  # each with its datastatusid
    imports: dict[str, str]  # number and name of each import
    switched_off: set[str]  # numbers and names of imports that are not active


@contextlib.contextmanager
def transaction(changes: bool) -> "Iterator[Cursor]":
    """Yield a cursor of one transaction: to look as the jobs' role, or to change as etl_owner, alone in both tables."""
    try:
        connection = db_config.connect(db_config.OWNER_ROLE if changes else db_config.JOB_ROLE)
    except db_config.DatabaseUnavailable as problem:
        if "authentication failed" not in str(problem):
            raise
        raise JobError(f"{problem}; call this without sudo, as a member of etl_group, who may be etl_owner") from None
    with contextlib.closing(connection), connection, connection.cursor() as cursor:
        if changes:
            cursor.execute(f"LOCK TABLE {TASK_TABLE}, {REPORT_TABLE} IN SHARE ROW EXCLUSIVE MODE")
        yield cursor


def rows_of(cursor: "Cursor") -> Rows:
    """Return the rows of both tables that are not deleted."""
    cursor.execute(
        "SELECT schedulerid, taskname, frequency::text, scriptpath, coalesce(scriptargs, ''), coalesce(host_pattern, ''),"
        " datastatusid FROM dba.tscheduler WHERE datastatusid <> %s ORDER BY schedulerid",
        (DELETED,),
    )
    jobs = [(ScheduledJob(TASK_TABLE, *row[:6]), row[6]) for row in cursor.fetchall()]
    cursor.execute(
        "SELECT reportid, reportname, coalesce(frequency::text, ''), coalesce(datastatusid, 2) FROM dba.treportmanager"
        " ORDER BY reportid"
    )
    for number, name, frequency, status in cursor.fetchall():
        jobs.append((ScheduledJob(REPORT_TABLE, number, name, frequency, "send_reports.py", str(number)), status))
    cursor.execute("SELECT config_id::text, config_name, is_active = B'1' FROM dba.timportconfig")
    imports = cursor.fetchall()
    off = {word for number, name, is_active in imports if not is_active for word in (number, name)}
    return Rows(jobs, {number: name for number, name, _ in imports}, off)


def plan(lines: Iterable[Line], rows: Rows, user: str) -> list[Proposal]:
    """Return a proposal for each line; `rows` gets the planned ones."""
    lines, variables, planned, by_cron = list(lines), dict[str, str](), list[Proposal](), environment.by_cron()
    for line in lines:
        if isinstance(line, Unread):
            planned.append(Proposal(line.number, CANNOT, line.reason))
        elif isinstance(line, Setting):
            variables[line.name] = line.value
            planned.append(_of_setting(line, lines, by_cron))
        else:
            planned.append(_of_entry(line, variables, rows, user))
    return planned


def apply(cursor: "Cursor", proposals: Iterable[Proposal]) -> int:
    """Make the changes in the tables, and return how many there were."""
    wanted = [proposal for proposal in proposals if proposal.statement]
    for proposal in wanted:
        cursor.execute(proposal.statement, dict(proposal.values))
    return len(wanted)


def _of_setting(line: Setting, lines: list[Line], by_cron: Mapping[str, str]) -> Proposal:
    used = re.compile(rf"\$\{{?{re.escape(line.name)}\b")
    if line.name in _MADE_ANYWAY or line.name.startswith("LC_"):
        return Proposal(line.number, NOT_NEEDED, f"{line.name}: the file of the schedule and the door set their own")
    if any(isinstance(other, Entry) and used.search(other.command) for other in lines):
        return Proposal(line.number, NOT_NEEDED, f"{line.name}: it is put in where the lines below name it")
    if line.value == by_cron.get(line.name):
        return Proposal(line.number, THERE, f"{line.name} has this value already")
    told = f"it sets {line.name} for the jobs below; write that line into {settings.site_file()} (a secret: into secrets.env)"
    return Proposal(line.number, CANNOT, told)


def _of_entry(entry: Entry, variables: Mapping[str, str], rows: Rows, user: str) -> Proposal:
    if entry.user != user:
        told = f"it runs as {entry.user}, and all jobs of the schedule run as {user}"
        cure = _done_by_a_row(entry, variables, rows) or f"{OWN_FILE}: {entry.command}"
        return Proposal(entry.number, CANNOT, f"{told}; {cure}")
    try:
        calls = calls_of(entry.command, variables)
    except CannotTell as reason:
        return Proposal(entry.number, CANNOT, f"{reason}; the command is: {entry.command}")
    if missing := [told for call in calls if (told := _missing(call, rows))]:
        return Proposal(entry.number, CANNOT, f"{'; '.join(missing)}; the command is: {entry.command}")
    doubts = "".join(doubt for call in calls for doubt in _doubts(call, rows, is_step=len(calls) > 1))
    script = chain_job(calls) if len(calls) > 1 else None
    if len(calls) == 1 or script:
        proposal = _of_call(entry, Call(";", script, ()) if script else calls[0], rows)
        return replace(proposal, told=f"{proposal.told}{doubts}")
    name = f"chain_of_line_{entry.number}.sh"
    told = (
        f"it is a chain of {len(calls)} jobs; write these lines to jobscripts/{name}, and adopt the file then{doubts}"
    )
    return Proposal(entry.number, CANNOT, told, text=chain_text(calls, name, entry.comment))


def _done_by_a_row(entry: Entry, variables: Mapping[str, str], rows: Rows) -> str:
    """Return which row does the job of another user's line, "" if none does."""
    try:
        (call,) = calls_of(entry.command, variables)
    except (CannotTell, ValueError):
        return ""
    for job, status in rows.jobs:
        if job.row_id > 0 and _does(job, call, rows.imports):
            paused = "" if status == ACTIVE else f" (it is paused: {cron_file.typed('resume', str(job.row_id))})"
            return f"{job} does this job{paused}, so drop the line: --leave-out {entry.number}"
    return ""


def _doubts(call: Call, rows: Rows, is_step: bool) -> Iterator[str]:
    """Yield what somebody may not expect of a call that can be run."""
    if call.script == "run_import_job.py" and call.arguments and call.arguments[0] in rows.switched_off:
        yield f"; import {call.arguments[0]} is switched off, so it fails until is_active of its row is B'1'"
    for job, status in rows.jobs if is_step else ():
        if status != ACTIVE and (_sends(job, call) or _does(job, call, rows.imports)):
            yield f"; its step '{call}' is {job}, which is paused: as a step it runs all the same"


def _missing(call: Call, rows: Rows) -> str:
    """Return what the call names and the tables do not have, "" if nothing."""
    wanted = next(iter(call.arguments), "-")
    if call.script == "run_import_job.py" and not wanted.startswith("-"):
        is_there = wanted in (*rows.imports, *rows.imports.values())
        return "" if is_there else f"there is no import {wanted!r} in dba.timportconfig"
    if call.script == "send_reports.py" and wanted.isdecimal():
        is_there = any(_sends(job, replace(call, arguments=(wanted,))) for job, _ in rows.jobs)
        return "" if is_there else f"there is no report {wanted} in {REPORT_TABLE}"
    return ""


def _of_call(entry: Entry, call: Call, rows: Rows) -> Proposal:
    same = [(job, status) for job, status in rows.jobs if _does(job, call, rows.imports)]
    for job, status in same:
        if parse(job.frequency) == parse(entry.frequency):
            return _kept(entry.number, job, status, rows)
    if report := next((pair for pair in rows.jobs if _sends(pair[0], call)), None):
        return _of_report(entry, *report, rows)
    taken = {job.name.casefold() for job, _ in rows.jobs}
    name = entry.comment or str(call)
    name = f"{name} (line {entry.number})" if name.casefold() in taken else name
    job = ScheduledJob(TASK_TABLE, -entry.number, name, entry.frequency, call.script, shlex.join(call.arguments))
    try:
        cron_file.cron_line(job, settings.cron_user())
    except JobError as reason:
        return Proposal(entry.number, CANNOT, f"{reason}; the command is: {entry.command}")
    rows.jobs.append((job, ACTIVE))
    values = {
        "name": name, "about": f"Adopted from line {entry.number} of the hand-written file", "frequency": entry.frequency,
        "script": call.script, "arguments": job.arguments or None,
    }  # fmt: skip
    told = f"{name!r}  {entry.frequency}  {call}"
    if others := [job for job, status in same if status == ACTIVE]:
        cures = " or ".join(cron_file.command_to_pause(other) for other in others if other.row_id > 0)
        told += f"; it runs at {others[0].frequency} too" + (f" (if only once is meant: {cures})" if cures else "")
    told += "".join(
        f"; {job} does the same at {job.frequency}, and stays paused" for job, status in same if status != ACTIVE
    )
    return Proposal(entry.number, NEW, told, _INSERT_TASK, values)


def _of_report(entry: Entry, job: ScheduledJob, status: int, rows: Rows) -> Proposal:
    is_same = bool(job.frequency) and parse(job.frequency) == parse(entry.frequency)
    if is_same and status == ACTIVE:
        return _kept(entry.number, job, status, rows)
    if job.row_id < 0:
        told = (
            f"a line above sends report {-job.row_id} at {job.frequency}, and a report has one time: write both as one"
        )
        return Proposal(entry.number, CANNOT, told)
    # The minus marks a report that a line has spoken for.
    number = job.row_id
    planned = ScheduledJob(REPORT_TABLE, -number, job.name, entry.frequency, job.script, job.arguments)
    rows.jobs[rows.jobs.index((job, status))] = (planned, ACTIVE)
    was = f"{job.frequency}{'' if status == ACTIVE else ', not active'}"
    told = f"report {number} {job.name!r}  {entry.frequency}  (it was {was})"
    values = {"id": number, "frequency": entry.frequency, "status": ACTIVE}
    return Proposal(entry.number, CHANGED, told, _UPDATE[REPORT_TABLE], values)


def _kept(number: int, job: ScheduledJob, status: int, rows: Rows) -> Proposal:
    """Return the proposal for a line that a row says; a row that is paused is resumed."""
    if job.row_id < 0:
        return Proposal(number, THERE, f"a line above says it: {job.name!r}")
    if job.table == REPORT_TABLE:
        spoken_for = ScheduledJob(REPORT_TABLE, -job.row_id, job.name, job.frequency, job.script, job.arguments)
        rows.jobs[rows.jobs.index((job, status))] = (spoken_for, status)
    if status == ACTIVE:
        return Proposal(number, THERE, job.described)
    rows.jobs[rows.jobs.index((job, status))] = (job, ACTIVE)
    return Proposal(
        number,
        CHANGED,
        f"{job} is not active; it is resumed",
        _UPDATE[TASK_TABLE],
        {"id": job.row_id, "status": ACTIVE},
    )


def _sends(job: ScheduledJob, call: Call) -> bool:
    """Return whether the row is the report that the call sends."""
    is_of_one = call.script == job.script and len(call.arguments) == 1 and call.arguments[0].isdecimal()
    return job.table == REPORT_TABLE and is_of_one and int(call.arguments[0]) == abs(job.row_id)


def _does(job: ScheduledJob, call: Call, imports: Mapping[str, str]) -> bool:
    """Return whether the row calls the same job with the same arguments; an import may be named by number or name."""
    if job.table != TASK_TABLE:
        return False
    try:
        _, _, script, *arguments = cron_file.door_arguments(job)
        parse(job.frequency)
    except JobError:
        return False
    wanted = list(call.arguments)
    if call.script == script == "run_import_job.py":
        arguments, wanted = ([imports.get(word, word) for word in words] for words in (arguments, wanted))
    return script == call.script and arguments == wanted
