"""The move to another server: all of it is there afterwards, or the former one is as it was; and the way back."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import psycopg2
import psycopg2.errors
import pytest
from conftest import PROJECT, Installation, clean_environment, copy_code, give_way, home_is, server_home, set_up
from needs import missing
from psycopg2 import sql
from schema_fixtures import DEBIAN, debian_program
from test_backups import SMALL_DISK
from test_job_runner import add_job
from test_run_policy import SLOT, start

from systemscripts import embedded_postgres
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.moving import checks, comparing, copying, fence, preparing, site_file, switching
from systemscripts.moving.servers import Server, ask

pytestmark = [pytest.mark.slow, pytest.mark.begins_first]

PASSWORDS = {
    "postgres": "adm:in-1\\x",
    "etl_user": "user-secret-2",
    "etl_report": "report-secret-3",
    "etl_backup": "backup-secret-4",
}
SITE = "# ours; stays\nETL_SETTLE_SECONDS=0\nPGPASSFILE={}\n"
JOBS_OWN = """
    CREATE TABLE public.tnokey (a text); INSERT INTO public.tnokey SELECT i::text FROM generate_series(1, 500) AS i;
    CREATE TABLE public."tOdd ""name" (id serial PRIMARY KEY, "a b" numeric(9, 2), at timestamptz DEFAULT now());
    INSERT INTO public."tOdd ""name" ("a b") SELECT i / 7.0 FROM generate_series(1, 3000) AS i;
    CREATE FUNCTION public.f_own(p integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT p + 1';
    CREATE VIEW public.vown AS SELECT o.id, public.f_own(o.id) AS next FROM public."tOdd ""name" AS o WHERE o."a b" > 1;
    CREATE MATERIALIZED VIEW public.mown AS SELECT count(*) AS n FROM public.tnokey;
    CREATE INDEX ON public.tnokey (lower(a)); COMMENT ON TABLE public.tnokey IS 'without a key';
    CREATE SEQUENCE public.s_own START 40 INCREMENT 2; SELECT nextval('public.s_own')
"""
OTHERS = """
    CREATE ROLE readers; GRANT USAGE ON SCHEMA dba TO readers; CREATE ROLE bert LOGIN IN ROLE readers;
    CREATE ROLE anna LOGIN IN ROLE etl_owner; ALTER ROLE anna IN DATABASE feeds SET work_mem = '8MB';
    ALTER DATABASE feeds SET work_mem = '6MB'; COMMENT ON DATABASE feeds IS 'our database'; GRANT CONNECT ON DATABASE feeds TO anna;
    SELECT lo_from_bytea(4711, repeat('abc', 700000)::bytea);
    GRANT SELECT ON LARGE OBJECT 4711 TO etl_backup
"""


def in_database(
    host: str, statement: str, database: str = "feeds", user: str = "postgres", **more: str
) -> list[tuple[object, ...]]:
    with contextlib.closing(psycopg2.connect(host=host, dbname=database, user=user, **more)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of an embedded server with data of every kind."""
    home = server_home(f"moves_{os.getpid()}")
    set_up(PROJECT, {}, home)
    with home_is(home):
        host = str(embedded_postgres.socket_dir())
        in_database(host, JOBS_OWN, user="etl_user")
        in_database(host, OTHERS)
        yield home
        embedded_postgres.stop()


@pytest.fixture(scope="module")
def new_server() -> Iterator[int]:
    """The port of a server of PostgreSQL 15 that asks for passwords, and writes all statements into its log."""
    if not (DEBIAN / "postgres").exists():
        missing("the system has no PostgreSQL of its own", "postgresql")
    home = server_home(f"moved_{os.getpid()}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = home / "data"
    assert debian_program("initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "-A", "trust").returncode == 0
    with (data / "postgresql.conf").open("a") as stream:
        stream.write(
            f"listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{data}'\nfsync = off\nlog_statement = all\n"
        )
    (data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    assert debian_program("pg_ctl", "start", "-w", "-s", "-D", data, "-l", home / "server.log").returncode == 0
    admin(data, port, f"ALTER ROLE postgres PASSWORD '{PASSWORDS['postgres']}'")
    yield port
    debian_program("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)


def data_of_new_server() -> Path:
    return server_home(f"moved_{os.getpid()}") / "data"


def admin(data: Path, port: int, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
    return in_database(str(data), statement, database, port=str(port))


class Small:
    """An installation on the embedded server, which a test moves away from."""

    def __init__(self, home: Path, folder: Path, port: int) -> None:
        self.home, self.port = home, port
        self.site, self.passwords = folder / "site.env", folder / "pgpass"
        lines = [f"127.0.0.1:{port}:*:{role}:{escaped(password)}\n" for role, password in PASSWORDS.items()]
        self.passwords.write_text("# role by role\n" + "".join(lines))
        self.passwords.chmod(0o600)
        self.site.write_text(SITE.format(self.passwords))
        self.site.chmod(0o640)
        self.variables = {"ETL_HOME": str(home), "ETL_SITE_FILE": str(self.site)}
        self.to = ["PGHOST=127.0.0.1", f"PGPORT={port}"]
        self.installation = Installation(home, self.variables)

    def command(self, *words: str) -> list[str]:
        return ["/bin/bash", str(PROJECT / "onboarding/sh/move_database.sh"), *words]

    def move(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*words),
            env=self.installation.environment(**more),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*words), env=self.installation.environment(), cwd="/", stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def here(self, statement: str, user: str = "etl_user") -> list[tuple[object, ...]]:
        with home_is(self.home):
            embedded_postgres.ensure_running()
            return in_database(str(embedded_postgres.socket_dir()), statement, user=user)

    def there(self, statement: str, database: str = "feeds") -> list[tuple[object, ...]]:
        return admin(data_of_new_server(), self.port, statement, database)

    def is_whole(self) -> bool:
        """Tell whether the former database is the one in use, and can be written."""
        assert site_file.variables_in(self.site.read_text()) == {}
        return self.here("CREATE TABLE public.tt (); DROP TABLE public.tt; SELECT count(*) FROM public.tnokey") == [
            (500,)
        ]


def escaped(password: str) -> str:
    return password.replace("\\", "\\\\").replace(":", "\\:")


@pytest.fixture
def small(embedded: Path, new_server: int, tmp_path: Path) -> Iterator[Small]:
    installation = Small(embedded, tmp_path, new_server)
    yield installation
    with home_is(embedded):
        embedded_postgres.ensure_running()
        in_database(
            str(embedded_postgres.socket_dir()),
            "ALTER DATABASE feeds RESET default_transaction_read_only",
            options="-c default_transaction_read_only=off",
        )
    installation.there("DROP DATABASE IF EXISTS feeds WITH (FORCE)", "postgres")


def test_it_moves_all_of_it_and_comes_back(small: Small) -> None:
    site = small.site.read_text()
    seen = small.move("--dry-run", *small.to)
    assert (seen.returncode, small.is_whole()) == (0, True), seen.stderr
    assert "would make the roles anna, bert, etl_backup, etl_owner, etl_report, etl_user, readers" in seen.stdout
    assert small.there("SELECT count(*) FROM pg_roles WHERE rolname ~ '^etl'", "postgres") == [(0,)]

    moved = small.move(*small.to)
    assert moved.returncode == 0, moved.stdout + moved.stderr
    assert re.search(r"compared: 3\d tables with [0-9,]+ rows, and [0-9,]+ other things, are the same", moved.stdout)
    assert small.site.read_text() == f"{site}PGHOST=127.0.0.1\nPGPORT={small.port}\nPGDATABASE=feeds\n"
    (former,) = small.site.parent.glob("site.env.2*")
    assert former.read_text() == site
    assert {stat.S_IMODE(file.stat().st_mode) for file in small.site.parent.glob("site.env*")} == {0o640}
    assert small.there('SELECT count(*), sum(id) FROM public."tOdd ""name"') == [(3000, 4501500)]
    assert small.there("SELECT rolname, rolconfig FROM pg_roles WHERE rolname = 'etl_backup' AND rolbypassrls") != []
    assert small.there("SELECT has_schema_privilege('bert', 'dba', 'USAGE')") == [(True,)]
    assert small.there("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'feeds'") == [
        ("our database",)
    ]
    with home_is(small.home):
        assert not embedded_postgres.is_running()
        assert (embedded_postgres.data_dir() / "PG_VERSION").exists()
    # The installation works there, with the passwords of its own file, which nobody else has got to know.
    assert small.installation.door("show_state.py").returncode == 0
    told = moved.stdout + moved.stderr + (data_of_new_server().parent / "server.log").read_text()
    assert [
        password
        for password in PASSWORDS.values()
        if password in told.replace("ALTER ROLE postgres PASSWORD 'adm:in-1\\x'", "")
    ] == []

    # The set-up finds nothing to make there.
    there = {
        "PGHOST": str(data_of_new_server()),
        "PGPORT": str(small.port),
        "PGUSER": "postgres",
        "PGDATABASE": "feeds",
    }
    again = subprocess.run(
        ["/bin/bash", str(PROJECT / "onboarding/sh/sql_setupscripts.sh")],
        env=clean_environment(ETL_HOME=str(small.home), **there), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (again.returncode, again.stderr) == (0, "")

    # That look was a run, and would be lost.
    refused = small.move("--undo")
    assert refused.returncode == 1
    assert (
        "the table dba.tjobrun has 2 rows in the new one, and 0 in the former: from key 1 on only the new one has rows"
        in refused.stdout
    )
    assert "type: bash onboarding/sh/move_database.sh --undo --lose-what-is-newer" in refused.stderr
    assert small.site.read_text() != site
    small.there(
        "DELETE FROM dba.tlogentry WHERE processtype <> 'doctor'; DELETE FROM dba.tjobrun WHERE job <> 'doctor.py'"
    )
    back = small.move("--undo")
    assert back.returncode == 0, back.stdout + back.stderr
    assert (small.site.read_text(), small.is_whole()) == (site, True)
    assert "there is no move to take back" in small.move("--undo").stderr

    # What an earlier move has left there is nobody's, and is made anew; what holds newer rows is kept.
    small.there("ALTER ROLE etl_user SET search_path = evil", "postgres")
    small.there("ALTER ROLE postgres SET statement_timeout = '1ms'", "postgres")
    again = small.move(*small.to)
    assert (again.returncode, "made anew" in again.stdout) == (0, True), again.stderr
    small.there("SET statement_timeout = 0; ALTER ROLE postgres RESET statement_timeout", "postgres")
    assert small.there("SELECT rolconfig FROM pg_roles WHERE rolname = 'etl_user'") == [(None,)]
    small.there("UPDATE public.tnokey SET a = 'changed' WHERE a = '7'")
    lost = small.move("--undo", "--lose-what-is-newer")
    assert lost.returncode == 0, lost.stderr
    assert (
        "the table public.tnokey has 500 rows in both, with other content: the first is key (7) in the former"
        in lost.stdout
    )
    kept = small.move(*small.to)
    assert (kept.returncode, "feeds on 127.0.0.1" in kept.stderr, "is not empty" in kept.stderr) == (1, True, True)


def test_from_one_real_server_to_a_newer_one_by_an_administrator_who_is_no_superuser(
    small: Small, server: Path, administrator: Installation, tmp_path: Path
) -> None:
    assert small.move(*small.to).returncode == 0
    name = f"moved_{os.getpid()}"
    managed = f"managed_{os.getpid()}"
    administrator.query(f"CREATE ROLE {managed} LOGIN CREATEROLE CREATEDB")
    administrator.query(f"GRANT etl_owner, etl_user, etl_report, etl_backup TO {managed} WITH ADMIN TRUE")
    to = [f"PGHOST={server}", f"PGDATABASE={name}", f"PGUSER={managed}"]
    try:
        refused = small.move(*to)
        assert "the large object 4711 belongs to postgres, for whom" in refused.stderr, refused.stderr
        small.there("ALTER LARGE OBJECT 4711 OWNER TO etl_owner")
        data, port = data_of_new_server(), str(small.port)
        with contextlib.closing(psycopg2.connect(host=str(data), port=port, dbname="feeds", user="anna")) as idle:
            moved = small.move(*to)
            with pytest.raises(psycopg2.OperationalError):  # she might go on writing there
                idle.cursor().execute("SELECT 1")
        assert moved.returncode == 0, moved.stdout + moved.stderr
        assert f"{managed} is no superuser there: the event triggers" in moved.stdout
        assert f"PGHOST={server}\nPGDATABASE={name}\n" in small.site.read_text()
        assert "PGPORT" not in small.site.read_text()
        assert in_database(str(server), 'SELECT count(*) FROM public."tOdd ""name"', name, "etl_user") == [(3000,)]
        back = small.move("--undo", "--lose-what-is-newer")
        assert back.returncode == 0, back.stdout + back.stderr
        assert f"PGPORT={small.port}\n" in small.site.read_text()
    finally:
        administrator.query(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        administrator.query(f"DROP OWNED BY {managed}; DROP ROLE {managed}; DROP ROLE IF EXISTS anna, bert, readers")


# What is done to the new one, and how the sentence about it begins.
PLANTED = """
    UPDATE dba.tlogentry SET message = 'other' WHERE logid = 3
        the table dba.tlogentry has 4 rows in both, with other content: the first is key 3, whose content is not the same
    DELETE FROM public.tnokey WHERE a = '5'
        the table public.tnokey has 1 rows in the new one, and 2 in the former: from key (5) on only the former one has rows
    SELECT setval('public.s_planted', 99)
        the sequence public.s_planted is not the same:
    CREATE OR REPLACE FUNCTION public.f_planted() RETURNS integer LANGUAGE sql AS 'SELECT 2'
        the function public.f_planted() is not the same: '…
    DROP TRIGGER planted ON public.tnokey
        the trigger planted on public.tnokey is missing in the new one
    ALTER TABLE dba.tincident DROP CONSTRAINT tincident_pkey CASCADE
        the constraint tincident_pkey on dba.tincident is missing in the new one
    DROP INDEX public.i_planted
        the index public.i_planted is missing in the new one
    GRANT DELETE ON dba.tscheduler TO etl_report
        the grant DELETE on dba.tscheduler to etl_report is only in the new one
    REVOKE SELECT ON dba.tscheduler FROM etl_report
        the grant SELECT on dba.tscheduler to etl_report is missing in the new one
    ALTER TABLE public.tnokey OWNER TO etl_owner
        the owner public.tnokey is not the same: 'etl_owner' in the new one, 'etl_user' in the former
    COMMENT ON TABLE dba.tscheduler IS 'x'
        the comment table dba.tscheduler is not the same:
    ALTER TABLE dba.tdownload ADD COLUMN planted text
        the column dba.tdownload.planted is only in the new one
    CREATE VIEW public.vplanted AS SELECT 1 AS a
        the view public.vplanted is only in the new one
    ALTER DEFAULT PRIVILEGES FOR ROLE etl_user GRANT SELECT ON TABLES TO etl_backup
        the grant SELECT on r of etl_user in all schemas by default to etl_backup is only in the new one
    DROP EVENT TRIGGER log_ddl_changes
        the event trigger log_ddl_changes is missing in the new one
    SELECT lo_put(815, 2, 'x')
        the large object 815 is not the same: '3 bytes,
    ALTER DATABASE {} SET work_mem = '9MB'
        the setting work_mem of the database is only in the new one
    ALTER TABLE public.tchild NO INHERIT public.tparent
        the parent public.tparent of public.tchild is missing in the new one
    DROP STATISTICS public.st_planted
        the object statistics object public.st_planted is missing in the new one
    ALTER SEQUENCE public.s_planted OWNED BY public.tparent.a
        the column of the sequence public.s_planted is only in the new one
    ALTER TABLE public.tparent DISABLE RULE planted
        the rule planted on public.tparent is not the same:
    CREATE OR REPLACE AGGREGATE public.a_planted(integer) (sfunc = int4mul, stype = integer)
        the function public.a_planted(integer) is not the same:
    ALTER TABLE public.tparent ALTER a SET STATISTICS 5
        the column public.tparent.a is not the same: 'integer statistics 5' in the new one
    CREATE DOMAIN public.d_planted AS text
        the type public.d_planted is only in the new one
"""
BEFORE_PLANTING = """
    INSERT INTO dba.tlogentry (run_uuid, processtype, message) SELECT gen_random_uuid(), 'p', 'm' FROM generate_series(1, 4);
    CREATE TABLE public.tnokey (a text); INSERT INTO public.tnokey VALUES ('1'), ('5'); ALTER TABLE public.tnokey OWNER TO etl_user;
    CREATE INDEX i_planted ON public.tnokey (a); CREATE SEQUENCE public.s_planted;
    CREATE FUNCTION public.f_planted() RETURNS integer LANGUAGE sql AS 'SELECT 1';
    CREATE TABLE public.tparent (a integer, b text); CREATE TABLE public.tchild () INHERITS (public.tparent);
    CREATE STATISTICS public.st_planted ON a, b FROM public.tparent;
    CREATE RULE planted AS ON DELETE TO public.tparent DO INSTEAD NOTHING;
    CREATE AGGREGATE public.a_planted(integer) (sfunc = int4pl, stype = integer);
    CREATE FUNCTION public.f_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER planted BEFORE INSERT ON public.tnokey FOR EACH ROW EXECUTE FUNCTION public.f_trigger();
    SELECT lo_from_bytea(815, 'abc')
"""


def test_each_difference_is_named_with_the_first_key(
    etl: Installation, administrator: Installation, tmp_path: Path
) -> None:
    etl.query(BEFORE_PLANTING)
    etl.leave()
    former, copy = etl.variables["PGDATABASE"], f"{etl.variables['PGDATABASE']}_new"
    administrator.query(f"CREATE DATABASE {copy} TEMPLATE {former} STRATEGY FILE_COPY")
    try:
        servers = [Server({"PGHOST": etl.variables["PGHOST"], "PGDATABASE": name}) for name in (former, copy)]
        there = {"version": 180_000, "is_superuser": True, "settings": []}

        def found() -> list[str]:
            accounts = comparing.accounts(*servers, "", [], tmp_path)
            differences = list(comparing.differences(*accounts, there, 180_000))
            return [line for part in (differences[at : at + 20] for at in range(0, len(differences), 20))
                    for line in comparing.sentences(part, *servers, "")]  # fmt: skip

        assert found() == []
        lines = [line.strip() for line in PLANTED.strip().splitlines()]
        for statement in lines[::2]:
            in_database(etl.variables["PGHOST"], statement.format(copy), copy, options="-c etl.setup=on")
        told = found()
        assert "public.tnokey" in ask(servers[1].environment(), "unreadable", told="etl_report")
        assert ask(servers[1].environment(), "unreadable", told="etl_backup") == []
    finally:
        administrator.query(f"DROP DATABASE {copy} WITH (FORCE)")
    assert [expected for expected in lines[1::2] if not any(line.startswith(expected) for line in told)] == []


def read_until(process: "subprocess.Popen[str]", start: str) -> str:
    assert process.stdout is not None
    told = ""
    for line in process.stdout:
        told += line
        if line.startswith(start):
            return told
    raise AssertionError(told)


def test_killed_at_any_step_the_former_one_is_used_and_the_next_try_does_it(small: Small) -> None:
    for step in ("database feeds: ", "dumped", "restored", "compared"):
        killed = small.begin(*small.to)
        told = read_until(killed, step)
        killed.kill()
        killed.communicate()
        if site_file.variables_in(small.site.read_text()):
            break  # it was faster than the kill
        # The fence falls with the process that held it.
        while (look := small.installation.door("show_imports.py")).returncode == 75 and "being moved" in look.stderr:
            give_way()
        assert (look.returncode, small.is_whole()) == (0, True), told
        left = site_file.read_note(small.site)
        assert left is not None
        assert Path(left.folder).name.startswith("etl_move_")
    else:
        after = small.begin(*small.to)
        told = read_until(after, "switched")
        after.kill()
        after.communicate()
        assert "removed /" in told
        assert "made anew" in told
    finished = small.move(*small.to)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "this does again what comes after the switch" in finished.stdout
    assert small.there("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'feeds'") == [
        ("our database",)
    ]
    with home_is(small.home):
        assert not embedded_postgres.is_running()


def test_what_jobs_have_used_is_not_made_anew(small: Small) -> None:
    """It was killed at the switch, jobs ran, and somebody has put the former site.env back by hand."""
    site = small.site.read_text()
    assert small.move(*small.to).returncode == 0
    note = site_file.read_note(small.site)
    assert note is not None
    small.there(f"COMMENT ON DATABASE feeds IS '{note.mark}'")
    site_file.write_note(small.site, note._replace(phase=site_file.SWITCHING))
    small.site.write_text(site)
    refused = small.move(*small.to)
    assert (refused.returncode, "jobs have used feeds on 127.0.0.1" in refused.stderr) == (1, True), refused.stderr
    assert small.there("SELECT count(*) FROM public.tnokey") == [(500,)]


def test_the_new_server_away_in_the_middle_and_the_next_try(small: Small) -> None:
    moving = small.begin(*small.to)
    read_until(moving, "dumped")
    gone = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'feeds' AND application_name = 'psql'"
    )
    while not small.there(gone, "postgres") and moving.poll() is None:
        pass
    told, _ = moving.communicate(timeout=60)
    assert (moving.returncode, "the new server went away" in told) == (75, True), told
    assert small.is_whole()

    # The same, where it is the session that keeps the jobs from writing.
    moving = small.begin(*small.to)
    read_until(moving, "dumped")
    fencing = "(SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock')"
    small.here(f"SELECT pg_terminate_backend(pid) FROM {fencing} AS l", user="postgres")
    told, _ = moving.communicate(timeout=60)
    assert (moving.returncode, "ended the session that kept the jobs from writing" in told) == (75, True), told
    assert small.is_whole()

    # What only the newer one knows.
    small.here("CREATE TABLE public.tvirtual (a integer, b integer GENERATED ALWAYS AS (a + 1) VIRTUAL)")
    refused = small.move(*small.to)
    small.here("DROP TABLE public.tvirtual")
    assert refused.returncode == 1
    assert "the new server, PostgreSQL 15, refuses a part of the database: ERROR:  syntax error" in refused.stderr
    assert small.is_whole()


def test_a_full_disk_at_the_dump(small: Small) -> None:
    if subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"], check=False).returncode:
        missing("no namespaces can be had here", "namespaces")
    small.here("SELECT 1")
    folder = small.site.parent / "disk"
    folder.mkdir()
    script = f'dd if=/dev/zero of="$TMPDIR/filler" bs=4096 2>/dev/null; exec {" ".join(small.command(*small.to))}'
    result = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", SMALL_DISK, str(os.geteuid()), str(os.getegid()), script],
        env=small.installation.environment(TMPDIR=str(folder), ETL_BACKUP_DIR=str(folder)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, "the dump does not fit on the disk of" in result.stderr) == (1, True), result.stderr
    assert "TMPDIR=/mnt/disk" in result.stderr
    assert small.is_whole()


def test_jobs_that_run_are_waited_for_and_those_that_begin_are_told(small: Small, tmp_path: Path) -> None:
    code = copy_code(tmp_path / "code")
    jobs = Installation(small.home, {**small.variables, "PYTHONPATH": str(code)}, code)
    begun, end = tmp_path / "begun", tmp_path / "end"
    add_job(jobs, f"Path({str(begun)!r}).touch()\nwhile not Path({str(end)!r}).exists(): time.sleep(0.01)\nreturn 0")
    small.here("SELECT 1")
    with home_is(small.home):
        jobs.variables.update(PGHOST="", PGDATABASE="")
        host = str(embedded_postgres.socket_dir())
    task = in_database(
        host,
        "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath) VALUES ('probe', '0 5 * * *', 'probe.py') RETURNING schedulerid",
    )[0][0]
    running = start(jobs, "probe.py")
    while not begun.exists():
        give_way()
    moving = small.begin(*small.to)
    told = read_until(moving, "waits for probe.py (run ")
    refused = jobs.door("--scheduled-at", SLOT, "--task", str(task), "probe.py", "other")
    assert (refused.returncode, "is being moved to another server" in refused.stderr) == (75, True)
    end.touch()
    assert running.wait(60) == 0
    told += moving.communicate(timeout=60)[0]
    assert moving.returncode == 0, told
    assert "could not begin meanwhile: probe.py other, due " in told
    # The job that was waited for is there, and so is the one that was refused.
    assert small.there("SELECT status, arguments FROM dba.tjobrun WHERE job = 'probe.py' ORDER BY status") == [
        ("Skipped", ["other"]), ("Succeeded", []),
    ]  # fmt: skip


def test_whoever_writes_for_too_long_is_named(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "PATIENCE_S", 0.3)
    with contextlib.ExitStack() as stack:
        writer, fencing, watching = (stack.enter_context(contextlib.closing(etl.connect())) for _ in range(3))
        writer.autocommit = fencing.autocommit = False
        writer.cursor().execute("SET application_name = 'psql'; INSERT INTO dba.tlogentry (message) VALUES ('x')")
        named = f"waited for psql of postgres \\(session {writer.info.backend_pid}\\); let that end, or end it"
        with pytest.raises(TemporaryFailure, match=named):
            fence.raise_fence(fencing, watching)
        fencing.rollback()
        writer.rollback()
        fence.raise_fence(fencing, watching)
        writer.cursor().execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            writer.cursor().execute("INSERT INTO dba.tlogentry (message) VALUES ('x')")


def test_what_cannot_be_is_one_sentence_and_changes_nothing(small: Small, tmp_path: Path) -> None:
    host, port = small.to
    wrong = tmp_path / "wrong"
    wrong.write_text(f"127.0.0.1:{small.port}:*:*:wrong\n")
    wrong.chmod(0o600)
    other = tmp_path / "other"
    other.write_text(f"127.0.0.1:{small.port}:*:weak:weak-5\n")
    other.chmod(0o600)
    older = tmp_path / "older"
    older.mkdir()
    (older / "pg_dump").write_text('#!/bin/sh\necho "pg_dump (PostgreSQL) 14.9"\n')
    (older / "pg_dump").chmod(0o755)
    small.there("CREATE DATABASE filled", "postgres")
    small.there("CREATE ROLE weak LOGIN PASSWORD 'weak-5'", "postgres")
    small.there("CREATE DATABASE only_reads", "postgres")
    small.there("ALTER DATABASE only_reads SET default_transaction_read_only = on", "postgres")
    small.there("CREATE TABLE here (a integer)", "filled")
    made = small.there("SELECT rolname FROM pg_roles WHERE rolname = 'etl_user'", "postgres")
    if not made:
        small.there("CREATE ROLE etl_user LOGIN", "postgres")
    small.there("ALTER ROLE etl_user CREATEDB", "postgres")
    small.here("CREATE ROLE bertha IN ROLE etl_owner", user="postgres")  # she is not there
    with home_is(small.home):
        socket_dir = embedded_postgres.socket_dir()
    not_empty = "is not empty: it has 1 objects, such as table public.here; give another PGDATABASE"
    has_more = "the role etl_user exists at the new server and may more than here (CREATEDB); take that from it there ("
    # Which ones are missing depends on the tests before it.
    no_roles = ' are missing; type as an administrator of that server: ALTER ROLE "weak" CREATEROLE'
    only_reads = "nothing can be written to only_reads on 127.0.0.1:{}: default_transaction_read_only is on there"
    not_newer = "pg_dump is older than the server (pg_dump (PostgreSQL) 14.9; the server is PostgreSQL 18)"
    as_weak = [host, port, "PGUSER=weak", f"PGPASSFILE={other}"]
    cases: list[tuple[list[str], dict[str, str], int, str]] = [
        ([host, port, f"PGPASSFILE={wrong}"], {}, 75, f"must stand in a line HOST:PORT:DATABASE:USER:PASSWORD of {wrong}"),
        ([host, port, "PGSSLMODE=require"], {}, 75, "it offers no TLS"),
        ([host, "PGPORT=1"], {}, 75, "Connection refused"),
        ([host, port, "PGDATABASE=filled"], {}, 1, not_empty),
        ([host, port, "PGDATABASE=only_reads"], {}, 1, only_reads.format(small.port)),
        ([host, port], {}, 1, has_more),
        (as_weak, {}, 1, "weak may not make a database there, and feeds does not exist"),
        ([*as_weak, "PGDATABASE=given"], {}, 1, no_roles),
        ([host, port, "PGPASSWORD=x"], {}, 64, "a password is no argument"),
        ([port], {}, 64, "the new server has no name"),
        ([f"PGHOST={socket_dir}", "PGDATABASE=other"], {}, 64, "is on the embedded server, which a move leaves and stops"),
        ([host, port, "--force"], {}, 64, "'--force' is not understood"),
        ([host, port], {"ETL_PG_BINDIR": str(older)}, 1, not_newer),
    ]  # fmt: skip
    small.there("CREATE DATABASE given OWNER weak", "postgres")
    folder = os.open(small.site.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    assert (other_move := small.move(*small.to)).returncode == 75
    assert "another move of this installation runs" in other_move.stderr
    os.close(folder)
    for words, more, status, told in cases:
        result = small.move(*words, **more)
        assert (result.returncode, told in result.stderr) == (status, True), (words, result.stdout, result.stderr)
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert small.is_whole()
    for statement in (
        "DROP DATABASE filled",
        "DROP DATABASE only_reads",
        "DROP DATABASE given",
        "DROP ROLE weak",
        "ALTER ROLE etl_user NOCREATEDB",
    ):
        small.there(statement, "postgres")


def test_each_role_gets_the_password_of_its_own_line_and_the_jobs_must_be_let_in_by_theirs(
    small: Small, tmp_path: Path
) -> None:
    small.there("DROP ROLE IF EXISTS etl_owner, etl_user, etl_report, etl_backup, anna", "postgres")
    everybody = tmp_path / "everybody"
    everybody.write_text(f"*:*:*:*:{escaped(PASSWORDS['postgres'])}\n")
    everybody.chmod(0o600)
    lines = small.passwords.read_text()
    small.passwords.write_text(lines.replace(":etl_report:", ":nobody:"))
    refused = small.move(*small.to, f"PGPASSFILE={everybody}")
    assert refused.returncode == 1
    assert f"{small.passwords} has none for etl_report, as which the jobs log in; choose them" in refused.stderr
    assert small.there("SELECT count(*) FROM pg_roles WHERE rolname ~ '^etl'", "postgres") == [(0,)]
    assert small.is_whole()

    small.passwords.write_text(lines)
    moved = small.move(*small.to, f"PGPASSFILE={everybody}")
    assert moved.returncode == 0, moved.stdout + moved.stderr
    with_password = small.there("SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL ORDER BY 1", "postgres")
    assert with_password == [("etl_backup",), ("etl_report",), ("etl_user",), ("postgres",)]
    for role in ("etl_user", "etl_backup"):
        where = {"host": "127.0.0.1", "port": str(small.port), "dbname": "feeds", "user": role}
        psycopg2.connect(**where, password=PASSWORDS[role]).close()

    assert small.move("--undo").returncode == 0
    small.there("ALTER ROLE etl_user CONNECTION LIMIT 0", "postgres")
    refused = small.move(*small.to).stderr
    assert "; raise the CONNECTION LIMIT of that role or database there. Then start the move again" in refused
    assert "password" not in refused
    small.there("ALTER ROLE etl_user CONNECTION LIMIT -1", "postgres")
    small.passwords.write_text(lines.replace(":report-secret", ":other"))
    refused = small.move(*small.to)
    assert (refused.returncode, "the new server does not let etl_report in: " in refused.stderr) == (1, True)
    assert f"in a line HOST:PORT:DATABASE:USER:PASSWORD of {small.passwords} (mode 600); or give them" in refused.stderr
    assert small.is_whole()


def test_a_role_of_the_jobs_is_no_administrator_of_the_former_server(etl: Installation) -> None:
    former = Server(
        {"PGHOST": etl.variables["PGHOST"], "PGDATABASE": etl.variables["PGDATABASE"]}, {"PGUSER": "etl_user"}
    )
    with pytest.raises(JobError, match=r"as etl_user, which is no administrator; name him before .* PGSERVICE"):
        ask(former.environment(), "describe")


def test_a_move_that_is_stopped_does_not_wait_for_a_server_that_is_gone(small: Small, tmp_path: Path) -> None:
    programs, waits = tmp_path / "programs", tmp_path / "waits"
    programs.mkdir()
    os.mkfifo(waits)
    for name in ("pg_dump", "pg_restore"):
        (programs / name).symlink_to(embedded_postgres.binary(name))
    (programs / "psql").write_text(f"#!/bin/sh\necho $$ >{waits}\nexec sleep 600\n")
    (programs / "psql").chmod(0o755)
    environment = small.installation.environment(ETL_PG_BINDIR=str(programs))
    with subprocess.Popen(small.command(*small.to), env=environment, stdout=subprocess.DEVNULL) as move:
        psql = int(waits.read_text())
        move.terminate()
        try:
            assert move.wait(20) == 143
            with pytest.raises(ProcessLookupError):
                os.kill(psql, 0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(psql, signal.SIGKILL)
    assert small.is_whole()


def test_the_administrator_runs_no_code_of_a_role_that_may_less(small: Small) -> None:
    try:
        small.here(
            """CREATE ROLE carla; CREATE SCHEMA hers AUTHORIZATION carla; SET ROLE carla;
            CREATE FUNCTION hers.f(integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
            CREATE TABLE hers.t (a integer CHECK (hers.f(a))); INSERT INTO hers.t VALUES (1);
            GRANT USAGE ON SCHEMA hers TO etl_backup; GRANT SELECT ON hers.t TO etl_backup""",
            user="postgres",
        )
        refused = small.move(*small.to)
        assert refused.returncode == 1, refused.stdout
        told = (
            "must not run that: TABLE hers t carla; ACL hers TABLE t carla; TABLE DATA hers t carla; give the functions"
        )
        assert told in refused.stderr
        assert small.is_whole()
    finally:
        small.here("DROP OWNED BY carla CASCADE; DROP ROLE carla", user="postgres")


def test_a_server_that_is_away_right_after_the_switch_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_told: object, **_more: object) -> None:
        raise TemporaryFailure("it shuts down")

    monkeypatch.setattr(switching.servers, "ask", away)
    note = site_file.Note("u", site_file.SWITCHING, {}, {}, {})
    with pytest.raises(TemporaryFailure, match="it shuts down; the switch itself is done: type the same command again"):
        switching.leave(note, {}, {})


def test_a_file_of_passwords_that_two_roles_share_is_named_once() -> None:
    told = checks.what_it_means("fe_sendauth: no password supplied", [Path("/h/.pgpass"), Path("/h/.pgpass")])
    assert told.endswith("of /h/.pgpass (mode 600)")
    assert " or " not in told


def test_another_sort_order_of_an_empty_database_is_told(small: Small) -> None:
    small.there("CREATE DATABASE feeds LOCALE_PROVIDER icu ICU_LOCALE 'de' TEMPLATE template0", "postgres")
    seen = small.move("--dry-run", *small.to)
    assert (seen.returncode, "feeds sorts texts by de there, and by C here, so reports" in seen.stdout) == (0, True), (
        seen.stderr
    )
    small.there("DROP DATABASE feeds", "postgres")
    assert "sorts texts" not in small.move("--dry-run", *small.to).stdout


def test_a_full_disk_and_a_restart_of_the_new_server_are_no_question_of_its_version() -> None:
    told = 'ERROR:  could not extend file "base/5/7": No space left on device'
    with pytest.raises(
        JobError, match=r"the disk of the new server is full \(ERROR: .* free some space there, then start"
    ):
        copying._refuse(told, Server({}), 150_000)
    # With TLS psql says no more than this of a server that was restarted.
    with pytest.raises(TemporaryFailure, match="the new server went away"):
        copying._refuse("SSL SYSCALL error: EOF detected", Server({}), 150_000)


def test_a_server_that_lets_nobody_in_without_tls_says_what_to_add(small: Small) -> None:
    if shutil.which("openssl") is None:
        missing("a certificate cannot be made", "openssl")
    data = data_of_new_server()
    rules = (data / "pg_hba.conf").read_text()
    key = data / "server.key"
    subprocess.run(
        [*("openssl", "req", "-new", "-x509", "-nodes", "-subj", "/CN=localhost"), "-out", data / "server.crt", "-keyout", key],
        capture_output=True, check=True,
    )  # fmt: skip
    key.chmod(0o600)
    try:
        small.there("ALTER SYSTEM SET ssl = on", "postgres")
        (data / "pg_hba.conf").write_text(rules.replace("host all", "hostssl all"))
        small.there("SELECT pg_reload_conf()", "postgres")
        refused = small.move("--dry-run", *small.to)
        assert (refused.returncode, "add PGSSLMODE=require to the command" in refused.stderr) == (1, True), (
            refused.stderr
        )
        seen = small.move("--dry-run", *small.to, "PGSSLMODE=require")
        assert seen.returncode == 0 or "postgresql-client" in seen.stderr, seen.stderr
    finally:
        (data / "pg_hba.conf").write_text(rules)
        small.there("ALTER SYSTEM RESET ssl", "postgres")
        small.there("SELECT pg_reload_conf()", "postgres")


def test_another_place_that_names_the_server_is_told(small: Small, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.env"
    secrets.write_text("PGHOST=db.example.com\n")
    secrets.chmod(0o600)
    result = small.move(*small.to, ETL_SECRETS_FILE=str(secrets))
    assert result.returncode == 1
    assert f"PGHOST stands in {secrets}, which counts before {small.site}" in result.stderr
    result = small.move(*small.to, PGDATABASE="other")
    assert (result.returncode, "PGDATABASE is 'other' here and ''" in result.stderr) == (1, True)


def test_brackets_that_a_restore_leaves_out_are_no_difference_and_words_are() -> None:
    def accounts(section: str, *texts: str) -> list[dict[str, dict[str, str]]]:
        return [{section: {"a": text}} for text in texts]

    there = {"version": 180_000, "is_superuser": True, "settings": []}
    apart = ("CHECK (((a >= 1) AND (a <= 9)) AND b)", "CHECK ((a >= 1) AND (a <= 9) AND b)")
    for version in (180_000, 150_000):
        assert not list(comparing.differences(*accounts("constraint", *apart), there, version))
        assert list(
            comparing.differences(*accounts("constraint", apart[0], apart[1].replace("9", "8")), there, version)
        )
    assert list(comparing.differences(*accounts("function", *apart), there, 180_000))


@pytest.mark.parametrize(
    ("was", "is_now", "are_same"),
    [
        ('SELECT id, "x y" FROM "T a"', 'SELECT "T a".id, "T a"."x y" FROM "T a"', True),
        ("SELECT (a)::text AS b FROM t", "SELECT t.a::character varying AS b\n FROM t", True),
        ("SELECT a FROM t WHERE b > 1.5", "SELECT t.a FROM t WHERE t.b > 2.5", False),
        ("SELECT a FROM t WHERE b = 'x y'", "SELECT t.a FROM t WHERE t.b = 'xy'", False),
        ("SELECT a FROM t WHERE b = 'www.x'", "SELECT t.a FROM t WHERE t.b = 'x'", False),
        ('SELECT "a (b)" FROM t', 'SELECT t."a b" FROM t', False),
    ],
)
def test_two_versions_write_a_view_in_their_own_way_and_texts_and_numbers_count(
    was: str, is_now: str, are_same: bool
) -> None:
    there = {"version": 150_000, "is_superuser": True, "settings": []}
    found = list(comparing.differences({"view": {"v": was}}, {"view": {"v": is_now}}, there, 180_000))
    assert (not found) == are_same


def test_a_worker_of_autovacuum_that_an_administrator_may_not_end_is_left_to_the_server() -> None:
    class Managed:
        dropped: ClassVar[list[str]] = []

        def execute(self, statement: sql.Composed) -> None:
            self.dropped.append("".join(part.string for part in statement.seq if isinstance(part, sql.SQL)))
            if "FORCE" in self.dropped[-1]:
                raise psycopg2.errors.InsufficientPrivilege

    preparing.drop(Managed(), "feeds")
    assert Managed.dropped == ["DROP DATABASE  WITH (FORCE)", "DROP DATABASE "]
