"""Lines whose columns stand at fixed positions, as CSV."""

import csv
import io
import re
from pathlib import Path
from typing import IO

from systemscripts import settings
from systemscripts.errors import JobError
from systemscripts.importing import detection
from systemscripts.importing.config import ConfigurationError, ImportConfig


def convert(path: Path, config: ImportConfig, output: IO[bytes]) -> None:
    """Write each line as a row; blanks at both ends of a column are padding.

    Text outside of all columns becomes one more field, so the line is a bad one. Blank lines and comments become blank
    lines, so the numbers of the lines stay.
    """
    columns = _columns(config)
    most = settings.csv_max_record_mb() << 20
    with path.open("rb") as raw:
        sample = raw.read(1 << 20)
        encoding, bom_bytes = detection.encoding_of(sample, config.encoding)
        raw.seek(bom_bytes)
        lines = io.TextIOWrapper(raw, encoding, errors="surrogateescape")
        text = io.TextIOWrapper(output, encoding="utf-8", errors="surrogateescape", newline="")
        writer = csv.writer(text, lineterminator="\n")
        number = 0
        while line := lines.readline(most + 1):
            number += 1
            if len(line) > most:
                raise JobError(f"line {number}: it is longer than {most >> 20} MiB (ETL_CSV_MAX_RECORD_MB)")
            line = line.removesuffix("\n")
            if not line.strip() or (config.comment_prefix and line.startswith(config.comment_prefix)):
                text.write("\n")
                continue
            outside = "".join(line[begin:end] for begin, end in columns.gaps).strip()
            writer.writerow([line[begin:end].strip(" ") for begin, end in columns.taken] + [outside] * bool(outside))
        text.detach()
        output.flush()


class _Columns:
    """The first and the last position of each column, and of what lies between and behind them, as slices."""

    def __init__(self, taken: list[tuple[int, int | None]]) -> None:
        self.taken = taken
        ends = [0, *(end for _, end in taken)]
        begins: list[int | None] = [*(begin for begin, _ in taken), None]
        self.gaps = [(end, begin) for end, begin in zip(ends, begins, strict=True) if end is not None and end != begin]


def _columns(config: ImportConfig) -> _Columns:
    if config.column_positions is None:
        raise ConfigurationError(
            f"import {config.config_name}: set column_positions to the first and last position of each column, such as 1-10,11-18"
        )
    taken: list[tuple[int, int | None]] = []
    before: int | None = 0
    for part in config.column_positions.split(","):
        found = re.fullmatch(r"\s*(\d+)-(\d*)\s*", part)
        first, last = (int(found[1]), int(found[2]) if found[2] else None) if found else (0, None)
        if before is None or first <= before or (last is not None and last < first):
            raise ConfigurationError(
                f"import {config.config_name}: column_positions has {part.strip()!r}; each column is written FIRST-LAST, from 1, "
                "and begins behind the one before it"
            )
        taken.append((first - 1, last))
        before = last
    return _Columns(taken)
