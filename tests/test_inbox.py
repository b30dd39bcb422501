"""Mail that is wanted is taken once, and no other is touched: the same by Gmail's API and by IMAP."""

import hashlib
import json
from pathlib import Path

import pytest
from conftest import Installation
from gmail_server import mail
from mailboxes import Inbox

pytest_plugins = ["inbox_fixtures"]

CSV = b"a,b\n1,x\n2,y\n"


def test_a_wanted_mail_is_saved_kept_and_labelled(inbox: Inbox):
    inbox.rule()
    raw = mail(("2026-03-02 list.csv", CSV), subject="the list")
    inbox.deliver(raw)

    result = inbox.run()

    assert result.returncode == 0, result.stderr
    assert inbox.files == {"2026-03-02_list.csv": CSV}
    assert inbox.labelled("processed") == ["the list"]
    (row,) = inbox.etl.query(
        "SELECT status, sender, subject, sha256, eml_path, labelled_at IS NOT NULL FROM dba.tinboxmessage"
    )
    assert row[:3] == ("Saved", "client@example.com", "the list")
    assert row[5]
    kept = Path(row[4]).read_bytes()
    assert kept.replace(b"\r\n", b"\n") == raw.replace(b"\r\n", b"\n")
    assert hashlib.sha256(kept).hexdigest() == row[3]
    assert Path(row[4]).is_relative_to(inbox.etl.home / "archive" / "inbox" / "calendar")


def test_a_second_run_does_nothing(inbox: Inbox):
    inbox.rule()
    inbox.receive(("a.csv", CSV))
    inbox.run()
    (inbox.directory / "a.csv").unlink()

    assert inbox.run().returncode == 0
    assert inbox.files == {}
    assert inbox.rows == ["Saved"]


def test_mail_that_no_rule_wants_is_not_touched_nor_looked_at_again(inbox: Inbox):
    inbox.rule(subject_pattern="^list$", attachment_name_pattern=r"\.csv$")
    inbox.receive(("a.csv", CSV), subject="list", sender="other@example.com")
    inbox.receive(("a.csv", CSV), subject="my list", sender="client@example.com")
    inbox.receive(("a.pdf", CSV), subject="list")
    inbox.receive(subject="list")

    first = inbox.run()
    second = inbox.run()

    assert (first.returncode, second.returncode) == (0, 0)
    assert inbox.files == {}
    assert len(inbox.untouched()) == 4
    assert (inbox.labelled("processed"), inbox.labelled("errorprocessed")) == ([], [])
    assert "4 mails, 4 to" in first.stderr
    assert "4 mails, 0 to" in second.stderr
    assert "no file in it" in first.stderr
    assert inbox.etl.query("SELECT DISTINCT status, sender, subject, sha256, eml_path FROM dba.tinboxmessage") == [
        ("Unmatched", None, None, None, None)
    ]


def test_a_changed_rule_looks_again_at_what_none_wanted(inbox: Inbox):
    inbox.rule(subject_pattern="nothing like it")
    inbox.receive(("a.csv", CSV))
    inbox.run()
    inbox.etl.query("UPDATE dba.tinboxconfig SET subject_pattern = NULL")

    assert inbox.run().returncode == 0
    assert inbox.files == {"a.csv": CSV}


def test_only_the_files_that_fit_are_saved_each_by_the_first_rule_that_picks_it(inbox: Inbox):
    other = inbox.etl.home / "file_watcher" / "prices"
    inbox.rule(attachment_name_pattern="calendar")
    inbox.rule("prices", attachment_name_pattern=r"\.csv$", local_repository_path=str(other))
    inbox.receive(("calendar.csv", CSV), ("prices.csv", b"p\n1\n"), ("logo.png", b"x"))

    assert inbox.run().returncode == 0
    assert inbox.files == {"calendar.csv": CSV}
    assert [path.name for path in other.iterdir()] == ["prices.csv"]


def test_the_same_mail_twice_and_the_same_file_in_two_mails_are_saved_once(inbox: Inbox):
    inbox.rule()
    raw = mail(("a.csv", CSV), subject="one", message_id="<1@example.com>")
    for content in (raw, raw, mail(("a.csv", CSV), subject="two")):
        inbox.deliver(content)

    assert inbox.run().returncode == 0
    assert inbox.files == {"a.csv": CSV}
    assert inbox.rows == ["Saved", "Duplicate", "Duplicate"]
    assert inbox.labelled("processed") == ["one", "one", "two"]


