"""Everything that Autoencoder Zoo raises on purpose.

ZooError                          exit status 1
├── UsageError                    exit status 2: the request is invalid
│   ├── ConfigError               a setting is unknown, of the wrong type or out of bounds
│   ├── UnknownComponentError     no installed component has this name
│   ├── AmbiguousComponentError   several distributions offer this name
│   ├── IncompatibleError         encoder, decoder, objective, distortion and dataset do not fit together
│   ├── UnknownModelError         no run, checkpoint or pretrained model is meant; a CheckpointError too
│   └── OutputError               the output directory or file cannot be used
├── PluginError                   a plugin could not be loaded, or broke its contract
├── DatasetError                  the dataset's files are unavailable or damaged
│   └── ImageError                an image file is missing, of an unknown kind, too large or damaged
├── CheckpointError               the file is not a valid checkpoint
│   └── MissingComponentError     the checkpoint needs a component that is not installed
├── MissingDependencyError        an optional dependency is not installed
├── TrainingDivergedError         the loss became NaN or infinite
└── TrainingInterruptedError      Ctrl-C or SIGTERM; exit status 130 or 143

Every message is one line, says what was wrong and, where there is one, what to type instead.
"""

from __future__ import annotations

import difflib
import shlex
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Literal


class ZooError(Exception):
    """Base of every error that Autoencoder Zoo raises on purpose."""

    exit_status = 1


class UsageError(ZooError):
    """The request is invalid; the message says how to correct it."""

    exit_status = 2


class ConfigError(UsageError):
    """A setting or a component's option is unknown, of the wrong type or out of bounds."""


class UnknownComponentError(UsageError):
    """No installed component of this kind has this name."""


class AmbiguousComponentError(UsageError):
    """Several distributions offer this name; `distribution:name` says which is meant."""


class IncompatibleError(UsageError):
    """Encoder, decoder, objective, distortion and dataset do not fit together.

    A component raises it (or a plain `ValueError`) from its constructor for an image shape or a
    size that it cannot work with.
    """


class OutputError(UsageError):
    """The output directory or file cannot be used."""


class PluginError(ZooError):
    """A plugin could not be loaded, or what it registered breaks the contract."""


class DatasetError(ZooError):
    """A dataset's files are unavailable or damaged."""


class ImageError(DatasetError):
    """An image file cannot be read, of a dataset or of the user's own.

    Attributes:
        reason: Why, for callers that answer each differently.
    """

    def __init__(
        self, message: str, reason: Literal["missing", "unknown kind", "too large", "damaged"] = "damaged"
    ) -> None:
        super().__init__(message)
        self.reason = reason


class CheckpointError(ZooError):
    """A file is not a valid checkpoint."""


class UnknownModelError(UsageError, CheckpointError):
    """No run directory, checkpoint file or pretrained model is what the user named."""


class MissingComponentError(CheckpointError):
    """A checkpoint needs a component that is not installed."""


class MissingDependencyError(ZooError):
    """An optional dependency is not installed; the message holds the pip command."""


class TrainingDivergedError(ZooError):
    """The loss became NaN or infinite."""


class TrainingInterruptedError(ZooError):
    """Training was stopped by a signal, at a safe point between two batches."""

    def __init__(self, message: str, signal_number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal_number


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'mlp'?"` for a close match among the known names, else `""`."""
    matches = difflib.get_close_matches(name[:100], list(known), n=1)
    return f" Did you mean '{matches[0]}'?" if matches else ""


def printable(text: object, limit: int = 200) -> str:
    """Return text from outside on one line: control characters escaped, its length capped, at a word's end."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)[: limit + 1])
    if len(line) <= limit:
        return line
    words = line[:limit].rpartition(" ")[0]
    return (words if len(words) > limit // 2 else line[: limit - 1]) + "…"  # a long word is cut


def command(*words: object) -> str:
    """Return a command line that a shell reads as these words, for a message that says what to type."""
    return " ".join(map(quoted, words))


def quoted(word: object) -> str:
    """Return a word of a command line, quoted where the shell needs it, on one line of printable characters.

    A word with other characters becomes `$'…'`, which bash, zsh and ksh read. A path that begins
    with `-` gets a `./` before it, or it would be read as an option. Nothing is cut: a cut word would
    mean something else.
    """
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return "\\" + character
    if character.isprintable():
        return character
    # Python holds a byte of a file name that is not UTF-8 as a surrogate from U+DC80 to U+DCFF.
    how = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", how))
