"""Measure `zoo demo` as its users meet it: `python -m tests.benchmarks.demo`, from the repository's root.

- how long after Gradio's own import it is ready, over interleaved rounds;
- how long one user waits for a latent to be decoded on the server, alone;
- what twenty users get who each ask a hundred times at once: every answer is compared with PyTorch's.

Exits with 1 if an answer failed or was another user's.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import httpx
import numpy as np
import torch

import zoo

ROUNDS = 5
ALONE = 500
USERS = 20
REQUESTS = 100
TOLERANCE = 1e-5
DEMO = [str(Path(sys.executable).with_name("zoo")), "demo", "--port", "0"]
IMPORT_GRADIO = [sys.executable, "-c", "import gradio; print('imported', flush=True)"]


def main() -> None:
    gradio, ready = startup()
    print(f"import gradio {gradio:.2f} s, zoo demo ready {ready:.2f} s: {ready - gradio:+.2f} s (medians of {ROUNDS})")
    process, line = start(DEMO)
    url = line.split()[1]
    try:
        times = alone(url)
        p50, p95 = (1000 * times[ALONE * percent // 100] for percent in (50, 95))
        print(f"one user, {ALONE} decodes: p50 {p50:.1f} ms, p95 {p95:.1f} ms")
        rate, failed, mixed_up = together(url)
        print(f"{USERS} users × {REQUESTS} decodes: {rate:.0f} requests/s, {failed} errors, {mixed_up} mix-ups")
    finally:
        process.terminate()
        process.wait()
    sys.exit(1 if failed or mixed_up else 0)


def startup() -> tuple[float, float]:
    """Return the median seconds until Gradio is imported, and until the demo is ready."""
    series: dict[str, list[float]] = {"gradio": [], "demo": []}
    for _ in range(ROUNDS):
        for name, command in (("gradio", IMPORT_GRADIO), ("demo", DEMO)):
            begun = time.perf_counter()
            process, _ = start(command)
            series[name].append(time.perf_counter() - begun)
            process.terminate()
            process.wait()
    return statistics.median(series["gradio"]), statistics.median(series["demo"])


def start(command: list[str]) -> tuple[subprocess.Popen[str], str]:
    """Start a program, and wait for its first line."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, process.stdout.readline()


def alone(url: str) -> list[float]:
    """Return the seconds of each of one user's requests, sorted."""
    address = f"{url}/zoo/models/{zoo.installed().models()[0].name}"
    with httpx.Client(timeout=60) as client:
        latent = bytes(4 * client.get(address).json()["latent_dim"])
        return sorted(seconds(lambda: client.post(f"{address}/decode", content=latent)) for _ in range(ALONE))


def together(url: str) -> tuple[float, int, int]:
    """Return the answers a second, how many failed, and how many were wrong."""
    models = {model.name: zoo.load(model.name) for model in zoo.installed().models()}
    order = random.Random(0)

    def ask() -> tuple[str, torch.Tensor]:
        name = order.choice(list(models))
        return name, torch.randn(1, models[name].latent_dim)

    asked = [[ask() for _ in range(REQUESTS)] for _ in range(USERS)]

    def use(requests: list[tuple[str, torch.Tensor]]) -> list[httpx.Response]:
        with httpx.Client(base_url=url, timeout=60) as client:
            return [client.post(f"/zoo/models/{name}/decode", content=z.numpy().tobytes()) for name, z in requests]

    begun = time.perf_counter()
    with ThreadPoolExecutor(USERS) as pool:
        answers = list(pool.map(use, asked))
    elapsed = time.perf_counter() - begun
    failed = mixed_up = 0
    for (name, latents), response in zip(chain(*asked), chain(*answers), strict=True):
        if response.status_code != 200:
            failed += 1
            continue
        expected = models[name].decode(latents).numpy().ravel()
        mixed_up += not np.allclose(np.frombuffer(response.content, "<f4"), expected, atol=TOLERANCE)
    return USERS * REQUESTS / elapsed, failed, mixed_up


def seconds(call: Callable[[], httpx.Response]) -> float:
    begun = time.perf_counter()
    call().raise_for_status()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
