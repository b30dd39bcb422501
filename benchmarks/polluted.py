"""Files as people send them: one clean table, and the ways in which senders spoil it, each with the records that were meant.

The kinds are those of the literature on polluted files: other signs, other line ends, titles, footers, no or several
header rows, two tables, and one spoilt row among good ones.
"""

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

HEADINGS = ["day", "time", "quantity", "product_id", "price", "kind", "description", "url", "remarks"]
ROWS = [
    [f"2026-{1 + number % 12:02}-{1 + number % 28:02}", f"{number % 24:02}:{number % 60:02}", str(1 + number % 9),
     f"P{number:05}", f"{number * 1.37:.2f}", ("wood", "steel", "glass")[number % 3], f"table, round, no. {number}",
     f"https://shop.example/p/{number}", f"said: {number} times" if number % 4 else 'he said "fine"']
    for number in range(1, 85)
]  # fmt: skip


class Polluted(NamedTuple):
    """A file, and what it means; the records are None where nothing can be loaded."""

    kind: str
    content: bytes
    headings: list[str]
    records: list[list[str]] | None


def written(rows: list[list[str]], **signs: object) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, **{"lineterminator": "\n", **signs}).writerows(rows)  # type: ignore[arg-type]
    return buffer.getvalue()


def whole_files() -> Iterator[Polluted]:
    """Yield the files that are spoilt as a whole."""
    table = [HEADINGS, *ROWS]
    plain = written(table)
    unquoted = [[field.replace(",", ";").replace('"', "") for field in row] for row in ROWS]
    blanks = (
        plain.replace("\n", "\0")
        .replace(",", ", ")
        .replace("\0", "\n")
        .replace("table,  round,  no", "table, round, no")
    )
    texts = {
        "source": plain, "semicolon": written(table, delimiter=";"), "tab": written(table, delimiter="\t"),
        "pipe": written(table, delimiter="|"), "space": written(table, delimiter=" "), "comma and blank": blanks,
        "single quotes": written(table, quotechar="'", quoting=csv.QUOTE_MINIMAL),
        "escaped quotes": written(table, doublequote=False, escapechar="\\"),
        "CRLF": plain.replace("\n", "\r\n"), "CR": plain.replace("\n", "\r"), "no last line end": plain[:-1],
        "two last line ends": plain + "\n", "title": f"Sales of the year,,,,,,,,\n,,,,,,,,\n{plain}",
        "titles alone": f"Sales of the year\nall shops\n{plain}", "footer": f"{plain}Total,,85,,4892.27,,,,\n",
        "note below": f"{plain}\nmade by the shop\n", "comments": f"# made today\n{plain}",
        "blank rows": plain.replace("\n", "\n,,,,,,,,\n", 3), "all quoted": written(table, quoting=csv.QUOTE_ALL),
        "trailing delimiter": ",".join(HEADINGS) + "\n" + "".join(f"{line},\n" for line in written(ROWS).splitlines()),
    }  # fmt: skip
    for kind, text in texts.items():
        yield Polluted(kind, text.encode(), HEADINGS, ROWS)
    yield Polluted("UTF-16", plain.encode("utf-16"), HEADINGS, ROWS)
    trees = [[field.replace("wood", "Bäume") for field in row] for row in ROWS]
    yield Polluted("cp1252", written([HEADINGS, *trees]).encode("cp1252"), HEADINGS, trees)
    without = written([HEADINGS, *unquoted], quoting=csv.QUOTE_NONE, escapechar="\\")
    yield Polluted("no quotes", without.encode(), HEADINGS, unquoted)
    yield Polluted("no header row", written(ROWS).encode(), [f"column_{number}" for number in range(1, 10)], ROWS)
    units = ["(date)", "(hh:mm)", "(pieces)", "(code)", "(euros)", "(word)", "(text)", "(link)", "(text)"]
    both = [f"{name}_{unit}" for name, unit in zip(HEADINGS, units, strict=True)]
    yield Polluted("header over two rows", written([HEADINGS, units, *ROWS]).encode(), both, ROWS)
    yield Polluted("header row only", written([HEADINGS]).encode(), HEADINGS, [])
    yield Polluted("one row", written([HEADINGS, ROWS[0]]).encode(), HEADINGS, ROWS[:1])
    yield Polluted("no bytes", b"", [], None)


def spoilt_rows(every: int) -> Iterator[Polluted]:
    """Yield files of which one row is spoilt, in each `every`th place of row and column."""
    places = [(row, column) for row in range(len(ROWS)) for column in range(len(HEADINGS))]
    for row, column in places[::every]:
        fields = [_quoted(field) for field in ROWS[row]]
        spoilt = {
            "a delimiter too many": [*fields[:column], fields[column] + ",", *fields[column + 1 :]],
            "a quote too many": [*fields[:column], _with_quote(fields[column]), *fields[column + 1 :]],
            "another delimiter": None,
        }
        if column < len(HEADINGS) - 1:
            spoilt["a delimiter less"] = [*fields[:column], fields[column] + fields[column + 1], *fields[column + 2 :]]
        for kind, changed in spoilt.items():
            line = ";".join(fields) if changed is None else ",".join(changed)
            lines = written([HEADINGS, *ROWS]).split("\n")
            lines[row + 1] = line
            meant = list(ROWS)
            if kind == "a quote too many" and not fields[column].startswith('"'):  # within a plain text it is text
                meant[row] = [*ROWS[row][:column], _with_quote(fields[column]), *ROWS[row][column + 1 :]]
            yield Polluted(kind, "\n".join(lines).encode(), HEADINGS, meant)


def _quoted(field: str) -> str:
    return written([[field, "x"]])[:-3]


def _with_quote(field: str) -> str:
    return field[:2] + '"' + field[2:]
