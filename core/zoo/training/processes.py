"""Sums over the processes of a training, which each have a share of every batch."""

from __future__ import annotations

import itertools
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.connection import Client, Connection, Listener, wait

import torch
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor

from zoo.errors import ZooError

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where Linux has it
LOOKS = 2_000  # at whether another process has come, before this one sleeps: one or two milliseconds

Sum = Callable[[list[Tensor]], list[Tensor]]


def sum_over_processes(strategy: ParallelStrategy, like: Sequence[Tensor], *, machines: int) -> Sum:
    """Return what adds up tensors over the processes of a training, and gives each process the sums.

    They are added up in the same order at every step, so that a resumed training
    has the sums that it would have had.

    Args:
        strategy: Of the training.
        like: Tensors of the same sizes, and of one type.
        machines: How many the processes run on.
    """
    if machines > 1 or strategy.root_device.type != "cpu":
        return all_reduce
    rank, world_size = strategy.global_rank, strategy.world_size
    shape = (2, world_size, sum(tensor.numel() for tensor in like))
    directory = strategy.broadcast(_reserve(math.prod(shape) * like[0].itemsize) if rank == 0 else None)
    if directory is None:
        return all_reduce
    try:
        shared = torch.from_file(f"{directory}/sums", shared=True, size=math.prod(shape), dtype=like[0].dtype)
        with Listener(f"{directory}/{rank}", "AF_UNIX") as listener:
            strategy.barrier()
            others = [Client(f"{directory}/{other}", "AF_UNIX") for other in range(rank)]
            others += [listener.accept() for _ in range(rank + 1, world_size)]
        sum_ = SharedMemorySum(shared.view(shape), rank, others)
        sum_.meet()
    finally:
        if rank == 0:
            shutil.rmtree(directory)  # who has opened what is in it keeps that
    return sum_


def all_reduce(tensors: list[Tensor]) -> list[Tensor]:
    """Return the sums of tensors over all processes."""
    together = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(together)
    return _apart(together, tensors)


class SharedMemorySum:
    """Adds up tensors over the processes of one machine, which read each other's from memory that they share.

    An all-reduce on CPUs goes through sockets, with threads for which the processes have to make
    room: it takes longer than a small model's step.

    Args:
        shared: `(2, processes, count)`, of all processes. They use both halves in turns: nobody still
            reads what was written two turns before.
        rank: Which process this is.
        others: Connections to the others.
    """

    def __init__(self, shared: Tensor, rank: int, others: list[Connection]) -> None:
        self.shared = shared
        self.rank = rank
        self.others = others
        self.turn = 0
        self.sum = torch.empty_like(shared[0, 0])
        # One that sleeps is woken late, and runs slowly at first; where there are fewer CPUs than processes it has to.
        self.looks = LOOKS if len(others) < len(os.sched_getaffinity(0)) else 0
        for other in others:
            os.set_blocking(other.fileno(), False)

    def __call__(self, tensors: list[Tensor]) -> list[Tensor]:
        """Return the sums of tensors over all processes; those of the next call take their place.

        Raises:
            ZooError: Another process has ended.
        """
        rows = self.shared[self.turn].unbind()
        self.turn = 1 - self.turn
        torch.cat([tensor.flatten() for tensor in tensors], out=rows[self.rank])
        self.meet()
        torch.add(rows[0], rows[1], out=self.sum)
        for row in rows[2:]:
            self.sum += row
        return _apart(self.sum, tensors)

    def meet(self) -> None:
        """Wait until all processes have come here."""
        try:
            for other in self.others:
                os.write(other.fileno(), b"\0")
            for other in self.others:
                self._receive(other)
        except (EOFError, ConnectionError) as error:
            raise ZooError("Another process of the training has ended, and says why: zoo resume goes on.") from error

    def _receive(self, other: Connection) -> None:
        for look in itertools.count():
            try:
                if not os.read(other.fileno(), 1):
                    raise EOFError
                break
            except BlockingIOError:
                if look >= self.looks:
                    wait([other])


def _reserve(size: int) -> str | None:
    """Make a directory for a file of so much shared memory, and return its path; nothing where there is not so much."""
    try:
        directory = tempfile.mkdtemp(prefix="zoo-", dir=SHARED_MEMORY)
    except OSError:
        return None
    try:
        with open(f"{directory}/sums", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError:  # containers are often given little
        shutil.rmtree(directory)
        return None
    return directory


def _apart(together: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    """Return the parts of a sum as the tensors lie in memory: Adam takes it that gradients lie as their weights do."""
    parts = torch.split(together, [tensor.numel() for tensor in tensors])
    return [_laid_out(part.view_as(tensor), tensor) for part, tensor in zip(parts, tensors, strict=True)]


def _laid_out(part: Tensor, like: Tensor) -> Tensor:
    return part if like.is_contiguous() else torch.empty_like(like).copy_(part)
