"""DiffuseRecon where the answer is known: white Gaussian priors, whose Fourier coefficients are independent;
everything measured; what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from closed_form import gaussian_prior
from contract.specimens import exact_prior
from headwater.core import Diffusion
from headwater.errors import UserError
from headwater.methods.medical.diffuse_recon.method import DiffuseRecon
from headwater.methods.medical.shared.scan import Scan
from headwater.models import Prior
from headwater.operators import Fourier
from headwater.operators.acquisition import simulated_coils
from headwater.sampling import Run

SIDE, N, STD = 6, 500, 0.4
DRAW = torch.Generator().manual_seed(0)
MEAN = torch.rand(1, SIDE, SIDE, generator=DRAW) * 2 - 1
"""Of pictures in [-1, 1]."""
QUIET = {"progress": False, "device": "cpu", "seed": 0}
METHOD = DiffuseRecon(samples=1, steps=20, refine_steps=0, refine_chain=100, image="complex")
FOURIER = Fourier("centred")
COLUMNS = torch.arange(SIDE) % 3 == 0


def unmeasured(q: Diffusion, plan: list[int], std: float) -> float:
    """Standard deviation at the end of a coefficient that the prior alone decides, by hand: with the exact
    denoiser of N(0, std^2) every step is linear, and adds the forward step's variance."""
    variance = float(q.alpha[-1] ** 2 + q.sigma[-1] ** 2)
    for t, s in pairwise(plan):
        (_, sigma_s), (alpha, sigma) = q.scales(s), q.scales(t)
        a, b = q.between(s, t)
        on_x0 = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        slope = a * sigma_s**2 / sigma**2 + q.scales(s)[0] * b**2 / sigma**2 * on_x0
        variance = float(slope**2 * variance + (b**2 if s else 0))
    return variance**0.5


@pytest.mark.parametrize("noise", ["fresh", "predicted"])
def test_what_was_measured_is_met_and_the_rest_is_the_priors(noise: Any) -> None:
    prior = gaussian_prior(MEAN, torch.full_like(MEAN, STD))
    magnitude = (MEAN[None] + 1) / 2
    centre = magnitude * (1 + 1j)  # both parts are pictures of the prior
    draw = torch.view_as_complex(torch.randn(1, 1, SIDE, SIDE, 2, generator=DRAW))
    mask = COLUMNS.expand(1, 1, SIDE, SIDE)
    y = FOURIER.forward(centre + STD / 2 * draw) * mask
    rows = Scan(y.expand(N, -1, -1, -1), mask.expand(N, -1, -1, -1), torch.ones(N, 1, SIDE, SIDE) + 0j)
    method = replace(METHOD, noise=noise)
    drawn = method.sample(prior, rows, Run(seed=0, batch_size=N, progress=False, device="cpu"))
    found = FOURIER.forward(drawn)
    torch.testing.assert_close(found * mask, rows.y[:, 0, None], rtol=0, atol=1e-5)

    q = prior.process
    seen = Diffusion(q.alpha, q.sigma / 2, q.label)  # of magnitudes in [0, 1]
    free = found[:, 0, :, ~COLUMNS]
    spread = unmeasured(seen, method.plans(seen)[0], STD / 2)
    off = free.mean(0) - FOURIER.forward(centre)[0, 0, :, ~COLUMNS]
    parts = torch.view_as_real(free)
    assert torch.view_as_real(off).abs().mean() < 2 * spread / N**0.5
    assert float(parts.std(0).mean()) == pytest.approx(spread, rel=0.03)
    assert spread == pytest.approx(STD / 2, rel=0.35)  # few steps and the larger variance: not exact


def test_refining_goes_to_the_mean_and_draws_nothing() -> None:
    prior = gaussian_prior(MEAN, torch.full_like(MEAN, 1e-3))
    y = FOURIER.forward((MEAN[None] + 1) / 2 + 0j) * COLUMNS
    one, other = (
        replace(METHOD, refine_steps=k, samples=2, brightness=None).apply(prior, list(y), **QUIET)
        for k in (0, 10)
    )
    assert torch.equal(one.uncertainty[0], other.uncertainty[0])  # of the samples, before they are refined
    scan = Scan.of(y, y != 0, "sense", "complex")
    start = torch.full((1, 2, SIDE, SIDE), 0.7 + 0.2j)
    refine = replace(METHOD, refine_steps=99)
    ends = [refine.refine(prior, scan, start, Run(k, progress=False, device="cpu")) for k in (0, 1)]
    assert torch.equal(*ends)
    wanted = (MEAN + 1) / 2 * (1 + 1j)
    free = ~COLUMNS.expand(SIDE, SIDE)
    near = (FOURIER.forward(ends[0][0]) - FOURIER.forward(wanted[0]))[free].abs().mean()
    assert near < 0.02 * FOURIER.forward(start[0, 0] - wanted[0])[free].abs().mean()


