"""A JSON Schema of the file, made of the catalogue, with which an editor completes and checks what is typed.

The schema is for editors; what is valid, `apply` decides. Reference: https://json-schema.org/draft-07
"""

from typing import Any

from systemscripts.configuration.catalogue import Catalogue, Column, Kind, Shape
from systemscripts.configuration.tables import FIXED, PARTS, TOP

_TYPES: dict[Kind, dict[str, Any]] = {
    Kind.TEXT: {"type": "string"},
    Kind.WHOLE: {"type": "integer"},
    Kind.NUMBER: {"type": "number"},
    Kind.TRUTH: {"type": "boolean"},
    Kind.LIST: {"type": "array"},
    Kind.JSON: {"type": ["object", "array"]},
}


def schema(catalogue: Catalogue, fixed: dict[str, list[str]]) -> dict[str, Any]:
    """Return the schema; `fixed` has the names in each table of tables.FIXED."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The configuration of the ETL system",
        "type": "object",
        "additionalProperties": False,
        "properties": {section.name: _section(catalogue, section.name, fixed) for section in TOP},
    }


def _section(catalogue: Catalogue, path: str, fixed: dict[str, list[str]]) -> dict[str, Any]:
    shape = catalogue[path]
    row = _row(catalogue, shape, fixed)
    if shape.section.is_list:
        return {"description": shape.about, "type": "array", "items": row}
    return {"description": shape.about, "type": "object", "additionalProperties": row}


def _row(catalogue: Catalogue, shape: Shape, fixed: dict[str, list[str]]) -> dict[str, Any]:
    properties = {name: _value(column, fixed) for name, column in shape.columns.items()}
    for part in PARTS.get(shape.section.path, ()):
        properties[part.name] = _section(catalogue, part.path, fixed)
    required = [name for name, column in shape.columns.items() if column.must_be_given]
    needs = {"required": required} if required else {"type": ["object", "null"]}
    return {"type": "object", "additionalProperties": False, "properties": properties} | needs


def _value(column: Column, fixed: dict[str, list[str]]) -> dict[str, Any]:
    found = dict(_TYPES[column.kind])
    if column.comment:
        found["description"] = column.comment
    names = fixed[column.reference.table] if column.reference and column.reference.table in FIXED else column.choices
    if names:
        found["enum"] = [*names, None] if column.may_be_null else list(names)
    if column.may_be_null:
        kinds = found["type"] if isinstance(found["type"], list) else [found["type"]]
        found["type"] = [*kinds, "null"]
    return found
