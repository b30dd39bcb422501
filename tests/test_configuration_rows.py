"""Rows of every table, with any text in them, are exported and applied: there and back they are the same."""

import json
import re
from datetime import date, datetime
from typing import Any

import psycopg2
import pytest
from configuration_helpers import FULL, applied, exported
from conftest import Installation
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from schema_helpers import IMPORT, insert

from systemscripts.configuration import tables

pytest_plugins = ["configuration_fixtures", "schema_fixtures"]
pytestmark = pytest.mark.slow

MARKS = st.sampled_from("\t\r\n '\"\\:#-{}[]|>&*!%@`~,?\u00a0\u200f\u202e\u2028\ufeffäя漢\U0001f600")
ANY = st.text(st.one_of(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), MARKS), max_size=40)
TRAPS = ["yes", "no", "1e3", "007", "null", "~", "2026-01-01", "", " ", "a \r\n b\t\n", "\n\n", "12:30", "\u202ex"]
TEXTS = st.one_of(ANY, st.sampled_from(TRAPS))
LINES = ANY.map(lambda text: re.sub(r"[\x00-\x1f\x7f]", " ", text))
NAMES = st.one_of(LINES.map(lambda text: f"{text}n"), st.sampled_from(["yes", "1e3", "~"]))
LISTS = st.lists(st.one_of(TEXTS, st.none()), max_size=4)
PLACES = st.sampled_from(["/srv/a", "/srv/b c", "/srv/ä'\"#"])
OPTIONS = st.dictionaries(
    TEXTS, st.recursive(st.one_of(TEXTS, st.integers(), st.booleans(), st.none()), st.lists, max_leaves=4), max_size=3
)


def or_null(values: "st.SearchStrategy[Any]") -> "st.SearchStrategy[Any]":
    return st.one_of(st.none(), values)


def as_json(values: "st.SearchStrategy[Any]") -> "st.SearchStrategy[str]":
    return values.map(json.dumps)