def test_two_files_of_one_name_in_a_mail_are_both_saved(inbox: Inbox):
    inbox.rule()
    inbox.receive(("a.csv", b"1"), ("a.csv", b"2"), ("a.csv", b"1"))

    inbox.run()

    assert sorted(inbox.files.values()) == [b"1", b"2"]


def test_a_file_that_the_import_would_not_see_waits_until_it_would(inbox: Inbox):
    inbox.etl.query(
        r"UPDATE dba.timportconfig SET source_directory = %s, file_pattern = 'a\.csv' WHERE config_id = 1",
        str(inbox.directory),
    )
    inbox.rule()
    inbox.receive(("a.csv", b"1"), subject="one")
    inbox.receive(("a.csv", b"2"), subject="two")

    assert inbox.run().returncode == 0
    assert inbox.files == {"a.csv": b"1"}
    assert inbox.labelled("processed") == ["one"]

    (inbox.directory / "a.csv").unlink()
    assert inbox.run().returncode == 0
    assert inbox.files == {"a.csv": b"2"}
    assert inbox.labelled("processed") == ["one", "two"]


def test_a_mail_that_waits_for_more_than_a_day_fails_the_job(inbox: Inbox):
    inbox.etl.query(
        r"UPDATE dba.timportconfig SET source_directory = %s, file_pattern = 'a\.csv' WHERE config_id = 1",
        str(inbox.directory),
    )
    inbox.rule()
    (inbox.directory / "a.csv").write_bytes(b"somebody's")
    inbox.receive(("a.csv", b"2"))
    inbox.run()
    inbox.etl.query("UPDATE dba.tinboxmessage SET created_at = now() - interval '2 days'")

    result = inbox.run()

    assert result.returncode == 1
    assert "a file named" in result.stderr
    assert inbox.files == {"a.csv": b"somebody's"}


def test_a_mail_that_cannot_be_taken_gets_the_other_label_and_its_reason(inbox: Inbox):
    inbox.rule()
    whole = mail(("a.csv", CSV), subject="cut")
    inbox.deliver(whole[: whole.rindex(b"--")])
    inbox.receive(("b.csv", CSV), subject="good")

    result = inbox.run()

    assert result.returncode == 1
    assert inbox.files == {"b.csv": CSV}
    assert inbox.labelled("errorprocessed") == ["cut"]
    assert inbox.labelled("processed") == ["good"]
    assert "it was cut off" in inbox.etl.value("SELECT reason FROM dba.tinboxmessage WHERE status = 'Failed'")
    assert inbox.run().returncode == 0  # it is told once


def test_a_mail_put_back_by_a_person_is_taken_as_a_new_one(inbox: Inbox):
    inbox.rule()
    inbox.receive(("a.csv", CSV), subject="again")
    inbox.run()
    inbox.put_back()

    second = inbox.run()
    assert "Duplicate" in second.stderr
    assert inbox.labelled("processed") == ["again"]

    inbox.etl.query(
        "INSERT INTO dba.timportfile (config_id, file_name, sha256, status, error, source_path)"
        " SELECT 1, file_name, sha256, 'Failed', 'x', saved_path FROM dba.treceivedfile WHERE status = 'Saved'"
    )
    (inbox.directory / "a.csv").unlink()
    inbox.put_back()
    third = inbox.run()
    assert "Saved" in third.stderr
    assert inbox.files == {"a.csv": CSV}
    assert inbox.rows == ["Saved", "Duplicate", "Saved"]


def test_what_is_wrong_with_a_file_that_nobody_wants_is_nobodys_business(inbox: Inbox):
    inbox.rule(attachment_name_pattern=r"\.csv$")
    damaged = mail(("logo.png", b"x" * 60), subject="lunch?").replace(b"eHh4", b"!!!!", 1)
    both = mail(("logo.png", b"x" * 60), ("a.csv", CSV), subject="list").replace(b"eHh4", b"!!!!", 1)
    inbox.deliver(damaged)
    inbox.deliver(both)

    result = inbox.run()

    assert result.returncode == 0, result.stderr
    assert inbox.files == {"a.csv": CSV}
    assert inbox.untouched() == ["lunch?"]


