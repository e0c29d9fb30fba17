"""DiffPure, its defended classifier and the suite of attacks: fair, honest, independent of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headwater.attacks import APGD, PGD, Report, Threat, suite, usual_attacks
from headwater.attacks.gradient import Objective, logits_of
from headwater.attacks.report import WORST
from headwater.attacks.suite import holds
from headwater.core import network_calls
from headwater.data import load
from headwater.errors import UserError
from headwater.experiments.harness import Measurements, Results
from headwater.methods.robustness.diffpure import claim
from headwater.methods.robustness.diffpure.method import DiffPure, OnUnitRange, Purified
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.noise import derive
from headwater.sampling import Run

QUIET = Run(seed=3, batch_size=64, progress=False)
METHOD = DiffPure(level=10, steps=5)
Data = tuple[Tensor, Tensor]


class Blur(nn.Module):
    """A network of one convolution: v = conv(x)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return torch.tanh(self.conv(x))


@pytest.fixture
def prior() -> Prior:
    return Prior(Blur(), PriorConfig({"kind": "blur"}, (1, 6, 6), ProcessConfig(T=50), predicts="v"))


@pytest.fixture
def classifier() -> nn.Module:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, 4))
    return OnUnitRange(net).eval()


@pytest.fixture
def data(classifier: nn.Module) -> Data:
    x = torch.rand(7, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    return x, classifier(x).argmax(1)


def test_a_level_keeps_more_the_lower_it_is(prior: Prior) -> None:
    assert network_calls(DiffPure().plan(1000)) == 100
    x = torch.rand(5, 1, 6, 6) * 2 - 1
    near, far = (METHOD.evaluate(DiffPure(level, 2).apply(prior, x, **QUIET), x) for level in (2, 50))
    assert near["mse"] < far["mse"]
    assert near["psnr"] > far["psnr"]


@pytest.mark.parametrize("kind", ["sde", "ode", "ddpm"])
def test_a_picture_does_not_depend_on_its_batch(prior: Prior, kind: Any) -> None:
    x = torch.rand(5, 1, 6, 6) * 2 - 1
    one, many = (replace(METHOD, kind=kind).apply(prior, x, **replace(QUIET, batch_size=b)) for b in (1, 5))
    torch.testing.assert_close(one, many, rtol=0, atol=1e-6)
    assert not many.requires_grad


# A classifier with a purifier in front


def test_noise_is_fresh_at_each_call_or_fixed(prior: Prior, classifier: nn.Module, data: Data) -> None:
    x, _ = data
    with torch.no_grad():
        fresh = Purified(classifier, prior, METHOD, seed=1)
        first, second = fresh(x), fresh(x)
        assert not torch.equal(first, second)
        assert torch.equal(Purified(classifier, prior, METHOD, seed=1)(x), first)
        fixed = Purified(classifier, prior, METHOD, "fixed", seed=1)
        assert torch.equal(fixed(x), fixed(x))
        assert torch.equal(fixed(x), fresh.seeded(x, [derive(1, 0, i) for i in range(len(x))]))


def test_the_defended_classifier_is_one_module(prior: Prior, classifier: nn.Module, data: Data) -> None:
    defended, x = Purified(classifier, prior, METHOD), data[0].clone().requires_grad_()
    assert any(p is prior.network.conv.weight for p in defended.parameters())  # type: ignore[union-attr]
    (gradient,) = torch.autograd.grad(defended(x).sum(), x)
    assert bool((gradient != 0).all())
    with torch.no_grad():
        assert not defended(x).requires_grad


def test_views_differ_where_they_should(prior: Prior, classifier: nn.Module, data: Data) -> None:
    x, y = data
    defended, seeds = Purified(classifier, prior, METHOD), list(range(7))
    loss, gradient = {}, {}
    for view in ("exact", "bpda", "classifier"):
        loss[view], gradient[view] = Objective(logits_of(defended, view), y, seeds)(x, 0)  # type: ignore[arg-type]
    assert torch.equal(loss["exact"], loss["bpda"])  # both run the purifier
    assert not torch.equal(loss["exact"], loss["classifier"])
    assert not torch.allclose(gradient["exact"], gradient["bpda"])
    # BPDA's gradient is the classifier's own at the purified picture.
    with torch.no_grad():
        shown = defended.purified(x, [derive(s, 0, 0) for s in seeds])
    shown.requires_grad_()
    found = nn.functional.cross_entropy(classifier(shown), y, reduction="sum")
    torch.testing.assert_close(gradient["bpda"], torch.autograd.grad(found, shown)[0])


# The suite


def test_the_suite_does_not_depend_on_the_batch(prior: Prior, classifier: nn.Module, data: Data) -> None:
    defended = Purified(classifier, prior, METHOD)
    attacks = usual_attacks(defended, 3, 2)
    one, other = (
        suite(defended, *data, Threat("linf", 0.1), attacks, 3, 2, **replace(QUIET, batch_size=b))
        for b in (2, 64)
    )
    assert one.known is not None
    assert other.known is not None
    for a, b in zip(
        (one.clean, one.known, *one.held.values()),
        (other.clean, other.known, *other.held.values()),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_attacks_break_a_classifier_and_the_report_says_how_badly(classifier: nn.Module, data: Data) -> None:
    report = suite(classifier, *data, Threat("linf", 0.3), **QUIET)
    assert bool(report.clean.all())
    assert report.votes == 1
    assert int(report.worst.sum()) <= min(int(h.sum()) for h in report.held.values())
    assert int(report.worst.sum()) < 7
    harmless = suite(classifier, *data, Threat("linf", 1e-6), {"exact": PGD(3)}, **QUIET)
    assert bool(harmless.worst.all())


def test_no_figure_comes_without_the_strongest_attack() -> None:
    a, b, clean = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0]]).bool()
    report = Report(Threat("l2", 0.5), 3, clean, {"weak": a | b, "exact": a & b})
    assert report.strongest == report.to_dict()["strongest"] == "exact"
    assert report.worst.tolist() == [True, False, False, False]
    for rendered in (str(report), report.summary()):
        assert "exact" in rendered
        assert "25.0 %" in rendered
    assert report.rows()[0][:2] == (WORST, 0.25)
    assert report.warnings == []
    # An attack that knows less and breaks more is a sign that gradients are masked.
    turned = Report(report.threat, 3, clean, {"BPDA": a & b, "exact": a | b})
    assert "masked" in turned.warnings[0]


