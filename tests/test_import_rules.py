"""Rules for columns, rejected lines, limits, and the dry run."""

import hashlib
import json
import re
import tracemalloc
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import psycopg2
import pytest
from conftest import Installation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2.sql import SQL, Literal
from test_generic_import import add_import, as_csv, drop_file, loaded, run

from systemscripts import db_config
from systemscripts.importing.config import load_config
from systemscripts.importing.configured_rules import load_rules
from systemscripts.importing.rules import ColumnRule


def add_rule(etl: Installation, column_name: str, **columns: Any) -> None:
    values = {"column_name": column_name, **columns}
    names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    config_id = etl.value("SELECT config_id FROM dba.timportconfig WHERE config_name = 'clients'")
    etl.query(f"INSERT INTO dba.timportcolumn (config_id, {names}) VALUES (%s, {marks})", config_id, *values.values())


def test_columns_are_renamed_trimmed_typed_and_emptied_of_null_words(etl: Installation) -> None:
    add_import(etl)
    add_rule(etl, "company_name", target_name="name", is_trimmed=True)
    add_rule(etl, "cap", data_type="numeric", null_words=["N/A", "-"])
    add_rule(etl, "day", data_type="date", dateformat="dd.MM.yyyy")
    add_rule(etl, "staff", data_type="integer")
    add_rule(etl, "listed", data_type="boolean")
    rows = [
        ["Company Name", "Cap", "Day", "Staff", "Listed", "Note"],
        ["  Acme, Inc.\t", "12.50", "29.02.2024", "0042", "YES", " kept "],
        ["B", "N/A", "", "-7", "f", "NA"],
    ]
    drop_file(etl, as_csv(rows))
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "name, cap, day, staff, listed, note") == [
        ("Acme, Inc.", Decimal("12.50"), date(2024, 2, 29), 42, True, " kept "),
        ("B", None, None, -7, False, "NA"),
    ]


CASES = [
    (
        {"data_type": "integer"},
        ["1", "-0", "+7", "9223372036854775807", ""],
        ["1.0", "1e3", "9223372036854775808", "one", " 1", "1_000"],
    ),
    ({"data_type": "numeric"}, ["1", "-.5", "1.", "1E5", "007"], ["1,5", "NaN", "inf", "1e1000", "--1", "0x1"]),
    (
        {"data_type": "date"},
        ["2024-02-29", "0001-01-01"],
        [
            "2023-02-29",
            "1900-02-29",
            "2024-04-31",
            "2024-13-01",
            "2024-00-10",
            "2024-01-00",
            "2024-01-32",
            "0000-01-01",
            "24-01-01",
            "2024-1-01",
            "2024-01-1x",
            "٢٠٢٤-01-01",
            "2024-01-01 ",
            " 024-01-01",
            "2024-01- 1",
            "2024-1-01 ",
            "2024 01 01",
            "24-Jan-01 ",
            "+024-01-01",
            "infinity",
            "-infinity",
            "epoch",
            "today",
        ],
    ),
    ({"data_type": "boolean"}, ["true", "F", "Yes", "0"], ["2", "wahr", "yess"]),
    ({"is_required": True, "null_words": ["none"]}, ["x", " "], ["", "none"]),
    ({"is_required": True, "null_words": r'{N/A,-,"\\N"}'}, ["\\", "N", "n/a"], ["\\N", "N/A", "-"]),
    ({"is_required": True, "is_trimmed": True}, ["x"], ["", "  "]),
    ({"pattern": "[A-Z]{2}"}, ["AB", ""], ["ABC", "ab", "AB\n", "xAB"]),
    ({"data_type": "integer", "minimum": "0", "maximum": "10"}, ["0", "10"], ["-1", "11"]),
    ({"data_type": "date", "minimum": "2024-01-01"}, ["2024-01-01"], ["2023-12-31"]),
    (
        {"data_type": "numeric", "decimal_sign": ",", "thousands_sign": "."},
        ["62,25", "1.234,56", "-1.234.567", "1234,5", ",5", "0,123", "1,5e3"],
        ["1.23", "0.123", "01.234", "1.2345", "1.234.56,7", "1,234.5", "1,2,3", "1..234", ".123", "1.234,567.8", "-"],
    ),
    ({"data_type": "numeric", "thousands_sign": "'"}, ["1'234.56", "1\u2019234", "0.5"], ["1'23", "1,5", "'123"]),
    (
        {"data_type": "numeric", "thousands_sign": " ", "decimal_sign": ","},
        ["1 234,5", "1\u00a0234\u202f567,5", "12"],
        ["1 23", " 1", "1  234", "1.5"],
    ),
    (
        {"data_type": "numeric", "thousands_sign": "indian"},
        ["12,34,567.5", "1,234", "99"],
        ["123,456", "1,2345", "1,23"],
    ),
    (
        {"data_type": "integer", "thousands_sign": "."},
        ["1.000", "-12.345.678", "9.223.372.036.854.775.807"],
        ["1.00", "1,000", "9.223.372.036.854.775.808"],
    ),
    ({"data_type": "numeric", "negative_form": "after"}, ["5-", "-5", "5", "1e-2"], ["-5-", "+5-", "(5)", "5--"]),
    ({"data_type": "numeric", "negative_form": "parentheses"}, ["(5.5)", "-5"], ["(-5)", "(5", "5)", "5-", "()"]),
    (
        {"data_type": "numeric", "unit_words": ["€", "Fr.", "%"], "negative_form": "parentheses"},
        ["€5", "5 €", "-€5", "€-5", "(€5)", "€ (5)", "Fr.5", "5%", "-5 %"],
        ["€", "€5€", "$5", "5 € net", "€ € 5", "E5"],
    ),
    (
        {"data_type": "boolean", "true_words": ["Ja", "x"], "false_words": ["nein", ""], "is_required": True},
        ["ja", "JA", "X", "Nein", ""],
        ["yes", "1", "false", " ja"],
    ),
    (
        {"data_type": "date", "dateformat": "dd.MM.yyyy | yyyy-MM-dd"},
        ["29.02.2024", "2024-02-29"],
        ["29.02.2023", "2023-02-29", "1.1.2024", "01/01/2024"],
    ),
    (
        {"data_type": "date", "dateformat": "d.M.yyyy"},
        ["1.1.2027", "01.01.2027", "29.2.2024"],
        ["29.2.2023", "31.4.2024", "001.1.2024", "0.1.2024", "1.13.2024", "1.1.24", "1.1.0000"],
    ),
    (
        {"data_type": "date", "dateformat": "dd-MMM-yy", "year_pivot": 30},
        ["01-JAN-26", "29-Feb-00"],
        ["29-Feb-01", "1-Jan-26", "01-Jän-26", "01-January-26"],
    ),
    (
        {"data_type": "timestamp", "dateformat": "yyyy-MM-dd HH:mm:ss | yyyy-MM-dd"},
        ["2026-11-27 14:03:02", "2026-11-27"],
        ["2026-02-29", "2026-11-27 ", "infinity"],
    ),
    (
        {"data_type": "timestamp", "minimum": "2026-01-01 12:00:00"},
        ["2026-11-27 14:03:02"],
        [
            "2026-01-01 11:59:59",
            "2026-11-27",
            "2026-11-27 24:00:00",
            "2026-11-27 14:60:00",
            "2026-11-27 14:03:60",
            "2026-11-27 14:03:2 ",
            "2026-11-27T14:03:02",
            "2026-02-29 00:00:00",
            "infinity",
        ],
    ),
]


