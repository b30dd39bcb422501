"""One conversion in a separate process with limits, because its parsers read untrusted bytes.

Called by xls_to_csv as `python -m systemscripts.spreadsheets.child REQUEST`: the file is standard
input, the CSV goes to the file descriptor that the request names, and one JSON object on standard
output has the result. If a reader crashes the whole process (the fast engine does on some files),
there is no object, and the parent handles that.
"""

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from systemscripts.limited_child import limit_this_process
from systemscripts.spreadsheets import detect
from systemscripts.spreadsheets.csv_writer import write_rectangle
from systemscripts.spreadsheets.model import MEBIBYTE, FastEngineDeclines, Limits, Refused, Workbook, choose_sheet
from systemscripts.spreadsheets.protection import Protected, unlocked
from systemscripts.spreadsheets.readers import Readers, readers_for


def main() -> None:
    request = json.loads(sys.argv[1])
    limits = Limits(**request["limits"])
    limit_this_process(limits.memory_mb, limits.seconds, limits.max_bytes)
    # The output of libraries must not get into the answer.
    answer, sys.stdout = sys.stdout, sys.stderr
    source, output = _opened(0, "rb"), None if request["output"] is None else _opened(request["output"], "wb")
    password = "" if request["password"] is None else _opened(request["password"], "rb").read().decode()
    report = report_of(Conversion(source, output, request["sheet"], request["engine"], limits, password), limits)
    json.dump(report, answer)
    answer.flush()
    # The rest of a refused conversion in the buffer must not be written, and cleaning up a large sheet takes long.
    os._exit(0)


def _opened(handle: int, mode: str) -> BinaryIO:
    return cast("BinaryIO", open(handle, mode, buffering=MEBIBYTE, closefd=False))


def report_of(conversion: "Conversion", limits: Limits) -> dict[str, Any]:
    """Return the report of a conversion, {"refused": why} if it is impossible, {"unwritten": why} if the disk is to blame."""
    try:
        return conversion.run()
    except Refused as refusal:
        return {"refused": str(refusal)}
    except FastEngineDeclines as reason:
        return {"refused": f"the fast engine cannot read it as the reference does: it has {reason}"}
    except Exception as error:  # noqa: BLE001 - readers raise anything on damaged files
        import traceback

        if _disk_is_to_blame(error):
            return {"unwritten": str(error)}
        return {"refused": _reason(error, limits), "traceback": traceback.format_exc()}


def _reason(error: Exception, limits: Limits) -> str:
    """Return the reason for a reader's exception."""
    if isinstance(error, MemoryError):
        return f"reading it takes more than {limits.memory_mb:,} MiB of memory (ETL_SPREADSHEET_MEMORY_MB)"
    if _is_too_large(error):
        return f"its CSV exceeds {limits.max_mb:,} MiB (ETL_SPREADSHEET_MAX_MB)"
    if type(error).__module__.startswith("defusedxml"):
        return "it declares XML entities, which sheets need not and files made to harm do"
    # The reader's own words are for the log.
    return "it is damaged, or of a kind that is not read; open it with Excel, and save it as .xlsx"


def _is_too_large(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EFBIG


def _disk_is_to_blame(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)


@dataclass
class Conversion:
    """The steps of one conversion: detect the kind, choose the reader and the sheet, write.

    Without an output it only lists the sheets.
    """

    source: BinaryIO
    output: BinaryIO | None
    sheet: str | int | None
    engine: str
    limits: Limits
    password: str = ""

    def run(self) -> dict[str, Any]:
        container = detect.detect(self.source)
        if container == detect.TEXT:
            self.source.seek(0)
            kind = detect.text_kind(self.source.read(detect.HEAD_BYTES))
            # The bytes are copied unchanged; the import handles delimiters and encodings.
            self.source.seek(0)
            if self.output is not None:
                shutil.copyfileobj(self.source, self.output, MEBIBYTE)
                self.output.flush()
            return {"kind": kind, "engine": "copy", "sheet": "", "sheets": [], "rows": None, "columns": None}
        try:
            readers = readers_for(self.source, container, self.limits)
        except Protected:
            self.source = unlocked(self.source, self.password)
            readers = readers_for(self.source, detect.detect(self.source), self.limits)
        return {"kind": readers.kind, **self._convert(readers)}

    def _convert(self, readers: Readers) -> dict[str, Any]:
        """Use the fast engine if it may read the file; use the reference if it may not or fails."""
        reason = ""
        if readers.fast and self.engine == "fast":
            return self._convert_with(readers.fast(), readers.why_not_fast)
        if readers.fast and self.engine == "auto":
            try:
                return self._convert_with(readers.fast(), readers.why_not_fast)
            except (Refused, KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                # Its panics are not subclasses of Exception. After any failure the reference decides.
                if _is_too_large(error) or _disk_is_to_blame(error):
                    raise
                reason = str(error)
        readers.why_not_fast()
        return {"fast_declined": reason, **self._convert_with(readers.reference(), str)}

    def _convert_with(self, workbook: Workbook, why_not: Callable[[], str]) -> dict[str, Any]:
        """Write the wanted sheet; `why_not` is asked once the workbook is open and the sheet is loaded."""
        report = {"engine": workbook.engine, "sheets": [[sheet.name, sheet.visible] for sheet in workbook.sheets]}
        index, width = 0, 0
        if self.output is not None:
            index = choose_sheet(workbook.sheets, self.sheet)
            width = workbook.width(index)
        if reason := why_not():
            raise FastEngineDeclines(reason)
        if self.output is None:
            return report
        self.output.seek(0)
        self.output.truncate()
        size = write_rectangle(lambda: workbook.blocks(index), width, self.output, self.limits)
        return {**report, "sheet": workbook.sheets[index].name, "rows": size.rows, "columns": size.columns}


if __name__ == "__main__":
    main()
