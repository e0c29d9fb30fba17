"""Simplex noise against the arrays of the AnoDDPM reference and against the opensimplex package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from headwater.noise import Simplex, seeds, simplex
from headwater.noise.simplex import octaves, tables

GoldenReader = Callable[[str], Any]


@pytest.fixture
def reference(golden: GoldenReader) -> Any:
    return golden("anoddpm/simplex")


def grid(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """(3, len z * len y * len x) positions, x fastest."""
    levels, rows, columns = torch.meshgrid(z.double(), y.double(), x.double(), indexing="ij")
    return torch.stack((columns, rows, levels)).flatten(1)


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found.reshape(wanted.shape), wanted, atol=1e-12, rtol=0)


def test_permutations_are_exact(reference: Any) -> None:
    names = reference.config["seeds"]
    found = tables(names)
    for row, seed in zip(found, names, strict=True):
        assert torch.equal(row, reference[f"out/perm/{seed}"])
        assert torch.equal(row % 24 * 3, reference[f"out/perm_grad_index3/{seed}"])


def test_single_values(reference: Any) -> None:
    first = tables(reference.config["seeds"][:1])
    close(octaves(first, reference["in/points"].T, 1, 1.0, 1.0), reference["out/noise3_points"])
    points = grid(reference["in/x"], reference["in/y"], reference["in/z"])
    close(octaves(first, points, 1, 1.0, 1.0), reference["out/noise3array"])


def test_fields_of_any_shape_level_and_octaves(reference: Any) -> None:
    for i, (seed, (height, width), level, n, persistence, wavelength) in enumerate(
        reference.config["fields"]
    ):
        points = grid(torch.arange(width), torch.arange(height), torch.tensor([level]))
        field = octaves(tables([seed]), points, n, persistence, wavelength)
        close(field, reference[f"out/fixed_T/{i:02d}"])


def test_volumes(reference: Any) -> None:
    for i, (seed, (depth, height, width), n, persistence, wavelength) in enumerate(
        reference.config["volumes"]
    ):
        points = grid(torch.arange(width), torch.arange(height), torch.arange(depth))
        close(
            octaves(tables([seed]), points, n, persistence, wavelength), reference[f"out/octaves3d/{i:02d}"]
        )


def test_the_law_draws_the_reference_field(reference: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Simplex.draw` itself, with the seeds of its generators replaced by the reference's."""
    for i, (seed, (height, width), level, *parameters) in enumerate(reference.config["fields"]):
        monkeypatch.setattr(simplex, "tables", lambda drawn, seed=seed: tables([seed for _ in drawn]))
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
            like = torch.empty(2, 1, height, width, dtype=dtype)
            # The reference's index 0 is level 1.
            field = Simplex(*parameters).stream([0, 1])(like, torch.tensor([level + 1, level + 2]))
            wanted = reference[f"out/fixed_T/{i:02d}"]
            torch.testing.assert_close(field[0].double(), wanted, atol=tolerance, rtol=0)
            assert not torch.equal(field[1].double(), wanted)


@pytest.mark.parametrize("name", ["model", "model_conv_rgb"])
def test_the_law_draws_the_fields_of_a_trajectory(
    golden: GoldenReader, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Simplex.draw` itself, given the reference's seeds at our timesteps, for one channel and for three."""
    ref = golden(f"anoddpm/{name}")
    wanted = ref["out/forward_backward/simplex_simplex/fields"]
    seeds = [int(s) for s in ref.under("noise/forward_backward_simplex_simplex").values()]
    level, channels = ref.config["lambda"], wanted.shape[2]
    drawn = iter(seeds)
    monkeypatch.setattr(simplex, "tables", lambda ours: tables([next(drawn) for _ in ours]))
    stream = Simplex().stream([0])
    for at, there in zip([level, *range(level, 0, -1)], wanted, strict=True):
        torch.testing.assert_close(stream(ref["in/x0"], at), there, atol=1e-6, rtol=0)
    assert len(seeds) == channels * len(wanted)


@pytest.mark.parametrize("seed", [0, 11, -(2**62)])
def test_the_opensimplex_package_agrees(seed: int) -> None:
    opensimplex = pytest.importorskip("opensimplex")
    opensimplex.seed(seed)
    generator = torch.Generator().manual_seed(seed % 1000)
    # Random positions, and quarters: a grid on which the ties between kinds of position fall.
    random = torch.randn(3, 1500, generator=generator, dtype=torch.float64) * 40
    quarters = torch.randint(-300, 300, (3, 1500), generator=generator) / 4.0
    points = torch.cat((random, quarters.double()), 1)
    wanted = torch.tensor([opensimplex.noise3(*point) for point in points.T.numpy().astype(np.float64)])
    close(octaves(tables([seed]), points, 1, 1.0, 1.0), wanted)


def test_unit_scale_is_a_constant_factor() -> None:
    like = torch.empty(3, 2, 16, 16, dtype=torch.float64)
    names = seeds(9, n=3)
    raw, unit = (Simplex(scale=scale).stream(names)(like, 5) for scale in ("raw", "unit"))
    ratio = raw / unit
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.5048178410883393), rtol=1e-9, atol=0)
