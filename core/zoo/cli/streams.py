"""Standard streams that can always be written to: whatever their encoding, and where they were closed."""

from __future__ import annotations

import codecs
import io
import os
import sys

_PLAIN = {
    "…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "·": "*", "²": "^2", "→": "->", "≤": "<=", "≥": ">=",
    "β": "beta",
}  # fmt: skip
_ERRORS = "zoo.plain"  # name of the error handler


def prepare_streams() -> None:
    """Open the standard streams that are closed, and let the others write every character in some way.

    A closed stream is `None` in Python, and the next file that is opened would get its number: what
    a library writes to that number would go into the file.
    """
    for name in ("stdin", "stdout", "stderr"):  # in the order of their numbers: each gets the lowest that is free
        stream = getattr(sys, name)
        if stream is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open to the end
        elif name != "stdin" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def can_write(text: str) -> bool:
    """Say whether stdout's encoding has all characters of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _write_plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handle a character that the encoding lacks: `…` becomes `...`, others a Python escape."""
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    if character in _PLAIN:
        return _PLAIN[character], error.start + 1
    one = UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason)
    return codecs.backslashreplace_errors(one)


codecs.register_error(_ERRORS, _write_plainly)