@pytest.mark.parametrize(("rule", "good", "bad"), CASES, ids=[str(case[0]) for case in CASES])
def test_good_text_passes_a_rule_and_bad_text_is_a_reject_with_its_line(
    etl: Installation, rule: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    add_import(etl, reject_limit_percent=100)
    add_rule(etl, "x", **rule)
    drop_file(etl, as_csv([["n", "x"], *([str(index), text] for index, text in enumerate([*good, *bad]))]))
    run()
    kept = loaded(etl, "n, x")
    assert [n for n, _ in kept] == [str(index) for index in range(len(good))]
    rejected = etl.query("SELECT column_name, original FROM dba.timportreject ORDER BY rejectid")
    assert [column for column, _ in rejected] == ["x"] * len(bad)
    assert [original for _, original in rejected] == [
        as_csv([[str(index), text]]).removesuffix("\n") for index, text in enumerate(bad, start=len(good))
    ]
    # Without a limit it is checked while it is inserted.
    etl.query("UPDATE dba.timportconfig SET reject_limit_percent = NULL; TRUNCATE public.tclients")
    drop_file(
        etl, as_csv([["n", "x"], *([str(index), text] for index, text in enumerate(good))]), "clients_20260303.csv"
    )
    run()
    assert loaded(etl, "n, x") == kept
    with db_config.session() as connection:
        read = load_rules(connection, load_config(connection, "clients"))["x"]
    assert {read_by(etl, read, text)[0] for text in good} == {True}
    assert {read_by(etl, read, text)[0] for text in bad} == {False}


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (
            {
                "data_type": "numeric",
                "decimal_sign": ",",
                "thousands_sign": ".",
                "negative_form": "after",
                "unit_words": ["€"],
            },
            {"1.234,56": "1234.56", "1.234.567,5- €": "-1234567.5", "-12": "-12", ",5": "0.5", "1,5e-3": "0.0015"},
        ),
        (
            {"data_type": "integer", "thousands_sign": " ", "negative_form": "parentheses"},
            {"(1\u202f000)": "-1000", "12 345": "12345"},
        ),
        ({"data_type": "numeric", "thousands_sign": "indian"}, {"-12,34,567.80": "-1234567.80"}),
        (
            {"data_type": "boolean", "true_words": ["x"], "false_words": [""]},
            {"X": "true", "": "false"},
        ),
        (
            {"data_type": "date", "dateformat": "d.M.yy | dd.MM.yyyy|d MMMM yyyy", "year_pivot": 30},
            {"1.2.30": "2030-02-01", "01.12.31": "1931-12-01", "03.04.1900": "1900-04-03", "7 june 2026": "2026-06-07"},
        ),
        (
            {
                "data_type": "timestamp",
                "dateformat": "M/d/yyyy h:mm a | d. MMM, yyyy h:mm:ssa | yyyy-MM-ddTHH:mm:ss.SZ | yyyy-MM-dd",
            },
            {
                "2. Mar, 2026 1:05:06PM": "2026-03-02 13:05:06",
                "1/2/2026 12:05 AM": "2026-01-02 00:05:00",
                "11/27/2026 12:05 pm": "2026-11-27 12:05:00",
                "2026-11-27T23:59:59.123456Z": "2026-11-27 23:59:59.123456",
                "2026-11-27": "2026-11-27 00:00:00",
            },
        ),
    ],
    ids=str,
)
def test_what_senders_write_comes_out_as_the_value_that_they_mean(
    etl: Installation, rule: dict[str, Any], values: dict[str, str]
) -> None:
    add_import(etl)
    add_rule(etl, "x", **rule)
    drop_file(etl, as_csv([["n", "x"], *([str(index), text] for index, text in enumerate(values))], delimiter=";"))
    (outcome,) = run().files
    assert outcome.status == "Loaded", outcome.detail
    assert [value for (value,) in loaded(etl, "x::text")] == list(values.values())


