"""Rows that the schema refuses, each by a rule with a name."""

from typing import Any

import pytest
from schema_helpers import FILE, IMPORT, INBOX, JOB, REPORT, TUESDAY, add_dataset, insert, one, refusal

pytest_plugins = ["schema_fixtures"]

GOOD_ROWS = {
    "tscheduler": JOB,
    "treportmanager": REPORT,
    "timportconfig": IMPORT,
    "tinboxconfig": INBOX,
    "tdataset": {
        "datasetdate": TUESDAY, "label": "x", "datasettypeid": 3, "datasourceid": 1, "datastatusid": 1,
        "isactive": True, "effthrudate": "9999-01-01",
    },
    "timportfile": FILE,
    "tdownload": {"eventid": "1", "url": "/1", "status": "Downloaded"},
    "tjobrun": {"run_uuid": "00000000-0000-0000-0000-000000000001", "job": "a.py"},
}  # fmt: skip
UNSAFE_TABLES = [
    "TCall", "dba.tlogentry", "pg_catalog.pg_class", "information_schema.tables", "pg_temp.tcall", "Public.tcall",
    "public.TCall", "public.t-call", 'public."tcall"', "public.tcall; DROP TABLE x", "public.tcall ", "a.b.c",
    "public.1call", "public." + "a" * 61, "public.t\n", "public.täll", "",
]  # fmt: skip
# By table: the end of the rule's name, and the changes of a good row that the rule refuses.
BAD_CHANGES: dict[str, list[tuple[str, list[dict[str, Any]]]]] = {
    "tscheduler": [
        ("taskname_on_one_line", [{"taskname": "a\nb"}, {"taskname": " "}]),
        ("scriptargs_on_one_line", [{"scriptargs": "a\nb"}, {"scriptargs": "a\r"}]),
        ("scriptpath_is_a_job_or_absolute",
         [{"scriptpath": path} for path in ("a.py\n", "/a\nb", "../a.py", "a.py; rm", "")]),
        ("datastatusid_fkey", [{"datastatusid": 99}]),
    ],
    "treportmanager": [
        ("reportname_on_one_line", [{"reportname": "a\nb"}]),
        ("subjectheader_on_one_line", [{"subjectheader": "a\r\nBcc: x@example.com"}]),
        ("toheader_on_one_line", [{"toheader": "a@example.com\n"}]),
        ("attachmentqueries_have_name_and_query",
         [{"attachmentqueries": '{"name": "a"}'}, {"attachmentqueries": '[{"name": "a.csv"}]'},
          {"attachmentqueries": '[{"name": "../a", "query": "x"}]'},
          {"attachmentqueries": r'[{"name": "a\nb", "query": "x"}]'}]),
        ("emailbodyqueries_are_named_queries", [{"emailbodyqueries": "[]"}, {"emailbodyqueries": '{"a": 1}'}]),
    ],
    "timportconfig": [
        ("directories_without_trailing_slash", [{"source_directory": "/srv/in/"}, {"archive_directory": "/"}]),
        ("directories_differ", [{"archive_directory": "/srv/in"}]),
        ("directories_are_absolute",
         [{"source_directory": "in"}, {"archive_directory": "~/a"}, {"archive_directory": "/srv/../etc"}]),
        ("file_pattern_is_not_blank", [{"file_pattern": " "}]),
        ("file_type_is_known", [{"file_type": "PDF"}]),
        ("metadata_label_source_is_known", [{"metadata_label_source": "guess"}]),
        ("dateconfig_is_known", [{"dateconfig": "today"}]),
        ("field_delimiter_is_one_sign", [{"field_delimiter": "::"}]),
        ("duplicate_scope_is_known", [{"duplicate_scope": "all"}]),
        ("datasource_fkey", [{"datasource": "Nobody"}]),
        ("datasettype_fkey", [{"datasettype": "Nothing"}]),
        ("importstrategyid_fkey", [{"importstrategyid": 9}]),
        ("config_name_key", [{"config_name": "MeetMaxURLCheckImport"}]),
        ("target_table_is_schema_dot_table", [{"target_table": name} for name in UNSAFE_TABLES]),
        ("member_pattern_is_not_blank", [{"member_pattern": ""}]),
        ("password_name_is_the_end_of_a_setting", [{"password_name": "acme"}, {"password_name": "my secret!"}]),
        ("column_positions_are_first_to_last", [{"column_positions": "1,2"}, {"column_positions": "1-2;3-4"}]),
        ("record_path_is_not_blank", [{"record_path": " "}, {"record_path": "a//b"}]),
        ("sheet_column_is_not_blank", [{"sheet_column": ""}]),
    ],
    "tinboxconfig": [
        ("local_repository_path_is_absolute", [{"local_repository_path": path} for path in ("in", "/in/", "/in/../x")]),
        ("labels_differ", [{"processed_label": "x", "error_label": "x"}]),
        (
            "auth_is_password_or_oauth_of_a_provider",
            [{"auth": auth, "imap_server": "x.org"} for auth in ("oauth", "oauth:", "oauth:../x", "Password", "")],
        ),
        ("graph_has_no_imap_server", [{"auth": "graph", "imap_server": "x.org"}]),
        ("oauth_needs_an_imap_server", [{"auth": "oauth:google", "imap_server": None}]),
    ],
    "tdataset": [("isactive_goes_with_status_active", [{"datastatusid": 5}, {"isactive": False}])],
    "timportfile": [
        ("status_is_known", [{"status": "Done"}]),
        ("sha256_is_64_hex_digits", [{"sha256": "A" * 64}]),
        ("loaded_names_its_dataset", [{"status": "Loaded"}]),
        ("failed_says_why", [{"status": "Failed"}]),
    ],
    "timportdrift": [
        ("kind_is_known", [{"config_id": 1, "file_name": "a", "column_name": "b", "kind": "renamed"}]),
    ],
    "tdownload": [
        ("status_is_one_of_these", [{"status": "Done", "reason": "x"}]),
        ("not_had_says_why", [{"status": "Refused"}, {"status": "Vanished"}]),
    ],
    "tjobrun": [
        ("status_is_one_of_these", [{"status": "Done", "ended_at": "2026-03-03"}]),
        ("ended_unless_open", [{"status": "Succeeded"}, {"ended_at": "2026-03-03"}]),
    ],
}  # fmt: skip
BAD_ROWS = [
    (table, GOOD_ROWS.get(table, {}), change, f"{table}_{rule}")
    for table, rules in BAD_CHANGES.items()
    for rule, changes in rules
    for change in changes
]


