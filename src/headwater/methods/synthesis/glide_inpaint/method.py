"""GLIDE's inpainting: fill a hole with what a caption says, by a network that was trained to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self, Unpack

import torch
from torch import Tensor

from headwater.controls import GivenRegion
from headwater.core import Control
from headwater.errors import need
from headwater.methods.base import Images, Mask, Paper, Texts, check_mask
from headwater.methods.synthesis.glide.method import FittedGlide, Glide, check_pairs
from headwater.metrics.image import hole_scores
from headwater.nets.text2im import InpaintText2Im
from headwater.sampling import Batch, Run, RunOptions
from headwater.training import TrainerConfig


@dataclass(frozen=True, eq=False)
class FittedGlideInpaint(FittedGlide):
    """What `GlideInpaint.fit` returns: its network also takes `image` and `known`."""

    network: InpaintText2Im

    kind = "glide-inpaint"
    net = InpaintText2Im
    reads = 2, 1

    @classmethod
    def starting_from(cls, base: FittedGlide) -> Self:
        """One that draws as `base` does, until it is trained: weights of the further channels are 0."""
        wide = replace(base.config.network, in_channels=2 * base.shape[0] + 1)
        network = InpaintText2Im(wide)
        network.start_from(base.network.state_dict())
        return cls(network, replace(base.config, network=wide))


@dataclass(frozen=True)
class GlideInpaint(Glide):
    """Fill a hole by GLIDE's network with 2C + 1 input channels (Nichol et al. 2022, sec. 3.2).

        input = [x_t, known * image, known]
        x0^   = known * image + (1 - known) * x0(input, t, caption)     then clipped

    In training a random rectangle of each image is erased, of a share of them (`erased`) all. Weights of
    the further channels begin at zero, all others at those of a fitted `base`, if there is one: so at first
    the network draws exactly as before.

    Deviations from the paper: rectangles, since it does not say which regions it erases; the loss covers the
    known part too, as it is known to the network and costs nothing. `Glide`'s deviations hold too.

    >>> import torch
    >>> import headwater as hw
    >>> from headwater.methods.synthesis.glide_inpaint.method import FittedGlideInpaint
    >>> fitted = FittedGlideInpaint.from_pretrained("glide-inpaint")
    >>> image, known = hw.load("emoji", "test", 32).images[:1], torch.ones(1, 1, 32, 32, dtype=torch.bool)
    >>> known[..., 16:] = False
    >>> method = hw.GlideInpaint(steps="4")
    >>> filled = method.apply(image, known, ["red heart"], fitted, seed=0, progress=False)
    >>> bool(torch.equal(filled[..., :16], image[..., :16]))
    True
    """

    paper: ClassVar[Paper] = replace(
        Glide.paper,
        claim="A network that was trained to inpaint fills holes with less visible seams than one that draws "
        "the known part over at each step.",
    )
    needs: ClassVar[tuple[str, ...]] = ("pictures with a caption each", "a mask of the known pixels")

    erased: float = 0.2
    """Share of images of which nothing is known in training, from 0 to 1."""
    training: TrainerConfig = field(default_factory=lambda: TrainerConfig(500_000, 2048, 1e-4, ema=0.9999))
    """How the network is trained."""
    steps: str = "100"
    """Timesteps visited: a number, counts per section such as "10,10,3,2,2", "ddim50" or "fast27"."""

    def fit(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, image: Images, text: Texts, **how: Unpack[RunOptions]
    ) -> FittedGlideInpaint:
        """Learn to restore image[i] (C, H, W) in [-1, 1] from a part of it and text[i].

        Raises UserError where images and captions cannot be paired or do not fit `base`.
        """
        need(0 <= self.erased <= 1, f"erased is {self.erased}: give a share from 0 to 1")

        def erase(x0: Tensor) -> dict[str, Tensor]:
            return {"image": x0, "known": rectangles(x0, self.erased)}

        return self._fit(FittedGlideInpaint, image, text, Run(**how), erase)

    def apply(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, image: Images, known: Mask, text: Texts, fitted: FittedGlideInpaint, **how: Unpack[RunOptions]
    ) -> Images:
        """Fill `image` (B, C, H, W) where `known` (B or 1, 1, H, W) is False with what text[i] says.

        Returns (B, C, H, W), given pixels untouched. Raises UserError when shapes disagree.
        """
        fitted.check(image)
        check_mask(known, image)
        check_pairs(image, text)

        def given(batch: Batch) -> tuple[list[Control], dict[str, Tensor]]:
            some, mask = batch.take(image), batch.take(known)
            return [GivenRegion(some, mask, place="estimate")], {"image": some, "known": mask}

        return self.sample(fitted, text, Run(**how), given)

    def evaluate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, filled: Images, truth: Images, known: Mask
    ) -> dict[str, float]:
        """Compare filled images with the truth, (B, C, H, W) in [-1, 1].

        hole_mse: mean squared error over the hole. psnr: of whole images, in dB. seam: mean step across the
        edge of the hole minus that of the truth; 0 is seamless.
        """
        return hole_scores(filled, truth, known)


def rectangles(like: Tensor, erased: float) -> Tensor:
    """Masks (B, 1, H, W) bool, False in a rectangle of each, or everywhere with probability `erased`.

    Sides are a quarter of the image's or more; drawn from torch's global generator.
    """
    n, inside = len(like), []
    for side in like.shape[-2:]:
        length = (0.25 + 0.65 * torch.rand(n, 1)) * side
        first = torch.rand(n, 1) * (side - length)
        place = torch.arange(side) + 0.5
        inside.append((place > first) & (place < first + length))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    whole = torch.rand(n, 1, 1, 1) < erased
    return (~(hole | whole)).to(like.device)
