"""GLIDE's inpainting: fill a hole with what a caption says, by a network that was trained to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Unpack

from torch import Tensor

from headwater.controls import GivenRegion
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.methods.base import Images, Mask, Paper, Texts
from headwater.methods.synthesis.glide.method import Glide
from headwater.methods.synthesis.glide_inpaint.holes import check_hole, rectangles
from headwater.methods.synthesis.shared.caption_training import WEIGHTS, check_pairs, learn
from headwater.methods.synthesis.shared.drawing import draw
from headwater.methods.synthesis.shared.fitted_glide import FittedGlide, FittedGlideInpaint
from headwater.metrics.image import border_continuity, psnr
from headwater.nets.text2im import InpaintText2Im
from headwater.noise import derive
from headwater.sampling import Batch, Run, RunOptions
from headwater.training import TrainerConfig


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
    training: TrainerConfig = field(default_factory=lambda: TrainerConfig(500_000, 2048, 1e-4, ema=0.9999))
    steps: str = "100"

    def fit(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, image: Images, text: Texts, **how: Unpack[RunOptions]
    ) -> FittedGlideInpaint:
        """Learn to restore image[i] from a part of it and text[i]. UserError where they cannot be paired."""
        run = Run(**how)
        check_pairs(image, text)
        need(0 <= self.erased <= 1, f"erased is {self.erased}: give a share from 0 to 1")
        fitted = self._start(image, text, run)

        def erase(x0: Tensor) -> dict[str, Tensor]:
            return {"image": x0, "known": rectangles(x0, self.erased)}

        return learn(fitted, image, text, self.caption_dropout, self.training, run, self.learnt(), erase)

    def _start(self, image: Images, text: Texts, run: Run) -> FittedGlideInpaint:
        if not self.base:
            tokenizer, channels = Tokenizer.of(self.tokenizer, text, self.vocabulary), image.shape[1]
            sizes = self.sizes(channels, 2 * channels + 1, tokenizer.size)
            config = self.described(sizes, tokenizer, image)
            return FittedGlideInpaint.fresh(config, derive(run.seed, WEIGHTS))
        base = FittedGlide.from_pretrained(self.base)
        shape = base.shape
        need(
            image.shape[1:] == shape,
            f"pictures are {tuple(image.shape[1:])}, {self.base} draws {shape}: resize them",
        )
        wide = replace(base.config.network, in_channels=2 * shape[0] + 1)
        network = InpaintText2Im(wide)
        network.start_from(base.network.state_dict())
        return FittedGlideInpaint(network, replace(base.config, network=wide))

    def apply(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, image: Images, known: Mask, text: Texts, fitted: FittedGlideInpaint, **how: Unpack[RunOptions]
    ) -> Images:
        """Fill `image` (B,C,H,W) where `known` (B or 1,1,H,W) is False with what text[i] says.

        Returns (B,C,H,W), given pixels untouched. Raises UserError when shapes disagree.
        """
        run = Run(**how)
        check_hole(image, known, text, fitted.shape)

        def beside(batch: Batch) -> tuple[list[GivenRegion], dict[str, Tensor]]:
            given, mask = batch.take(image), batch.take(known)
            return [GivenRegion(given, mask, place="estimate")], {"image": given, "known": mask}

        return draw(self, fitted, text, run, beside)

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
