"""Run `zoo` many times and import torch once: fork a process for each line of JSON on stdin.

Answers each with a line: the exit status, or minus the number of the signal that ended it.
"""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    import torchvision.utils  # noqa: F401
    from torchmetrics import image  # noqa: F401

    import zoo.training.fit  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            serve(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def serve(request: dict) -> None:
    os.chdir(request["directory"])
    os.environ.update(request["environment"])
    sys.path[:0] = [path for path in request["environment"].get("PYTHONPATH", "").split(os.pathsep) if path]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    from zoo.cli import main as zoo

    sys.argv = [str(Path(sys.executable).with_name("zoo")), *request["arguments"]]
    status = 1
    try:
        zoo()
    except SystemExit as exit_:
        status = exit_.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
