"""Find out how the text of a file is laid out: its signs and its header row, from its first mebibyte; and its footer."""

import io
import re
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from systemscripts.errors import JobError
from systemscripts.importing import detection
from systemscripts.importing.dialect import NO_QUOTES, Dialect
from systemscripts.importing.source import SAMPLE_BYTES
from systemscripts.suggesting.finding import Certainty, Finding, shown
from systemscripts.suggesting.value_forms import is_value

# Rows that are compared with the header row.
ROWS_COMPARED = 200
_DETECTED_ON = 1 << 16  # characters
_COMMENT_SIGNS = ("#", "%", "//", "--")
_FOOTER_WORDS = re.compile(
    r"^\W{0,3}((?:grand |sub)?totals?|sum|summe|gesamt\w*|insgesamt|somme|suma|total\w*|end of \w+|source|sources|quelle|notes?|"
    r"footnotes?|generated|exported|printed|copyright|©|\d+ (?:rows|records))\b", re.IGNORECASE
)  # fmt: skip


class Row(NamedTuple):
    """One row of the text, and its number as the import counts: from 1, blank rows and rows of delimiters included."""

    number: int
    fields: list[str]

    @property
    def filled(self) -> int:
        return sum(1 for field in self.fields if field.strip())

    @property
    def text(self) -> str:
        return " ".join(filter(None, map(str.strip, self.fields)))


def layout_of(path: Path, is_sheet: bool = False) -> list[Finding]:
    """Return the layout of a text file; of a sheet's CSV only the header row is in question.

    Raises JobError for a file without a row.
    """
    with path.open("rb") as stream:
        sample = stream.read(SAMPLE_BYTES)
    encoding, bom_bytes = detection.encoding_of(sample, None)
    text = detection.decode(sample[bom_bytes:], encoding)
    findings = [] if is_sheet else [_encoding(encoding, bom_bytes, text)]
    comment = None if is_sheet else _comments(text)
    prefix = str(comment.settings["comment_prefix"]) if comment else None
    dialect, of_dialect = (Dialect(","), []) if is_sheet else _dialect(_without(text, prefix)[:_DETECTED_ON])
    findings += [*of_dialect, *filter(None, [comment])]
    rows = _rows(_without(text, prefix), dialect)
    if not any(row.filled for row in rows):
        raise JobError("it has no row with a text")
    width = _width(rows)
    headings, row, of_header = _header(rows, width)
    findings += of_header
    findings += filter(None, [_trailing(rows, width, headings, row), _blank_rows(rows)])
    return findings


def _encoding(encoding: str, bom_bytes: int, text: str) -> Finding:
    if bom_bytes:
        return Finding("encoding", encoding, "sure", "it begins with a byte order mark", {})
    if text.isascii():
        return Finding("encoding", encoding, "sure", "no letter beyond a to z; later files are looked at again", {})
    odd = sorted(set(re.findall(r"\w*[^\x00-\x7f]\w*", text)))
    certainty: Certainty = "sure" if encoding == "utf-8" else "likely"
    settings: dict[str, Any] = {} if encoding in ("utf-8", "cp1252") else {"encoding": encoding}
    return Finding("encoding", encoding, certainty, f"read with it: {shown(odd)}", settings)


def _comments(text: str) -> Finding | None:
    """Return the sign of comments: several lines begin with it, and it is not how the header row begins."""
    lines = text.splitlines()
    for sign in _COMMENT_SIGNS:
        found = [line for line in lines if line.startswith(sign)]
        others = [line for line in lines if not line.startswith(sign) and line.strip()]
        if not found or not others or 2 * len(found) > len(lines):
            continue
        usual = Counter(len(re.findall(r"[,;\t|]", line)) for line in others[:ROWS_COMPARED]).most_common(1)[0][0]
        if usual and all(len(re.findall(r"[,;\t|]", line)) != usual for line in found):
            return Finding("comments", f"lines with {sign}", "likely", shown(found), {"comment_prefix": sign})
    return None


def _without(text: str, comment_prefix: str | None) -> str:
    if not comment_prefix:
        return text
    return "".join(line for line in io.StringIO(text, newline="") if not line.startswith(comment_prefix))


