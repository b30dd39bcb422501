"""The words of a report: placeholders in its subject and file names, and the template of its body.

`{timestamp}` stands for the time everywhere; another word in single braces is text. The body is also a
Jinja2 template in a sandbox, where `{{grid1}}` is the result of the query of that name, whatever the name
is: `{{grid-1}}` too. Placeholders are filled only in the template, never in the data: a cell with
`{{grid2}}` in it stays unchanged.
"""

import json
import logging
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from systemscripts import limited_child
from systemscripts.reporting.model import ReportError

log = logging.getLogger(__name__)

TIMESTAMP = "timestamp"
FRESHNESS = "freshness"  # unless the report has a query or a parameter of this name

LONGEST_LINE = 1_000  # characters of a subject or file name
MOST_MEMORY_MB = 512
MOST_SECONDS = 20
_PATIENCE = 3  # times as long on a busy machine

_CHART = re.compile(r"\{\{\s*chart:(\w+)\s*\}\}")
_CHART_PREFIX = "chart_of_"  # replaces the colon, which is not allowed in a template's names
_PLACEHOLDER = re.compile(r"(?<!\{)\{([A-Za-z_]\w*)\}(?!\})")
_ANY_PLACEHOLDER = re.compile(r"\{+\s*(\w+)\s*\}+")
_COMMENT = re.compile(r"\{#(?:(?!\{#).)*?#\}", re.DOTALL)
# A name in double braces that Jinja2 would read as a number or a difference.
_NO_IDENTIFIER = re.compile(r"\{\{\s*([\w][\w -]*?)\s*\}\}")
_GRID_PREFIX = "grid_number_"


@dataclass(frozen=True)
class Shown:
    """The value of `{{grid1}}` or `{{chart:prices}}`: its rows, and the HTML for the mail and for the text part."""

    rows: int
    html: str
    text: str


def fill_line(what: str, text: str, values: Mapping[str, str]) -> str:
    """Return a subject or a file name with filled placeholders; `what` names it in an error."""
    if len(text) > LONGEST_LINE:
        raise ReportError(f"{what[:60]} has {len(text):,} characters; {LONGEST_LINE:,} are allowed")

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            _warn_of(what, match[0], values)
            return match[0]
        if len(values[match[1]]) > LONGEST_LINE:
            raise ReportError(f"{what} has {match[0]}, which is longer than {LONGEST_LINE:,} characters")
        return values[match[1]]

    return _ANY_PLACEHOLDER.sub(value, text)


def _warn_of(what: str, found: str, known: Iterable[str]) -> None:
    placeholders = ", ".join(f"{{{name}}}" for name in known)
    log.warning("%s has %s, which is shown as it is; the placeholders are %s", what, found, placeholders)


class BodyTemplate:
    """The template of a report's body: it is checked first, and later rendered as HTML and for the text part.

    `used` are the grids that it shows, `used_charts` the charts; `shows_freshness` says whether it has `{{freshness}}`.
    """

    def __init__(
        self,
        source: str,
        grid_names: Sequence[str],
        chart_names: Sequence[str] = (),
        parameters: Sequence[str] = (),
    ) -> None:
        """Raise ReportError if the template is not well-formed or shows a grid or chart that has no query."""
        texts = (TIMESTAMP, *parameters)
        # A comment ends with #}. Without its end {# is the style sheet's, as in @media print{#a{…}}.
        source = _COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), source)
        source = _CHART.sub(rf"{{{{ {_CHART_PREFIX}\1 }}}}", source)
        self._aliases = {
            name: f"{_GRID_PREFIX}{index}" for index, name in enumerate(grid_names) if not name.isidentifier()
        }

        def grid(match: re.Match[str]) -> str:
            if match[1].isidentifier():
                return match[0]
            _require("emailbodyqueries", {match[1]}, grid_names, "")
            return f"{{{{ {self._aliases[match[1]]} }}}}"

        def text(match: re.Match[str]) -> str:
            if match[1] in texts:
                return f"{{{{ {match[1]} }}}}"
            if match[1] in grid_names:
                raise ReportError(f"emailbodytemplate has {match[0]}, but queries go in double braces: {{{match[0]}}}")
            _warn_of("emailbodytemplate", match[0], texts)
            return match[0]

        self._source = _PLACEHOLDER.sub(text, _NO_IDENTIFIER.sub(grid, source))
        names = set(ask({"source": self._source})["names"])
        for name, alias in self._aliases.items():
            if alias in names:
                names = names - {alias} | {name}
        charts = {name.removeprefix(_CHART_PREFIX) for name in names if name.startswith(_CHART_PREFIX)}
        grids = {name for name in names if not name.startswith(_CHART_PREFIX)} - set(texts)
        self.shows_freshness = FRESHNESS in grids and FRESHNESS not in grid_names
        if self.shows_freshness:
            grids -= {FRESHNESS}
        _require("emailbodyqueries", grids, grid_names, "")
        _require("emailbodycharts", charts, chart_names, "chart:")
        self.used = tuple(name for name in grid_names if name in grids)
        self.used_charts = tuple(name for name in chart_names if name in charts)

    def render(
        self,
        grids: Mapping[str, Shown],
        charts: Mapping[str, Shown],
        values: Mapping[str, str],
        note: str = "",
        top: str = "",
    ) -> tuple[str, str]:
        """Return the HTML and the text part.

        `values` fill the placeholders in single braces; `top` is HTML to put before everything, `note` after it.
        """
        shown = {self._aliases.get(name, name): grid for name, grid in grids.items()}
        shown |= {f"{_CHART_PREFIX}{name}": chart for name, chart in charts.items()}
        parts = {name: {"rows": part.rows, "html": part.html, "text": part.text} for name, part in shown.items()}
        made = ask({"source": self._source, "shown": parts, "values": dict(values), "note": note, "top": top})
        return made["html"], made["text"]


def ask(request: Mapping[str, object]) -> dict[str, Any]:
    """Let a child process, with limits, work on a template; raises ReportError with its reason, or with the limit."""
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as reply:
        question.write(json.dumps(request).encode())
        question.seek(0)
        limits = (str(MOST_MEMORY_MB), str(MOST_SECONDS))
        child = limited_child.start("systemscripts.reporting.template_child", *limits, stdin=question, stdout=reply)
        with child:
            try:
                status = child.wait(MOST_SECONDS * _PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
                status = limited_child.OUT_OF_TIME
        reply.seek(0)
        try:
            answer: dict[str, Any] = json.load(reply)
        except ValueError:
            reason = (
                f"the process that fills emailbodytemplate broke down (status {status}); perhaps "
                f"{MOST_MEMORY_MB:,} MiB of memory are too few: make long texts and lists in the queries"
            )
            if status == limited_child.OUT_OF_TIME:
                limit = f"within {MOST_SECONDS} seconds"
                reason = f"emailbodytemplate was not filled {limit}; move nested loops into the queries"
            answer = {"refused": reason}
    if "refused" in answer:
        raise ReportError(answer["refused"])
    return answer


def _require(column: str, wanted: Set[str], there: Sequence[str], prefix: str) -> None:
    if unknown := sorted(wanted - set(there)):
        missing = ", ".join(f"{{{{{prefix}{name}}}}}" for name in unknown)
        raise ReportError(
            f"emailbodytemplate has {missing}, but the queries of {column} are: {', '.join(there) or 'none'}; "
            "add the query, or take it out of the template"
        )
