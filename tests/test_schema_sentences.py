"""A row that breaks a rule of a configuration table is refused with a sentence, and what can be understood is understood."""

import re
from typing import Any

import pytest
from schema_helpers import IMPORT, JOB, become, insert, one, refusal, rows

pytest_plugins = ["schema_fixtures"]

CONFIGURATION = (
    "timportconfig", "timportcolumn", "tdatasettype", "tinboxconfig", "texchangeconfig", "tscheduler", "tfeed",
    "treportmanager", "treportrecipient", "tmeetmaxrange",
)  # fmt: skip
REPORT = {"reportname": "S", "frequency": "@daily", "subjectheader": "S", "emailbodytemplate": ""}
RULES = """
    SELECT k.conname, pg_get_constraintdef(k.oid), obj_description(k.oid, 'pg_constraint')
    FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
    WHERE k.contype = 'c' AND k.connamespace = 'dba'::regnamespace AND c.relname = ANY (%s)
"""


def test_each_rule_of_a_configuration_table_has_a_sentence_with_the_words_it_allows(cursor: Any) -> None:
    for name, rule, sentence in rows(cursor, RULES, list(CONFIGURATION)):
        assert sentence, f"onboarding/sql/explain_checks.sql has no sentence for {name}"
        for words in re.findall(r"\((?:\w+) = ANY \(ARRAY\[(.*?)\]", rule):
            allowed = re.findall(r"'([\w-]+)'::text", words)
            assert [word for word in allowed if word not in sentence] == [], name


@pytest.mark.parametrize(
    ("table", "values", "told"),
    [
        ("timportconfig", {**IMPORT, "file_type": "pdf"},
         "file_type must be CSV, XLS, XLSX, FIXED, JSON, XML or PARQUET; here file_type is 'PDF'"),
        ("timportconfig", {**IMPORT, "duplicate_scope": "day"}, "duplicate_scope must be config or dataset; here"),
        ("timportconfig", {**IMPORT, "target_table": "dba.tcall"}, "target_table must be schema.table"),
        ("treportmanager", {**REPORT, "locale": "de_DE"},
         "es, fr, it, nl, pl, pt, sv; null for 1,234.50 and 2026-12-31; here locale is 'de_DE'"),
        ("tscheduler", {**JOB, "overlap": "queue"}, "overlap must be skip or wait; here overlap is 'queue'"),
        ("tscheduler", {**JOB, "host_pattern": "box a"}, "host_pattern must have no blanks in it, such as box-a"),
        ("tscheduler", {**JOB, "host_pattern": "b" * 501}, "host_pattern must have at most 500 characters"),
        ("tscheduler", {**JOB, "active_since": "20000-01-01"}, "active_since must be in the years 2 to 9998; here active_since is"),
        ("tfeed", {"feedname": "F", "arrives_by": "mail:a@b.example", "due_by": "0 7 * * *", "snoozed_until": "infinity"},
         "snoozed_until is 'infinity'"),
        ("tscheduler", {**JOB, "retries": 99}, "retries is '99', retry_delay_minutes is '5'"),
    ],
)  # fmt: skip
def test_a_rule_that_is_broken_is_told_in_a_sentence_with_the_value(
    cursor: Any, table: str, values: dict[str, Any], told: str
) -> None:
    statement, arguments = insert(table, values)
    error = refusal(become(cursor, "etl_owner"), statement, *arguments)
    assert told in str(error.diag.message_primary)
    assert error.pgcode == "23514"
    assert str(error.diag.constraint_name).startswith(table)


def test_an_update_is_told_in_a_sentence_too(cursor: Any) -> None:
    statement = "UPDATE dba.timportconfig SET dateconfig = 'today' WHERE config_id = 1"
    told = "dateconfig must be filename, file_content or static; here dateconfig is 'today'"
    assert told in str(refusal(become(cursor, "etl_owner"), statement))


@pytest.mark.parametrize(
    ("word", "sign"),
    [("tab", "\t"), ("\\t", "\t"), ("Semicolon", ";"), ("comma", ","), ("pipe", "|"), ("space", " "), (";", ";"), (None, None)],
)  # fmt: skip
def test_small_letters_words_for_signs_and_a_table_without_schema_are_understood(
    cursor: Any, word: str | None, sign: str | None
) -> None:
    values = {**IMPORT, "file_type": "csv", "field_delimiter": word, "target_table": "tcall"}
    arguments = ", ".join(f"p_{name} => %s" for name in values)
    added = one(become(cursor, "etl_owner"), f"CALL dba.pimportconfigi({arguments})", *values.values())
    look = "SELECT file_type, field_delimiter, target_table FROM dba.timportconfig WHERE config_id = %s"
    assert one(cursor, look, added) == ("CSV", sign, "public.tcall")

    cursor.execute(
        "UPDATE dba.timportconfig SET file_type = 'xlsx', target_table = 'tother' WHERE config_id = %s", (added,)
    )
    assert one(cursor, look, added) == ("XLSX", sign, "public.tother")


def test_the_same_value_in_other_letters_is_no_change(cursor: Any) -> None:
    cursor.execute("UPDATE dba.timportconfig SET last_modified_at = '2020-01-01' WHERE config_id = 1")
    before = one(cursor, "SELECT last_modified_at FROM dba.timportconfig WHERE config_id = 1")
    cursor.execute("UPDATE dba.timportconfig SET file_type = 'csv' WHERE config_id = 1")
    assert one(cursor, "SELECT last_modified_at FROM dba.timportconfig WHERE config_id = 1") == before
