"""How the grids of a report are shown, as dba.treportmanager.emailbodyoptions says it.

{"grid1": {"formats": {"Price": ",.2f", "Day": "%d %b %Y"}, "totals": ["Rows"],
           "colours": {"Change": {"added": "green"}, "Delta": {"<0": "red"}}, "sparklines": ["Trend"]}}
"""

import reprlib
from collections.abc import Collection, Mapping

from systemscripts.reporting.cell_colours import PALETTE, comparison_of
from systemscripts.reporting.cell_formats import check_format
from systemscripts.reporting.model import GridOptions, ReportError

_OPTIONS = ("formats", "totals", "colours", "sparklines")


def grid_options(value: object, grid_names: Collection[str]) -> dict[str, GridOptions]:
    """Return the options by the grids' names; `value` is what JSON says, null for none.

    Raises ReportError where it is not well-formed or names a grid that there is not. Whether the
    columns are there shows with the query's result.
    """
    if value is None:
        return {}
    grids = _object("emailbodyoptions", value, '{"grid1": {"totals": ["Rows"]}}')
    for name in grids:
        if name not in grid_names:
            there = ", ".join(grid_names) or "none"
            raise ReportError(f"emailbodyoptions has {_shown(name)}, but the queries of emailbodyqueries are: {there}")
    return {name: _options_of(f"emailbodyoptions, {name}", options) for name, options in grids.items()}


def _options_of(where: str, value: object) -> GridOptions:
    options = _object(where, value, '{"totals": ["Rows"]}')
    for option in options:
        if option not in _OPTIONS:
            raise ReportError(f"{where}: there is no option {_shown(option)}; allowed are {', '.join(_OPTIONS)}")
    return GridOptions(
        formats=_formats(f"{where}, formats", options.get("formats", {})),
        totals=_headings(f"{where}, totals", options.get("totals", [])),
        colours=_colours(f"{where}, colours", options.get("colours", {})),
        sparklines=_headings(f"{where}, sparklines", options.get("sparklines", [])),
    )


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


def _headings(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(heading, str) for heading in value):
        raise ReportError(f'{where} must be a list of columns such as ["Rows"], not {_shown(value)}')
    return tuple(value)


def _colours(where: str, value: object) -> dict[str, dict[str, str]]:
    return {
        heading: _colour_rules(f"{where}, column {_shown(heading)}", rules)
        for heading, rules in _object(where, value, '{"Change": {"added": "green"}}').items()
    }


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
