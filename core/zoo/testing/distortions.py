"""Checks of distortions: how output becomes an image, and how far that is from the original."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from zoo.contract.distortion import Distortion
from zoo.testing.check import IMAGE_SHAPES, Failed, NotApplicable, Subject, check, described, require, said
from zoo.testing.reference import distortion_of, random_images

COUNT = 5
STEPS = 100
LEVELS = 256

_check = partial(check, "distortion", since="0.2")


@_check(cause="a class that is not derived from `zoo.Distortion`, or a mistake in its constructor")
def is_distortion(subject: Subject) -> None:
    """It is a `zoo.Distortion` whose `output_shape` has the image's sides, for every image shape that it takes."""
    shapes = [shape for shape in IMAGE_SHAPES if subject.takes(shape)]
    if not shapes:
        refusal = subject.refusal(IMAGE_SHAPES[0])
        why = described(refusal.__cause__ or refusal) if refusal else ""
        raise Failed(f"it can be built for no image shape; for {said(IMAGE_SHAPES[0])} it raises {why}", "at least one")
    for shape in shapes:
        distortion = subject.build(shape)
        if not isinstance(distortion, Distortion):
            raise Failed(f"it is {type(distortion).__name__}", "a zoo.Distortion")
        output_shape = tuple(distortion.output_shape)
        if len(output_shape) != 3 or output_shape[1:] != shape[1:] or not output_shape[0] > 0:
            raise Failed(f"output_shape is {output_shape} for images {shape}", f"(channels, {shape[1]}, {shape[2]})")


@_check(cause="a mean where a sum is meant, a fixed dtype, or a dimension lost in between")
def shapes_and_dtypes(subject: Subject) -> None:
    """`images`, `pixels`, `distances` and `loss` have the contract's shapes, in single and double precision."""
    for (shape,) in subject.cases:
        for dtype in (torch.float32, torch.float64):
            distortion = distortion_of(subject, shape).to(dtype)
            output, images = _output(distortion, dtype=dtype), random_images(shape, COUNT).to(dtype)
            got = {
                "images": (distortion.images(output), (COUNT, *shape)),
                "distances": (distortion.distances(output, images), (COUNT,)),
                "loss": (distortion.loss(output, images, torch.ones(())), ()),
            }
            for name, (tensor, expected) in got.items():
                if tuple(tensor.shape) != expected or tensor.dtype != dtype:
                    raise Failed(
                        f"{name} gives {tuple(tensor.shape)} {tensor.dtype} for {said(shape)}", f"{expected} {dtype}"
                    )
            if distortion.has_pixels:
                pixels = tuple(distortion.pixels(output, images).shape)
                if pixels not in ((COUNT, *shape), (COUNT, 1, *shape[1:])):
                    raise Failed(f"pixels gives {pixels} for {said(shape)}", f"{(COUNT, *shape)}, or one channel")


@_check(cause="a logarithm or a division that meets zero, or a sigmoid that saturates before a logarithm")
def distortion_finite(subject: Subject) -> None:
    """It is finite for ordinary, blank, black-and-white images, and for outputs near to and far from them."""
    distortion = distortion_of(subject)
    ordinary = random_images(distortion.image_shape, COUNT)
    originals = {
        "ordinary": ordinary,
        "black": ordinary * 0,
        "white": ordinary * 0 + 1,
        "black-and-white": ordinary.round(),
    }
    for what, images in originals.items():
        for scale in (0.0, 1.0, 30.0):
            output = scale * _output(distortion)
            values = (distortion.images(output), distortion.distances(output, images))
            if not all(bool(torch.isfinite(value).all()) for value in values):
                raise Failed(f"NaN or infinite for {what} images and outputs of size {scale:g}", "finite values")


@_check(cause="a sum over the pixels in `loss`, or a division by something else than C·H·W")
def one_scale(subject: Subject) -> None:
    """At progress 1 `loss` is the mean of `distances` divided by C·H·W, and `distances` the sums of `pixels`."""
    require(shapes_and_dtypes, subject, "its shapes or dtypes are not those of the contract")
    distortion, output, images = _case(subject)
    distances = distortion.distances(output, images)
    expected = float(distances.mean() / math.prod(distortion.image_shape))
    loss = float(distortion.loss(output, images, torch.ones(())))
    if not math.isclose(loss, expected, rel_tol=1e-4, abs_tol=1e-7):
        raise Failed(f"loss is {loss:.6g}", f"{expected:.6g}, the mean of distances / (C·H·W)")
    if distortion.has_pixels:
        sums = distortion.pixels(output, images).flatten(1).sum(dim=1)
        if not torch.allclose(distances, sums, rtol=1e-4, atol=1e-6):
            raise Failed("distances differ from the sums of pixels", "equal within 1e-4")


@_check(cause="a mean or a normalisation over the batch dimension")
def images_judged_apart(subject: Subject) -> None:
    """The distance of an image does not depend on the other images in the batch, nor on their order."""
    require(shapes_and_dtypes, subject, "its shapes or dtypes are not those of the contract")
    distortion, output, images = _case(subject)
    together = distortion.distances(output, images)
    alone = torch.cat([distortion.distances(one[None], image[None]) for one, image in zip(output, images, strict=True)])
    backwards = distortion.distances(output.flip(0), images.flip(0)).flip(0)
    for what, other in (("alone", alone), ("in another order", backwards)):
        if not torch.allclose(together, other, rtol=1e-4, atol=1e-5):
            raise Failed(f"distances {what} differ by up to {(together - other).abs().max():.2g}", "equal within 1e-4")