@pytest.mark.parametrize(
    ("rule", "text", "told"),
    [
        ({"data_type": "numeric"}, "1.234,56", "it is not a number; decimal_sign, thousands_sign"),
        (
            {"data_type": "numeric", "decimal_sign": ",", "thousands_sign": "."},
            "1.23",
            "decimal_sign ',', thousands_sign '.': the thousands signs do not make groups of three digits: '1.23'",
        ),
        ({"data_type": "boolean"}, "ja", "it is neither true nor false; true_words and false_words"),
        (
            {"data_type": "date", "dateformat": "d.M.yyyy | yyyy-MM-dd"},
            "1/1/24",
            "one of the forms d.M.yyyy | yyyy-MM-dd: '1/1/24'",
        ),
    ],
)
def test_a_value_that_is_refused_is_shown_with_the_setting_that_reads_it(
    etl: Installation, rule: dict[str, Any], text: str, told: str
) -> None:
    add_import(etl)
    add_rule(etl, "x", **rule)
    drop_file(etl, f"n;x\n1;{text}\n")
    assert told in run().files[0].detail


@pytest.mark.parametrize(
    ("columns", "check"),
    [
        ({"data_type": "numeric", "thousands_sign": "."}, "thousands_sign_is_not_the_decimal_sign"),
        ({"data_type": "integer", "decimal_sign": ","}, "number_settings_are_for_numbers"),
        ({"data_type": "numeric", "unit_words": ["CHF-"]}, "unit_words_have_no_digit_and_no_sign"),
        ({"data_type": "boolean", "true_words": ["Ja"], "false_words": ["jA"]}, "each_word_has_one_meaning"),
        ({"data_type": "boolean", "true_words": ["ja"]}, "true_and_false_words_go_together"),
        ({"data_type": "date", "year_pivot": 1950}, "year_pivot_is_a_year_of_two_digits"),
    ],
)
def test_the_table_refuses_settings_that_contradict_each_other(
    etl: Installation, columns: dict[str, Any], check: str
) -> None:
    add_import(etl)
    with pytest.raises(psycopg2.errors.CheckViolation) as refusal:
        add_rule(etl, "x", **columns)
    assert check in str(refusal.value.diag.constraint_name)


NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9)
SIGNS = [(",", "."), (".", ","), (".", "'"), (",", " "), (",", None), (".", None)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(NUMBERS, min_size=1, max_size=20), st.sampled_from(SIGNS), st.sampled_from([None, "after", "parentheses"])
)
def test_a_number_reads_back_equal_however_it_is_written(
    etl: Installation, numbers: list[Decimal], signs: tuple[str, str | None], negative: str | None
) -> None:
    decimal, thousands = signs
    rule = ColumnRule(
        "x",
        data_type="numeric",
        decimal_sign=decimal,
        thousands_sign=thousands,
        negative_form=negative,
        unit_words=("€",),
    )
    for number in numbers:
        written = f"{abs(number):,.3f}".translate({ord(","): thousands, ord("."): decimal})
        if number < 0:
            written = {"after": f"{written}-", "parentheses": f"({written})"}.get(negative or "", f"-{written}")
        assert read_by(etl, rule, written) == (True, number)
        assert read_by(etl, rule, f"{written} €") == (True, number)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dates(min_value=date(1950, 1, 1), max_value=date(2049, 12, 31)),
    st.sampled_from(["%d.%m.%Y", "%Y%m%d", "%-d.%-m.%y", "%d-%b-%y", "%B %-d, %Y", "%y%m%d", "%d. %m.%Y"]),
)
def test_a_date_reads_back_equal_however_it_is_written(etl: Installation, day: date, form: str) -> None:
    letters = {"%d": "dd", "%-d": "d", "%m": "MM", "%-m": "M", "%Y": "yyyy", "%y": "yy", "%b": "MMM", "%B": "MMMM"}
    spelled = re.sub("%-?[a-zA-Z]", lambda found: letters[found[0]], form)
    rule = ColumnRule("x", data_type="date", dateformat=f"{spelled} | yyyy/MM/dd", year_pivot=49)
    assert read_by(etl, rule, day.strftime(form)) == (True, day)
    assert read_by(etl, rule, day.strftime(form) + " ") == (False, None)


