"""Which processes train together: the environment's variables must agree with the trainer.

A launcher (torchrun, srun, mpirun, Lightning itself) tells each process its rank in environment
variables. They can also be left over from something else. A process that takes itself for one of
many, but trains alone, would keep no weights, or replace those that another has kept.
"""

from __future__ import annotations

import os
import sys

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from zoo.config import RunConfig
from zoo.errors import ConfigError, UsageError, printable

SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
GLOBAL_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
NODE_RANKS = ("NODE_RANK", "GROUP_RANK")
VARIABLES = ("SLURM_NTASKS", *SIZES, *GLOBAL_RANKS, "LOCAL_RANK", *NODE_RANKS)


def devices_and_nodes(config: RunConfig) -> tuple[int, int]:
    """Return the number of devices on each machine, and the number of machines.

    Raises:
        UsageError: torchrun's variables are incomplete, srun has started another number of
            processes, or an interactive Python would have to start processes.
    """
    if TorchElasticEnvironment.detect():  # torchrun's own numbers count
        try:
            devices = int(os.environ["LOCAL_WORLD_SIZE"])
            return devices, int(os.environ["WORLD_SIZE"]) // devices
        except (KeyError, ValueError, ZeroDivisionError) as error:
            raise UsageError(
                "TORCHELASTIC_RUN_ID is set, but LOCAL_WORLD_SIZE and WORLD_SIZE are not as torchrun sets them. "
                "To train without torchrun: unset TORCHELASTIC_RUN_ID"
            ) from error
    tasks = os.environ["SLURM_NTASKS"] if SLURMEnvironment.detect() else ""
    if tasks and tasks != str(config.devices * config.num_nodes):
        nodes = os.environ.get("SLURM_NNODES", "1")
        share = int(tasks) // int(nodes) if tasks.isdecimal() and nodes.isdecimal() and int(nodes) else tasks
        raise _refusal("SLURM_NTASKS", config.devices * config.num_nodes, f"--devices {share} --num-nodes {nodes}")
    if hasattr(sys, "ps1") and (config.devices, config.num_nodes, config.strategy) != (1, 1, "auto"):
        raise _no_script()
    return config.devices, config.num_nodes


def require_agreement(trainer: pl.Trainer) -> None:
    """Refuse an environment whose ranks or number of processes are not the trainer's.

    Raises:
        ConfigError: The launcher has started another number of processes on each machine.
        UsageError: The environment contradicts the trainer, or Lightning could not start the other
            processes.
    """
    environment, size = trainer._accelerator_connector.cluster_environment, trainer.world_size
    if not isinstance(environment, LightningEnvironment):  # its ranks are the trainer's
        if environment.world_size() != size:
            raise UsageError(
                f"A launcher has started {environment.world_size()} processes, and with these settings each would "
                f"train alone. To train together: --devices N --num-nodes N --strategy ddp"
            )
        try:
            environment.validate_settings(trainer.num_devices, trainer.num_nodes)
        except ValueError as error:
            raise ConfigError(f"Lightning refuses these settings: {printable(error)}") from error
        return
    started = environment.creates_processes_externally or trainer.num_nodes > 1
    for name in SIZES:  # 1 is what a launcher of a single process sets
        if os.environ.get(name, "") not in ("", "1", str(size) if started else "1"):
            raise _refusal(name, size)
    ranks = dict.fromkeys(GLOBAL_RANKS, trainer.global_rank) | {"LOCAL_RANK": trainer.local_rank}
    ranks |= dict.fromkeys(NODE_RANKS, trainer.node_rank)
    for name, rank in ranks.items():  # Lightning's processes inherit a 0 from the one that starts them
        if os.environ.get(name, "") not in ("", "0", str(rank)):
            raise _refusal(name, size)
    if trainer.global_rank >= size:
        raise _refusal("LOCAL_RANK" if trainer.local_rank else "NODE_RANK", size)
    if size > 1 and "LOCAL_RANK" in os.environ and "MASTER_PORT" not in os.environ:
        raise UsageError(
            "LOCAL_RANK is set, so another program must have started the processes, but MASTER_PORT is not: they "
            f"would never meet. For Lightning to start them: unset LOCAL_RANK. Or: torchrun --nproc-per-node {size}"
        )
    if isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher) and not started and size > 1:
        _require_script()


def _require_script() -> None:
    """Refuse to start processes where there is no file that Lightning could run in them.

    Lightning runs `sys.argv` once more for each process.
    """
    main = sys.modules["__main__"]
    if main.__spec__ is not None:  # python -m MODULE; a directory or a zip file has no other name
        restartable = main.__spec__.name != "__main__"
    else:
        restartable = hasattr(main, "__file__") and os.path.isfile(sys.argv[0])
    if not restartable:
        raise _no_script()


def _refusal(name: str, size: int, flags: str = "--devices N") -> UsageError:
    """Return the error of a variable that contradicts a trainer of `size` processes."""
    present = " ".join(variable for variable in VARIABLES if os.environ.get(variable))
    trained = "this process would train alone" if size == 1 else f"the settings are for {size} processes"
    return UsageError(
        f"{name}={printable(os.environ.get(name, ''))} says that a launcher has started several processes, but "
        f"{trained}. Without the launcher: unset {present}. With it: {flags} --strategy ddp, or use torchrun."
    )


def _no_script() -> UsageError:
    return UsageError(
        "Lightning starts the other processes by running the program again, and here is no file that it could run. "
        "Put the training into a script, or type: zoo train … --devices N --strategy ddp"
    )
