"""Processes add up their tensors to the same sums, in one order, and leave nothing behind."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from multiprocessing import Pipe
from types import SimpleNamespace

import pytest
import torch

from zoo import ZooError
from zoo.training import processes
from zoo.training.processes import SharedMemorySum, all_reduce, sum_over_processes

SHAPES = [(3, 4), (5,), (2, 1, 3)]


def tensors(rank: int, turn: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(10 * turn + rank)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def sums(count: int) -> list[SharedMemorySum]:
    """Return those of so many processes, which are threads here."""
    shared = torch.empty(2, count, sum(tensor.numel() for tensor in tensors(0)))
    others = [[] for _ in range(count)]
    for rank, other in combinations(range(count), 2):
        for end, connection in zip((rank, other), Pipe(), strict=True):
            others[end].append(connection)
    return [SharedMemorySum(shared, rank, connections) for rank, connections in enumerate(others)]


def strategy(**settings) -> SimpleNamespace:
    defaults = {"root_device": torch.device("cpu"), "global_rank": 0, "world_size": 2, "broadcast": lambda place: place}
    return SimpleNamespace(**defaults | settings)


@pytest.mark.parametrize("looks", [0, 3, processes.LOOKS], ids="{} looks".format)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_all_get_the_sums_in_the_order_of_the_processes_turn_after_turn(count, looks):
    turns = 50

    def work(rank, sum_):
        sum_.looks = looks
        return [[part.clone() for part in sum_(tensors(rank, turn))] for turn in range(turns)]

    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(work, range(count), sums(count)))
    for turn in range(turns):
        expected = tensors(0, turn)
        for rank in range(1, count):
            expected = [part + other for part, other in zip(expected, tensors(rank, turn), strict=True)]
        for result in results:
            assert all(torch.equal(part, other) for part, other in zip(result[turn], expected, strict=True))


@pytest.mark.parametrize(("cpus", "looks"), [(1, 0), (2, processes.LOOKS), (3, processes.LOOKS)])
def test_two_processes_stay_awake_for_each_other_where_each_has_a_cpu(cpus, looks, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cpus)))
    assert [sum_.looks for sum_ in sums(2)] == [looks, looks]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_has_ended_is_an_error_in_the_others(rank):
    both = sums(2)
    both[1 - rank].others[0].close()
    with pytest.raises(ZooError, match=r"^Another process of the training has ended, and says why: zoo resume "):
        both[rank](tensors(rank))


@pytest.mark.parametrize("looks", [0, processes.LOOKS], ids="{} looks".format)
def test_a_process_that_ends_while_it_is_waited_for_is_an_error_in_the_others(looks):
    both = sums(2)
    both[0].looks = looks
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(both[0], tensors(0))
        assert both[1].others[0].poll(60)  # the other one is there
        os.read(both[1].others[0].fileno(), 1)  # else its end would be a reset, not an end of file
        both[1].others[0].close()
        with pytest.raises(ZooError, match=r"^Another process of the training has ended, and says why: zoo resume "):
            waiting.result(60)


def test_the_sums_lie_in_memory_as_the_tensors_do():
    def channels_last(rank):
        return [
            torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(rank)).to(memory_format=torch.channels_last)
        ]

    shared = torch.empty(2, 2, 48)
    ends = Pipe()
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda rank: SharedMemorySum(shared, rank, [ends[rank]])(channels_last(rank)), range(2))
    for (result,) in results:
        assert torch.equal(result, channels_last(0)[0] + channels_last(1)[0])
        assert result.is_contiguous(memory_format=torch.channels_last)


def test_an_all_reduce_gives_tensors_of_the_same_shapes(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        given = tensors(0)
        assert all(torch.equal(part, other) for part, other in zip(all_reduce(given), given, strict=True))
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("device", "machines"), [("cuda", 1), ("cpu", 2)], ids=["on GPUs", "on several machines"])
def test_memory_is_shared_by_cpus_of_one_machine_alone(device, machines):
    elsewhere = strategy(root_device=torch.device(device))
    assert sum_over_processes(elsewhere, tensors(0), machines=machines) is all_reduce


def test_where_memory_cannot_be_shared_messages_are_sent(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "SHARED_MEMORY", str(tmp_path / "missing"))
    assert sum_over_processes(strategy(), tensors(0), machines=1) is all_reduce


def test_where_too_little_memory_is_shared_messages_are_sent_and_no_file_is_left(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(processes, "SHARED_MEMORY", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert sum_over_processes(strategy(), tensors(0), machines=1) is all_reduce
    assert list(tmp_path.iterdir()) == []
