"""The CSV files that are loaded: 12 text columns, 6,200 rows to a megabyte."""

import csv
import random
from pathlib import Path

COLUMNS = (
    "name", "ticker", "code", "date", "city", "country", "sector", "note", "number", "word", "flag", "power",
)  # fmt: skip
ROWS_A_MB = 6_200
RAGGED_EVERY = 100


def write_csv(path: Path, rows: int, seed: str, ragged: bool = False) -> None:
    """Write a file whose content no other seed gives; `ragged` leaves the last field off every hundredth row.

    A large one repeats its first megabyte: writing it must not take longer than loading it.
    """
    records = _records(min(rows, ROWS_A_MB), seed, ragged)
    whole, rest = divmod(rows, ROWS_A_MB)
    block = "".join(records)
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write(",".join(COLUMNS) + "\n")
        for _ in range(whole):
            stream.write(block)
        stream.write("".join(records[:rest]))


class _Records(list[str]):
    """A list that the csv module writes to."""

    write = list.append


def _records(rows: int, seed: str, ragged: bool) -> list[str]:
    """Return records with commas and quotes, NA and 00123, dates, notes with line breaks and non-ASCII."""
    chance = random.Random(seed)
    records = _Records()
    writer = csv.writer(records, lineterminator="\n")
    for number in range(1, rows + 1):
        note = f"{seed}: a note of nearly sixty bytes with é and\na line break"
        ticker = chance.choice(("NA", "ABEO US", "00123", " 1530"))
        row = (
            (f'Acme "{number}" Holdings, Inc.', ticker, f"{number:08d}", "2026-03-02", "Zürich", "CH")
            + ("Biotechnology", note, number, "x" * 6, "true", "1E5")
        )  # fmt: skip
        writer.writerow(row[:-1] if ragged and number % RAGGED_EVERY == 0 else row)
    return records
