"""The routines that add and change import configurations, jobs and reports."""

from typing import Any

import pytest
from schema_helpers import IMPORT, JOB, REPORT, become, one, refusal

pytest_plugins = ["schema_fixtures"]


def call(routine: str, values: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that calls a routine by the names of its parameters, and their values."""
    verb = "CALL" if routine.startswith("p") else "SELECT"
    arguments = ", ".join(f"p_{name} => %s" for name in values)
    return f"{verb} dba.{routine}({arguments})", tuple(values.values())


def test_pimportconfigi_adds_a_configuration_and_returns_its_id(cursor: Any):
    statement, values = call("pimportconfigi", {**IMPORT, "encoding": "cp1252", "field_delimiter": ";"})
    added = one(become(cursor, "etl_owner"), statement, *values)

    names = [*IMPORT, "importstrategyid", "is_active", "encoding", "field_delimiter", "duplicate_scope"]
    found = one(cursor, f"SELECT {', '.join(names)} FROM dba.timportconfig WHERE config_id = %s", added)
    assert found == (*IMPORT.values(), 1, "1", "cp1252", ";", "config")


def test_pimportconfigi_changes_nothing_where_the_name_exists_and_makes_a_source_and_type_known(cursor: Any):
    names = {"datasource": "Another bank", "datasettype": "Calls of another bank"}
    statement, values = call("pimportconfigi", {**IMPORT, **names})
    added = one(become(cursor, "etl_owner"), statement, *values)
    assert one(cursor, "SELECT count(*) FROM dba.tdatasettype WHERE typename = 'Calls of another bank'") == 1

    statement, values = call("pimportconfigi", {**IMPORT, "target_table": "public.tother"})
    assert one(cursor, statement, *values) == added
    assert (
        one(cursor, "SELECT target_table FROM dba.timportconfig WHERE config_id = %s", added) == IMPORT["target_table"]
    )


# As the older installation's users have saved them: by position, and by the older names.
OLDER_STATEMENTS = [
    (("CALL dba.pimportconfigi('Saved', 'MeetMax', 'Metadata', '/srv/in', '/srv/done', '.*', 'CSV', 'static', 'the label', 'filename', "
     "'0', 'yyyyMMdd', '_', 'public.tsaved', 1, B'1')"),
     "SELECT metadata_label_location || dateconfig FROM dba.timportconfig WHERE config_name = 'Saved'", "the labelfilename"),
    ("CALL dba.pimportconfigu(1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'filename', '1', 'static')",
     "SELECT metadata_label_location || dateconfig FROM dba.timportconfig WHERE config_id = 1", "1static"),
    ("SELECT dba.f_insert_tscheduler('Saved', 'd', '0 2 * * *', 'run_import_job.py', '2', 1, 'me')",
     "SELECT scriptargs FROM dba.tscheduler WHERE taskname = 'Saved'", "2"),
    ("SELECT dba.f_update_tscheduler(1, 'Saved', NULL, '0 2 * * *', 'run_import_job.py', NULL, 1)",
     "SELECT coalesce(taskdescription, scriptargs, 'emptied') FROM dba.tscheduler WHERE schedulerid = 1", "emptied"),
    (("SELECT dba.f_insert_treportmanager(p_reportname => 'Saved', p_reportdescription => NULL, p_frequency => '@daily', "
     "p_subjectheader => 's', p_toheader => 'a@example.com', p_hasattachment => NULL, p_attachmentqueries => NULL, "
     "p_emailbodytemplate => NULL, p_emailbodyqueries => NULL, p_datastatus => 2, p_createduser => 'me')"),
     "SELECT emailbodytemplate || hasattachment || datastatusid FROM dba.treportmanager WHERE reportname = 'Saved'",
     "No template providedfalse2"),
    ("SELECT dba.f_update_treportmanager(1, 'Saved', NULL, '@daily', 's', 'a@example.com', true, NULL, 't', NULL, 2)",
     "SELECT coalesce(reportdescription, attachmentqueries::text, 'emptied') FROM dba.treportmanager WHERE reportid = 1", "emptied"),
    ("CALL dba.ppurgeoldlogs(thresholddays => 30)", "SELECT operation FROM dba.tmaintenancelog ORDER BY logid DESC LIMIT 1", "PURGE"),
    ("CALL dba.pmonitorlongrunningqueries(thresholdminutes => 5)", "SELECT 'ran'", "ran"),
    ("CALL dba.prunmaintenancevacuumanalyze()", "SELECT 'ran'", "ran"),
    ("CALL dba.pcapturetableindexstats()", "SELECT 'ran'", "ran"),
    ("SELECT * FROM dba.f_get_event_changes(p_fulldate => '2026-03-03')", "SELECT 'ran'", "ran"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "look", "found"), OLDER_STATEMENTS, ids=[row[0][:40] for row in OLDER_STATEMENTS]
)
def test_a_statement_that_was_saved_in_the_older_installation_means_the_same(
    cursor: Any, statement: str, look: str, found: str
):
    become(cursor, "etl_owner").execute(statement)
    assert one(cursor, look) == found


def test_pimportconfigu_changes_what_is_said_and_keeps_the_rest(cursor: Any):
    before = one(become(cursor, "etl_owner"), "SELECT * FROM dba.timportconfig WHERE config_id = 2")
    cursor.execute("UPDATE dba.timportconfig SET last_modified_at = last_modified_at WHERE config_id = 2")

    cursor.execute("CALL dba.pimportconfigu(2, p_file_type => 'XLSX', p_is_active => B'0')")

    after = one(cursor, "SELECT * FROM dba.timportconfig WHERE config_id = 2")
    names = [column.name for column in cursor.description]
    changed = {name: new for name, old, new in zip(names, before, after, strict=True) if old != new}
    assert set(changed) == {"file_type", "is_active", "last_modified_at"}
    assert one(cursor, "SELECT last_modified_at = now() FROM dba.timportconfig WHERE config_id = 2") is True


@pytest.mark.parametrize(
    ("kind", "table", "key", "values", "change"),
    [
        ("tscheduler", "tscheduler", "schedulerid", {**JOB, "taskdescription": None, "scriptargs": "--x 1"},
         {"frequency": "@daily", "datastatusid": 2, "scriptargs": None}),
        ("treportmanager", "treportmanager", "reportid",
         {**REPORT, "reportdescription": None, "attachmentqueries": '[{"name": "a.csv", "query": "SELECT 1"}]'},
         {"frequency": "@daily", "toheader": None, "attachmentqueries": None, "datastatusid": 2}),
    ],
)  # fmt: skip
def test_a_job_or_report_is_added_and_changed(
    cursor: Any, kind: str, table: str, key: str, values: dict[str, Any], change: dict[str, Any]
):
    def stored() -> dict[str, Any]:
        row = one(cursor, f"SELECT * FROM dba.{table} WHERE {key} = %s", added)
        return dict(zip([column.name for column in cursor.description], row, strict=True))

    statement, arguments = call(f"f_insert_{kind}", values)
    added = one(become(cursor, "etl_owner"), statement, *arguments)
    before = stored()
    statement, arguments = call(f"f_update_{kind}", {key: added, "datastatusid": 1, **values, **change})
    returned = one(cursor, statement, *arguments)

    assert returned == added
    assert {name: before[name] for name in ("frequency", "createduser", "datastatusid")} == {
        "frequency": "0 5 * * 1-5",
        "createduser": "etl_owner",
        "datastatusid": 1,
    }
    assert stored() == {**before, **change}


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT dba.f_insert_tscheduler('A', NULL, '0 25 * * *', 'a.py')", 'frequency "0 25 * * *" is not a cron expression'),
        ("SELECT dba.f_update_tscheduler(1, 'A', NULL, 'daily', 'a.py', NULL, 1)", 'frequency "daily" is not a cron expression'),
        ("SELECT dba.f_update_treportmanager(1, 'A', NULL, '0 5 * *', 's', NULL, false, NULL, 't', NULL, 1)",
         'frequency "0 5 * *" is not a cron expression'),
        ("SELECT dba.f_update_tscheduler(9999, 'A', NULL, '@daily', 'a.py', NULL, 1)", "There is no job 9999 in the schedule"),
        ("SELECT dba.f_update_treportmanager(9999, 'A', NULL, '@daily', 's', NULL, false, NULL, 't', NULL, 1)",
         "There is no report 9999"),
        ("CALL dba.pimportconfigu(9999)", "There is no import configuration 9999"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_explained(cursor: Any, statement: str, told: str):
    assert told in str(refusal(become(cursor, "etl_owner"), statement))
