"""Run every attack on a model and say what is left of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwater.attacks.ascent import APGD, PGD
from headwater.attacks.gradient import Defended, Seeded, logits_of
from headwater.attacks.report import APGD_EXACT, BLIND, CLEAN, EXACT, KNOWN, NAIVE, Report
from headwater.attacks.threat import Threat, in_unit_range
from headwater.errors import need
from headwater.modes import in_evaluation
from headwater.noise import Purpose, derive
from headwater.sampling import Run, RunOptions


class Attack(Protocol):
    """Finds pictures of the threat's ball that a model may get wrong."""

    def perturb(
        self, model: nn.Module, threat: Threat, images: Tensor, labels: Tensor, seeds: Sequence[int]
    ) -> list[Tensor]:
        """Candidates, each like images (B, C, H, W) in [0, 1]; row i depends on seeds[i] alone."""
        ...


def usual_attacks(model: nn.Module, steps: int = 20, draws: int = 8) -> dict[str, Attack]:
    """What a model of its kind should face: with a purifier, attacks that know of it more and more."""
    if isinstance(model, Defended):
        return {
            NAIVE: APGD(steps, 1, "classifier"),
            BLIND: PGD(steps, draws, "bpda"),
            EXACT: PGD(steps, draws),
            APGD_EXACT: APGD(steps, draws),
        }
    many = draws if isinstance(model, Seeded) else 1
    return {
        "exact PGD": PGD(steps, many),
        "exact APGD": APGD(steps, many),
        "exact APGD, dlr": APGD(steps, many, loss="dlr"),
    }


@in_evaluation
def suite(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    attacks: Mapping[str, Attack] | None = None,
    votes: int = 10,
    known_noise: int = 0,
    **how: Unpack[RunOptions],
) -> Report:
    """Attack `model` on images (N, C, H, W) in [0, 1] with labels (N,) int64.

    model: any module from [0, 1] to logits, attacked in evaluation mode and left as it was; a random one
        should be `Seeded`, so that each attack and each vote is a function of (seed, picture) alone.
    attacks: `usual_attacks(model)` by default. A picture that one attack broke is not spared the others.
    votes: evaluations of a random model per candidate; others get one.
    known_noise: steps of PGD with the very noise of a single evaluation, if not 0: shows how much of the
        robustness is chance. Not part of the worst case.

    Raises UserError for pictures outside [0, 1], labels that do not fit, or a model without a gradient.
    """
    run = Run(**how)
    model.to(run.device)
    images = _checked(images, labels, votes)
    threat.check(images)
    attacks = usual_attacks(model) if attacks is None else attacks
    need(len(attacks) > 0, "name at least one attack: robustness without an attack is accuracy")
    votes = votes if isinstance(model, Seeded) else 1
    found: dict[str, list[Tensor]] = defaultdict(list)
    for batch in run.track(run.batches(len(images)), "pictures attacked"):
        x, y = batch.take(images), batch.take(labels)
        own = [derive(run.seed, run.first + i) for i in batch.items]
        right = holds(model, x, y, votes, [derive(seed, Purpose.VOTE) for seed in own])
        found[CLEAN].append(right.cpu())
        for number, (name, attack) in enumerate(attacks.items()):
            left = right
            seeds = [derive(seed, Purpose.ATTACK, number) for seed in own]
            for k, candidate in enumerate(attack.perturb(model, threat, x, y, seeds)):
                seeds = [derive(seed, Purpose.VOTE, number, k) for seed in own]
                left = left & holds(model, threat.project(candidate, x), y, votes, seeds)
            found[name].append(left.cpu())
        if known_noise and isinstance(model, Seeded):
            fixed = [derive(seed, Purpose.FIXED) for seed in own]
            left = _correct(model, x, y, fixed)
            for candidate in PGD(known_noise, fixed=True).perturb(model, threat, x, y, fixed):
                left = left & _correct(model, candidate, y, fixed)
            found[KNOWN].append(left.cpu())
    held = {name: torch.cat(parts) for name, parts in found.items()}
    return Report(threat, votes, held.pop(CLEAN), known=held.pop(KNOWN, None), held=held)


@torch.no_grad()
def holds(model: nn.Module, images: Tensor, labels: Tensor, votes: int, seeds: Sequence[int]) -> Tensor:
    """Whether the true class wins strictly more of `votes` independent evaluations than any other, (B,)."""
    logits = logits_of(model)
    ballots = torch.stack([logits(images, [derive(s, k) for s in seeds]).argmax(1) for k in range(votes)])
    classes = int(ballots.max().maximum(labels.max())) + 1
    counts = F.one_hot(ballots, classes).sum(0)
    own = counts.gather(1, labels[:, None])[:, 0]
    rival = counts.scatter(1, labels[:, None], -1).amax(1)
    return own > rival


@torch.no_grad()
def _correct(model: Seeded, images: Tensor, labels: Tensor, seeds: Sequence[int]) -> Tensor:
    return model.seeded(images, seeds).argmax(1) == labels


def _checked(images: Tensor, labels: Tensor, votes: int) -> Tensor:
    """The images without what rounding put beyond [0, 1]."""
    need(images.ndim == 4 and len(images) > 0, "give images (N, C, H, W) with N of 1 or more")
    need(
        labels.shape == images.shape[:1] and labels.dtype == torch.int64,
        f"labels are {tuple(labels.shape)} of {labels.dtype}: give one int64 class per picture",
    )
    need(votes >= 1, "votes is 1 or more")
    return in_unit_range(images)
