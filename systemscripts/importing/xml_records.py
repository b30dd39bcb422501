"""XML as CSV: each element at record_path is a record, read as a stream.

An attribute is the column @name, a child element the column of its name, a child of a child parent/child. Texts stay as they
are; names are without their namespaces.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from systemscripts.errors import JobError
from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.records import Records, write_csv

MOST_NAMED = 10


def convert(path: Path, config: ImportConfig, output: IO[bytes]) -> None:
    """Write the file's records as CSV; raises JobError for what is no XML, declares entities, or has no records."""
    if config.record_path is None:
        raise ConfigurationError(
            f"import {config.config_name}: set record_path to the path of the element that is one record, such as orders/order"
        )
    wanted = tuple(config.record_path.strip("/").split("/"))

    def read() -> Records:
        try:
            with path.open("rb") as stream:
                yield from _records(stream, wanted)
        except ParseError as error:
            raise JobError(f"it is no XML, or it is cut off: {error}") from None
        except DefusedXmlException:
            raise JobError(
                "it declares a document type or entities, which data need not and files made to harm do"
            ) from None

    write_csv(read, output)


def _records(stream: IO[bytes], wanted: tuple[str, ...]) -> Records:
    path: list[str] = []
    elements: list[Any] = []
    seen: dict[str, None] = {}
    number = 0
    for event, element in iterparse(stream, events=("start", "end"), forbid_dtd=True):
        if event == "start":
            path.append(_name(element.tag))
            elements.append(element)
            if len(path) <= len(wanted) + 1 and len(seen) < MOST_NAMED:
                seen["/".join(path)] = None
            continue
        elements.pop()
        if tuple(path) == wanted:
            number += 1
            yield _fields(element, number)
        path.pop()
        # Only what belongs to the record that is being read stays in memory.
        if elements and tuple(path[: len(wanted)]) != wanted:
            elements[-1].remove(element)
    if not number:
        raise JobError(f"it has no element {'/'.join(wanted)}, which record_path names; it has {', '.join(seen)}")


def _fields(record: Any, number: int) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, text in _texts(record, ""):
        if name in fields:
            raise JobError(
                f"record {number}: {name!r} comes twice in it; set record_path to the element that is repeated, or ask for one"
            )
        fields[name] = text
    return fields


def _texts(element: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for name, text in element.attrib.items():
        yield f"{prefix}@{_name(name)}", text
    texts = [element.text or "", *(child.tail or "" for child in element)]
    if not len(element):
        if prefix or texts[0].strip():
            yield prefix.rstrip("/") or _name(element.tag), texts[0]
        return
    if any(text.strip() for text in texts):
        raise JobError(
            f"text stands beside the elements within {_name(element.tag)!r}: {''.join(texts).strip()[:60]!r}"
        )
    for child in element:
        yield from _texts(child, f"{prefix}{_name(child.tag)}/")


def _name(tag: str) -> str:
    return tag.rpartition("}")[2]