def _dialect(text: str) -> tuple[Dialect, list[Finding]]:
    """Return the dialect: of the delimiter, by the import's own way and by clevercsv's, which must not contradict."""
    import clevercsv

    try:
        found = clevercsv.Detector().detect(text)
    except (clevercsv.Error, ValueError):
        found = None
    try:
        own = detection.detect_delimiter(text)
    except detection.NotText:
        own = ""
    delimiter = (found.delimiter if found else "") or own or ","
    quote = (found.quotechar if found else "") or '"'
    escape = (found.escapechar if found else "") or None
    findings = []
    if "\n" in text.strip() and not (found and found.delimiter) and own in ("", ","):
        findings.append(
            Finding("delimiter", repr(delimiter), "likely", "one column only", {"field_delimiter": delimiter})
        )
    else:
        agree = own == delimiter
        why = "both ways to find it agree" if agree else f"by another way it would be {own!r}"
        findings.append(
            Finding("delimiter", repr(delimiter), "sure" if agree else "likely", why, {"field_delimiter": delimiter})
        )
    if quote != '"':
        findings.append(Finding("quotes", quote, "likely", "fields stand between them", {"quote_character": quote}))
    elif _quotes_are_text(text, delimiter):
        quote = ""
        findings.append(Finding("quotes", "text", "likely", "they stand within fields", {"quote_character": NO_QUOTES}))
    if escape and quote:
        findings.append(Finding("escape", escape, "likely", "it stands before quotes", {"escape_character": escape}))
    else:
        escape = None
    blanks = bool(re.search(rf"{re.escape(delimiter)} +{re.escape(quote or chr(34))}", text)) and quote != ""
    if blanks:
        told = Finding(
            "blanks", "belong to the delimiter", "likely", "a blank before a quote", {"skip_initial_blanks": True}
        )
        findings.append(told)
    return Dialect(delimiter, quote or None, escape, blanks), findings


def _quotes_are_text(text: str, delimiter: str) -> bool:
    """Return whether no field begins with a quote, and a line has a quote without a partner."""
    begins = re.search(rf'(^|{re.escape(delimiter)}) *"', text, re.MULTILINE)
    return begins is None and any(line.count('"') % 2 for line in text.splitlines())


def _rows(text: str, dialect: Dialect) -> list[Row]:
    reader = dialect.reader(io.StringIO(text, newline=""), strict=False)
    return [Row(number, fields) for number, fields in enumerate(reader, 1) if fields]


def _width(rows: list[Row]) -> int:
    counts = Counter(len(row.fields) for row in rows if row.filled)
    return max(counts, key=lambda width: (counts[width] * (width > 1), counts[width]))


def _header(rows: list[Row], width: int) -> tuple[list[str], int, list[Finding]]:
    """Return the headings, their row, and what was found of them: titles above, a row of headings, several, or none."""
    index = next(
        (i for i, row in enumerate(rows) if len(row.fields) in (width, width - 1) and _could_head(row, width)), None
    )
    if index is None:
        index = next(i for i, row in enumerate(rows) if row.filled)
    row, below = (
        rows[index],
        [row for row in islice(rows, index + 1, index + 1 + ROWS_COMPARED) if len(row.fields) >= width - 1],
    )
    above = [row for row in rows[:index] if row.filled]
    told, findings = [], []
    number = row.number
    if above:
        told.append(f"above it: {shown([row.text for row in above])}")
    for_data, for_header = _votes(row, below)
    if for_data > for_header or not _heads(row):
        names = [f"column_{position + 1}" for position in range(width)]
        settings: dict[str, Any] = {"headings": names}
        why = f"row {number} is like the rows below: {shown(row.fields)}; name the columns yourself"
        return names, 0, [Finding("header row", "none", "sure" if not for_header else "likely", why, settings)]
    headings, last = [field.strip() for field in row.fields], number
    second = below[0] if below else None
    if second is not None and for_header >= 2 and _is_second_header(second, below[1:]):
        headings = [" ".join(filter(None, pair)) for pair in zip(headings, map(str.strip, second.fields), strict=False)]
        last = second.number
        findings.append(Finding("headings", "over two rows", "likely", shown(second.fields), {"headings": headings}))
    if for_header:
        told.append(f"{for_header} of its columns have other values below")
    elif not told:
        told.append("all its fields are words, as below it")
    certainty: Certainty = "sure" if for_header and not above and not findings else "likely"
    settings = {"header_row": last} if above or findings or row.filled < width else {}
    findings.insert(
        0, Finding("header row", f"row {last}", certainty, f"{'; '.join(told)}: {shown(headings)}", settings)
    )
    return headings, last, findings


