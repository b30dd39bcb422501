"""The promises of feeds: what did not come is told once, on its day, and nothing on days without business."""

import contextlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import psycopg2.errors
import pytest
import test_generic_import
from conftest import Installation
from feed_year import Year
from schedule_simulation import Simulation, simulation
from smtp_server import OWNER, mail_server

from systemscripts import settings
from systemscripts.cron.expression import parse
from systemscripts.mail import smtp
from systemscripts.mail.composing import MailError, MailUnavailable
from systemscripts.schedule import alerts, quiet_hours, reminders

HAND_OVER = alerts.hand_over


@pytest.fixture
def berlin(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    with simulation(etl, monkeypatch, "Europe/Berlin") as simulated:
        simulated.only()
        yield simulated


def add_import(simulated: Simulation, name: str = "sales", source: str = "Acme") -> int:
    etl = simulated.etl
    etl.query("INSERT INTO dba.tdatasource (sourcename) VALUES (%s) ON CONFLICT DO NOTHING", source)
    etl.query("INSERT INTO dba.tdatasettype (typename) VALUES (%s)", name)
    return int(
        etl.value(
            "INSERT INTO dba.timportconfig (config_name, datasource, datasettype, source_directory, archive_directory, file_pattern, "
            "file_type, metadata_label_source, dateconfig, metadata_label_location, datelocation, target_table) "
            "VALUES (%s, %s, %s, '/in/x', '/archive/x', '*.csv', 'CSV', 'static', 'filename', 'x', '0', 'public.' || %s) "
            "RETURNING config_id",
            name, source, name, name,
        )
    )  # fmt: skip


def add_feed(simulated: Simulation, config_id: int | None, name: str = "Sales", **more: Any) -> int:
    values = {"feedname": name, "config_id": config_id, "due_by": "0 7 * * *", "for_date": "same day"}
    values |= {"active_since": datetime(2026, 1, 1, tzinfo=UTC), **more}
    columns, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    return int(
        simulated.etl.value(f"INSERT INTO dba.tfeed ({columns}) VALUES ({marks}) RETURNING feedid", *values.values())
    )


def come(simulated: Simulation, config_id: int, when: str, *labels: str, day: str | None = None) -> None:
    """Let a file of each label be loaded at a time such as `03-03 06:10`, with that day as its date."""
    for label in labels or ("x",):
        simulated.etl.query(
            "WITH d AS (INSERT INTO dba.tdataset (datasetdate, label, datasettypeid, datasourceid, datastatusid) "
            "SELECT %s, %s, datasettypeid, datasourceid, 1 FROM dba.timportconfig JOIN dba.tdatasettype ON typename = datasettype "
            "JOIN dba.tdatasource ON sourcename = datasource WHERE config_id = %s RETURNING datasetid) "
            "INSERT INTO dba.timportfile (config_id, file_name, sha256, status, datasetid, created_at) "
            "SELECT %s, %s, md5(random()::text) || md5(''), 'Loaded', datasetid, %s FROM d",
            f"2026-{day or when[:5]}", label, config_id, config_id, f"{label}.csv", simulated.local(when),
        )  # fmt: skip


def refuse(simulated: Simulation, config_id: int, when: str, reason: str, status: str = "Failed") -> None:
    simulated.etl.query(
        "INSERT INTO dba.timportfile (config_id, file_name, status, error, created_at) VALUES (%s, 'bad.csv', %s, %s, %s)",
        config_id, status, reason, simulated.local(when),
    )  # fmt: skip


def hold(simulated: Simulation, label: str) -> None:
    """Hold the newest dataset of a label."""
    simulated.etl.query(
        "UPDATE dba.tdataset SET datastatusid = (SELECT datastatusid FROM dba.tdatastatus WHERE statusname = 'Held') "
        "WHERE datasetid = (SELECT max(datasetid) FROM dba.tdataset WHERE label = %s)", label,
    )  # fmt: skip


def watch(simulated: Simulation, start: str, end: str) -> None:
    simulated.run(simulated.local(start), simulated.local(end))


def mails(simulated: Simulation) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(f"{mail.time.astimezone(simulated.zone):%m-%d %H:%M}", mail.headings) for mail in simulated.mails]


def test_what_did_not_come_is_told_after_its_grace_and_once_more_when_it_came(berlin: Simulation) -> None:
    config = add_import(berlin)
    add_feed(berlin, config)
    come(berlin, config, "03-02 06:30")
    come(berlin, config, "03-03 09:05")
    watch(berlin, "03-02 05:00", "03-03 12:00")

    assert mails(berlin) == [("03-03 07:30", [("MISSING", "Sales")]), ("03-03 09:15", [("over: missing", "Sales")])]
    assert "no file for 2026-03-03 came; seen since Mon 2026-03-02 07:00 CET: nothing" in berlin.mails[0].text
    assert "etl imports sales --last 5" in berlin.mails[0].text
    assert "all of it came; the last was loaded Tue 2026-03-03 09:05 CET" in berlin.mails[1].text


