"""A child process that stops at its system calls, so that somebody else can act between any two of them.

Reference: ptrace(2), PTRACE_GET_SYSCALL_INFO.
"""

import ctypes
import os
import signal
from collections.abc import Callable

_TRACEME, _CONT, _DETACH, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 7, 17, 24, 0x4200, 0x420E
_TRACESYSGOOD, _EXITKILL = 0x1, 0x100000
_ENTRY = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, process: int = 0, address: int = 0, data: int = 0) -> int:
    result = int(_libc.ptrace(request, process, address, data))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def stop_here() -> None:
    """Called by the child: from here on its system calls count."""
    os.kill(os.getpid(), signal.SIGSTOP)


class Traced:
    """A forked child that does some work, and waits where it calls `stop_here`."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.status: int | None = None
        self.process = os.fork()
        if self.process == 0:
            status = 1
            try:
                _ptrace(_TRACEME)
                work()
                status = 0
            finally:
                os._exit(status)
        self._wait()
        if self.status is None:
            _ptrace(_SETOPTIONS, self.process, 0, _TRACESYSGOOD | _EXITKILL)

    def go_on(self, calls: int) -> bool:
        """Let it go on to the beginning of the system call that is so many away; return False where it has ended."""
        while calls and self.status is None:
            _ptrace(_SYSCALL, self.process)
            self._wait()
            calls -= self.status is None and self._is_at_entry()
        return self.status is None

    def let_go(self) -> int:
        """Let it go on untraced to its end, and return its exit status."""
        if self.status is None:
            _ptrace(_DETACH, self.process)
            _, status = os.waitpid(self.process, 0)
            self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def _wait(self) -> None:
        _, status = os.waitpid(self.process, 0)
        if not os.WIFSTOPPED(status):
            self.status = os.waitstatus_to_exitcode(status)

    def _is_at_entry(self) -> bool:
        info = ctypes.create_string_buffer(88)
        _ptrace(_GET_SYSCALL_INFO, self.process, len(info), ctypes.addressof(info))
        return info.raw[0] == _ENTRY
