"""Contract tests: they tell a plugin's author whether it got the contract right.

A plugin's whole test file:

    from zoo.testing import contract_tests

    TestContract = contract_tests("zoo-patch")

`zoo check zoo-patch` runs the same without pytest. Each check is a plain function that raises
`Failed`; `CHECKS` holds them all.
"""

from __future__ import annotations

from zoo.testing.check import CHECKS, Check, Failed, NotApplicable, Outcome, Subject, run_check
from zoo.testing.contract import applicable_checks, check_components, contract_tests, find_components

__all__ = [
    "CHECKS",
    "Check",
    "Failed",
    "NotApplicable",
    "Outcome",
    "Subject",
    "applicable_checks",
    "check_components",
    "contract_tests",
    "find_components",
    "run_check",
]
