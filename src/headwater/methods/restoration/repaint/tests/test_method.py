"""RePaint's own laws: the paper's loop, the hole's content ignored, what the claim's arms cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contract.specimens import exact_prior
from headwater.core import network_calls
from headwater.data.holes import known_pixels
from headwater.errors import UserError
from headwater.methods.restoration.repaint.claim import CLAIM, arms
from headwater.methods.restoration.repaint.method import RePaint
from headwater.models import Prior, PriorConfig, ProcessConfig


def test_the_papers_loop_has_4571_entries_and_2410_network_calls() -> None:
    plan = RePaint().plan(1000)
    assert len(plan) == 4571
    assert network_calls(plan) == 2410
    with pytest.raises(UserError, match="there are 50 timesteps: give a number from 1 to 50"):
        RePaint().plan(50)


def test_given_pixels_are_untouched_and_values_in_the_hole_ignored() -> None:
    image, known = torch.rand(3, 3, 12, 16) * 2 - 1, known_pixels("half", 3, 12, 16)
    other = image.where(known, torch.full((), 7.0))
    filled, again = (RePaint(6, 2, 2).apply(exact_prior(), x, known, progress=False) for x in (image, other))
    assert torch.equal(filled, again)
    assert torch.equal(filled.where(known, image), image)
    assert not bool((filled == image)[(~known).expand_as(image)].any())


def test_more_steps_cost_what_resampling_costs() -> None:
    method = CLAIM.full.method
    calls = {name: network_calls(arm.plan(1000)) for name, arm in arms(method, 1000).items()}
    assert calls["more steps"] == calls["RePaint"] > calls["plain"] == method.steps


def test_a_jump_that_never_fits_is_said(caplog: pytest.LogCaptureFixture) -> None:
    assert RePaint(steps=10, jump=10, resample=3).plan(100) == RePaint(steps=10, resample=1).plan(100)
    assert "never fits into 10 steps" in caplog.text
    caplog.clear()
    RePaint(steps=10, jump=2, resample=3).plan(100)
    assert not caplog.text


MEANS, SPREAD = torch.tensor([-0.5, 0.5]), 0.2
BLANK = torch.zeros(2, 1, 6, 8)
FULL = torch.zeros(1, 1, 6, 8, dtype=torch.bool)


class Mixture(nn.Module):
    """The exact noise predictor of pixels N(m_y, 0.2^2), or where no class is said of the even mixture of
    both over whole pictures; and the exact classifier of them."""

    def __init__(self) -> None:
        super().__init__()
        q = ProcessConfig().build()
        self.alpha, self.sigma = q.alpha, q.sigma

    def parts(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noise of each class (B, 2, ...), log p(x_t | class) (B, 2)."""
        a, b = (v[label.long() + 1].to(x).reshape(-1, 1, 1, 1, 1) for v in (self.alpha, self.sigma))
        off = x[:, None] - a * MEANS.reshape(1, 2, 1, 1, 1)
        total = (a * SPREAD).square() + b.square()
        return b * off / total, -(off.square() / (2 * total)).flatten(2).sum(2), b

    def forward(self, x: Tensor, label: Tensor, y: Tensor | None = None) -> Tensor:
        noise, log, _ = self.parts(x, label)
        if y is not None:
            return noise[torch.arange(len(x)), y]
        return (noise * log.softmax(1).reshape(-1, 2, 1, 1, 1)).sum(1)


class Guide(Mixture):
    """The same as a classifier."""

    def forward(self, x: Tensor, label: Tensor, y: Tensor | None = None) -> Tensor:
        return self.parts(x, label)[1]


def mixture(classes: int) -> Prior:
    """A prior of the two classes, which its network is told of or not."""
    network = {"kind": "adm", "num_classes": classes} if classes else {"kind": "adm"}
    return Prior(Mixture(), PriorConfig(network, (1, 6, 8), ProcessConfig(), clip=False))


def test_a_prior_of_classes_fills_with_the_class_that_is_asked_for() -> None:
    method, quiet = RePaint(40, 5, 1), {"seed": 0, "progress": False}
    told = method.apply(mixture(2), BLANK, FULL, classes=[0, 1], **quiet)
    assert told.mean((1, 2, 3)).tolist() == pytest.approx(MEANS.tolist(), abs=0.1)
    one = replace(method, label=1).apply(mixture(2), BLANK, FULL, **quiet)
    assert one.mean((1, 2, 3)).tolist() == pytest.approx([0.5, 0.5], abs=0.1)
    assert torch.equal(one[1], told[1])
    with pytest.raises(UserError, match="nobody says which"):
        method.apply(mixture(2), BLANK, FULL, **quiet)


def test_a_classifier_guides_a_prior_without_classes() -> None:
    """The mixture's score and the classifier's gradient are the score of the class."""
    method, quiet = RePaint(100, 5, 1), {"seed": 3, "progress": False}
    guided = method.apply(mixture(0), BLANK, FULL, classes=[1, 0], classifier=Guide(), **quiet)
    assert guided.mean((1, 2, 3)).tolist() == pytest.approx([0.5, -0.5], abs=0.15)
    weak = replace(method, scale=0.0, label=1)
    plain = method.apply(mixture(0), BLANK, FULL, **quiet)
    assert torch.equal(weak.apply(mixture(0), BLANK, FULL, classifier=Guide(), **quiet), plain)


def test_jumps_may_begin_late_and_holes_be_filled_several_times() -> None:
    early, late = RePaint(20, 4, 3), RePaint(20, 4, 3, start_resampling=8)
    assert network_calls(RePaint(20, 4, 1).plan(1000)) == 20 < network_calls(late.plan(1000))
    assert network_calls(late.plan(1000)) < network_calls(early.plan(1000))
    assert late.plan(1000)[:13] == RePaint(20, 4, 1).plan(1000)[:13]
    image, known = torch.rand(2, 3, 12, 16) * 2 - 1, known_pixels("half", 2, 12, 16)
    method, how = RePaint(4, 1, 1, fillings=3), {"seed": 1, "progress": False}
    several = method.apply(exact_prior(), image, known, **how)
    assert several.shape == (2, 3, 3, 12, 16)
    assert torch.equal(
        several.where(known[:, None], image[:, None]), image[:, None].expand(-1, 3, -1, -1, -1)
    )
    assert not torch.equal(several[:, 0], several[:, 1])
    alone = method.apply(exact_prior(), image, known, **how, batch_size=1)
    assert torch.equal(alone, several)
    scores = [method.evaluate(several[:, k], image, known)["hole_mse"] for k in range(3)]
    assert method.evaluate(several, image, known)["hole_mse"] == pytest.approx(sum(scores) / 3, rel=1e-5)


@pytest.mark.parametrize(
    ("words", "prior", "fields", "how"),
    [
        ("knows no classes", 0, {"label": 1}, {}),
        ("give 0 to 1", 2, {"label": 2}, {}),
        ("one number for each", 2, {}, {"classes": [0]}),
        ("give label or classes", 0, {}, {"classifier": Guide()}),
        ("classifier knows 2", 0, {}, {"classifier": Guide(), "classes": [0, 2]}),
        ("once or more", 0, {"fillings": 0}, {}),
        ("start_resampling is 9", 0, {"start_resampling": 9}, {}),
    ],
)
def test_mistakes_are_a_sentence(words: str, prior: int, fields: dict[str, Any], how: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=words):
        replace(RePaint(8, 2, 2), **fields).apply(mixture(prior), BLANK, FULL, progress=False, **how)
