"""The words of a report: placeholders in its subject and file names, and the template of its body.

`{timestamp}` stands for the time everywhere. The body is a Jinja2 template besides, in a sandbox,
in which `{{grid1}}` is the result of the query of that name. Only the template is searched for
placeholders, never the data: a cell with `{{grid2}}` in it stays a cell.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

from systemscripts.reporting.model import ReportError, Table
from systemscripts.reporting.tables import html_table, text_table

TIMESTAMP = "timestamp"

_PLACEHOLDER = re.compile(r"(?<!\{)\{([A-Za-z_]\w*)\}(?!\})")
_ANY_PLACEHOLDER = re.compile(r"\{+\s*(\w+)\s*\}+")


class Grid:
    """What `{{grid1}}` is to a template: its table, empty or not, and `{{grid1|length}}` its rows."""

    def __init__(self, table: Table, show: Callable[[Table], Markup]) -> None:
        self._table = table
        self._show = show

    def __html__(self) -> Markup:
        return self._show(self._table)

    def __len__(self) -> int:
        return len(self._table.rows)


def readable_time(now: datetime) -> str:
    return f"{now:%Y-%m-%d %H:%M}"


def time_in_file_name(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%S}"


def fill_line(what: str, text: str, timestamp: str) -> str:
    """Return a subject or a file name with its placeholders filled; `what` names it in an error."""

    def value(match: re.Match[str]) -> str:
        if match[1] != TIMESTAMP:
            raise ReportError(f"{what} has the unknown placeholder {match[0]}; only {{{TIMESTAMP}}} is known there")
        return timestamp

    return _ANY_PLACEHOLDER.sub(value, text)


class BodyTemplate:
    """A report's body before its data: checked for what it needs, then rendered as HTML and for the text twin."""

    def __init__(self, source: str, grid_names: tuple[str, ...]) -> None:
        """Raise ReportError where the template is not well-formed or has a placeholder that nothing fills."""
        for match in _PLACEHOLDER.finditer(source):
            if match[1] != TIMESTAMP:
                raise ReportError(
                    f"emailbodytemplate has the unknown placeholder {match[0]}; it may have {{{TIMESTAMP}}}, "
                    "and queries go in double braces"
                )
        # No loops over made-up ranges: a template shows data, and range() and the like are all that is lost.
        environment = ImmutableSandboxedEnvironment(autoescape=True, undefined=StrictUndefined)
        environment.globals.clear()
        source = _PLACEHOLDER.sub("{{ timestamp }}", source)
        try:
            names = meta.find_undeclared_variables(environment.parse(source))
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ReportError(f"emailbodytemplate, line {error.lineno}: {error.message}") from None
        unknown = sorted(names - {TIMESTAMP, *grid_names})
        if unknown:
            missing = ", ".join(f"{{{{{name}}}}}" for name in unknown)
            there = ", ".join(grid_names) or "none"
            raise ReportError(f"emailbodytemplate has {missing}, but the queries of emailbodyqueries are: {there}")
        self.used = tuple(name for name in grid_names if name in names)

    def html(self, tables: Mapping[str, Table], timestamp: str) -> str:
        return self._render(tables, timestamp, html_table)

    def html_for_text(self, tables: Mapping[str, Table], timestamp: str) -> str:
        """Return the HTML that the text twin is made from: with its tables as preformatted text."""
        return self._render(tables, timestamp, lambda table: Markup("<pre>{}</pre>").format(text_table(table)))

    def _render(self, tables: Mapping[str, Table], timestamp: str, show: Callable[[Table], Markup]) -> str:
        grids = {name: Grid(table, show) for name, table in tables.items()}
        try:
            return self._template.render({**grids, TIMESTAMP: escape(timestamp)})
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise ReportError(f"emailbodytemplate cannot be rendered: {error}") from None