def _could_head(row: Row, width: int) -> bool:
    return row.filled >= max(1, (min(len(row.fields), width) + 1) // 2) and (width < 3 or row.filled > 1)


def _heads(row: Row) -> bool:
    return any(not is_value(field) for field in row.fields if field.strip())


def _votes(row: Row, below: list[Row]) -> tuple[int, int]:
    """Return how many columns say that the row is data, and how many that it is the header row."""
    for_data = for_header = 0
    for position, field in enumerate(row.fields):
        values = [
            other.fields[position] for other in below if position < len(other.fields) and other.fields[position].strip()
        ]
        if not values or not field.strip():
            continue
        if 10 * sum(map(is_value, values)) >= 9 * len(values):
            for_data += is_value(field)
            for_header += not is_value(field)
        elif len(values) > 2 and values.count(field) * 10 > len(values):
            for_data += 1
    return for_data, for_header


def _is_second_header(row: Row, below: list[Row]) -> bool:
    """Return whether the row below the headings has words where all further rows have values."""
    for_data, for_header = _votes(row, below)
    return for_header >= 2 and not for_data and len(below) >= 3


def _trailing(rows: list[Row], width: int, headings: list[str], row: int) -> Finding | None:
    longer = [row for row in rows if len(row.fields) == len(headings) + 1]
    if not longer or width != len(headings) + 1:
        return None
    if all(not row.fields[-1] for row in longer):
        return Finding("lines", "end in a delimiter", "likely", f"{len(longer)} lines", {"trailing_delimiter": True})
    names = ["row_name", *headings]
    why = f"{len(longer)} lines have one field more than the header row: {shown(longer[0].fields)}"
    return Finding("headings", "one is missing", "likely", why, {"headings": names, "header_row": row})


def _blank_rows(rows: list[Row]) -> Finding | None:
    blank = [row for row in rows if not row.filled and len(row.fields) > 1]
    if not blank:
        return None
    return Finding(
        "blank rows", f"{len(blank)}", "sure", f"the first is row {blank[0].number}", {"skip_blank_rows": True}
    )


def footer_word(fields: Sequence[str]) -> str:
    """Return the word such as total with which a row begins, in small letters; "" for another row."""
    found = _FOOTER_WORDS.match(Row(0, list(fields)).text)
    return found[1].lower() if found else ""


def footer_of(
    last_rows: Sequence[Sequence[str]], width: int, words_above: Collection[str], delimiter: str = ","
) -> tuple[Finding, int] | None:
    """Return the footer among the last rows of a file, and how many rows it has; None if there is none.

    Its rows are shorter, have one text alone where no other row has, or have a word such as Total alone in their first
    filled field. `words_above` are such words with which other rows begin: there a word does not tell a footer.
    """
    rows = [Row(0, list(fields)) for fields in last_rows]
    bare = [row.filled == 1 and len(row.fields) == width > 2 for row in rows]
    found: list[Row] = []
    for row, is_bare in zip(reversed(rows), reversed(bare), strict=True):
        is_whole = len(row.fields) == width and not (is_bare and bare.count(True) == 1)
        begins = _is_word(row)
        if row.filled and not begins and (is_whole or len(row.fields) > width):
            break
        found.insert(0, row)
    while found and not found[0].filled:
        found.pop(0)
    word = footer_word(found[0].fields) if found else ""
    if not found or len(found) == len(rows) or (width == 1 and not word):
        return None
    told = shown([row.text for row in found])
    if word and word not in words_above:
        # Alone in its field, so that a company called Total Gas is none of it; else at the beginning of a short row.
        end = rf'[\s:."]*({re.escape(delimiter)}|$)' if _is_word(found[0]) else r"\b"
        pattern = rf"(?i)^\W*{re.escape(word)}{end}"
        return Finding("footer", f"from {word!r} on", "likely", told, {"footer_pattern": pattern}), len(found)
    return Finding("footer", f"{len(found)} rows", "likely", told, {"footer_rows": len(found)}), len(found)


def _is_word(row: Row) -> bool:
    first = next(filter(None, map(str.strip, row.fields)), "")
    return _FOOTER_WORDS.fullmatch(first.rstrip(" :.")) is not None
