"""DiffPure and the suite as a user meets them: reproducible, independent of the batch, honest, clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from headwater.attacks import APGD, PGD, Report, Threat, suite, usual_attacks
from headwater.attacks.report import WORST
from headwater.attacks.suite import holds
from headwater.core import network_calls
from headwater.errors import UserError
from headwater.methods.catalogue import entry
from headwater.methods.robustness.diffpure.method import DiffPure
from headwater.methods.robustness.shared.purified import OnUnitRange, Purified
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.noise import derive
from headwater.report import Page
from headwater.sampling import Run

QUIET = Run(seed=3, batch_size=64, progress=False)
METHOD = DiffPure(level=10, steps=5)


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
def data(classifier: nn.Module) -> tuple[Tensor, Tensor]:
    x = torch.rand(7, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    return x, classifier(x).argmax(1)


def test_the_catalogue_knows_it() -> None:
    assert entry("diffpure").load() is DiffPure
    assert DiffPure() == DiffPure(100, 100, "sde")
    assert network_calls(DiffPure().plan(1000)) == 100


@pytest.mark.parametrize("kind", ["sde", "ode", "ddpm"])
def test_a_picture_does_not_depend_on_its_batch(prior: Prior, kind: str) -> None:
    x = torch.rand(5, 1, 6, 6) * 2 - 1
    method = replace(METHOD, kind=kind)
    one, many = (method.apply(prior, x, seed=4, batch_size=batch, progress=False) for batch in (1, 5))
    torch.testing.assert_close(one, many, rtol=0, atol=1e-6)
    assert not torch.equal(method.apply(prior, x, seed=5, progress=False), many)
    assert not many.requires_grad


def test_a_clean_picture_comes_back_closer_from_a_lower_level(prior: Prior) -> None:
    x = torch.rand(5, 1, 6, 6) * 2 - 1
    near, far = (DiffPure(level, 2).apply(prior, x, **QUIET) for level in (2, 50))
    assert METHOD.evaluate(near, x)["mse"] < METHOD.evaluate(far, x)["mse"]
    assert METHOD.evaluate(near, x)["psnr"] > METHOD.evaluate(far, x)["psnr"]


def test_noise_is_fresh_at_each_call_or_fixed(prior: Prior, classifier: nn.Module, data) -> None:
    x, _ = data
    with torch.no_grad():
        fresh = Purified(classifier, prior, METHOD, seed=1)
        first, second = fresh(x), fresh(x)
        assert not torch.equal(first, second)
        assert torch.equal(Purified(classifier, prior, METHOD, seed=1)(x), first)
        fixed = Purified(classifier, prior, METHOD, "fixed", seed=1)
        assert torch.equal(fixed(x), fixed(x))
        assert torch.equal(fixed(x), fresh.seeded(x, [derive(1, 0, i) for i in range(len(x))]))


def test_the_defended_classifier_moves_and_differentiates_as_one_module(
    prior: Prior, classifier: nn.Module, data
) -> None:
    x, _ = data
    defended = Purified(classifier, prior, METHOD)
    assert any(p is prior.network.conv.weight for p in defended.parameters())  # type: ignore[union-attr]
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(defended(x).sum(), x)
    assert bool((gradient != 0).all())
    with torch.no_grad():
        assert not defended(x).requires_grad


def test_views_differ_where_they_should(prior: Prior, classifier: nn.Module, data) -> None:
    from headwater.attacks.gradient import Objective, seen

    x, y = data
    defended, seeds = Purified(classifier, prior, METHOD), list(range(7))
    loss, gradient = {}, {}
    for view in ("exact", "bpda", "classifier"):
        loss[view], gradient[view] = Objective(seen(defended, view), y, seeds)(x, 0)  # type: ignore[arg-type]
    assert torch.equal(loss["exact"], loss["bpda"])  # both run the purifier
    assert not torch.equal(loss["exact"], loss["classifier"])
    assert not torch.allclose(gradient["exact"], gradient["bpda"])
    # BPDA's gradient is the classifier's own at the purified picture.
    with torch.no_grad():
        shown = defended.purified(x, [derive(s, 0, 0) for s in seeds])
    shown.requires_grad_()
    found = nn.functional.cross_entropy(classifier(shown), y, reduction="sum")
    torch.testing.assert_close(gradient["bpda"], torch.autograd.grad(found, shown)[0])


def test_the_suite_does_not_depend_on_the_batch(prior: Prior, classifier: nn.Module, data) -> None:
    defended = Purified(classifier, prior, METHOD)
    reports = [
        suite(
            defended,
            *data,
            Threat("linf", 0.1),
            usual_attacks(defended, 3, 2),
            3,
            2,
            seed=0,
            batch_size=b,
            progress=False,
        )
        for b in (2, 64)
    ]
    for name in usual_attacks(defended):
        assert torch.equal(reports[0].held[name], reports[1].held[name])
    assert torch.equal(reports[0].clean, reports[1].clean)
    assert reports[0].known is not None
    assert reports[1].known is not None
    assert torch.equal(reports[0].known, reports[1].known)


def test_attacks_break_a_classifier_and_the_report_says_how_badly(classifier: nn.Module, data) -> None:
    report = suite(classifier, *data, Threat("linf", 0.3), **QUIET)
    assert bool(report.clean.all())
    assert report.votes == 1
    assert int(report.worst.sum()) <= min(int(h.sum()) for h in report.held.values())
    assert int(report.worst.sum()) < 7
    harmless = suite(classifier, *data, Threat("linf", 1e-6), {"exact": PGD(3)}, **QUIET)
    assert bool(harmless.worst.all())


def verdicts() -> Report:
    a = torch.tensor([True, True, False, False])
    b = torch.tensor([True, False, True, False])
    return Report(
        Threat("l2", 0.5), 3, torch.tensor([True, True, True, False]), {"weak": a | b, "exact": a & b}
    )


def test_no_figure_comes_without_the_strongest_attack() -> None:
    report = verdicts()
    assert report.strongest == "exact"
    assert report.worst.tolist() == [True, False, False, False]
    for rendered in (str(report), report.line("weak"), report.summary()):
        assert "exact" in rendered
        assert "25.0 %" in rendered
    assert report.rows()[0][:2] == (WORST, 0.25)
    page = Page("attacks")
    report.tell(page.section("all"))
    assert "exact" in page.html()
    assert WORST in page.html()
    assert report.to_dict()["strongest"] == "exact"


def test_a_weaker_attack_that_wins_is_a_doubt() -> None:
    report = verdicts()
    assert report.doubts == []
    turned = Report(
        report.threat, 3, report.clean, {"BPDA": report.held["exact"], "exact": report.held["weak"]}
    )
    assert "masked" in turned.doubts[0]


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


@pytest.mark.parametrize(
    ("method", "word"),
    [
        (DiffPure(level=51), "50 levels"),
        (DiffPure(level=0), "50 levels"),
        (DiffPure(level=10, steps=11), "level is 10"),
        (DiffPure(level=10, steps=0), "level is 10"),
        (DiffPure(level=10, steps=5, kind="sdf"), "sde, ode or ddpm"),  # type: ignore[arg-type]
    ],
)
def test_impossible_settings_are_a_sentence(prior: Prior, method: DiffPure, word: str) -> None:
    with pytest.raises(UserError, match=word):
        method.apply(prior, torch.zeros(1, 1, 6, 6))


def test_wrong_pictures_are_a_sentence(prior: Prior, classifier: nn.Module, data) -> None:
    x, y = data
    defended = Purified(classifier, prior, METHOD)
    with pytest.raises(UserError, match="this prior draws"):
        METHOD.apply(prior, torch.zeros(1, 1, 5, 6))
    with pytest.raises(UserError, match="this prior draws"):
        defended(torch.zeros(1, 3, 6, 6))
    with pytest.raises(UserError, match="rescale"):
        defended(x * 2 - 1.5)
    with pytest.raises(UserError, match="rescale"):
        suite(classifier, x * 2 - 1, y, Threat())
    with pytest.raises(UserError, match="one int64 class"):
        suite(classifier, x, y[:-1], Threat())
    with pytest.raises(UserError, match="one int64 class"):
        suite(classifier, x, y.float(), Threat())
    with pytest.raises(UserError, match="at least one attack"):
        suite(classifier, x, y, Threat(), {})
    with pytest.raises(UserError, match="same size"):
        METHOD.evaluate(x, x[:1])


def test_wrong_attacks_are_a_sentence(classifier: nn.Module, data) -> None:
    x, y = data
    with pytest.raises(UserError, match="linf or l2"):
        Threat("l1", 0.1)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="positive"):
        Threat("l2", 0.0)
    with pytest.raises(UserError, match="no purifier"):
        suite(classifier, x, y, Threat(), {"b": PGD(view="bpda")}, **QUIET)
    with pytest.raises(UserError, match="three classes"):
        suite(
            nn.Sequential(classifier, nn.Linear(4, 2)),
            x,
            y.clamp(max=1),
            Threat(),
            {"d": APGD(2, loss="dlr")},
        )

    class Blind(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return classifier(images.detach())

    for module in classifier.parameters():
        module.requires_grad_(False)
    with pytest.raises(UserError, match="no gradient"):
        suite(Blind(), x, y, Threat(), {"exact": PGD(2)}, **QUIET)
