"""The page of Score-MRI's claim: reconstructions first, then the table, then the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from headwater.experiments.comparison import Comparison, Verdict
from headwater.methods.medical.score_mri.claim_cases import CASES, Case
from headwater.methods.medical.score_mri.method import ScoreMRI
from headwater.metrics.statistics import summarize
from headwater.report import Estimate, Heat, Page

if TYPE_CHECKING:
    from headwater.methods.medical.score_mri.claim import Arm

_NAMES: dict[Case, str] = {"real": "real image", "complex": "complex image", "coils": "4 coils"}


def show(
    page: Page,
    method: ScoreMRI,
    arms: Sequence[Arm],
    others: Sequence[Arm],
    comparisons: Sequence[Comparison],
    weights: Mapping[Case, float],
    found: Verdict,
) -> None:
    """Fill a section."""
    section = page.section(
        "Accelerated MRI: Score-MRI",
        "Slices of a head that the prior never saw, a quarter of k-space measured, phase and coils "
        "simulated; one prior of magnitude pictures for all.",
    )
    first = [next(a for a in arms if a.case == case) for case in CASES]
    columns = ["measured", "zero-filled", "total variation", "Score-MRI", "truth", "error", "spread"]
    for arm in first:
        rows = [_row(arm, i) for i in _shown(arm)]
        lines = [_captions(arm, i) for i in _shown(arm)]
        caption = (
            f"{_NAMES[arm.case].capitalize()}, sampling {arm.family}, measured acceleration "
            f"{arm.acceleration:.2f}. Error and spread (standard deviation of samples) share one scale."
        )
        section.pictures(columns, rows, captions=lines, caption=caption)
    if others:
        rows = [_row(arm, _shown(arm)[0]) for arm in others]
        labels = [arm.family for arm in others]
        section.pictures(columns, rows, labels, caption="Other sampling patterns, 4 coils.")
    section.table(
        [
            "data",
            "sampling",
            "acceleration",
            "zero-filled, dB",
            "TV, dB",
            "Score-MRI, dB",
            "SSIM",
            "rank corr.",
        ],
        [_line([a for a in arms if a.case == case]) for case in CASES] + [_line([a]) for a in others],
        caption="PSNR over slices and seeds, mean and standard deviation, magnitudes in [0, 1]. SSIM of "
        "Score-MRI. Last: rank correlation of the samples' standard deviation with the absolute error.",
    )
    section.table(
        ["required above 0", "mean", "95 % interval"],
        [[c.what, c.mean, f"{c.low:+.2f} to {c.high:+.2f}"] for c in comparisons],
        caption="Slices are what was resampled; seeds of one slice were averaged first.",
        decimals={"mean": 2},
    )
    section.settings(
        {
            "steps": method.steps,
            "starts at noise": method.highest,
            "samples": method.samples,
            "weights of total variation, best on the training head": dict(weights),
            "prior": "brain",
        }
    )
    section.claim(ScoreMRI.paper.claim, "; ".join(map(str, comparisons)), found)


def _shown(arm: Arm) -> list[int]:
    n = len(arm.truth)
    return [n // 3, (2 * n) // 3] if n > 1 else [0]


def _row(arm: Arm, i: int) -> list[Tensor | Heat]:
    error = (arm.ours[i] - arm.truth[i]).abs()
    pictures = [2 * getattr(arm, k)[i] - 1 for k in ("zero", "tv", "ours", "truth")]
    return [arm.mask[i], *pictures, Heat(error, high=0.2), Heat(arm.spread[i], high=0.2)]


def _captions(arm: Arm, i: int) -> list[str]:
    quality = [f"{arm.quality(k)[i]:.1f} dB" for k in ("zero", "tv", "ours")]
    return ["", *quality, "", "", f"rank corr. {arm.calibration()[i]:.2f}"]


def _line(arms: Sequence[Arm]) -> list[object]:
    def cell(key: str) -> Estimate:
        summary = summarize([v for a in arms for v in a.quality(key)])
        return Estimate(summary.mean, summary.sd)

    similar = sum(a.similarity("ours") for a in arms) / len(arms)
    honest = summarize([v for a in arms for v in a.calibration()])
    arm = arms[0]
    return [
        _NAMES[arm.case],
        arm.family,
        f"{arm.acceleration:.2f}",
        *(cell(k) for k in ("zero", "tv", "ours")),
        f"{similar:.3f}",
        Estimate(honest.mean, honest.sd),
    ]
