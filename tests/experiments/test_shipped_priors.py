"""Shipped priors are what their cards say: small, healthy, and drawing what they were trained on."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from headwater.core import DPMSolver
from headwater.core.timesteps import log_snr
from headwater.data import load
from headwater.experiments.tour import PRIORS
from headwater.gallery import folder
from headwater.methods.synthesis.glide.method import FittedGlide, Glide
from headwater.metrics.classifier import generated_quality, train_classifier
from headwater.models import Prior, shipped


def draw(prior: Prior, n: int) -> Tensor:
    return prior.sample(n, log_snr(prior.process, 25), DPMSolver(), seed=0, batch_size=64, progress=False)


def test_the_six_priors_ship_within_fifteen_megabytes() -> None:
    assert shipped() == sorted(PRIORS)
    stored = [v for p in folder("priors").rglob("*.safetensors") for v in load_file(p).values()]
    assert sum(v.numel() * v.element_size() for v in stored) <= 14_310_000  # names in the headers come on top


def test_all_weights_ship_within_forty_megabytes() -> None:
    assert sum(p.stat().st_size for p in folder("priors").parent.rglob("*.safetensors")) <= 40_000_000


def test_the_shipped_glide_draws_the_colour_that_it_is_asked_for() -> None:
    fitted = FittedGlide.from_pretrained("glide")
    method = Glide(guidance_scale=3.0, steps="10", sampler="dpm-solver")
    red, blue = method.apply(["red heart", "blue heart"], fitted, seed=0, progress=False).mean((-2, -1))
    assert float(red[0] - red[2]) > 0.2
    assert float(blue[2] - blue[0]) > 0.1


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_draws_pictures_like_those_it_saw(name: str) -> None:
    prior = Prior.from_pretrained(name)
    data, split = PRIORS[name]
    real, drawn = load(data, split, prior.shape[-1]).images, draw(prior, 16)
    assert drawn.shape == (16, *prior.shape)
    assert bool(torch.isfinite(drawn).all())
    # A prior that drew noise or one grey would miss these by far.
    assert float(drawn.mean()) == pytest.approx(float(real.mean()), abs=0.25)
    assert float(drawn.std()) == pytest.approx(float(real.std()), rel=0.35)
    steps = [(v[..., 1:] - v[..., :-1]).abs().mean() for v in (drawn, real)]
    assert float(steps[0]) == pytest.approx(float(steps[1]), rel=0.5)


def test_drawn_digits_stay_as_good_as_the_card_says() -> None:
    """A guard against getting worse; 500 digits and 69 calls with fresh noise give 0.91 (docs/priors.md)."""
    train, test = load("digits", "train"), load("digits", "test")
    judge = train_classifier(train.images, cast(Tensor, train.labels), seed=0)
    order = torch.randperm(len(test.images), generator=torch.Generator().manual_seed(0))
    prior = Prior.from_pretrained("digits")
    plan, sampler = log_snr(prior.process, 50), DPMSolver(kind="sde")
    drawn = prior.sample(192, plan, sampler, seed=0, batch_size=16, progress=False)
    quality = generated_quality(judge, test.images[order], drawn)
    assert quality.confidence >= 0.87
    assert quality.balance >= 0.95
    assert quality.frechet <= 1.5 * quality.floor
