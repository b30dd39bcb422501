"""JSON as CSV: objects one after the other (JSON Lines), or an array of objects, at the top or under record_path.

Numbers, true and false keep the text that they have in the file. null is empty. A nested array or object stays the
JSON text that it is.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TextIO

from systemscripts import settings
from systemscripts.errors import JobError
from systemscripts.importing import detection
from systemscripts.importing.config import ImportConfig
from systemscripts.importing.records import Records, write_csv

CHUNK = 1 << 16
# An error nearer to the end of what was read may only mean that more must be read.
_LONGEST_TOKEN = 16
_BLANKS = " \t\r\n"
# The record_path of an object that is itself the record.
ITSELF = "."
_WORDS = {"True": "true", "False": "false", "None": ""}


class _Object(list[tuple[str, Any]]):
    """The names and values of an object, in the file's order."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Object, parse_int=str, parse_float=str, parse_constant=str)


def convert(path: Path, config: ImportConfig, output: IO[bytes]) -> None:
    """Write the file's records as CSV; raises JobError for what is no JSON, or has no records."""

    def read() -> Records:
        with path.open("rb") as stream:
            sample = stream.read(1 << 20)
        encoding, bom_bytes = detection.encoding_of(sample, config.encoding)
        with path.open("rb") as raw:
            raw.seek(bom_bytes)
            try:
                yield from _records(_Text(io.TextIOWrapper(raw, encoding, newline="")), config.record_path)
            except UnicodeDecodeError as error:
                raise JobError(
                    f"byte 0x{error.object[error.start]:02x} does not fit its encoding, {encoding}"
                ) from None

    write_csv(read, output)


def _records(text: "_Text", record_path: str | None) -> Records:
    path = [] if record_path in (None, ITSELF) else str(record_path).split("/")
    number = 0
    waiting: dict[str, str] | None = None
    doubt = ""
    while text.next_sign():
        for value, written in _at(text, path):
            number += 1
            if waiting is not None:
                yield waiting
                waiting = None
            record = _fields(value, written, number)
            if number == 1 and record_path is None and (doubt := _holder_of_records(value)):
                waiting = record  # perhaps an answer with its records in it
            else:
                yield record
    if waiting is not None:
        raise JobError(
            f"it has one record, and its {doubt!r} holds others; set record_path = '{doubt}' if those are the records, "
            f"or record_path = '{ITSELF}' if it is the only one itself"
        )


def _at(text: "_Text", path: list[str]) -> Iterator[tuple[Any, str]]:
    """Yield each record below the path and its text, and read the value that holds them to its end."""
    if not path:
        if text.next_sign() == "[":
            yield from (text.value() for _ in text.parts("[", "]"))
        else:
            yield text.value()
        return
    seen: list[str] = []
    found = False
    for _ in text.parts("{", "}"):
        name, _ = text.value()
        text.expect(":")
        if name == path[0]:
            found = True
            yield from _at(text, path[1:])
        else:
            seen.append(repr(name))
            text.value()
    if not found:
        raise JobError(f"it has no {path[0]!r}, which record_path names; it has {', '.join(seen[:10]) or 'nothing'}")


def _fields(value: Any, written: str, number: int) -> dict[str, str]:
    """Return a record's names and texts."""
    if not isinstance(value, _Object):
        raise JobError(
            f"record {number}: it is no object but {written[:60]!r}; perhaps record_path must name a part of it"
        )
    record = {name: field if isinstance(field, str) else _WORDS[repr(field)] if field in (True, False, None) else ""
              for name, field in value}  # fmt: skip
    if len(record) < len(value):
        names = [name for name, _ in value]
        raise JobError(f"record {number}: {next(name for name in names if names.count(name) > 1)!r} comes twice in it")
    if any(isinstance(field, list) for _, field in value):
        text = _Text(None, written)
        for _ in text.parts("{", "}"):
            name, _ = text.value()
            text.expect(":")
            field, as_written = text.value()
            if isinstance(field, list):
                record[name] = as_written
    return record


def _holder_of_records(value: _Object) -> str:
    """Return the first name under which an array of objects lies, "" if there is none."""
    found = (name for name, field in value if isinstance(field, list) and field and isinstance(field[0], _Object))
    return next(found, "")


class _Text:
    """The text of a JSON file, of which only what is being read is in memory."""

    def __init__(self, stream: TextIO | None, text: str = "") -> None:
        self._stream = stream
        self._text = text
        self._at = 0
        self._most = settings.csv_max_record_mb() << 20
        self._before = 0

    def next_sign(self) -> str:
        """Return the next character that is not blank, without taking it; "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BLANKS:
                    return self._text[self._at]
                self._at += 1
            if not self._read_more():
                return ""

    def expect(self, sign: str) -> None:
        if (found := self.next_sign()) != sign:
            self._refuse(f"{sign!r} is missing", self._at) if found else self._cut_off()
        self._at += 1

    def parts(self, opening: str, closing: str) -> Iterator[None]:
        """Take the signs around and between the parts of an array or object; each part is taken by the caller."""
        self.expect(opening)
        if self.next_sign() == closing:
            self._at += 1
            return
        while True:
            yield
            if self.next_sign() == closing:
                self._at += 1
                return
            self.expect(",")

    def value(self) -> tuple[Any, str]:
        """Take the next value, and return it together with its text as it is written."""
        self.next_sign()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                is_sure = "Unterminated" not in error.msg and error.pos + _LONGEST_TOKEN < len(self._text)
                if is_sure or not self._read_more():
                    self._refuse(error.msg, error.pos) if is_sure else self._cut_off()
            except RecursionError:
                raise JobError("its values are nested too deeply") from None
            else:
                # A number may go on.
                if end < len(self._text) or not self._read_more():
                    written = self._text[self._at : end]
                    self._at = end
                    return value, written

    def _read_more(self) -> bool:
        if self._stream is None:
            return False
        left = self._text[self._at :]
        if len(left) > self._most:
            raise JobError(
                f"one value in it is longer than {self._most >> 20} MiB (ETL_CSV_MAX_RECORD_MB); perhaps record_path is missing"
            )
        # Twice as much each time, so that a long value is not looked through too often.
        more = self._stream.read(max(CHUNK, len(left)))
        self._before += self._text.count("\n", 0, self._at)
        self._text, self._at = left + more, 0
        return bool(more)

    def _refuse(self, problem: str, place: int) -> None:
        line = self._before + self._text.count("\n", 0, place) + 1
        shown = self._text[place : place + 60]
        raise JobError(f"line {line}: it is no JSON: {problem}: {shown!r}") from None

    def _cut_off(self) -> None:
        raise JobError("it is cut off: its JSON has no end; ask the sender for it again") from None
