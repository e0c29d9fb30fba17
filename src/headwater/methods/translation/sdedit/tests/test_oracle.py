"""SDEdit with priors whose answers are known: a Gaussian, and a finite data set."""

from __future__ import annotations

import pytest
import torch

from closed_form import F64, Exact, Memory, prior_of
from contract.specimens import exact_prior
from headwater.core import Diffusion, schedule
from headwater.errors import UserError
from headwater.methods.translation.sdedit.method import SDEdit

CHAINS = {
    "VP": Diffusion.vp(schedule.betas("linear", 1000)),
    "VE": Diffusion.ve(schedule.geometric(1000, 0.01, 50.0)),
}
QUIET = {"progress": False, "device": "cpu", "batch_size": 4000}


@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize("level", [200, 450])
@pytest.mark.parametrize("chain", CHAINS)
def test_a_gaussian_prior_pulls_guides_to_its_mean(chain: str, level: int, repeats: int) -> None:
    """With x0 given x at `level` Gaussian, a repeat is mean + share (guide - mean) and a known variance."""
    q, mean, variance = CHAINS[chain], 0.3, 0.25
    alpha, sigma = q.scales(level)
    share = alpha**2 * variance / (alpha**2 * variance + sigma**2)
    spread = 0.0
    for _ in range(repeats):
        spread = share**2 * (spread + sigma**2 / alpha**2) + variance * (1 - share)
    prior, guide = prior_of(Exact(q, mean, variance**0.5)), torch.full((80, 1, 4, 25), -1.0, dtype=F64)
    edited = SDEdit(level, repeats=repeats).apply(prior, guide, seed=0, **QUIET)
    wanted = mean + share**repeats * (-1.0 - mean)
    assert float(edited.mean()) == pytest.approx(wanted, abs=4 * (spread / 8000) ** 0.5)
    assert float(edited.var()) == pytest.approx(spread, rel=0.08)


def patterns() -> torch.Tensor:
    """Four pictures (4, 1, 4, 4): each half dark or bright."""
    dark, bright = torch.full((4, 2), -0.8), torch.full((4, 2), 0.8)
    return torch.stack([torch.cat([a, b], 1) for a in (dark, bright) for b in (dark, bright)])[:, None]


def drawn(level: int, known: torch.Tensor | None = None) -> tuple[torch.Tensor, list[int]]:
    """What is drawn of 60 times the first picture, its right half a little off; and which picture it is."""
    members = patterns()
    guide = members[:1].repeat(60, 1, 1, 1)
    guide[..., 2:] += 0.2
    found = SDEdit(level).apply(prior_of(Memory(CHAINS["VP"], members)), guide, known, seed=0, **QUIET)
    return found, (found.flatten(1)[:, None] - members.flatten(1)).square().sum(-1).argmin(1).tolist()


def test_a_low_level_corrects_and_a_high_one_forgets() -> None:
    found, which = drawn(100)
    assert set(which) == {0}
    assert float((found - patterns()[0]).abs().max()) < 0.02  # what was off is gone
    assert set(drawn(999)[1]) == {0, 1, 2, 3}


def test_what_is_kept_is_exact_and_the_rest_fits_it() -> None:
    known = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    known[..., :2] = True
    found, which = drawn(999, known)
    assert torch.equal(found[..., :2], patterns()[:1, ..., :2].expand(60, -1, -1, -1))
    assert set(which) == {0, 1}  # those with a dark left half


def test_kept_regions_do_not_depend_on_the_batch() -> None:
    image, known = torch.rand(5, 3, 12, 16) * 2 - 1, torch.rand(5, 1, 12, 16) < 0.5
    method = SDEdit(level=20, steps=4, repeats=2)
    whole, single = (
        method.apply(exact_prior(), image, known, progress=False, device="cpu", batch_size=n) for n in (5, 1)
    )
    assert torch.equal(whole, single)
    assert torch.equal(whole.where(known, image), image)


def test_the_plan_climbs_once_a_repeat() -> None:
    assert SDEdit(level=4, repeats=2).plan(10) == [0, 4, 3, 2, 1, 0, 4, 3, 2, 1, 0]
    assert SDEdit(level=500, steps=2).plan(1000) == [0, 500, 250, 0]


def test_what_cannot_be_is_said() -> None:
    prior, image = exact_prior((1, 8, 8)), torch.zeros(2, 1, 8, 8)
    for method, words in (
        (SDEdit(level=0), "level is 0: give a timestep of this prior, from 1 to 1000"),
        (SDEdit(level=1001), "from 1 to 1000"),
        (SDEdit(level=9, steps=10), "steps is 10: give a number from 1 to 9, or None"),
        (SDEdit(repeats=0), "repeats is 0: give 1 or more"),
    ):
        with pytest.raises(UserError, match=words):
            method.apply(prior, image, progress=False)
    with pytest.raises(UserError, match=r"give bool \(2 or 1, 1, 8, 8\)"):
        SDEdit().apply(prior, image, torch.ones(3, 1, 8, 8, dtype=torch.bool), progress=False)
    with pytest.raises(UserError, match="one guide of the same size"):
        SDEdit().evaluate(image, image[..., :-1])