def pairs_prior(std: float = STD) -> Prior:
    mean = torch.rand(4, SIDE, SIDE, generator=torch.Generator().manual_seed(3)) - 0.5
    return gaussian_prior(mean, torch.full_like(mean, std))


def volume(slices: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.view_as_complex(torch.randn(slices, SIDE, SIDE, 2, generator=draw))


def test_everything_measured_leaves_nothing_open() -> None:
    truth = volume(3)
    method = replace(METHOD, samples=2, refine_steps=3)
    for scale in (1.0, 64.0):  # results are in the units of the scan
        found = method.apply(pairs_prior(), [scale * FOURIER.forward(truth)], **QUIET)
        torch.testing.assert_close(found.magnitude[0], scale * truth.abs(), rtol=1e-4, atol=1e-4 * scale)
        assert found.uncertainty[0].max() < 1e-4 * scale
    maps = simulated_coils(1, 3, SIDE, SIDE, seed=1)
    y = FOURIER.forward(maps * truth[:1].abs())
    apart = replace(METHOD, combine="ssos").apply(gaussian_prior(MEAN, 0 * MEAN + STD), list(y), **QUIET)
    torch.testing.assert_close(apart.magnitude[0], truth[0].abs(), rtol=1e-4, atol=1e-4)


def test_a_volume_depends_on_its_own_slices_alone() -> None:
    prior, method = pairs_prior(), replace(METHOD, samples=2, refine_steps=2)
    volumes = [FOURIER.forward(volume(n, seed=n)) * COLUMNS for n in (2, 3)]
    both = method.apply(prior, volumes, **QUIET)
    assert [tuple(v.shape) for v in both.magnitude] == [(2, SIDE, SIDE), (3, SIDE, SIDE)]
    alone = method.apply(prior, volumes[1:], first=1, batch_size=1, **QUIET)
    torch.testing.assert_close(both.magnitude[1], alone.magnitude[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(both.uncertainty[1], alone.uncertainty[0], rtol=1e-5, atol=1e-6)
    masks = COLUMNS.expand(2, 1, SIDE, SIDE)
    masked = method.apply(prior, volumes, masks, **QUIET)
    torch.testing.assert_close(masked.magnitude[0], both.magnitude[0])


def test_volumes_are_compared_slice_by_slice() -> None:
    truth, found = torch.rand(2, 3, 12, 12, generator=DRAW).unbind()
    truth[:, 0, 0] = 1.0  # so that all slices have one maximum
    assert METHOD.evaluate([found], [truth]) == pytest.approx(METHOD.evaluate(list(found), list(truth)))


def test_a_slice_between_two_is_drawn_with_both() -> None:
    prior, method = pairs_prior(), replace(METHOD, samples=1)
    k = FOURIER.forward(volume(3)) * COLUMNS
    changed = k.clone()
    changed[2] *= 1.5
    one, other = (method.apply(prior, [v], **QUIET).magnitude[0] for v in (k, changed))
    assert torch.equal(one[0], other[0])  # its one pair is the same
    assert not torch.allclose(one[1], other[1])


K = FOURIER.forward(volume(1))


@pytest.mark.parametrize(
    ("words", "how", "shape", "data", "more"),
    [
        ("grey magnitude", {}, (3, SIDE, SIDE), [K], {}),
        ("steps is 1001", {"steps": 1001}, (1, SIDE, SIDE), [K], {}),
        ("refine_steps is 200", {"refine_steps": 200}, (1, SIDE, SIDE), [K], {}),
        ("at most 1000", {"refine_chain": 1001}, (1, SIDE, SIDE), [K], {}),
        ("draw 1 sample", {"samples": 0}, (1, SIDE, SIDE), [K], {}),
        ("draw 1 sample", {"samples": 0}, (4, SIDE, SIDE), [K], {}),
        ("noise is 'none'", {"noise": "none"}, (1, SIDE, SIDE), [K], {}),
        ("two slices or more", {}, (4, SIDE, SIDE), [K], {}),
        ("two slices or more", {}, (4, SIDE, SIDE), [K[0]], {}),
        ("too few for", {}, (4, SIDE, SIDE), [K.expand(2, -1, -1)[..., 1:]], {}),
        ("leave operator out", {}, (4, SIDE, SIDE), [K.expand(2, -1, -1)], {"operator": FOURIER}),
        ("at least one volume", {}, (4, SIDE, SIDE), [], {}),
        (
            "another number of masks", {}, (4, SIDE, SIDE), [K.expand(2, -1, -1)],
            {"known": torch.ones(3, 1, SIDE, SIDE, dtype=torch.bool)},
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(words: str, how: Any, shape: Any, data: Any, more: Any) -> None:
    with pytest.raises(UserError, match=words):
        replace(METHOD, **how).apply(exact_prior(shape), data, **more, **QUIET)
