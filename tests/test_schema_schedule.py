"""Which cron expressions the schema takes, as Debian's cron and the writer of the cron file do."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schema_helpers import JOB, REPORT, become, insert, one, refusal, rows

from systemscripts.cron.expression import CronExpressionError, parse

pytest_plugins = ["schema_fixtures"]


@pytest.mark.parametrize(
    "expression",
    ["", "daily", "0 5 * *", "0 5 * * * *", "60 5 * * *", "0 24 * * *", "0 5 0 * *", "0 5 * 13 *", "0 5 * * 8", "*/0 * * * *",
     "0/15 * * * *", "0 5 L * *", "# 0 5 * * *", "0 5 * * 1-5\n* * * * *", "0 5 * * 1\r", "\ufeff0 5 * * *", "@fortnightly",
     "A=1 5 * * *", "0 5 * * mon-", ",5 * * * *"],
)  # fmt: skip
@pytest.mark.parametrize(("table", "row"), [("tscheduler", JOB), ("treportmanager", REPORT)])
def test_a_bad_cron_expression_is_refused(cursor: Any, table: str, row: dict[str, Any], expression: str):
    statement, values = insert(table, {**row, "frequency": expression})

    error = refusal(become(cursor, "etl_owner"), statement, *values)

    assert error.diag.constraint_name == "cron_expression_as_debian_reads_it"


@pytest.mark.parametrize(
    "expression",
    ["0 5,17 * * 1-5", "*/5 * * * *", " 0\t5 * * * ", "0 5 * jan-mar SUN,7", "@daily", "50-10 * * * *", "0 0 30 2 *", "5-59/10 * * * 0-7"],
)  # fmt: skip
def test_a_good_cron_expression_is_stored_as_it_is(cursor: Any, expression: str):
    statement, values = insert("tscheduler", {**JOB, "frequency": expression})

    assert expression in one(become(cursor, "etl_owner"), statement, *values)


def test_the_database_accepts_what_debians_cron_accepts(corpus_dir: Path, cursor: Any):
    """Three comments, and six lines whose sixth field a user's crontab takes for the command, are no schedule."""
    collected = json.loads((corpus_dir / "cron/expressions.json").read_text())
    verdicts = {entry["expr"]: entry["debian_cron_accepts"] for entry in collected}

    found = dict(rows(cursor, "SELECT e, dba.f_is_cron_expression(e) FROM unnest(%s::text[]) AS e", list(verdicts)))

    different = {expression for expression, accepted in verdicts.items() if found[expression] is not accepted}
    comments = {expression for expression in different if expression.startswith("#")}
    assert len(comments) == 3
    assert {len(expression.split()) for expression in different - comments} == {6}
    assert len(different) == 9
    assert not any(found[expression] for expression in different)


field = st.text("0123456789*,-/", min_size=1, max_size=6) | st.sampled_from(
    ["*", "*/5", "1-5", "1,2", "mon", "jan-mar", "SUN", "60", "0", "31", "*/0", "1-", "5#2", "a", "08", "%", "L"]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(field, min_size=4, max_size=6).map(" ".join)
    | st.text("0123456789*,-/ \t@=#monjSLd", max_size=20)
    | st.lists(field, min_size=5, max_size=5).map("\t ".join)
)
def test_the_database_and_the_cron_writer_agree(cursor: Any, expression: str):
    try:
        parse(expression)
        accepted = True
    except CronExpressionError:
        accepted = False

    assert one(cursor, "SELECT dba.f_is_cron_expression(%s)", expression) is accepted