SITE = {  # types that the tables do not have yet, in columns of the site's own
    "own_bytes": ("bytea", st.binary(max_size=20)),
    "own_span": ("interval", st.timedeltas().map(lambda span: f"{span.days} days {span.seconds} seconds")),
    "own_day": ("date", st.dates().map(str)),
    "own_bits": ("bit(3)", st.sampled_from(["000", "101"])),
    "own_numbers": ("integer[]", st.lists(st.integers(-9, 9), max_size=3)),
    "own_code": ("varchar(5)", st.sampled_from(["yes", "a b c", "ä"])),
    "own_price": ("numeric(9,2)", st.decimals(-99, 99, places=2)),
    '"Order"': ("text", TEXTS),
    "own_float": ("double precision", st.floats(allow_nan=False)),
    "own_time": (
        "timestamptz DEFAULT '2026-01-01 00:00+00'",
        st.sampled_from(["2026-03-29 02:30:00.123456+02", "infinity"]),
    ),
}
MADE = {
    "tdatasource": ("sourcename", {
        "sourcename": TEXTS, "description": or_null(TEXTS), **{name: or_null(made) for name, (_, made) in SITE.items()},
    }),
    "tdatasettype": ("typename", {
        "typename": TEXTS, "description": or_null(TEXTS), "keep_inactive_days": or_null(st.integers(1, 9)),
    }),
    "timportconfig": ("config_name", {
        "config_name": TEXTS, "source_directory": PLACES, "archive_directory": st.just("/srv/done"), "file_pattern": NAMES,
        "file_type": st.sampled_from(["CSV", "XLS"]), "metadata_label_source": st.just("static"), "dateconfig": st.just("static"),
        "metadata_label_location": TEXTS, "datelocation": TEXTS, "dateformat": or_null(TEXTS), "delimiter": or_null(TEXTS),
        "target_table": st.just("public.tmade"), "importstrategyid": st.integers(1, 3), "is_active": st.sampled_from("01"),
        "encoding": or_null(TEXTS), "reject_limit_percent": or_null(st.decimals("0.01", 100, places=2)),
        "headings": or_null(st.lists(TEXTS, min_size=1, max_size=3)), "skip_blank_rows": st.booleans(),
    }),
    "timportcolumn": ("column_name", {"column_name": TEXTS, "null_words": LISTS, "pattern": or_null(TEXTS), "is_trimmed": st.booleans()}),
    "timportcheck": ("checkname", {
        "checkname": TEXTS, "query": TEXTS.map(lambda text: f"{text}\n:datasetid {text}"), "is_active": st.booleans(),
    }),
    "tinboxconfig": ("config_name", {
        "config_name": TEXTS, "gmail_account": TEXTS, "local_repository_path": PLACES, "subject_pattern": or_null(TEXTS),
        "received_since": or_null(st.datetimes(datetime(2, 1, 2), datetime(9998, 12, 30)).map(str)), "has_attachment": st.booleans(),
    }),
    tables.EXCHANGE_TABLE.removeprefix("dba."): ("config_name", {
        "config_name": NAMES.map(lambda text: f"n{text}".replace("/", "")), "kind": st.just("local"),
        "incoming_path": st.just("/srv/in"), "local_repository_path": PLACES,
        "file_pattern": TEXTS, "port": st.integers(1, 65535),
    }),
    "tscheduler": ("taskname", {
        "taskname": NAMES, "taskdescription": or_null(TEXTS), "frequency": st.sampled_from(["0 5 * * 1-5", "*/5 * * * *", "@daily"]),
        "scriptpath": st.just("a_job.py"), "scriptargs": or_null(LINES), "datastatusid": st.sampled_from([1, 2, 3]),
        "timeout_minutes": or_null(st.decimals("0.1", 99, places=1)),
    }),
    "tfeed": ("feedname", {
        "feedname": NAMES, "due_by": st.just("0 7 * * 1-5"), "for_date": or_null(st.just("same day")), "grace_minutes": st.integers(0, 99),
        "datastatusid": st.sampled_from([1, 2]), "paused_reason": st.none(),
    }),
    "treportmanager": ("reportname", {
        "reportname": NAMES, "reportdescription": or_null(TEXTS), "frequency": st.just("@daily"), "subjectheader": LINES,
        "emailbodytemplate": TEXTS, "emailbodyqueries": or_null(as_json(st.dictionaries(TEXTS, TEXTS, max_size=2))),
        "emailbodyoptions": or_null(as_json(OPTIONS)), "attachmentqueries": or_null(as_json(st.lists(st.fixed_dictionaries(
            {"name": st.just("a.csv"), "query": TEXTS, "more": st.one_of(TEXTS, st.integers())}), max_size=2))),
        "required_datasets": or_null(LISTS), "wait_until": or_null(st.sampled_from(["08:30", "00:00"])),
    }),
    "treportrecipient": (None, {
        "toheader": NAMES, "parameters": as_json(st.dictionaries(st.sampled_from("ab"), TEXTS)), "is_active": st.sampled_from("01"),
    }),
    "tmeetmaxrange": (None, {"first_event_id": st.integers(1, 9), "last_event_id": st.integers(10, 12), "note": or_null(TEXTS)}),
    "tholidays": ("holiday_date", {"holiday_date": st.dates(date(2, 1, 1), date(9998, 12, 31)).map(str), "holiday_name": TEXTS}),
}  # fmt: skip


@st.composite
def configurations(draw: Any) -> dict[str, list[dict[str, Any]]]:
    return {
        table: draw(
            st.lists(
                st.fixed_dictionaries(columns), max_size=3, unique_by=(lambda row, key=key: row[key]) if key else None
            )
        )
        for table, (key, columns) in MADE.items()
    }