@pytest.mark.parametrize(("table", "row", "change", "rule"), BAD_ROWS)
def test_a_bad_row_is_refused_by_a_rule_with_a_name(
    cursor: Any, table: str, row: dict[str, Any], change: dict[str, Any], rule: str
):
    statement, values = insert(table, {**row, **change})

    assert refusal(cursor, statement, *values).diag.constraint_name == rule


def test_the_set_up_names_the_rows_that_break_a_new_rule(cursor: Any):
    rule = "scriptpath !~ '^(daily|weekly)'"

    cursor.execute("CREATE TEMPORARY TABLE etl_to_decide (told text)")
    cursor.execute("CALL dba.p_ensure_check('dba.tscheduler', 'no_backups', %s)", (rule,))

    told = one(cursor, "SELECT told FROM pg_temp.etl_to_decide")
    assert 'dba.tscheduler: the rows with schedulerid 3, 4, 5 break the rule "no_backups"' in told


@pytest.mark.parametrize(("table", "row"), GOOD_ROWS.items())
def test_the_row_that_the_bad_ones_were_made_from_is_good(cursor: Any, table: str, row: dict[str, Any]):
    statement, values = insert(table, row)

    assert one(cursor, statement, *values)


def test_two_active_datasets_are_refused_even_without_the_trigger(cursor: Any):
    cursor.execute("ALTER TABLE dba.tdataset DISABLE TRIGGER USER")
    statement, values = insert("tdataset", GOOD_ROWS["tdataset"])
    cursor.execute(statement, values)

    assert refusal(cursor, statement, *values).diag.constraint_name == "tdataset_one_active"


def test_content_loads_once_unless_forced(cursor: Any):
    loaded = {**FILE, "status": "Loaded", "datasetid": add_dataset(cursor)}
    statement, values = insert("timportfile", loaded)
    cursor.execute(statement, values)

    assert refusal(cursor, statement, *values).diag.constraint_name == "timportfile_content_loads_once_in_a_row"
    statement, values = insert("timportfile", {**loaded, "forced": True})
    cursor.execute(statement, values)