def test_an_archive_that_cannot_be_written_stops_no_other_mailbox(inbox: Inbox):
    inbox.rule()
    (inbox.etl.home / "archive" / "inbox").write_text("in the way")
    whole = mail(("a.csv", CSV), subject="cut")
    inbox.deliver(whole[: whole.rindex(b"--")])
    inbox.receive(("b.csv", CSV), subject="good")

    result = inbox.run()
    assert result.returncode == 1
    assert "cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(inbox.untouched()) == 2

    (inbox.etl.home / "archive" / "inbox").unlink()
    inbox.run()
    assert inbox.files == {"b.csv": CSV}
    assert inbox.labelled("errorprocessed") == ["cut"]


def test_a_pattern_that_takes_for_ever_on_a_mail_leaves_it_alone_once(inbox: Inbox):
    inbox.rule("slow", subject_pattern="(.*),(.*),(.*),(.*)end")
    inbox.rule("quick", subject_pattern="^1,1")
    inbox.receive(("a.csv", CSV), subject="1," * 900)

    first = inbox.run()
    assert first.returncode == 0, first.stderr
    assert "make it simpler" in first.stderr
    assert max(map(len, first.stderr.splitlines())) < 600
    assert inbox.files == {"a.csv": CSV}


def test_a_label_that_cannot_be_is_named_before_anything_is_saved(inbox: Inbox):
    inbox.rule(processed_label="INBOX")
    inbox.receive(("a.csv", CSV))

    result = inbox.run()

    assert result.returncode == 1
    assert "processed_label" in result.stderr
    assert inbox.files == {}
    assert len(inbox.untouched()) == 1


def test_labels_in_levels_and_in_any_script_are_put_on(inbox: Inbox):
    inbox.rule(processed_label="Prüfung/fertig & gut")
    inbox.receive(("a.csv", CSV), subject="one")

    assert inbox.run().returncode == 0
    separator = "/" if inbox.imap_server is None else "."
    assert inbox.labelled(f"Prüfung{separator}fertig & gut") == ["one"]


def test_a_mail_beyond_the_caps_is_refused(inbox: Inbox):
    inbox.rule()
    inbox.receive(("a.csv", b"x" * (2 << 20)), subject="large")
    inbox.receive(*[(f"{number}.csv", CSV) for number in range(4)], subject="many")

    result = inbox.run(ETL_INBOX_MAX_MB="1", ETL_INBOX_MAX_FILES="3")

    assert result.returncode == 1
    assert inbox.labelled("errorprocessed") == ["large", "many"]
    assert "ETL_INBOX_MAX_MB" in result.stderr
    assert "more than 3 files" in result.stderr


def test_hostile_names_stay_in_the_directory(inbox: Inbox):
    inbox.rule()
    inbox.receive(("../../../escape.csv", b"1"), ("/etc/passwd", b"2"), (".bashrc", b"3"), ("a\\b.csv", b"4"))

    assert inbox.run().returncode == 0
    assert inbox.files == {"escape.csv": b"1", "passwd": b"2", "_.bashrc": b"3", "b.csv": b"4"}


def test_a_second_sender_in_the_header_does_not_pass(inbox: Inbox):
    inbox.rule()
    raw = mail(("a.csv", CSV), sender="client@example.com")
    inbox.deliver(b"From: evil@example.org\r\n" + raw)
    inbox.deliver(
        mail(("a.csv", CSV)).replace(b"From: client", b'From: "client@example.com" <evil@example.org>, client')
    )

    assert inbox.run().returncode == 0
    assert inbox.files == {}
    assert len(inbox.untouched()) == 2


def test_a_file_that_two_rules_fit_goes_to_the_first_and_the_log_says_so(inbox: Inbox):
    other = inbox.etl.home / "file_watcher" / "other"
    other.mkdir()
    inbox.rule("one", attachment_name_pattern="^a")
    inbox.rule("two", local_repository_path=str(other))
    inbox.receive(("a.csv", CSV), ("b.csv", CSV))

    result = inbox.run()

    assert result.returncode == 0
    assert (list(inbox.files), [path.name for path in other.iterdir()]) == (["a.csv"], ["b.csv"])
    assert "1 files fit inbox rule 2 two too, which" in result.stderr


