"""The suite of attacks on a defended classifier: fair, honest, independent of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contract.specimens import exact_prior
from headwater.attacks import (
    APGD,
    PGD,
    Report,
    Square,
    Threat,
    effort_curve,
    strong_attacks,
    suite,
    usual_attacks,
)
from headwater.attacks.gradient import Objective, logits_of
from headwater.attacks.report import SINGLE, SINGLE_WORST, WORST
from headwater.attacks.suite import holds
from headwater.errors import UserError
from headwater.methods.robustness.diffpure.method import DiffPure
from headwater.methods.robustness.shared.purifies import OnUnitRange, Purified
from headwater.noise import derive
from headwater.sampling import Run

QUIET = Run(seed=3, batch_size=64, progress=False)
Data = tuple[Tensor, Tensor]


@pytest.fixture
def classifier() -> nn.Module:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, 4))
    return OnUnitRange(net).eval()


@pytest.fixture
def defended(classifier: nn.Module) -> Purified:
    return Purified(classifier, exact_prior((1, 6, 6)), DiffPure(level=200, steps=5))


@pytest.fixture
def data(classifier: nn.Module) -> Data:
    x = torch.rand(7, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    return x, classifier(x).argmax(1)


def test_views_differ_where_they_should(defended: Purified, classifier: nn.Module, data: Data) -> None:
    (x, y), seeds, loss, gradient = data, list(range(7)), {}, {}
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


def test_the_suite_does_not_depend_on_the_batch(defended: Purified, data: Data) -> None:
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
    assert report.shares[WORST].mean == 0.25
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


def test_wrong_pictures_labels_and_attacks_are_a_sentence(classifier: nn.Module, data: Data) -> None:
    x, y = data
    two, blind = nn.Sequential(classifier, nn.Linear(4, 2)), nn.Module()
    blind.forward = lambda images: classifier(images.detach()).detach()
    mistakes: dict[str, Any] = {
        "attacks work on": lambda: suite(classifier, x * 2 - 1, y, Threat()),
        "one int64 class per": lambda: suite(classifier, x, y[:-1], Threat()),
        "one int64 class": lambda: suite(classifier, x, y.float(), Threat()),
        "at least one attack": lambda: suite(classifier, x, y, Threat(), {}),
        "linf or l2": lambda: Threat("l1", 0.1),  # type: ignore[arg-type]
        "positive": lambda: Threat("l2", 0.0),
        "no purifier": lambda: suite(classifier, x, y, Threat(), {"b": PGD(view="bpda")}, **QUIET),
        "three classes": lambda: suite(two, x, y.clamp(max=1), Threat(), {"d": APGD(2, loss="dlr")}, **QUIET),
        "no gradient": lambda: suite(blind, x, y, Threat(), {"exact": PGD(2)}, **QUIET),
    }
    for words, call in mistakes.items():
        with pytest.raises(UserError, match=words):
            call()


def test_single_draws_stand_beside_the_vote() -> None:
    """A model that is right two times out of three in a draw wins nearly every vote of fifteen."""

    class Mostly(nn.Module):
        def seeded(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
            return nn.functional.one_hot(torch.tensor([int(s % 3 > 0) for s in seeds]), 2).float()

    class Nothing:
        def perturb(self, model: Any, threat: Threat, images: Tensor, *rest: Any) -> list[Tensor]:
            return [images, images]

    x, y = torch.zeros(40, 1, 2, 2), torch.ones(40, dtype=torch.int64)
    report = suite(Mostly(), x, y, Threat(), {"nothing": Nothing()}, 15, **QUIET)
    assert report.clean.double().mean() > 0.8
    assert report.singles[SINGLE].mean == pytest.approx(2 / 3, abs=0.06)
    assert report.singles[SINGLE_WORST].mean < report.singles[SINGLE].mean
    assert "one draw" in str(report)
    assert set(report.to_dict()["one_draw"]) == {SINGLE, SINGLE_WORST}
    assert report.single["nothing"].tolist() <= report.single["no attack"].tolist()
    one = suite(Mostly(), x, y, Threat(), {"nothing": Nothing()}, 1, **QUIET)
    assert one.singles == {}


def test_the_curve_of_effort_ends_where_it_is_flat(classifier: nn.Module, data: Data) -> None:
    threat = Threat("linf", 0.05)

    def small(steps: int) -> dict[str, Any]:
        return {"exact": PGD(steps, size=0.05 / 40)}

    weak = effort_curve(classifier, *data, threat, small, (1, 10, 40, 80, 160), **QUIET)
    assert list(weak.left) == sorted(weak.left, reverse=True)
    assert weak.flat == (weak.left[-2] == weak.left[-1])
    assert len(weak.reports) == len(weak.steps) == len(weak.left)
    assert weak.left[0] > weak.left[-1]
    assert ("not flat" in str(weak)) != weak.flat
    assert not effort_curve(classifier, *data, threat, small, (1, 40), **QUIET).flat
    with pytest.raises(UserError, match="ascending"):
        effort_curve(classifier, *data, threat, efforts=(10, 5))


def test_the_strong_preset_leaves_no_more_than_the_usual_attacks(classifier: nn.Module, data: Data) -> None:
    threat = Threat("linf", 0.08)
    strong, usual = (
        suite(classifier, *data, threat, attacks, **QUIET).worst
        for attacks in (strong_attacks(classifier, threat, 8), usual_attacks(classifier, 8))
    )
    assert int(strong.sum()) <= int(usual.sum())
    assert "Square" not in strong_attacks(classifier, Threat("l2", 1.0))
    with pytest.raises(UserError, match="leave it out for l2"):
        suite(classifier, *data, Threat("l2", 1.0), {"s": Square(2)}, **QUIET)
    with pytest.raises(UserError, match="number of wrong classes"):
        suite(classifier, *data, threat, {"t": APGD(2, targets=4)}, **QUIET)
