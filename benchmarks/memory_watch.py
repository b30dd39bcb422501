"""How much memory a process and all that it starts hold together."""

import os
import threading
import time
from pathlib import Path

SAMPLE_SECONDS = 0.01
# A look at a large process is not free: between two of them passes so many times what one took.
LEAST_PAUSE = 15


class MemoryWatch:
    """The largest memory that a process and its descendants held at one moment, by looking again and again.

    Counted are the private pages of each, and the shared ones (libraries) of the process that has most:
    the sum of all resident sizes would count a library once a process. The kernel's own record,
    ru_maxrss, knows the largest process alone, and begins with the size of the one that started it.
    """

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._pid = 0
        self._others = _running()  # cannot be descendants of a process that is started later
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        return self

    def follow(self, pid: int) -> None:
        """Watch this process, until the end of the with block."""
        self._pid = pid
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._pid:
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            began = time.thread_time()
            sizes = [_private_and_shared(pid) for pid in self._family()]
            held = sum(private for private, _ in sizes) + max((shared for _, shared in sizes), default=0)
            self.peak_mb = max(self.peak_mb, held * 1024 / 1e6)
            self._over.wait(max(SAMPLE_SECONDS, LEAST_PAUSE * (time.thread_time() - began)))

    def _family(self) -> set[int]:
        parents = {pid: _parent(pid) for pid in _running() - self._others}
        family = {self._pid}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        return family


def _running() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 — called often


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return 0


def _private_and_shared(pid: int) -> tuple[int, int]:
    """Return the sizes of a process's private and shared pages, in kB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0, 0
    sizes = {name: int(size.split()[0]) for name, _, size in (line.partition(":") for line in lines)}
    return (
        sizes["Private_Clean"] + sizes["Private_Dirty"],
        sizes["Shared_Clean"] + sizes["Shared_Dirty"],
    )