def read_by(etl: Installation, rule: ColumnRule, text: str) -> tuple[bool, Any]:
    """Return whether the rule passes the text, and its value, which must be the same where checks and value are one statement."""
    column = SQL("t.x")
    read = SQL("SELECT {0}, CASE WHEN {0} THEN {1} END FROM (SELECT {2} AS x OFFSET 0) AS t")
    value, cell = rule.value(column), rule.text(Literal(text))
    (found,) = etl.query(read.format(rule.passes(column), value, cell))
    try:
        (in_one,) = etl.query(read.format(rule.passes(column, is_read=True), value, cell))
    except psycopg2.DataError:
        in_one = (False, None)
    assert in_one == found
    return found  # type: ignore[return-value]


def test_without_a_limit_one_bad_line_refuses_the_file_and_is_named(etl: Installation) -> None:
    add_import(etl)
    add_rule(etl, "x", data_type="integer")
    drop_file(etl, 'n,x\n"two\nlines",1\nb,two\n')
    report = run()
    assert report.files[0].detail == "line 4, column 'x': it is not a whole number: 'two'"
    assert etl.value("SELECT to_regclass('public.tclients')") is None


def test_a_bad_line_is_named_also_where_the_table_refuses_another_line(etl: Installation) -> None:
    add_import(etl)
    add_rule(etl, "n", data_type="integer")
    add_rule(etl, "day", data_type="date")
    drop_file(etl, "n,day\n1,2026-03-01\n")
    assert run().counts() == {"Loaded": 1}
    etl.query("ALTER TABLE public.tclients ADD CHECK (n < 3)")
    drop_file(etl, "n,day\n2,2026-03-01\n3,2026-03-02\n4,2026-02-30\n", "clients_20260303.csv")
    assert run().files[0].detail == "line 4, column 'day': it is not a date of the form yyyy-MM-dd: '2026-02-30'"
    drop_file(etl, "n,day\n2,2026-03-01\n3,2026-03-02\n", "clients_20260303.csv")
    assert "tclients_n_check" in run().files[0].detail
    assert loaded(etl, "n, day") == [(1, date(2026, 3, 1))]


def test_a_day_that_does_not_exist_is_refused_also_where_the_column_keeps_the_text(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "day\n2026-01-02\n")
    assert run().counts() == {"Loaded": 1}
    add_rule(etl, "day", data_type="date", dateformat="yyyy-dd-MM")
    drop_file(etl, "day\n2026-31-03\n", "clients_20260303.csv")
    assert run().counts() == {"Loaded": 1}
    drop_file(etl, "day\n2026-30-02\n", "clients_20260304.csv")
    assert run().counts() == {"Failed": 1}
    assert loaded(etl, "day") == [("2026-01-02",), ("2026-31-03",)]


def test_rejects_are_kept_with_their_line_and_their_own_text(etl: Installation) -> None:
    add_import(etl, reject_limit_percent=60, encoding="utf-8")
    drop_file(etl, b'a,b\n1,x\nragged\n2,"said ""so"""\n3,b\xffd\n4,"q"uote\n5,y\0z\n6,last\n')
    (outcome,) = run().files
    assert (outcome.status, outcome.rows, outcome.rejects) == ("Loaded", 3, 4)
    assert loaded(etl, "a, b") == [("1", "x"), ("2", 'said "so"'), ("6", "last")]
    assert etl.query("SELECT line_number, column_name, original FROM dba.timportreject ORDER BY rejectid") == [
        (3, None, "ragged"),
        (5, "b", "3,b\\udcffd"),
        (6, None, '4,"q"uote'),
        (7, "b", "5,y\\x00z"),
    ]
    assert etl.query("SELECT row_count, reject_count FROM dba.timportfile") == [(3, 4)]


def test_above_the_limit_everything_is_taken_back(etl: Installation) -> None:
    add_import(etl, reject_limit_percent=10)
    drop_file(etl, "a,b\n" + "1,2\n" * 8 + "bad\n")
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert re.match("1 of 9 .*10 percent .*line 10:", outcome.detail)
    assert etl.value("SELECT count(*) FROM dba.timportreject") == 0
    assert etl.value("SELECT to_regclass('public.tclients')") is None


def test_a_quote_that_is_never_closed_is_no_single_bad_line(etl: Installation) -> None:
    add_import(etl, reject_limit_percent=100)
    drop_file(etl, 'a,b\n1,2\n3,"4\n' + "5,6\n" * 10)
    assert run().counts() == {"Failed": 1}


