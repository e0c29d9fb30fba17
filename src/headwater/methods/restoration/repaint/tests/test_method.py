"""RePaint's own laws: the paper's loop, the hole's content ignored, what the claim's arms cost."""

from __future__ import annotations

import pytest
import torch

from contract.specimens import exact_prior
from headwater.core import network_calls
from headwater.data.holes import known_pixels
from headwater.errors import UserError
from headwater.methods.restoration.repaint.claim import CLAIM, arms
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
