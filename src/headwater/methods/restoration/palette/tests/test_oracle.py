"""Palette where the answer is known: a network that says exactly what is left open; what tasks must do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headwater.errors import UserError
from headwater.methods.restoration.palette.method import FittedPalette, Palette, PaletteConfig
from headwater.methods.restoration.palette.tasks import HOLES, damaged, grey, hole, window
from headwater.methods.restoration.shared.pictured import Betas, draw_pictured, sized_error
from headwater.nets.adm import UNetConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.sampling import Run
from headwater.training import TrainerConfig

QUIET = Run(0, progress=False)
SPREAD = 0.2
SHADES = torch.linspace(-0.5, 0.5, 3 * 16 * 16).reshape(1, 3, 16, 16)
TINY = UNetArchitecture(32, (1,), 1, ())


class Coloured(nn.Module):
    """eps of data whose colours follow N(0, SPREAD^2) around the grey that is seen, told gamma = abar."""

    def forward(self, x: Tensor, level: Tensor, features: Tensor) -> Tensor:
        gamma = level.reshape(-1, 1, 1, 1).to(x)
        mean = (x - gamma.sqrt() * features) / (gamma * SPREAD**2 + 1 - gamma)
        return (1 - gamma).sqrt() * mean


def knowing(network: nn.Module = Coloured(), *tasks: Any) -> FittedPalette:  # noqa: B008
    sizes = UNetConfig(in_channels=6, out_channels=3, **vars(TINY))
    config = PaletteConfig(sizes, (3, 16, 16), Betas(100, 1e-4, 0.2), power=2, tasks=tasks)
    return FittedPalette(network, config)  # pyright: ignore[reportArgumentType]


def test_draws_are_as_varied_as_what_is_seen_leaves_open() -> None:
    fitted = knowing(Coloured(), "colourise")
    seen = grey(SHADES)
    drawn = draw_pictured(fitted, seen, Betas(1000, 1e-4, 0.09), 1000, QUIET, draws=16)
    away = drawn - seen
    assert float(away.mean()) == pytest.approx(0, abs=4 * SPREAD / away.numel() ** 0.5)
    assert 0.95 * SPREAD < float(away.std()) < 1.01 * SPREAD
    # The mean of 16 draws errs a sixteenth of what one does.
    mean, one = ((v - seen).square().mean() for v in (drawn.mean(0, keepdim=True), drawn[:1]))
    assert float(mean) == pytest.approx(float(one) / 16, rel=0.2)


class Spied(Coloured):
    """Remembers what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, level: Tensor, features: Tensor) -> Tensor:
        self.calls.append((x, features))
        return super().forward(x, level, features)


def test_known_pixels_are_clean_in_every_call_and_exact_at_the_end() -> None:
    spy = Spied()
    known = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    known[..., 5:] = True
    image = SHADES.where(known, torch.full((), torch.nan)).nan_to_num(
        7.0
    )  # what lies in holes is of no account
    method = Palette(steps=5, end=0.9)
    filled = method.apply(image, knowing(spy, "inpaint"), known, **QUIET)
    assert len(spy.calls) == 5
    given = SHADES[..., 5:]
    for x, seen in spy.calls:
        assert torch.equal(x[..., 5:], given)
        assert torch.equal(seen[..., 5:], given)
        assert 0.8 < float(seen[..., :5].std()) < 1.2
        assert torch.equal(seen, spy.calls[0][1])
    assert not torch.equal(spy.calls[0][0][..., :5], spy.calls[0][1][..., :5])
    assert torch.equal(filled[..., 5:], given)
    assert float(filled[..., :5].abs().max()) <= 1
    again = method.apply(image * 0 + SHADES, knowing(Spied(), "inpaint"), known, **QUIET)
    assert torch.equal(filled, again)


def test_the_loss_counts_the_hole_alone() -> None:
    fitted, known = knowing(), torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    known[:, :, :12] = True
    x0, eps = (
        SHADES.expand(2, -1, -1, -1),
        torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)),
    )
    here = replace(fitted.denoiser, network=lambda x, level, features: 0 * x + known * 1e3)
    loss = sized_error(here, x0, torch.tensor([10, 90]), eps, x0, known)
    torch.testing.assert_close(loss, eps[:, :, 12:].square().flatten(1).sum(1) / (3 * 16 * 16))


def test_what_tasks_show() -> None:
    image = SHADES[0] / SHADES.abs().max()
    for task in ("inpaint", "uncrop", "colourise", "jpeg"):
        seen, known = damaged(image, task, (5, 5), torch.Generator().manual_seed(3))
        assert seen.shape == image.shape
        assert known.shape == (1, 16, 16)
        assert bool(known.any()) == (task in HOLES)
        assert torch.equal(seen.where(known, torch.zeros(())), image.where(known, torch.zeros(())))
        assert not torch.equal(seen, image)
    weights = torch.tensor([0.299, 0.587, 0.114])
    shade = damaged(image, "colourise", (5, 5), torch.Generator())[0]
    torch.testing.assert_close(shade, torch.einsum("c,chw->hw", weights, image).expand(3, -1, -1))


@pytest.mark.parametrize(("make", "least", "most"), [(hole, 1 / 16, 0.6), (window, 0.2, 0.8)])
def test_holes_of_every_size(make: Any, least: float, most: float) -> None:
    for seed in range(60):
        known = make(24, 32, torch.Generator().manual_seed(seed))
        assert least < float((~known).float().mean()) < most
        if make is window:  # what is known is one box, of half of each side or more
            rows, columns = int(known.any(1).sum()), int(known.any(0).sum())
            assert int(known.sum()) == rows * columns
            assert rows >= 12
            assert columns >= 16


def small(**changed: Any) -> Palette:
    return Palette(network=TINY, T=20, steps=3, end=0.9, training=TrainerConfig(2, 2), **changed)


def test_pairs_of_ones_own_and_one_task_alone() -> None:
    image = SHADES.expand(4, -1, -1, -1)
    fitted = small().fit(image, -image, **QUIET)
    assert fitted.config.tasks == ()
    assert small().apply(image[:, :1], fitted, **QUIET).shape == (4, 3, 16, 16)  # a grey one stands for three
    with pytest.raises(UserError, match="has not learnt to fill holes"):
        small().apply(image, fitted, torch.ones(1, 1, 16, 16, dtype=torch.bool), **QUIET)
    only = small(tasks=("uncrop",)).fit(image, **QUIET)
    with pytest.raises(UserError, match="say by known"):
        small().apply(image, only, **QUIET)


def test_what_cannot_be_is_said() -> None:
    image = SHADES.expand(2, -1, -1, -1)
    for method, given, words in (
        (small(), (image, image[:1]), "give pairs of one shape"),
        (small(quality=(0, 5)), (image,), "quality is 0 to 5"),
        (small(tasks=("colourise",)), (image[:, :1],), "no task to learn"),
        (small(tasks=()), (image,), "no task to learn"),
        (small(), (image[:0],), "no picture to learn from"),
        (replace(small(), network=replace(TINY, channel_mult=(1, 1))), (image[..., :15],), "multiples of 2"),
    ):
        with pytest.raises(UserError, match=words):
            method.fit(*given, **QUIET)
    with pytest.raises(UserError, match="no picture to restore"):
        small().apply(image[:0], knowing(Coloured(), "jpeg"), **QUIET)


def test_a_chain_that_does_not_begin_in_noise_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    for end, said in ((0.9, ""), (0.09, "raise end")):
        replace(small(), end=end).apply(SHADES, knowing(Coloured(), "jpeg"), **QUIET)
        assert said in caplog.text
        assert bool(said) == bool(caplog.records)
