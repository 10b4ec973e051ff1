"""A training that is killed at any instant, and resumed, ends as one that never was."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_kill_costs_a_finished_epoch_or_a_bit_of_the_result():
    result = subprocess.run([sys.executable, "-m", "tests.crashes"], cwd=ROOT, capture_output=True, text=True)
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    random, each = re.findall(r"(\d+) trainings, killed", result.stdout)
    assert int(random) >= 60
    assert int(each) >= 40
