"""AnoDDPM: find what a prior of healthy pictures would not draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch

from headwater.core import Ancestral, below, descend
from headwater.errors import need
from headwater.methods.anomaly.shared.anomalies import Anomalies, image_score
from headwater.methods.base import Images, Map, Mask, Method, Paper, Scores
from headwater.metrics.detection import Counts, auroc, best_dice
from headwater.models import Prior
from headwater.sampling import Run, RunOptions, Start, sample


@dataclass(frozen=True)
class AnoDDPM(Method):
    """Noise a picture part of the way, walk back with a prior of healthy pictures, look at what changed
    (Wyatt et al. 2022).

        x_lambda = alpha x + sigma n                n: multi-octave simplex noise: large lesions go too
        x_t-1    ~ p(x_t-1 | x_t)                   the forward step's variance, noise of the same law
        e        = mean over reconstructions of (x - x_0)^2

    The law of n is the prior's own: recipes/prior trains one with `noise: simplex` (or white, or power-law,
    the exactly Gaussian field with the same spectrum).

    Deviates from the reference code: any batch size, a fresh field per picture; several reconstructions may
    be averaged; fewer steps may be walked, then with the posterior's variance, because the forward one is
    meant for single levels; precision and recall are what their names say (there they are swapped); the map
    is scored at its best threshold beside the arbitrary 0.5.
    """

    paper: ClassVar[Paper] = Paper(
        title="AnoDDPM: Anomaly Detection with Denoising Diffusion Probabilistic Models using Simplex Noise",
        authors="Julian Wyatt, Adam Leach, Sebastian M. Schmon, Chris G. Willcocks",
        year=2022,
        venue="CVPR Workshops",
        arxiv="",
        code="Julian-Wyatt/AnoDDPM",
        claim="Simplex noise finds large lesions that Gaussian noise leaves in place, and Dice rises, then "
        "falls, with the level that pictures are noised to.",
    )
    needs: ClassVar[tuple[str, ...]] = ("a prior of healthy pictures, best trained with simplex noise",)

    level: int = 250
    """lambda: the level, of the prior's 1000, that pictures are noised to."""
    steps: int | None = None
    """Steps of the walk back; None visits every level."""
    reconstructions: int = 1
    """How many are drawn and averaged; the paper draws one."""

    def plan(self, T: int) -> list[int]:
        """Up from the clean picture to `level`, then down. Raises UserError for a level that T has not."""
        need(1 <= self.level <= T, f"this prior has levels 1 to {T}: {self.level} is none of them")
        need(self.steps is None or 1 <= self.steps <= self.level, f"take 1 to {self.level} steps, or None")
        return [0, *below(descend(self.level, self.steps), self.level)]

    def apply(self, prior: Prior, image: Images, **how: Unpack[RunOptions]) -> Anomalies:
        """Score pictures (B, C, H, W) in [-1, 1]. Raises UserError when the prior draws another size."""
        run = Run(**how)
        need(
            tuple(image.shape[1:]) == tuple(prior.shape),
            f"the pictures are {tuple(image.shape[1:])}, this prior draws {tuple(prior.shape)}: resize them",
        )
        need(self.reconstructions >= 1, "draw at least one reconstruction")
        drawn = sample(
            prior.denoiser, self.plan(prior.process.T), len(image),
            lambda batch: Start(batch.take(image), prior.controls), run,
            sampler=Ancestral("large" if self.steps in (None, self.level) else "small"),
            law=prior.noise, draws=self.reconstructions, label="reconstructions",
        )  # fmt: skip
        image = image.cpu()
        error, healed = torch.zeros_like(image), torch.zeros_like(image)
        for x in drawn.unflatten(0, (len(image), -1)).unbind(1):
            error += (image - x).square() / self.reconstructions
            healed += x / self.reconstructions
        maps = error.mean(1, keepdim=True)
        return Anomalies(maps, healed, image_score(maps))

    def evaluate(self, map: Map, score: Scores, truth: Mask) -> dict[str, float]:
        """Compare with truth (B, 1, H, W) bool, True where a lesion is.

        pixel_auroc and best_dice (over all thresholds) pool the pixels of all pictures; dice, precision and
        recall are at the paper's threshold 0.5; image_auroc tells pictures with a lesion from those without,
        NaN if one kind is missing.
        """
        sick = truth.flatten(1).any(1)
        fixed = Counts.of(map > 0.5, truth)
        return {
            "pixel_auroc": auroc(map.flatten(), truth.flatten()),
            "best_dice": best_dice(map.flatten(), truth.flatten())[0],
            "dice": fixed.dice,
            "precision": fixed.precision,
            "recall": fixed.recall,
            "image_auroc": auroc(score, sick) if 0 < int(sick.sum()) < len(sick) else float("nan"),
        }
