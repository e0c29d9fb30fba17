"""Does it matter which grey values turn into which? (Austin et al. 2021, table 3)

Verdict, fixed before any run: held if, beyond chance over test images (averaged over seeds), the discretised
Gaussian chain needs fewer bits per value than uniform replacement, under the same hybrid loss and for as many
updates of the same network. Other heads and chains take no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch.nn.functional as F

from headwater.data import load
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.synthesis.d3pm_images.method import D3PMImages
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.training import TrainerConfig

GAUSSIAN, UNIFORM, BITS = "Gaussian", "uniform", "bits per value"


def trainer(steps: int) -> TrainerConfig:
    """Batches of 32 images, and a learning rate that falls to 0."""
    return TrainerConfig(steps, 32, lr=2e-3, warmup=min(50, steps // 4), decay="cosine", grad_clip=1.0)


METHOD = D3PMImages(
    K=17, T=64, head="logits", network=UNetArchitecture(32, (1, 2), 1, (2,), use_scale_shift_norm=False),
    flips=False, steps=64, levels=64,
)  # fmt: skip
"""A flipped digit is none."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    method: D3PMImages
    pictures: int
    """Test pictures."""
    extra: bool = False
    """Whether the arms that the claim does not need are trained too."""


def arms(settings: Settings) -> dict[str, D3PMImages]:
    """One loss for all."""
    base = settings.method
    found = {GAUSSIAN: base, UNIFORM: replace(base, chain="uniform")}
    if settings.extra:
        found["Gaussian, logistic head"] = replace(base, head="logistic")
        found["absorbing"] = replace(base, chain="absorbing")
    return found


def measure(settings: Settings, trial: Trial) -> None:
    """Train the chains on 8 x 8 digits of 17 values; bound the bits of test pictures."""
    digits, test = load("tiny").images, load("tiny", "test").images[: settings.pictures]
    for name, method in arms(settings).items():
        fitted = trial.train(name, lambda run, m=method: m.fit(digits, **run))
        trial.found.add(BITS, name, method.apply(test, fitted, **trial.run()).bits)
        if trial.index == 0:
            large = F.interpolate(method.sample(16, fitted, **trial.run()), scale_factor=6)
            trial.section.contact_sheet(large, caption=f"Drawn from nothing: {name}")


def rule(results: Results[Settings]) -> list[Comparison]:
    """One comparison."""
    return [results.compare(f"{BITS}, Gaussian against uniform", (BITS, GAUSSIAN), (BITS, UNIFORM))]


CLAIM = Claim(
    "d3pm-images",
    "Digits of 17 grey values: D3PM on pictures",
    "The same networks, trained for as many updates, undo different kinds of random changes.",
    unit="picture",
    tiny=Settings(replace(METHOD, T=4, steps=4, levels=4, training=trainer(2)), 4),
    quick=Settings(replace(METHOD, training=trainer(120)), 48),
    full=Settings(replace(METHOD, training=trainer(800)), 128, extra=True),
    measures={BITS: Measure("smaller", "The bound on test digits of 8 x 8 pixels, hybrid loss everywhere.")},
    measure=measure,
    rule=rule,
    quick_seeds=1,
)