@pytest.mark.parametrize(
    ("limits", "told"),
    [({"minimum_rows": 3}, "minimum_rows asks for at least 3"), ({"maximum_rows": 1}, "maximum_rows allows at most 1")],
)
def test_a_file_with_too_few_or_too_many_rows_is_refused(etl: Installation, limits: dict[str, int], told: str) -> None:
    add_import(etl, **limits)
    drop_file(etl, "a\n1\n2\n")
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert told in outcome.detail


def test_a_required_column_that_is_not_in_the_file_refuses_it(etl: Installation) -> None:
    add_import(etl)
    add_rule(etl, "ticker", is_required=True)
    drop_file(etl, "a,b\n1,2\n")
    assert re.search('no column "ticker", .*required; .*"a", "b"$', run().files[0].detail)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"pattern": "("}, "the pattern of column 'x' cannot be used"),
        ({"data_type": "integer", "minimum": "few"}, "the limit 'few' is no integer"),
        ({"data_type": "date", "dateformat": "dd.MM"}, "must have yyyy or yy, MM or M"),
        ({"data_type": "date", "dateformat": "dd.MM.yy"}, "set year_pivot"),
        ({"data_type": "date", "dateformat": "dMyyyy"}, "must have a sign between two parts"),
        ({"data_type": "date", "dateformat": "on d MMM yyyy"}, "may have no letters besides its parts"),
        ({"data_type": "date", "dateformat": "dd/MM/yyyy | MM/dd/yyyy"}, "has two meanings: '03/01/2012'"),
        ({"data_type": "date", "dateformat": "yyyyMMdd | ddMMyyyy"}, "has two meanings"),
        ({"data_type": "date", "dateformat": "MMMM d yy | MMM yy d", "year_pivot": 50}, "has two meanings: 'May"),
        ({"data_type": "timestamp", "dateformat": "d.M.yyyy h:mm"}, "must have h and a"),
        ({"target_name": "tclientsid"}, "'tclientsid' is a column of the import itself"),
        ({"data_type": "integer", "minimum": "1e30"}, "the limit '1e30' is no integer"),
        ({"data_type": "numeric", "maximum": "NaN"}, "the limit 'NaN' is no numeric"),
    ],
)
def test_a_rule_that_cannot_be_meant_leaves_the_file_in_place(
    etl: Installation, rule: dict[str, str], told: str
) -> None:
    add_import(etl)
    add_rule(etl, "x", **rule)
    path = drop_file(etl, "n,x\n1,2\n")
    result = etl.door("run_import_job.py", "clients")
    assert result.returncode == 1
    assert told in result.stderr
    assert path.exists()


def test_a_file_with_both_the_old_and_the_new_name_of_a_column_does_not_stop_the_others(etl: Installation) -> None:
    add_import(etl)
    add_rule(etl, "ticker", target_name="symbol")
    drop_file(etl, "ticker,symbol\n1,2\n", "clients_20260302.csv")
    drop_file(etl, "ticker,b\n1,2\n", "clients_20260303.csv")
    assert run().counts() == {"Failed": 1, "Loaded": 1}
    assert 'would be called "symbol"' in etl.value("SELECT error FROM dba.timportfile WHERE status = 'Failed'")


def test_a_rule_is_found_by_the_heading_as_it_stands_in_the_file(etl: Installation) -> None:
    add_import(etl)
    add_rule(etl, "Growth %", data_type="integer")
    drop_file(etl, "Growth %,record_number\n7,x\n")
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, '"growth_%", record_number') == [(7, "x")]


def test_a_stray_quote_that_hides_where_lines_end_refuses_the_file_whatever_the_limit(etl: Installation) -> None:
    add_import(etl, reject_limit_percent=100)
    drop_file(etl, 'id,name\n1,a\n3,"say "hello"\nbogus,fragment"\n4,d\n')
    assert run().counts() == {"Failed": 1}


