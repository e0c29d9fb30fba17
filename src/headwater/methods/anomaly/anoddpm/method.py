"""AnoDDPM: find what a prior of healthy pictures would not draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch

from headwater.core import Ancestral, descend
from headwater.errors import need
from headwater.methods.base import Images, Map, Mask, Method, Paper, Scores
from headwater.metrics.detection import Counts, auroc, best_dice
from headwater.models import Prior
from headwater.notes import note
from headwater.sampling import Run, RunOptions, Start, sample


@dataclass(frozen=True, eq=False)
class Anomalies:
    """What was found, per picture."""

    map: Map
    """Squared difference from the reconstruction, averaged over channels and reconstructions; 0 .. 4."""
    reconstruction: Images
    """The mean reconstruction, (B, C, H, W) in [-1, 1]."""
    score: Scores
    """Mean of the highest hundredth of the map, (B,)."""

    @classmethod
    def of(cls, map: Map, reconstruction: Images) -> Anomalies:
        """With the score of the map."""
        flat = map.flatten(1)
        return cls(map, reconstruction, flat.topk(max(1, flat.shape[1] // 100), dim=1).values.mean(1))


@dataclass(frozen=True)
class AnoDDPM(Method):
    """Noise a picture part of the way, denoise it with a prior of healthy pictures, and look at what changed
    (Wyatt et al. 2022).

        x_lambda = alpha x + sigma n                n: multi-octave simplex noise: large lesions go too
        x_t-1    ~ p(x_t-1 | x_t)                   the forward step's variance, noise distributed as n
        e        = mean over reconstructions of (x - x_0)^2

        n(u, v)  = sum_i 0.8^i S(u / w_i, v / w_i, (t - 1) / w_i)      w_i = wavelength / 2^i pixels

    S is OpenSimplex noise in three dimensions and (t - 1) the reference's own index of the timestep. The
    distribution of n is the prior's own: recipes/prior trains one with `noise: simplex` (or white, or
    power-law, the exactly Gaussian field with the same spectrum).

    Deviates from the reference code: any batch size (there one picture with simplex noise), and a fresh field
    for each channel of each picture; seed 0 is a seed (there a random one); several reconstructions may be
    averaged; fewer steps may be taken, then with the posterior's variance, because the forward one is meant
    for single timesteps and leaves noise behind in longer ones; one lambda (the routines there differ by
    one); priors train all timesteps (there those below 800); the network is the one that was trained (there
    it is evaluated with one attention head instead of two); precision and recall are what their names say
    (there they are swapped, and the false positive rate is FN / (FN + TN)); the map is scored at its best
    threshold beside the arbitrary 0.5.

    >>> import headwater as hw
    >>> prior, head = hw.Prior.from_pretrained("brain-simplex"), hw.load("brain", "colin", 32)
    >>> found = hw.AnoDDPM(level=100, steps=2).apply(prior, head.images[50:52], seed=0)
    >>> found.map.shape, found.reconstruction.shape, found.score.shape
    (torch.Size([2, 1, 32, 32]), torch.Size([2, 1, 32, 32]), torch.Size([2]))
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
    """Timestep that pictures are noised to (lambda), of the prior's 1,000: too low copies the lesion, too
    high loses the anatomy."""
    steps: int | None = None
    """Number of denoising steps from there; None takes every timestep."""
    reconstructions: int = 1
    """Number of reconstructions that are drawn and averaged; the paper draws one."""

    def plan(self, T: int) -> list[int]:
        """Up from the clean picture to `level`, then down. Raises UserError for a level that T has not."""
        need(1 <= self.level <= T, f"this prior has levels 1 to {T}: {self.level} is none of them")
        need(self.steps is None or 1 <= self.steps <= self.level, f"take 1 to {self.level} steps, or None")
        return [0, *descend(self.level, self.steps)]

    def apply(self, prior: Prior, image: Images, **how: Unpack[RunOptions]) -> Anomalies:
        """Score pictures (B, C, H, W) in [-1, 1]. Raises UserError when the prior draws another size."""
        prior.check(image)
        drawn = sample(
            prior.denoiser, self.plan(prior.process.T), len(image),
            lambda batch: Start(batch.take(image), prior.controls), Run(**how),
            sampler=Ancestral("large" if self.steps in (None, self.level) else "small"),
            law=prior.noise, draws=self.reconstructions, label="reconstructions",
        )  # fmt: skip
        image = image.cpu()
        error, mean = torch.zeros_like(image), torch.zeros_like(image)
        for x in drawn.unflatten(0, (len(image), -1)).unbind(1):
            error += (image - x).square() / self.reconstructions
            mean += x / self.reconstructions
        return Anomalies.of(error.mean(1, keepdim=True), mean)

    def evaluate(self, map: Map, score: Scores, truth: Mask) -> dict[str, float]:
        """Compare with truth (B, 1, H, W) bool, True where a lesion is.

        mean_dice averages the Dice at the paper's threshold 0.5 over the pictures that have a lesion, as the
        paper does; dice, iou, precision, recall and false_positive_rate are at that threshold too, and pool
        the pixels of all pictures, as pixel_auroc and best_dice do. best_dice takes the best threshold for
        the truth it is compared with: an upper bound, no result. image_auroc tells pictures with a lesion
        from those without. What ranks one kind above the other is NaN if one is missing, and that is noted
        for pixels.
        """
        sick, ranked = truth.flatten(1).any(1), 0 < int(truth.sum()) < truth.numel()
        if not ranked:
            marks = (
                "no mask has a white pixel" if not bool(truth.any()) else "every pixel of the masks is white"
            )
            note(f"{marks}, so that pixel_auroc, best_dice and image_auroc are not defined", "--truth")
        fixed = Counts.of(map > 0.5, truth)
        each = [Counts.of(m > 0.5, t).dice for m, t in zip(map, truth, strict=True) if bool(t.any())]
        return {
            "pixel_auroc": auroc(map.flatten(), truth.flatten()) if ranked else float("nan"),
            "best_dice": best_dice(map.flatten(), truth.flatten())[0] if ranked else float("nan"),
            "mean_dice": sum(each) / len(each) if each else float("nan"),
            "dice": fixed.dice,
            "iou": fixed.iou,
            "precision": fixed.precision,
            "recall": fixed.recall,
            "false_positive_rate": fixed.false_positive_rate,
            "image_auroc": auroc(score, sick) if 0 < int(sick.sum()) < len(sick) else float("nan"),
        }
