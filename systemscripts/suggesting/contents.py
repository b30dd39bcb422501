"""Find out what kind of file somebody sent, and let it be read as text: packed files, workbooks, JSON, XML, fixed width."""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from xml.etree.ElementTree import ParseError

from systemscripts import directory_management, whole_files
from systemscripts.errors import JobError
from systemscripts.file_kinds import opening
from systemscripts.importing import detection, packed, parquet
from systemscripts.importing.config import ImportConfig
from systemscripts.importing.source import SAMPLE_BYTES
from systemscripts.suggesting import workbook_sheets
from systemscripts.suggesting.finding import Finding

_XML = re.compile(r"\s*<(\?xml|[a-zA-Z_][\w.:-]*[\s>])")
_PAGE = re.compile(r"\s*<(!doctype html|html)\b", re.IGNORECASE)
# A text of fixed width has at least so many lines of one layout.
_LEAST_LINES = 3


class Readable(NamedTuple):
    """The file as it is read: its path, its file_type, and what was found."""

    path: Path
    file_type: str
    findings: list[Finding]


@contextlib.contextmanager
def readable(config: ImportConfig, path: Path) -> Iterator[Readable]:
    """Yield the content of a file, unpacked for the time of the block; a workbook is converted as well."""
    findings = [] if packed.kind_of(path) is None else _members(config, path)
    for finding in findings:
        config = config._replace(**finding.settings)
    with opening.opened(config, path) as content, contextlib.ExitStack() as until_the_end:
        inner = content.path
        if content.archive is not None:
            unpacked = until_the_end.enter_context(directory_management.temporary_file())
            content.archive.write(content.members[0], unpacked)
            inner = whole_files.by_handle(unpacked.fileno())
        elif content.told:
            findings.append(Finding("packed", content.told, "sure", "it is unpacked by itself", {}))
        with inner.open("rb") as stream:
            sample = stream.read(SAMPLE_BYTES)
        if sample.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
            converted = until_the_end.enter_context(directory_management.temporary_file())
            kind, sheet = workbook_sheets.chosen(config, inner, converted, path.name)
            yield Readable(whole_files.by_handle(converted.fileno()), kind, [*findings, sheet])
            return
        if sample.startswith(parquet.MARK):
            told = Finding("kind", "Parquet", "sure", "it begins as such a file does", {"file_type": "PARQUET"})
            yield Readable(inner, "PARQUET", [*findings, told])
            return
        if config.sheet is not None:
            raise JobError("it is no workbook; leave --sheet out")
        encoding, bom_bytes = detection.encoding_of(sample, None)
        text = detection.decode(sample[bom_bytes:], encoding)
        kind_found = _records(text) or _fixed_width(text)
        yield Readable(
            inner,
            str(kind_found.settings["file_type"]) if kind_found else "CSV",
            [*findings, *filter(None, [kind_found])],
        )


def _members(config: ImportConfig, path: Path) -> list[Finding]:
    """Return the pattern for the files of an archive, if it has several."""
    with opening.opened(config._replace(member_pattern="*"), path) as content:
        names = [member.name for member in content.members]
    if len(names) < 2:
        return []
    ending, count = Counter(PurePosixPath(name).suffix.lower() for name in names).most_common(1)[0]
    pattern = f"*{ending}" if ending else "*"
    told = f"{count} of {len(names)} files: {', '.join(names[:3])}"
    return [
        Finding(
            "members", pattern, "likely" if count == len(names) else "cannot tell", told, {"member_pattern": pattern}
        )
    ]


def _records(text: str) -> Finding | None:
    """Return where the records of JSON or XML are."""
    start = text.lstrip()[:1]
    if start in "{[" and start:
        path = _path_in_json(text)
        if path is not None:
            settings: dict[str, Any] = {"file_type": "JSON", "record_path": path or None}
            return Finding("kind", f"JSON, records at {path or 'the top'}", "sure", text.strip()[:60], settings)
    if _XML.match(text) and not _PAGE.match(text) and (path := _path_in_xml(text)):
        settings = {"file_type": "XML", "record_path": path}
        return Finding("kind", f"XML, records at {path}", "likely", "the first element that is repeated", settings)
    return None


