"""The rows of the database as the text of a file."""

from typing import TYPE_CHECKING

from systemscripts.configuration import catalogue as catalogues
from systemscripts.configuration import rows, values, writing
from systemscripts.configuration.rows import State
from systemscripts.errors import JobError

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

# What is called with the number of an import or a report, which is another one on another installation.
_NUMBERED_JOBS = {"run_import_job.py": "import", "retry_files.py": "import", "send_reports.py": "report"}


def export(cursor: "Cursor") -> tuple[str, list[str]]:
    """Return the text, and warnings; raises JobError if a row has a secret, because the file is shown to others."""
    catalogues.begin(cursor)
    catalogue = catalogues.read(cursor)
    state = rows.read(cursor, catalogue)
    found = [
        f"{path} > {row.name} > {name} has {told}"
        for path, row in rows.each(state)
        for name, text in [*row.values.items(), *(("its name", word) for word in row.key)]
        if (told := values.secret_in(text))
    ]
    if found:
        told = "; ".join(found[:10])
        raise JobError(f"{told}: nothing was written. A secret belongs into secrets.env and never into a row")
    for path, row in rows.each(state):
        for name, column in catalogue[path].columns.items():
            if values.is_too_deep(column, row.values[name]):
                raise JobError(f"{path} > {row.name} > {name} is nested too deep for a file: nothing was written")
    return writing.document(catalogue, state), _numbers(state)


def _numbers(state: State) -> list[str]:
    """Return a sentence for each task that names a row by its number, which no file can carry to another database."""
    told = []
    for row in state["schedule"].values():
        kind = _NUMBERED_JOBS.get((row.values["scriptpath"] or "").rpartition("/")[2])
        first = (row.values["scriptargs"] or "").split(" ")[0]
        if kind and first.isdigit():
            told.append(
                f"schedule > {row.name}: scriptargs names {kind} {first} by its number, which is another one in another "
                "database; write its name there"
            )
    return told
