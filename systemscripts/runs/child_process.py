"""Run one child process in its own process group: pass on and keep its output, and report how it ended."""

import contextlib
import itertools
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from types import FrameType
from typing import NamedTuple

from systemscripts.errors import EXIT_FAILED
from systemscripts.known_secrets import Veil

TAIL_BYTES = 8_000
# How long a job may clean up after SIGTERM before it gets SIGKILL.
GRACE_SECONDS = 10.0

# After so long without output, an ended job has no more to print.
QUIET_SECONDS = 0.5
# How long the output of processes that a job left running is read after its end.
LAST_WORDS_SECONDS = 2.0

LONGEST_REASON = 500  # characters of an exception's message, which may have many lines
_STOPPED = re.compile(r"stopped at line \d+ of .*: status \d+")
_TRACEBACK = "Traceback (most recent call last):"

REPLACED = "stopped: its database session was lost for so long that another machine has started the same run"

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Outcome(NamedTuple):
    """How a run ended; `exit_code` is the door's exit status, `was_stopped` whether a signal stopped it."""

    status: str
    exit_code: int
    reason: str = ""
    output_tail: str = ""
    was_stopped: bool = False


class _Tail:
    """The last bytes of a stream."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, data: bytes) -> None:
        self._bytes += data
        if len(self._bytes) > 4 * TAIL_BYTES:
            del self._bytes[:-TAIL_BYTES]

    def lines(self) -> list[str]:
        """Return the lines; for a line that a progress bar rewrote, its last state."""
        text = self._bytes[-TAIL_BYTES:].decode("utf-8", "replace").replace("\0", "")
        return [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n") if line.strip()]


class WaitingChild:
    """A started command that waits at a gate, so that it does its imports while the database is asked.

    `run` opens the gate. If the gate is never opened, the child ends without doing anything.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command, self._environment = command, environment
        gate, self._opener = os.pipe()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, "ETL_GATE_FD": str(gate)},
            pass_fds=(gate,),
            start_new_session=True,
        )
        os.close(gate)
        self._guard = _Guard(self._process.pid)
        self._stopped_at: float | None = None

    def __enter__(self) -> "WaitingChild":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._opener)
        self._process.wait()
        self._guard.dismiss()

    def again(self) -> "WaitingChild":
        """Return another child with the same command."""
        return WaitingChild(self._command, self._environment)

    def run(self, timeout: float | None = None, slot: str = "") -> Outcome:
        """Let the command run to its end, pass its output on, and return how it ended.

        The command reads `slot` at the gate. A signal that asks this process to stop is passed on to the
        child's whole process group. The group is also ended after `timeout` seconds, and when the child
        has ended and other processes of the group still run.
        """
        child, everything, errors = self._process, _Tail(), _Tail()
        with _signals_go_to(child, timeout) as received:
            with contextlib.suppress(BrokenPipeError):  # the child ended at the gate, and its output says why
                os.write(self._opener, f"{slot}\n".encode())
            _pass_output_on(child, everything, errors)
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        # The child is reaped only now: until then no other process can get its number or its group's.
        _signal_group(child.pid, signal.SIGKILL)
        return _outcome(child.wait(), received, timeout, everything, errors, self._stopped_at is not None)

    def stop(self) -> None:
        """End the child's group, because another machine has started the same; it is called until the group has ended."""
        if self._process.returncode is not None:
            return
        now = time.monotonic()
        if self._stopped_at is None:
            self._stopped_at = now
            _signal_group(self._process.pid, signal.SIGTERM)
        elif now - self._stopped_at > GRACE_SECONDS:
            _signal_group(self._process.pid, signal.SIGKILL)


class _Guard:
    """A shell that waits for the end of a pipe, to end a process group even if this process gets SIGKILL."""

    def __init__(self, group: int) -> None:
        waited_on, self._held = os.pipe()
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; kill -s KILL -- "-$0"', str(group)],
            stdin=waited_on,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,
        )
        os.close(waited_on)

    def dismiss(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._held)


