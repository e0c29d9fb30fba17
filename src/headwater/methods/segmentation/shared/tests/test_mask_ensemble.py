"""Masks drawn with a denoiser that knows the posterior must have the posterior's mean and variance.

The denoiser of a finite set of masks is known in closed form, with no training: E[x_0 | x_t] weighs each
mask by exp(-|x_t - alpha m|^2 / 2 sigma^2) times how probable the picture makes it.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from headwater.core import Ancestral, respaced
from headwater.core.prediction import Target
from headwater.core.schedule import linear
from headwater.core.transition import fit
from headwater.methods.segmentation.shared.mask_diffusion import draw_masks, merge
from headwater.methods.segmentation.shared.mask_fitted import FittedMasks
from headwater.metrics.mask_agreement import energy_distance
from headwater.sampling import Run

MASKS = torch.zeros(3, 4, 4)
MASKS[0, :2], MASKS[1, :, :2], MASKS[2, 1:3, 1:3] = 1, 1, 1
PROBABLE = torch.tensor([[0.2, 0.5, 0.3], [0.7, 0.3, 0.0]])  # of each mask, for the two pictures


class Posterior(nn.Module):
    """Answers with what the exact posterior mean implies; a picture is its log-probabilities."""

    class config:
        out_channels = 1

    def __init__(self, T: int, background: float, predicts: Target) -> None:
        super().__init__()
        self.predicts = predicts
        self.bar = (1 - linear(T)).cumprod(0)
        self.T, self.masks = T, background + (1 - background) * MASKS.flatten(1)
        self.seen = 0

    def encode(self, image: Tensor) -> Tensor:
        self.seen += len(image)
        return image[:, :, 0, 0]

    def forward(self, x: Tensor, label: Tensor, features: Tensor) -> Tensor:
        bar = self.bar[(label * self.T / 1000).round().long()]
        a, b = fit(bar.sqrt(), x), fit((1 - bar).sqrt(), x)
        gap = (x.flatten(1)[:, None] - a.view(-1, 1, 1) * self.masks[None]).square().sum(-1)
        weights = (features - gap / (2 * b.view(-1, 1).square())).softmax(-1)
        x0 = (weights @ self.masks).view_as(x)
        eps = (x - a * x0) / b
        return eps if self.predicts == "eps" else a * eps - b * x0


class Fitted(FittedMasks):
    kind = "oracle"


def fitted(T: int, background: float, predicts: Target = "eps") -> Fitted:
    network = Posterior(T, background, predicts)
    sizes = SimpleNamespace(out_channels=1)
    config = SimpleNamespace(
        network=sizes, shape=(3, 4, 4), classes=2, T=T, background=background, predicts=predicts
    )
    return Fitted(network, config)  # pyright: ignore[reportArgumentType]


PICTURES = PROBABLE.log()[:, :, None, None].expand(-1, -1, 4, 4)


@pytest.mark.parametrize("background", [-1.0, 0.0])
@pytest.mark.parametrize(("variance", "predicts"), [("large", "eps"), ("small", "eps"), ("small", "v")])
def test_mean_and_variance_are_the_posteriors(background: float, variance: str, predicts: Target) -> None:
    n, ours = 1500, fitted(100, background, predicts)
    plan, sampler = respaced(100, 100), Ancestral(variance)  # pyright: ignore[reportArgumentType]
    drawn = draw_masks(ours, PICTURES, n, plan, sampler, (), Run(seed=1, batch_size=1500, progress=False))
    found = merge(drawn)
    mean = torch.einsum("bm,mhw->bhw", PROBABLE, MASKS)
    # Five standard errors of a share among n draws; the variance of a 0/1 value is p (1 - p).
    tolerance = 5 * float((mean * (1 - mean)).max() / n) ** 0.5
    torch.testing.assert_close(found.mean[:, 0], mean, atol=tolerance, rtol=0)
    torch.testing.assert_close(found.variance[:, 0], mean * (1 - mean), atol=tolerance, rtol=0)
    sure = (mean - 0.5).abs() > tolerance
    assert torch.equal(found.labels[sure] > 0, mean[sure] > 0.5)
    # Every sample is one of the masks.
    gap = (drawn[:, :, :, None] - MASKS).flatten(4).abs().amax(-1).amin(-1)
    assert float(gap.max()) < 0.05
    # And as a set they are as far from the truth as chance makes them.
    truth = MASKS[torch.multinomial(PROBABLE[0], n, True, generator=torch.Generator().manual_seed(0))] > 0
    samples = drawn[0, :300, 0] > 0.5
    assert float(energy_distance(samples, truth[:300])) < 0.01
    wrong = energy_distance(samples, MASKS[1:2].expand(300, -1, -1) > 0)
    assert float(wrong) == pytest.approx(0.2773, abs=0.05)  # by hand: 2 (0.2 2/3 + 0.3 4/5) - 0.4693


def test_a_picture_is_encoded_once_and_a_sample_knows_only_its_own_seed() -> None:
    ours = fitted(100, -1.0)
    plan, sampler = respaced(100, 10), Ancestral("large")
    network = ours.network
    assert isinstance(network, Posterior)

    def draw(image: Tensor, n: int, batch: int, first: int = 0) -> Tensor:
        run = Run(seed=3, batch_size=batch, progress=False, first=first)
        return draw_masks(ours, image, n, plan, sampler, (), run)

    whole = draw(PICTURES, 7, 32)
    assert network.seen == 2
    assert torch.allclose(draw(PICTURES, 7, 3), whole, atol=1e-6)
    assert network.seen == 4  # a picture's samples in three calls a step, ten steps: still once
    assert torch.allclose(draw(PICTURES, 3, 32), whole[:, :3], atol=1e-6)
    assert torch.allclose(draw(PICTURES[1:], 7, 32, first=1), whole[1:], atol=1e-6)
    other = draw(PICTURES[:1].expand(2, -1, -1, -1), 7, 32)
    assert torch.allclose(other[0], whole[0], atol=1e-6)
    assert not torch.allclose(other[0], other[1], atol=1e-2)
