"""Importing this module imports matplotlib, also where the environment names a backend that is not installed.

A notebook's kernel sets MPLBACKEND to a backend of its own, and every command that is started from the
notebook inherits it. Lightning imports matplotlib through torchmetrics, so this module is imported before them.
"""

from __future__ import annotations

import contextlib
import os
import sys

if "matplotlib" not in sys.modules:
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):  # it is not installed
            matplotlib.rcParams["backend"] = backend  # as matplotlib itself sets it
