"""The program leaves at once, and leaves out nothing that was to be done."""

import subprocess
import sys
from pathlib import Path

import pytest

AT_THE_END = """
import atexit, sys, threading, time
from zoo.cli import program

class Heavy:
    def __del__(self):
        print("destroyed")

def slow():
    time.sleep(0.5)
    print("thread ended")

heavy = Heavy()
atexit.register(print, "called at the end")
if {thread}:
    threading.Thread(target=slow).start()
sys.argv = ["zoo", *{arguments}]
program()
"""


def end_of(arguments, *, thread=False):
    """Return the exit status, and what is printed after the command's own lines."""
    code = AT_THE_END.format(arguments=arguments, thread=thread)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return result.returncode, [line for line in result.stdout.splitlines() if not line.startswith("zoo, version")]


@pytest.mark.parametrize(("arguments", "status"), [(["--version"], 0), (["--bogus"], 2)])
def test_what_was_imported_is_not_taken_apart_and_what_was_registered_is_called(arguments, status):
    assert end_of(arguments) == (status, ["called at the end"])


@pytest.mark.parametrize("arguments", [["--version"], ["list"], ["eval", "mnist-mpl"]], ids=" ".join)
def test_python_m_zoo_is_the_program(arguments, zoo_environment, tmp_path):
    program = str(Path(sys.executable).with_name("zoo"))
    results = [
        subprocess.run([*command, *arguments], cwd=tmp_path, env=zoo_environment, capture_output=True, text=True)
        for command in ([program], [sys.executable, "-m", "zoo"])
    ]
    assert [(r.returncode, r.stdout, r.stderr) for r in results] == [
        (results[0].returncode, results[0].stdout, results[0].stderr)
    ] * 2
    assert results[0].stdout + results[0].stderr


def test_threads_are_waited_for():
    assert end_of(["--version"], thread=True) == (0, ["thread ended", "called at the end", "destroyed"])
