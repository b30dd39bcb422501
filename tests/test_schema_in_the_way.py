"""What of a site's own stops the set-up: all of it in one list, with what to type, and no name forges a line of it."""

import re

import psycopg2
import pytest
from schema_helpers import Cluster, schema_dump
from test_schema_adoption import make_older
from test_schema_running_installation import RUNNING

pytest_plugins = ["schema_fixtures"]

OWN = (
    "CREATE FUNCTION public.ftrigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "ALTER TABLE dba.tdataset ADD COLUMN upper text GENERATED ALWAYS AS (upper(label)) STORED",
    "CREATE INDEX iupper ON dba.tdataset (upper)",
    "CREATE VIEW public.vupper AS SELECT upper FROM dba.tdataset",
    "GRANT SELECT ON public.vupper TO older_client",
    "ALTER TABLE public.tmeetmaxeventdata ADD COLUMN is_long boolean GENERATED ALWAYS AS (length(company_name) > 20) STORED",
    "ALTER TABLE dba.tdataset ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY punder ON dba.tdataset FOR SELECT TO older_client USING (label <> 'secret')",
    "CREATE POLICY pview ON dba.tclients USING (name IN (SELECT label FROM public.vdatasets))",
    ("CREATE TRIGGER twhen BEFORE UPDATE ON dba.tscheduler FOR EACH ROW WHEN (OLD.frequency <> NEW.frequency) "
     "EXECUTE FUNCTION public.ftrigger()"),
    "CREATE TRIGGER tof BEFORE UPDATE OF source_directory ON dba.timportconfig FOR EACH ROW EXECUTE FUNCTION public.ftrigger()",
    "ALTER TABLE dba.timportconfig DISABLE TRIGGER tof",
    "CREATE RULE rkeep AS ON DELETE TO dba.tdataset WHERE OLD.label = 'keep' DO INSTEAD NOTHING",
    ("CREATE FUNCTION public.fnewest() RETURNS SETOF public.vdatasets LANGUAGE sql SECURITY DEFINER "
     "AS E'-- all\\nSELECT * FROM public.vdatasets'"),
    "REVOKE ALL ON FUNCTION public.fnewest() FROM PUBLIC",
    "CREATE VIEW public.vnewest AS SELECT label FROM public.fnewest()",
    "CREATE FUNCTION public.fatomic() RETURNS varchar LANGUAGE sql BEGIN ATOMIC SELECT max(label) FROM dba.tdataset; END",
    "CREATE TABLE public.tdefault (id integer DEFAULT dba.f_dataset_iu(NULL, current_date, 'Metadata', 'MeetMax', 'x', 'Active', 'me'))",
    "CREATE TABLE public.trow (was dba.tscheduler)",
    "CREATE INDEX ipart ON dba.tdataset (label) WHERE createddate > '2020-01-01'::timestamp",
    "CREATE INDEX iday ON dba.tlogentry (date(\"timestamp\"))",
    "CREATE INDEX ifine ON dba.tlogentry (lower(processtype)) WHERE username <> 'x'",
    "CREATE PUBLICATION pother FOR TABLE dba.tdataset (datasetid, label)",
)  # fmt: skip
DROPPED = (
    "VIEW public.vupper", "VIEW public.vnewest", "ROUTINE public.fnewest()", "ROUTINE public.fatomic()", "POLICY punder ON dba.tdataset",
    "POLICY pview ON dba.tclients", "TRIGGER twhen ON dba.tscheduler", "TRIGGER tof ON dba.timportconfig", "RULE rkeep ON dba.tdataset",
    "INDEX dba.ipart", "INDEX dba.iday",
)  # fmt: skip
OBJECTS = """
    SELECT pg_describe_object(classid, objid, objsubid) FROM (
        SELECT 'pg_class'::regclass, oid, 0 FROM pg_class WHERE relname IN ('vupper', 'vnewest', 'iupper', 'ifine')
        UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum FROM pg_attribute WHERE attgenerated <> ''
        UNION ALL SELECT 'pg_policy'::regclass, oid, 0 FROM pg_policy
        UNION ALL SELECT 'pg_trigger'::regclass, oid, 0 FROM pg_trigger WHERE tgname IN ('twhen', 'tof')
        UNION ALL SELECT 'pg_rewrite'::regclass, oid, 0 FROM pg_rewrite WHERE rulename = 'rkeep'
        UNION ALL SELECT 'pg_proc'::regclass, oid, 0 FROM pg_proc WHERE proname IN ('fnewest', 'fatomic')
        UNION ALL SELECT 'pg_publication_rel'::regclass, oid, 0 FROM pg_publication_rel) AS o (classid, objid, objsubid)
    ORDER BY 1
"""


