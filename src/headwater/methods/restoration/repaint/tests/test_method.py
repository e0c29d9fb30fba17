"""RePaint's own laws: the paper's loop, the hole's content ignored, what the claim's arms cost."""

from __future__ import annotations

import pytest
import torch

from contract.specimens import exact_prior
from headwater.core import network_calls
from headwater.data.holes import FAMILIES, known_pixels
from headwater.errors import UserError
from headwater.methods.restoration.repaint.claim import CLAIM, arms, hole_error
from headwater.methods.restoration.repaint.method import RePaint


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


@pytest.mark.parametrize("known", [torch.ones(1, 1, 12, 16), torch.ones(3, 1, 12, 16, dtype=torch.bool)])
def test_a_mask_that_does_not_fit_is_a_sentence(known: torch.Tensor) -> None:
    with pytest.raises(UserError, match=r"give bool \(2 or 1, 1, 12, 16\)"):
        RePaint(6, 2, 2).apply(exact_prior(), torch.zeros(2, 3, 12, 16), known)


@pytest.mark.parametrize("family", FAMILIES)
def test_mask_families_are_reproducible_and_hide_something(family: str) -> None:
    first = known_pixels(family, 4, 32, 32, seed=5)
    assert torch.equal(first[:2], known_pixels(family, 2, 32, 32, seed=5))
    assert 0.2 < (~first).float().mean() < 0.8


def test_the_hole_alone_counts_and_a_seam_is_seen() -> None:
    truth, known = torch.zeros(1, 1, 8, 8), known_pixels("half", 1, 8, 8)
    edge = truth.where(known, torch.ones(()))
    assert RePaint().evaluate(truth, truth, known)["seam"] == 0
    found = RePaint().evaluate(edge, truth, known)
    assert (found["seam"], found["hole_mse"]) == (pytest.approx(1.0), pytest.approx(1.0))
    both = torch.cat([torch.full((1, 1, 8, 8), 7.0).where(known, edge), truth])
    assert hole_error(both, truth.expand(2, -1, -1, -1), known.expand(2, -1, -1, -1)).tolist() == [1.0, 0.0]


def test_more_steps_cost_what_resampling_costs() -> None:
    method = CLAIM.full.method
    calls = {name: network_calls(arm.plan(1000)) for name, arm in arms(method, 1000).items()}
    assert calls["more steps"] == calls["RePaint"] > calls["plain"] == method.steps
