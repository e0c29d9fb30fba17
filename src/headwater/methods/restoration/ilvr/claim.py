"""Do drawn pictures keep the coarse content of their reference, and does a coarser one leave more freedom?
(Choi et al. 2021, sec. 4)

References are held-out emoji and photographs, each set with its own prior; each is drawn twice at every
factor. Required, on both sets, beyond chance over references: the coarse content is nearer to the reference's
than that of pictures drawn freely; from the finest factor to the coarsest, likeness (PSNR to the reference)
falls and variety (root mean squared difference of the two pictures) rises. The steps between are reported
beside. Written before any result on emoji; photographs, under the same rule, were added after those and
before any of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor

from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.restoration.ilvr.method import ILVR, LowPass
from headwater.methods.restoration.shared.claim_pictures import SIDE, held_out
from headwater.metrics.image import psnr
from headwater.models import Prior

SETS = ("emoji", "photos")
FREE = "drawn freely"


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    pictures: int
    """References per seed and set."""
    factors: tuple[int, ...]
    method: ILVR


def coarse_error(image: Tensor, reference: Tensor, factor: int) -> Tensor:
    """Root mean squared difference of the coarse content of each picture, (B,)."""
    low_pass = LowPass.of(factor, (SIDE, SIDE))
    return (low_pass(image) - low_pass(reference)).square().mean((1, 2, 3)).sqrt()


def measure(settings: Settings, trial: Trial) -> None:
    """Draw every reference of both sets twice at every factor."""
    for name in SETS:
        _measure(settings, trial, name)


def _measure(settings: Settings, trial: Trial, name: str) -> None:
    prior = trial.once(name, lambda: Prior.from_pretrained(name))
    reference, seeds = held_out(settings.pictures, trial.seed, name), (trial.seed, trial.seed + 1000)
    columns: dict[str, Tensor] = {"reference": reference}
    freely = prior.sample(len(reference), settings.method.steps, **trial.run(16)).cpu()
    for factor in settings.factors:
        method = replace(settings.method, factor=factor)
        one, other = (method.apply(prior, reference, **trial.run(16, seed=seed)) for seed in seeds)
        apart, coarse = (one - other).square().mean((1, 2, 3)).sqrt(), f"coarse error, {name}"
        trial.found.add(f"likeness, {name}", "ILVR", psnr(one, reference), f"{factor}")
        trial.found.add(f"variety, {name}", "ILVR", apart, f"{factor}")
        trial.found.add(coarse, "ILVR", coarse_error(one, reference, factor), f"{factor}")
        trial.found.add(coarse, FREE, coarse_error(freely, reference, factor), f"{factor}")
        columns[f"factor {factor}"] = one
    rows = [[column[i] for column in columns.values()] for i in range(min(5, len(reference)))]
    trial.section.pictures(list(columns), rows, caption=f"The first {name} of the first seed.")


def rule(results: Results[Settings]) -> list[Comparison]:
    """The rule at the head of this file."""
    factors = [str(f) for f in results.settings.factors]

    def change(measure: str, fine: str, coarse: str, required: bool) -> Comparison:
        """Likeness at the finer factor is larger, variety at the coarser one."""
        ends = (fine, coarse) if measure.startswith("likeness") else (coarse, fine)
        left, right = ((measure, "ILVR", end) for end in ends)
        return results.compare(f"{measure} from factor {fine} to {coarse}", left, right, required)

    between = list(pairwise(factors)) if len(factors) > 2 else []
    found, beside = list[Comparison](), list[Comparison]()
    for name in SETS:
        key, measures = f"coarse error, {name}", (f"likeness, {name}", f"variety, {name}")
        found.append(results.compare(f"{key}, against freely drawn", (key, "ILVR"), (key, FREE)))
        found += [change(m, factors[0], factors[-1], True) for m in measures]
        beside += [change(m, *pair, False) for m in measures for pair in between]
    return found + beside


METHOD = ILVR(steps=50, free=10)
CLAIM = Claim(
    "ilvr",
    "Variants of a reference: ILVR",
    "Emoji and photographs that share the coarse content of a held-out one, drawn by priors that were never "
    "trained for it.",
    unit="reference",
    tiny=Settings(2, (2, 8), replace(METHOD, steps=3, free=1)),
    quick=Settings(3, (2, 8, 16), replace(METHOD, steps=30, free=6)),
    full=Settings(24, (2, 4, 8, 16), METHOD),
    measures={
        f"{measure}, {name}": how
        for name in SETS
        for measure, how in (
            ("likeness", Measure("larger", "PSNR of a picture to its reference, in dB.", axis="factor")),
            ("variety", Measure("larger", "Difference of two pictures of one reference.", axis="factor")),
            ("coarse error", Measure("smaller", "Difference of the coarse content, values in [-1, 1].")),
        )
    },
    measure=measure,
    rule=rule,
    new_units=True,
)
