"""An older installation is adopted without loss, and the same house rules hold in it as in a fresh one."""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, Installation
from schema_helpers import JOB_CALLS, Cluster, all_rows, locked, one, rows, schema_dump

from systemscripts.sources import meetmax_plan

pytest_plugins = ["schema_fixtures"]

OLDER = PROJECT / "tests/older_installation.sql"
KEYS = {
    "tlogentry": "logid", "tddllogs": "logid", "tmaintenancelog": "logid", "tdatasettype": "datasettypeid",
    "tdatasource": "datasourceid", "tdatastatus": "datastatusid", "tdataset": "datasetid", "tholidays": "holiday_date",
    "tcalendardays": "fulldate", "timportstrategy": "importstrategyid", "timportconfig": "config_id",
    "tinboxconfig": "config_id", "treportmanager": "reportid", "tscheduler": "schedulerid", "ttableindexstats": "statid",
}  # fmt: skip
IMPORTED = "SELECT datasetid, company_name, ticker FROM public.tmeetmaxevent ORDER BY tmeetmaxeventid"
SHAPE = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               -- Keys that were serial columns stay it.
               CASE WHEN a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%%' THEN 'its sequence'
                    ELSE pg_get_expr(d.adbin, d.adrelid) END
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'dba'::regnamespace AND c.relkind = 'r'""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'dba'::regnamespace AND contype <> 'n'""",
    "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'dba'",
    "triggers": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "event triggers": "SELECT evtname, evtevent, evtenabled, evtfoid::regproc::text FROM pg_event_trigger",
    "routines": "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'dba'::regnamespace",
    "sequence types": """
        SELECT s.seqtypid::regtype::text, d.refobjid::regclass::text
        FROM pg_sequence AS s JOIN pg_depend AS d ON d.objid = s.seqrelid AND d.deptype IN ('a', 'i')
        WHERE d.refobjid IN (SELECT oid FROM pg_class WHERE relnamespace = 'dba'::regnamespace)""",
    "owners": "SELECT relname, relowner::regrole::text FROM pg_class WHERE relnamespace = 'dba'::regnamespace "
    "AND relkind IN ('r', 'v')",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'dba'",
    "comments": """
        SELECT c.relname, a.attname, col_description(c.oid, a.attnum), obj_description(c.oid, 'pg_class')
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'dba'::regnamespace AND c.relkind IN ('r', 'v')
        UNION ALL
        SELECT p.oid::regprocedure::text, NULL, obj_description(p.oid, 'pg_proc'), NULL
        FROM pg_proc AS p WHERE p.pronamespace = 'dba'::regnamespace""",
    "rights": """
        SELECT c.relname, a.grantee::regrole::text, a.privilege_type, a.is_grantable
        FROM pg_class AS c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS a
        WHERE c.relnamespace = 'dba'::regnamespace AND c.relkind IN ('r', 'v')
        UNION ALL
        SELECT p.oid::regprocedure::text, a.grantee::regrole::text, a.privilege_type, a.is_grantable
        FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
        WHERE p.pronamespace = 'dba'::regnamespace""",
}  # fmt: skip


@dataclass
class Adopted:
    installation: Installation
    keys: dict[str, set[Any]]
    imported: list[tuple[Any, ...]]
    notices: str


def present_keys(installation: Installation) -> dict[str, set[Any]]:
    return {
        table: {key for (key,) in installation.query(f"SELECT {column} FROM dba.{table}")}
        for table, column in KEYS.items()
    }


def make_older(cluster: Cluster, *changes: str, made_by: Path = OLDER) -> Installation:
    name = cluster.make_database("template0")
    with locked(cluster.home):
        cluster.program("psql", name, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(made_by))
    installation = cluster.installation(name)
    for change in changes:
        installation.query(change)
    return installation


@pytest.fixture(scope="module")
def adopted(cluster: Cluster) -> Adopted:
    """A database that the older installation made, after one set-up."""
    installation = make_older(cluster)
    keys, imported = present_keys(installation), installation.query(IMPORTED)
    result = cluster.set_up(installation.variables["PGDATABASE"])
    assert result.returncode == 0, result.stderr
    return Adopted(installation, keys, imported, result.stderr)


def test_the_older_installation_has_rows_in_every_table(adopted: Adopted):
    assert all(adopted.keys.values())
    assert adopted.imported


def test_adopting_an_older_installation_loses_no_row(adopted: Adopted):
    now = present_keys(adopted.installation)

    assert {table: keys - now[table] for table, keys in adopted.keys.items()} == {table: set() for table in KEYS}
    assert adopted.installation.query(IMPORTED) == adopted.imported


def test_adopting_it_a_second_time_changes_nothing(cluster: Cluster, adopted: Adopted):
    name = adopted.installation.variables["PGDATABASE"]
    dumped, kept = schema_dump(cluster, name), all_rows(adopted.installation)

    result = cluster.set_up(name)

    assert result.returncode == 0, result.stderr
    assert schema_dump(cluster, name) == dumped
    assert all_rows(adopted.installation) == kept


def as_text(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the row with varchar, which an older column stays, as text, and without the casts between the two."""
    alike = str.maketrans({"(": "", ")": ""})
    return tuple(
        re.sub(r"::(text|character varying)(\[\])?", "", value).replace("character varying", "text").translate(alike)
        if isinstance(value, str)
        else value
        for value in row
    )


