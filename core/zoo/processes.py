"""Sums over the processes of a training, which each have a share of every batch."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.connection import Client, Connection, Listener

import torch
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor

from zoo.errors import ZooError

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where Linux has it

Sum = Callable[[list[Tensor]], list[Tensor]]


def sum_over_processes(strategy: ParallelStrategy, like: Sequence[Tensor], *, machines: int) -> Sum:
    """Return what adds up tensors over the processes of a training, and gives each process the sums.

    They are added up in the same order at every step, so that a training that goes on after a stop
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
    path = strategy.broadcast(_reserve(math.prod(shape) * like[0].itemsize) if rank == 0 else None)
    if path is None:
        return all_reduce
    shared = torch.from_file(path, shared=True, size=math.prod(shape), dtype=like[0].dtype).view(shape)
    with Listener() as listener:
        addresses = [strategy.broadcast(listener.address, src) for src in range(world_size)]
        others = [*map(Client, addresses[:rank]), *(listener.accept() for _ in addresses[rank + 1 :])]
    sum_ = SharedMemorySum(shared, rank, others)
    sum_.meet()
    if rank == 0:
        os.unlink(path)  # who has opened it keeps it
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
                other.send_bytes(b"")
            for other in self.others:
                other.recv_bytes()
        except (EOFError, ConnectionError) as error:
            raise ZooError("Another process of the training has ended: zoo resume goes on where it was.") from error


def _reserve(size: int) -> str | None:
    """Make a file of shared memory, and return its path; nothing where there is not so much of it."""
    try:
        file, path = tempfile.mkstemp(prefix="zoo-", dir=SHARED_MEMORY)
    except OSError:
        return None
    try:
        os.posix_fallocate(file, 0, size)
    except OSError:  # containers are often given little
        os.unlink(path)
        return None
    finally:
        os.close(file)
    return path


def _apart(together: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    parts = torch.split(together, [tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
