"""Quality against network calls: known answers of the closed form, and how a curve is read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headwater.bench.curve import Curve, Point, everywhere, grid, outcome
from headwater.bench.method_quality import (
    EnlargingQuality,
    GlideQuality,
    MaskQuality,
    SeriesQuality,
    grain,
    points_of,
)
from headwater.bench.quality import SOLVERS, ClosedForm, PriorQuality, cells, distance, plan
from headwater.core import DDIM, Diffusion
from headwater.core.schedule import betas
from headwater.core.timesteps import network_calls
from headwater.sampling import Run

QUIET = Run(progress=False)


def test_plans_cost_what_they_say() -> None:
    q = Diffusion.vp(betas("linear", 1000))
    for solver, sampler in SOLVERS.items():
        for calls in (5, 9, 19):
            assert network_calls(sampler.plan(plan(solver, q, calls))) == calls


def test_more_calls_are_nearer_to_the_closed_form() -> None:
    few, many = (
        {p.solver: p.value for p in ClosedForm(dict.fromkeys(SOLVERS, (calls,))).curve(QUIET).points}
        for calls in (9, 39)
    )
    assert min(few[solver] / many[solver] for solver in SOLVERS) > 2
    assert many["DPM-Solver++"] < many["DDIM"] < many["DDPM"]


def test_widths_are_those_of_samples() -> None:
    """DDPM's width by propagating widths is what drawing would give."""
    narrow = ClosedForm({"DDPM": (8,)}, widths=(0.5,))
    (point,) = narrow.curve(QUIET).points
    from headwater.core import Ancestral, Denoiser, last, reverse
    from headwater.noise import White

    q = Diffusion.vp(betas("cosine", 1000))

    def clean(x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        t = int(label[0]) + 1
        a, b = float(q.alpha[t]), float(q.sigma[t])
        return a * 0.25 / (a * a * 0.25 + b * b) * x

    noise = White().stream([3])
    x = noise(torch.empty(1, 100_000, dtype=torch.float64))
    end = last(reverse(Denoiser(clean, q, "x0"), x, plan("DDPM", q, 8), Ancestral(), noise=noise))
    assert abs(abs(float(end.std()) - 0.5) - point.value) < 0.005
    assert point.value > 0.02


def test_a_curve_names_the_cheapest_that_is_not_worse() -> None:
    points = (
        Point("A", 100, 1.0, 0.1),
        Point("B", 20, 1.2, 0.1),
        Point("C", 10, 1.6, 0.1),
        Point("D", 20, 1.1, 0.1),
    )
    curve = Curve("x", "y", points, 0.5)
    assert curve.cheapest == points[3]
    assert [p.solver for p in curve.front] == ["C", "D", "A"]
    assert "D with 20 calls" in outcome(curve)
    assert grid(curve)[0] == ["network calls", "10", "20", "100"]
    assert grid(curve)[1] == ["A", "", "", "1 ± 0.1"]


def test_cells_and_their_distance() -> None:
    x = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert cells(x).shape == (40, 32)
    torch.testing.assert_close(cells(x)[0, 5], x[0, 0, 2:4, 2:4].mean())
    value, error = distance(cells(x), cells(x))
    assert value < 1e-6 < error
    assert distance(cells(x + 1), cells(x))[0] == pytest.approx(16, rel=1e-3)


def test_a_shipped_prior_is_judged() -> None:
    curve = PriorQuality("brain", 4, "cells", {"DDIM": (2,), "Heun": (3,)}).curve(QUIET)
    assert [(p.solver, p.calls) for p in curve.points] == [("DDIM", 2), ("Heun", 3)]
    assert all(p.value > curve.floor > 0 for p in curve.points)
    assert isinstance(SOLVERS["DDIM"], DDIM)


def test_shipped_methods_are_judged() -> None:
    found = [
        GlideQuality(16, {"DDIM": (1,), "DPM-Solver++": (2,)}, "encoder", steps=2).curve(QUIET),
        GlideQuality(4, {"DDIM": (1,), "DDPM, sections": (10,)}, "grain").curve(QUIET),
        MaskQuality(2, (1, 2)).curve(QUIET),
        SeriesQuality(2, 2, (6, 9)).curve(QUIET),
        EnlargingQuality(2, (5,), "features").curve(QUIET),
        EnlargingQuality(2, (5,), "grain").curve(QUIET),
    ]
    for curve in found:
        assert len(curve.points) == (4 if "csdi" in curve.name else 2)  # it has two walks
        assert all(0 < p.value < 100 and p.error > 0 for p in curve.points)
        assert "Cheapest within two standard errors" in outcome(curve)
        assert "Two halves" not in outcome(curve)
    assert everywhere(found) == ""  # they are no priors


def test_errors_are_of_differences() -> None:
    """What makes an item hard for every walk says nothing about which walk is better."""
    item = np.random.default_rng(0).normal(0, 10, 400)
    one, other = points_of({("A", 5): item + 1, ("B", 9): item})
    assert one.value - other.value == pytest.approx(1)
    assert max(one.error, other.error) < 1e-12
    noise = np.random.default_rng(1).normal(0, 1, (2, 400))
    one, other = points_of({("A", 5): item + noise[0], ("B", 9): item + noise[1]})
    assert np.hypot(one.error, other.error) == pytest.approx((noise[0] - noise[1]).std() / 20, rel=0.05)


def test_grain_is_seen_where_edges_are_not() -> None:
    flat = torch.zeros(1, 3, 16, 16)
    flat[..., 8:] = 1
    assert float(grain(flat)) == 0
    noise = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert float(grain(0.1 * noise)) == pytest.approx(0.1 * 20**0.5 * 0.6745, rel=0.1)
    assert float(grain(flat + 0.1 * noise)) > 0.3


def test_one_solver_for_all_priors() -> None:
    def curve(ddim: float, heun: float, floor: float = 0.1) -> Curve:
        points = (Point("DDIM", 5, ddim, 0.1), Point("Heun", 9, heun, 0.1), Point("DDPM", 50, 1.0, 0.1))
        return Curve("a prior", "a distance", points, floor)

    assert everywhere([curve(1.1, 1.1), curve(1.4, 1.2)]).endswith("on every prior: Heun with 9 calls.")
    assert everywhere([curve(1.1, 1.1), curve(1.2, 1.1)]).endswith("DDIM with 5 calls.")
    assert everywhere([curve(1.1, 1.1), curve(9, 9, floor=0)]) == ""  # a closed form is no prior
    best_elsewhere = Curve("another", "a distance", (Point("DDPM", 10, 1.0, 0.0),), 0.1)
    assert everywhere([curve(1.1, 1.1), best_elsewhere]).startswith("No solver")
