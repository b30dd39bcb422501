"""dba.tsftpconfig became dba.texchangeconfig: in place, without loss, and the former name still takes what it took."""

from typing import Any

import psycopg2
import pytest
from conftest import Installation
from schema_helpers import Cluster, schema_dump
from test_schema_adoption import SHAPE, as_text

pytest_plugins = ["schema_fixtures"]

FORMER = """
DROP VIEW dba.tsftpconfig;
DROP VIEW dba.vreceivedfile, dba.varrival CASCADE;
DROP TRIGGER fill_exchange_kind ON dba.texchangeconfig;
DROP FUNCTION dba.f_fill_exchange_kind();
ALTER TABLE dba.texchangeconfig DROP COLUMN kind, DROP COLUMN remote;
ALTER TABLE dba.treceivedfile DROP COLUMN store_identity;
ALTER TABLE dba.texchangeconfig RENAME TO tsftpconfig;
ALTER SEQUENCE dba.texchangeconfig_config_id_seq RENAME TO tsftpconfig_config_id_seq;
DO $$ DECLARE v text; BEGIN
  FOR v IN SELECT conname FROM pg_constraint WHERE conrelid = 'dba.tsftpconfig'::regclass AND conname ~ '^texchangeconfig_' LOOP
    EXECUTE format('ALTER TABLE dba.tsftpconfig RENAME CONSTRAINT %I TO %I', v, replace(v, 'texchangeconfig_', 'tsftpconfig_'));
  END LOOP; END $$;
ALTER TABLE dba.tsftpconfig ADD CONSTRAINT tsftpconfig_local_paths_are_absolute CHECK
    (host IS NOT NULL OR (incoming_path ~ '^/.*[^/]$' AND coalesce(outgoing_path, '/x') ~ '^/.*[^/]$'));
INSERT INTO dba.tsftpconfig (config_id, config_name, host, username, incoming_path, local_repository_path)
VALUES (7, 'here', NULL, NULL, '/srv/in', '/srv/feeds'), (8, 'there', 'sftp.example.com', 'acme', 'in', '/srv/feeds');
INSERT INTO dba.treceivedfile (sftp_config_id, name, directory, file_name, file_size, sha256)
VALUES (8, 'a.csv', '/srv/feeds', 'a.csv', 1, repeat('0', 64));
CREATE VIEW public.folders_of_the_site AS SELECT config_name, host FROM dba.tsftpconfig;
GRANT SELECT ON dba.tsftpconfig TO etl_report;
"""
LOCAL = {"config_name": "here", "incoming_path": "/srv/in", "local_repository_path": "/srv/feeds"}


def insert(installation: Installation, table: str, **values: Any) -> int:
    marks = ", ".join(["%s"] * len(values))
    number = installation.value(
        f"INSERT INTO dba.{table} ({', '.join(values)}) VALUES ({marks}) RETURNING config_id", *values.values()
    )
    return int(number)


def test_the_former_table_is_renamed_in_place_with_all_that_hangs_on_it(cluster: Cluster, shared: Installation) -> None:
    name = cluster.make_database()
    installation = cluster.installation(name)
    installation.query(FORMER)
    old = installation.value("SELECT 'dba.tsftpconfig'::regclass::oid")
    result = cluster.set_up(name)
    assert result.returncode == 0, result.stderr
    assert "dba.tsftpconfig is now dba.texchangeconfig" in result.stderr + result.stdout
    assert installation.value("SELECT 'dba.texchangeconfig'::regclass::oid") == old
    assert installation.query("SELECT config_id, config_name, kind, remote FROM dba.texchangeconfig ORDER BY 1") == [
        (7, "here", "local", None),
        (8, "there", "sftp", None),
    ]
    assert installation.value("SELECT sftp_config_id FROM dba.treceivedfile") == 8
    assert installation.query("SELECT * FROM public.folders_of_the_site ORDER BY 1") == [
        ("here", None),
        ("there", "sftp.example.com"),
    ]
    assert installation.value("SELECT has_table_privilege('etl_report', 'dba.texchangeconfig', 'SELECT')")
    installation.query("DROP VIEW public.folders_of_the_site; REVOKE SELECT ON dba.texchangeconfig FROM etl_report")
    for part, query in SHAPE.items():
        fresh, now = (set(map(as_text, found.query(query))) for found in (shared, installation))
        assert now == fresh, part
    dumped = schema_dump(cluster, name)
    assert cluster.set_up(name).returncode == 0
    assert schema_dump(cluster, name) == dumped


def test_the_former_name_takes_what_it_took_and_the_kind_follows(etl: Installation) -> None:
    first = insert(etl, "tsftpconfig", **LOCAL)
    second = insert(
        etl,
        "tsftpconfig",
        **{**LOCAL, "config_name": "there", "host": "a.example.com", "username": "x", "incoming_path": "in"},
    )
    insert(etl, "texchangeconfig", **{**LOCAL, "config_name": "far", "remote": "acme", "incoming_path": "bucket/in"})
    assert etl.query("SELECT config_name, kind, port, file_pattern, remove_taken, is_active FROM dba.texchangeconfig ORDER BY 1") == [
        ("far", "rclone", 22, "*", True, True),
        ("here", "local", 22, "*", True, True),
        ("there", "sftp", 22, "*", True, True),
    ]  # fmt: skip
    assert etl.query("SELECT config_id FROM dba.tsftpconfig ORDER BY 1") == [(first,), (second,)]
    etl.query("UPDATE dba.tsftpconfig SET host = 'b.example.com', username = 'y' WHERE config_name = 'here'")
    assert etl.value("SELECT kind FROM dba.texchangeconfig WHERE config_name = 'here'") == "sftp"
    etl.query("DELETE FROM dba.tsftpconfig WHERE config_name = 'here'")
    assert etl.value("SELECT count(*) FROM dba.texchangeconfig") == 2
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        etl.query("DELETE FROM dba.tsftpconfig", user="etl_user")


CLOUD = {**LOCAL, "remote": "acme", "incoming_path": "bucket/in"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({**LOCAL, "kind": "ftp"}, "kind must be local, sftp or rclone"),
        ({**LOCAL, "kind": "sftp"}, "host must be set where kind is sftp, and only there"),
        ({**CLOUD, "kind": "local"}, "remote must be set where kind is rclone, and only there"),
        ({**CLOUD, "remote": "-P"}, "remote must be the name of a file of a remote without .conf"),
        ({**CLOUD, "remote": "acme:"}, "remote must be the name of a file of a remote without .conf"),
        ({**CLOUD, "remote": "acme\n"}, "remote must be the name of a file of a remote without .conf"),
        ({**CLOUD, "incoming_path": "/bucket"}, "must be such as bucket/folder where kind is rclone"),
        ({**CLOUD, "incoming_path": "bucket/../x"}, "must be such as bucket/folder where kind is rclone"),
        ({**CLOUD, "outgoing_path": "bucket//x"}, "must be such as bucket/folder where kind is rclone"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_right_is_refused_with_a_sentence(
    values: dict[str, Any], words: str, etl: Installation
) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation, match=words):
        insert(etl, "texchangeconfig", **values)
