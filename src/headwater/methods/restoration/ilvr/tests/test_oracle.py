"""ILVR with a prior of a finite data set, and what its low-pass does."""

from __future__ import annotations

import pytest
import torch

from arrays import close
from closed_form import Memory
from contract.specimens import exact_prior
from headwater.core import Diffusion, last, respaced, reverse, schedule
from headwater.errors import UserError
from headwater.methods.restoration.ilvr.method import ILVR, Coarse, LowPass
from headwater.noise import White, seeds

Q = Diffusion.vp(schedule.betas("linear", 1000))


def test_it_draws_what_shares_the_coarse_content() -> None:
    """Two grey values, each as it is, with stripes along, with stripes across: a reference picks the grey."""
    rows = torch.tensor([-1.0, 1.0]).repeat(4)[:, None].expand(8, 8)
    patterns = torch.stack([torch.zeros(8, 8), rows, rows.T])[:, None]
    members = torch.cat([-0.5 + 0.4 * patterns, 0.5 + 0.4 * patterns])
    reference = torch.full((60, 1, 8, 8), 0.5)
    stream, plan = White().stream(seeds(0, n=60)), respaced(1000, 50)
    control = Coarse(LowPass.of(4, (8, 8)), reference, Q, stream, plan, 0, late=False)
    start = Q.start(reference, stream)
    end = last(reverse(Memory(Q, members), start, plan, controls=[control], noise=stream))
    nearest = (end.flatten(1)[:, None] - members.flatten(1)).square().sum(-1).argmin(1)
    assert bool((nearest >= 3).all())
    assert set(nearest.tolist()) == {3, 4, 5}  # all its kinds are drawn


def test_the_last_steps_are_free() -> None:
    plan, x = [3, 2, 1, 0], torch.zeros(1, 1, 8, 8)
    control = Coarse(LowPass.of(2, (8, 8)), x + 1, Q, White().stream([0]), plan, 1, late=False)
    assert [bool((control.after(x, s, i) != x).any()) for i, s in enumerate(plan[1:])] == [True, False, False]


def test_the_low_pass_keeps_flat_pictures_and_forgets_fine_ones() -> None:
    low_pass, flat = LowPass.of(4, (8, 12)), torch.full((1, 3, 8, 12), 0.3)
    close(low_pass(flat), flat, 1e-6)
    board = torch.tensor([1.0, -1.0]).repeat(6) * torch.tensor([1.0, -1.0]).repeat(4)[:, None]
    assert float(low_pass(board.expand(1, 1, 8, 12)).abs().max()) < 0.05  # mirrored edges are no board


def test_what_cannot_be_is_said() -> None:
    prior, image = exact_prior((1, 8, 8)), torch.zeros(1, 1, 8, 8)
    for method, words in (
        (ILVR(factor=1), "factor is 1: give a number from 2 to 8"),
        (ILVR(factor=9), "from 2 to 8"),
        (ILVR(factor=2, steps=5), "free is 20: give a number from 0 to 4"),
        (ILVR(factor=2, steps=1001), "from 1 to 1000"),
    ):
        with pytest.raises(UserError, match=words):
            method.apply(prior, image, progress=False)
