"""Show what each feed promises and what is missing; learn its labels, or leave it in peace until a time.

Reads   dba.tfeed, dba.timportfile, dba.tdataset, dba.tcalendardays
Writes  labels or snoozed_until of a feed, as etl_owner
Run by  hand

A feed is named by its whole name, in any case, or by its number.

  etl feeds                             a line a feed: when it is due, its last file, what is missing now
  etl feeds --json                      the same for a program
  etl feeds learn "Branch sales"        the labels that came each of the last 10 times, and the UPDATE that awaits them
  etl feeds learn 3 --times 20 --apply  of the last 20 times; and await them
  etl snooze "Branch sales" until 2026-12-28
  etl snooze "Branch sales" until 2026-12-28 09:00
  etl snooze "Branch sales" off
"""

import argparse
import json
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg2.errors import InsufficientPrivilege

from systemscripts import db_config, settings
from systemscripts.cron import slots
from systemscripts.errors import JobError, WrongCall
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say, say_table
from systemscripts.schedule import feed_states
from systemscripts.schedule.feed_states import State
from systemscripts.schedule.promises import Calendar, Feed
from systemscripts.schedule.rows import short_time
from systemscripts.user_utils import current_user

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

log = logging.getLogger(__name__)

COLUMNS = {"feed": 28, "due by": 14, "labels": 6, "last file": 11, "next due": 11, "state": 40}
LONGEST_SNOOZE = timedelta(days=400)
SET_LABELS = "UPDATE dba.tfeed SET labels = %s WHERE feedid = %s"
SNOOZE = "UPDATE dba.tfeed SET snoozed_until = %s, snoozed_by = %s WHERE feedid = %s"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")
    commands = parser.add_subparsers(dest="command", metavar="learn|snooze")
    learn, snooze = (commands.add_parser(name) for name in ("learn", "snooze"))
    learn.add_argument("feed", metavar="NAME")
    learn.add_argument(
        "--times", type=int, default=10, metavar="N", help="how many due times must have it (default 10)"
    )
    learn.add_argument("--apply", action="store_true", help="await these labels from now on")
    snooze.add_argument("feed", metavar="NAME")
    snooze.add_argument("until", nargs="+", metavar="until TIME | off")
    for command in (learn, snooze):
        command.description, command.formatter_class = __doc__, parser.formatter_class


def show(states: list[State], as_json: bool) -> None:
    """Print a line a feed."""
    if as_json:
        say(json.dumps([state._asdict() for state in states], default=str))
    elif states:
        lines = []
        for state in states:
            labels = "any" if state.labels is None else str(state.labels)
            times = short_time(state.last_file), short_time(state.next_due)
            cut = len(state.word) > COLUMNS["state"]
            lines.append([state.name, state.due_by, labels, *times, state.word, state.word if cut else ""])
        say_table(COLUMNS, lines)
    else:
        say("no feed promises anything; copy onboarding/sql/samples/add_feed.sql")


def change(statement: str, values: Sequence[Any]) -> None:
    """Change the feed as the owner of the configuration."""
    try:
        with db_config.session(db_config.OWNER_ROLE) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
    except InsufficientPrivilege as error:
        raise JobError(f"{error.diag.message_primary}; change it as the owner, with PGUSER=etl_owner") from None


def learn(cursor: "Cursor", feed: Feed, args: argparse.Namespace, now: datetime, calendar: Calendar) -> None:
    """Print the labels that came each time, and await them if that is asked for."""
    if not 1 <= args.times <= 100:
        raise WrongCall(f"--times is {args.times}; it must be a number from 1 to 100")
    found = feed_states.learn(cursor, feed, args.times, now, calendar)
    span = f"{args.times} due times from {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}"
    if not found.always:
        seen = ", ".join(f"{label} ({count})" for label, count in found.at_times.items())
        raise WrongCall(f"feed {feed.name}: no label came at each of the {span}; there were: {seen}")
    say(
        f"{len(found.always)} {'label' if len(found.always) == 1 else 'labels'} came at each of the {span}: {', '.join(found.always)}"
    )
    if found.at_times:
        seen = ", ".join(f"{label} ({count} times)" for label, count in found.at_times.items())
        say(f"not each time, and not awaited: {seen}")
    if gone := sorted(set(feed.labels or ()) - set(found.always)):
        say(f"awaited until now, and no more: {', '.join(gone)}")
    values = (found.always, feed.id)
    if args.apply:
        change(SET_LABELS, values)
        log.info("feed %s awaits these labels from now on", feed.name)
    else:
        say("", f"{cursor.mogrify(SET_LABELS, values).decode()};", "--apply does that")


def end_of_snooze(words: Sequence[str], now: datetime, calendar: Calendar) -> datetime | None:
    """Return until when, None for `off`; raises WrongCall for what is no time to come."""
    if list(words) == ["off"]:
        return None
    text = " ".join(words[1:])
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        until = None
    if words[0] != "until" or until is None:
        raise WrongCall(
            f"{' '.join(words)!r} is no end; type: etl snooze NAME until 2026-12-28 09:00, or etl snooze NAME off"
        )
    until = until if until.tzinfo else until.replace(tzinfo=calendar.zone)
    if not now < until < now + LONGEST_SNOOZE:
        raise WrongCall(
            f"{text} is not within the next {LONGEST_SNOOZE.days} days; to pause a feed without an end, type: etl pause NAME"
        )
    return until


def main(args: argparse.Namespace) -> int:
    """Return 0."""
    now = settings.now()
    with db_config.session() as connection, connection, connection.cursor() as cursor:
        calendar = Calendar(cursor, now, slots.cron_zone())
        if args.command is None:
            show(feed_states.states(cursor, now, calendar), args.json)
            return 0
        feed = feed_states.find(cursor, args.feed)
        if args.command == "learn":
            learn(cursor, feed, args, now, calendar)
            return 0
    until = end_of_snooze(args.until, now, calendar)
    change(SNOOZE, (until, current_user() if until else None, feed.id))
    if until:
        log.info("feed %s is snoozed: what is due until %s is not missing", feed.name, f"{until:%a %Y-%m-%d %H:%M %Z}")
    else:
        log.info("feed %s is not snoozed any more", feed.name)
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