class Coin(nn.Module):
    """Says class 1 whenever the seed is odd."""

    def seeded(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        return nn.functional.one_hot(torch.tensor([s % 2 for s in seeds]), 3).float()


def test_votes_are_a_strict_plurality() -> None:
    model, x, labels = Coin(), torch.zeros(60, 1, 1, 1), torch.ones(60, dtype=torch.int64)
    seeds = list(range(60))
    for votes in (1, 2, 5):
        ones = torch.tensor([sum(derive(s, k) % 2 for k in range(votes)) for s in seeds])
        assert torch.equal(holds(model, x, labels, votes, seeds), ones * 2 > votes)
    assert not bool(holds(model, x, labels * 2, 5, seeds).any())


# Mistakes


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"level": 51}, "50 levels"),
        ({"level": 0}, "50 levels"),
        ({"steps": 11}, "level is 10"),
        ({"steps": 0}, "level is 10"),
        ({"kind": "sdf"}, "sde, ode or ddpm"),
    ],
)
def test_impossible_settings_are_a_sentence(prior: Prior, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=word):
        replace(METHOD, **changes).apply(prior, torch.zeros(1, 1, 6, 6))


def test_wrong_pictures_labels_and_attacks_are_a_sentence(
    prior: Prior, classifier: nn.Module, data: Data
) -> None:
    x, y = data
    defended, two = Purified(classifier, prior, METHOD), nn.Sequential(classifier, nn.Linear(4, 2))
    blind = nn.Module()
    blind.forward = lambda images: classifier(images.detach()).detach()
    mistakes: dict[str, Any] = {
        "this prior draws": lambda: defended(torch.zeros(1, 3, 6, 6)),
        "lie in .* rescale": lambda: defended(x * 2 - 1.5),
        "attacks work on": lambda: suite(classifier, x * 2 - 1, y, Threat()),
        "one int64 class per": lambda: suite(classifier, x, y[:-1], Threat()),
        "one int64 class": lambda: suite(classifier, x, y.float(), Threat()),
        "at least one attack": lambda: suite(classifier, x, y, Threat(), {}),
        "same size": lambda: METHOD.evaluate(x, x[:1]),
        "linf or l2": lambda: Threat("l1", 0.1),  # type: ignore[arg-type]
        "positive": lambda: Threat("l2", 0.0),
        "no purifier": lambda: suite(classifier, x, y, Threat(), {"b": PGD(view="bpda")}, **QUIET),
        "three classes": lambda: suite(two, x, y.clamp(max=1), Threat(), {"d": APGD(2, loss="dlr")}, **QUIET),
        "no gradient": lambda: suite(blind, x, y, Threat(), {"exact": PGD(2)}, **QUIET),
    }
    for words, call in mistakes.items():
        with pytest.raises(UserError, match=words):
            call()


# The claim's own parts


def judged(naive: int, blind: int, exact: int, ode: int, sweep: tuple[int, int, int]) -> list[str]:
    """What is lost if so many of 40 pictures hold."""
    found = Measurements()

    def add(measure: str, arm: str, n: int) -> None:
        found.add(measure, arm, [1.0] * n + [0.0] * (40 - n))

    for measure, n in (
        (claim.NAIVE, naive),
        (claim.BLIND, blind),
        (claim.EXACT, exact),
        (claim.WORST, exact),
    ):
        add(measure, claim.SDE, n)
    add(claim.WORST, claim.BARE, 0)
    add(claim.WORST, claim.ODE, ode)
    for level, n in zip((25, 100, 300), sweep, strict=True):
        add(f"{claim.WORST} at level {level}", claim.SDE, n)
        add(f"{claim.CLEAN} at level {level}", claim.SDE, 40 - level // 10)
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
    known = claim.attacks(claim.CLAIM.full)
    assert known[claim.BLIND] == PGD(20, 16, "bpda")
    assert known[claim.EXACT] == PGD(20, 16, "exact")


def test_training_the_prior_learns() -> None:
    images = load("tiny", "train").images
    eps = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    gaps = []
    for steps in (1, 100):
        prior = claim.train_prior(images, 0, steps, progress=False)
        x = prior.process.combine(images[:64], eps, 200)
        with torch.no_grad():
            gaps.append(float((prior.denoiser(x, 200).x0 - images[:64]).square().mean()))
    assert gaps[1] < 0.8 * gaps[0]
