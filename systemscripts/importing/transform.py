"""The site's own pandas: the function `transform(frame)` in jobscripts/transforms/<name>.py.

It is the operator's code, trusted like a job, so it runs in this process and with its rights. A limit of memory turns what
would take the whole machine into a MemoryError; the run's time limit ends what does not end.
"""

import contextlib
import logging
import resource
import signal
import sys
import types
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from systemscripts import settings, whole_files
from systemscripts.errors import JobError
from systemscripts.importing.careful import is_encodable
from systemscripts.importing.config import ConfigurationError

if TYPE_CHECKING:
    import pandas

log = logging.getLogger(__name__)

# How much memory a call may take, beyond what this process has before the first one.
MEMORY_MB = 1024
LONGEST_SHOWN = 300  # characters of an exception's message
# The exit that SIGTERM causes (job_runner); every other one is the transform's own.
_RUN_ENDS = 128 + signal.SIGTERM

_FLOAT = (
    'a float has no exact text: write its digits, such as .map("{:.2f}".format, na_action="ignore"), compute with Decimal, '
    'or, for whole numbers, .astype("Int64")'
)


class TransformFailed(JobError):
    """The transform raised an exception, or returned what cannot be loaded."""


class Transform:
    """The function of one file in jobscripts/transforms/.

    The file is run anew for each file of data, so its global values begin anew, too. Raises ConfigurationError if there is
    no such file, if it cannot be run, or if it has no such function.
    """

    def __init__(self, name: str) -> None:
        self._path = settings.project_dir() / "jobscripts" / "transforms" / f"{name}.py"
        self._told = f"the transform jobscripts/transforms/{name}.py"
        module = types.ModuleType(f"transforms.{name}")
        module.__file__ = str(self._path)
        sys.modules[module.__name__] = module  # where dataclasses look
        code = self._code()
        try:
            self._run(lambda: exec(code, module.__dict__))  # noqa: S102 — the operator's own file, like a job
        except TransformFailed as failure:
            raise ConfigurationError(str(failure)) from None
        function: Callable[[pandas.DataFrame], Any] | None = getattr(module, "transform", None)
        if function is None:
            raise ConfigurationError(f"{self._told} has no function transform(frame)")
        self._function = function
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        self._most_memory = in_use + (MEMORY_MB << 20)

    def __call__(self, frame: "pandas.DataFrame", where: str) -> Any:
        """Return what the function returns; raises TransformFailed for what it raises. `where` says which lines it has."""

        def work() -> Any:
            with _limited_memory(self._most_memory):
                return self._function(frame)

        return self._run(work, f"; it had {where}")

    def refusal(self, problem: str) -> TransformFailed:
        """Return the exception that says what is wrong with what the function returned."""
        return TransformFailed(f"{self._told} {problem}")

    def _code(self) -> types.CodeType:
        try:
            # Compiled here, so that nothing is read from or written into a __pycache__.
            with open(whole_files.open_plain(self._path), "rb") as stream:
                return compile(stream.read(), str(self._path), "exec")
        except whole_files.NotPlain as found:
            raise ConfigurationError(f"{self._told} is {found.kind}; put the file itself there") from None
        except OSError as error:
            raise ConfigurationError(f"{self._told} cannot be read: {error.strerror}") from None
        except SyntaxError as error:
            raise ConfigurationError(f"{self._told}, line {error.lineno}: {error.msg}") from None
        except ValueError as error:  # a NUL byte
            raise ConfigurationError(f"{self._told}: {error}") from None

    def _run(self, work: Callable[[], Any], where: str = "") -> Any:
        """Do the work; log the traceback of what it raises, and raise TransformFailed with the line of its file."""
        try:
            return work()
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and error.code == _RUN_ENDS:
                raise
            import traceback

            # Without the frames of this module, which say nothing to those who wrote the file.
            trace = error.__traceback__
            while trace and trace.tb_frame.f_code.co_filename == __file__:
                trace = trace.tb_next
            lines = [line for frame, line in traceback.walk_tb(trace) if frame.f_code.co_filename == str(self._path)]
            line = f", line {lines[-1]}" if lines else ""
            message = " ".join(str(error).split())[:LONGEST_SHOWN]
            told = f"{self._told}{line}, raised {type(error).__name__}{f': {message}' if message else ''}{where}"
            if isinstance(error, MemoryError):
                told += f"; a call may take {MEMORY_MB} MiB of memory"
            log.error(
                "exception of the transform, with its traceback",
                exc_info=(type(error), error, trace),
                extra={"step": "transform"},
            )
            raise TransformFailed(told) from None


class NoText(Exception):
    """A value has no exact text; `place` is its position in the column, and the message says what to do."""

    def __init__(self, place: int, problem: str) -> None:
        super().__init__(problem)
        self.place = place


def texts_of(column: "pandas.Series[Any]") -> list[str]:
    """Return the column's values as texts, "" for a missing one; raises NoText."""
    import pandas

    texts: list[str] = column.tolist()
    try:
        joined = "".join(texts)
    except TypeError:  # not all of them are texts; to try it takes a quarter of the time of looking for missing ones
        is_text = isinstance(column.dtype, pandas.StringDtype)
        texts = column.fillna("").tolist() if is_text else _texts_of_any(column)
        joined = "".join(texts)
    if "\0" in joined or not is_encodable(joined):
        place = next(place for place, text in enumerate(texts) if "\0" in text or not is_encodable(text))
        raise NoText(
            place, f"{texts[place][:LONGEST_SHOWN]!r}: PostgreSQL's text can hold neither NUL nor half a surrogate pair"
        )
    return texts


def _texts_of_any(column: "pandas.Series[Any]") -> list[str]:
    texts: list[str] = []
    for value, is_missing in zip(column.astype(object).tolist(), column.isna().tolist(), strict=True):
        try:
            texts.append("" if is_missing else _text_of(value))
        except ValueError as problem:
            raise NoText(len(texts), str(problem)) from None
    return texts


def _text_of(value: object) -> str:
    """Return the exact text of a value; raises ValueError, which says what to do, if there is none."""
    import numpy

    if isinstance(value, str):
        return value
    if isinstance(value, bool | numpy.bool_):
        return "true" if value else "false"
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite():
        # 1E+2 is how Decimal writes a hundred that lost its zeros; beyond a hundred digits they would only be zeros.
        return f"{value:f}" if abs(value.adjusted()) < 100 else str(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float | numpy.floating):
        raise ValueError(f"{value}: {_FLOAT}")
    raise ValueError(f"{repr(value)[:LONGEST_SHOWN]}: make a text of this {type(value).__name__}")


@contextlib.contextmanager
def _limited_memory(most_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    lower = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([most_bytes, *lower]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
