"""Blocks of rows, column by column: what is done once for a column need not be done for each of its cells."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# Large enough for work on whole columns to pay; in four times as many the memory begins to cost.
BLOCK_CELLS = 8192

Rows = Iterator[tuple[int, list[str]]]


@dataclass(frozen=True)
class Block:
    """The texts of neighbouring rows, from row number `first` (from 0) on: a sequence for each column from A on, all of one length."""

    first: int
    columns: list[Sequence[str]]


def rows_in(width: int) -> int:
    """Return how many rows of this width make a block."""
    return max(BLOCK_CELLS // width, 1)


def in_blocks(read_rows: Callable[[Any, int], Rows]) -> Callable[[Any, int], Iterator[Block]]:
    """Make blocks of what a reader yields: (row number from 0, texts from column A on), ascending, with gaps, and ragged."""

    @functools.wraps(read_rows)
    def blocks(workbook: Any, index: int) -> Iterator[Block]:
        first, width, gathered = 0, 1, list[list[str]]()
        for number, cells in read_rows(workbook, index):
            width = max(width, len(cells))
            if gathered and (number != first + len(gathered) or len(gathered) >= rows_in(width)):
                yield _block(first, gathered)
                gathered, width = [], max(len(cells), 1)
            if not gathered:
                first = number
            gathered.append(cells)
        if gathered:
            yield _block(first, gathered)

    return blocks


def _block(first: int, rows: list[list[str]]) -> Block:
    return Block(first, list(itertools.zip_longest(*rows, fillvalue="")))