def test_lines_that_a_quote_swallows_count_one_by_one(etl: Installation) -> None:
    add_import(etl, reject_limit_percent=1)
    lines = [f"{number},n{number}" for number in range(1_000)]
    lines[101], lines[801] = '101,"unclosed', '801,"n801"'
    drop_file(etl, "id,name\n" + "\n".join(lines) + "\n")
    assert run().counts() == {"Failed": 1}
    lines[801] = '801,n801",x'
    drop_file(etl, "id,name\n" + "\n".join(lines) + "\n", "clients_20260303.csv")
    assert re.search("701 of 1000 .* 1 percent", run().files[0].detail)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["007", "NA", "null", "\\.", "\\N", " x ", "1E5", "two\nlines", "cr\rinside", 'q"q', "\u2028", "\x1f"]
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8))
def test_through_the_staging_table_untouched_columns_are_as_exact_as_without(
    etl: Installation, rows: list[tuple[str, str]]
) -> None:
    etl.query("DROP TABLE IF EXISTS public.tclients CASCADE")
    etl.query(
        "TRUNCATE dba.timportfile, dba.timportconfig, dba.timportdrift, dba.timportreject, dba.timportcolumn CASCADE"
    )
    add_import(etl)
    add_rule(etl, "n", data_type="integer")
    drop_file(etl, as_csv([["a", "n", "b"], *([a, str(index), b] for index, (a, b) in enumerate(rows))], quoting=1))
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "a, n, b") == [(a or None, index, b or None) for index, (a, b) in enumerate(rows)]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(etl: Installation) -> None:
    add_import(etl, reject_limit_percent=50)
    drop_file(etl, "a\n1\n")
    run()
    path = drop_file(etl, "a,b\n2,new\nragged\n", "clients_20260303.csv")
    before = etl.query(
        "SELECT count(*), (SELECT count(*) FROM dba.timportfile), (SELECT max(datasetid) FROM dba.tdataset) FROM public.tclients"
    )
    result = etl.door("run_import_job.py", "clients", "--dry-run", "--json")
    assert result.returncode == 0, result.stderr
    (outcome,) = json.loads(result.stdout)["files"]
    assert (outcome["status"], outcome["rows"], outcome["rejects"]) == ("Would load", 1, 1)
    assert outcome["statements"][0] == 'ALTER TABLE "public"."tclients" ADD COLUMN IF NOT EXISTS "b" text'
    assert "would run: ALTER TABLE" in result.stderr
    after = etl.query(
        "SELECT count(*), (SELECT count(*) FROM dba.timportfile), (SELECT max(datasetid) FROM dba.tdataset) FROM public.tclients"
    )
    assert before == after
    assert path.exists()
    assert etl.value("SELECT count(*) FROM dba.timportdrift") == 0


def test_a_dry_run_of_a_first_file_shows_the_table_and_makes_none(etl: Installation) -> None:
    add_import(etl)
    add_rule(etl, "n", data_type="integer")
    path = drop_file(etl, "a,n\nx,1\n")
    (outcome,) = run(dry_run=True).files
    assert outcome.statements[0].startswith('CREATE TABLE "public"."tclients"')
    assert 'ALTER TABLE "public"."tclients" ADD COLUMN IF NOT EXISTS "n" bigint' in outcome.statements
    assert etl.value("SELECT to_regclass('public.tclients')") is None
    assert path.exists()


def test_a_dry_run_shows_how_each_rule_reads_the_first_value(etl: Installation) -> None:
    add_import(etl, reject_limit_percent=50)
    add_rule(etl, "sales", data_type="numeric", decimal_sign=",", thousands_sign=".", null_words=["-"])
    add_rule(etl, "day", data_type="date", dateformat="d.M.yy", year_pivot=50, target_name="of")
    add_rule(etl, "open", data_type="boolean", true_words=["ja"], false_words=[""])
    add_rule(etl, "name", is_trimmed=True)
    add_rule(etl, "note", is_required=True)
    add_rule(etl, "month", value_source="filename", value_pattern="_([0-9]{6})")
    drop_file(etl, "sales;day;open;name;note\n1.23;;;;x\n-;;; a;x\n1.234,5;1.2.26;ja;b;x\n")
    result = etl.door("run_import_job.py", "clients", "--dry-run")
    assert (
        "would read sales '1.234,5' as 1234.5, of '1.2.26' as 2026-02-01, open '' as false, name ' a' as a, "
        "month '202603' as 202603" in result.stderr
    )


def test_rules_come_from_the_table(etl: Installation) -> None:
    add_import(etl)
    add_rule(etl, "x", data_type="numeric", null_words=["-", "N/A"], minimum="0")
    with db_config.session() as connection:
        rules = load_rules(connection, load_config(connection, "clients"))
    assert rules == {"x": ColumnRule("x", data_type="numeric", null_words=("-", "N/A"), minimum="0")}


def test_the_last_imports_are_shown_with_their_rejects_and_drift(etl: Installation) -> None:
    add_import(etl, reject_limit_percent=50)
    drop_file(etl, "a\n1\n")
    assert etl.door("run_import_job.py", "clients").returncode == 0
    drop_file(etl, "a,b\n2,x\nragged\n", "clients_20260303.csv")
    assert etl.door("run_import_job.py", "clients").returncode == 0
    drop_file(etl, "", "clients_20260304.csv")
    assert etl.door("run_import_job.py", "clients").returncode == 1
    shown = etl.door("show_imports.py", "clients", TZ="Etc/GMT-9", PGTZ="Etc/GMT+9").stdout.splitlines()
    moments = (
        "SELECT to_char(created_at AT TIME ZONE 'Etc/GMT-9', 'YYYY-MM-DD HH24:MI') FROM dba.timportfile ORDER BY 1 DESC"
    )
    assert [line[:16] for line in shown if not line.startswith(" ")] == [text for (text,) in etl.query(moments)]
    assert [line.split(None, 2)[2] for line in shown if not line.startswith(" ")] == [
        f"Failed    clients: clients_20260304.csv, now {etl.home}/file_watcher/failed/clients/clients_20260304.csv",
        f"Loaded    clients: clients_20260303.csv 1 rows, dataset 2 (active), 1 rejected, now {etl.home}/archive/clients_20260303.csv",
        f"Loaded    clients: clients_20260302.csv 1 rows, dataset 1 (active), now {etl.home}/archive/clients_20260302.csv",
    ]
    assert [line.strip() for line in shown if line.startswith(" ")] == [
        "it has no header row: the file is empty",
        "line 3: it has 1 field, and the header row has 2: 'ragged'",
        "columns added: b",
    ]
    (failed,) = json.loads(etl.door("show_imports.py", "--failed", "--json").stdout)
    assert failed["file_name"] == "clients_20260304.csv"


