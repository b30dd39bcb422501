"""Parse and fill a report's template in a separate process, because even a short one can use all memory and time.

`template` starts it with limits of memory and time. Standard input is one JSON object, standard
output another one: {"names": …}, {"html": …, "text": …}, or {"refused": why}.
"""

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

from systemscripts.limited_child import limit_this_process
from systemscripts.reporting.text_twin import text_of

MOST_CHARACTERS = 10_000_000  # of HTML and text together; no mail server takes so much
_FILE_BYTES = MOST_CHARACTERS * 8
_BODY = re.compile(r"<body\b[^>]*>", re.IGNORECASE)
_FILTERS_THAT_BLOW_UP = ("center", "format", "indent", "wordwrap")


class _Shown:
    """The value of `{{grid1}}` in a template: its HTML, and for `{{grid1|length}}` its number of rows."""

    def __init__(self, row_count: int, html: str) -> None:
        # A template cannot read names that begin with _.
        self._row_count = row_count
        self._html = Markup(html)  # noqa: S704 - made by `tables` and `images`, which escape what is in it

    def __html__(self) -> Markup:
        return self._html

    def __len__(self) -> int:
        return self._row_count


class _Sandbox(ImmutableSandboxedEnvironment):
    """A sandbox that also refuses costly operators, before they use memory."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, _context: object, operator: str, _left: object, _right: object) -> object:
        raise SecurityError(f"the operator {operator} is not allowed in a template; compute in the query")


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names that the template needs; if the request has their values, return the mail's HTML and text.

    `shown` are the parts by name, each with its `rows`, its `html`, and `text`, the HTML for the text part.
    `values` are texts, `top` and `note` are HTML to put at the top and at the end. Raises MemoryError.
    """
    try:
        # `template` has taken the comments out: what looks like the beginning of one is text.
        environment = _Sandbox(
            autoescape=True, undefined=StrictUndefined, comment_start_string="\x01{", comment_end_string="}\x01"
        )
        # No range() and the like, so no loops over invented ranges: a template only shows data.
        environment.globals.clear()
        for name in _FILTERS_THAT_BLOW_UP:
            del environment.filters[name]
        names = sorted(meta.find_undeclared_variables(environment.parse(request["source"])))
        template = environment.from_string(request["source"])
        if "shown" not in request:
            return {"names": names}
        bodies = {kind: _filled(template, request, kind) for kind in ("html", "text")}
        length = sum(map(len, bodies.values()))
    except TemplateSyntaxError as error:
        return {"refused": f"emailbodytemplate, line {error.lineno}: {_short(error.message or '')}"}
    except RecursionError:
        return {"refused": "emailbodytemplate is nested too deeply, or has a macro that calls itself without end"}
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a template can raise anything
        return {"refused": f"emailbodytemplate cannot be rendered: {_short(str(error) or type(error).__name__)}"}
    if length > MOST_CHARACTERS:
        return {
            "refused": f"emailbodytemplate makes {length:,} characters, but a mail may have at most {MOST_CHARACTERS:,}"
        }
    return {"html": bodies["html"], "text": text_of(bodies["text"])}


def _filled(template: Template, request: Mapping[str, Any], kind: str) -> str:
    parts = {name: _Shown(part["rows"], part[kind]) for name, part in request["shown"].items()}
    values = {name: escape(text) for name, text in request["values"].items()}
    filled: str = template.render({**parts, **values}) + request["note"]
    if request["top"]:
        # A template may be a whole page: what stands before its body is not shown.
        body = _BODY.search(filled)
        at = body.end() if body else 0
        filled = f"{filled[:at]}{request['top']}{filled[at:]}"
    filled.encode()  # a template can write half a surrogate pair, which is not valid text
    return filled


def _short(text: str) -> str:
    return " ".join(text[:300].split())


def main() -> None:
    memory_mb, seconds = map(int, sys.argv[1:])
    limit_this_process(memory_mb, seconds, _FILE_BYTES)
    try:
        found = answer(json.load(sys.stdin))
    except MemoryError:
        cure = "make long texts and lists in the queries"
        found = {"refused": f"emailbodytemplate takes more than {memory_mb:,} MiB of memory; {cure}"}
    json.dump(found, sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    main()
