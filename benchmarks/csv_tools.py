"""The other tools that load a CSV file into PostgreSQL: how each is called, and whether it is there.

Each loads into a schema of its own that is dropped before, as text like our import: none loses time
by guessing types. Of several ways that a tool has the fastest is taken.
"""

import shutil
from pathlib import Path

from installation import Installation
from measuring import CommandFailed, Usage, measure
from sample_csv import COLUMNS

from systemscripts import embedded_postgres

# What each is started by; the Python tools' programs lie in their venv.
PROGRAMS = {
    "pgloader": "pgloader", "csvkit": "csvsql", "dlt": "dlt", "pandas": "python", "duckdb": "python", "pyarrow": "python",
}  # fmt: skip
HERE = Path(__file__).resolve().parent
TABLE = "bench"

PGLOADER_COMMAND = """
LOAD CSV FROM '{file}' WITH ENCODING UTF-8 ({columns})
INTO postgresql://postgres@unix:{socket_dir}:5432/feeds
TARGET TABLE pgloader.{table} ({columns})
WITH skip header = 1, fields optionally enclosed by '"', fields escaped by double-quote, fields terminated by ',';
"""


class CsvTools:
    """The tools that are there (`names`), and the reasons why others are not."""

    def __init__(self, etl: Installation, venv: Path | None) -> None:
        self._etl = etl
        self._bin = (venv or Path("/nonexistent")).absolute() / "bin"
        self._socket_dir = str(embedded_postgres.socket_dir())
        self.names: list[str] = []
        self.left_out: list[str] = []
        for name, program in PROGRAMS.items():
            if shutil.which(program, path=None if name == "pgloader" else str(self._bin)):
                self.names.append(name)
            else:
                remedy = "apt-get install pgloader" if name == "pgloader" else "see install_tools.sh and --tools"
                self.left_out.append(f"{name}: it is not installed; {remedy}")

    def load(self, name: str, file: Path, rows: int) -> Usage:
        """Load the file; raises CommandFailed, also where not all of its rows arrive."""
        self._etl.sql(f"DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}")
        if name == "pgloader":
            self._etl.sql(f"CREATE TABLE pgloader.{TABLE} ({', '.join(f'{column} text' for column in COLUMNS)})")
        shutil.rmtree(self._etl.home / ".dlt", ignore_errors=True)
        self._etl.settle()
        usage = measure(self._command(name, file), {**self._etl.environment, "RUNTIME__DLTHUB_TELEMETRY": "false"})
        loaded = self._etl.rows_in(f"{name}.{TABLE}")
        self._etl.sql(f"DROP SCHEMA {name} CASCADE")
        if loaded != rows:
            raise CommandFailed(f"it loaded {loaded} rows of {rows}")
        return usage

    def _command(self, name: str, file: Path) -> list[str | Path]:
        if name == "pgloader":
            script = self._etl.home / "pgloader.load"
            command = PGLOADER_COMMAND.format(
                file=file, columns=", ".join(COLUMNS), socket_dir=self._socket_dir, table=TABLE
            )
            script.write_text(command)
            return ["pgloader", "--quiet", "--root-dir", self._etl.home / "pgloader", script]
        if name == "csvkit":
            url = f"postgresql+psycopg2://postgres@/feeds?host={self._socket_dir}"
            plain = ("--no-inference", "--no-constraints", "--snifflimit", "0")
            return [
                self._bin / "csvsql", "--db", url, "--db-schema", name, "--tables", TABLE, "--insert", *plain, file,
            ]  # fmt: skip
        return [self._bin / "python", HERE / "load_with.py", name, file, self._socket_dir, f"{name}.{TABLE}"]
