"""Does one magnitude prior reconstruct real, complex and multi-coil data? (Chung & Ye 2022, sec. 4)

Held-out slices are reconstructed at 4x in all three cases, then under other sampling patterns. Written down
before any result on the test head was seen: a case is won when the lower end of the 95 % interval of the
gain in PSNR lies above 3 dB against zero filling, and above 0 against total variation; the spread is honest
when its rank correlation with the error lies above 0; a pattern is won like a case, against zero filling.
The claim holds if all of these are met, partly if some are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.medical.score_mri.method import ScoreMRI
from headwater.methods.medical.shared.claim_baseline import best_weight, reconstruct_by_tv
from headwater.methods.medical.shared.simulated import CASES, Case, acquire, slices, zero_filled
from headwater.metrics.image import psnr, ssim
from headwater.metrics.statistics import spearman
from headwater.models import Prior
from headwater.operators.acquisition import FAMILIES, Family, acceleration
from headwater.report import Heat

GAIN = 3.0
"""dB above zero filling that the claim asks for."""
ZERO, TV, OURS = "zero-filled", "total variation", "Score-MRI"
RANK = "rank correlation of spread and error"

_WEIGHTS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    slices: int
    """Of the head that the prior never saw, evenly spaced."""
    method: ScoreMRI
    families: tuple[Family, ...]
    """Further sampling patterns, for coils and the first seed alone."""
    tuning: int = 8
    """Slices of the training head on which the weights of total variation are chosen."""


def tv_weights(side: int, n: int) -> dict[Case, float]:
    """The best of five weights for each case, in PSNR on some slices of the training head."""
    truth, numbers = slices("train", side, n)
    best: dict[Case, float] = {}
    for case in CASES:
        scan = acquire(case, truth, "train", numbers, "gaussian1d", 0)
        best[case] = best_weight(case, *scan, truth, _WEIGHTS)
    return best


def measure(settings: Settings, trial: Trial) -> None:
    """Reconstruct every slice in every case; magnitudes in [0, 1]."""
    prior = trial.once("prior", lambda: Prior.from_pretrained("brain"))
    weights = trial.once("weights", lambda: tv_weights(prior.shape[1], settings.tuning))
    truth, numbers = slices("test", prior.shape[1], settings.slices)
    scans: dict[str, tuple[Case, Family]] = {case: (case, "gaussian1d") for case in CASES}
    if trial.index == 0:
        scans |= {family: ("coils", family) for family in settings.families}
    measured: dict[str, float] = {}
    trial.found.samples |= {"total_variation_weights": dict(weights), "acceleration": measured}
    for name, (case, family) in scans.items():
        kspace, mask = acquire(case, truth, "test", numbers, family, trial.seed)
        method = replace(settings.method, image="real") if case == "real" else settings.method
        result = method.apply(prior, list(kspace), mask, **trial.run(16))
        ours, spread = (torch.stack(list(v))[:, None] for v in (result.magnitude, result.uncertainty))
        tv = reconstruct_by_tv(case, kspace, mask, weights[case])
        arms = {ZERO: zero_filled(kspace), TV: tv, OURS: ours}
        quality = {arm: psnr(image, truth, 1.0) for arm, image in arms.items()}
        for arm, image in arms.items():
            trial.found.add("PSNR", arm, quality[arm], name)
            trial.found.add("SSIM", arm, ssim(image, truth, 1.0), name)
        error, n = (ours - truth).abs(), settings.slices
        ranks = [spearman(spread[i].flatten().numpy(), error[i].flatten().numpy()) for i in range(n)]
        trial.found.add(RANK, OURS, ranks, name)
        measured[name] = float(acceleration(mask).mean())
        shown = sorted({n // 3, (2 * n) // 3}) if name in CASES else [n // 3]
        pictures, captions = [], []
        for i in shown:
            maps = [Heat(v[i], high=0.2) for v in (error, spread)]
            pictures.append([mask[i], *(2 * v[i] - 1 for v in (*arms.values(), truth)), *maps])
            decibels = [f"{float(v[i]):.1f} dB" for v in quality.values()]
            captions.append(["", *decibels, "", "", f"rank corr. {ranks[i]:.2f}"])
        trial.section.pictures(
            ["measured", *arms, "truth", "error", "spread"],
            pictures,
            [name] * len(shown),
            captions,
            f"Measured acceleration {measured[name]:.2f}. Error and spread (standard deviation of samples) "
            "share one scale.",
        )


def gain(results: Results[Settings], case: str) -> Comparison:
    """PSNR against that of zero filling and 3 dB more."""
    wanted = results.rows("PSNR", ZERO, case).astype(np.float32) + np.float32(GAIN)  # as PSNR is computed
    what = f"dB above zero filling + {GAIN:g}, {case}"
    return results.compare(what, ("PSNR", OURS, case), wanted.astype(np.float64))


def rule(results: Results[Settings]) -> list[Comparison]:
    """Three comparisons a case, one for each further pattern."""
    found = []
    for case in CASES:
        tv = results.compare(f"dB above total variation, {case}", ("PSNR", OURS, case), ("PSNR", TV, case))
        found += [gain(results, case), tv, results.compare(f"{RANK}, {case}", (RANK, OURS, case), 0.0)]
    return found + [gain(results, family) for family in results.settings.families]


CLAIM = Claim(
    "score-mri",
    "Accelerated MRI: Score-MRI",
    "Slices of a head that the prior never saw, a quarter of k-space measured, phase and 4 coils simulated; "
    "one prior of magnitude pictures for all: real and complex data, coils, other sampling patterns.",
    unit="slice",
    tiny=Settings(2, ScoreMRI(steps=4, highest=1.0, samples=2, brightness=0.8), ("uniform2d",), tuning=1),
    quick=Settings(2, ScoreMRI(steps=30, highest=1.0, snr=0.3, samples=4), ("poisson",)),
    # Settings were chosen on the head that the prior was trained on.
    full=Settings(8, ScoreMRI(steps=60, highest=1.0, snr=0.3, samples=8), FAMILIES[1:]),
    measures={
        "PSNR": Measure("larger", "In dB, magnitudes in [0, 1]."),
        "SSIM": Measure("larger"),
        RANK: Measure("larger", "Of the samples' standard deviation with the absolute error, over pixels."),
    },
    measure=measure,
    rule=rule,
    extra=lambda results: results.first,
)
