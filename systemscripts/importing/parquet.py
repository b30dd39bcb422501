"""Parquet as CSV: each value as its exact text. pyarrow, which reads it, is an optional package."""

import importlib.util
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from systemscripts import limited_child, settings
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.importing.config import ConfigurationError, ImportConfig

# The name alone may begin a text.
MARK = b"PAR1\x15"


def is_parquet(path: Path) -> bool:
    """Return whether the file begins as a Parquet file does."""
    with path.open("rb") as stream:
        return stream.read(len(MARK)) == MARK


def convert(path: Path, config: ImportConfig, output: IO[bytes]) -> None:
    """Write the file's records as CSV, by a child process with limits.

    Raises JobError for a file that cannot be read, ConfigurationError if pyarrow is not installed.
    """
    if not is_parquet(path):
        raise JobError("it is no Parquet file; look at the file, or correct file_type")
    if importlib.util.find_spec("pyarrow") is None:
        requirements = settings.project_dir() / "requirements-parquet.txt"
        command = shlex.join([sys.executable, "-m", "pip", "install", "--require-hashes", "-r", str(requirements)])
        raise ConfigurationError(
            f"import {config.config_name}: Parquet files are read by pyarrow, which is not installed; type: {command}"
        )
    limits = {
        "memory_mb": settings.spreadsheet_memory_mb(),
        "seconds": settings.spreadsheet_seconds(),
        "max_mb": settings.unpacked_max_mb(),
    }
    request = json.dumps({"output": output.fileno(), **limits})
    with path.open("rb") as file:
        child = limited_child.start(
            "systemscripts.importing.parquet_child",
            request,
            stdin=file,
            stdout=subprocess.PIPE,
            pass_fds=[output.fileno()],
        )
    with child:
        try:
            told = child.communicate(timeout=limits["seconds"])[0]
        except subprocess.TimeoutExpired:
            child.kill()
            raise JobError(f"it was not read within {limits['seconds']:,} seconds (ETL_SPREADSHEET_SECONDS)") from None
    try:
        answer: dict[str, Any] = json.loads(told)
    except ValueError:
        raise JobError(
            f"its reader broke down (status {child.returncode}): the file is damaged, or {limits['memory_mb']:,} MiB of memory "
            f"(ETL_SPREADSHEET_MEMORY_MB) or {limits['seconds']:,} seconds (ETL_SPREADSHEET_SECONDS) are too few"
        ) from None
    if "unwritten" in answer:
        raise TemporaryFailure(f"its CSV cannot be written ({answer['unwritten']}); try again later")
    if "refused" in answer:
        raise JobError(answer["refused"])