@pytest.mark.parametrize("part", SHAPE)
def test_an_adopted_schema_is_like_a_fresh_one(shared: Installation, adopted: Adopted, part: str):
    fresh, now = (set(map(as_text, found.query(SHAPE[part]))) for found in (shared, adopted.installation))

    if part == "columns":  # one of its rows has no createddate
        assert "1 rows of dba.tdatasource have no createddate: the column stays optional" in adopted.notices
        now -= {("tdatasource", "createddate", "timestamp with time zone", False, "now")}
        fresh -= {("tdatasource", "createddate", "timestamp with time zone", True, "now")}
    assert now - fresh == set()
    assert fresh - now == set()


def test_of_two_active_datasets_the_newer_stays_active(adopted: Adopted):
    state = adopted.installation.query("SELECT datasetid, isactive, datastatusid FROM dba.tdataset ORDER BY 1")

    assert state == [(1, False, 2), (2, True, 1), (3, True, 1), (4, False, 2), (5, False, 2), (6, False, 5)]
    assert "Dataset 1 (119243, 2025-03-03) is now Inactive: dataset 2 is newer" in adopted.notices


@pytest.mark.parametrize(
    ("look", "found"),
    [
        ("SELECT (\"timestamp\" AT TIME ZONE current_setting('TimeZone'))::text FROM dba.tlogentry", "2025-03-04 05:06:07"),
        ("SELECT stepcounter FROM dba.tlogentry", "3"),
        ("SELECT source_directory FROM dba.timportconfig WHERE config_id = 1", "/older/file_watcher"),
        ("SELECT duplicate_scope FROM dba.timportconfig WHERE config_id = 2", "dataset"),
        ("SELECT duplicate_scope FROM dba.timportconfig WHERE config_id = 3", "dataset"),
        ("SELECT frequency FROM dba.tscheduler WHERE schedulerid = 1", "0 6,18 * * 1-5"),
        ("SELECT count(*) FROM dba.tscheduler WHERE scriptpath ~ 'run_download_and_import'", 1),
        ("SELECT count(*) FROM dba.tscheduler WHERE taskname = 'Daily Database Backup'", 1),
        ("SELECT datastatusid FROM dba.tscheduler WHERE schedulerid = 2", 2),
        ("SELECT scriptpath FROM dba.tscheduler WHERE schedulerid = 2", "daily_backup.sh"),
        ("SELECT toheader FROM dba.treportmanager WHERE reportid = 1", "desk@example.com"),
        ("SELECT is_active FROM dba.tinboxconfig", False),
        ("SELECT has_attachment FROM dba.tinboxconfig", True),
        ("SELECT sourcename FROM dba.tdatasource WHERE sourcename ~ 'Another'", "Another bank"),
        ("SELECT max(fulldate)::text FROM dba.tcalendardays", "2035-12-31"),
        ("SELECT count(*) FROM dba.tholidays WHERE holiday_date = '2025-12-24'", 1),
        ("SELECT count(*) FROM dba.tholidays WHERE holiday_date = '2025-12-25'", 0),
        ("SELECT count(*) FROM dba.tholidays WHERE holiday_date = '2026-12-25'", 1),
        ("SELECT relowner::regrole::text FROM pg_class WHERE oid = 'public.tmeetmaxevent'::regclass", "etl_user"),
    ],
)  # fmt: skip
def test_what_the_older_installation_said_still_holds(adopted: Adopted, look: str, found: Any):
    assert adopted.installation.value(look) == found


