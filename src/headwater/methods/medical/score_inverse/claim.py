"""Does one prior reconstruct at accelerations that nothing was trained for, and how far should noisy
measurements be trusted? (Song et al. 2022, sec. 4 and Fig. 7)

Held-out slices, real: MR with a quarter and an eighth of k-space, CT with 8 and 5 views of half a turn; then
a quarter of k-space with noise of 0.1 in each part, over the weight. Required, beyond chance over slices: in
all four cases PSNR more than 3 dB above zero filling (MR) or filtered back-projection (CT), and above total
variation, whose weight is the best of five on the training head; with noise, an inner weight, the best of the
inner ones on the training head, above the lowest and above full trust; without noise, full trust above every
other weight. Score-MRI with as many network calls on the same MR scans is shown beside, and not required to
be worse. Written before any result on the test head was seen; the comparison with total variation and
Score-MRI on noisy scans was added later, and is not required.

Metal: CT with 40 views and two pieces of metal, no ray through which counts as measured. Required: PSNR, of
what is no metal, above filtered back-projection that puts in what is hidden by straight lines (Kalender et
al. 1987), and above total variation of the rays that are left. Added later, before any of its figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headwater.baselines.total_variation import total_variation
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.medical.score_inverse.method import ScoreInverse
from headwater.methods.medical.score_mri.method import ScoreMRI
from headwater.methods.medical.shared.reconstructs import Reconstructs
from headwater.methods.medical.shared.scan import Scan
from headwater.methods.medical.shared.simulated import acquire, slices, zero_filled
from headwater.metrics.image import psnr, ssim
from headwater.models import Prior
from headwater.operators import Operator, Radon
from headwater.report import Heat

ROUGH, TV, OURS, MRI = (
    "zero filling, or filtered back-projection",
    "total variation",
    "Song et al.",
    "Score-MRI",
)
CASES = {"MR, 4x": 4, "MR, 8x": 8, "CT, 8 views": 8, "CT, 5 views": 5}
NOISY = "MR, 4x, noise 0.1"
METAL, VIEWS = "CT, 40 views, metal", 40
PIECES = ((0.4, 0.3), (0.55, 0.7))
"""Middles of the pieces of metal, as shares of the sides."""
RADIUS = 0.06
"""Of each piece, as a share of the shorter side."""
NOISE, GAIN = 0.1, 3.0
SWEEP = "PSNR over the weight"
_WEIGHTS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Of total variation."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    slices: int
    """Of the head that the prior never saw, evenly spaced."""
    method: ScoreInverse
    weights: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    """From hardly any trust to full trust."""
    tuning: int = 8
    """Slices of the training head on which weights are chosen."""


@dataclass(frozen=True, eq=False)
class Basis(Operator):
    """Coefficients of images (B, 1, H, W) in an orthonormal basis (R, H * W) of what an operator sees.

    Total variation needs a norm of at most 1, and thousands of iterations where measurements overlap as
    those of CT do; without noise these coefficients say the same.
    """

    rows: Tensor
    size: tuple[int, int]

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.rows.T

    def adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.rows).reshape(-1, 1, *self.size)

    @classmethod
    def of(cls, a: Radon, y: Tensor) -> tuple[Basis, Tensor]:
        """The basis of what `a` sees, and the coefficients that the sinograms y (B, 1, A, D) tell."""
        pixels = torch.eye(a.size[0] * a.size[1], dtype=torch.float64).reshape(-1, 1, *a.size)
        u, s, v = torch.linalg.svd(a.forward(pixels).flatten(1).T, full_matrices=False)
        kept = s > 1e-2 * s[0]
        return cls(v[kept].to(y), a.size), (y.flatten(1).double() @ u[:, kept] / s[kept]).to(y)


@dataclass(frozen=True)
class Scanned:
    """Slices as one scanner measured them."""

    y: Tensor
    mask: Tensor | None
    a: Radon | None
    rough: Tensor
    tv: Callable[[float], Tensor]
    """Total variation of a weight."""

    def reconstruct(self, method: Reconstructs, trial: Trial, prior: Prior) -> Tensor:
        """By a method, (n, 1, H, W)."""
        found = method.apply(prior, list(self.y), self.mask, operator=self.a, **trial.run(16))
        return torch.stack(list(found.magnitude))[:, None]


def metal(size: tuple[int, int]) -> Tensor:
    """Where the metal is, bool (1, 1, H, W)."""
    rows, columns = (torch.arange(n) + 0.5 for n in size)
    away = [((rows[:, None] - r * size[0]) ** 2 + (columns - c * size[1]) ** 2).sqrt() for r, c in PIECES]
    return (torch.stack(away) < RADIUS * min(size)).any(0)[None, None]


def scanned(case: str, truth: Tensor, split: str, numbers: list[int], seed: int) -> Scanned:
    """Measure slices (n, 1, H, W) of a split; masks and noise depend on (split, number, seed)."""
    if case.startswith("CT"):
        size = truth.shape[2], truth.shape[3]
        a = Radon.even(CASES.get(case, VIEWS), size, iterations=20)
        if case == METAL:
            a = a.knowing(a.forward(metal(size).to(truth)) < 1e-6)
        y = a.forward(truth)
        basis, seen = Basis.of(a, y)
        rough = a.filtered_back_projection(y).clamp(0, 1)
        return Scanned(y, None, a, rough, lambda w: total_variation(basis, seen, w))
    times, noise = (4, NOISE) if case == NOISY else (CASES[case], 0.0)
    y, mask = acquire("real", truth, split, numbers, "gaussian1d", seed, times, 0.1, noise)
    inside = Scan.of(y, mask, "sense", "real").operator(0.0)
    return Scanned(y, mask, None, zero_filled(y), lambda w: total_variation(inside, y, w).abs())


def measure(settings: Settings, trial: Trial) -> None:
    """Reconstruct every slice in every case, then over the weight; magnitudes in [0, 1]."""
    prior = trial.once("prior", lambda: Prior.from_pretrained("brain"))
    truth, numbers = slices("test", prior.shape[1], settings.slices)
    known, theirs = slices("train", prior.shape[1], settings.tuning)
    ours, chosen = settings.method, dict[str, float]()
    mri = ScoreMRI(steps=ours.steps, highest=ours.highest, snr=ours.snr, samples=ours.samples, image="real")

    def best_tv(case: str) -> float:
        scan = scanned(case, known, "train", theirs, 0)
        return max(_WEIGHTS, key=lambda w: float(psnr(scan.tv(w), known, 1.0).mean()))

    def weighted(scan: Scanned, weight: float) -> Tensor:
        return scan.reconstruct(replace(ours, weight=weight, samples=1), trial, prior)

    def best_weight() -> float:
        scan = scanned(NOISY, known, "train", theirs, 0)
        return max(settings.weights[1:-1], key=lambda w: float(psnr(weighted(scan, w), known, 1.0).mean()))

    shown = sorted({settings.slices // 3, 2 * settings.slices // 3})
    chosen["weight"] = trial.once("weight", best_weight)
    trial.found.samples["chosen"] = chosen
    for case in (*CASES, NOISY, METAL):
        chosen[case] = trial.once(case, lambda case=case: best_tv(case))
        scan = scanned(case, truth, "test", numbers, trial.seed)
        arms = {ROUGH: scan.rough, TV: scan.tv(chosen[case])}
        if scan.a is None:
            arms[MRI] = scan.reconstruct(mri, trial, prior)
        weight = chosen["weight"] if case == NOISY else ours.weight
        arms[OURS] = scan.reconstruct(replace(ours, weight=weight), trial, prior)
        if case == METAL:
            hidden = metal((truth.shape[2], truth.shape[3]))
            arms = {arm: truth.where(hidden, image) for arm, image in arms.items()}
        for arm, image in arms.items():
            trial.found.add("PSNR", arm, psnr(image, truth, 1.0), case)
            trial.found.add("SSIM", arm, ssim(image, truth, 1.0), case)
        error = (arms[OURS] - truth).abs()
        trial.section.pictures(
            [*arms, "truth", "error"],
            [[*(2 * v[i] - 1 for v in (*arms.values(), truth)), Heat(error[i], high=0.2)] for i in shown],
            [case] * len(shown),
            [[*(f"{float(psnr(v, truth, 1.0)[i]):.1f} dB" for v in arms.values()), "", ""] for i in shown],
        )
    for arm, case in (("noise 0.1", NOISY), ("no noise", "MR, 4x")):
        scan = scanned(case, truth, "test", numbers, trial.seed)
        swept = [weighted(scan, w) for w in settings.weights]
        for weight, image in zip(settings.weights, swept, strict=True):
            trial.found.add(SWEEP, arm, psnr(image, truth, 1.0), f"{weight:g}")
        i = shown[0]
        trial.section.pictures(
            ["zero filling", *(f"weight {w:g}" for w in settings.weights), "truth"],
            [[2 * v[i] - 1 for v in (scan.rough, *swept, truth)]],
            [arm],
        )


def rule(results: Results[Settings]) -> list[Comparison]:
    """The rule at the head of this file."""
    found, beside = list[Comparison](), list[Comparison]()
    for case in CASES:
        ours, wanted = ("PSNR", OURS, case), results.rows("PSNR", ROUGH, case) + GAIN
        found.append(results.compare(f"dB above {ROUGH} + {GAIN:g}, {case}", ours, wanted))
        found.append(results.compare(f"dB above {TV}, {case}", ours, ("PSNR", TV, case)))
    for other in (ROUGH, TV):
        what = f"dB above {other}, {METAL}"
        found.append(results.compare(what, ("PSNR", OURS, METAL), ("PSNR", other, METAL)))
    for case, other in (("MR, 4x", MRI), ("MR, 8x", MRI), (NOISY, MRI), (NOISY, TV)):
        ours, theirs = ("PSNR", OURS, case), ("PSNR", other, case)
        beside.append(results.compare(f"dB above {other}, {case}", ours, theirs, required=False))
    names = [f"{w:g}" for w in results.settings.weights]
    inner = f"{results.first['chosen']['weight']:g}"
    pairs = [("noise 0.1", inner, end) for end in (names[0], names[-1])]
    pairs += [("no noise", names[-1], other) for other in names[:-1]]
    swept = [
        results.compare(f"dB, {arm}, weight {one} against {two}", (SWEEP, arm, one), (SWEEP, arm, two))
        for arm, one, two in pairs
    ]
    return found + swept + beside


METHOD = ScoreInverse(steps=40, highest=1.0, samples=4, image="real")
CLAIM = Claim(
    "score-inverse-medical",
    "Few and noisy measurements: Song et al. 2022",
    "Slices of a head that the prior never saw, by MR at two accelerations and by CT from a few views: one "
    "prior for all; and how far to trust measurements with noise.",
    unit="slice",
    tiny=Settings(2, replace(METHOD, steps=4, samples=1, brightness=0.8), (0.1, 0.5, 1.0), tuning=1),
    quick=Settings(2, replace(METHOD, steps=20, samples=1), (0.03, 0.1, 1.0), tuning=2),
    full=Settings(8, METHOD),
    measures={
        "PSNR": Measure("larger", "In dB, magnitudes in [0, 1]."),
        "SSIM": Measure("larger"),
        SWEEP: Measure("larger", "In dB, one sample of MR, 4x.", axis="weight"),
    },
    measure=measure,
    rule=rule,
    extra=lambda results: results.first,
)
