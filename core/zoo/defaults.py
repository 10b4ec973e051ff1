"""Torch's global defaults: models are built, trained and evaluated in float32 on the CPU, whatever the caller has set.

`torch.set_default_dtype` and `torch.set_default_device` decide what `torch.zeros(2)` and `nn.Linear(2, 3)` give. A
checkpoint records neither, so nothing of a run may depend on them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

_lock = threading.Lock()
_users = 0  # calls that are inside `_float32` at this moment, in all threads
_callers_dtype = torch.float32  # the default that the first of them found


@contextlib.contextmanager
def float32_on_cpu() -> Iterator[None]:
    """Make tensors float32 on the CPU by default in the body, and restore the caller's defaults after it.

    It is a decorator too. The dtype is a default of the whole process: it is restored when the last of the threads
    that are inside leaves. The device is a default of one thread.
    """
    with _float32(), contextlib.ExitStack() as stack:
        if torch.get_default_device().type != "cpu":  # else nothing: each call of torch would take longer
            stack.enter_context(torch.device("cpu"))
        yield


@contextlib.contextmanager
def _float32() -> Iterator[None]:
    global _users, _callers_dtype  # noqa: PLW0603 - as the default itself is
    with _lock:
        if _users == 0:
            _callers_dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                torch.set_default_dtype(_callers_dtype)
