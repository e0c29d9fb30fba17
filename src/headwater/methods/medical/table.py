"""The methods of MR reconstruction on the same scans, with one prior and the same number of network calls: do
they all beat what needs no prior?

Held-out slices: real and complex with a quarter of k-space (the scans of Score-MRI's claim), complex with an
eighth. The baselines are zero filling and total variation, whose weight is the best of six on the training
head. Each method has as many network calls a slice, about 220, over its samples, whose mean is scored.

Required in every case, of Score-MRI, Song et al. and DiffuseRecon each, beyond chance over slices: PSNR more
than 3 dB above zero filling, and above total variation. Reported beside: the methods against each other, and
the rank correlation of their samples' spread with the error. Written before any figure was seen.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import combinations

import torch

from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.medical.diffuse_recon.method import DiffuseRecon
from headwater.methods.medical.score_inverse.method import ScoreInverse
from headwater.methods.medical.score_mri.method import ScoreMRI
from headwater.methods.medical.shared.claim_baseline import best_weight, reconstruct_by_tv
from headwater.methods.medical.shared.reconstructs import Corrects, magnitudes
from headwater.methods.medical.shared.simulated import Case, acquire, slices, zero_filled
from headwater.metrics.image import psnr, ssim
from headwater.metrics.statistics import spearman
from headwater.models import Prior

ZERO, TV = "zero filling", "total variation"
MRI, SONG, OURS = METHODS = ("Score-MRI", "Song et al.", "DiffuseRecon")
RANK, SECONDS = "rank correlation of spread and error", "seconds a slice"
GAIN = 3.0
"""dB above zero filling."""
CASES: dict[str, tuple[Case, float, float]] = {
    "real, 4x": ("real", 4.0, 0.2),
    "complex, 4x": ("complex", 4.0, 0.2),
    "complex, 8x": ("complex", 8.0, 0.1),
}
"""Data, acceleration, and share of the columns in the fully measured centre."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    slices: int
    """Of the head that the prior never saw, evenly spaced."""
    score_mri: ScoreMRI
    score_inverse: ScoreInverse
    diffuse_recon: DiffuseRecon
    cases: tuple[str, ...] = tuple(CASES)
    tuning: int = 8
    """Slices of the training head on which the weights of total variation are chosen."""

    @property
    def methods(self) -> dict[str, ScoreMRI | ScoreInverse | DiffuseRecon]:
        """By their names."""
        return dict(zip(METHODS, (self.score_mri, self.score_inverse, self.diffuse_recon), strict=True))

    def calls(self, prior: Prior) -> dict[str, int]:
        """Network calls a slice."""
        coarse = self.diffuse_recon

        def corrected(method: Corrects) -> int:
            return (
                method.samples * (1 + method.corrections) * (len(method.plan(magnitudes(prior).process)) - 1)
            )

        return {
            MRI: corrected(self.score_mri),
            SONG: corrected(self.score_inverse),
            OURS: coarse.samples * coarse.steps + coarse.refine_steps,
        }


