"""AnoDDPM with priors whose every answer is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from closed_form import Exact, Memory, prior_of
from headwater.core import Diffusion, schedule
from headwater.methods.anomaly.anoddpm.method import AnoDDPM
from headwater.noise import Noise, PowerLaw, Simplex

Q = Diffusion.vp(schedule.betas("linear", 1000))
QUIET: Any = {"progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def members() -> Tensor:
    """Eight smooth pictures, (8, 1, 16, 16), that a finite data set consists of."""
    fields = PowerLaw(3, 0.8, 16.0).stream(range(8))(torch.empty(8, 1, 16, 16))
    return (fields * 0.4).clamp(-1, 1)


@pytest.fixture(scope="module")
def sick(members: Tensor) -> tuple[Tensor, Tensor]:
    """The members with a bright disc of radius 3 each, and where it is."""
    row, column = torch.arange(16.0)[:, None], torch.arange(16.0)
    truth = torch.stack([torch.hypot(row - 4 - i, column - 11 + i) <= 3 for i in range(8)])[:, None]
    return members + 0.6 * truth, truth


def test_a_finite_data_set_is_reconstructed_as_its_members(members: Tensor, sick: Any) -> None:
    image, truth = sick
    found = AnoDDPM(level=300, steps=20).apply(prior_of(Memory(Q, members)), image, **QUIET)
    torch.testing.assert_close(found.reconstruction, members, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.map, 0.36 * truth, atol=2e-3, rtol=0)
    judged = AnoDDPM().evaluate(found.map, found.score, truth)
    assert judged["pixel_auroc"] == judged["best_dice"] == 1
    healthy = AnoDDPM(level=50, steps=10).apply(prior_of(Memory(Q, members)), members, **QUIET)
    assert float(healthy.map.max()) < 1e-6
    assert float(healthy.score.max()) < 1e-6


def test_dice_is_averaged_over_pictures_as_in_the_paper_and_pooled_beside() -> None:
    truth = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    truth[0, 0, 0, :1], truth[1, 0, :3] = True, True  # one pixel, twelve pixels, a healthy picture
    found = truth.float()
    found[0, 0, 0, 1], found[1, 0, 0] = 1.0, 0.0  # one too many, four too few
    judged = AnoDDPM().evaluate(found, torch.tensor([1.0, 1.0, 0.0]), truth)
    assert judged["mean_dice"] == pytest.approx((2 / 3 + 16 / 20) / 2)
    assert judged["dice"] == pytest.approx(2 * 9 / (2 * 9 + 1 + 4))
    assert judged["iou"] == pytest.approx(9 / 14)
    assert judged["false_positive_rate"] == pytest.approx(1 / 35)


def test_what_is_left_of_a_lesion_follows_the_closed_form() -> None:
    """Pixels N(m, s^2): the mean reconstruction is m + a^2 s^2 / (a^2 s^2 + b^2) (x - m)."""
    mean, std, n = 0.2, 0.3, 6000
    image = torch.full((1, 1, 1, n), 0.9, dtype=torch.float64)
    for level in (100, 250, 500):
        a, b = Q.scales(level)
        kept = a * a * std * std / (a * a * std * std + b * b)
        found = AnoDDPM(level).apply(prior_of(Exact(Q, mean, std)), image, **QUIET).reconstruction
        assert float(found.mean()) == pytest.approx(mean + kept * 0.7, abs=4 * std / n**0.5 + 0.003)


def test_few_steps_leave_no_noise_behind() -> None:
    """Few steps err towards the mean; the forward step's variance would overshoot the data's spread."""
    std, image = 0.3, torch.zeros(1, 1, 1, 4000, dtype=torch.float64)
    spread = [
        float(AnoDDPM(300, steps).apply(prior_of(Exact(Q, 0.0, std)), image, **QUIET).reconstruction.std())
        for steps in (6, 10, None)
    ]
    assert spread == sorted(spread)
    assert spread[-1] == pytest.approx(std, rel=0.05)


def test_averaging_reconstructions_brings_the_mean_map(sick: Any) -> None:
    known, image = prior_of(Exact(Q, 0.0, 0.3)), sick[0]
    one, many = (AnoDDPM(200, 10, k).apply(known, image, **QUIET) for k in (1, 40))
    # The mean of 40 lies closer to its limit than that of one by about sqrt 40.
    a, b = Q.scales(200)
    limit = a * a * 0.09 / (a * a * 0.09 + b * b) * image
    errors = [float((f.reconstruction - limit).square().mean().sqrt()) for f in (one, many)]
    assert errors[0] / errors[1] == pytest.approx(40**0.5, rel=0.25)
    # The map averages squares: it stays above the square of the mean difference.
    assert float((many.map - (image - many.reconstruction).square()).mean()) > 0.01


@pytest.mark.parametrize("law", [Simplex(3, 0.8, 8.0), PowerLaw(3, 0.8, 8.0)])
def test_the_batch_does_not_matter_to_fields(law: Noise, sick: Any) -> None:
    known, method = prior_of(Exact(Q, 0.0, 0.3), law), AnoDDPM(120, 6, 2)
    whole, parts = (method.apply(known, sick[0], seed=3, batch_size=b, **QUIET) for b in (8, 3))
    assert torch.equal(whole.map, parts.map)
    assert not torch.equal(whole.map[0], whole.map[1])
