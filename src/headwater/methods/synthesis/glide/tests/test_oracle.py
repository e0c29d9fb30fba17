"""Guidance where everything is known: images of one pixel, two words, a Gaussian for each."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headwater.core import Diffusion
from headwater.core.schedule import cosine
from headwater.data.tokenizer import Tokenizer
from headwater.methods.synthesis.glide.method import FittedGlide, Glide, GlideConfig
from headwater.sampling import guided

MEANS, SPREAD = (-0.5, 0.5), 0.2


class Exact(nn.Module):
    """The noise that a perfect network would answer for x0 ~ N(mean of the word, SPREAD^2), or either of
    both when the caption is empty."""

    def __init__(self, alpha: Tensor, sigma: Tensor, ids: tuple[int, int]) -> None:
        super().__init__()
        self.alpha, self.sigma, self.ids = alpha[1:], sigma[1:], ids
        self.place = nn.Parameter(torch.zeros(()))

    def encode(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The prior probability of each word, as the summary; no context."""
        present = torch.stack([tokens[:, 0] == i for i in self.ids], 1) & mask
        return torch.where(mask, present.double(), 0.5), torch.zeros(len(tokens), 1, 1)

    def forward(self, x: Tensor, t: Tensor, summary: Tensor, context: Tensor) -> Tensor:
        logits, centred, variance = self.parts(x, t.long(), summary)
        score = -(logits.softmax(1) * centred).sum(1, keepdim=True) / variance
        return (-self.sigma[t.long()][:, None] * score).view_as(x).to(x.dtype)

    def parts(self, x: Tensor, t: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log(weight p(x_t | word)) up to a constant and x_t - its mean, (B, 2), and the variance, (B, 1)."""
        variance = (self.sigma[t] ** 2 + (self.alpha[t] * SPREAD) ** 2)[:, None]
        centred = x.flatten(1) - self.alpha[t][:, None] * torch.tensor(MEANS)
        return weight.log() - centred.square() / (2 * variance), centred, variance


@pytest.fixture(scope="module")
def known() -> FittedGlide:
    tokenizer = Tokenizer.train(["low", "high"], 10, "word")
    ids = tuple(int(tokenizer.encode([word], 1)[0, 0]) for word in ("low", "high"))
    sizes: Any = SimpleNamespace(text=SimpleNamespace(ctx=1, vocab=10))
    q = Diffusion.vp(cosine(100))
    config = GlideConfig(sizes, tokenizer, (1, 1, 1), T=q.T, variance="fixed")
    return FittedGlide(Exact(q.alpha, q.sigma, ids), config)  # pyright: ignore[reportArgumentType]


def test_the_guided_score_is_that_of_the_tilted_density(known: FittedGlide) -> None:
    """scale times the score of p(x | word) and 1 - scale times that of p(x): their powers' product."""
    x = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64).view(-1, 1, 1, 1)
    net: Any = known.network
    for t in (1, 30, 80):
        pred = guided(known.denoiser, 3.0, known.encode([""]))(x, t, **known.encode(["high"] * 7))
        leaf, index = x.clone().requires_grad_(), torch.full((7,), t - 1)
        word, either = (torch.tensor([w] * 7, dtype=torch.float64) for w in ((0.0, 1.0), (0.5, 0.5)))
        conditional, free = (net.parts(leaf, index, w)[0].logsumexp(1) for w in (word, either))
        score = torch.autograd.grad((3 * conditional - 2 * free).sum(), leaf)[0]
        torch.testing.assert_close(pred.score, score, rtol=1e-9, atol=1e-9)


def draw(known: FittedGlide, word: str, n: int, **settings: Any) -> Tensor:
    return Glide(**settings).apply([word] * n, known, batch_size=n, progress=False).flatten()


def test_unguided_images_have_the_words_own_moments(known: FittedGlide) -> None:
    plain = {"steps": "100", "guidance_scale": 1.0, "sampler": "ddim"}
    drawn, either = draw(known, "high", 4000, **plain), draw(known, "", 4000, **plain)
    assert float(drawn.mean()) == pytest.approx(MEANS[1], abs=4 * SPREAD / math.sqrt(4000) + 0.01)
    assert float(drawn.std()) == pytest.approx(SPREAD, rel=0.06)
    assert float((either > 0).double().mean()) == pytest.approx(0.5, abs=0.035)
    assert float(either.std()) == pytest.approx(math.hypot(0.5, SPREAD), rel=0.06)


def test_guidance_trades_variety_for_agreement(known: FittedGlide) -> None:
    drawn = [draw(known, "high", 1000, steps="50", guidance_scale=scale) for scale in (1.0, 2.0, 4.0)]
    odds = [float((2 * MEANS[1] / SPREAD**2 * x).mean()) for x in drawn]  # log p(high | x0) - log p(low | x0)
    spread = [float(x.std()) for x in drawn]
    assert odds == sorted(odds)
    assert odds[2] > 1.1 * odds[0]
    assert spread == sorted(spread, reverse=True)
    assert spread[2] < 0.9 * spread[0]
