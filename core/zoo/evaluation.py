"""Metrics on held-out data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo import checkpoint
from zoo.autoencoder import Autoencoder
from zoo.data import EVALUATION_BATCH_SIZE, ImageDataset, load_split, to_float
from zoo.defaults import float32_on_cpu
from zoo.errors import IncompatibleError
from zoo.registry import installed

SSIM_WINDOW = 11  # pixels a side


@dataclass(frozen=True)
class Evaluation:
    """A model's metrics on one split of a dataset."""

    dataset: str
    split: str
    metrics: dict[str, float]


def evaluate(
    run: str | os.PathLike[str], dataset: str | None = None, dataset_options: Mapping[str, object] | None = None
) -> Evaluation:
    """Evaluate a checkpoint on the test split of its own dataset, or of another of the same shape.

    Args:
        run: A run directory, a `.safetensors` file or a pretrained model's name.
        dataset: Another dataset's name; its options are its defaults.
        dataset_options: Options of the dataset over those, e.g. `{"root": "photos"}` where its
            files have moved since the training.

    Raises:
        CheckpointError: The checkpoint is damaged.
        ConfigError: An option is unknown, of the wrong type or out of bounds.
        DatasetError: The dataset's files cannot be had.
        IncompatibleError: The other dataset's images have another shape.
        UnknownComponentError: There is no such dataset.
        UnknownModelError: There is no such run, file or pretrained model.
    """
    opened = checkpoint.read(run)
    images = held_out_images(opened, dataset, dataset_options)
    name = dataset or opened.metadata.config.dataset.name
    return Evaluation(name, "test", reconstruction_metrics(opened.build(), images))


def held_out_images(
    opened: checkpoint.Checkpoint, dataset: str | None = None, dataset_options: Mapping[str, object] | None = None
) -> ImageDataset:
    """Return the images that a checkpoint is evaluated on, as `evaluate` does and with its errors."""
    own = opened.metadata.config.dataset
    component = installed().get("dataset", dataset) if dataset else opened.component("dataset")
    options = {} if dataset and dataset != own.name else own.options
    images = load_split(component, {**options, **(dataset_options or {})}, "test")
    shape = tuple(images.images.shape[1:])
    if shape != opened.metadata.image_shape:
        raise IncompatibleError(f"{component} has images of {shape}, the model takes {opened.metadata.image_shape}.")
    return images


@float32_on_cpu()
def reconstruction_metrics(autoencoder: Autoencoder, dataset: ImageDataset) -> dict[str, float]:
    """Return MSE, PSNR and SSIM of the deterministic reconstructions.

    Pixels are in [0, 1] and reconstructions are taken as they are, not clamped. The MSE is the mean
    over every pixel of every image, and the PSNR (dB) belongs to that MSE. The SSIM is the mean over
    images, channels and positions of the window (Wang et al. 2004: 11×11, Gaussian with σ = 1.5, inside
    the image). It is undefined, and left out, where a side of the images is shorter than the window.
    """
    import zoo.matplotlib_import  # noqa: F401

    # isort: split
    from torchmetrics import MeanSquaredError
    from torchmetrics.image import PeakSignalNoiseRatio

    device = next(autoencoder.parameters()).device
    has_ssim = min(autoencoder.image_shape[1:]) >= SSIM_WINDOW
    # No synchronisation: the other processes of a distributed training do not evaluate.
    mse = MeanSquaredError(sync_on_compute=False).to(device)
    psnr = PeakSignalNoiseRatio(data_range=1.0, sync_on_compute=False).to(device)
    similarity = 0.0
    with torch.inference_mode():
        for batch in torch.split(dataset.images, EVALUATION_BATCH_SIZE):
            originals = to_float(batch.to(device))
            reconstructions = autoencoder.reconstruct(originals).contiguous()  # torchmetrics asks for it
            mse.update(reconstructions, originals)
            psnr.update(reconstructions, originals)
            if has_ssim:
                similarity += _mean_ssim(reconstructions, originals) * len(batch)
    metrics = {"mse": float(mse.compute()), "psnr": float(psnr.compute())}
    return metrics | ({"ssim": similarity / len(dataset)} if has_ssim else {})


def _mean_ssim(images: Tensor, others: Tensor) -> float:
    """Return the mean SSIM of images `(N, C, H, W)` and others; H and W are at least `SSIM_WINDOW`."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    # As channels of one image: convolutions of one channel at a time take ten times as long.
    planes, other_planes = images.flatten(0, 1)[None], others.flatten(0, 1)[None]
    result = structural_similarity_index_measure(
        planes, other_planes, gaussian_kernel=True, sigma=1.5, data_range=1.0, return_full_image=True
    )
    assert isinstance(result, tuple)
    _, ssim = result
    margin = SSIM_WINDOW // 2  # torchmetrics reflects the borders; the windows that see them are dropped
    return float(ssim[..., margin:-margin, margin:-margin].mean(dtype=torch.float64))