def test_two_mails_of_one_message_id_are_two(inbox: Inbox):
    inbox.rule()
    for subject, content in (("one", CSV), ("two", CSV * 2), ("one again", CSV)):
        inbox.receive(("a.csv", content), subject=subject, message_id="<same@example.com>")

    assert inbox.run().returncode == 0
    assert inbox.files == {"a.csv": CSV, "a.2.csv": CSV * 2}
    assert sorted(inbox.rows) == ["Duplicate", "Saved", "Saved"]


def test_mail_from_before_the_rules_time_is_left_alone(inbox: Inbox):
    inbox.rule(received_since="2999-01-01")
    inbox.receive(("a.csv", CSV))

    assert inbox.run().returncode == 0
    assert inbox.files == {}
    assert len(inbox.untouched()) == 1


def test_mail_without_files_may_be_wanted(inbox: Inbox):
    inbox.rule(has_attachment=False)
    inbox.receive(subject="only words")

    assert inbox.run().returncode == 0
    assert inbox.labelled("processed") == ["only words"]
    assert Path(inbox.etl.value("SELECT eml_path FROM dba.tinboxmessage")).is_file()


def test_a_dry_run_says_what_it_would_do_and_does_nothing(inbox: Inbox):
    inbox.rule()
    inbox.receive(("a.csv", CSV))

    result = inbox.run("--dry-run", "--json")

    assert json.loads(result.stdout)["mails"][0]["files"] == ["a.csv"]
    assert inbox.files == {}
    assert len(inbox.untouched()) == 1
    assert inbox.rows == []


def test_a_directory_that_cannot_be_written_leaves_the_mail_alone(inbox: Inbox):
    inbox.rule(local_repository_path="/proc/nowhere")
    inbox.receive(("a.csv", CSV))

    result = inbox.run()

    assert result.returncode == 1
    assert "/proc/nowhere" in result.stderr
    assert len(inbox.untouched()) == 1
    inbox.etl.query("UPDATE dba.tinboxconfig SET local_repository_path = %s", str(inbox.directory))
    assert inbox.run().returncode == 0
    assert inbox.files == {"a.csv": CSV}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"subject_pattern": "("}, "is no regular expression"),
        ({"sender_filter": "Dealogic"}, "neither an address nor a domain"),
        ({"gmail_account": "../../x@y"}, "is not a mail address"),
        ({"folder": "No such folder"}, "No such folder"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_and_stops_no_other(inbox: Inbox, values: dict[str, str], told: str):
    inbox.rule("bad", **values)
    inbox.rule()
    inbox.receive(("a.csv", CSV))

    result = inbox.run()

    assert result.returncode == 1
    assert told in result.stderr
    assert inbox.files == {"a.csv": CSV}


def test_from_mail_to_dataset_in_one_view(inbox: Inbox):
    inbox.etl.query("UPDATE dba.timportconfig SET source_directory = %s WHERE config_id = 1", str(inbox.directory))
    inbox.rule()
    inbox.receive(("20260302T050000_MeetMaxURLCheck.csv", b"EventID,URL\n1,u\n"), subject="lineage")
    inbox.run()
    assert inbox.etl.door("run_import_job.py", "1").returncode == 0

    rows = inbox.etl.query("SELECT came_by, rule, subject, import_status, row_count, datasetid FROM dba.vreceivedfile")

    datasetid = inbox.etl.value("SELECT max(datasetid) FROM dba.tdataset")
    assert rows == [("mail", "calendar", "lineage", "Loaded", 1, datasetid)]


def test_two_runs_at_once_take_each_mail_once(inbox: Inbox):
    inbox.rule()
    for number in range(12):
        inbox.receive((f"{number}.csv", b"%d" % number), subject=f"{number:02}")
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda arguments: inbox.run(*arguments), [(), ("--json",)]))
    assert {result.returncode for result in results} <= {0, 75}
    inbox.run()

    assert len(inbox.files) == 12
    assert inbox.labelled("processed") == [f"{number:02}" for number in range(12)]
    assert inbox.rows == ["Saved"] * 12


def test_no_active_row_is_no_failure(etl: Installation):
    result = etl.door("process_inbox.py")

    assert result.returncode == 0
    assert "no row of dba.tinboxconfig" in result.stderr
