"""The fence of `fence`, as the move holds it: a process whose session has the locks, and that ends with this one."""

import contextlib
import subprocess
from collections.abc import Iterator

from systemscripts.errors import TemporaryFailure
from systemscripts.moving import servers
from systemscripts.moving.fence import HELD
from systemscripts.plain_text import say


class Fence:
    """What stands for the session with the locks."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def check(self) -> None:
        """Raise TemporaryFailure if the session has ended, because then somebody may have written."""
        if self._process.poll() is not None:
            raise TemporaryFailure(
                "the server ended the session that kept the jobs from writing; nothing was switched; start it again"
            )


@contextlib.contextmanager
def fenced(environment: dict[str, str]) -> Iterator[Fence]:
    """Let nobody write to the database of this environment during the block; wait for the jobs that run."""
    process = servers.start(environment, "hold")
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        for line in process.stdout:
            if line.strip() == HELD:
                break
            say(line.strip())
        else:
            errors = process.stderr.read()
            process.wait()
            servers.settle(process, errors)
        yield Fence(process)
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