def test_labels_are_named_and_what_was_seen_instead(berlin: Simulation) -> None:
    config = add_import(berlin)
    labels = [f"1192{number:02}" for number in range(29)]
    add_feed(berlin, config, labels=labels)
    come(berlin, config, "03-02 06:30", *labels)
    come(berlin, config, "03-03 06:30", *labels[9:])
    come(berlin, config, "03-03 06:31", "999999")
    come(berlin, config, "03-03 06:32", labels[0], day="03-02")
    refuse(berlin, config, "03-03 06:40", "line 3: it has 1 field")
    hold(berlin, labels[9])
    watch(berlin, "03-02 05:00", "03-03 12:00")

    held, mail = berlin.mails  # the one that is held was told at the check before
    assert "HELD" in held.text
    assert "119200, 119201 and 7 more for 2026-03-03 did not come (missing: 9 of 29 lists)" in mail.text
    assert "1 refused, the last bad.csv: line 3: it has 1 field" in mail.text
    assert "2 not awaited" in mail.text
    assert "the last one was 119200 for 2026-03-02" in mail.text
    assert f"held until a person decides: {labels[9]}" in mail.text


def test_a_label_that_stays_away_is_told_once_and_a_further_one_anew(berlin: Simulation) -> None:
    config = add_import(berlin)
    add_feed(berlin, config, labels=["a", "b", "c"])
    come(berlin, config, "03-02 06:30", "a", "b")
    come(berlin, config, "03-03 06:30", "a", "b")
    come(berlin, config, "03-04 06:30", "a")
    come(berlin, config, "03-05 06:30", "a", "b", "c")
    watch(berlin, "03-02 05:00", "03-05 12:00")

    assert mails(berlin) == [
        ("03-02 07:30", [("MISSING", "Sales")]),
        ("03-04 07:30", [("MISSING", "Sales")]),
        ("03-05 07:30", [("over: missing", "Sales")]),
    ]
    assert "b, c for 2026-03-04 did not come (missing: 2 of 3 lists)" in berlin.mails[1].text
    assert "it did not come, but all that was due by Thu 2026-03-05 07:00 CET did" in berlin.mails[2].text
    assert [row[2] for row in berlin.incidents()] == [2, 1]


def test_days_without_business_are_none_and_the_first_of_a_month_is_the_next_one(berlin: Simulation) -> None:
    config = add_import(berlin)
    add_feed(berlin, config, due_by="0 7 1 * *", for_date="previous business day")
    add_feed(berlin, config, "Daily", for_date=None)
    # 1 to 3 May 2026: Friday to Sunday; 25 May is Memorial Day.
    come(berlin, config, "05-21 06:30")
    come(berlin, config, "05-22 06:30")
    watch(berlin, "05-22 05:00", "05-26 07:00")
    assert mails(berlin) == []
    watch(berlin, "05-26 07:00", "05-26 12:00")
    assert mails(berlin) == [("05-26 07:30", [("MISSING", "Daily")])]

    berlin.forget()
    berlin.etl.query("DELETE FROM dba.tfeed WHERE feedname = 'Daily'")
    come(berlin, config, "08-03 06:30", day="07-30")  # 1 August is a Saturday
    watch(berlin, "08-01 05:00", "08-03 12:00")
    assert mails(berlin) == [("08-03 07:30", [("MISSING", "Sales")])]
    assert "no file for 2026-07-31 came" in berlin.mails[0].text


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE dba.tfeed SET datastatusid = 2",
        "UPDATE dba.tfeed SET snoozed_until = '2026-03-04 06:00+01'",
        "UPDATE dba.timportconfig SET is_active = B'0'",
        "DELETE FROM dba.tfeed",
    ],
)
def test_a_feed_that_is_paused_snoozed_off_or_gone_has_no_incident(berlin: Simulation, change: str) -> None:
    config = add_import(berlin)
    add_feed(berlin, config)
    watch(berlin, "03-02 05:00", "03-02 12:00")
    berlin.etl.query(change)
    watch(berlin, "03-02 12:00", "03-04 07:00")
    assert mails(berlin) == [("03-02 07:30", [("MISSING", "Sales")])]
    assert berlin.incidents() == [("missing", "Sales", 1, "03-02 07:00", "03-02 07:00")]


def test_what_is_due_after_the_snooze_counts_again(berlin: Simulation) -> None:
    config = add_import(berlin)
    add_feed(berlin, config, snoozed_until=berlin.local("03-03 07:10"))
    watch(berlin, "03-02 05:00", "03-04 08:00")
    assert mails(berlin) == [("03-04 07:30", [("MISSING", "Sales")])]


def test_a_source_that_is_away_is_one_mail_with_one_block(berlin: Simulation) -> None:
    for number in range(30):
        add_feed(berlin, add_import(berlin, f"list_{number:02}"), f"List {number:02}")
    add_feed(berlin, add_import(berlin, "other", "Bolt"), "Other")
    watch(berlin, "03-02 05:00", "03-02 12:00")

    (mail,) = berlin.mails
    assert mail.subject.endswith("31 missing")
    assert "MISSING  30 feeds of Acme  (dba.tfeed)\n" in mail.text
    assert mail.headings == [("MISSING", "Other")]
    assert [f"List {number:02}: no file" in mail.text for number in range(30)] == [True] * 30