def test_jobs_work_in_an_adopted_database(adopted: Adopted):
    with contextlib.closing(adopted.installation.connect("etl_user")) as connection, connection.cursor() as cursor:
        connection.autocommit = False
        active = one(
            cursor, "SELECT dba.f_dataset_iu(NULL, '2025-03-03', 'MeetMaxEvents', 'MeetMax', '119243', 'Active')"
        )
        cursor.execute("INSERT INTO dba.tlogentry (message) VALUES ('x')")
        for call in JOB_CALLS:
            cursor.execute(call)
        cursor.execute("ALTER TABLE public.tmeetmaxevent ADD COLUMN description text")
        found = rows(cursor, "SELECT datasetid FROM dba.tdataset WHERE isactive AND datasetdate = '2025-03-03'")
        connection.rollback()

        connection.autocommit = True
        assert meetmax_plan.known_events(connection) == {}

    assert found == [(active,)]
    assert adopted.installation.query("SELECT count(*) FROM public.tmeetmaxurlcheck WHERE title IS NULL") == [(1,)]
    cron = adopted.installation.door("update_cron_jobs.py", "--dry-run", ETL_CRON_USER="root")
    assert cron.returncode == 0, cron.stderr


def test_an_older_row_that_breaks_a_rule_is_named_and_nothing_is_changed(cluster: Cluster):
    installation = make_older(cluster, "UPDATE dba.tscheduler SET frequency = '0 25 * * *'")

    result = cluster.set_up(installation.variables["PGDATABASE"])

    assert result.returncode != 0
    assert (
        'dba.tscheduler: in the row with schedulerid 2 the frequency is no cron expression: "0 25 * * *". Correct it:'
        in result.stderr
    )
    assert "UPDATE dba.tscheduler SET frequency = '…' WHERE schedulerid = 2;" in result.stderr
    assert "Correct these rows, and type what the list says." in result.stderr
    assert installation.query(
        "SELECT to_regclass('dba.tjobrun'), format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 'dba.tscheduler'::regclass AND attname = 'frequency'"
    ) == [(None, "character varying(50)")]


def test_code_that_the_jobs_have_left_in_older_tables_stops_the_set_up(cluster: Cluster):
    """In an older installation the tables may be the jobs' own, and an administrator is about to write them."""
    installation = make_older(
        cluster,
        "GRANT ALL ON SCHEMA dba, public TO etl_user",
        "DO $$ DECLARE v_name text; BEGIN FOR v_name IN SELECT tablename FROM pg_tables WHERE schemaname = 'dba' "
        "LOOP EXECUTE format('ALTER TABLE dba.%I OWNER TO etl_user', v_name); END LOOP; END $$",
    )
    for statement in (
        (
            "CREATE FUNCTION public.f(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS "
            "$$BEGIN IF current_user <> 'etl_user' THEN RAISE WARNING 'RAN'; END IF; RETURN true; END$$"
        ),
        "CREATE FUNCTION public.ftrigger() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM public.f(''); RETURN NEW; END$$",
        "CREATE FUNCTION public.fcast(dba.tscheduler) RETURNS text LANGUAGE sql AS $$SELECT public.f('')::text$$",
        "CREATE FUNCTION dba.fother() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$SELECT public.f('')::text$$",
        "CREATE TRIGGER planted BEFORE UPDATE ON dba.tdataset FOR EACH ROW EXECUTE FUNCTION public.ftrigger()",
        "CREATE RULE planted AS ON UPDATE TO dba.tdataset DO ALSO SELECT public.f('')",
        "CREATE INDEX iplanted ON dba.tdataset (public.f(label))",
        "ALTER TABLE dba.tdataset ADD CONSTRAINT cplanted CHECK (public.f(label))",
        "ALTER TABLE dba.tdatasource ALTER COLUMN description SET DEFAULT public.f('')",
        "ALTER TABLE dba.tdatasource ADD CONSTRAINT cfile CHECK (lo_export(1, '/tmp/x') = 1) NOT VALID",
        "CREATE POLICY planted ON dba.tdataset USING (public.f(label))",
        "CREATE CAST (dba.tscheduler AS text) WITH FUNCTION public.fcast(dba.tscheduler)",
        "CREATE TABLE public.their () INHERITS (dba.tdataset)",
    ):
        installation.query(statement, user="etl_user")

    result = cluster.set_up(installation.variables["PGDATABASE"])

    assert result.returncode != 0
    (told,) = [line for line in result.stderr.splitlines() if "code of the jobs" in line]
    for name in (
        "trigger planted", "rule planted", "iplanted", "cplanted", "default value for column description", "cfile", "policy planted",
        "cast from dba.tscheduler to text", "dba.fother()", "public.their inherits from dba.tdataset",
    ):  # fmt: skip
        assert name in told
    assert "RAN" not in result.stderr
    assert installation.value("SELECT to_regclass('dba.tjobrun')") is None


