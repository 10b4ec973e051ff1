"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from zoo import MetricSpec, hookimpl


@hookimpl
def zoo_metrics() -> Iterator[MetricSpec]:
    yield MetricSpec(
        name="mse",
        target="zoo_metrics.reconstruction:MSE",
        summary="Mean squared error of the reconstructions",
        digits=5,
        better="lower",
        default=True,
    )
    yield MetricSpec(
        name="psnr",
        target="zoo_metrics.reconstruction:PSNR",
        summary="Peak signal-to-noise ratio of the reconstructions",
        unit="dB",
        digits=2,
        better="higher",
        default=True,
    )
    yield MetricSpec(
        name="ssim",
        target="zoo_metrics.reconstruction:SSIM",
        summary="Structural similarity of the reconstructions",
        digits=3,
        better="higher",
        default=True,
    )