PARENTS = {
    "timportcolumn": ("config_id", "timportconfig"),
    "timportcheck": ("config_id", "timportconfig"),
    "tfeed": ("config_id", "timportconfig"),
    "treportrecipient": ("reportid", "treportmanager"),
}


def put_into(cursor: Any, made: dict[str, list[dict[str, Any]]]) -> None:
    """Write the rows with references among them; what would need a row that there is not is left out."""
    ids: dict[str, list[Any]] = {table: [] for table in made}
    for table, rows in made.items():
        for number, row in enumerate(rows):
            values = {
                name: psycopg2.Binary(value) if isinstance(value, bytes) else value for name, value in row.items()
            }
            if table in PARENTS:
                column, parent = PARENTS[table]
                if not ids[parent]:
                    continue
                values[column] = ids[parent][number % len(ids[parent])]
            if table == "timportconfig":
                if not ids["tdatasource"] or not ids["tdatasettype"]:
                    continue
                values["datasource"] = made["tdatasource"][0]["sourcename"]
                values["datasettype"] = made["tdatasettype"][-1]["typename"]
            if table == "tscheduler":
                values["depends_on"] = ids[table][0] if number else None
            statement, arguments = insert(table, values)
            cursor.execute(statement, arguments)
            ids[table].append(cursor.fetchone()[0])


def wipe(cursor: Any) -> None:
    for part in reversed(tables.SECTIONS):
        cursor.execute(f"DELETE FROM {part.table}")


def all_values(cursor: Any) -> dict[str, list[str]]:
    """Return what an operator has written, in all tables, as the database itself shows it; numbers of rows left out."""
    found = {}
    for part in tables.SECTIONS:
        numbers = (
            "{config_id,reportid,depends_on,schedulerid,reportrecipientid,datasourceid,datasettypeid,feedid,rangeid}"
        )
        cursor.execute(
            f"SELECT (to_jsonb(t) - %s - {numbers!r}::text[] - 'importcolumnid' - 'importcheckid')::text FROM {part.table} AS t",
            (sorted(tables.KEPT_BY_THE_DATABASE),),
        )
        found[part.table] = sorted(text for (text,) in cursor.fetchall())
    return found


@pytest.fixture
def with_own_columns(etl: Installation, owner: Any) -> Any:
    for name, (kind, _) in SITE.items():
        owner.execute(f"ALTER TABLE dba.tdatasource ADD COLUMN {name} {kind}")
    wipe(owner)
    return owner


def round_trip(cursor: Any, made: dict[str, list[dict[str, Any]]]) -> None:
    put_into(cursor, made)
    text, before = exported(cursor), all_values(cursor)
    wipe(cursor)
    applied(cursor, text)
    assert exported(cursor) == text
    assert all_values(cursor) == before
    assert applied(cursor, text) == []


TRAP_ROWS = {
    "tdatasource": [{"sourcename": text, "description": text} for text in TRAPS],
    "tdatasettype": [{"typename": "t"}],
    "timportconfig": [{**{name: value for name, value in IMPORT.items() if name not in ("datasource", "datasettype")}, "config_name": text,
                       "encoding": text, "headings": TRAPS} for text in TRAPS],
    "timportcolumn": [{"column_name": text, "null_words": [*TRAPS, None, "{a,b}", 'x"y\\z', "NULL"]} for text in TRAPS],
}  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@example(made=TRAP_ROWS)
@given(made=configurations())
def test_rows_of_every_table_come_back_as_they_were(
    with_own_columns: Any, made: dict[str, list[dict[str, Any]]]
) -> None:
    with_own_columns.execute("SAVEPOINT made")
    try:
        round_trip(with_own_columns, made)
    finally:
        with_own_columns.execute("ROLLBACK TO made")


def test_each_version_of_the_server_writes_the_same(cursor: Any) -> None:
    applied(cursor, FULL)
    text = exported(cursor)
    wipe(cursor)
    applied(cursor, text)
    assert exported(cursor) == text
