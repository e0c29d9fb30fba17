"""Does it matter which grey values turn into which? (Austin et al. 2021, table 3)

Verdict, fixed before any run: held if, beyond chance over test pictures (averaged over seeds), the
discretised Gaussian chain needs fewer bits per value than uniform replacement, under the same hybrid loss and
for as many updates of the same network. Other heads and chains stand beside and take no part.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.data import load
from headwater.experiments.base import Outcome, Task
from headwater.experiments.comparison import compare, verdict
from headwater.methods.synthesis.d3pm_images.method import D3PMImages
from headwater.metrics.statistics import summarize
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.report import Estimate
from headwater.training import TrainerConfig

GAUSSIAN, UNIFORM = "Gaussian", "uniform"


@dataclass(frozen=True)
class Setting:
    """How much is computed."""

    seeds: int
    training: TrainerConfig
    pictures: int
    """Test pictures."""
    extra: bool
    """Whether the arms that the claim does not need are trained too."""


def pace(steps: int) -> TrainerConfig:
    """Batches of 32, a rate that falls to 0."""
    return TrainerConfig(steps, 32, lr=2e-3, warmup=min(50, steps // 4), decay="cosine", grad_clip=1.0)


QUICK = Setting(1, pace(120), 48, extra=False)
FULL = Setting(99, pace(800), 128, extra=True)

METHOD = D3PMImages(
    K=17, T=64, head="logits", network=UNetArchitecture(32, (1, 2), 1, (2,), use_scale_shift_norm=False),
    flips=False, steps=64, levels=64,
)  # fmt: skip
"""A flipped digit is none."""


def arms(setting: Setting) -> dict[str, D3PMImages]:
    """One loss for all."""
    base = replace(METHOD, training=setting.training)
    found = {GAUSSIAN: base, UNIFORM: replace(base, chain="uniform")}
    if setting.extra:
        found["Gaussian, logistic head"] = replace(base, head="logistic")
        found["absorbing"] = replace(base, chain="absorbing")
    return found


def reproduce(task: Task) -> Outcome:
    """Train the chains on 8 x 8 digits of 17 values, and compare their bounds on test pictures."""
    setting = QUICK if task.effort == "quick" else FULL
    seeds = task.seeds[: setting.seeds]
    digits, test = load("tiny").images, load("tiny", "test").images[: setting.pictures]
    found: dict[str, list[list[float]]] = {}
    drawn: dict[str, Tensor] = {}
    for seed in seeds:
        run = task.run(seed)
        for name, method in arms(setting).items():
            fitted = method.fit(digits, **run.child(name))
            found.setdefault(name, []).append(method.apply(test, fitted, **run).bits.tolist())
            if seed == seeds[0]:
                drawn[name] = method.write(16, fitted, **run)
    return conclude(task, setting, found, drawn)


def conclude(
    task: Task, setting: Setting, found: dict[str, list[list[float]]], drawn: dict[str, Tensor]
) -> Outcome:
    """Compare by test picture, averaged over seeds. found: per arm and seed, bits per value of each."""
    required = compare(
        "bits per value, Gaussian against uniform", found[GAUSSIAN], found[UNIFORM], "smaller", "picture"
    )
    section = task.page.section(
        "Digits of 17 grey values: D3PM on pictures",
        "The same networks, trained for as many updates, undo different kinds of random changes.",
    )
    for name, images in drawn.items():
        large = F.interpolate(images, scale_factor=6)
        section.contact_sheet(torch.unbind(large), 8, caption=f"Drawn from nothing: {name}")
    section.table(
        ["chain", "bits per value"],
        [[name, _over_seeds(per_seed)] for name, per_seed in found.items()],
        caption="The bound on test digits of 8 x 8 pixels, hybrid loss everywhere; ± over seeds.",
        best={"bits per value": "min"},
        decimals={"bits per value": 3},
    )
    section.settings(asdict(replace(METHOD, training=setting.training)))
    claim, ruling = D3PMImages.paper.claim, verdict([required])
    section.claim(claim, str(required), ruling)
    return Outcome(
        "d3pm-images",
        claim,
        str(required),
        ruling,
        {
            "bits_per_dimension": {k: [float(np.mean(v)) for v in rows] for k, rows in found.items()},
            "comparisons": {required.what: required.to_dict()},
        },
        {"effort": task.effort, "seeds": list(task.seeds[: setting.seeds])},
    )


def _over_seeds(per_seed: list[list[float]]) -> Estimate | float:
    """Mean and spread over seeds; of one seed there is no spread."""
    means = summarize([float(np.mean(values)) for values in per_seed])
    return Estimate(means.mean, means.sd, means.n) if means.n > 1 else means.mean
