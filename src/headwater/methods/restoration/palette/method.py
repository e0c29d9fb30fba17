"""Palette: restore, complete and translate pictures by a diffusion that sees what is given of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from headwater.controls import GivenRegion
from headwater.core import Control
from headwater.core.denoiser import Error
from headwater.errors import need
from headwater.methods.base import Images, Mask, Method, Paper, check_mask
from headwater.methods.restoration.palette.tasks import HOLES, Task, damaged
from headwater.methods.restoration.shared.pictured import (
    Betas,
    Pairs,
    Pictured,
    PicturedConfig,
    draw_pictured,
    fit_pictured,
)
from headwater.metrics.image import hole_scores, psnr, ssim
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes, prefixed
from headwater.nets.adm import UNetConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.image_conditioned import ConcatenatedUNet
from headwater.nets.infer import unet_fields
from headwater.noise import Purpose, derive
from headwater.notes import note
from headwater.sampling import Batch, Run, RunOptions
from headwater.training import TrainerConfig

TABLE = re.compile(r"(gammas|sqrt_recip(m1)?_gammas|posterior_\w+)")
"""Names of what the reference code keeps beside its network."""
THEIRS: dict[str, tuple[Task, ...]] = {
    "inpainting": ("inpaint",),
    "uncropping": ("uncrop",),
    "colorization": ("colourise",),
}
"""Tasks of the reference code's configuration files."""


@dataclass(frozen=True)
class PaletteConfig(PicturedConfig):
    """Sizes, chain, and what it was trained to undo."""

    network: UNetConfig
    tasks: tuple[Task, ...] = ()
    """Empty for pairs of the user's own."""
    groups: int = 32
    """Groups of the group norms, of which every width is a multiple."""

    def __post_init__(self) -> None:
        super().__post_init__()
        good = self.groups >= 1 and not any(width % self.groups for width in self.network.widths)
        need(good, f"groups is {self.groups}: give a number that divides the width of every level")


class FittedPalette(Pictured):
    """What `Palette.fit` returns."""

    config: PaletteConfig
    kind = "palette"

    @classmethod
    def networks(cls, config: Any) -> Parts:
        network = ConcatenatedUNet(config.network)
        for norm in network.modules():
            if isinstance(norm, nn.GroupNorm):
                norm.num_groups = config.groups  # it has a weight for each channel, however they are grouped
        return {"network": network}

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """A network's file of Janspiry/Palette-Image-to-Image-Diffusion-Models, with or without the
        `denoise_fn.` before its names. Settings, as in its configuration file: `image_size`, and
        `num_head_channels`, `n_timestep`, `linear_start`, `linear_end` of training, and `task`, where they
        are not 32, 2000, 1e-6, 1e-2 and inpainting."""

        def name(given: str) -> str | None:
            own = given.removeprefix("denoise_fn.")
            return prefixed(own.replace("cond_embed", "time_embed"))

        def is_table(given: str) -> bool:
            return bool(TABLE.fullmatch(given.removeprefix("denoise_fn.")))

        own = {
            n.removeprefix("network."): tuple(v)
            for k, v in shapes.items()
            if (n := name(k)) and not is_table(k)
        }
        heads = int(settings.get("num_head_channels", 32))
        network = UNetConfig(**unet_fields(own, num_head_channels=heads, use_new_attention_order=False))
        side, task = int(settings["image_size"]), str(settings.get("task", "inpainting"))
        betas = Betas(
            int(settings.get("n_timestep", 2000)),
            float(settings.get("linear_start", 1e-6)),
            float(settings.get("linear_end", 1e-2)),
        )
        shape = (network.out_channels, side, side)
        config = PaletteConfig(network, shape, betas, power=2, tasks=THEIRS.get(task, ()))
        return Layout(config, name, unused=is_table)