def _outcome(
    return_code: int, received: list[int], timeout: float | None, everything: _Tail, errors: _Tail, is_replaced: bool
) -> Outcome:
    tail = "\n".join(everything.lines())
    if is_replaced and return_code != 0:
        return Outcome("Killed", 128 + signal.SIGTERM, REPLACED, tail, True)
    if received and received[0] == signal.SIGALRM:
        return Outcome(
            "Timeout", EXIT_FAILED, f"ended after {(timeout or 0) / 60:g} minutes, which is its time limit", tail
        )
    if received:
        name = signal.Signals(received[0]).name
        return Outcome("Killed", 128 + received[0], f"stopped by {name} sent to its supervisor", tail, True)
    if return_code < 0:
        name = signal.Signals(-return_code).name
        return Outcome("Killed", 128 - return_code, f"killed by {name}", tail)
    if return_code == 0:
        return Outcome("Succeeded", 0, "", tail)
    return Outcome("Failed", return_code if return_code < 256 else EXIT_FAILED, _last_error(errors.lines()), tail)


def _last_error(lines: list[str]) -> str:
    """Return the last line that is marked as an error, or else the exception of the last traceback, or else the last line.

    The place at which a shell job was ended by set -e (env.sh) counts only where it said nothing else.
    """
    stopped = [line for line in lines if _STOPPED.fullmatch(line)]
    lines = [line for line in lines if line not in stopped]
    marked = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if not marked and _TRACEBACK in lines:
        after = lines[len(lines) - lines[::-1].index(_TRACEBACK) :]
        # The calls of a traceback are indented; the exception's type and message begin with the first line that is not.
        message = [*itertools.dropwhile(lambda line: line.startswith(" "), after)]
        marked = [" ".join(" ".join(message).split())[:LONGEST_REASON]] if message else []
    return (marked or lines or stopped or ["it said nothing on stderr"])[-1]


class _Stream(NamedTuple):
    """One of the child's streams: it is passed on, and its last lines are kept, both without secrets."""

    target: int
    tails: list[_Tail]
    veil: Veil

    def pass_on(self, data: bytes) -> None:
        self._tell(self.veil.pass_on(data))

    def finish(self) -> None:
        """Pass on the rest that the mask held back."""
        self._tell(self.veil.rest())

    def _tell(self, data: bytes) -> None:
        for tail in self.tails:
            tail.add(data)
        _write_all(self.target, data)


def _pass_output_on(child: subprocess.Popen[bytes], everything: _Tail, errors: _Tail) -> None:
    """Copy both streams until they are closed, or until the child has ended and they are silent or take too long."""
    assert child.stdout is not None
    assert child.stderr is not None
    streams = {
        child.stdout.fileno(): _Stream(1, [everything], Veil()),
        child.stderr.fileno(): _Stream(2, [everything, errors], Veil()),
    }
    with selectors.DefaultSelector() as selector:
        for pipe in streams:
            os.set_blocking(pipe, False)
            selector.register(pipe, selectors.EVENT_READ)
        ended_at: float | None = None
        while selector.get_map():
            ready = selector.select(timeout=QUIET_SECONDS)
            if ended_at is None and _has_ended(child):
                ended_at = time.monotonic()
            if ended_at is not None and (not ready or time.monotonic() > ended_at + LAST_WORDS_SECONDS):
                break
            for key, _ in ready:
                if data := os.read(key.fd, 1 << 16):
                    streams[key.fd].pass_on(data)
                else:
                    selector.unregister(key.fd)
    for stream in streams.values():
        stream.finish()


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _write_all(target: int, data: bytes) -> None:
    # The reader of our output may be gone; the job continues.
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(target, data) :]


@contextlib.contextmanager
def _signals_go_to(child: subprocess.Popen[bytes], timeout: float | None) -> Iterator[list[int]]:
    """Pass stop signals on to the child's group, the second one as SIGKILL; yield the list of received signals.

    SIGALRM marks the end of the time limit, and the end of the grace period after the first signal.
    """
    received: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        _signal_group(child.pid, signal.SIGKILL if received else signal.SIGTERM)
        received.append(number)
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    former = {number: signal.signal(number, pass_on) for number in (*_PASSED_ON, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_REAL, timeout or 0)
    try:
        yield received
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in former.items():
            signal.signal(number, handler)


def _signal_group(process_group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process_group, number)