@_check(cause="a distance that is least elsewhere, such as a wrong sign or an offset")
def identical_is_nearest(subject: Subject) -> None:
    """Where the output is the image, no image is nearer to an original than the original itself."""
    distortion, _, images = _case(subject)
    if distortion.owns_output:
        raise NotApplicable("its output is something else than an image")
    own = distortion.distances(images, images)
    for other in (images.roll(1, 0), images + 0.1, images - 0.1, 1 - images):
        if bool((distortion.distances(other, images) < own - 1e-5).any()):
            raise Failed("another image has a smaller distance than the original itself", "none")


@_check(cause="`images` that does not match what `pixels` or `distances` compares")
def minimising_rebuilds(subject: Subject) -> None:
    """A hundred steps of Adam on the output bring its images nearer to the originals, by the squared error."""
    require(gradients_reach_output, subject, "its output gets no gradient")
    distortion, output, images = _case(subject)
    output = torch.zeros_like(output).requires_grad_()
    optimizer = torch.optim.Adam([output], lr=0.05)
    before = _squared_error(distortion, output, images)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.autograd.backward(distortion.loss(output, images, torch.ones(())))
        optimizer.step()
    after = _squared_error(distortion, output, images)
    if not after < 0.9 * before:
        raise Failed(f"the squared error goes from {before:.4g} to {after:.4g}", "a fall of at least a tenth")


@_check(cause="a `.detach()`, `torch.no_grad()` or rounding on the output's way")
def gradients_reach_output(subject: Subject) -> None:
    """The loss has a gradient for the output."""
    distortion, output, images = _case(subject)
    output.requires_grad_()
    loss = distortion.loss(output, images, torch.ones(()))
    if loss.requires_grad:
        torch.autograd.backward(loss)
    elif loss.detach() == 0 and distortion.has_adversary:
        raise NotApplicable("its loss is 0: it is its adversary alone")
    if output.grad is None or not bool(output.grad.any()):
        raise Failed("the output gets no gradient", "one that is not zero everywhere")


@_check(cause="pixels 0 to 255, or a range of −1 to 1 that is not brought back to 0 to 1")
def images_in_range(subject: Subject) -> None:
    """For outputs in [0, 1] the images are in [0, 1]."""
    distortion, _, _ = _case(subject)
    output = random_images(distortion.output_shape, COUNT, seed=3)
    images = distortion.images(output)
    if bool((images < -1e-5).any()) or bool((images > 1 + 1e-5).any()):
        raise Failed(f"images from {images.min():.3g} to {images.max():.3g}", "0 to 1")


@_check(cause="an in-place operation such as `output -= images`")
def pair_unchanged(subject: Subject) -> None:
    """The output and the images are left as they were."""
    distortion, output, images = _case(subject)
    given = output.clone(), images.clone()
    distortion.images(given[0])
    distortion.distances(*given)
    distortion.loss(*given, torch.ones(()))
    for name, tensor, expected in zip(("output", "images"), given, (output, images), strict=True):
        if not torch.equal(tensor, expected):
            raise Failed(f"the {name} changed", "no change")


@_check(cause="a missing constant such as log √(2π), or a factor ½")
def probabilities_sum_to_one(subject: Subject) -> None:
    """`exp(−distances)` of a likelihood sums to 1 over black and white or the 256 levels, or integrates to 1."""
    if not (kind := distortion_of(subject).likelihood):
        raise NotApplicable("it declares no likelihood")
    if kind not in ("mass", "density"):
        raise Failed(f"likelihood is '{kind}'", "'mass', 'density' or ''")
    if not subject.takes((1, 1, 1)):
        raise NotApplicable("it takes no image of one pixel")
    distortion = distortion_of(subject, (1, 1, 1)).double()
    for seed in range(3):
        output = torch.randn(1, *distortion.output_shape, generator=torch.Generator().manual_seed(seed)).double()
        totals = _masses(distortion, output) if kind == "mass" else _integrals(distortion, output)
        if not any(abs(total - 1) < 0.01 for total in totals):
            raise Failed(
                f"the probabilities of all values of a pixel are {' or '.join(f'{t:.4g}' for t in totals)}",
                "a sum or integral of 1",
            )


def _squared_error(distortion: Distortion, output: Tensor, images: Tensor) -> float:
    with torch.no_grad():
        return float((distortion.images(output) - images).square().mean())


def _masses(distortion: Distortion, output: Tensor) -> list[float]:
    """Return the sums over black and white, and over the 256 levels."""
    return [_probabilities(distortion, output, torch.linspace(0, 1, count)).sum().item() for count in (2, LEVELS)]


def _integrals(distortion: Distortion, output: Tensor) -> list[float]:
    """Return the integrals over [0, 1], and over a range that is as good as endless."""
    totals = []
    for low, high in ((0, 1), (-50, 50)):
        values = torch.linspace(low, high, 200_001, dtype=torch.float64)
        totals.append(torch.trapezoid(_probabilities(distortion, output, values), values).item())
    return totals


def _probabilities(distortion: Distortion, output: Tensor, values: Tensor) -> Tensor:
    """Return exp(−distance) of an output `(1, *output_shape)` for each value of the one pixel."""
    images = values.double().view(-1, 1, 1, 1)
    with torch.no_grad():
        return (-distortion.distances(output.expand(len(images), -1, -1, -1), images)).exp()


def _case(subject: Subject) -> tuple[Distortion, Tensor, Tensor]:
    """Return the distortion, an output and images."""
    distortion = distortion_of(subject)
    return distortion, _output(distortion), random_images(distortion.image_shape, COUNT)


def _output(distortion: Distortion, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(COUNT, *distortion.output_shape, generator=generator).to(dtype)