def test_each_reader_gets_the_own_feeds_and_a_low_severity_is_not_mailed(berlin: Simulation) -> None:
    config = add_import(berlin)
    add_feed(berlin, config)
    add_feed(berlin, config, "Theirs", told="them@example.com")
    add_feed(berlin, config, "Quiet", severity="low")
    watch(berlin, "03-02 05:00", "03-02 08:00")
    assert [(mail.reader, mail.headings) for mail in berlin.mails] == [
        ("", [("MISSING", "Sales")]),
        ("them@example.com", [("MISSING", "Theirs")]),
    ]
    assert berlin.etl.value("SELECT count(*) FROM dba.tincident WHERE told_at IS NOT NULL") == 3


def test_the_owner_gets_what_the_readers_of_a_feed_can_never_get(
    berlin: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hand_over(subject: str, text: str, note: Callable[[], None], _take_back: Any = None, reader: str = "") -> None:
        if reader:
            raise MailError("there is no such mailbox")
        berlin.hand_over(subject, text, note)

    monkeypatch.setattr(alerts, "hand_over", hand_over)
    add_feed(berlin, add_import(berlin), told="gone@example.com")
    watch(berlin, "03-02 05:00", "03-02 09:00")
    (mail,) = berlin.mails
    assert mail.text.startswith("For gone@example.com, who cannot get it: there is no such mailbox\n")
    assert mail.headings == [("MISSING", "Sales")]


def test_known_content_and_what_was_taken_back_did_not_come(berlin: Simulation) -> None:
    config = add_import(berlin)
    add_feed(berlin, config, for_date=None)
    come(berlin, config, "03-02 06:30")
    berlin.etl.query("UPDATE dba.timportfile SET status = 'Undone', error = 'wrong list'")
    refuse(berlin, config, "03-02 06:40", "known", "Duplicate")
    watch(berlin, "03-02 05:00", "03-02 08:00")
    (mail,) = berlin.mails
    assert "1 of known content, the last bad.csv: this was loaded before" in mail.text
    assert "1 taken back, the last x.csv: wrong list" in mail.text


def test_a_check_after_days_of_silence_and_the_same_check_again(berlin: Simulation) -> None:
    config = add_import(berlin)
    add_feed(berlin, config, labels=["a", "b"])
    come(berlin, config, "03-02 06:30", "a", "b")
    come(berlin, config, "03-03 06:30", "a")
    watch(berlin, "03-02 05:00", "03-02 08:00")
    berlin.now = berlin.local("03-05 08:00")
    berlin.check()
    state = berlin.state()
    berlin.check()

    assert mails(berlin) == [("03-05 08:00", [("MISSING", "Sales")])]
    assert "a, b for 2026-03-05 did not come (missing: 2 of 2 lists)" in berlin.mails[0].text
    assert berlin.state() == state


def test_a_change_of_the_clock_moves_no_promise(berlin: Simulation) -> None:
    config = add_import(berlin)
    add_feed(berlin, config, due_by="30 2 * * *", business_days_only=False, grace_minutes=0)
    for day in ("03-28", "03-29", "03-30", "10-24", "10-25", "10-26"):
        come(berlin, config, f"{day} 01:30")
    watch(berlin, "03-28 00:00", "03-30 06:00")
    berlin.etl.query("DELETE FROM dba.tschedulecheck")
    watch(berlin, "10-24 00:00", "10-26 06:00")
    assert (mails(berlin), berlin.incidents()) == ([], [])


# ---- from whom -----------------------------------------------------------------------------


def add_rule(simulated: Simulation, name: str, directory: str = "/in/x") -> int:
    return int(
        simulated.etl.value(
            "INSERT INTO dba.tinboxconfig (config_name, gmail_account, is_active, has_attachment, local_repository_path) "
            "VALUES (%s, 'feeds@example.com', true, true, %s) RETURNING config_id", name, directory,
        )
    )  # fmt: skip


def mail_comes(
    simulated: Simulation,
    rule: int,
    sender: str,
    when: str,
    status: str = "Saved",
    directory: str = "/in/x",
    import_id: int = 0,
) -> None:
    """Let a mail come with one file, which is put down and, by an import, loaded a minute later."""
    moment, content = simulated.local(when), f"{sender} {when}"
    reason = "it is damaged" if status == "Failed" else None
    message = simulated.etl.value(
        "INSERT INTO dba.tinboxmessage (account, mailbox_id, config_id, status, reason, sender, subject, created_at) "
        "VALUES ('feeds@example.com', %s, %s, %s, %s, %s, 'Prices', %s) RETURNING messageid",
        content, rule, status, reason, sender, moment,
    )  # fmt: skip
    if status != "Saved":
        return
    simulated.etl.query(
        "INSERT INTO dba.treceivedfile (messageid, name, directory, file_name, file_size, sha256, status, saved_path, created_at) "
        "VALUES (%s, 'a.csv', %s, 'a.csv', 1, encode(sha256(%s::bytea), 'hex'), 'Saved', %s || '/a.csv', %s)",
        message, directory, content, directory, moment,
    )  # fmt: skip
    if import_id:
        come(simulated, import_id, when)
        simulated.etl.query(
            "UPDATE dba.timportfile SET sha256 = encode(sha256(%s::bytea), 'hex'), source_path = %s || '/a.csv', "
            "created_at = created_at + interval '1 minute' WHERE importfileid = (SELECT max(importfileid) FROM dba.timportfile)",
            content, directory,
        )  # fmt: skip


def test_the_mail_of_one_of_several_senders_of_an_import_is_missing_although_the_others_came(
    berlin: Simulation,
) -> None:
    config, rule = add_import(berlin), add_rule(berlin, "Acme_Mail")
    for name, by in (("A", "mail:data@a.example"), ("B", "mail:@B.example"), ("Rule", "inbox:Acme_Mail")):
        add_feed(berlin, config, name, arrives_by=by)
    for sender in ("data@a.example", "list@b.example"):
        mail_comes(berlin, rule, sender, "03-02 06:00", import_id=config)
    mail_comes(berlin, rule, "data@a.example", "03-03 06:00", import_id=config)
    mail_comes(berlin, rule, "list@not-b.example", "03-03 06:05", import_id=config)
    mail_comes(berlin, rule, "list@b.example", "03-03 06:10", "Failed")
    mail_comes(berlin, rule, "list@b.example", "03-03 09:00", import_id=config)
    watch(berlin, "03-02 05:00", "03-03 12:00")

    assert mails(berlin) == [("03-03 07:30", [("MISSING", "B")]), ("03-03 09:15", [("over: missing", "B")])]
    text = berlin.mails[0].text
    assert (
        "no mail of @B.example for 2026-03-03 came; seen since Mon 2026-03-02 07:00 CET: 1 that could not be taken, "
        in text
    )
    assert "the last 'Prices': it is damaged" in text
    assert "the last one came Mon 2026-03-02 06:00 CET" in text


def test_what_is_only_put_down_is_awaited_without_an_import(berlin: Simulation) -> None:
    first, _ = add_rule(berlin, "First"), add_rule(berlin, "Second", "/in/y")
    client = berlin.etl.value(
        "INSERT INTO dba.texchangeconfig (config_name, incoming_path, local_repository_path) "
        "VALUES ('acme', '/srv/in', '/in/z') RETURNING config_id"
    )
    for by in ("inbox:First", "inbox:Second", "sftp:acme", "mail:data@a.example"):
        add_feed(berlin, None, by, arrives_by=by, for_date=None)
    mail_comes(berlin, first, "data@a.example", "03-02 06:00")
    mail_comes(berlin, first, "data@a.example", "03-02 06:00:01", directory="/in/y")  # a file for the second rule
    sftp = (
        "INSERT INTO dba.treceivedfile (sftp_config_id, name, directory, file_name, file_size, sha256, status, saved_path, created_at, "
        "original_id) VALUES (%s, 'z.csv', '/in/z', 'z.csv', 1, encode(sha256('z'), 'hex'), %s, '/in/z/z.csv', %s, "
        "CASE WHEN %s = 'Duplicate' THEN (SELECT min(receivedfileid) FROM dba.treceivedfile) END)"
    )
    for when, status in (("03-02 06:00", "Saved"), ("03-03 06:00", "Duplicate")):
        berlin.etl.query(sftp, client, status, berlin.local(when), status)
    mail_comes(berlin, first, "data@a.example", "03-03 06:00")
    watch(berlin, "03-02 05:00", "03-03 12:00")

    assert mails(berlin) == [("03-03 07:30", [("MISSING", "inbox:Second"), ("MISSING", "sftp:acme")])]
    text = berlin.mails[0].text
    assert "no file by the SFTP client acme came; seen since Mon 2026-03-02 07:00 CET: 1 of known content, " in text
    assert "the last 'z.csv'; the last one came Mon" in text
    assert "etl sql -c 'SELECT * FROM dba.varrival ORDER BY 1 DESC LIMIT 5'" in text
    rows = json.loads(feeds(berlin, "--json").stdout)
    assert [(row["name"], str(row["last_file"])[:16]) for row in rows if "Second" in row["name"]] == [
        ("inbox:Second", "2026-03-02 05:00")
    ]
    assert "no labels" in feeds(berlin, "learn", "sftp:acme").stderr
    berlin.etl.query("UPDATE dba.texchangeconfig SET is_active = false")
    assert "its import or its rule is off" in feeds(berlin).stdout
    berlin.etl.query("UPDATE dba.texchangeconfig SET config_name = 'renamed', is_active = true")
    assert feeds(berlin, "snooze", "sftp:acme", "until", "2026-03-05").returncode == 0


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"arrives_by": "sftp:gone"},
            "arrives_by is 'sftp:gone', and no such row is in dba.texchangeconfig; there are: none",
        ),
        (
            {"arrives_by": "acme"},
            "arrives_by must be inbox:NAME, sftp:NAME, cloud:NAME, mail:list@acme.com or mail:@acme.com; here",
        ),
        ({"arrives_by": "mail:a@b.c, d@e.f"}, "arrives_by must be inbox:NAME"),
        ({"arrives_by": "mail:@b.c", "labels": ["x"]}, "a promise needs a config_id, or else an arrives_by"),
        ({}, "a promise needs a config_id, or else an arrives_by"),
    ],
)
def test_a_promise_of_nobody_is_refused(berlin: Simulation, values: dict[str, Any], told: str) -> None:
    with pytest.raises(psycopg2.Error, match=f"^{re.escape(told)}"):
        add_feed(berlin, None, for_date=None, **values)


