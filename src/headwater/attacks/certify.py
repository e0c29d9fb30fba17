"""Randomized smoothing: a radius within which no attack whatever changes the answer."""

from __future__ import annotations

from statistics import NormalDist
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwater.attacks.gradient import logits_of
from headwater.attacks.threat import in_unit_range
from headwater.errors import need
from headwater.metrics.statistics import least_share
from headwater.modes import in_evaluation
from headwater.noise import Purpose, White, derive
from headwater.sampling import Run, RunOptions


@torch.no_grad()
@in_evaluation
def certify(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    std: float,
    draws: int = 200,
    guesses: int = 20,
    confidence: float = 0.999,
    **how: Unpack[RunOptions],
) -> Tensor:
    """The L2 radius around each picture within which the smoothed model gives its class (Cohen et al. 2019).

    The smoothed model answers what `model` says most often of the picture with Gaussian noise. If it says c
    with a probability of at least p > 1/2, no picture within std * quantile(p) changes that.

    model: from noisy pictures (B, C, H, W), about [0, 1] and beyond, to logits, asked in evaluation mode and
        left as it was; a random one should be
        `Seeded`, and its draws count as the noise's do.
    std: of the noise, on [0, 1]. draws: on which p is bounded; the class is guessed on `guesses` others.
    confidence: of the bound, for one picture; with 200 draws and 0.999 no radius is above 1.8 std.

    Returns (N,), 0 for a picture whose guessed class is wrong or whose p is not above 1/2.
    """
    need(std > 0, f"std is {std}: give a positive one")
    need(std < 4, f"std is {std:g}, pictures being in [0, 1]: give {std:g} / 255 if grey levels are meant")
    images = in_unit_range(images)
    need(draws >= 1 and guesses >= 1, "draws and guesses are 1 or more")
    run, logits, normal = Run(**how), logits_of(model), NormalDist()
    model.to(run.device)
    found: list[float] = []
    for i in run.track(range(len(images)), "pictures certified"):
        own = [derive(run.seed, Purpose.CERTIFY, run.first + i, k) for k in range(guesses + draws)]
        said: list[Tensor] = []
        for part in torch.arange(len(own)).split(run.batch_size):
            seeds = [own[k] for k in part.tolist()]
            x = images[i].to(run.device).expand(len(seeds), *images.shape[1:])
            noisy = x + std * White().stream(seeds)(x)
            said.append(logits(noisy, [derive(seed, 1) for seed in seeds]).argmax(1).cpu())
        answers = torch.cat(said)
        classes = int(answers.max()) + 1
        guess = int(F.one_hot(answers[:guesses], classes).sum(0).argmax())
        p = least_share(int((answers[guesses:] == guess).sum()), draws, confidence)
        right = guess == int(labels[i]) and p > 0.5
        found.append(std * normal.inv_cdf(p) if right else 0.0)
    return torch.tensor(found)