def test_a_rule_for_a_column_that_nothing_has_is_named_in_the_run_and_before_it(etl: Installation) -> None:
    add_import(etl)
    add_rule(etl, "qqty", data_type="integer")
    drop_file(etl, "sku,qty,loc\na,1,x\n")
    told = 'the rule for "qqty" names a column the file does not have; it has "sku", "qty", "loc"'
    (tried,) = run(dry_run=True).files
    assert told in tried.detail
    result = etl.door("run_import_job.py", "clients")
    assert result.returncode == 0
    assert f"warning: clients_20260302.csv: {told}" in result.stderr
    assert loaded(etl, "sku, qty, loc") == [("a", "1", "x")]


def test_a_rule_for_a_column_that_only_this_file_lacks_is_none_to_speak_of(etl: Installation) -> None:
    add_import(etl)
    add_rule(etl, "b", data_type="integer")
    drop_file(etl, "a,b\n1,2\n")
    drop_file(etl, "a\n3\n", "clients_20260303.csv")
    assert [outcome.detail.count("warning") for outcome in run().files] == [0, 0]
    assert loaded(etl, "a, b") == [("1", 2), ("3", None)]


def test_a_rule_for_a_column_that_the_strategy_leaves_out_stops_nothing(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "a\n1\n")
    run()
    etl.query("UPDATE dba.timportconfig SET importstrategyid = 2")
    add_rule(etl, "b", data_type="integer")
    add_rule(etl, "a", pattern="[0-9]")
    drop_file(etl, "a,b\n2,x\n", "clients_20260303.csv")
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "a") == [("1",), ("2",)]


def test_a_rule_whose_target_the_file_fills_by_itself_is_named(etl: Installation) -> None:
    add_import(etl)
    add_rule(etl, "tikcer", target_name="ticker", pattern="[A-Z]+")
    drop_file(etl, "ticker\nabc\n")
    assert re.search('"tikcer" .*"ticker"', run().files[0].detail)


@pytest.mark.parametrize(
    ("rule", "before", "after", "stored"),
    [
        ({"data_type": "integer"}, "007", "8", [7, 8]),
        # Stored as 1.234, it would be read as 1234.
        (
            {"data_type": "numeric", "decimal_sign": ",", "thousands_sign": "."},
            "1.234",
            "1,234",
            [1234, Decimal("1.234")],
        ),
        ({"data_type": "boolean", "true_words": ["false"], "false_words": ["true"]}, "true", "false", [False, True]),
        (
            {"data_type": "date", "dateformat": "yyyy-dd-MM"},
            "2026-01-02",
            "2026-03-04",
            [date(2026, 2, 1), date(2026, 4, 3)],
        ),
        ({"data_type": "boolean", "null_words": ["-"]}, "-", "no", [None, False]),
        (
            {"data_type": "date", "dateformat": "dd.MM.yyyy"},
            "29.02.2024",
            "01.03.2024",
            [date(2024, 2, 29), date(2024, 3, 1)],
        ),
    ],
)
def test_a_type_that_came_after_the_table_is_told_with_what_changes_it(
    etl: Installation, rule: dict[str, Any], before: str, after: str, stored: list[Any]
) -> None:
    add_import(etl)
    drop_file(etl, f"a;x y\n1;{before}\n")
    run()
    add_rule(etl, "x_y", **rule)
    drop_file(etl, f"a;x y\n2;{after}\n", "clients_20260303.csv")
    (tried,) = run(dry_run=True).files
    (done,) = run().files
    assert re.search(r'"x_y" of public\.tclients is text, and its rule', done.detail)
    statement = done.detail.partition("as the table's owner: ")[2]
    assert statement
    assert statement in tried.detail
    etl.query(statement, user="etl_user")
    assert [row[0] for row in loaded(etl, "x_y")] == stored
    drop_file(etl, f"a;x y\n3;{after}\n", "clients_20260304.csv")
    assert "warning" not in run().files[0].detail
    assert etl.value("SELECT count(*) FROM public.vclients") == 3