# ---- the quiet hours -----------------------------------------------------------------------


@pytest.fixture
def quiet(berlin: Simulation, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    monkeypatch.setenv("ETL_QUIET_HOURS", "22:00-06:00")
    return berlin


def at_night(simulated: Simulation, config: int, name: str, due_by: str, **more: Any) -> int:
    return add_feed(simulated, config, name, due_by=due_by, business_days_only=False, **more)


@pytest.mark.parametrize(
    "first", ["03-02", "03-28", "10-24"], ids=["an ordinary night", "into summer", "out of summer"]
)
def test_what_is_not_urgent_waits_for_the_end_of_the_quiet_hours_and_is_one_mail(quiet: Simulation, first: str) -> None:
    config, second = add_import(quiet), f"{first[:3]}{int(first[3:]) + 1:02}"
    came_late = add_import(quiet, "late")
    for name, due_by in (("Evening", "0 21 * * *"), ("Night", "0 23 * * *"), ("Early", "40 2 * * *")):
        at_night(quiet, config, name, due_by)
    at_night(quiet, config, "Urgent", "30 23 * * *", severity="high")
    at_night(quiet, came_late, "Came late", "15 1 * * *")
    at_night(quiet, config, "Paused", "0 0 * * *")
    for name in ("Early", "Paused", "Came late"):  # they are due for the second day only
        quiet.etl.query(
            "UPDATE dba.tfeed SET active_since = %s WHERE feedname = %s", quiet.local(f"{first} 20:00"), name
        )
    come(quiet, came_late, f"{second} 04:30")
    watch(quiet, f"{first} 20:00", f"{second} 05:00")
    quiet.etl.query("UPDATE dba.tfeed SET datastatusid = 2 WHERE feedname = 'Paused'")
    watch(quiet, f"{second} 05:00", f"{second} 12:00")

    assert mails(quiet) == [
        (f"{first} 21:30", [("MISSING", "Evening")]),
        (f"{second} 00:00", [("MISSING", "Urgent")]),
        (f"{second} 06:00", [("MISSING", "Night"), ("MISSING", "Early"), ("MISSING", "Came late")]),
    ]
    of_the_late = quiet.mails[2].text.partition("MISSING  Came late")[2]
    assert "It is over: the check on" in of_the_late
    assert "etl snooze" not in of_the_late
    assert quiet.etl.value("SELECT count(*) FROM dba.tincident WHERE told_at IS NULL") == 0


def test_quiet_hours_that_end_in_the_repeated_hour_are_one_span(
    quiet: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_QUIET_HOURS", "02:10-02:40")
    start = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)  # 02:00 summer time
    found = [quiet_hours.end_of(start + timedelta(minutes=minute), quiet.zone) for minute in range(0, 120, 10)]
    end = datetime(2026, 10, 25, 1, 40, tzinfo=UTC)  # 02:40 winter time
    assert found == [None, *[end] * 9, None, None]
    monkeypatch.setenv("ETL_QUIET_HOURS", "none")
    assert quiet_hours.end_of(start, quiet.zone) is None  # a slip keeps no mail back


@pytest.mark.parametrize("hours", ["22:00", "22:00-22:00", "22-25", "a-b", "22:00-06:00-07:00"])
def test_quiet_hours_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, hours: str) -> None:
    monkeypatch.setenv("ETL_QUIET_HOURS", hours)
    with pytest.raises(settings.SettingError, match="must be two times of a day, such as 22:00-06:30"):
        settings.quiet_hours()


