"""The columns of a grid as they are shown, in HTML and in text, and their options.

The options are dba.treportmanager.emailbodyoptions:
{"grid1": {"formats": {"Price": ",.2f", "Day": "%d %b %Y"}, "totals": ["Rows"],
           "colours": {"Change": {"added": "green"}, "Delta": {"<0": "red"}}, "sparklines": ["Trend"],
           "links": {"Company": "Page"}, "rows": 5000}}
"""

import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, time
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal

from systemscripts.reporting.cell_formats import PALETTE, check_format, colours_of, comparison_of, formatted
from systemscripts.reporting.links import links_of
from systemscripts.reporting.model import GridOptions, MomentText, ReportError, Table
from systemscripts.reporting.sparklines import Series, series_of
from systemscripts.reporting.values import exact_text, is_number, readable_numbers, readable_text

_OPTIONS = ("formats", "totals", "colours", "sparklines", "links", "rows")
MOST_ROWS = 100_000
_COLOURS_EXAMPLE = '{"Change": {"added": "green"}}'


def grid_options(value: object, grid_names: Collection[str]) -> dict[str, GridOptions]:
    """Return the options by the grids' names; `value` comes from JSON, null for none.

    Raises ReportError if it is not well-formed or names an unknown grid. The names of columns are
    checked later, with the query's result.
    """
    if value is None:
        return {}
    grids = _object("emailbodyoptions", value, '{"grid1": {"totals": ["Rows"]}}')
    for name in grids:
        if name not in grid_names:
            there = ", ".join(grid_names) or "none"
            raise ReportError(f"emailbodyoptions has {_shown(name)}, but the queries of emailbodyqueries are: {there}")
    found = {}
    for name, of_grid in grids.items():
        where = f"emailbodyoptions, {name}"
        options = _object(where, of_grid, '{"totals": ["Rows"]}')
        for option in options:
            if option not in _OPTIONS:
                raise ReportError(f"{where}: there is no option {_shown(option)}; allowed are {', '.join(_OPTIONS)}")
        formats = _formats(f"{where}, formats", options.get("formats", {}))
        totals = _headings(f"{where}, totals", options.get("totals", []))
        colours = {
            heading: _colour_rules(f"{where}, colours, column {_shown(heading)}", rules)
            for heading, rules in _object(f"{where}, colours", options.get("colours", {}), _COLOURS_EXAMPLE).items()
        }
        sparklines = _headings(f"{where}, sparklines", options.get("sparklines", []))
        links = texts_by_name(f"{where}, links", options.get("links", {}))
        rows = options.get("rows", GridOptions.rows)
        if not isinstance(rows, int) or isinstance(rows, bool) or not 1 <= rows <= MOST_ROWS:
            raise ReportError(f"{where}, rows must be a number from 1 to {MOST_ROWS:,}, not {_shown(rows)}")
        found[name] = GridOptions(formats, totals, colours, sparklines, links, rows)
    return found


def _formats(where: str, value: object) -> dict[str, str]:
    formats = {}
    for heading, spec in _object(where, value, '{"Price": ",.2f"}').items():
        if not isinstance(spec, str):
            raise ReportError(f"{where}: column {_shown(heading)} must have a text such as ,.2f, not {_shown(spec)}")
        try:
            check_format(spec)
        except ValueError as error:
            raise ReportError(f"{where}: the format {_shown(spec)} of column {_shown(heading)} {error}") from None
        formats[heading] = spec
    return formats


def texts_by_name(where: str, value: object) -> dict[str, str]:
    """Return the columns with addresses by the columns with texts; raises ReportError if it is not well-formed."""
    named = {}
    for heading, source in _object(where, value, '{"Company": "Page"}').items():
        if not isinstance(source, str):
            raise ReportError(f"{where}: column {_shown(heading)} must have the name of a column, not {_shown(source)}")
        named[heading] = source
    return named


def _headings(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(heading, str) for heading in value):
        raise ReportError(f'{where} must be a list of columns such as ["Rows"], not {_shown(value)}')
    return tuple(value)


def _colour_rules(where: str, value: object) -> dict[str, str]:
    rules = {}
    for condition, colour in _object(where, value, '{"added": "green", "<0": "red"}').items():
        if not isinstance(colour, str) or colour not in PALETTE:
            allowed = ", ".join(PALETTE)
            raise ReportError(f"{where}: {_shown(condition)} has the colour {_shown(colour)}; allowed are {allowed}")
        try:
            comparison_of(condition)
        except ValueError as error:
            raise ReportError(f"{where}: {_shown(condition)} {error}") from None
        rules[condition] = colour
    return rules