def measure(settings: Settings, trial: Trial) -> None:
    """Reconstruct every slice in every case in every way; magnitudes in [0, 1]."""
    prior = trial.once("prior", lambda: Prior.from_pretrained("brain"))
    truth, numbers = slices("test", prior.shape[1], settings.slices)
    chosen, seconds = dict[str, float](), dict[str, list[float]]()
    for name in settings.cases:
        case, accelerate, centre = CASES[name]

        def best(case: Case = case, accelerate: float = accelerate, centre: float = centre) -> float:
            known, theirs = slices("train", prior.shape[1], settings.tuning)
            scan = acquire(case, known, "train", theirs, "gaussian1d", 0, accelerate, centre)
            return best_weight(case, *scan, known)

        chosen[name] = trial.once(name, best)
        y, mask = acquire(case, truth, "test", numbers, "gaussian1d", trial.seed, accelerate, centre)
        arms = {ZERO: zero_filled(y), TV: reconstruct_by_tv(case, y, mask, chosen[name])}
        for arm, method in settings.methods.items():
            since = time.perf_counter()
            used = replace(method, image="real" if case == "real" else "phased")
            found = used.apply(prior, list(y), mask, **trial.run(16))
            seconds.setdefault(arm, []).append((time.perf_counter() - since) / len(truth))
            arms[arm], spread = (torch.stack(list(v))[:, None] for v in (found.magnitude, found.uncertainty))
            error = (arms[arm] - truth).abs()
            pairs = zip(spread.flatten(1).numpy(), error.flatten(1).numpy(), strict=True)
            trial.found.add(RANK, arm, [spearman(*pair) for pair in pairs], name)
        quality = {arm: psnr(image, truth, 1.0) for arm, image in arms.items()}
        for arm, image in arms.items():
            trial.found.add("PSNR", arm, quality[arm], name)
            trial.found.add("SSIM", arm, ssim(image, truth, 1.0), name)
        shown = sorted({settings.slices // 3, 2 * settings.slices // 3})
        trial.section.pictures(
            ["measured", *arms, "truth"],
            [[mask[i], *(2 * v[i] - 1 for v in (*arms.values(), truth))] for i in shown],
            [name] * len(shown),
            [["", *(f"{float(v[i]):.1f} dB" for v in quality.values()), ""] for i in shown],
        )
    for arm, taken in seconds.items():
        trial.found.add(SECONDS, arm, [sum(taken) / len(taken)])
    trial.found.samples |= {"total_variation_weights": chosen, "network_calls": settings.calls(prior)}


def rule(results: Results[Settings]) -> list[Comparison]:
    """The rule at the head of this file."""
    found = list[Comparison]()
    cases = results.settings.cases
    for case in cases:
        floor = results.rows("PSNR", ZERO, case) + GAIN
        for arm in METHODS:
            ours = ("PSNR", arm, case)
            found += [
                results.compare(f"dB of {arm} above {ZERO} + {GAIN:g}, {case}", ours, floor),
                results.compare(f"dB of {arm} above {TV}, {case}", ours, ("PSNR", TV, case)),
            ]
    found += [
        results.compare(f"dB of {a} above {b}, {case}", ("PSNR", a, case), ("PSNR", b, case), required=False)
        for case in cases
        for a, b in combinations(reversed(METHODS), 2)
    ]
    return found


FULL = Settings(
    8,
    ScoreMRI(samples=4, steps=52, highest=1.0, snr=0.3),
    ScoreInverse(samples=4, steps=52, highest=1.0),
    DiffuseRecon(samples=10, steps=20, refine_steps=20),
)


def at(cases: tuple[str, ...], tuning: int, samples: int, steps: int, refine_steps: int) -> Settings:
    """Few slices and calls."""
    changed = {
        name: replace(getattr(FULL, name), samples=samples, steps=steps, brightness=0.8)
        for name in ("score_mri", "score_inverse", "diffuse_recon")
    }
    changed["diffuse_recon"] = replace(changed["diffuse_recon"], refine_steps=refine_steps)
    return replace(FULL, slices=2, cases=cases, tuning=tuning, **changed)


CLAIM = Claim(
    "medical",
    "MR reconstruction, side by side",
    "Slices of a head that the prior never saw, real and complex, with a quarter and an eighth of their "
    "k-space, reconstructed by each method with one prior of magnitude pictures and as many network calls.",
    statement="With as many network calls each, and one prior that was shown no scan, Score-MRI, Song et al. "
    "and DiffuseRecon reconstruct real and complex scans 3 dB above zero filling, and better than total "
    "variation.",
    unit="slice",
    tiny=at(("complex, 4x",), 1, 2, 4, 2),
    quick=at(("real, 4x", "complex, 4x"), 2, 2, 20, 10),
    full=FULL,
    measures={
        "PSNR": Measure("larger", "In dB, magnitudes in [0, 1]."),
        "SSIM": Measure("larger"),
        RANK: Measure("larger", "Of the samples' standard deviation with the absolute error, over pixels."),
        SECONDS: Measure("smaller", "On the cores of this run."),
    },
    measure=measure,
    rule=rule,
    extra=lambda results: results.first,
)
