"""The views of an import say of which day and label a row is, one shows only the newest day, and what is there stays."""

import pytest
from conftest import Installation
from test_generic_import import add_import, drop_file, run
from test_import_rules import add_rule


def load(etl: Installation, **files: str) -> None:
    for name, content in files.items():
        drop_file(etl, content, f"{name}.csv")
    counts = run().counts()
    assert counts == {"Loaded": len(files)}


def test_a_view_has_the_date_and_label_of_each_row_and_another_only_the_newest_date_of_each_label(
    etl: Installation,
) -> None:
    add_import(etl, metadata_label_source="filename", metadata_label_location="2")
    load(etl, clients_20260302_bern="a\n1\n", clients_20260303_bern="a\n2\n", clients_20260302_chur="a\n3\n")
    every = "SELECT a, datasetdate::text, datasetlabel FROM public.vclients ORDER BY a"
    assert etl.query(every) == [("1", "2026-03-02", "bern"), ("2", "2026-03-03", "bern"), ("3", "2026-03-02", "chur")]
    latest = "SELECT a, datasetdate::text FROM public.vclients_latest ORDER BY a"
    assert etl.query(latest, user="etl_report") == [("2", "2026-03-03"), ("3", "2026-03-02")]

    etl.query("UPDATE dba.tdataset SET isactive = false WHERE datasetdate = '2026-03-03'")
    assert etl.query(latest) == [("1", "2026-03-02"), ("3", "2026-03-02")]


def test_columns_that_come_later_are_in_both_views_and_rights_stay(etl: Installation) -> None:
    add_import(etl)
    load(etl, clients_20260302="a\n1\n")
    etl.query("GRANT SELECT ON public.vclients, public.vclients_latest TO etl_backup")
    etl.query("CREATE VIEW public.of_clients AS SELECT datasetdate, a FROM public.vclients_latest")
    load(etl, clients_20260303="b,a\nx,2\n")
    assert etl.query("SELECT a, b, datasetdate::text FROM public.vclients_latest") == [("2", "x", "2026-03-03")]
    assert etl.query("SELECT a, b FROM public.vclients ORDER BY a") == [("1", None), ("2", "x")]
    for view in ("vclients", "vclients_latest"):
        assert etl.value(f"SELECT has_table_privilege('etl_backup', 'public.{view}', 'SELECT')") is True


def test_a_view_of_an_earlier_version_keeps_its_columns_and_gets_its_companion(etl: Installation) -> None:
    add_import(etl)
    load(etl, clients_20260302="a\n1\n")
    etl.query("DROP VIEW public.vclients, public.vclients_latest")
    etl.query("SET ROLE etl_user")
    try:
        etl.query("CREATE VIEW public.vclients AS SELECT t.* FROM public.tclients t WHERE EXISTS"
                  " (SELECT FROM dba.tdataset d WHERE d.datasetid = t.datasetid AND d.isactive)")  # fmt: skip
    finally:
        etl.query("RESET ROLE")
    load(etl, clients_20260303="a\n2\n")
    assert len(etl.query("SELECT * FROM public.vclients")[0]) == 3
    assert etl.query("SELECT a FROM public.vclients_latest") == [("2",)]
    load(etl, clients_20260304="a,b\n3,x\n")
    assert len(etl.query("SELECT * FROM public.vclients")[0]) == 4
    assert etl.query("SELECT a, b FROM public.vclients_latest") == [("3", "x")]


def test_a_relation_of_the_site_with_the_name_of_the_companion_stays(etl: Installation) -> None:
    add_import(etl)
    etl.query("CREATE TABLE public.vclients_latest (mine text)")
    load(etl, clients_20260302="a\n1\n")
    load(etl, clients_20260303="a,b\n1,2\n")
    assert etl.query("SELECT mine FROM public.vclients_latest") == []
    assert etl.value("SELECT count(*) FROM public.vclients") == 2


def test_headings_with_the_names_of_the_views_own_columns_lose_nothing(etl: Installation) -> None:
    add_import(etl)
    load(etl, clients_20260302="datasetdate,label\nx,y\n")
    assert etl.query('SELECT "datasetdate.1", label, datasetdate::text FROM public.vclients') == [
        ("x", "y", "2026-03-02")
    ]
    etl.query("DROP TABLE public.tclients CASCADE")
    etl.query("CREATE TABLE public.tclients (tclientsid serial, datasetid integer, datasetdate text)")
    etl.query("ALTER TABLE public.tclients OWNER TO etl_user")
    load(etl, clients_20260303="datasetdate,b\nz,1\n")
    assert etl.query("SELECT datasetdate, b, datasetlabel FROM public.vclients") == [("z", "1", "clients")]


@pytest.mark.parametrize("schema_is_closed", [True, False])
def test_a_table_in_a_schema_that_the_jobs_may_not_write_in_is_loaded_all_the_same(
    etl: Installation, schema_is_closed: bool
) -> None:
    etl.query("CREATE SCHEMA closed")
    etl.query(
        "CREATE TABLE closed.tclients (tclientsid serial, datasetid integer DEFAULT current_setting('etl.datasetid')::integer, a text)"
    )
    etl.query("CREATE INDEX ON closed.tclients (datasetid)")
    etl.query("ALTER TABLE closed.tclients OWNER TO etl_user")
    etl.query(f"GRANT USAGE{'' if schema_is_closed else ', CREATE'} ON SCHEMA closed TO etl_user")
    add_import(etl, target_table="closed.tclients")
    load(etl, clients_20260302="a\n1\n")
    assert etl.value("SELECT count(*) FROM closed.tclients") == 1
    assert (etl.value("SELECT to_regclass('closed.vclients_latest')") is None) == schema_is_closed


def test_the_statement_that_changes_a_type_makes_both_views_again(etl: Installation) -> None:
    add_import(etl)
    load(etl, clients_20260302="a\n1\n")
    add_rule(etl, "a", data_type="integer")
    drop_file(etl, "a\n2\n", "clients_20260303.csv")
    (outcome,) = run().files
    statement = outcome.detail.partition("run as the table's owner: ")[2]
    etl.query(statement.removeprefix("BEGIN; ").removesuffix(" COMMIT;"), user="etl_user")
    assert etl.query("SELECT a FROM public.vclients_latest") == [(2,)]
    assert etl.query("SELECT sum(a) FROM public.vclients") == [(3,)]