def _object(where: str, value: object, example: str) -> Mapping[str, object]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ReportError(f"{where} must be an object such as {example}, not {_shown(value)}")
    return value


def _shown(value: object) -> str:
    return reprlib.repr(value)[:200]


NO_OPTIONS = GridOptions()
TOTAL = "Total"

# Enough digits for PostgreSQL's numeric: 131,072 before the point, 16,383 after it.
_EXACT = Context(prec=160_000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])


@dataclass(frozen=True)
class Column:
    """A column as it is shown; `numeric` is aligned right, `unbroken` stays on one line.

    `cells` has one text per row, and a last one if the grid has totals. `colours`, `series` and
    `links` (addresses) are by row.
    """

    heading: str
    cells: list[str]
    numeric: bool
    unbroken: bool
    colours: Mapping[int, str] = field(default_factory=dict)
    series: Mapping[int, Series] = field(default_factory=dict)
    links: Mapping[int, str] = field(default_factory=dict)


def columns_of(table: Table, options: GridOptions = NO_OPTIONS) -> list[Column]:
    """Return the columns with their cells as readable text; a column that only holds the addresses of another one is left out.

    Raises ReportError if an option names an unknown column, or does not fit the column's values.
    """
    named: dict[str, Collection[str]] = {
        "formats": options.formats,
        "totals": options.totals,
        "colours": options.colours,
        "sparklines": options.sparklines,
    }
    for option, headings in named.items():
        for heading in headings:
            if heading not in table.columns:
                there = ", ".join(table.columns)
                raise ReportError(f"{option} has the column {_shown(heading)}, but the columns are: {there}")
    columns = []
    links = links_of(table, options.links)
    for index, heading in enumerate(table.columns):
        if heading in options.links.values() and heading not in options.links:
            continue
        values = [row[index] for row in table.rows]
        column = _column(heading, values, options)
        if rules := options.colours.get(heading):
            column = replace(column, colours=colours_of(rules, values, column.cells[: len(values)]))
        columns.append(replace(column, links=links.get(heading, {})))
    # The word for the totals stands in the first column without a total.
    label_at = next((at for at, column in enumerate(columns) if column.heading not in options.totals), None)
    if options.totals and label_at is not None:
        columns[label_at] = replace(columns[label_at], cells=[*columns[label_at].cells[:-1], TOTAL])
    return columns


def _column(heading: str, values: list[object], options: GridOptions) -> Column:
    present = [value for value in values if value is not None]
    numeric = bool(present) and all(is_number(value) for value in present)
    # A total is shown like its column, with the same decimal places, so it is added as one more value.
    shown = [*values, _total(heading, present, options)] if options.totals else values
    if heading in options.sparklines:
        return _column_of_series(heading, shown)
    moments = bool(present) and all(isinstance(value, date | time | MomentText) for value in present)
    if heading in options.formats:
        cells, spec = [], options.formats[heading]
        for value in shown:
            try:
                cells.append(formatted(value, spec, options.writing))
            except ValueError:
                what = f"column {_shown(heading)} has {_shown(exact_text(value))}"
                raise ReportError(f"formats: {what}, which the format {_shown(spec)} does not fit") from None
    else:
        writing = options.writing
        cells = (
            readable_numbers(heading, shown, writing) if numeric else [readable_text(value, writing) for value in shown]
        )
    return Column(heading, cells, numeric, unbroken=numeric or moments)


def _column_of_series(heading: str, values: list[object]) -> Column:
    series = {}
    for row, value in enumerate(values):
        try:
            found = series_of(value)
        except ValueError as error:
            what = f"column {_shown(heading)} has {_shown(exact_text(value))}, which {error}"
            raise ReportError(f"sparklines: {what}") from None
        if found is not None:
            series[row] = found
    cells = [series[row].alt if row in series else "" for row in range(len(values))]
    return Column(heading, cells, numeric=False, unbroken=False, series=series)


def _total(heading: str, present: list[object], options: GridOptions) -> int | Decimal | None:
    """Return the exact sum of a column with totals (for floats: the sum of the shown values); None without numbers."""
    if heading not in options.totals or not present:
        return None
    if all(isinstance(value, int) and not isinstance(value, bool) for value in present):
        return sum(value for value in present if isinstance(value, int))
    total = Decimal(0)
    for value in present:
        if not is_number(value):
            what = f"column {_shown(heading)} has {_shown(exact_text(value))}"
            raise ReportError(f"totals: {what}, which is not a number")
        total = _EXACT.add(total, Decimal(str(value)))
    return total
