"""SegDiff: diffuse the mask itself, with the features of the picture added to those of the noisy mask."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import ClassVar, Literal, Unpack

from headwater.core import Ancestral
from headwater.methods.base import Images, Labels, Method, Paper
from headwater.methods.segmentation.shared.mask_diffusion import MaskEnsemble, draw, merge
from headwater.methods.segmentation.shared.mask_fitted import FittedMasks, channels_of
from headwater.methods.segmentation.shared.mask_training import fit_masks, fresh_weights
from headwater.metrics.mask_agreement import agreement
from headwater.nets.adm import UNetConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.image_conditioned import ConcatenatedUNet, ImageConditioned, SummedUNet
from headwater.nets.rrdb import RRDBConfig
from headwater.sampling import Run, RunOptions
from headwater.training import TrainerConfig


class FittedSegDiff(FittedMasks):
    """A trained SegDiff."""

    kind = "segdiff"
    theirs = (100, -1.0, 4)


@dataclass(frozen=True)
class SegDiff(Method):
    """Learn q(mask | picture) as a diffusion over the mask, draw several masks, and threshold their mean
    (Amit et al. 2021, sec. 3).

        x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) e              x_0 in {-1, 1}, beta from 0.001 to 0.2
        eps(x_t, I, t) = D(E(F(x_t) + G(I), t), t)               F one convolution, G an RRDB, once a picture
        loss = |e - eps(x_t, I, t)|^2                            t uniform
        x_t-1 ~ N(mean(x_t, eps), beta_t)                        clean masks are left unclipped on the way
        mask = mean_n clip((x_0 + 1) / 2, 0, 1) > 1/2

    Deviates from the reference code: the loss is the mean over pixels, not the sum (AdamW does not care, half
    precision does); fewer steps are levels of the same chain, not another chain; more classes are one channel
    each, and soft masks are allowed; of the paper's augmentations only the mirror is here.
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
    needs: ClassVar[tuple[str, ...]] = ("pictures with a mask or a label map each, to train on",)

    applied: ClassVar[tuple[str, ...]] = ("samples", "steps", "clip", "variance")

    samples: int = 9
    """Masks drawn per picture."""
    steps: int = 100
    """Levels on the way down, respaced from T."""
    T: int = 100
    """Levels of the chain that is trained, at least 21; for fewer steps lower `steps`."""
    clip: tuple[float, float] | None = None
    """Range that estimates of the clean mask are kept in; free in the paper, -1 1 after short trainings."""
    variance: Literal["large", "small"] = "large"
    """Of a step: beta_t, or the posterior's, which suits few steps better."""
    predicts: Literal["eps", "v"] = "eps"
    """What the network answers: the noise, or v after short trainings (Salimans & Ho 2022)."""
    condition: Literal["sum", "concatenate"] = "sum"
    """How the picture gets in: by the sum of features, or as more input channels (the paper's ablation)."""
    encoder_blocks: int = 15
    """RRDB blocks of the image encoder: 15 for Cityscapes, 12 for MoNuSeg, 6 for Vaihingen."""
    encoder_width: int = 64
    """Channels between the encoder's blocks."""
    encoder_growth: int = 32
    """Channels that each of the encoder's convolutions adds."""
    network: UNetArchitecture = field(
        default_factory=lambda: UNetArchitecture(
            128, (1, 1, 2, 2, 4, 4), 3, (8, 16), num_heads=4, use_scale_shift_norm=False
        )
    )
    """The U-Net, for 128 x 128 pictures; 256 x 256 has channel_mult (1, 1, 1, 2, 2, 4, 4), Vaihingen dropout
    0.1."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width that the command line makes of pictures; None: those of the first one."""
    mirror: bool = True
    """Mirror half of the training pictures, left to right."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(steps=300_000, batch_size=30, lr=1e-4, ema=0.9999)
    )

    def fit(self, image: Images, labels: Labels, **how: Unpack[RunOptions]) -> FittedSegDiff:
        """Train from fresh weights; all draws are functions of the seed.

        image: (N, C, H, W) in [-1, 1]. labels: int64 (N, H, W), 0 for background, or soft masks float
        (N, K, H, W) in [0, 1] (K = 1 for two classes). Several masks of one picture: repeat the picture.
        Raises UserError when shapes disagree, or a pixel has no class.
        """
        return fit_masks(
            FittedSegDiff, self, image, labels, Run(**how), background=-1.0, predicts=self.predicts
        )

    def fresh_network(self, channels: int, classes: int, seed: int = 0) -> ImageConditioned:
        """The network for pictures of so many channels and masks of so many classes, with fresh weights."""
        masks, summed = channels_of(classes), self.condition == "sum"
        inputs = masks if summed else masks + channels
        unet = UNetConfig(in_channels=inputs, out_channels=masks, **asdict(self.network))
        with fresh_weights(seed):
            if not summed:
                return ConcatenatedUNet(unet)
            encoder = (self.encoder_blocks, self.encoder_width, self.encoder_growth)
            return SummedUNet(unet, RRDBConfig(channels, unet.widths[0], *encoder))

    def apply(self, image: Images, fitted: FittedSegDiff, **how: Unpack[RunOptions]) -> MaskEnsemble:
        """Draw and merge masks. image: (B, C, H, W) in [-1, 1], of the size that was fitted on."""
        drawn = draw(self, fitted, image, Ancestral(self.variance), Run(**how))
        return merge(drawn.clamp(0, 1))

    def evaluate(self, labels: Labels, truth: Labels) -> dict[str, float]:
        """Agreement of int64 (B, H, W) label maps; see `headwater.metrics.mask_agreement.agreement`."""
        return agreement(labels, truth)
