"""Backups that restore: what is in them, what a restore comes to, and what is said where they do not."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import cloud_servers
import psycopg2
import psycopg2.extensions
import pytest
from conftest import DAY, PROJECT, Installation, aged, home_is, server_home, set_up
from needs import missing, need_programs
from psycopg2.sql import SQL, Identifier, Literal
from ssh_server import running_server

from systemscripts import embedded_postgres
from systemscripts.backups import dump
from systemscripts.errors import JobError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_server() -> Iterator[Path]:
    """A server of this module's own: a backup takes every database, and other tests' come and go."""
    home = server_home(f"restores_{os.getpid()}")
    set_up(PROJECT, {}, home)
    yield home
    with home_is(home):
        embedded_postgres.stop()


@pytest.fixture
def backups(own_server: Path, tmp_path: Path) -> Installation:
    return with_prices(own_server, tmp_path)


class Backup(NamedTuple):
    folder: Path
    told: str


@pytest.fixture(scope="module")
def made_once(own_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Backup:
    """A backup, with a table that hides rows from its owner and one whose column is called like a query's own name."""
    installation = with_prices(own_server, tmp_path_factory.mktemp("made"))
    with contextlib.closing(log_in(installation, "feeds", "etl_user")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE public.thidden AS SELECT 1 AS a; "
            "ALTER TABLE public.thidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; "
            "CREATE POLICY phidden ON public.thidden USING (false); "
            "CREATE TABLE public.tnamed AS SELECT 'x' AS t, 'right' AS secret"
        )
        result = installation.door("daily_backup.sh")
        cursor.execute("DROP TABLE public.thidden, public.tnamed")
    assert result.returncode == 0, result.stderr
    (folder,) = (installation.home / "backups").iterdir()
    return Backup(folder, result.stderr)


@pytest.fixture
def folder(made_once: Backup, backups: Installation) -> Path:
    """A backup among those of the test's own installation."""
    return Path(shutil.copytree(made_once.folder, backups.home / "backups" / made_once.folder.name))