def cures(told: str) -> tuple[list[str], str]:
    """Return the statements that the list says to type before the set-up, and those for after it."""
    before, after = told.split("  Keep these statements.")
    after = after[: after.index("  HINT:")].partition("\n")[2]
    return (
        [line.strip() for line in before.splitlines() if line.startswith("      ")],
        re.sub("-- This one has to be written anew for the new type:\n.*\n", "", after),
    )


def test_all_that_is_in_the_way_is_in_one_list_whose_statements_let_it_through(cluster: Cluster) -> None:
    installation = make_older(cluster, *OWN, made_by=RUNNING)
    name = installation.variables["PGDATABASE"]
    objects = installation.query(OBJECTS)
    dumped = schema_dump(cluster, name)

    refused = cluster.set_up(name)
    assert refused.returncode == 65, refused.stderr
    assert schema_dump(cluster, name) == dumped
    before, after = cures(refused.stderr)
    for dropped in DROPPED:
        assert f"DROP {dropped};" in before
    assert "ifine" not in refused.stderr

    for statement in before:
        installation.query(statement)
    result = cluster.set_up(name)
    assert result.returncode == 0, result.stderr
    installation.query(after)
    assert installation.query(OBJECTS) == objects
    assert installation.value("SELECT tgenabled FROM pg_trigger WHERE tgname = 'tof'") == "D"
    installation.query("SET ROLE older_client; SELECT * FROM public.vupper; RESET ROLE")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        installation.query("SET ROLE older_client; SELECT * FROM public.fnewest()")
    assert cluster.set_up(name).returncode == 0


def test_no_name_or_value_forges_a_line_or_turns_one(cluster: Cluster) -> None:
    forged = "x\n- forged\r- forged\u2028- forged\u202e- forged"
    trigger = "EXECUTE FUNCTION public.ftrigger()"
    places = (
        OWN[0],
        f'CREATE TABLE public."{forged}" (id integer)',
        f'CREATE VIEW public."v{forged}" AS SELECT label AS "{forged}" FROM dba.tdataset',
        f'CREATE MATERIALIZED VIEW public."m{forged}" AS SELECT label FROM dba.tdataset',
        f"CREATE FUNCTION public.\"{forged}\"() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        f'CREATE TRIGGER "{forged}" BEFORE UPDATE OF label ON dba.tdataset FOR EACH ROW {trigger}',
        f'CREATE TRIGGER "older{forged}" BEFORE UPDATE ON dba.tdataset FOR EACH ROW EXECUTE FUNCTION dba.fenforcesingleactivedataset()',
        f'ALTER TABLE dba.timportconfig ADD CONSTRAINT "valid_{forged}" CHECK (true)',
        f"UPDATE dba.timportconfig SET file_pattern = '({forged}', dateformat = '{forged}' WHERE config_id = 1",
        f"UPDATE dba.timportconfig SET target_table = '{forged}', config_name = '{forged}' WHERE config_id = 2",
        "ALTER TABLE dba.timportconfig DROP CONSTRAINT timportconfig_file_type_check",
        r"UPDATE dba.timportconfig SET file_type = 'x' || (ARRAY[E'\n', E'\r', U&'\2028', U&'\202e'])[config_id] || '-forged'",
        f"INSERT INTO dba.tdataset (label, datasetdate, datasettypeid, datasourceid, datastatusid) SELECT '{forged}', 'today', 4, 1, 2",
        f"INSERT INTO dba.tscheduler (taskname, frequency, scriptpath, datastatusid) SELECT '{forged}', '@daily', '/x/pg_backup_all.sh', 1",
        f"INSERT INTO dba.tdatasource (sourcename) VALUES ('{forged}'), ('{forged}')",
        f"UPDATE dba.tinboxconfig SET subject_pattern = '({forged}'",
    )  # fmt: skip
    installation = make_older(cluster, *places, made_by=RUNNING)
    result = cluster.set_up(installation.variables["PGDATABASE"])
    assert result.returncode == 65, result.stderr
    assert result.stderr.count("forged") > 4 * len(places)
    lines = re.split("[\n\r\u2028]", result.stderr)
    # What makes an object again has several lines, and they stand further in.
    assert [line for line in lines if re.match(" {,5}- ?forged", line)] == []
    assert "\u202e" not in result.stderr


