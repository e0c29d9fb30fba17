"""GLIDE's inpainting: fill a hole with what a caption says, by a network that was trained to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from headwater.core import Clip, Control, Prediction, last, reverse
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.methods.base import Images, Mask, Paper, Texts
from headwater.methods.synthesis.caption_training import check_pairs, fresh, learn
from headwater.methods.synthesis.fitted_glide import FittedGlide, FittedGlideInpaint
from headwater.methods.synthesis.glide import Glide
from headwater.metrics.image import border_continuity, psnr
from headwater.nets.text2im import InpaintText2Im
from headwater.run import Run
from headwater.train.optimisation import Optimisation


@dataclass(frozen=True)
class GlideInpaint(Glide):
    """GLIDE's network with 2C + 1 input channels: [x_t, known * image, known] (the paper, sec. 3.2).

        x0^  = known * image + (1 - known) * x0(x_t, caption, known * image, known)     then clipped

    In training a random rectangle of each picture is erased, of a share of them (`erased`) all. Weights of
    the further channels begin at zero, all others at those of a fitted `base`, if there is one.

    Deviates from the paper: rectangles, since it does not say which regions it erases; the loss covers the
    known part too, as it is known to the network and costs nothing.
    """

    paper: ClassVar[Paper] = replace(
        Glide.paper,
        claim="A network that was trained to inpaint fills holes with less visible seams than one that draws "
        "the known part over at each step.",
    )
    needs: ClassVar[tuple[str, ...]] = ("pictures with a caption each", "a mask of the known pixels")

    base: str = ""
    """A fitted GLIDE to start from: a folder or the name of one that ships. Empty starts afresh."""
    erased: float = 0.2
    """Share of pictures of which nothing is known."""
    training: Optimisation = field(default_factory=lambda: Optimisation(500_000, 2048, 1e-4, ema=0.9999))
    steps: str = "100"

    def fit(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, image: Images, text: Texts, run: Run | None = None
    ) -> FittedGlideInpaint:
        """Learn to restore image[i] from a part of it and text[i]. UserError where they cannot be paired."""
        run = run or Run()
        check_pairs(image, text)
        need(0 <= self.erased <= 1, f"erased is {self.erased}: give a share from 0 to 1")
        fitted = self._start(image, text, run)
        about = {k: v for k, v in asdict(self).items() if k not in {*self.applied, "training"}}

        def erase(x0: Tensor) -> dict[str, Tensor]:
            return {"image": x0, "known": rectangles(x0, self.erased)}

        trained = learn(fitted, image, text, self.caption_dropout, self.training, run, about, erase)
        return replace(fitted, network=trained)

    def _start(self, image: Images, text: Texts, run: Run) -> FittedGlideInpaint:
        if not self.base:
            tokenizer = Tokenizer.of(self.tokenizer, text, self.vocabulary)
            channels, height, width = image.shape[1:]
            sizes = self.sizes(channels, 2 * channels + 1, tokenizer.size)
            network = fresh(run, lambda: InpaintText2Im(sizes))
            return FittedGlideInpaint(
                network,
                tokenizer,
                (channels, height, width),
                self.T,
                self.betas,
                self.predicts,
                self.variance,
            )
        base = FittedGlide.load(self.base)
        need(
            image.shape[1:] == base.shape,
            f"pictures are {tuple(image.shape[1:])}, {self.base} draws {base.shape}: resize them",
        )
        wide = replace(base.network.config, in_channels=2 * base.shape[0] + 1)
        network = InpaintText2Im(wide)
        network.start_from(base.network.state_dict())
        return FittedGlideInpaint(
            network, base.tokenizer, base.shape, base.T, base.betas, base.predicts, base.variance
        )

    def apply(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, image: Images, known: Mask, text: Texts, fitted: FittedGlideInpaint, run: Run | None = None
    ) -> Images:
        """Fill `image` (B,C,H,W) where `known` (B or 1,1,H,W) is False with what text[i] says.

        Returns (B,C,H,W), given pixels untouched. Raises UserError when shapes disagree.
        """
        run = run or Run()
        check_hole(image, known, text, fitted.shape)
        plan, sampler = self.plan(fitted.T), self.stepping(fitted.variance)
        guided, told = fitted.guided(self.scale), fitted.encode(text)
        done = []
        for rows, part in run.chunks(len(text)):
            given = image[rows].to(run.device)
            mask = (known[rows] if len(known) > 1 else known.expand(len(given), -1, -1, -1)).to(run.device)
            noise = part.stream(len(given))
            cond = {"image": given, "known": mask, **{key: value[rows] for key, value in told.items()}}
            with torch.inference_mode():
                x, controls = fitted.process.start(given, noise), [Paste(given, mask), Clip()]
                walk = reverse(guided, x, plan, sampler, controls, noise, False, **cond)
                done.append(last(run.watch(walk, len(plan) - 1, f"pictures {rows.start + 1}-{rows.stop}")))
        return torch.cat(done)

    def evaluate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, filled: Images, truth: Images, known: Mask
    ) -> dict[str, float]:
        """hole_mse: mean squared error over the hole, range [-1, 1]. psnr: of whole pictures, dB. seam: mean
        step across the edge of the hole minus that of the truth; 0 is seamless."""
        hole = (~known).expand_as(truth)
        return {
            "hole_mse": float((filled - truth)[hole].square().mean()),
            "psnr": float(psnr(filled, truth).mean()),
            "seam": float(border_continuity(filled, truth, known).mean()),
        }


@dataclass(frozen=True, eq=False)
class Paste(Control):
    """Put the given pixels over the estimate of the clean picture, before it is clipped."""

    image: Tensor
    known: Tensor

    def denoised(self, pred: Prediction) -> Prediction:
        return pred.with_x0(self.image.where(self.known, pred.x0))


def rectangles(like: Tensor, erased: float) -> Tensor:
    """Masks (B,1,H,W) bool, False in a rectangle of each, or everywhere with probability `erased`.

    Sides are a quarter of the picture's or more; drawn from torch's global generator.
    """
    n, device = len(like), like.device
    inside = []
    for side in like.shape[-2:]:
        length = (0.25 + 0.65 * torch.rand(n, 1)) * side
        first = torch.rand(n, 1) * (side - length)
        place = torch.arange(side) + 0.5
        inside.append((place > first) & (place < first + length))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    whole = torch.rand(n, 1, 1, 1) < erased
    return (~(hole | whole)).to(device)


def check_hole(image: Tensor, known: Tensor, text: Texts, shape: tuple[int, int, int]) -> None:
    """UserError unless pictures, masks and captions belong together and fit the network."""
    need(
        image.shape[1:] == shape,
        f"the pictures are {tuple(image.shape[1:])}, this network draws {shape}: resize them",
    )
    need(
        len(image) == len(text),
        f"there are {len(image)} pictures and {len(text)} captions: give one caption for each picture",
    )
    fits = known.dtype == torch.bool and known.shape[1:] == (1, *shape[1:])
    need(
        fits and len(known) in (1, len(image)),
        f"the mask is {tuple(known.shape)} of {known.dtype}: give bool "
        f"({len(image)} or 1, 1, {shape[1]}, {shape[2]})",
    )
