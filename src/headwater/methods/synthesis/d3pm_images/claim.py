"""Does it matter which grey values turn into which? (Austin et al. 2021, table 3)

Verdict, fixed before any run: held if on both sets of pictures, digits of 17 grey values and brain slices of
32, the discretised Gaussian chain needs fewer bits per value than uniform replacement, beyond chance over
trainings (Student's t) and over test pictures; partly if some of the four hold. All arms have the same
network, hybrid loss, number of updates, and chains that forget evenly. Other heads, chains and schedules, and
the law of each pixel by itself, take no part in it.

The claim that was measured before had the paper's rates, made for 256 values: at 17 values and 64 timesteps
the Gaussian chain forgets nothing at the first timestep and 81 % by the 16th, uniform replacement 0 and 18 %.
That compared two schedules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.data import load
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.synthesis.d3pm_images.method import D3PMImages
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.categorical_unet import quantised
from headwater.training import TrainerConfig

GAUSSIAN, UNIFORM, PIXELS, BITS = "Gaussian", "uniform", "each pixel by itself", "bits per value"
DIGITS, BRAIN = "digits", "brain"


def trainer(steps: int) -> TrainerConfig:
    """Batches of 32 images, and a learning rate that falls to 0."""
    return TrainerConfig(steps, 32, lr=2e-3, warmup=min(50, steps // 4), decay="cosine", grad_clip=1.0)


METHOD = D3PMImages(
    K=17, T=64, head="logits", network=UNetArchitecture(32, (1, 2), 1, (2,), use_scale_shift_norm=False),
    schedule="information", flips=False, steps=64, levels=64,
)  # fmt: skip
"""A flipped digit is none."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    method: D3PMImages
    pictures: int
    """Test pictures of each set, at most 84, which are all of the brain's."""
    extra: bool = False
    """Whether the arms that the claim does not need are trained too."""


def arms(settings: Settings) -> dict[str, D3PMImages]:
    """One loss and one pace of forgetting for all but the last."""
    base = settings.method
    found = {GAUSSIAN: base, UNIFORM: replace(base, chain="uniform")}
    if settings.extra:
        found["Gaussian, logistic head"] = replace(base, head="logistic")
        found["absorbing"] = replace(base, chain="absorbing")
        found["Gaussian, the paper's rates"] = replace(base, schedule="paper")
    return found


def sets(settings: Settings) -> dict[str, tuple[int, Tensor, Tensor]]:
    """Number of grey values, training and test pictures: other writers, another head."""
    digits, brain = load("tiny").images, load("brain", "train", 16).images
    test = load("brain", "test", 16).images[10:94]  # the others are empty or nearly so
    rows = torch.linspace(0, len(test) - 1, settings.pictures).long()
    return {
        DIGITS: (settings.method.K, digits, load("tiny", "test").images[: settings.pictures]),
        BRAIN: (32, brain[10:94], test[rows]),
    }


def measure(settings: Settings, trial: Trial) -> None:
    """Train the chains on both sets; bound the bits of test pictures."""
    for name, (K, train, test) in sets(settings).items():
        for arm, method in arms(settings).items():
            if name == BRAIN and arm not in (GAUSSIAN, UNIFORM):
                continue
            own = replace(method, K=K)
            fitted = trial.train(f"{arm}, {name}", lambda run, m=own, x=train: m.fit(x, **run))
            trial.found.add(BITS, arm, own.apply(test, fitted, **trial.run()).bits, name)
            if trial.index == 0:
                drawn = own.sample(16, fitted, **trial.run())
                large = F.interpolate(drawn, scale_factor=48 // train.shape[-1])
                trial.section.contact_sheet(large, caption=f"Drawn from nothing: {name}, {arm}")
        trial.found.add(BITS, PIXELS, histogram_bits(quantised(train, K), quantised(test, K), K), name)


def histogram_bits(train: Tensor, test: Tensor, K: int) -> Tensor:
    """Bits per value of test pictures (B, C, H, W) under the law of each pixel alone, every value counted
    once more than it occurs: (B,)."""
    counts = F.one_hot(train, K).sum(0) + 1
    law = (counts / counts.sum(-1, keepdim=True)).log2()
    picked = law.expand(len(test), *law.shape).gather(-1, test.unsqueeze(-1))
    return -picked.flatten(1).mean(1)


def rule(results: Results[Settings]) -> list[Comparison]:
    """Two comparisons a set: over trainings, and over pictures."""
    found = list[Comparison]()
    for name in (DIGITS, BRAIN):
        ours, other = (BITS, GAUSSIAN, name), (BITS, UNIFORM, name)
        what = f"{BITS} of {name}, Gaussian against uniform"
        found += results.compare_trainings(f"{what}, over trainings", ours, other)
        found.append(results.compare(f"{what}, over pictures", ours, other))
    return found


CLAIM = Claim(
    "d3pm-images",
    "Quantised pictures: D3PM with chains that forget at one pace",
    "The same networks, trained for as many updates, undo different kinds of random changes.",
    unit="picture",
    tiny=Settings(replace(METHOD, T=4, steps=4, levels=4, training=trainer(2)), 4),
    quick=Settings(replace(METHOD, training=trainer(80)), 48),
    full=Settings(replace(METHOD, training=trainer(800)), 84, extra=True),
    measures={BITS: Measure("smaller", "The bound on test pictures, hybrid loss everywhere.")},
    measure=measure,
    rule=rule,
    quick_seeds=1,
)