def _path_in_json(text: str) -> str | None:
    """Return the record_path, "" for the top, None if it is no JSON with objects."""
    try:
        value, end = json.JSONDecoder().raw_decode(text.lstrip())
    except ValueError:
        return "" if re.match(r"\s*\[\s*\{", text) else None  # an array that is longer than the sample
    if text.lstrip()[end:].strip() or isinstance(value, list):
        return ""
    lists = [name for name, item in value.items() if isinstance(item, list) and item and isinstance(item[0], dict)]
    return lists[0] if lists else ""


def _path_in_xml(text: str) -> str | None:
    import defusedxml.ElementTree

    parser = defusedxml.ElementTree.DefusedXMLParser(target=(outline := _Outline()))
    with contextlib.suppress(ParseError):  # the sample may end within an element
        parser.feed(text)
    return next((path for path, count in outline.counts.items() if count > 1), None)


class _Outline:
    """Counts the elements of each path, the outer ones first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._path: list[str] = []

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        self._path.append(tag)
        self.counts["/".join(self._path)] += 1

    def end(self, _tag: str) -> None:
        self._path.pop()


def _fixed_width(text: str) -> Finding | None:
    """Return the positions of columns that blanks part in every line; None for a text with delimiters."""
    lines = [line for line in text.splitlines()[:-1][:500] if line.strip()]
    if len(lines) < _LEAST_LINES or any(text.count(sign) >= len(lines) for sign in ";\t|") or "  " not in text:
        return None
    width = max(map(len, lines))
    if text.count(",") >= len(lines) or any(len(line) < width // 2 for line in lines):
        return None
    padded = [line.ljust(width) for line in lines]
    blank = [all(line[at] == " " for line in padded) for at in range(width)]
    starts = [at for at in range(width) if not blank[at] and (at == 0 or blank[at - 1])]
    # One blank may part the words of a value, unless the first line, which may have the headings, begins a word there.
    starts = [at for at in starts if at < 2 or blank[at - 2] or padded[0][at] != " "]
    if len(starts) < 2:
        return None
    places = _places(padded, starts)
    positions = ",".join(f"{first}-{last or ''}" for first, last in places)
    settings: dict[str, Any] = {"file_type": "FIXED", "column_positions": positions}
    return Finding(
        "kind", f"fixed width, {positions}", "likely", f"blanks part these columns in {len(lines)} lines", settings
    )


def _places(lines: list[str], starts: list[int]) -> list[tuple[int, int | None]]:
    """Return the first and last position of each column, from 1; the last column has no end.

    The blanks between two columns belong to the one whose values grow into them: to the left one if the right one
    begins at the same place in every line, to the right one if both end at the same place. Otherwise they belong to
    neither, so that a longer value makes its line a bad one and is not cut in two.
    """
    ends = [
        start + max(len(line[start:stop].rstrip()) for line in lines)
        for start, stop in zip(starts, [*starts[1:], None], strict=True)
    ]
    begins_alike = [
        all(line[start] != " " or not line[start:end].strip() for line in lines)
        for start, end in zip(starts, ends, strict=True)
    ]
    ends_alike = [
        all(line[end - 1] != " " or not line[start:end].strip() for line in lines)
        for start, end in zip(starts, ends, strict=True)
    ]
    firsts, lasts = [start + 1 for start in starts], [*ends[:-1], None]
    for right in range(1, len(starts)):
        left = right - 1
        if begins_alike[right]:
            lasts[left] = starts[right]
        elif ends_alike[right] and ends_alike[left] and not begins_alike[left]:
            firsts[right] = ends[left] + 1
    return list(zip(firsts, lasts, strict=True))