@pytest.mark.parametrize(
    ("rule", "query"),
    [
        ("no right of PUBLIC on a table or sequence",
         ("SELECT c.oid::regclass::text FROM pg_class AS c, aclexplode(c.relacl) AS a "
         "WHERE c.relnamespace = 'dba'::regnamespace AND a.grantee = 0")),
        ("no right of PUBLIC on a routine",
         ("SELECT p.oid::regprocedure::text FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a "
         "WHERE p.pronamespace = 'dba'::regnamespace AND a.grantee = 0")),
        ("no right of PUBLIC on the schema, and none to create in public",
         ("SELECT n.nspname, a.privilege_type FROM pg_namespace AS n, aclexplode(n.nspacl) AS a "
         "WHERE a.grantee = 0 AND (n.nspname = 'dba' OR (n.nspname = 'public' AND a.privilege_type = 'CREATE'))")),
        ("a comment on every table, view and the schema",
         ("SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relnamespace = 'dba'::regnamespace "
         "AND c.relkind IN ('r', 'v', 'm', 'p') AND obj_description(c.oid, 'pg_class') IS NULL "
         "UNION ALL SELECT 'dba' WHERE obj_description('dba'::regnamespace, 'pg_namespace') IS NULL")),
        ("a comment on every routine and domain",
         ("SELECT p.oid::regprocedure::text FROM pg_proc AS p "
         "WHERE p.pronamespace = 'dba'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL "
         "UNION ALL SELECT t.typname FROM pg_type AS t WHERE t.typnamespace = 'dba'::regnamespace AND t.typtype = 'd' "
         "AND obj_description(t.oid, 'pg_type') IS NULL")),
        ("a fixed search_path for every routine",
         ("SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.pronamespace = 'dba'::regnamespace "
         "AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)")),
        ("etl_owner owns everything in the schema",
         ("SELECT relname FROM pg_class WHERE relnamespace = 'dba'::regnamespace AND relowner <> 'etl_owner'::regrole "
         "UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'dba'::regnamespace AND proowner <> 'etl_owner'::regrole")),
        ("our roles are no administrators",
         ("SELECT rolname FROM pg_roles WHERE rolname IN ('etl_owner', 'etl_user', 'etl_report') "
         "AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)")),
        ("times have a zone, texts no limit",
         ("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'dba' "
         "AND (data_type = 'timestamp without time zone' OR character_maximum_length IS NOT NULL AND udt_name <> 'bit')")),
        ("every table has a primary key",
         ("SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'dba'::regnamespace AND relkind = 'r' "
         "AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = pg_class.oid AND indisprimary)")),
        ("every routine that runs as its owner is one that was meant to",
         ("SELECT proname FROM pg_proc WHERE pronamespace = 'dba'::regnamespace AND prosecdef AND proname NOT IN "
         "('flogddlchanges', 'ppurgeoldlogs', 'f_purge_log_batch', 'f_analyze_dba', 'pmonitorlongrunningqueries')")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("made", ["fresh", "adopted"])
def test_a_house_rule_holds(shared: Installation, adopted: Adopted, made: str, rule: str, query: str):
    installation = shared if made == "fresh" else adopted.installation

    assert installation.query(query) == []
