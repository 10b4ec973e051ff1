"""Whole commands, from pressing Enter to the prompt: their time, their memory, and two of them at once."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from tests.benchmarks.measure import ROUNDS, Figure, Row, interleaved

import zoo
from zoo.data.splits import to_float
from zoo_mnist.dataset import mnist

ZOO = str(Path(sys.executable).with_name("zoo"))
TRAIN = [ZOO, "train", "--dataset", "mnist", "--accelerator", "cpu"]
MLP = ["--encoder", "mlp"]
TORCH = [sys.executable, "-c", "import torch"]
LIGHTNING = [sys.executable, "-c", "import torch, torchvision, pytorch_lightning"]
QUALITY = 0.0465  # the document's test MSE after its epoch
MNIST_MEBIBYTES = 70_000 * 784 / 2**20


def rows() -> Iterator[Row]:
    yield from light_commands()
    yield from to_the_documents_quality()
    yield from memory()
    yield from two_processes()
    yield from encoding()


def light_commands() -> Iterator[Row]:
    commands = {"zoo --help": [ZOO, "--help"], "zoo list": [ZOO, "list"], "import torch": TORCH}
    figures = interleaved({name: partial(seconds, command) for name, command in commands.items()})
    for name in ("zoo --help", "zoo list"):
        yield Row(f"{name} : import torch", figures[name], figures["import torch"], "s", most=0.25)


def to_the_documents_quality() -> Iterator[Row]:
    """Yield how long an epoch takes of ours and, once, of the document's script as written: it takes minutes."""
    shares: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        for split in ("train", "test"):
            mnist(split, root=directory)
        script = Figure((seconds([sys.executable, "-m", "tests.benchmarks.document", directory]),))

        def ours() -> float:
            run = zoo.Run(Path(directory) / f"run-{len(shares)}")
            elapsed = seconds([*TRAIN, *MLP, "--epochs", "1", "--output", str(run.directory)])
            assert run.test_metrics
            assert run.test_metrics["mse"] <= QUALITY
            shares.append(elapsed - 54_000 / run.history[-1]["images_per_second"])
            return elapsed

        figures = interleaved({"ours": ours, "imports": partial(seconds, LIGHTNING)})
    yield Row(f"document's script, an epoch : zoo train to MSE ≤ {QUALITY}", script, figures["ours"], "s", least=15)
    rest = Figure(tuple(shares))
    yield Row("its part that is not training : the bare imports", rest, figures["imports"], "s", most=1.3)


def memory() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as directory:
        run = str(Path(directory) / "run")
        figures = interleaved({
            "ours": lambda: peak([*TRAIN, *MLP, "--epochs", "2", "--resume", "--output", run]),
            "imports": lambda: peak([sys.executable, "-c", "import torch, pytorch_lightning"]),
        }, rounds=1)  # fmt: skip
        model = (Path(run) / "model.safetensors").stat().st_size / 2**20
    least = Figure(tuple(value + MNIST_MEBIBYTES + model for value in figures["imports"].values))
    yield Row("peak memory : torch, Lightning, MNIST and the model", figures["ours"], least, "MiB", most=1.2)


def two_processes() -> Iterator[Row]:
    """Yield the throughput of two processes that train one model, against two that train one each, at the same time."""
    for encoder, batch_size, rounds in (("mlp", 256, ROUNDS), ("mlp", 1024, ROUNDS), ("conv", 256, (ROUNDS + 1) // 2)):
        figures = interleaved({
            "together": partial(processes_together, encoder, batch_size),
            "apart": partial(processes_apart, encoder, batch_size // 2),
        }, rounds)  # fmt: skip
        what = f"two processes, {encoder}, batch {batch_size} : two of half the batch, apart"
        yield Row(what, figures["together"], figures["apart"], "images/s", least=0.87)  # an overhead of 15 %


def encoding() -> Iterator[Row]:
    """Yield the speed of encoding all of MNIST through the Python API, against the encoder's layers alone."""
    images = to_float(torch.cat([mnist(split).tensors[0] for split in ("train", "test")]))
    model = zoo.load("mnist-mlp")
    assert isinstance(model.encoder.layers, torch.nn.Sequential)
    layers = model.encoder.layers

    def rate(encode: Callable[[torch.Tensor], torch.Tensor]) -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            latents = torch.cat([encode(batch) for batch in images.split(256)])
        assert len(latents) == len(images)
        return len(images) / (time.perf_counter() - started)

    figures = interleaved({
        "ours": partial(rate, model.encode),
        "layers": partial(rate, lambda batch: layers(batch.flatten(1))),
    })  # fmt: skip
    yield Row(
        "encoding 70,000 images : the encoder's layers alone", figures["ours"], figures["layers"], "images/s", least=0.8
    )


def compile_seconds() -> tuple[float, float]:
    """Return how long `zoo train --compile` compiles the first time, and when it finds what it compiled before."""
    with tempfile.TemporaryDirectory() as directory:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": directory}
        command = [*TRAIN, *MLP, "--epochs", "1", "--batch-size", "256", "--compile", "--output"]
        outputs = [
            subprocess.run(
                [*command, f"{directory}/{run}"], check=True, env=environment, capture_output=True, text=True
            )
            for run in ("first", "second")
        ]
    cold, warm = (float(output.stdout.split()[2]) for output in outputs)  # compiled in 6.3 s
    return cold, warm


def seconds(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def peak(command: Sequence[str]) -> float:
    """Return the most memory that a program has resident, in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


def processes_together(encoder: str, batch_size: int) -> float:
    """Return the images a second of a training by two processes."""
    with tempfile.TemporaryDirectory() as directory:
        run = zoo.Run(Path(directory) / "run")
        seconds([*TRAIN, *_sized(run, encoder, batch_size), "--devices", "2"])
        return _steps_per_second(run)


def processes_apart(encoder: str, batch_size: int) -> float:
    """Return the images a second of two trainings at once with a thread each, added up."""
    with tempfile.TemporaryDirectory() as directory:
        runs = [zoo.Run(Path(directory) / name) for name in ("a", "b")]
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        commands = [[*TRAIN, *_sized(run, encoder, batch_size)] for run in runs]
        processes = [subprocess.Popen(command, env=one_thread, stdout=subprocess.DEVNULL) for command in commands]
        assert [process.wait() for process in processes] == [0, 0]
        return sum(map(_steps_per_second, runs))


def _sized(run: zoo.Run, encoder: str, batch_size: int) -> list[str]:
    return ["--epochs", "5", "--encoder", encoder, "--batch-size", str(batch_size), "--output", str(run.directory)]


def _steps_per_second(run: zoo.Run) -> float:
    return statistics.median(row["images_per_second"] for row in run.history[1:-1])  # while both are at it
