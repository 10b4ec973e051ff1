"""Training throughput on a GPU, where there is one: `zoo train --compile` against a hand-written CUDA graph."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from tests.benchmarks import peers
from tests.benchmarks.measure import Row, interleaved, quiet
from torch import Tensor
from torch.nn.functional import mse_loss

import zoo
from zoo.data.splits import to_float
from zoo_mnist.dataset import mnist

EPOCHS = 5


def rows() -> Iterator[Row]:
    if not torch.cuda.is_available():
        print("no GPU: what is promised on one is not measured")
        return
    pixels = to_float(mnist("train").tensors[0][:54_000]).flatten(1).cuda()
    for batch_size in (64, 256):
        figures = interleaved({
            "zoo": partial(through_zoo, batch_size),
            "graph": hand_written_graph(pixels, batch_size),
        })  # fmt: skip
        what = f"{torch.cuda.get_device_name()}, zoo train --compile, batch {batch_size} : hand-written CUDA graph"
        yield Row(what, figures["zoo"], figures["graph"], "images/s", least=0.9)


def through_zoo(batch_size: int) -> float:
    with tempfile.TemporaryDirectory() as directory, quiet():
        run = zoo.train(
            encoder="mlp", dataset="mnist", epochs=EPOCHS, batch_size=batch_size, accelerator="gpu", compile=True,
            output=Path(directory) / "run",
        )  # fmt: skip
        return run.history[-1]["images_per_second"]


def hand_written_graph(pixels: Tensor, batch_size: int) -> peers.Epoch:
    """A step captured as an expert does it: on images that lie on the GPU, warmed up on a stream of its own."""
    model = peers.model_of_the_document().cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=True)
    batch = pixels[:batch_size].clone()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        mse_loss(model(batch), batch).backward()
        optimizer.step()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def epoch() -> float:
        torch.cuda.synchronize()
        started = time.perf_counter()
        steps = len(pixels) // batch_size
        for chosen in torch.randperm(len(pixels), device="cuda")[: steps * batch_size].split(batch_size):
            torch.index_select(pixels, 0, chosen, out=batch)
            graph.replay()
        torch.cuda.synchronize()
        return steps * batch_size / (time.perf_counter() - started)

    return epoch
