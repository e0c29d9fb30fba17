"""Run every attack on a model and say what is left of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwater.attacks.ascent import APGD, PGD
from headwater.attacks.gradient import Defended, Seeded, logits_of
from headwater.attacks.report import APGD_EXACT, BLIND, CLEAN, EXACT, KNOWN, NAIVE, Effort, Report
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


def usual_attacks(model: nn.Module, steps: int = 20, draws: int = 8, part: int = 0) -> dict[str, Attack]:
    """What a model of its kind should face: with a purifier, attacks that know of it more and more.

    part: draws of a gradient computed at once, for less memory; 0 is all of them.
    """
    if isinstance(model, Defended):
        return {
            NAIVE: APGD(steps, 1, "classifier"),
            BLIND: PGD(steps, draws, "bpda", part=part),
            EXACT: PGD(steps, draws, part=part),
            APGD_EXACT: APGD(steps, draws, part=part),
        }
    many = draws if isinstance(model, Seeded) else 1
    return {
        "exact PGD": PGD(steps, many, part=part),
        "exact APGD": APGD(steps, many, part=part),
        "exact APGD, dlr": APGD(steps, many, loss="dlr", part=part),
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
    single: dict[str, list[Tensor]] = defaultdict(list)
    for batch in run.track(run.batches(len(images)), "pictures attacked"):
        x, y = batch.take(images), batch.take(labels)
        own = [derive(run.seed, run.first + i) for i in batch.items]
        counts, rival = ballots(model, x, y, votes, [derive(seed, Purpose.VOTE) for seed in own])
        right, clean = counts > rival, counts / votes
        found[CLEAN].append(right.cpu())
        single[CLEAN].append(clean.cpu())
        for number, (name, attack) in enumerate(attacks.items()):
            left, least = right, clean
            seeds = [derive(seed, Purpose.ATTACK, number) for seed in own]
            for k, candidate in enumerate(attack.perturb(model, threat, x, y, seeds)):
                seeds = [derive(seed, Purpose.VOTE, number, k) for seed in own]
                counts, rival = ballots(model, threat.project(candidate, x), y, votes, seeds)
                left, least = left & (counts > rival), torch.minimum(least, counts / votes)
            found[name].append(left.cpu())
            single[name].append(least.cpu())
        if known_noise and isinstance(model, Seeded):
            fixed = [derive(seed, Purpose.FIXED) for seed in own]
            left = _correct(model, x, y, fixed)
            for candidate in PGD(known_noise, fixed=True).perturb(model, threat, x, y, fixed):
                left = left & _correct(model, candidate, y, fixed)
            found[KNOWN].append(left.cpu())
    held = {name: torch.cat(parts) for name, parts in found.items()}
    singles = {name: torch.cat(parts) for name, parts in single.items()}
    return Report(threat, votes, held.pop(CLEAN), held, held.pop(KNOWN, None), singles)


def effort_curve(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    attacks: Callable[[int], Mapping[str, Attack]] | None = None,
    efforts: Sequence[int] = (10, 20, 50, 100, 200),
    votes: int = 10,
    flat: float = 0.01,
    **how: Unpack[RunOptions],
) -> Effort:
    """What is left after attacks of ever more steps, until more of them break hardly anything.

    attacks: steps -> attacks; `usual_attacks(model, steps)` by default. efforts: numbers of steps, ascending.
    A picture that a smaller effort broke stays broken, as whoever makes the larger one can make it too.
    flat: share of pictures; a step up the efforts that breaks no more ends the curve. Where none does, the
        curve is not flat, and neither is its last figure one to publish.

    Takes the time of a suite at each of the efforts. Raises UserError as `suite` does.
    """
    need(len(efforts) > 1 and list(efforts) == sorted(set(efforts)), "give two efforts or more, ascending")
    need(0 <= flat < 1, f"flat is {flat}: give a share of the pictures, from 0 to below 1")
    reports, left = list[Report](), list[float]()
    worst: Tensor | None = None
    for steps in efforts:
        tried = usual_attacks(model, steps) if attacks is None else attacks(steps)
        reports.append(suite(model, images, labels, threat, tried, votes, **how))
        worst = reports[-1].worst if worst is None else worst & reports[-1].worst
        left.append(float(worst.double().mean()))
        if len(left) > 1 and left[-2] - left[-1] <= flat:
            return Effort(tuple(efforts[: len(left)]), tuple(left), True, tuple(reports))
    return Effort(tuple(efforts), tuple(left), False, tuple(reports))


@torch.no_grad()
def ballots(
    model: nn.Module, images: Tensor, labels: Tensor, votes: int, seeds: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Of `votes` independent evaluations those that are right, and those for the strongest wrong class,
    (B,) each."""
    logits = logits_of(model)
    said = torch.stack([logits(images, [derive(s, k) for s in seeds]).argmax(1) for k in range(votes)])
    classes = int(said.max().maximum(labels.max())) + 1
    counts = F.one_hot(said, classes).sum(0)
    own = counts.gather(1, labels[:, None])[:, 0]
    return own, counts.scatter(1, labels[:, None], -1).amax(1)


def holds(model: nn.Module, images: Tensor, labels: Tensor, votes: int, seeds: Sequence[int]) -> Tensor:
    """Whether the true class wins strictly more of `votes` independent evaluations than any other, (B,)."""
    own, rival = ballots(model, images, labels, votes, seeds)
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
