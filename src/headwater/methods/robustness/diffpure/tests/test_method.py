"""DiffPure and its defended classifier, and the rule of its claim."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from contract.specimens import exact_prior, network_prior
from headwater.attacks import APGD, PGD
from headwater.core import network_calls
from headwater.errors import UserError
from headwater.experiments.harness import Measurements, Results
from headwater.methods.robustness.diffpure import claim
from headwater.methods.robustness.diffpure.method import DiffPure
from headwater.methods.robustness.shared import claims
from headwater.methods.robustness.shared.purifies import OnUnitRange, Purified
from headwater.noise import derive
from headwater.sampling import Run

QUIET = Run(seed=3, batch_size=64, progress=False)
METHOD, PRIOR = DiffPure(level=200, steps=5), exact_prior((1, 6, 6))
X = torch.rand(7, 1, 6, 6, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def classifier() -> nn.Module:
    torch.manual_seed(1)
    return OnUnitRange(nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, 4))).eval()


def test_a_level_keeps_more_the_lower_it_is() -> None:
    assert network_calls(DiffPure().plan(1000)) == 100
    x = X * 2 - 1
    near, far = (METHOD.evaluate(DiffPure(level, 2).apply(PRIOR, x, **QUIET), x) for level in (20, 900))
    assert near["mse"] < far["mse"]
    assert near["psnr"] > far["psnr"]


@pytest.mark.parametrize("kind", ["sde", "ode", "ddpm"])
def test_a_picture_does_not_depend_on_its_batch(kind: Any) -> None:
    method, runs = replace(METHOD, kind=kind), [replace(QUIET, batch_size=size) for size in (1, 5)]
    one, many = (method.apply(PRIOR, X * 2 - 1, **run) for run in runs)
    assert torch.equal(one, many)
    assert not many.requires_grad


def test_pictures_of_another_size_go_to_the_priors_and_back() -> None:
    """The prior's own size in between, and the exact gradient, to float64's digits."""
    x, method = torch.rand(2, 1, 5, 9, dtype=torch.float64), replace(METHOD, resize=True)
    with pytest.raises(UserError, match="resize them"):
        METHOD.apply(PRIOR, x * 2 - 1, **QUIET)
    with pytest.raises(UserError, match="the pictures are"):
        method.apply(PRIOR, x.expand(-1, 3, -1, -1) * 2 - 1, **QUIET)
    found = method.apply(PRIOR, x * 2 - 1, **QUIET)
    by_hand = METHOD.apply(PRIOR, F.interpolate(x * 2 - 1, (6, 6), mode="bilinear"), **QUIET)
    torch.testing.assert_close(found, F.interpolate(by_hand, (5, 9), mode="bilinear"))
    same = X * 2 - 1
    assert torch.equal(method.apply(PRIOR, same, **QUIET), METHOD.apply(PRIOR, same, **QUIET))
    linear = nn.Sequential(nn.Flatten(), nn.Linear(45, 3)).double()
    defended = Purified(linear, PRIOR, method, "fixed", seed=1)
    assert torch.autograd.gradcheck(lambda given: defended(given), (x.requires_grad_(),))


# A classifier with a purifier in front


def test_noise_is_fresh_at_each_call_or_fixed(classifier: nn.Module) -> None:
    with torch.no_grad():
        fresh = Purified(classifier, PRIOR, METHOD, seed=1)
        first, second = fresh(X), fresh(X)
        assert not torch.equal(first, second)
        assert torch.equal(Purified(classifier, PRIOR, METHOD, seed=1)(X), first)
        fixed = Purified(classifier, PRIOR, METHOD, "fixed", seed=1)
        assert torch.equal(fixed(X), fixed(X))
        assert torch.equal(fixed(X), fresh.seeded(X, [derive(1, 0, i) for i in range(len(X))]))


def test_the_defended_classifier_is_one_module(classifier: nn.Module) -> None:
    prior, x = network_prior((1, 6, 6)), X.clone().requires_grad_()
    defended = Purified(classifier, prior, METHOD)
    weights = {id(p) for p in defended.parameters()}
    assert weights == {id(p) for part in (classifier, prior.network) for p in part.parameters()}
    (gradient,) = torch.autograd.grad(defended(x).sum(), x)
    assert bool((gradient != 0).all())
    with torch.no_grad():
        assert not defended(x).requires_grad


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"level": 1001}, "1000 levels"),
        ({"level": 0}, "1000 levels"),
        ({"steps": 201}, "level is 200"),
        ({"steps": 0}, "level is 200"),
        ({"kind": "sdf"}, "sde, ode or ddpm"),
    ],
)
def test_impossible_settings_are_a_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(METHOD, **changes).apply(PRIOR, torch.zeros(1, 1, 6, 6))


def test_pictures_that_do_not_fit_are_a_sentence(classifier: nn.Module) -> None:
    defended = Purified(classifier, PRIOR, METHOD)
    with pytest.raises(UserError, match="this prior wants"):
        defended(torch.zeros(1, 3, 6, 6))
    with pytest.raises(UserError, match=r"lie in .* rescale"):
        defended(X * 2 - 1.5)
    with pytest.raises(UserError, match="same size"):
        METHOD.evaluate(X, X[:1])


# The claim's own parts


def judged(naive: int, blind: int, exact: int, ode: int, sweep: tuple[int, int, int]) -> list[str]:
    """What is lost if so many of 40 pictures hold."""
    held = {(claim.NAIVE, claim.SDE): naive, (claim.BLIND, claim.SDE): blind, (claim.EXACT, claim.SDE): exact}
    held |= {(claim.WORST, claims.BARE): 0, (claim.WORST, claim.SDE): exact, (claim.WORST, claim.ODE): ode}
    for level, n in zip((25, 100, 300), sweep, strict=True):
        held[f"{claim.WORST} at level {level}", claim.SDE] = n
        held[f"{claim.CLEAN} at level {level}", claim.SDE] = 40 - level // 10
    found = Measurements()
    for key, n in held.items():
        found.add(*key, [1.0] * n + [0.0] * (40 - n))
    found.samples["level"] = 100
    results = Results(claim.CLAIM, claim.CLAIM.quick, "quick", (0,), [found])
    conditions = claim.rule(results)
    assert len(conditions) == 7
    return [c.what for c in conditions if not c.holds]


@pytest.mark.parametrize(
    ("case", "lost"),
    [
        ((30, 20, 10, 2, (2, 20, 5)), ""),
        ((30, 20, 10, 2, (20, 20, 5)), "it rises"),
        ((30, 20, 9, 2, (2, 9, 10)), "robust at 100, against 300: it falls"),
        ((20, 20, 10, 2, (2, 20, 5)), "left by a classifier-only"),
        ((30, 20, 20, 2, (2, 20, 5)), "left by BPDA"),
        ((30, 20, 10, 10, (2, 20, 5)), "SDE"),
    ],
)
def test_each_part_can_fail_alone(case: Any, lost: str) -> None:
    failed = judged(*case)
    assert len(failed) == bool(lost)
    assert all(lost in what for what in failed)


def test_attacks_differ_in_what_they_know_alone() -> None:
    known = claims.attacks(claim.CLAIM.full, Purified(nn.Identity(), PRIOR, METHOD))
    assert known[claim.NAIVE] == PGD(20, 1, "classifier")
    assert known[claim.BLIND] == PGD(20, 16, "bpda")
    assert known[claim.EXACT] == PGD(20, 16, "exact")
    assert known[claims.APGD_EXACT] == APGD(20, 16)