def test_patterns_and_date_formats_that_cannot_be_right_are_in_the_list(cluster: Cluster) -> None:
    inbox = (
        "INSERT INTO dba.tinboxconfig "
        "(config_name, gmail_account, subject_pattern, attachment_name_pattern, local_repository_path, is_active)"
    )
    installation = make_older(
        cluster,
        "ALTER TABLE dba.timportconfig DROP CONSTRAINT valid_date",
        "UPDATE dba.timportconfig SET file_pattern = 'a(b' WHERE config_id = 1",
        "UPDATE dba.timportconfig SET dateformat = 'YYYYMMDD' WHERE config_id = 2",
        "UPDATE dba.timportconfig SET datelocation = '[0-9', dateformat = 'yyyyMMdd_HHmm' WHERE config_id = 4",
        f"{inbox} VALUES ('glob', 'a@example.com', NULL, '*.xls', '/older/in', true)",
        f"{inbox} VALUES ('right for Python', 'a@example.com', '(?P<name>a)[|*]', 'a*+', '/older/in', true)",
        f"{inbox} VALUES ('paused', 'a@example.com', '(', NULL, '/older/in', false)",
        made_by=RUNNING,
    )
    result = cluster.set_up(installation.variables["PGDATABASE"])
    assert result.returncode == 65, result.stderr
    listed = [line for line in result.stderr.splitlines() if line.startswith("  - ")]
    assert len(listed) == 4, listed
    for told in (
        "with config_id 1 the file_pattern is no regular expression",
        "with config_id 4 the datelocation is no regular expression",
        "with config_id 2 the attachment_name_pattern is no regular expression",
        'config_id 2 has the dateformat "YYYYMMDD"',
    ):
        assert told in "\n".join(listed)


def test_of_many_rows_ten_are_named(cluster: Cluster) -> None:
    columns = "INSERT INTO dba.tdataset (datasetdate, label, datasettypeid, datasourceid, datastatusid, isactive)"
    installation = make_older(
        cluster,
        "ALTER TABLE dba.tdataset DISABLE TRIGGER USER",
        f"{columns} SELECT '2026-11-25', 'twice', 4, 1, 1, true FROM generate_series(1, 30)",
        f"{columns} SELECT '2026-11-25', 'paused' || n, 4, 1, 2, true FROM generate_series(1, 12) AS n",
        f"{columns} SELECT '2026-11-25', 'off' || n, 4, 1, 1, false FROM generate_series(1, 3) AS n",
        "ALTER TABLE dba.tdataset ENABLE TRIGGER USER",
        "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath) SELECT n, '@daily', '/x/y.sh' FROM generate_series(1, 14) AS n",
        made_by=RUNNING,
    )
    told = cluster.set_up(installation.variables["PGDATABASE"], "--dry-run").stderr
    assert told.count("dataset 34 is newer and active") == 10
    assert "And 19 more datasets are now Inactive" in told
    assert "the status Inactive whose isactive was not false: isactive is now false. In all 12: 35 (paused1" in told
    assert "and 2 more" in told
    assert "the status is now Inactive. In all 3: 47 (off1" in told
    assert told.count('datastatusid is now "2" instead of NULL') == 11  # ten jobs and a report
    assert "dba.tscheduler: the same with datastatusid in 5 more rows" in told