def with_prices(own_server: Path, home: Path) -> Installation:
    installation = Installation(home, {"ETL_HOME": str(own_server), "ETL_BACKUP_DIR": str(home / "backups")})
    with contextlib.closing(log_in(installation, "feeds", "etl_user")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS public.tprice (a text, b double precision)")
        cursor.execute(
            "TRUNCATE public.tprice; INSERT INTO public.tprice VALUES ('007 ', 0.1), ('x', NULL), ('x', NULL)"
        )
    return installation


def sql(installation: Installation, statement: str, database: str = "feeds", as_role: str = "etl_user") -> str:
    result = subprocess.run(
        ["bash", str(PROJECT / "onboarding/sh/psql.sh"), "--as", as_role, "-At", "-d", database, "-c", statement],
        env=installation.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def make(backups: Installation, **more: str) -> Path:
    result = backups.door("daily_backup.sh", **more)
    assert result.returncode == 0, result.stderr
    return max(path for path in (backups.home / "backups").iterdir() if path.is_dir())


def restore(backups: Installation, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", str(PROJECT / "onboarding/sh/restore_backup.sh"), *arguments],
        env=backups.environment(**more), capture_output=True, text=True, check=False,
    )  # fmt: skip


def databases(backups: Installation) -> set[str]:
    return set(sql(backups, "SELECT datname FROM pg_database WHERE NOT datistemplate").split())


def test_a_backup_holds_every_database_and_the_roles_and_can_be_read(made_once: Backup) -> None:
    folder = made_once.folder
    assert set(os.listdir(folder)) == {
        "feeds.dump",
        "feeds.manifest",
        "postgres.dump",
        "postgres.manifest",
        "globals.sql",
        "globals.json",
        "SHA256SUMS",
    }
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    assert "CREATE ROLE etl_user" in (folder / "globals.sql").read_text()
    assert folder.stat().st_mode & 0o077 == 0


def test_a_backup_that_fails_leaves_nothing_and_deletes_nothing(backups: Installation) -> None:
    for day in range(1, 10):
        aged(backups.home / f"backups/2020010{day}T030000/SHA256SUMS", 400)
    # No file may grow beyond 64 KiB: the dump is cut as it would be on a full disk.
    door = f"ulimit -f 64; exec bash {PROJECT}/jobscripts/run_python_etl_script.sh daily_backup.sh"
    result = subprocess.run(
        ["bash", "-c", door], env=backups.environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "the dump of feeds failed" in result.stderr
    assert not list((backups.home / "backups").glob("*.part"))
    assert len(list((backups.home / "backups").iterdir())) == 9


# A disk of its own, for the command alone, and the caller's own user on it.
SMALL_DISK = """
mount -t tmpfs -o size=8m,mode=700 none "$ETL_BACKUP_DIR" && exec unshare --user --map-user="$0" --map-group="$1" bash -c "$2"
"""


def on_a_small_disk(backups: Installation, script: str, **more: str) -> "subprocess.CompletedProcess[str]":
    (backups.home / "backups").mkdir(exist_ok=True)
    user, group = str(os.geteuid()), str(os.getegid())
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", SMALL_DISK, user, group, script],
        env=backups.environment(**more), capture_output=True, text=True, check=False,
    )  # fmt: skip


# Each program fills the disk before it does its work: before the checksums, and before the backup has its name.
FILL = 'dd if=/dev/zero of="$ETL_BACKUP_DIR/filler" bs=4096 2>/dev/null'
THREE_NIGHTS = f"""
cd "$ETL_BACKUP_DIR" && mkdir 20200101T030000 && echo x >20200101T030000/SHA256SUMS
PATH=$FILLING/sha256sum:/usr/bin:/bin bash {PROJECT}/jobscripts/run_python_etl_script.sh daily_backup.sh; echo "ended $?:" *
rm filler
PATH=$FILLING/sync:/usr/bin:/bin bash {PROJECT}/jobscripts/run_python_etl_script.sh daily_backup.sh; echo "ended $?:" *
rm filler
bash {PROJECT}/jobscripts/run_python_etl_script.sh daily_backup.sh; echo "ended $?:" *
"""


def test_a_disk_that_fills_leaves_no_half_and_the_next_run_makes_it_good(backups: Installation, tmp_path: Path) -> None:
    need_programs("rsync")
    if subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"], check=False).returncode:
        missing("no namespaces can be had here", "namespaces")
    filling, elsewhere = tmp_path / "filling", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for program in ("sha256sum", "sync"):
        (filling / program).mkdir(parents=True)
        (filling / program / program).write_text(f'#!/bin/bash\n{FILL}\nexec {shutil.which(program)} "$@"\n')
        (filling / program / program).chmod(0o755)

    result = on_a_small_disk(
        backups, THREE_NIGHTS, FILLING=str(filling), ETL_BACKUP_COPY_TO=str(elsewhere), ETL_BACKUP_KEEP_COUNT="1"
    )  # fmt: skip

    first, second, third = (line.split()[1:] for line in result.stdout.splitlines() if line.startswith("ended "))
    assert "the checksums cannot be written; nothing was kept" in result.stderr
    assert "not_copied cannot be written" in result.stderr
    # It deletes what is old when there is a new one, and not before.
    assert first == ["1:", "20200101T030000", "filler"]
    assert (second[0], len(second), "20200101T030000" in second) == ("0:", 3, False)
    assert third[0] == "0:"
    assert sorted(path.name for path in elsewhere.iterdir()) == sorted({*second, *third} - {"0:", "filler"})
    for folder in elsewhere.iterdir():
        subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=folder, check=True)


def test_old_backups_go_after_a_good_one_but_never_the_newest_or_foreign_ones_or_those_of_the_future(
    backups: Installation,
) -> None:
    """A clock was wrong for a night: that backup would be kept in the place of another one, for ever."""
    foreign = backups.home / "backups" / "20200109T030000"
    foreign.mkdir(parents=True)
    os.utime(foreign, (0, 0))
    for name in [*(f"2020010{day}T030000" for day in range(1, 9)), "20990101T000000", "mine"]:
        folder = aged(backups.home / f"backups/{name}/SHA256SUMS", 400).parent
        os.utime(folder, (time.time() - 400 * DAY,) * 2)
    result = backups.door("daily_backup.sh", ETL_BACKUP_KEEP_COUNT="3", ETL_BACKUP_KEEP_DAYS="30")
    assert result.returncode == 0, result.stderr
    left = sorted(path.name for path in (backups.home / "backups").iterdir())
    assert left[:3] == ["20200107T030000", "20200108T030000", "20200109T030000"]
    assert left[4:] == ["20990101T000000", "mine"]


def test_a_backup_from_the_future_is_not_the_newest(backups: Installation, folder: Path) -> None:
    """It would be drilled for ever, and what was made since then never."""
    shutil.copytree(folder, folder.with_name("20990101T000000"))
    (folder / "feeds.dump").write_bytes(b"damaged")

    result = backups.door("restore_drill.sh")

    assert result.returncode == 1
    assert f"{folder} is damaged" in result.stderr


def test_nothing_is_deleted_for_its_age_after_the_clock_leapt(backups: Installation) -> None:
    runs = (
        "INSERT INTO dba.tjobrun (run_uuid, job, status, started_at, ended_at) SELECT gen_random_uuid(), 'x.py', 'Succeeded', "
        "t, t FROM generate_series(now() - interval '{}', now() - interval '{}', interval '1 day') AS t"
    )
    with contextlib.closing(log_in(backups, "feeds", "postgres")) as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM dba.tjobrun")
        cursor.execute(runs.format("400 days", "380 days"))
    older = [aged(backups.home / f"backups/2020010{day}T030000/SHA256SUMS", 400).parent for day in range(1, 4)]
    keep = {"ETL_BACKUP_KEEP_COUNT": "1", "ETL_BACKUP_KEEP_DAYS": "30"}

    leapt = backups.door("daily_backup.sh", **keep)

    assert leapt.returncode == 0
    assert "clock may be wrong" in leapt.stderr
    assert all(path.is_dir() for path in older)

    # A week of runs later it has proved itself.
    with contextlib.closing(log_in(backups, "feeds", "postgres")) as connection, connection.cursor() as cursor:
        cursor.execute(runs.format("9 days", "1 days"))
    trusted = [sys.executable, "-P", "-m", "systemscripts.clock"]
    assert subprocess.run(trusted, env=backups.environment(), check=False).returncode == 0


def test_a_backup_restores_beside_what_is_there_with_every_row(backups: Installation, folder: Path):
    result = restore(backups, str(folder), "feeds", "feeds_again")

    assert result.returncode == 0, result.stderr
    assert "equal to the backup" in result.stdout
    assert sql(backups, "SELECT a, b FROM public.tprice ORDER BY 1, 2", "feeds_again") == "007 |0.1\nx|\nx|"
    drop(backups, "feeds_again")


def drop(backups: Installation, database: str) -> None:
    command = [sys.executable, "-P", "-m", "systemscripts.db_config", "run", "--as", "postgres"]
    subprocess.run([*command, "dropdb", database], env=backups.environment(), check=True)


def test_what_is_there_is_never_overwritten(backups: Installation, folder: Path):
    result = restore(backups, str(folder))

    assert result.returncode == 1
    assert "the database feeds exists" in result.stderr


ODD = {".hidden line end\n": "UTF8", "-rf a=b 'c' \\d\n$(id)": "UTF8", "latin": "LATIN1"}


def test_a_backup_of_everything_restores_into_an_empty_server_however_odd_it_is(backups: Installation, tmp_path: Path):
    """Names, settings and texts that anybody with a role may choose are data to the end."""
    with contextlib.closing(superuser(backups)) as connection, connection.cursor() as cursor:
        for name, encoding in ODD.items():
            cursor.execute(
                SQL(
                    "CREATE DATABASE {} ENCODING {} TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER libc"
                ).format(Identifier(name), Literal(encoding))
            )
        cursor.execute("ALTER DATABASE latin SET work_mem = '77MB'; REVOKE ALL ON DATABASE latin FROM PUBLIC")
        cursor.execute(
            'CREATE ROLE "od d" LOGIN; CREATE ROLE eve LOGIN CONNECTION LIMIT 3; GRANT "od d" TO eve WITH ADMIN OPTION'
        )
        cursor.execute(
            "GRANT CONNECT ON DATABASE latin TO \"od d\", etl_backup; ALTER ROLE eve IN DATABASE latin SET work_mem = '9MB'"
        )
        cursor.execute(SQL("ALTER ROLE eve SET search_path = {}, public").format(Literal('x"\nfoo')))
        command = f"; COPY (SELECT 1) TO PROGRAM $$touch {tmp_path}/owned$$; --\n"
        cursor.execute(SQL("ALTER ROLE eve SET default_tablespace = {}").format(Literal(command)))
    with contextlib.closing(superuser(backups, "latin")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE \"a\rb\tc\" (t text, secret text); INSERT INTO \"a\rb\tc\" VALUES ('Müller', 'x')")
        cursor.execute(
            'CREATE MATERIALIZED VIEW stale AS SELECT count(*) FROM "a\rb\tc"; DELETE FROM "a\rb\tc" WHERE false'
        )
        cursor.execute("CREATE MATERIALIZED VIEW empty AS SELECT 1 WITH NO DATA")
    look = (
        'SELECT array_agg(row(datname, pg_encoding_to_char(encoding), datacl::text)::text ORDER BY datname COLLATE "C") FROM pg_database',
        "SELECT array_agg(row(setdatabase <> 0, pg_get_userbyid(setrole), setconfig)::text ORDER BY setconfig) FROM pg_db_role_setting",
        'SELECT array_agg(row(rolname, rolconnlimit, rolsuper, rolbypassrls)::text ORDER BY rolname COLLATE "C") FROM pg_roles',
        "SELECT array_agg(t::text ORDER BY t::text) FROM (SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members) AS t",
    )
    empty = server_home(f"odd_{os.getpid()}")
    new_box = Installation(tmp_path, {"ETL_HOME": str(empty)})
    try:
        folder = make(backups)
        result = restore(new_box, str(folder))
        assert result.returncode == 0, result.stderr
        assert "role etl_user: made" in result.stdout
        assert sql(new_box, "SELECT count(*) FROM public.tprice") == "3"
        assert sql(new_box, "SELECT pg_has_role('etl_backup', 'pg_read_all_data', 'MEMBER')") == "t"
        assert new_box.door("jobs.py", "list").returncode == 0
        with contextlib.closing(superuser(backups)) as was, contextlib.closing(superuser(new_box)) as is_now:
            for query in look:
                with was.cursor() as before, is_now.cursor() as after:
                    before.execute(query)
                    after.execute(query)
                    assert after.fetchone() == before.fetchone()
    finally:
        with contextlib.closing(superuser(backups)) as connection, connection.cursor() as cursor:
            for name in ODD:
                cursor.execute(SQL("DROP DATABASE {}").format(Identifier(name)))
            cursor.execute('DROP ROLE eve; DROP ROLE "od d"')
        with home_is(empty):
            embedded_postgres.stop()
    assert not (tmp_path / "owned").exists()


def superuser(installation: Installation, database: str = "postgres") -> "psycopg2.extensions.connection":
    return log_in(installation, database, "postgres")


def log_in(installation: Installation, database: str, user: str) -> "psycopg2.extensions.connection":
    with home_is(Path(installation.variables["ETL_HOME"])):
        embedded_postgres.ensure_running()
        connection = psycopg2.connect(host=str(embedded_postgres.socket_dir()), dbname=database, user=user)
    connection.autocommit = True
    return connection


def test_a_column_called_like_the_query_s_own_name_is_no_stand_in_for_the_row(backups: Installation, folder: Path):
    with contextlib.closing(log_in(backups, "feeds", "etl_user")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE public.tnamed AS SELECT 'x' AS t, 'wrong' AS secret")
        differs = subprocess.run(
            [sys.executable, "-P", "-m", "systemscripts.backups.dump", "compare", str(folder / "feeds.manifest"), "feeds"],
            env=backups.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        cursor.execute("DROP TABLE public.tnamed")
    assert re.search(r"public\.tnamed .*\b1\b.* other content", differs.stderr)


def test_a_view_that_took_the_place_of_a_table_is_not_read(backups: Installation):
    """Between the look at the catalogue and the read anybody may act, who may drop the table."""
    with contextlib.closing(superuser(backups, "feeds")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE VIEW public.vswapped AS SELECT 1 AS a")
        try:
            with pytest.raises(JobError, match="public.vswapped cannot be read"):
                connection.autocommit = False
                dump.table_sums(connection, [["public", "vswapped"]], "off")
        finally:
            connection.rollback()
            connection.autocommit = True
            cursor.execute("DROP VIEW public.vswapped")


def test_a_wrong_option_restores_nothing(backups: Installation, folder: Path):
    result = restore(backups, str(folder), "feeds", "--dryrun")

    assert result.returncode == 64
    assert databases(backups) == {"feeds", "postgres"}


@pytest.mark.skipif(os.geteuid() == 0, reason="PostgreSQL does not run as root")
def test_a_drill_proves_a_backup_and_names_the_table_that_it_could_not_compare(
    backups: Installation, made_once: Backup, folder: Path, tmp_path: Path
):
    """What a killed drill left is removed then, and a stranger that has its number now is not."""
    assert folder.exists()
    (tmp_path / "backups").rename(tmp_path / "other disk")
    (tmp_path / "backups").symlink_to("other disk")
    left = tmp_path / "backups" / ".drill.old" / "data"
    left.mkdir(parents=True)
    with subprocess.Popen(["sleep", "300"]) as stranger:
        (left / "postmaster.pid").write_text(f"{stranger.pid}\n")
        result = backups.door("restore_drill.sh")
        alive = stranger.poll() is None
        stranger.kill()

    assert result.returncode == 0, result.stderr
    assert alive
    assert not left.exists()
    assert "feeds restores: " in result.stdout
    assert databases(backups) == {"feeds", "postgres"}
    noted = sql(backups, "SELECT details FROM dba.tmaintenancelog WHERE operation = 'RESTORE DRILL'")
    assert f"{folder.name}: restored and equal" in noted
    assert re.search(r"public\.thidden .*FORCE ROW LEVEL SECURITY", made_once.told)
    assert re.search(r"public\.thidden .*not compared", result.stderr)


def test_a_changed_manifest_is_noticed_row_by_row_and_by_content(backups: Installation, folder: Path):
    manifest = folder / "feeds.manifest"
    lines = manifest.read_text().splitlines()
    more_rows = [line.replace("public.tprice\t3\t", "public.tprice\t4\t") for line in lines]
    other_text = [line + "1" if line.startswith("dba.tdataset\t") else line for line in more_rows]
    manifest.write_text("\n".join([*other_text, "public.gone\t0\t0"]) + "\n")
    renew_sums(folder)

    result = backups.door("restore_drill.sh")

    assert result.returncode == 1
    assert re.search(r"public\.tprice has 3 .*\b4$", result.stderr, re.MULTILINE)
    assert re.search(r"dba\.tdataset .*other content$", result.stderr, re.MULTILINE)
    assert "public.gone is missing" in result.stderr
    assert databases(backups) == {"feeds", "postgres"}


def renew_sums(folder: Path) -> None:
    files = sorted(path.name for path in folder.iterdir() if path.name != "SHA256SUMS")
    sums = subprocess.run(["sha256sum", "--", *files], cwd=folder, capture_output=True, text=True, check=True).stdout
    (folder / "SHA256SUMS").write_text(sums)


@pytest.mark.parametrize("file", ["feeds.dump", "globals.sql", "feeds.manifest"])
def test_a_damaged_backup_is_found_by_its_checksums(backups: Installation, folder: Path, file: str):
    with (folder / file).open("r+b") as stream:
        stream.seek(10)
        stream.write(b"!")

    result = backups.door("restore_drill.sh")

    assert result.returncode == 1
    assert "is damaged" in result.stderr


def test_no_backup_at_all_says_what_to_type(backups: Installation):
    (backups.home / "backups").mkdir()

    result = backups.door("restore_drill.sh")

    assert result.returncode == 1
    assert "daily_backup.sh" in result.stderr


def stub(folder: Path, name: str, body: str) -> Path:
    """Return a directory of PostgreSQL's programs of which one is ours."""
    programs = folder / "programs"
    programs.mkdir()
    for program in embedded_postgres.binary("psql").parent.iterdir():
        (programs / program.name).symlink_to(program)
    (programs / name).unlink()
    (programs / name).write_text(f"#!/bin/bash\n{body}\n")
    (programs / name).chmod(0o755)
    return programs


BAD_NIGHTS = [
    (
        "pg_dump",
        'echo "pg_dump: error: aborting because of server version mismatch" >&2; exit 1',
        ["version mismatch", "the dump of feeds failed"],
    ),
    (
        "pg_dump",
        'for a; do [[ $a == --file=* ]] && head -c 100 /dev/zero > "${a#--file=}"; done; exit 0',
        ["cannot be read"],
    ),
    ("pg_dump", "exit 0", ["cannot be read"]),
    (
        "pg_dump",
        '{real} "$@"; for a; do [[ $a == --file=* ]] && truncate -s -100 "${a#--file=}"; done; exit 0',
        ["cannot be read"],
    ),
    ("pg_dumpall", "exit 1", ["pg_dumpall of the roles failed"]),
]


def test_five_bad_nights_keep_nothing_and_delete_nothing(backups: Installation, folder: Path, tmp_path: Path):
    old = backups.home / "backups" / "20200101T030000"
    old.mkdir()
    (old / "SHA256SUMS").touch()
    killed = backups.home / "backups" / "20200102T030000.part"
    killed.mkdir()
    os.utime(old, (0, 0))

    for number, (name, body, told) in enumerate(BAD_NIGHTS):
        (tmp_path / str(number)).mkdir()
        programs = stub(tmp_path / str(number), name, body.replace("{real}", str(embedded_postgres.binary(name))))
        result = backups.door("daily_backup.sh", ETL_PG_BINDIR=str(programs), ETL_BACKUP_KEEP_COUNT="1")
        assert result.returncode == 1
        assert [words for words in told if words not in result.stderr] == []

    assert sorted((backups.home / "backups").iterdir()) == [old, folder]


def test_dump_and_manifest_are_of_one_moment(backups: Installation, tmp_path: Path):
    """Rows that come while the dump runs are in neither."""
    psql = f"{embedded_postgres.binary('psql')} -U etl_user -q -c \"INSERT INTO public.tprice VALUES ('late', 1)\" >&2"
    real = embedded_postgres.binary("pg_dump")
    programs = stub(tmp_path, "pg_dump", f'{psql}\nexec {real} "$@"')

    folder = make(backups, ETL_PG_BINDIR=str(programs))

    assert int(sql(backups, "SELECT count(*) FROM public.tprice")) > 3
    assert "public.tprice\t3\t" in (folder / "feeds.manifest").read_text()
    dumped = [embedded_postgres.binary("pg_restore"), "--table=tprice", "--file=-", folder / "feeds.dump"]
    rows = subprocess.run(dumped, capture_output=True, text=True, check=True).stdout
    assert rows.count("x\t\\N\n") == 2
    assert "late" not in rows


def test_an_encrypted_backup_restores_with_its_key_alone(backups: Installation, tmp_path: Path):
    need_programs("age")
    key = tmp_path / "key"
    subprocess.run(["age-keygen", "-o", str(key)], capture_output=True, check=True)
    public = subprocess.run(["age-keygen", "-y", str(key)], capture_output=True, text=True, check=True).stdout.strip()

    folder = make(backups, ETL_BACKUP_AGE_RECIPIENT=public)

    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS", "feeds.dump.age", "feeds.manifest", "globals.json.age", "globals.sql.age", "postgres.dump.age", "postgres.manifest",
    ]  # fmt: skip
    locked = backups.door("restore_drill.sh")
    assert locked.returncode == 1
    assert "ETL_BACKUP_AGE_IDENTITY" in locked.stderr
    restored = restore(backups, str(folder), "feeds", "feeds_again", ETL_BACKUP_AGE_IDENTITY=str(key))
    assert restored.returncode == 0, restored.stderr
    drop(backups, "feeds_again")

    other = tmp_path / "other"
    subprocess.run(["age-keygen", "-o", str(other)], capture_output=True, check=True)
    drilled = backups.door("restore_drill.sh", ETL_BACKUP_AGE_IDENTITY=str(other))
    restored = restore(backups, str(folder), "feeds", "feeds_again", ETL_BACKUP_AGE_IDENTITY=str(other))
    for refused in (drilled, restored):
        assert refused.returncode == 1
        assert "ETL_BACKUP_AGE_IDENTITY" in refused.stderr.splitlines()[-1]
        assert "ETL_BACKUP_AGE_RECIPIENT" in refused.stderr.splitlines()[-1]
    assert databases(backups) == {"feeds", "postgres"}


def test_a_key_that_is_none_begins_nothing(backups: Installation):
    need_programs("age")
    result = backups.door("daily_backup.sh", ETL_BACKUP_AGE_RECIPIENT="age1nonsense")

    assert result.returncode == 1
    assert "age cannot encrypt" in result.stderr
    assert not (backups.home / "backups").exists()


def test_a_copy_that_failed_half_is_no_backup_and_the_next_run_makes_it_good(backups: Installation, tmp_path: Path):
    need_programs("rsync")
    elsewhere, programs = tmp_path / "else where", tmp_path / "bin"
    elsewhere.mkdir()
    programs.mkdir()
    # The disk there is full, or the line cut, after the first file.
    (programs / "rsync").write_text(
        '#!/bin/bash\nmkdir -p "${@: -1}$(basename "${@: -2:1}")" && touch "${@: -1}$(basename "${@: -2:1}")/feeds.dump"; exit 11\n'
    )
    (programs / "rsync").chmod(0o755)

    failed = backups.door("daily_backup.sh", ETL_BACKUP_COPY_TO=str(elsewhere), PATH=f"{programs}:/usr/bin:/bin")
    (first,) = (folder for folder in (backups.home / "backups").iterdir() if folder.is_dir())
    assert failed.returncode == 1
    assert "the backup is good" in failed.stderr
    assert f"failed, of: {first.name};" in failed.stderr
    refused = restore(backups, str(elsewhere / first.name))
    assert "has no SHA256SUMS" in refused.stderr

    second = make(backups, ETL_BACKUP_COPY_TO=str(elsewhere))
    assert {path.name for path in elsewhere.iterdir()} == {first.name, second.name}
    for folder in elsewhere.iterdir():
        subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=folder, check=True)
        assert set(os.listdir(folder)) == set(os.listdir(second))
    assert not (backups.home / "backups" / "not_copied").exists()


def test_a_copy_goes_into_a_cloud_with_its_checksums_last(backups: Installation, folder: Path, tmp_path: Path) -> None:
    """The next run makes good what one left that failed in the middle, and sends nothing twice."""
    cloud_servers.need_rclone()
    bucket = tmp_path / "served/bucket"
    bucket.mkdir(parents=True)
    variables = {
        "ETL_BACKUP_COPY_TO": "rclone:offsite/bucket/our backups", "ETL_REMOTES_DIR": str(tmp_path / "remotes"),
        "SSL_CERT_FILE": str(tmp_path / "authority.pem"),
    }  # fmt: skip
    copies = bucket / "our backups"
    wrong = backups.door("daily_backup.sh", **{**variables, "ETL_BACKUP_COPY_TO": "rclone:offsite"})
    assert (wrong.returncode, "must be rclone:NAME/bucket/folder" in wrong.stderr) == (64, True)
    away = backups.door("daily_backup.sh", **variables)
    assert away.returncode == 1
    assert "there is no remote offsite" in away.stderr
    assert "the backup is good" in away.stderr

    (first,) = (path for path in (backups.home / "backups").iterdir() if path.is_dir() and path != folder)
    copy = copies / first.name
    # What a run has left that ended within its second file: one is whole, and one is not.
    copy.mkdir(parents=True)
    whole = Path(shutil.copy2(first / "feeds.manifest", copy))
    inode = whole.stat().st_ino
    (copy / "feeds.dump").write_bytes((first / "feeds.dump").read_bytes()[:100])
    with cloud_servers.serving("s3", tmp_path / "served", tmp_path / "authority.pem") as address:
        cloud_servers.write_remote(tmp_path / "remotes", "offsite", cloud_servers.s3_section("offsite", address))
        second = make(backups, **variables)
        # A copy of another machine's is not ours to overwrite, nor is a backup sent that is damaged.
        (backups.home / "backups/not_copied").write_text(f"{first.name}\n")
        (first / "SHA256SUMS").write_text((first / "SHA256SUMS").read_text().replace("feeds.dump", "feeds.dumb"))
        (first / "feeds.dump").rename(first / "feeds.dumb")
        other = backups.door("daily_backup.sh", **variables)
        (second / "feeds.dump").write_bytes(b"damaged")
        (backups.home / "backups/not_copied").write_text(f"{second.name}\n")
        damaged = backups.door("daily_backup.sh", **variables)
    assert whole.stat().st_ino == inode
    for path in (first, second):
        subprocess.run(
            ["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=copies / path.name, check=True
        )
        assert set(os.listdir(copies / path.name)) - {"feeds.dumb"} == set(os.listdir(path)) - {"feeds.dumb"} | {
            "feeds.dump"
        }
    assert "there is another backup at bucket/our backups/" in other.stderr
    assert (other.returncode, f"failed, of: {first.name};" in other.stderr) == (1, True)
    assert "feeds.dump is not what its checksum says" in damaged.stderr
    assert "Traceback" not in wrong.stderr + away.stderr + other.stderr + damaged.stderr


def test_a_copy_goes_by_sftp_under_another_name_until_it_is_whole(backups: Installation, folder: Path, tmp_path: Path):
    elsewhere = tmp_path / "else where"
    # As a run leaves it that was killed when all had been copied.
    shutil.copytree(folder, elsewhere / folder.name)
    (folder.parent / "not_copied").write_text(f"{folder.name}\n")
    with running_server(tmp_path / "ssh") as server:
        (tmp_path / "known_hosts").write_text(server.known_host)
        programs = tmp_path / "bin"
        programs.mkdir()
        (programs / "sftp").write_text(
            f"#!/bin/bash\nexec /usr/bin/sftp -F none -i '{server.key}' -o UserKnownHostsFile='{tmp_path}/known_hosts' \"$@\"\n"
        )
        (programs / "sftp").chmod(0o755)
        target = f"sftp://{server.user}@127.0.0.1:{server.port}/{quote(str(elsewhere))}"
        variables = {"ETL_BACKUP_COPY_TO": target, "PATH": f"{programs}:/usr/bin:/bin"}

        new = make(backups, **variables)
        gone = backups.door("daily_backup.sh", **{**variables, "ETL_BACKUP_COPY_TO": f"{target}/nowhere"})

    assert sorted(path.name for path in elsewhere.iterdir()) == [folder.name, new.name]
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=elsewhere / new.name, check=True)
    assert gone.returncode == 1
    assert "the backup is good" in gone.stderr
