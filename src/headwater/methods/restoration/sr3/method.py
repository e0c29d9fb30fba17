"""SR3: enlarge pictures by a diffusion that sees the small one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, Unpack

import torch
from torch import Tensor

from headwater.core.denoiser import Error
from headwater.data import augment
from headwater.errors import need
from headwater.methods.base import Images, Measured, Method, Paper
from headwater.methods.restoration.shared.pictured import (
    Betas,
    Pictured,
    PicturedConfig,
    draw_pictured,
    fit_pictured,
)
from headwater.metrics.image import psnr, ssim
from headwater.models.folder import Layout, Shapes, prefixed
from headwater.nets.level_unet import TABLES, LevelArchitecture, LevelUNetConfig, infer_level_unet
from headwater.noise import Purpose, derive
from headwater.operators import resizing
from headwater.sampling import Run, RunOptions
from headwater.training import TrainerConfig


@dataclass(frozen=True, eq=False)
class FittedSR3(Pictured):
    """What `SR3.fit` returns."""

    kind = "sr3"

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """A generator's file of Janspiry/Image-Super-Resolution-via-Iterative-Refinement, with or without the
        `denoise_fn.` before its names. Settings: `image_size`, `factor`, and from the configuration file
        `norm_groups`, `n_timestep`, `linear_start`, `linear_end` where they are not 32, 2000, 1e-6, 1e-2."""
        own = {k.removeprefix("denoise_fn."): tuple(v) for k, v in shapes.items()}
        network = infer_level_unet(own, int(settings.get("norm_groups", 32)))
        side = int(settings["image_size"])
        betas = Betas(
            int(settings.get("n_timestep", 2000)),
            float(settings.get("linear_start", 1e-6)),
            float(settings.get("linear_end", 1e-2)),
        )
        shape = (network.out_channels, side, side)
        config = PicturedConfig(network, shape, betas, factor=int(settings.get("factor", 8)))

        def name(given: str) -> str | None:
            return prefixed(given.removeprefix("denoise_fn."))

        return Layout(config, name, unused=lambda given: bool(TABLES.fullmatch(given)))


@dataclass(frozen=True)
class SR3(Method):
    """Draw the large picture from noise by a network that sees the small one, brought to size (Saharia et al.
    2021).

        x = a x_0 + sqrt(1 - a^2) e           a uniform in [sqrt(abar_t-1), sqrt(abar_t)], t uniform
        loss = |e - eps([up(y), x], a)|       the picture's channels first; told the level a, not t
        x_t-1 ~ q(x_t-1 | x_t, x_0)           x_0 from eps, clipped to [-1, 1]

    y is the picture made smaller `factor` times, up(y) the same brought back to size, both bicubically with
    antialiasing. As the network is told levels, any chain will do when it is used, also one of few steps.
    Several factors in a row are several networks: enlarge, then enlarge the result.

    Deviates from the reference code: a timestep is drawn for each picture, not the batch; every picture of
    a batch is returned (there the last one); the average of the weights is used (there it is "not used now");
    levels may be multiplied before they are told (`level_scale`), as a sinusoid of a number between 0 and 1
    tells little; the network may answer v or the picture (`predicts`), and learn from crops (`crop`).

    >>> import headwater as hw
    >>> emoji, sizes = hw.load("emoji", "train", 16).images[:8], LevelArchitecture(32, (1, 1), 1, ())
    >>> method = hw.SR3(factor=4, steps=3, network=sizes, training=TrainerConfig(2, 4))
    >>> fitted = method.fit(emoji, seed=0, progress=False)
    >>> method.apply(method.small(emoji[:2]), fitted, seed=0, progress=False).shape
    torch.Size([2, 3, 16, 16])
    """

    paper: ClassVar[Paper] = Paper(
        title="Image Super-Resolution via Iterative Refinement",
        authors="Chitwan Saharia, Jonathan Ho, William Chan, Tim Salimans, David J. Fleet, Mohammad Norouzi",
        year=2021,
        arxiv="2104.07636",
        code="Janspiry/Image-Super-Resolution-via-Iterative-Refinement",
        claim="Pictures enlarged by diffusion look like photographs where those of a regression network are "
        "blurred, although regression has the better PSNR.",
    )
    needs: ClassVar[tuple[str, ...]] = ("pictures of the large size, to train on",)
    applied: ClassVar[tuple[str, ...]] = ("steps", "start", "end")

    factor: int = 8
    """How many times larger a side becomes; the sides of the large pictures are multiples of it."""
    T: int = 2000
    """Number of timesteps of the chain that is trained on."""
    error: Error = "l1"
    """Size of the network's error: its absolute value, its square, or Huber's between the two."""
    predicts: Literal["eps", "v", "x0"] = "eps"
    """Target of the network: the noise as in the paper, v, or the large picture itself, which suits short
    trainings of small networks: noise has to be answered to its exact size at every level."""
    level_scale: float = 1.0
    """What the level is multiplied by before the network is told it; 1 as the paper has it."""
    network: LevelArchitecture = field(
        default_factory=lambda: LevelArchitecture(64, (1, 2, 4, 8, 8), 2, (8,), dropout=0.2)
    )
    """Sizes of the U-Net, by default of the reference code's 16 to 128 pixels."""
    mirror: bool = True
    """Mirror half of the training pictures, left to right."""
    crop: int = 0
    """Side of the square crops that the network learns from, drawn anew for every batch at random places and
    scales, from this many pixels (or half of the picture) to the whole picture; 0 learns from whole ones."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width to which the command line brings the pictures to train on, before crops are
    drawn; None: those of the first one."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(1_000_000, 256, lr=1e-4, warmup=10_000, ema=0.9999)
    )
    """How the network is trained."""
    steps: int = 2000
    """Number of steps when a picture is enlarged, evenly spaced in a chain of T, or of so many where `start`
    is given."""
    start: float | None = None
    """Variance of the first step of a chain of `steps` steps that is walked in place of the trained one."""
    end: float = 0.1
    """Variance of the last step of that chain."""

    def small(self, image: Tensor) -> Tensor:
        """Pictures (B, C, H, W) made smaller bicubically, (B, C, H / factor, W / factor)."""
        height, width = image.shape[-2:]
        need(
            self.factor >= 1 and height % self.factor == 0 and width % self.factor == 0,
            f"pictures of {height} x {width} cannot be made {self.factor} times smaller: resize or crop them "
            f"to multiples of {self.factor} a side",
        )
        return resized(image, height // self.factor, width // self.factor)

    def fit(self, image: Images, **how: Unpack[RunOptions]) -> FittedSR3:
        """Learn from large pictures (N, C, H, W) in [-1, 1], which are made small here."""
        run = Run(**how)
        need(image.ndim == 4 and len(image) > 0, "there is no picture to learn from: give some")
        channels, *sides = (int(n) for n in image.shape[1:])
        fits = 0 <= self.crop <= min(sides)
        need(
            fits, f"crop is {self.crop}: give a side of up to {min(sides)} pixels, as the pictures have, or 0"
        )
        height, width = (self.crop, self.crop) if self.crop else sides
        self.small(image.new_empty(0, channels, height, width))  # says so where the factor does not fit
        network = LevelUNetConfig(**asdict(self.network), in_channels=2 * channels, out_channels=channels)
        betas = Betas(self.T)
        shape = (channels, height, width)
        config = PicturedConfig(
            network, shape, betas, scale=self.level_scale, predicts=self.predicts, factor=self.factor
        )
        fitted = FittedSR3.fresh(config, derive(run.seed, Purpose.PICTURED_WEIGHTS))
        pairs = self.pairs(image, run.seed)
        return fit_pictured(fitted, pairs, len(image), self.error, self.training, run, self.learnt())

    def pairs(self, image: Tensor, seed: int) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
        """What a batch shows, and what is to be drawn of it: pairs(rows, number), a function of both."""

        def pairs(rows: Tensor, number: int) -> tuple[Tensor, Tensor]:
            draws = torch.Generator().manual_seed(derive(seed, Purpose.PICTURED_MIRRORS, number))
            mirrored = (torch.rand(len(rows), generator=draws) < 0.5) & self.mirror
            large = image[rows]
            if self.crop:
                large = torch.stack([augment.crop(one, draws, self.crop) for one in large])
            large = torch.where(mirrored[:, None, None, None], large.flip(-1), large)
            return resized(self.small(large), *large.shape[-2:]), large

        return pairs

    def apply(self, image: Measured, fitted: FittedSR3, **how: Unpack[RunOptions]) -> Images:
        """Enlarge small pictures (B, C, h, w) in [-1, 1]. Picture i depends on the seed and i alone."""
        channels, height, width = fitted.config.shape
        wanted = (channels, height // fitted.config.factor, width // fitted.config.factor)
        need(len(image) > 0, "there is no picture to enlarge: give some")
        need(
            tuple(image.shape[1:]) == wanted,
            f"the pictures are {tuple(image.shape[1:])}, and this network enlarges {wanted} "
            f"{fitted.config.factor} times: crop or resize them, or fit another",
        )
        betas = fitted.config.betas if self.start is None else Betas(self.steps, self.start, self.end)
        return draw_pictured(fitted, resized(image, height, width), betas, self.steps, Run(**how))

    def evaluate(self, enlarged: Images, truth: Images, image: Measured | None = None) -> dict[str, float]:
        """How far enlarged pictures are from the truth, and from the small pictures that they came from.

        psnr: dB. ssim. consistency, with `image`: mean squared difference of the enlarged picture, made small
        again, from the small one, values in [-1, 1].
        """
        scores = {"psnr": float(psnr(enlarged, truth).mean()), "ssim": float(ssim(enlarged, truth).mean())}
        if image is not None:
            again = resized(enlarged, *image.shape[-2:])
            scores["consistency"] = float((again - image).square().mean())
        return scores


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """Pictures (B, C, H, W) in another size, bicubically, antialiased where they shrink, in [-1, 1]."""
    sizes = zip(image.shape[-2:], (height, width), strict=True)
    rows, columns = (resizing(n, out).to(image) for n, out in sizes)
    return (rows @ image @ columns.T).clamp(-1, 1)
