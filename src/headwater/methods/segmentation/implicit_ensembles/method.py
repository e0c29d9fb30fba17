"""Implicit ensembles: a diffusion over the mask whose samples disagree where the image leaves doubt."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import ClassVar, Literal, Unpack

from headwater.core import Ancestral
from headwater.methods.base import Images, Paper
from headwater.methods.segmentation.shared.mask_diffusion import (
    FittedMasks,
    MaskEnsemble,
    MaskMethod,
    MasksConfig,
    channels_of,
    merge,
)
from headwater.nets.adm import UNetConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.sampling import Run, RunOptions
from headwater.training import TrainerConfig


class FittedImplicitEnsembles(FittedMasks):
    """A trained implicit ensemble."""

    kind = "implicit-ensembles"
    published_sizes = (1000, 0.0, 1, False)


@dataclass(frozen=True)
class ImplicitEnsembles(MaskMethod[FittedImplicitEnsembles]):
    """One network, many masks: their mean segments, their variance says where to look twice (Wolleb et al.
    2022, sec. 2 and 3).

        x_t = sqrt(abar_t) m + sqrt(1 - abar_t) e                the mask m in {0, 1} alone is noised
        eps, v = network([image, x_t], t)                        channels side by side, the mask last
        loss = |e - eps|^2 + bound(v) in bits                    t uniform, the mean detached in the bound
        x_t-1 ~ N(mean(x_t, x_0), Sigma(v))                      x_0 from eps, clipped to [-1, 1]
        mean = mean_n m,  variance = var_n m,  mask = mean > 1/2

    Deviates from the reference code: any size, batch and number of channels (its loop tests for the shape
    (1, 5, 224, 224) and else appends the image twice); more classes are one channel each, and soft masks are
    allowed; fewer steps respace the whole process from pure noise (there, respacing is ignored, and DDIM
    starts from pure noise in the middle, where a fourth of the signal should be left); the masks given are
    never overwritten; the weight of the bound is a setting, 1 being the reference's; the threshold is 1/2,
    as in the paper, not 0; images are in [-1, 1], not in [0, 1].

    >>> import headwater as hw
    >>> emoji = hw.load("emoji-parts", "train", 8)
    >>> small = UNetArchitecture(32, (1,), 1, ())
    >>> brief = TrainerConfig(steps=2, batch_size=4)
    >>> method = hw.ImplicitEnsembles(samples=3, steps=2, network=small, training=brief)
    >>> fitted = method.fit(emoji.images[:8], emoji.labels[:8], seed=0)
    >>> found = method.apply(emoji.images[:2], fitted, seed=0)
    >>> tuple(found.samples.shape), tuple(found.variance.shape)  # a channel for each class
    ((2, 3, 5, 8, 8), (2, 1, 8, 8))
    """

    paper: ClassVar[Paper] = Paper(
        title="Diffusion Models for Implicit Image Segmentation Ensembles",
        authors="Julia Wolleb, Robin Sandkuehler, Florentin Bieder, Philippe Valmaggia, Philippe C. Cattin",
        year=2022,
        venue="MIDL",
        arxiv="2112.03145",
        code="JuliaWolleb/Diffusion-based-Segmentation",
        claim="An ensemble of masks drawn from one network segments better than one mask, and the variance "
        "of the masks shows where the segmentation is wrong.",
    )
    makes = FittedImplicitEnsembles
    needs: ClassVar[tuple[str, ...]] = ("pictures with a mask or a label map each, to train on",)
    applied: ClassVar[tuple[str, ...]] = ("samples", "steps", "clip", "tiled", "views")

    samples: int = 5
    """Number of masks drawn per image; the paper studies up to 100."""
    steps: int = 1000
    """Number of sampling steps, respaced from T."""
    T: int = 1000
    """Number of timesteps of the trained process, at least 21; for fewer network calls lower `steps`."""
    background: float = 0.0
    """Value of the diffused mask where it is 0, below 1; -1 would centre it."""
    clip: tuple[float, float] | None = (-1.0, 1.0)
    """Range that estimates of the clean mask are kept in; the reference's is wider than its masks, 0 1 is
    theirs."""
    predicts: Literal["eps", "v"] = "eps"
    """Target of the network: the noise, or v, which suits short trainings (Salimans & Ho 2022)."""
    bound_weight: float = 1.0
    """Weight of the variational bound, in bits per pixel, beside the squared error."""
    network: UNetArchitecture = field(
        default_factory=lambda: UNetArchitecture(
            128, (1, 1, 2, 2, 4, 4), 2, (16,), use_scale_shift_norm=False
        )
    )
    """Architecture of the U-Net, by default for images of 224 x 224."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width to which the command line brings images; None: those of the first one."""
    tiled: bool = False
    """Cut images that are larger than those fitted on into tiles of that size, which overlap by a quarter,
    and average their masks there. Without it the command line resizes images."""
    views: bool = False
    """Draw the masks of an image in turn from its eight turns and flips, of an oblong one from four, so that
    their mean averages over these: for images that may lie in any way, as in microscopy or from above."""
    mirror: bool = False
    """Whether half of the training images are mirrored, left to right."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(steps=60_000, batch_size=10, lr=1e-4, ema=0.9999)
    )
    """Settings of the training, by default those for BRATS 2020: about a day on one GPU."""

    def sizes(self, shape: tuple[int, int, int], classes: int) -> MasksConfig:
        masks = channels_of(classes)
        unet = UNetConfig(in_channels=shape[0] + masks, out_channels=2 * masks, **asdict(self.network))
        sizes = unet, None, shape, classes, self.T, self.background, self.predicts
        return MasksConfig(*sizes, rescaled=False)

    def apply(
        self, image: Images, fitted: FittedImplicitEnsembles, **how: Unpack[RunOptions]
    ) -> MaskEnsemble:
        """Draw and merge masks. image: (B, C, H, W) in [-1, 1], of the size that was fitted on."""
        return merge(self.draw(image, fitted, Ancestral("learned"), Run(**how)))