@dataclass(frozen=True)
class Palette(Method):
    """Draw the picture from noise by a network that sees what is left of it: with a hole, without colours,
    after JPEG compression, or a picture of the user's own that goes with it (Saharia et al. 2022).

        x = sqrt(g) x_0 + sqrt(1 - g) e       g uniform in [abar_t, abar_t-1], t uniform; told g, not t
        loss = |e - eps([c, x], g)|^2         c what is seen, whose channels come first
        x_t-1 ~ q(x_t-1 | x_t, x_0)           x_0 from eps, clipped to [-1, 1]

    With a mask, holes of c hold noise, x is clean where pixels are known, the loss counts the hole alone (as
    a mean over all pixels), and what is known stays as it is to the bit. One network learns all `tasks`, one
    drawn for each training picture, and is not told which. As it is told levels, the chain that is walked is
    another one than it was trained on: here 1,000 steps to 0.09 after training on 2,000 to 0.01.

    Deviates from the reference code: masks are True where pixels are known (there in the hole); the noise
    that a drawing starts from is not that which fills the hole of c (in training they differ there too); the
    least noisy level is trained on; the average of the weights is used (there it is saved only); levels may
    be multiplied before they are told (`level_scale`), as a sinusoid of a number between 0 and 1 tells
    little. Its U-Net asks for attention at 16 x 16 but has it in the middle only; so has this one by default.

    >>> import torch
    >>> import headwater as hw
    >>> people = hw.load("emoji-parts", "test", 32).images[:2]
    >>> known = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    >>> known[..., 16:] = False
    >>> fitted = FittedPalette.from_pretrained("palette-people")
    >>> filled = hw.Palette(steps=2, end=0.95).apply(people, fitted, known, seed=0, progress=False)
    >>> torch.equal(filled[..., :16], people[..., :16])
    True
    """

    paper: ClassVar[Paper] = Paper(
        title="Palette: Image-to-Image Diffusion Models",
        authors="Chitwan Saharia, William Chan, Huiwen Chang, Chris A. Lee, Jonathan Ho, Tim Salimans, "
        "David J. Fleet, Mohammad Norouzi",
        year=2022,
        venue="SIGGRAPH",
        arxiv="2111.05826",
        code="Janspiry/Palette-Image-to-Image-Diffusion-Models",
        claim="One network that is trained on several tasks restores as well as a network for each, and its "
        "draws vary where what is given leaves a choice.",
    )
    needs: ClassVar[tuple[str, ...]] = ("undamaged pictures to train on, or pairs of pictures",)
    applied: ClassVar[tuple[str, ...]] = ("steps", "start", "end")

    tasks: tuple[Task, ...] = ("inpaint", "uncrop", "colourise", "jpeg")
    """Tasks to learn, one of which is drawn for each training picture; pairs of your own take their place."""
    quality: tuple[int, int] = (5, 30)
    """Lowest and highest quality of the JPEG files in training."""
    T: int = 2000
    """Number of timesteps of the chain that is trained on."""
    error: Error = "l2"
    """Size of the network's error: its square, its absolute value, or Huber's between the two."""
    predicts: Literal["eps", "v", "x0"] = "eps"
    """Target of the network: the noise, v (Salimans & Ho 2022), or the picture itself, which suits short
    trainings."""
    level_scale: float = 1.0
    """What the level is multiplied by before the network is told it; 1 as the paper has it."""
    network: UNetArchitecture = field(
        default_factory=lambda: UNetArchitecture(
            64, (1, 2, 4, 8), 2, (), num_head_channels=32, dropout=0.2, resblock_updown=True
        )
    )
    """Sizes of the U-Net, by default of the reference code's 256 x 256 pixels."""
    groups: int = 32
    """Number of groups of the network's norms: 32 in the reference code, fewer for narrow networks, which
    otherwise do not see how strong a flat colour is."""
    mirror: bool = True
    """Mirror half of the training pictures, left to right."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width to which the command line brings the pictures to train on; None: those of
    the first one."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(1_000_000, 1024, lr=1e-4, warmup=10_000, ema=0.9999)
    )
    """How the network is trained."""
    steps: int = 1000
    """Number of steps when a picture is drawn, evenly spaced in a chain of T, or of so many where `start` is
    given."""
    start: float | None = 1e-4
    """Variance of the first step of a chain of `steps` steps that is walked in place of the trained one."""
    end: float = 0.09
    """Variance of the last step of that chain; with few steps it has to be larger."""

    def fit(self, image: Images, seen: Images | None = None, **how: Unpack[RunOptions]) -> FittedPalette:
        """Learn to draw pictures (N, C, H, W) in [-1, 1], which are damaged here as `tasks` say.

        seen: pictures of your own that the network sees instead, one for each, of the same shape.
        """
        run = Run(**how)
        need(image.ndim == 4 and len(image) > 0, "there is no picture to learn from: give some")
        image, seen = image.cpu(), None if seen is None else seen.cpu()  # where damages are drawn
        alike = seen is None or seen.shape == image.shape
        need(alike, "pictures and what is seen of them differ in number or size: give pairs of one shape")
        channels, height, width = (int(n) for n in image.shape[1:])
        tasks = () if seen is not None else self._tasks(channels)
        network = UNetConfig(in_channels=2 * channels, out_channels=channels, **asdict(self.network))
        config = PaletteConfig(
            network, (channels, height, width), Betas(self.T), 2, self.level_scale, self.predicts,
            tasks=tasks, groups=self.groups,
        )  # fmt: skip
        fitted = FittedPalette.fresh(config, derive(run.seed, Purpose.PICTURED_WEIGHTS))
        pairs = self.pairs(image, seen, tasks, run.seed)
        return fit_pictured(fitted, pairs, len(image), self.error, self.training, run, self.learnt())

    def pairs(self, image: Tensor, seen: Tensor | None, tasks: tuple[Task, ...], seed: int) -> Pairs:
        """What batches show, what is to be drawn, and which pixels of it are known; or pairs with `seen`."""

        def pairs(rows: Tensor, number: int) -> tuple[Tensor, ...]:
            draws = torch.Generator().manual_seed(derive(seed, Purpose.PICTURED_MIRRORS, number))
            turned = ((torch.rand(len(rows), generator=draws) < 0.5) & self.mirror)[:, None, None, None]
            x0, *given = (
                torch.where(turned, v[rows].flip(-1), v[rows]) for v in (image, seen) if v is not None
            )
            if given:
                return given[0], x0
            made: list[tuple[Tensor, Tensor]] = []
            for k, picture in enumerate(x0):
                draws = torch.Generator().manual_seed(derive(seed, Purpose.PALETTE_TASKS, number, k))
                task = tasks[int(torch.randint(len(tasks), (), generator=draws))]
                made.append(damaged(picture, task, self.quality, draws))
            shown, known = (torch.stack(parts) for parts in zip(*made, strict=True))
            return shown, x0, known

        return pairs

    def _tasks(self, channels: int) -> tuple[Task, ...]:
        """The tasks that pictures of so many channels can be given."""
        low, high = self.quality
        need(1 <= low <= high <= 100, f"quality is {low} to {high}: give two numbers that rise from 1 to 100")
        found: tuple[Task, ...] = tuple(t for t in self.tasks if channels == 3 or t != "colourise")
        need(len(found) > 0, "there is no task to learn: give some, and colour pictures to colourise")
        if found != self.tasks:
            note("grey pictures have no colours, so `colourise` is left out", "tasks")
        return found

    def apply(
        self, image: Images, fitted: FittedPalette, known: Mask | None = None, **how: Unpack[RunOptions]
    ) -> Images:
        """Draw what was wanted of given pictures (B, C, H, W) in [-1, 1], by default of ones that are damaged
        everywhere: grey ones, JPEG files, or the seen ones of pairs.

        known: (B or 1, 1, H, W) bool, True where pixels are given and stay; values elsewhere are ignored.
        Picture i depends on the seed and i alone.
        """
        run, tasks = Run(**how), set(fitted.config.tasks)
        need(len(image) > 0, "there is no picture to restore: give some")
        if image.shape[1] == 1:
            image = image.expand(-1, fitted.shape[0], -1, -1)
        fitted.check(image)
        betas = fitted.config.betas if self.start is None else Betas(self.steps, self.start, self.end)
        left = float(betas.signal()[-1]) ** 2
        if left > 0.1:
            chain = (
                f"a chain of {self.steps} steps that end at {self.end} begins at {left:.0%} of the picture"
            )
            note(f"{chain}, where pure noise is drawn: raise end", "end")
        if known is None:
            need(not tasks or tasks > HOLES & tasks, "this network fills holes: say by known what is given")
            return draw_pictured(fitted, image, betas, self.steps, run)
        need(bool(tasks & HOLES), "this network has not learnt to fill holes: omit known, or fit another")
        check_mask(known, image)
        image, known = image.cpu(), known.cpu()
        seen = image.where(known, run.stream(len(image), purpose=Purpose.PALETTE_HOLES)(image))

        def given(batch: Batch) -> list[Control]:
            return [GivenRegion(batch.take(image), batch.take(known), place="both")]

        drawn = draw_pictured(fitted, seen, betas, self.steps, run, controls=given)
        return image.where(known, drawn)

    def evaluate(self, restored: Images, truth: Images, known: Mask | None = None) -> dict[str, float]:
        """How far restored pictures are from the truth.

        psnr: dB. ssim. With `known` also hole_mse, the mean squared error over the holes, values in [-1, 1],
        and seam, the mean step across their edges minus that of the truth.
        """
        scores = {"psnr": float(psnr(restored, truth).mean()), "ssim": float(ssim(restored, truth).mean())}
        return scores | ({} if known is None else hole_scores(restored, truth, known))
