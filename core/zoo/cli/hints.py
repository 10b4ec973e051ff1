"""What a user meant who typed the flag of another tool, or a component's name without its flag."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

import click

from zoo.contract.registry import installed
from zoo.contract.specs import KINDS, Kind
from zoo.errors import quoted

# Flags of other tools → ours, with the value where it is always the same one.
OTHER_NAMES = {
    "--batch": "--batch-size",
    "--bf16": "--precision bf16-mixed",
    "--bs": "--batch-size",
    "--cpu": "--accelerator cpu",
    "--cuda": "--accelerator cuda",
    "--data": "--dataset",
    "--device": "--accelerator",
    "--fp16": "--precision 16-mixed",
    "--gpu": "--accelerator cuda",
    "--gpus": "--devices",
    "--latent": "--latent-dim",
    "--latent-size": "--latent-dim",
    "--learning-rate": "--lr",
    "--log-dir": "--output",
    "--loss": "--distortion",
    "--max-epochs": "--epochs",
    "--model": "--encoder",
    "--num-epochs": "--epochs",
    "--out": "--output",
    "--output-dir": "--output",
    "--random-seed": "--seed",
    "-b": "--batch-size",
    "-e": "--epochs",
    "-o": "--output",
}


def meant_flag(error: click.NoSuchOption, arguments: Sequence[str]) -> str:
    """Return `" Did you mean: --accelerator cpu?"` for `--device cpu`, or what comes close; else nothing.

    Args:
        error: What click says.
        arguments: The command line, in which the flag's value is found.
    """
    command = error.ctx.command if error.ctx else None
    known = [name for parameter in (command.get_params(error.ctx) if command and error.ctx else ())
             for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("-")]  # fmt: skip
    flag = error.option_name.replace("_", "-")
    meant = _meant(flag, _value(error.option_name, arguments))
    if meant.partition(" ")[0] in known:
        return f" Did you mean: {meant}?"
    close = difflib.get_close_matches(flag, known, cutoff=0.7)
    return f" Did you mean: {' or '.join(close)}?" if close else ""


def meant_components(words: Sequence[str], given: Collection[str]) -> str:
    """Return `" Did you mean: --encoder mlp --dataset mnist?"` for `mlp mnist`.

    Args:
        words: Arguments that stand without a flag.
        given: The kinds of components that were given with their flags.
    """
    free = [kind for kind in KINDS if kind not in given]
    flags = []
    for word in words:
        kind, name = _component(word, free)
        if kind:
            free.remove(kind)
            flags.append(f"--{kind} {name}")
    return f" Did you mean: {' '.join(flags)}?" if flags else ""


def _meant(flag: str, value: str) -> str:
    """Return our flag and value for another tool's."""
    if flag == "--device" and value.isdigit():
        return f"--devices {value}"
    if flag == "--gpus":
        return f"--accelerator cuda --devices {value}" if value.isdigit() else "--accelerator cuda"
    ours = OTHER_NAMES.get(flag, flag)
    if not value or " " in ours:
        return ours
    if flag == "--device":
        value = value.partition(":")[0]  # cuda:0
    return f"{ours} {quoted(value)}"


def _value(flag: str, arguments: Sequence[str]) -> str:
    """Return the value of a flag on the command line; nothing where it has none."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == flag:
            return "" if following.startswith("-") else following
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
    return ""


def _component(word: str, kinds: Sequence[Kind]) -> tuple[Kind | None, str]:
    """Return the first of some kinds that has a component of this name, or of one close to it."""
    registry = installed()
    for kind in kinds:
        if registry.has(kind, word):
            return kind, word
    names = {component.name: kind for kind in reversed(kinds) for component in registry.components(kind)}
    close = difflib.get_close_matches(word[:100], names, n=1)
    return (names[close[0]], close[0]) if close else (None, "")
