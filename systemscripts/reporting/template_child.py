"""A report's template, parsed and filled in a process of its own: a short one can take all memory and time.

Started by `template` with the limits of its memory and time; standard input is one JSON object,
standard output another: {"names": …}, {"html": …, "text": …}, or {"refused": why}.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

from systemscripts.limited_child import limit_this_process
from systemscripts.reporting.text_twin import text_of

MOST_CHARACTERS = 10_000_000  # of HTML and text together; no mail server takes as much
_FILE_BYTES = MOST_CHARACTERS * 8
_FILTERS_THAT_BLOW_UP = ("center", "format", "indent", "wordwrap")


class _Shown:
    """What `{{grid1}}` is to a template: how it looks, and `{{grid1|length}}` its rows."""

    def __init__(self, row_count: int, html: str) -> None:
        # A template may not read what begins with _.
        self._row_count = row_count
        self._html = Markup(html)  # noqa: S704 - made by `tables` and `images`, which escape what is in it

    def __html__(self) -> Markup:
        return self._html

    def __len__(self) -> int:
        return self._row_count


class _Sandbox(ImmutableSandboxedEnvironment):
    """Also says what is not for templates, before it takes memory."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, _context: object, operator: str, _left: object, _right: object) -> object:
        raise SecurityError(f"the operator {operator} is not for templates; compute in the query")


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names that the template needs or, where the request has what they stand for, the mail's HTML and text.

    `shown` are the parts by name, each with its `rows`, its `html`, and the HTML that its text is made from, `text`;
    `values` are texts, `note` is HTML that follows. Raises MemoryError.
    """
    try:
        environment = _environment()
        names = sorted(meta.find_undeclared_variables(environment.parse(request["source"])))
        template = environment.from_string(request["source"])
        if "shown" not in request:
            return {"names": names}
        bodies = {kind: _filled(template, request, kind) for kind in ("html", "text")}
        length = sum(map(len, bodies.values()))
    except TemplateSyntaxError as error:
        return {"refused": f"emailbodytemplate, line {error.lineno}: {_short(error.message or '')}"}
    except RecursionError:
        return {"refused": "emailbodytemplate is nested too deeply, or has a macro that calls itself without an end"}
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a template can raise anything
        return {"refused": f"emailbodytemplate cannot be rendered: {_short(str(error) or type(error).__name__)}"}
    if length > MOST_CHARACTERS:
        return {"refused": f"emailbodytemplate makes {length:,} characters, and a mail may have {MOST_CHARACTERS:,}"}
    return {"html": bodies["html"], "text": text_of(bodies["text"])}


def _filled(template: Template, request: Mapping[str, Any], kind: str) -> str:
    parts = {name: _Shown(part["rows"], part[kind]) for name, part in request["shown"].items()}
    values = {name: escape(text) for name, text in request["values"].items()}
    filled: str = template.render({**parts, **values}) + request["note"]
    filled.encode()  # half a surrogate pair, which a template can write, is no text
    return filled


def _environment() -> _Sandbox:
    # No loops over made-up ranges: a template shows data, and range() and the like are all that is lost.
    environment = _Sandbox(autoescape=True, undefined=StrictUndefined)
    environment.globals.clear()
    for name in _FILTERS_THAT_BLOW_UP:
        del environment.filters[name]
    return environment


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
