"""SegDiff: diffuse the mask itself, with the features of the image added to those of the noisy mask."""

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
from headwater.nets.rrdb import RRDBConfig
from headwater.sampling import Run, RunOptions
from headwater.training import TrainerConfig


class FittedSegDiff(FittedMasks):
    """A trained SegDiff."""

    kind = "segdiff"
    published_sizes = (100, -1.0, 4, True)


@dataclass(frozen=True)
class SegDiff(MaskMethod[FittedSegDiff]):
    """Learn q(mask | image) as a diffusion over the mask, draw several masks, and threshold their mean
    (Amit et al. 2021, sec. 3).

        x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) e              x_0 in {-1, 1}, beta from 0.001 to 0.2
        eps(x_t, I, t) = D(E(F(x_t) + G(I), t), t)               F one convolution, G an RRDB
        loss = |e - eps(x_t, I, t)|^2                            t uniform
        x_t-1 ~ N(mean(x_t, eps), beta_t)                        clean masks are left unclipped in the loop
        mask = mean_n clip((x_0 + 1) / 2, 0, 1) > 1/2

    G sees neither x_t nor t, so it runs once per image, and its answer serves all steps of all samples.

    Deviates from the reference code: the loss is the mean over pixels, not the sum (AdamW does not care, half
    precision does: its users see the loss scale fall without end and masks turn black); fewer steps are
    timesteps of the same process, not of another one, and T below 21, whose betas exceed 1, is refused; more
    classes are one channel each, and soft masks are allowed; of the paper's augmentations only the mirror is
    here; seeds do not come from file names; nothing is chosen on the test set, which is called "val" there.

    >>> import headwater as hw
    >>> fitted = FittedSegDiff.from_pretrained("segdiff-skin-0")
    >>> image = hw.load("emoji-parts-hue", "test", 24).images[:2]
    >>> method = hw.SegDiff(samples=3, steps=2, clip=(-1, 1), variance="small")
    >>> found = method.apply(image, fitted, seed=0)
    >>> tuple(found.labels.shape), tuple(found.samples.shape)
    ((2, 24, 24), (2, 3, 1, 24, 24))
    """

    paper: ClassVar[Paper] = Paper(
        title="SegDiff: Image Segmentation with Diffusion Probabilistic Models",
        authors="Tomer Amit, Tal Shaharbany, Eliya Nachmani, Lior Wolf",
        year=2021,
        arxiv="2112.00390",
        code="tomeramit/SegDiff",
        claim="Masks drawn by a diffusion that sees the picture, by adding its features, segment better the "
        "more of them are averaged, and better than a plain network.",
    )
    makes = FittedSegDiff
    needs: ClassVar[tuple[str, ...]] = ("pictures with a mask or a label map each, to train on",)
    applied: ClassVar[tuple[str, ...]] = ("samples", "steps", "clip", "variance", "tiled", "views")

    samples: int = 9
    """Number of masks drawn per image."""
    steps: int = 100
    """Number of sampling steps, respaced from T."""
    T: int = 100
    """Number of timesteps of the trained process, at least 21; for fewer network calls lower `steps`."""
    clip: tuple[float, float] | None = None
    """Range that estimates of the clean mask are kept in: none in the paper, -1 1 after short trainings."""
    variance: Literal["large", "small"] = "large"
    """Variance of a sampling step: large is beta_t, small the posterior's, which suits few steps better."""
    predicts: Literal["eps", "v"] = "eps"
    """Target of the network: the noise, or v, which suits short trainings (Salimans & Ho 2022)."""
    condition: Literal["sum", "concatenate"] = "sum"
    """Way in for the image: a sum of features, or more input channels (the paper's ablation)."""
    encoder_blocks: int = 15
    """Number of RRDB blocks of the image encoder: 15 for Cityscapes, 12 for MoNuSeg, 6 for Vaihingen."""
    encoder_width: int = 64
    """Number of channels between the blocks of the image encoder."""
    encoder_growth: int = 32
    """Number of channels that each convolution of the image encoder adds."""
    network: UNetArchitecture = field(
        default_factory=lambda: UNetArchitecture(
            128, (1, 1, 2, 2, 4, 4), 3, (8, 16), num_heads=4, use_scale_shift_norm=False
        )
    )
    """Architecture of the U-Net, by default for images of 128 x 128; 256 x 256 has channel_mult
    (1, 1, 1, 2, 2, 4, 4), Vaihingen dropout 0.1."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width to which the command line brings images; None: those of the first one."""
    tiled: bool = False
    """Cut images that are larger than those fitted on into tiles of that size, which overlap by a quarter,
    and average their masks there. Without it the command line resizes images."""
    views: bool = False
    """Draw the masks of an image in turn from its eight turns and flips, of an oblong one from four, so that
    their mean averages over these: for images that may lie in any way, as in microscopy or from above."""
    mirror: bool = True
    """Whether half of the training images are mirrored, left to right."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(steps=300_000, batch_size=30, lr=1e-4, ema=0.9999)
    )
    """Settings of the training, by default those for Cityscapes."""

    def sizes(self, shape: tuple[int, int, int], classes: int) -> MasksConfig:
        masks, summed = channels_of(classes), self.condition == "sum"
        inputs = masks if summed else masks + shape[0]
        unet = UNetConfig(in_channels=inputs, out_channels=masks, **asdict(self.network))
        encoder = (self.encoder_blocks, self.encoder_width, self.encoder_growth)
        rrdb = RRDBConfig(shape[0], unet.widths[0], *encoder) if summed else None
        return MasksConfig(unet, rrdb, shape, classes, self.T, -1.0, self.predicts)

    def apply(self, image: Images, fitted: FittedSegDiff, **how: Unpack[RunOptions]) -> MaskEnsemble:
        """Draw and merge masks. image: (B, C, H, W) in [-1, 1], of the size that was fitted on."""
        return merge(self.draw(image, fitted, Ancestral(self.variance), Run(**how)).clamp(0, 1))
