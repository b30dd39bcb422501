"""How the fields of a delimited text file are told apart: the configuration's columns, or what stands in the file."""

import csv
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.importing.config import ImportConfig

if TYPE_CHECKING:
    from _csv import Reader

# How quote_character says that quotes are text like any other.
NO_QUOTES = "none"


class Dialect(NamedTuple):
    """The signs of a file. `quote` is None where quotes mean nothing; `escape` takes the next character literally."""

    delimiter: str
    quote: str | None = '"'
    escape: str | None = None
    skips_blanks: bool = False

    @property
    def is_standard(self) -> bool:
        """Return whether COPY reads the file alike."""
        return self[1:] == Dialect(self.delimiter)[1:] and self.delimiter.isascii()

    def reader(self, lines: Iterable[str], strict: bool = True) -> "Reader":
        """Return a csv reader of the lines."""
        return csv.reader(
            lines, delimiter=self.delimiter, quotechar=self.quote, escapechar=self.escape, strict=strict,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE, skipinitialspace=self.skips_blanks,
        )  # fmt: skip

    def reads_quotes_otherwise(self, text: str, fields: int) -> bool:
        """Return whether the record would have another number of fields if each quote in it began or ended a quoted part.

        Then a delimiter is missing before or after a quote, and nobody can say where: `78"Table, round",x`.
        """
        if not self.quote or text.count(self.quote) % 2:
            return False
        outside = "".join(text.split(self.quote)[::2])
        return outside.count(self.delimiter) + 1 != fields


def dialect_of(config: ImportConfig, delimiter: str) -> Dialect:
    """Return the dialect that the configuration declares, with the given delimiter."""
    quote = config.quote_character or '"'
    return Dialect(
        delimiter, None if quote == NO_QUOTES else quote, config.escape_character, config.skip_initial_blanks
    )
