"""RePaint as a user meets it: pixels kept, samples independent of their batch, mistakes in a sentence."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from headwater.core import network_calls
from headwater.data.holes import FAMILIES, known_pixels
from headwater.errors import UserError
from headwater.methods.restoration.repaint.method import RePaint
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.sampling import Run


class Linear(nn.Module):
    """The exact noise predictor of N(0, 1) data under a VP process: eps = sigma x."""

    def __init__(self, sigma: torch.Tensor) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return self.sigma[label.long() + 1].to(x).reshape(-1, 1, 1, 1) * x


@pytest.fixture
def prior() -> Prior:
    config = PriorConfig({"kind": "adm"}, (1, 8, 8), ProcessConfig(T=50), clip=False)
    return Prior(Linear(config.process.build().sigma), config)


def test_the_paper_s_walk_has_4571_entries_and_2410_network_calls() -> None:
    plan = RePaint().plan(1000)
    assert len(plan) == 4571
    assert network_calls(plan) == 2410


def test_given_pixels_come_back_untouched_and_the_hole_is_filled(prior: Prior) -> None:
    image, known = torch.randn(3, 1, 8, 8), known_pixels("half", 3, 8, 8)
    filled = RePaint(10, 2, 2).apply(prior, image, known, progress=False)
    assert torch.equal(filled[known], image[known])
    assert not torch.equal(filled[~known], image[~known])


def test_a_sample_does_not_depend_on_its_batch(prior: Prior) -> None:
    image, known = torch.randn(5, 1, 8, 8), known_pixels("wide", 5, 8, 8)
    method = RePaint(10, 2, 2)
    one = method.apply(prior, image, known, seed=3, batch_size=1, progress=False)
    all_ = method.apply(prior, image, known, seed=3, batch_size=5, progress=False)
    assert torch.equal(one, all_)


def test_values_in_the_hole_are_ignored(prior: Prior) -> None:
    image, known = torch.randn(1, 1, 8, 8), known_pixels("expand", 1, 8, 8)
    other = image.where(known, torch.full((), 7.0))
    method, run = RePaint(10, 2, 2), Run(progress=False)
    assert torch.equal(method.apply(prior, image, known, **run), method.apply(prior, other, known, **run))


@pytest.mark.parametrize(
    ("image", "known", "word"),
    [
        ((2, 1, 9, 8), torch.ones(1, 1, 9, 8, dtype=torch.bool), "draws"),
        ((2, 1, 8, 8), torch.ones(1, 1, 8, 8), "bool"),
        ((2, 1, 8, 8), torch.ones(3, 1, 8, 8, dtype=torch.bool), "mask"),
        ((2, 1, 8, 8), torch.ones(1, 1, 4, 8, dtype=torch.bool), "mask"),
    ],
)
def test_wrong_shapes_are_a_sentence(prior: Prior, image: tuple[int, ...], known: torch.Tensor, word: str):
    with pytest.raises(UserError, match=word):
        RePaint(10, 2, 2).apply(prior, torch.zeros(image), known)


def test_more_steps_than_levels_are_a_sentence(prior: Prior) -> None:
    with pytest.raises(UserError, match="there are 50 timesteps: give a number from 1 to 50"):
        RePaint().plan(prior.process.T)


@pytest.mark.parametrize("family", FAMILIES)
def test_mask_families_are_reproducible_and_hide_something(family: str) -> None:
    first, again = (known_pixels(family, 4, 32, 32, seed=5) for _ in range(2))
    assert torch.equal(first, again)
    share = (~first).float().mean()
    assert 0.2 < share < 0.8
    assert torch.equal(first[:2], known_pixels(family, 2, 32, 32, seed=5))


def test_evaluate_sees_a_seam() -> None:
    truth = torch.zeros(1, 1, 8, 8)
    known = known_pixels("half", 1, 8, 8)
    seamed = truth.where(known, torch.ones(()))
    method = RePaint()
    assert method.evaluate(truth, truth, known)["seam"] == 0
    assert method.evaluate(seamed, truth, known)["seam"] == pytest.approx(1.0)
    assert method.evaluate(seamed, truth, known)["hole_mse"] == pytest.approx(1.0)
