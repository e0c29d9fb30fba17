"""Do drawn pictures keep the coarse content of their reference, and does a coarser one leave more freedom?
(Choi et al. 2021, sec. 4)

References are held-out emoji; each is drawn twice at every factor. Required, beyond chance over references:
the coarse content is nearer to the reference's than that of pictures drawn freely; from the finest factor to
the coarsest, likeness (PSNR to the reference) falls and variety (root mean squared difference of the two
pictures) rises. The steps between are reported beside. Written before any result.
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

FREE = "drawn freely"


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    pictures: int
    """References per seed."""
    factors: tuple[int, ...]
    method: ILVR


def coarse_error(image: Tensor, reference: Tensor, factor: int) -> Tensor:
    """Root mean squared difference of the coarse content of each picture, (B,)."""
    low_pass = LowPass.of(factor, (SIDE, SIDE))
    return (low_pass(image) - low_pass(reference)).square().mean((1, 2, 3)).sqrt()


def measure(settings: Settings, trial: Trial) -> None:
    """Draw every reference twice at every factor."""
    prior = trial.once("prior", lambda: Prior.from_pretrained("emoji"))
    reference, seeds = held_out(settings.pictures, trial.seed), (trial.seed, trial.seed + 1000)
    columns: dict[str, Tensor] = {"reference": reference}
    freely = prior.sample(len(reference), settings.method.steps, **trial.run(16)).cpu()
    for factor in settings.factors:
        method = replace(settings.method, factor=factor)
        one, other = (method.apply(prior, reference, **trial.run(16, seed=seed)) for seed in seeds)
        trial.found.add("likeness", "ILVR", psnr(one, reference), f"{factor}")
        trial.found.add("variety", "ILVR", (one - other).square().mean((1, 2, 3)).sqrt(), f"{factor}")
        trial.found.add("coarse error", "ILVR", coarse_error(one, reference, factor), f"{factor}")
        trial.found.add("coarse error", FREE, coarse_error(freely, reference, factor), f"{factor}")
        columns[f"factor {factor}"] = one
    rows = [[column[i] for column in columns.values()] for i in range(min(5, len(reference)))]
    trial.section.pictures(list(columns), rows, caption="The first references of the first seed.")


def rule(results: Results[Settings]) -> list[Comparison]:
    """The rule at the head of this file."""
    factors = [str(f) for f in results.settings.factors]

    def change(measure: str, fine: str, coarse: str, required: bool) -> Comparison:
        """Likeness at the finer factor is larger, variety at the coarser one."""
        ends = (fine, coarse) if measure == "likeness" else (coarse, fine)
        left, right = ((measure, "ILVR", end) for end in ends)
        return results.compare(f"{measure} from factor {fine} to {coarse}", left, right, required)

    between = list(pairwise(factors)) if len(factors) > 2 else []
    return [
        results.compare(
            "coarse error against freely drawn", ("coarse error", "ILVR"), ("coarse error", FREE)
        ),
        *[change(m, factors[0], factors[-1], True) for m in ("likeness", "variety")],
        *[change(m, *pair, False) for m in ("likeness", "variety") for pair in between],
    ]


METHOD = ILVR(steps=50, free=10)
CLAIM = Claim(
    "ilvr",
    "Variants of a reference: ILVR",
    "Emoji that share the coarse content of a held-out one, drawn by a prior that was never trained for it.",
    unit="reference",
    tiny=Settings(2, (2, 8), replace(METHOD, steps=3, free=1)),
    quick=Settings(8, (2, 4, 8, 16), METHOD),
    full=Settings(24, (2, 4, 8, 16), METHOD),
    measures={
        "likeness": Measure("larger", "PSNR of a picture to its reference, in dB.", axis="factor"),
        "variety": Measure(
            "larger", "Difference of two pictures of one reference, values in [-1, 1].", axis="factor"
        ),
        "coarse error": Measure("smaller", "Difference of the coarse content, values in [-1, 1]."),
    },
    measure=measure,
    rule=rule,
    new_units=True,
)
