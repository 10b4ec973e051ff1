"""Measure `zoo demo` as its users meet it: `python -m tests.benchmarks.demo`, from the repository's root.

- how long after Gradio's own import it is ready, over interleaved rounds;
- how long a move of a slider takes to become pixels in a browser, decoded there and by the server;
- what twenty users get who each ask a hundred times at once: every answer is compared with PyTorch's.

Exits with 1 if an answer failed or was another user's, or if pixels come later than promised.
"""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import httpx
import numpy as np
import torch
from playwright.sync_api import sync_playwright

import zoo

ROUNDS = 5
MOVES = 300
SLIDE = """async (moves) => {
  const slider = document.querySelector('.zoo-slider input');
  const picture = document.querySelector('.zoo-explore .zoo-large');
  const [low, high] = [Number(slider.min), Number(slider.max)];
  const channel = new MessageChannel();
  const turn = () => new Promise((resolve) => { channel.port1.onmessage = resolve; channel.port2.postMessage(null); });
  const times = [];
  for (let move = 0; move < moves; move += 1) {
    await new Promise(requestAnimationFrame);
    const before = picture.frames;
    slider.value = low + ((high - low) * ((move % 40) + 0.5)) / 40;
    const begun = performance.now();
    slider.dispatchEvent(new Event('input'));
    while (picture.frames === before) await turn();
    times.push(performance.now() - begun);
  }
  return times;
}"""
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
        late = False
        for where, spoil, promised in (("browser", False, 16), ("server", True, 60)):
            for name, times in slide(url, spoil=spoil).items():
                p50, p95 = (times[len(times) * percent // 100] for percent in (50, 95))
                late |= p95 > promised
                print(f"{name}, decoded by the {where}: p50 {p50:.1f} ms, p95 {p95:.1f} ms (at most {promised})")
        rate, failed, mixed_up = together(url)
        print(f"{USERS} users × {REQUESTS} decodes: {rate:.0f} requests/s, {failed} errors, {mixed_up} mix-ups")
    finally:
        process.terminate()
        process.wait()
    sys.exit(1 if failed or mixed_up or late else 0)


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


def slide(url: str, *, spoil: bool) -> dict[str, list[float]]:
    """Return, for each pretrained model, the sorted milliseconds from a slider's event to its pixels.

    Args:
        url: The demo's address.
        spoil: Spoil the decoders that the browser gets, so that the server has to decode.
    """
    times = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        if spoil:
            page.route("**/decoder-*.bin", lambda route: route.fulfill(body=b""))
        page.goto(f"{url}#explore", wait_until="domcontentloaded")
        page.wait_for_selector(".zoo-app[data-ready]", timeout=120_000)
        for model in zoo.installed().models():
            page.select_option("#zoo-model", model.name)
            page.wait_for_function("document.querySelector('.zoo-status').textContent === ''", timeout=120_000)
            page.wait_for_timeout(2000)  # the strips are drawn
            assert page.get_attribute(".zoo-badge", "data-where") == ("server" if spoil else "browser")
            times[model.name] = sorted(page.evaluate(SLIDE, MOVES))
        browser.close()
    return times


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


if __name__ == "__main__":
    main()
