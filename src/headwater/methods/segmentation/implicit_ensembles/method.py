"""Implicit ensembles: a diffusion over the mask whose samples disagree where the picture leaves doubt."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import ClassVar, Literal, Unpack

from headwater.core import Ancestral
from headwater.errors import need
from headwater.methods.base import Images, Labels, Method, Paper
from headwater.methods.segmentation.shared.mask_diffusion import MaskEnsemble, draw, merge
from headwater.methods.segmentation.shared.mask_fitted import FittedMasks, channels_of
from headwater.methods.segmentation.shared.mask_training import fit_masks, fresh_weights
from headwater.metrics.mask_agreement import agreement
from headwater.nets.adm import UNetConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.image_conditioned import ConcatenatedUNet
from headwater.sampling import Run, RunOptions
from headwater.training import TrainerConfig


class FittedImplicitEnsembles(FittedMasks):
    """A trained implicit ensemble."""

    kind = "implicit-ensembles"
    theirs = (1000, 0.0, 1)


@dataclass(frozen=True)
class ImplicitEnsembles(Method):
    """One network, many masks: their mean segments, their variance says where to look twice (Wolleb et al.
    2022, sec. 2 and 3).

        x_t = sqrt(abar_t) m + sqrt(1 - abar_t) e                the mask m in {0, 1} alone is noised
        eps, v = network([picture, x_t], t)                      channels, the mask last
        loss = |e - eps|^2 + bound(v) in bits                    t uniform, the mean detached in the bound
        x_t-1 ~ N(mean(x_t, x_0), Sigma(v))                      x_0 from eps, clipped to [-1, 1]
        mean = mean_n m,  variance = var_n m,  mask = mean > 1/2

    Deviates from the reference code: any size, batch and number of channels; more classes are one channel
    each, and soft masks are allowed; fewer steps respace the whole chain from pure noise (the reference
    starts its short walk from pure noise in the middle); the pictures given are never overwritten.
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
    needs: ClassVar[tuple[str, ...]] = ("pictures with a mask or a label map each, to train on",)

    applied: ClassVar[tuple[str, ...]] = ("samples", "steps", "clip")

    samples: int = 5
    """Masks drawn per picture."""
    steps: int = 1000
    """Levels on the way down, respaced from T."""
    T: int = 1000
    """Levels of the chain that is trained."""
    background: float = 0.0
    """Value of the diffused mask where it is 0; -1 would centre it."""
    clip: tuple[float, float] | None = (-1.0, 1.0)
    """Range that estimates of the clean mask are kept in; the reference's is wider than its masks."""
    predicts: Literal["eps", "v"] = "eps"
    """What the network answers: the noise, or v after short trainings (Salimans & Ho 2022)."""
    bound_weight: float = 1.0
    """Weight of the variational bound, in bits per pixel, beside the squared error."""
    network: UNetArchitecture = field(
        default_factory=lambda: UNetArchitecture(
            128, (1, 1, 2, 2, 4, 4), 2, (16,), use_scale_shift_norm=False
        )
    )
    """The U-Net."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width that the command line makes of pictures; None: those of the first one."""
    mirror: bool = False
    """Mirror half of the training pictures, left to right."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(steps=60_000, batch_size=10, lr=1e-4, ema=0.9999)
    )

    def fit(self, image: Images, labels: Labels, **how: Unpack[RunOptions]) -> FittedImplicitEnsembles:
        """Train from fresh weights; all draws are functions of the seed.

        image: (N, C, H, W) in [-1, 1]. labels: int64 (N, H, W), 0 for background, or soft masks float
        (N, K, H, W) in [0, 1] (K = 1 for two classes). Several annotators: repeat the picture, one row each.
        Raises UserError when shapes disagree, or a pixel has no class.
        """
        need(self.background < 1, f"background is {self.background}: give less than the mask's own 1")
        return fit_masks(
            FittedImplicitEnsembles, self, image, labels, Run(**how),
            background=self.background, predicts=self.predicts, bound=self.bound_weight,
        )  # fmt: skip

    def fresh_network(self, channels: int, classes: int, seed: int = 0) -> ConcatenatedUNet:
        """The network for pictures of so many channels and masks of so many classes, with fresh weights."""
        masks = channels_of(classes)
        unet = UNetConfig(in_channels=channels + masks, out_channels=2 * masks, **asdict(self.network))
        with fresh_weights(seed):
            return ConcatenatedUNet(unet)

    def apply(
        self, image: Images, fitted: FittedImplicitEnsembles, **how: Unpack[RunOptions]
    ) -> MaskEnsemble:
        """Draw and merge masks. image: (B, C, H, W) in [-1, 1], of the size that was fitted on."""
        return merge(draw(self, fitted, image, Ancestral("learned"), Run(**how)))

    def evaluate(self, labels: Labels, truth: Labels) -> dict[str, float]:
        """Agreement of int64 (B, H, W) label maps; see `headwater.metrics.mask_agreement.agreement`."""
        return agreement(labels, truth)
