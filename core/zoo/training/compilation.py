"""Why torch.compile failed: its errors are long, and name the cause at the very end of a chain."""

from __future__ import annotations

from torch._dynamo.exc import TorchDynamoException
from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

from zoo.errors import MissingDependencyError, ZooError, printable


def compile_failure(error: BaseException) -> ZooError | None:
    """Return what to tell the user of an error of torch.compile; None where it is another error."""
    if not isinstance(error, TorchDynamoException):
        return None
    cause: BaseException = error
    while inner := getattr(cause, "inner_exception", None):
        cause = inner
    if isinstance(cause, InvalidCxxCompiler):
        return MissingDependencyError("--compile needs a C++ compiler: apt install g++, or train without --compile.")
    return ZooError(f"--compile failed: {printable(_line(cause))} Train without --compile.")


def _line(cause: BaseException) -> str:
    """Return the line that says what went wrong, as a sentence."""
    if isinstance(cause, CppCompileError):  # its message begins with a command of many lines
        lines = [line.strip() for line in cause.output.splitlines() if line.strip()]
        line = next((line for line in lines if "error:" in line), lines[-1] if lines else "no output")
        return f"the C++ compiler says: {line.rstrip('.')}."
    message = str(cause).strip()
    first = message.splitlines()[0] if message else "no message"
    return f"{type(cause).__name__}: {first.rstrip('.')}."
