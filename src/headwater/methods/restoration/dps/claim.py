"""Do gradients through the prior's estimate restore pictures, is there a best weight for them, and do they
undo what is not linear? (Chung et al. 2023, sec. 4 and App. C)

Held-out emoji: blocks of 4 x 4 pixels averaged, with noise of 0.05 on [0, 1] (0.1 here); JPEG files of
quality 5; pictures overexposed twofold. The weight is chosen on training pictures, for each measurement
apart. Required, beyond chance over pictures: PSNR of the small pictures above that of the pseudo-inverse and
of bicubic interpolation; the best weight of the sweep, on the scored pictures, is better than the smallest
and than the largest; and PSNR above that of the measured picture itself for JPEG and for exposure. Written
before any result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from headwater.data import load
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.restoration.dps.method import DPS
from headwater.methods.restoration.shared.claim_pictures import FACTOR, SIDE, enlarged, held_out, noisy
from headwater.metrics.image import psnr
from headwater.models import Prior
from headwater.operators import BlockAverage
from headwater.operators.named import operator_of

OURS, INVERSE, BICUBIC, GIVEN = "DPS", "pseudo-inverse", "bicubic", "as measured"
SMALL, NOISE, QUALITY, GAIN = f"block-average {FACTOR}", 0.1, 5, 2.0
BENT = (f"jpeg {QUALITY}", f"overexposed {GAIN:g}")
"""Measurements that are not linear."""
CHOOSING = 1_000_003
"""Seed of what weights are chosen on."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    pictures: int
    """Held-out pictures per seed."""
    choosing: int
    """Training pictures that weights are chosen on."""
    scales: tuple[float, ...]
    """Weights of the gradient, the smallest first."""
    method: DPS


def measured(by: str, truth: Tensor, seed: int) -> Tensor:
    """What is measured of pictures: by the real encoder where it is JPEG."""
    y = operator_of(by, (3, SIDE, SIDE)).real(truth)
    return noisy(y, NOISE, seed) if by == SMALL else y


def measure(settings: Settings, trial: Trial) -> None:
    """Sweep the weight on small pictures; the other measurements at weights chosen beforehand."""
    prior = trial.once("prior", lambda: Prior.from_pretrained("emoji"))
    truth, chosen = held_out(settings.pictures, trial.seed), dict[str, float]()

    def restore(by: str, scale: float, y: Tensor, seed: int) -> Tensor:
        method = replace(settings.method, by=by, scale=scale)
        return method.apply(prior, y, **trial.run(16, seed=seed)).clamp(-1, 1)

    def best(by: str) -> float:
        images = load("emoji", "train", SIDE).images[: settings.choosing]
        y = measured(by, images, CHOOSING)
        return max(settings.scales, key=lambda s: float(psnr(restore(by, s, y, CHOOSING), images).mean()))

    rows: list[list[Tensor]] = [[t] for t in truth[:4]]
    for by in (SMALL, *BENT):
        chosen[by] = trial.once(by, lambda by=by: best(by))
        y = measured(by, truth, trial.seed)
        given = {GIVEN: y}
        if by == SMALL:
            given = {INVERSE: BlockAverage(FACTOR).pseudo_inverse(y).clamp(-1, 1), BICUBIC: enlarged(y)}
        ours = restore(by, chosen[by], y, trial.seed)
        for arm, image in {**given, OURS: ours}.items():
            trial.found.add(f"PSNR, {by}", arm, psnr(image, truth))
        for row, low, high in zip(rows, list(given.values())[-1], ours, strict=False):
            row += [low, high]
    y = measured(SMALL, truth, trial.seed)
    for scale in settings.scales:
        found = psnr(restore(SMALL, scale, y, trial.seed), truth)
        trial.found.add("PSNR over the weight", OURS, found, f"{scale:g}")
    trial.found.samples["chosen"] = chosen
    columns = [f"{what}, {by}" for by in (SMALL, *BENT) for what in ("measured", OURS)]
    trial.section.pictures(["truth", *columns], rows, caption="The first pictures of the first seed.")


def rule(results: Results[Settings]) -> list[Comparison]:
    """The rule at the head of this file."""
    sweep, scales = "PSNR over the weight", [f"{s:g}" for s in results.settings.scales]
    best = max(scales, key=lambda s: results.mean(sweep, OURS, s))
    ends = [
        results.compare(f"PSNR at weight {best} against {end}", (sweep, OURS, best), (sweep, OURS, end))
        for end in (scales[0], scales[-1])
    ]
    against = [(SMALL, INVERSE), (SMALL, BICUBIC), *((by, GIVEN) for by in BENT)]
    return [
        *[
            results.compare(f"PSNR, {by}, against {other}", (f"PSNR, {by}", OURS), (f"PSNR, {by}", other))
            for by, other in against
        ],
        *ends,
    ]


METHOD = DPS(SMALL, NOISE, steps=100)
CLAIM = Claim(
    "dps",
    "Measurements of any kind undone: DPS",
    "Held-out emoji behind three measurements, two of them not linear, brought back by the gradient of what "
    "the prior's estimate fails to explain.",
    unit="picture",
    tiny=Settings(2, 1, (0.0, 1.0, 10.0), replace(METHOD, steps=2)),
    quick=Settings(4, 4, (0.0, 1.0, 10.0), replace(METHOD, steps=30)),
    full=Settings(16, 8, (0.0, 0.3, 1.0, 3.0, 10.0), METHOD),
    measures={
        **{f"PSNR, {by}": Measure("larger", "In dB.") for by in (SMALL, *BENT)},
        "PSNR over the weight": Measure("larger", "In dB, of small pictures.", axis="weight of the gradient"),
    },
    measure=measure,
    rule=rule,
    extra=lambda results: {"chosen weights": results.first["chosen"]},
    new_units=True,
)
