"""A program that leaves at once loses nothing that it has to do or to say, and has the same status."""

import subprocess
import sys

import pytest
from conftest import PROJECT

LEAVES = "import atexit, sys, threading\nfrom systemscripts.command_line import leave\n"


def ended(program: str, redirected: str = "") -> "subprocess.CompletedProcess[str]":
    command = ["/bin/sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-P", "-c", LEAVES + program]
    return subprocess.run(
        command, env={"PYTHONPATH": str(PROJECT)}, cwd="/", capture_output=True, text=True, check=False
    )


def test_what_was_printed_and_what_is_registered_for_the_exit_is_done() -> None:
    program = "atexit.register(lambda: print('last')); print('first'); sys.stderr.write('error'); leave(3)"
    told = ended(program)
    assert (told.returncode, told.stdout, told.stderr) == (3, "first\nlast\n", "error")


def test_a_thread_that_works_is_waited_for() -> None:
    told = ended("threading.Thread(target=lambda: (threading.main_thread().join(), print('done'))).start(); leave(4)")
    assert (told.returncode, told.stdout) == (4, "done\n")


@pytest.mark.parametrize(("redirected", "status"), [(">/dev/full", 120), (">&-", 5), (">&- 2>&-", 5)])
def test_output_that_goes_nowhere_is_told_as_python_does(redirected: str, status: int) -> None:
    assert ended("print('x'); leave(5)", redirected).returncode == status
