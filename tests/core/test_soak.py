"""Memory stays flat over a long training; `python -m tests.soak` is the long one."""

import os
import subprocess
import sys

from conftest import ROOT


def test_memory_stays_flat():
    environment = {"ZOO_SOAK_EPOCHS": "40"} | os.environ
    command = [sys.executable, "-m", "tests.soak"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    print(result.stdout)  # the figures, for those who ask with -s
    assert result.returncode == 0, result.stdout + result.stderr