def test_the_severity_of_a_job_decides_too_and_a_dry_run_says_when_the_mail_comes(quiet: Simulation) -> None:
    for name in ("low", "normal", "high"):
        quiet.add_task(name, "0 23 * * *", severity=name)
    watch(quiet, "03-02 22:00", "03-03 07:00")
    assert mails(quiet) == [("03-02 23:15", [("MISSED", "high")]), ("03-03 06:00", [("MISSED", "normal")])]
    quiet.etl.query("UPDATE dba.tincident SET told_at = NULL WHERE name = 'normal'")
    said = quiet.etl.door(
        "check_schedule.py", "--dry-run", ETL_CLOCK="2026-03-03T05:50:00+00:00", ETL_QUIET_HOURS="22:00-06:00"
    )
    assert said.stdout == "nothing to tell before Tue 2026-03-03 06:00 UTC, the end of the quiet hours\n"


def test_a_check_that_is_killed_while_it_mails_mails_nothing_twice_and_one_that_fails_does(
    berlin: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    handed: list[str] = []
    ends: list[BaseException | None] = [MailUnavailable("the mail server is away", [OWNER]), Killed(), None]

    def send(
        message: EmailMessage, recipients: list[str], about_to_send: Callable[[list[str]], None]
    ) -> dict[str, str]:
        about_to_send(recipients)
        handed.append(str(message["Subject"]).partition("] ")[2])
        if (end := ends.pop(0)) is not None:
            raise end
        return {}

    monkeypatch.setattr(alerts, "hand_over", HAND_OVER)
    monkeypatch.setenv("ETL_EMAIL", "etl@example.com")
    monkeypatch.setenv("ETL_ALERT_EMAIL", OWNER)
    monkeypatch.setattr(smtp, "send", send)
    config = add_import(berlin)
    add_feed(berlin, config)
    watch(berlin, "03-02 05:00", "03-02 07:15")
    for end in (MailUnavailable, Killed):
        berlin.now = berlin.local("03-02 07:30")
        with pytest.raises(end):
            berlin.check()
        berlin.connection.rollback()
    come(berlin, config, "03-02 08:00")
    watch(berlin, "03-02 07:45", "03-02 09:00")
    assert handed == ["missing: Sales", "missing: Sales", "over: missing: Sales"]


# ---- the command ---------------------------------------------------------------------------

NOON = "2026-03-03T12:00:00+01:00"


def feeds(simulated: Simulation, *words: str, clock: str = NOON, **more: str) -> "subprocess.CompletedProcess[str]":
    return simulated.etl.door("feeds.py", *words, ETL_CLOCK=clock, **more)


def test_a_line_a_feed_says_what_is_promised_what_came_and_what_is_missing(berlin: Simulation) -> None:
    config = add_import(berlin)
    assert "no feed promises anything" in feeds(berlin).stdout
    utc = {"due_by": "0 5 * * *"}  # the job runs in the machine's own zone
    add_feed(berlin, config, "Sales", labels=["a", "b"], **utc)
    add_feed(berlin, config, "Any", **utc)
    add_feed(berlin, config, "Slow", labels=["b"], grace_minutes=10080, **utc)
    add_feed(berlin, config, "Off", datastatusid=2, **utc)
    add_feed(berlin, config, "Asleep", snoozed_until="2026-03-09", **utc)
    add_feed(berlin, config, "New", active_since="2026-03-03 11:00+01", **utc)
    add_feed(berlin, config, "Leap", due_by="0 5 29 2 *")
    come(berlin, config, "03-03 05:30", "a")

    said = feeds(berlin)
    assert said.returncode == 0, said.stderr
    state = {line[:28].strip(): line[80:].strip() for line in said.stdout.splitlines()[1:]}
    assert state == {
        "Any": "arrived", "Asleep": "snoozed until 03-09 00:00", "Leap": "not due within a year", "New": "not due yet", "Off": "paused",
        "Sales": "missing: b of 2", "Slow": "late: b of 1",
    }  # fmt: skip
    found = {row["name"]: row for row in json.loads(feeds(berlin, "--json").stdout)}
    assert (found["Sales"]["lack"], found["Sales"]["labels"], found["Any"]["labels"]) == (["b"], 2, None)


@pytest.mark.parametrize(
    "due_by",
    [
        "@reboot",
        "0 7 31 2 *",
        "0 7 31 feb,apr *",
        "0 7 30-31 2 *",
        "50-10 7 * * *",
        "0 7 20-10 * 5-1",
        "0 7 * * fri-mon",
        "0 7 31#1,1 2 *",
    ],
)
def test_a_promise_of_a_time_that_never_comes_is_refused(berlin: Simulation, due_by: str) -> None:
    config = add_import(berlin)
    assert not parse(due_by).has_times()
    with pytest.raises(
        psycopg2.errors.CheckViolation, match=r"^due_by must be a time that comes, .*; here due_by is '"
    ):
        add_feed(berlin, config, due_by=due_by)


@pytest.mark.parametrize(
    "due_by",
    ["@daily", "0 7 29 2 *", "0 7 31 2 mon", "*/15 7,8 1-31/10 JAN-mar *", "0 7 * * 7", "5 7 31#1 1 *", "0 7 * 2 5-5"],
)
def test_a_promise_of_a_time_that_comes_is_accepted(berlin: Simulation, due_by: str) -> None:
    assert parse(due_by).has_times()
    add_feed(berlin, add_import(berlin), due_by=due_by)


def test_before_the_first_check_all_commands_say_what_is_missing(berlin: Simulation) -> None:
    add_feed(berlin, add_import(berlin), due_by="0 5 * * *")
    missing = {command: berlin.etl.door(command, *words, ETL_CLOCK=NOON).stdout for command, *words in (
        ["feeds.py"], ["show_state.py"], ["check_schedule.py", "--dry-run"],
    )}  # fmt: skip
    assert missing["feeds.py"].endswith("missing: no file\n")
    assert "\nnot come   Sales\n" in missing["show_state.py"]
    assert missing["check_schedule.py"] == (
        "no check has run yet; the first one begins the watch, and tells nothing of what was due before it. "
        "Missing already, see etl feeds: Sales\n"
    )
    berlin.now = datetime.fromisoformat(NOON)
    berlin.check()
    assert berlin.etl.door("check_schedule.py", "--dry-run", ETL_CLOCK=NOON).stdout == "nothing to tell\n"


def test_a_dataset_that_is_held_came_and_is_named(berlin: Simulation) -> None:
    config = add_import(berlin)
    add_feed(berlin, config, due_by="0 5 * * *")
    come(berlin, config, "03-03 05:30", "Bern")
    hold(berlin, "Bern")
    assert feeds(berlin).stdout.endswith("arrived, held: Bern\n")


def test_a_file_that_the_import_has_loaded_came(etl: Installation) -> None:
    test_generic_import.add_import(etl)
    etl.query(
        "INSERT INTO dba.tfeed (feedname, config_id, due_by, business_days_only, active_since) "
        "SELECT 'Clients', config_id, '0 0 * * *', false, '2026-01-01' FROM dba.timportconfig WHERE config_name = 'clients'"
    )
    assert etl.door("feeds.py").stdout.endswith(" no file\n")
    test_generic_import.drop_file(etl, "a\n1\n")
    assert etl.door("run_import_job.py", "clients").returncode == 0
    assert etl.door("feeds.py").stdout.endswith(" arrived\n")


def test_labels_are_learned_and_awaited_when_they_came_each_time(berlin: Simulation) -> None:
    config = add_import(berlin)
    add_feed(berlin, config, "Sales", due_by="0 5 * * *", labels=["z"])
    for day in range(23, 28):
        come(berlin, config, f"02-{day} 04:30", "a", "b", *(["now and then"] if day % 2 else []))

    said = feeds(berlin, "learn", "sales", "--times", "5")
    assert "2 labels came at each of the 5 due times from 2026-02-23 to 2026-02-27: a, b" in said.stdout
    assert "not each time, and not awaited: now and then (3 times)" in said.stdout
    assert "awaited until now, and no more: z" in said.stdout
    assert "UPDATE dba.tfeed SET labels = ARRAY['a','b'] WHERE feedid = 1;" in said.stdout
    assert feeds(berlin, "learn", "1", "--times", "5", "--apply").returncode == 0
    assert berlin.etl.value("SELECT labels FROM dba.tfeed") == ["a", "b"]
    too_many = feeds(berlin, "learn", "Sales", "--times", "6")
    assert (too_many.returncode, "something came at only 5 of its last due times" in too_many.stderr) == (64, True)


def test_of_feeds_that_differ_only_in_case_none_is_taken_for_the_other(berlin: Simulation) -> None:
    config = add_import(berlin)
    first, second = (add_feed(berlin, config, name) for name in ("Sales", "sales"))
    for wanted, meant in (("sales", second), ("Sales", first), (str(second), second)):
        assert feeds(berlin, "snooze", wanted, "until", "2026-03-05").returncode == 0
        assert berlin.etl.query("SELECT feedid FROM dba.tfeed WHERE snoozed_until IS NOT NULL") == [(meant,)], wanted
        assert feeds(berlin, "snooze", wanted, "off").returncode == 0
    unclear = feeds(berlin, "snooze", "SALES", "off")
    assert (
        unclear.returncode,
        "2 feeds could be 'SALES', give the number; there are: 1 'Sales', 2 'sales'" in unclear.stderr,
    ) == (64, True)


def test_a_feed_is_paused_with_a_reason_until_it_is_resumed(berlin: Simulation) -> None:
    etl = berlin.etl
    feed = add_feed(berlin, add_import(berlin), due_by="0 5 * * *")
    said = etl.door("jobs.py", "pause", "sales", "--reason", "they\n\x1b[31mmove")
    assert said.returncode == 0, said.stderr
    assert "nothing of it is missing until it is resumed" in said.stderr
    assert "cron file" not in said.stderr
    by = etl.value("SELECT paused_by FROM dba.tfeed")
    told = re.compile(rf"paused since \d\d-\d\d \d\d:\d\d by {by}: they .*move\n")
    assert told.search(feeds(berlin, clock="").stdout)
    assert re.search(r"\nnot come   nothing is missing; Sales paused since ", etl.door("show_state.py").stdout)
    assert "is paused already" in etl.door("jobs.py", "pause", f"feed:{feed}").stderr

    assert etl.door("jobs.py", "resume", f"feed:{feed}").returncode == 0
    assert etl.query("SELECT datastatusid, paused_since, paused_by, paused_reason FROM dba.tfeed") == [
        (1, None, None, None)
    ]
    assert etl.value("SELECT active_since > now() - interval '1 minute' FROM dba.tfeed")
    etl.query("UPDATE dba.tfeed SET datastatusid = 2", user="etl_owner")
    assert etl.query("SELECT paused_by, paused_since IS NOT NULL FROM dba.tfeed") == [("etl_owner", True)]
    refused = etl.door("jobs.py", "pause", "1", "--reason", "no")
    assert (refused.returncode, "--reason is kept with the promise of a feed only" in refused.stderr) == (64, True)
    assert etl.door("jobs.py", "run", "sales").returncode == 64


def test_a_snooze_has_an_end_and_can_be_taken_off(berlin: Simulation) -> None:
    add_feed(berlin, add_import(berlin), "Sales")
    assert feeds(berlin, "snooze", "sales", "until", "2026-03-05", "09:00").returncode == 0
    until, by = berlin.etl.query("SELECT snoozed_until, snoozed_by FROM dba.tfeed")[0]
    assert (until.date().isoformat(), bool(by)) == ("2026-03-05", True)
    assert feeds(berlin, "snooze", "sales", "off").returncode == 0
    assert berlin.etl.query("SELECT snoozed_until, snoozed_by FROM dba.tfeed") == [(None, None)]
    for words, told in (
        (["until"], "is no end"),
        (["until", "soon"], "is no end"),
        (["2026-03-05"], "is no end"),
        (["until", "2026-03-02"], "is not within the next 400 days"),
    ):
        said = feeds(berlin, "snooze", "Sales", *words)
        assert (said.returncode, told in said.stderr) == (64, True), said.stderr
    assert "no feed is 'Salles'; there are: 1 'Sales'" in feeds(berlin, "snooze", "Salles", "off").stderr


# ---- a year --------------------------------------------------------------------------------


def test_a_year_of_sixty_feeds_has_its_faults_found_on_their_days_and_next_to_no_false_alarm(
    berlin: Simulation,
) -> None:
    with contextlib.closing(berlin.etl.connect()) as superuser:
        year = Year(superuser, faults=200)
        # Each day when the promises of the morning are over.
        figures = year.watched(
            berlin.connection, superuser, lambda day: [datetime.combine(day, time(10, 30), berlin.zone)]
        )
    assert figures.faults == 200
    assert figures.share >= 0.95, figures
    assert figures.false_alarms <= 12, figures
    assert figures.most_mails == 1, figures


# ---- the reminder to the sender ------------------------------------------------------------

SENDER = "data@acme.example"
TEMPLATE = "{{feed}} of {{due}} is missing\nWe have not got {{missing}} yet.\r\nBcc: nobody@example.com"


def remind(simulated: Simulation, when: str) -> int:
    simulated.now = simulated.local(when)
    simulated.check()
    return reminders.remind(simulated.connection, simulated.now, simulated.zone)


def test_a_sender_is_reminded_once_a_day_on_business_days_until_it_came(
    berlin: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[EmailMessage, Any]] = []
    monkeypatch.setattr(smtp, "send", lambda message, recipients: sent.append((message, recipients)) or {})
    monkeypatch.setenv("ETL_EMAIL", "etl@example.com")
    config = add_import(berlin)
    feed = {"labels": ["a", "b"], "due_by": "0 7 * * 5", "sender": SENDER, "remind_template": TEMPLATE}
    add_feed(berlin, config, **feed)
    remind(berlin, "03-06 06:00")  # a Friday; the first check begins the watch
    assert remind(berlin, "03-06 11:00") == 0  # off by default
    berlin.etl.query("UPDATE dba.tfeed SET remind_after_hours = 4")
    assert [remind(berlin, when) for when in ("03-06 10:45", "03-06 11:00", "03-06 11:15", "03-07 12:00", "03-08 12:00")] == [
        0, 1, 0, 0, 0,
    ]  # fmt: skip
    assert [remind(berlin, when) for when in ("03-09 08:00", "03-09 23:00")] == [1, 0]
    come(berlin, config, "03-10 09:00", "a", "b", day="03-06")
    assert remind(berlin, "03-10 12:00") == 0

    (message, recipients), _ = sent
    assert (recipients, message["To"], message["Bcc"]) == ([SENDER], SENDER, None)
    assert message["Subject"] == "Sales of Fri 2026-03-06 07:00 CET is missing"
    assert message.get_content().startswith("We have not got a, b yet.\n")
    assert (message["Auto-Submitted"], message["X-Auto-Response-Suppress"]) == ("auto-generated", "All")


def test_a_reminder_that_the_server_does_not_take_goes_out_later_and_none_to_ourselves(
    berlin: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def away(_message: EmailMessage, _recipients: Any) -> dict[str, str]:
        raise MailUnavailable("the mail server is away")

    monkeypatch.setattr(smtp, "send", away)
    monkeypatch.setenv("ETL_EMAIL", "etl@example.com")
    add_feed(berlin, add_import(berlin), sender=SENDER, remind_template=TEMPLATE, remind_after_hours=1)
    remind(berlin, "03-02 06:00")
    with pytest.raises(MailUnavailable):
        remind(berlin, "03-02 08:00")
    monkeypatch.setattr(smtp, "send", lambda _message, recipients: sent.append(recipients) or {})
    assert (remind(berlin, "03-02 08:15"), sent) == (1, [[SENDER]])
    berlin.etl.query("UPDATE dba.tfeed SET sender = 'ETL@example.com'")
    assert (remind(berlin, "03-03 09:00"), len(sent)) == (0, 1)


def test_the_check_reminds_a_sender(berlin: Simulation, tmp_path: Path) -> None:
    add_feed(berlin, add_import(berlin), sender=SENDER, remind_template=TEMPLATE, remind_after_hours=1)
    with mail_server(tmp_path) as server:
        for clock in ("2026-03-02T06:00:00+00:00", "2026-03-02T11:00:00+00:00", "2026-03-02T11:15:00+00:00"):
            said = berlin.etl.door("check_schedule.py", ETL_CLOCK=clock, **server.variables)
            assert said.returncode == 0, said.stderr
    assert [received.recipients for received in server.received] == [[OWNER], [SENDER]]
