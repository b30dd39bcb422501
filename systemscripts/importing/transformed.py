"""The records of a file as the site's transform makes them, piece by piece, as text for COPY."""

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from systemscripts.importing.careful import in_copy_format
from systemscripts.importing.columns import ColumnPlan
from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.pieces import Piece, pieces
from systemscripts.importing.rejects import Rejects
from systemscripts.importing.source import TextSource
from systemscripts.importing.transform import NoText, Transform, texts_of

if TYPE_CHECKING:
    import pandas

# The name of each frame's index. It has a blank in it, which no column from a heading has.
LINE_NUMBER = "line number"

_LOST_LINES = (
    f"the index must stay the {LINE_NUMBER}s of the file; merge, groupby and others lose it: "
    f'write frame.reset_index() before them and .set_index("{LINE_NUMBER}") after them'
)


class Shown(NamedTuple):
    """One change of one line, for a person; `before` or `after` is "" where there is nothing to show."""

    line: str
    column: str
    before: str
    after: str


class _Rows(NamedTuple):
    """The rows of one piece: for each the number of its record, and the columns with their texts."""

    numbers: list[int]
    columns: list[list[str]]


class TransformedRecords:
    """What the transform makes of a file's records, in its order; to COPY it is what RewrittenRecords is.

    The first piece is transformed at once, because its columns decide what becomes of the table: `headings` has them.
    `show` is how many changed lines are kept in `shown`.
    """

    def __init__(
        self, config: ImportConfig, source: TextSource, names: list[str], rejects: Rejects | None, show: int
    ) -> None:
        import pandas  # before the memory is measured

        # Whether pyarrow is installed, for Parquet, must not change what a transform gets and makes.
        pandas.set_option("mode.string_storage", "python")
        try:
            self._transform = Transform(config.transform or "")
        except ConfigurationError as problem:
            raise ConfigurationError(f"import {config.config_name}: {problem}") from None
        self.fault: BaseException | None = None
        self.records = self._left_out = self._added = 0
        self.headings: list[str] = []
        self.shown: list[Shown] = []
        self._names = names
        self._show = show
        self._keep: list[int] = []
        self._numbered = False
        others = pieces(source, rejects)
        # A file without records has the same columns.
        first = self._rows_of(next(others, Piece([], [], [])))
        self._rows = (rows for rows in itertools.chain([first], map(self._rows_of, others)) if rows.numbers)

    @property
    def told(self) -> str:
        """Return how many lines went and rows came, as the end of a sentence."""
        told = f", {self._left_out} lines left out by the transform" if self._left_out else ""
        return told + (f", {self._added} rows added by the transform" if self._added else "")

    def stream(self, plan: ColumnPlan, numbered: bool) -> "TransformedRecords":
        """Return it as a stream of the planned columns; with `numbered` each row begins with its record's number."""
        self._keep = [index for index, target in enumerate(plan.targets) if target is not None]
        self._numbered = numbered
        return self

    def read(self, _size: int = -1) -> bytes:
        """Return the rows of one piece, b"" at the end; the requested size is ignored."""
        try:
            rows = next(self._rows, None)
        except BaseException as fault:
            self.fault = fault
            raise
        if rows is None:
            return b""
        self.records += len(rows.numbers)
        numbers = [map(str, rows.numbers)] if self._numbered else []
        return in_copy_format(zip(*numbers, *(rows.columns[index] for index in self._keep), strict=True))

    def _rows_of(self, piece: Piece) -> _Rows:
        where = piece.place
        frame = self._frame_of(piece)
        lines = frame.index
        result = self._checked(self._transform(frame, where), where)
        places: list[int] = lines.get_indexer(result.index).tolist()
        if -1 in places:
            strange = result.index[places.index(-1)]
            raise self._transform.refusal(f"returned the {LINE_NUMBER} {strange} for {where}: {_LOST_LINES}")
        columns = [self._texts(result, name) for name in self.headings]
        kept = len(set(places))
        self._left_out += len(piece.lines) - kept
        self._added += len(places) - kept
        self._note_changes(piece, places, columns)
        return _Rows([piece.numbers[place] for place in places], columns)

    def _frame_of(self, piece: Piece) -> "pandas.DataFrame":
        import pandas

        # Stated, because the default depends on whether pyarrow is installed.
        text = pandas.StringDtype("python", na_value=float("nan"))
        lines = pandas.Index(piece.lines, name=LINE_NUMBER, dtype="int64")
        columns = zip(*piece.rows, strict=True) if piece.rows else [()] * len(self._names)
        made = {
            name: pandas.array([value or None for value in column] if "" in column else column, dtype=text)
            for name, column in zip(self._names, columns, strict=True)
        }
        return pandas.DataFrame(made, index=lines, copy=False)

    def _checked(self, result: Any, where: str) -> "pandas.DataFrame":
        import pandas

        refusal = self._transform.refusal
        if not isinstance(result, pandas.DataFrame):
            raise refusal(f"returned {type(result).__name__}, not a DataFrame; its last line must be: return frame")
        names = list(result.columns)
        if not names or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
            raise refusal(f"returned the columns {str(names)[:300]}; each column needs a text as its own name")
        self.headings = self.headings or names
        if set(names) != set(self.headings):
            less = ", ".join(name for name in self.headings if name not in names) or "none"
            more = ", ".join(name for name in names if name not in self.headings) or "none"
            raise refusal(
                f"returned other columns for {where} than before: missing {less}; new {more}; "
                "the file comes in pieces, and each must get the same columns"
            )
        if result.index.name != LINE_NUMBER:
            raise refusal(f"lost the line numbers for {where}: {_LOST_LINES}")
        return result

    def _texts(self, result: "pandas.DataFrame", name: str) -> list[str]:
        try:
            return texts_of(result[name])
        except NoText as problem:
            line = result.index[problem.place]
            raise self._transform.refusal(f"returned in line {line}, column {name!r}, {problem}") from None

    def _note_changes(self, piece: Piece, places: list[int], columns: list[list[str]]) -> None:
        """Keep what the transform changed in the first lines, for a person who tries it."""
        if not self._show:
            return
        rows_of: dict[int, list[int]] = {}
        for row, place in enumerate(places):
            rows_of.setdefault(place, []).append(row)
        for place, (line, fields) in enumerate(zip(piece.lines, piece.rows, strict=True)):
            if not self._show:
                return
            before = dict(zip(self._names, fields, strict=True))
            noted = [] if place in rows_of else [Shown("", "left out", ", ".join(map(repr, fields)), "")]
            for count, row in enumerate(rows_of.get(place, [])):
                noted += [Shown("", f"row {count + 1}", "", "")] if count else []
                after = {name: column[row] for name, column in zip(self.headings, columns, strict=True)}
                noted += [
                    Shown("", name, _shown(before[name]) if name in before else "", _shown(value))
                    for name, value in after.items()
                    if before.get(name) != value
                ]
            if noted:
                self.shown += [noted[0]._replace(line=str(line)), *noted[1:]]
                self._show -= 1


def _shown(value: str) -> str:
    return repr(value) if value else "NULL"