def test_what_rules_reject_takes_no_memory_for_each_line(etl: Installation) -> None:
    add_import(etl, reject_limit_percent=100)
    add_rule(etl, "n", data_type="integer")
    lines = "".join(f"{'x' * 10_000},no\n" for _ in range(2_000))
    drop_file(etl, "a,n\nok,1\n")
    run()
    drop_file(etl, f"a,n\n{lines}ok,1\n", "clients_20260303.csv")
    tracemalloc.start()
    try:
        (outcome,) = run().files
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (outcome.rows, outcome.rejects) == (1, 2_000)
    assert peak < len(lines) / 2
    first, last = etl.query("SELECT min(line_number), max(line_number) FROM dba.timportreject")[0]
    assert (first, last) == (2, 2_001)


def test_a_column_that_the_file_lacks_gets_its_value_from_the_name_or_the_folder(etl: Installation) -> None:
    add_import(etl)
    add_rule(
        etl,
        "Branch",
        value_source="filename",
        value_pattern="^clients_([0-9]{4})",
        data_type="integer",
        target_name="year",
    )
    add_rule(etl, "place", value_source="folder", value_pattern="[a-z_]+$")
    drop_file(etl, "a\n1\n")
    drop_file(etl, 'b,a\n"q""q",2\nx,3\n', "clients_20270303.csv")
    assert run().counts() == {"Loaded": 2}
    assert loaded(etl, "a, b, year, place") == [
        ("1", None, 2026, "file_watcher"),
        ("2", 'q"q', 2027, "file_watcher"),
        ("3", "x", 2027, "file_watcher"),
    ]
    assert etl.query("SELECT column_name, kind FROM dba.timportdrift") == [("b", "added")]


@pytest.mark.parametrize(
    ("rule", "status", "told"),
    [
        (
            {"value_source": "filename", "value_pattern": "x(.)"},
            "Failed",
            "value_pattern x\\(.\\) does not fit the filename 'clients_2",
        ),
        (
            {"value_source": "filename", "value_pattern": "cl(x?)"},
            "Failed",
            "the filename '.*' has nothing in its place",
        ),
        ({"value_source": "mail_sender"}, "Failed", "its value_source is mail_sender, and no mail brought the file"),
        (
            {"value_source": "filename", "column_name": "a"},
            "Failed",
            'a column "a" itself, and a rule for this name has a val',
        ),
        (
            {"value_source": "filename", "is_required": True, "data_type": "date"},
            "Failed",
            "column 'x': it is not a date",
        ),
    ],
)
def test_a_file_without_such_a_value_is_refused(
    etl: Installation, rule: dict[str, Any], status: str, told: str
) -> None:
    add_import(etl)
    add_rule(etl, **{"column_name": "x", **rule})
    drop_file(etl, "a,b\n1,2\n")
    (outcome,) = run().files
    assert outcome.status == status
    assert re.search(told, outcome.detail)
    assert etl.value("SELECT to_regclass('public.tclients')") is None


def test_a_value_from_outside_follows_the_strategy(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, "a,b\n1,2\n")
    run()
    etl.query("UPDATE dba.timportconfig SET importstrategyid = 2")
    add_rule(etl, "x", value_source="filename")
    add_rule(etl, "b", value_source="filename")
    drop_file(etl, "a\n3\n", "clients_20260303.csv")
    drop_file(etl, "c\n3\n", "clients_20260304.csv")
    assert run().counts() == {"Loaded": 1, "Failed": 1}
    assert loaded(etl, "a, b") == [("1", "2"), ("3", "clients_20260303.csv")]
    assert etl.query("SELECT column_name, kind FROM dba.timportdrift") == [("x", "ignored")]


def test_a_file_that_came_by_mail_has_the_sender_the_subject_and_the_time_in_its_rows(etl: Installation) -> None:
    add_import(etl)
    for name in ("sender", "subject", "time"):
        add_rule(etl, f"mail {name}", value_source=f"mail_{name}", data_type="timestamp" if name == "time" else "text")
    path = drop_file(etl, "a\n1\n")
    etl.query(
        "WITH rule AS (INSERT INTO dba.tinboxconfig (config_name, gmail_account, local_repository_path)"
        "  VALUES ('list', 'a@example.com', '/srv') RETURNING config_id),"
        " mail AS (INSERT INTO dba.tinboxmessage (account, mailbox_id, config_id, status, sender, subject, received_at)"
        "  SELECT 'a@example.com', '1', config_id, 'Saved', 'list@acme.com', 'Prices, \"new\"', %s FROM rule RETURNING messageid)"
        " INSERT INTO dba.treceivedfile (messageid, name, directory, file_name, file_size, sha256, status, saved_path)"
        " SELECT messageid, 'x.csv', '/srv', 'x.csv', 4, %s, 'Saved', %s FROM mail",
        datetime(2026, 3, 2, 5, 30).astimezone(), hashlib.sha256(b"a\n1\n").hexdigest(), str(path),
    )  # fmt: skip
    (outcome,) = run().files
    assert outcome.status == "Loaded", outcome.detail
    assert loaded(etl, "a, mail_sender, mail_subject, mail_time") == [
        ("1", "list@acme.com", 'Prices, "new"', datetime(2026, 3, 2, 5, 30))
    ]
