"""The words of a report: placeholders in its subject and file names, and the template of its body.

`{timestamp}` stands for the time everywhere. The body is a Jinja2 template besides, in a sandbox,
in which `{{grid1}}` is the result of the query of that name. Only the template is searched for
placeholders, never the data: a cell with `{{grid2}}` in it stays a cell.
"""

import re
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

from systemscripts.reporting.model import ReportError, Table

TIMESTAMP = "timestamp"

_FILTERS_THAT_BLOW_UP = ("center", "format", "indent", "wordwrap")
_CHART = re.compile(r"\{\{\s*chart:(\w+)\s*\}\}")
_CHART_PREFIX = "chart_of_"  # in place of the colon, which no name in a template may have
_PLACEHOLDER = re.compile(r"(?<!\{)\{([A-Za-z_]\w*)\}(?!\})")
_ANY_PLACEHOLDER = re.compile(r"\{+\s*(\w+)\s*\}+")


class Shown:
    """What `{{grid1}}` or `{{chart:prices}}` is to a template: how it looks, and `{{grid1|length}}` its rows."""

    def __init__(self, table: Table, show: Callable[[], Markup]) -> None:
        # A template may not read what begins with _.
        self._table = table
        self._show = show

    def __html__(self) -> Markup:
        return self._show()

    def __len__(self) -> int:
        return len(self._table.rows)


def readable_time(now: datetime) -> str:
    return f"{now:%Y-%m-%d %H:%M}"


def time_in_file_name(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%S}"


def fill_line(what: str, text: str, values: Mapping[str, str]) -> str:
    """Return a subject or a file name with its placeholders filled; `what` names it in an error."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            known = ", ".join(f"{{{name}}}" for name in values)
            raise ReportError(f"{what} has the unknown placeholder {match[0]}; it may have {known}")
        return values[match[1]]

    return _ANY_PLACEHOLDER.sub(value, text)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Also refuses what makes a text of any length from a short one."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, _context: object, operator: str, _left: object, _right: object) -> object:
        raise SecurityError(f"the operator {operator} is not for templates; compute in the query")


class BodyTemplate:
    """A report's body before its data: checked for what it needs, then rendered as HTML and for the text twin.

    `used` are the grids that it shows, `used_charts` the charts.
    """

    def __init__(
        self,
        source: str,
        grid_names: Sequence[str],
        chart_names: Sequence[str] = (),
        parameters: Sequence[str] = (),
    ) -> None:
        """Raise ReportError where the template is not well-formed or has a placeholder that nothing fills."""
        texts = (TIMESTAMP, *parameters)
        source = _CHART.sub(rf"{{{{ {_CHART_PREFIX}\1 }}}}", source)
        for match in _PLACEHOLDER.finditer(source):
            if match[1] not in texts:
                known = ", ".join(f"{{{name}}}" for name in texts)
                raise ReportError(
                    f"emailbodytemplate has the unknown placeholder {match[0]}; it may have {known}, "
                    "and queries go in double braces"
                )
        # No loops over made-up ranges: a template shows data, and range() and the like are all that is lost.
        environment = _Sandbox(autoescape=True, undefined=StrictUndefined)
        environment.globals.clear()
        for name in _FILTERS_THAT_BLOW_UP:
            del environment.filters[name]
        source = _PLACEHOLDER.sub(r"{{ \1 }}", source)
        try:
            names = meta.find_undeclared_variables(environment.parse(source))
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ReportError(f"emailbodytemplate, line {error.lineno}: {error.message}") from None
        charts = {name.removeprefix(_CHART_PREFIX) for name in names if name.startswith(_CHART_PREFIX)}
        grids = {name for name in names if not name.startswith(_CHART_PREFIX)} - set(texts)
        _require("emailbodyqueries", grids, grid_names, "")
        _require("emailbodycharts", charts, chart_names, "chart:")
        self.used = tuple(name for name in grid_names if name in grids)
        self.used_charts = tuple(name for name in chart_names if name in charts)

    def render(self, grids: Mapping[str, Shown], charts: Mapping[str, Shown], values: Mapping[str, str]) -> str:
        """Return the HTML; `values` are the texts of the placeholders in single braces."""
        drawn = {f"{_CHART_PREFIX}{name}": chart for name, chart in charts.items()}
        texts = {name: escape(text) for name, text in values.items()}
        try:
            return self._template.render({**grids, **drawn, **texts})
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise ReportError(f"emailbodytemplate cannot be rendered: {error}") from None


def _require(column: str, wanted: Set[str], there: Sequence[str], prefix: str) -> None:
    if unknown := sorted(wanted - set(there)):
        missing = ", ".join(f"{{{{{prefix}{name}}}}}" for name in unknown)
        raise ReportError(
            f"emailbodytemplate has {missing}, but the queries of {column} are: {', '.join(there) or 'none'}"
        )
