"""DatasetDDPM: let the pixel classifiers label what the prior draws, and train a plain network on that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from headwater.core import Sampler
from headwater.errors import need
from headwater.methods.base import Images, Labels, Scores
from headwater.methods.segmentation.ddpm_segmentation.fitted import PixelClassifiers
from headwater.methods.segmentation.ddpm_segmentation.method import DDPMSegmentation
from headwater.models import Prior
from headwater.sampling import Run


@dataclass(frozen=True)
class LabelledSamples:
    """Pictures that a prior drew, with the labels of the pixel classifiers, the most certain first."""

    image: Images
    labels: Labels
    score: Scores
    """Uncertainty of each picture."""


def label_samples(
    prior: Prior,
    fitted: PixelClassifiers,
    n: int,
    run: Run,
    *,
    drop: float = 0.1,
    plan: Sequence[int] | None = None,
    sampler: Sampler | None = None,
) -> LabelledSamples:
    """Draw n pictures, label them, drop the most uncertain share `drop` (Baranchuk et al. 2022, sec. 4.2).

    plan, sampler: as in `Prior.sample`; the paper takes all 1000 steps and 50,000 pictures.
    Deviates from the reference code, whose slice drops the 30 most certain pictures and keeps some of the
    most uncertain ones: here exactly the floor(n drop) most uncertain ones go.
    """
    need(0 <= drop < 1, f"drop is {drop}: give a share from 0 to below 1")
    need(n >= 1, f"n is {n}: draw at least one picture")
    image = prior.sample(n, plan, sampler, **run).clamp(-1, 1)
    found = DDPMSegmentation().apply(prior, image, fitted, **run)
    kept = most_certain(found.score, drop)
    return LabelledSamples(image[kept], found.labels[kept], found.score[kept])


def most_certain(score: Tensor, drop: float) -> Tensor:
    """Rows (M,) int64 in order of rising score (N,), without the last floor(N drop)."""
    return score.argsort(stable=True)[: len(score) - int(len(score) * drop)]
