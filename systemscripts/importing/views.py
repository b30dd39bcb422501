"""The views of an import's table: the rows of its active datasets, and of these the rows of each label's newest date.

A view keeps the columns that it has, in their order, because CREATE OR REPLACE can only add columns at the end. So the
views and their rights stay, and a view of an earlier version stays without the dataset's date and label.
"""

import re
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import SQL, Composable, Identifier, Literal

from systemscripts.importing.config import ImportConfig

# What a view says of the dataset of each row, and the columns of dba.tdataset that say so.
DATASET_COLUMNS = {"datasetdate": "datasetdate", "datasetlabel": "label"}
_OF_LATEST = "Rows of the newest date of each label"
_ENDING = "_latest"
_LONGEST_NAME = 63

_ACTIVE = "d.isactive"
_NEWEST = (
    "d.isactive AND NOT EXISTS (SELECT FROM dba.tdataset newer WHERE newer.datasettypeid = d.datasettypeid"
    " AND newer.label = d.label AND newer.isactive AND newer.datasetdate > d.datasetdate)"
)


class Views(NamedTuple):
    """The views of a table as they are: the columns of each, None if there is none; whether the second one is ours or may be made."""

    name: str
    columns: list[str] | None = None
    latest: list[str] | None = None
    latest_is_ours: bool = True

    @property
    def latest_name(self) -> str:
        return latest_name(self.name)


def look(cursor: Cursor, config: ImportConfig) -> Views:
    """Return the views as they are. A relation of the site with the name of the second one is not ours."""
    names = [former_view_name(config.table), view_name(config)]
    cursor.execute(
        "SELECT (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a"
        "        WHERE a.attrelid = to_regclass(view) AND a.attnum > 0 AND NOT a.attisdropped),"
        "       (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a"
        "        WHERE a.attrelid = to_regclass(latest) AND a.attnum > 0 AND NOT a.attisdropped),"
        "       obj_description(to_regclass(latest), 'pg_class'), coalesce(has_schema_privilege(to_regnamespace(%s), 'CREATE'), true)"
        " FROM unnest(%s, %s) WITH ORDINALITY AS name (view, latest, place) ORDER BY place",
        (
            quoted(config.schema),
            [quoted(config.schema, name) for name in names],
            [quoted(config.schema, latest_name(name)) for name in names],
        ),
    )
    former, plain = cursor.fetchall()
    is_former = former[0] is not None
    columns, latest, comment, may_make = former if is_former else plain
    is_ours = may_make if latest is None else (comment or "").startswith(_OF_LATEST)
    return Views(names[0] if is_former else names[1], columns, latest, is_ours)


def statements(config: ImportConfig, views: Views, columns: list[str], has_changed: bool) -> list[Composable]:
    """Return the statements after which the views show these columns of the table; `has_changed` if some of them are new."""
    result = []
    if has_changed:
        result.append(_active(config, views, columns))
    if has_changed and views.columns is None:
        told = "Rows of the active datasets, those of all dates together; for today's rows see " + views.latest_name
        result.append(_comment(config, views.name, told))
    if views.latest_is_ours and "datasetid" in columns and (views.latest is None or has_changed):
        result.append(_with_dataset(config, views.latest_name, views.latest, columns, _NEWEST))
        if views.latest is None:
            result.append(_comment(config, views.latest_name, f"{_OF_LATEST}, as far as their datasets are active"))
    return result


def made_again(config: ImportConfig, views: Views, columns: list[str], between: Composable) -> Composable:
    """Return the statements that drop the views, do something, and make them again."""
    ours = [views.name, views.latest_name] if views.latest_is_ours else [views.name]
    dropped = SQL(", ").join(Identifier(config.schema, name) for name in ours)
    new = Views(views.name, latest_is_ours=views.latest_is_ours)
    again = SQL("; ").join(statements(config, new, columns, has_changed=True))
    return SQL("BEGIN; DROP VIEW IF EXISTS {}; {}; {}; COMMIT;").format(dropped, between, again)


def view_name(config: ImportConfig) -> str:
    """Return the name of the view over a table's active rows: the prefix `t` of tables becomes `v`.

    A `t` that belongs to a word stays: `trades` gets `vtrades`, if the configuration or its dataset type has that name.
    """
    stem = config.table.removesuffix("s")
    words = re.findall("[A-Z]?[a-z0-9]+|[A-Z]+", f"{config.config_name} {config.datasettype}")
    is_word = any(word.lower().startswith(stem) for word in words)
    return f"v{config.table}" if is_word else former_view_name(config.table)


def former_view_name(table: str) -> str:
    """Return the view's name when every leading `t` counts as the prefix.

    >>> former_view_name("tmeetmaxevent"), former_view_name("clients")
    ('vmeetmaxevent', 'vclients')
    """
    return "v" + table.removeprefix("t")


def latest_name(view: str) -> str:
    """Return the name of the view of the newest rows.

    >>> latest_name("vclients")
    'vclients_latest'
    """
    return view[: _LONGEST_NAME - len(_ENDING)] + _ENDING


def quoted(*parts: str) -> str:
    """Return a name as SQL has it, with all its parts in quotes."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def _active(config: ImportConfig, views: Views, columns: list[str]) -> Composable:
    known = {*columns, *DATASET_COLUMNS}
    says_dataset = views.columns is None or any(
        name in DATASET_COLUMNS and name not in columns for name in views.columns
    )
    if says_dataset and "datasetid" in columns and known.issuperset(views.columns or ()):
        return _with_dataset(config, views.name, views.columns, columns, _ACTIVE)
    return SQL(
        "CREATE OR REPLACE VIEW {view} AS SELECT t.* FROM {table} t WHERE EXISTS"
        " (SELECT FROM dba.tdataset d WHERE d.datasetid = t.datasetid AND d.isactive)"
    ).format(view=Identifier(config.schema, views.name), table=Identifier(config.schema, config.table))


def _with_dataset(
    config: ImportConfig, name: str, present: list[str] | None, columns: list[str], which: str
) -> Composable:
    """Return the statement of a view with the dataset's date and label, unless the table has columns of these names."""
    wanted = [*columns, *(name for name in DATASET_COLUMNS if name not in columns)] if present is None else columns
    shown = [*(present or ()), *(name for name in wanted if name not in (present or ()))]
    fields = [
        SQL("t.{}").format(Identifier(name))
        if name in columns
        else SQL("d.{} AS {}").format(Identifier(DATASET_COLUMNS[name]), Identifier(name))
        for name in shown
    ]
    return SQL(
        "CREATE OR REPLACE VIEW {} AS SELECT {} FROM {} t JOIN dba.tdataset d ON d.datasetid = t.datasetid WHERE {}"
    ).format(
        Identifier(config.schema, name), SQL(", ").join(fields), Identifier(config.schema, config.table), SQL(which)
    )


def _comment(config: ImportConfig, view: str, text: str) -> Composable:
    return SQL("COMMENT ON VIEW {} IS {}").format(Identifier(config.schema, view), Literal(text))
