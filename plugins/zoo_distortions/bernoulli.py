"""Every pixel is black or white, with a probability of its own."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from zoo import Distortion


class Bernoulli(Distortion):
    """Binary cross-entropy; the output is the logit of each pixel, and the image its probability of white.

    For images of 0 and 1 alone the distance is −log p(x | output) in nats. For grey values it is a loss
    like any other, and no likelihood.
    """

    likelihood = "mass"

    def images(self, output: Tensor) -> Tensor:
        return output.sigmoid()

    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(output, images, reduction="none")
