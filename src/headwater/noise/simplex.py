"""Simplex noise: octaves of OpenSimplex (K. Spencer 2014, public domain), the noise of AnoDDPM.

A field is a fixed linear map applied to random gradients. Which lattice points reach a pixel, and with
what weight, depends on the pixel's coordinates alone, so that map (a sparse matrix over all octaves) is
built once per picture size and level; a seed only shuffles the gradients of the few lattice points.
"""

# torch's own annotations are only partly known.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Literal, cast, final

import numpy as np
import torch
from torch import Tensor

from headwater.noise.laws import Noise, check_batch, check_octaves, check_picture, octave_variance, working

_STRETCH = -1 / 6
_SQUISH = 1 / 3
_NORM = 103.0
_SLOTS = 8
_COLUMNS = 8
_PART = 2048

# The 24 gradients, in the order that the permutation counts them: the axis of the 11 runs fastest,
# then the signs of x, y and z; x starts negative.
_GRADIENTS = torch.tensor(
    [
        [(11 if i == axis else 4) * sign for i, sign in enumerate((x, y, z))]
        for z, y, x in product((1, -1), (1, -1), (-1, 1))
        for axis in range(3)
    ],
    dtype=torch.float64,
).T.contiguous()


def tables(seeds: Iterable[int]) -> Tensor:
    """Permutations of 0..255, one per seed: (N, 256) int64.

    A 64-bit wrap-around congruential generator (Knuth's MMIX constants), three idle rounds, then
    Fisher-Yates from 255 down. Any integer is a seed; 0 is one like any other.
    """
    start = np.array([int(seed) % 2**64 for seed in seeds], dtype=np.uint64)
    factor, offset = _jumps()
    state = (start[:, None] * factor + offset).view(np.int64)
    # The residue of a signed 64-bit number plus 31, without overflow in the sum.
    size = np.arange(256, 0, -1)
    picks = (state % size + 31) % size
    rows: list[list[int]] = []
    for pick in cast("list[list[int]]", picks.tolist()):
        row = list(range(256))
        for i, r in zip(range(255, -1, -1), pick, strict=True):
            row[i], row[r] = row[r], row[i]
        rows.append(row)
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 256)


@lru_cache(maxsize=1)
def _jumps() -> tuple[np.ndarray, np.ndarray]:
    """(256,) factors and offsets that lead from a seed to the generator's states 4 .. 259."""
    factors: list[int] = []
    offsets: list[int] = []
    factor, offset = 1, 0
    for _ in range(259):
        factor = factor * 6364136223846793005 % 2**64
        offset = (offset * 6364136223846793005 + 1442695040888963407) % 2**64
        factors.append(factor)
        offsets.append(offset)
    return np.array(factors[3:], dtype=np.uint64), np.array(offsets[3:], dtype=np.uint64)


@lru_cache(maxsize=1)
def _cases() -> tuple[Tensor, Tensor]:
    """The lattice points that each of the 24 kinds of position listens to.

    Returns steps from the cell's corner, (3, 24, 8) int64, and which of the 8 are in use, (24, 8) bool:
    the corners of the point's tetrahedron or octahedron and two neighbours beyond.
    """
    axes = torch.eye(3, dtype=torch.int64)
    pairs, zero, one = 1 - axes, torch.zeros_like(axes[0]), torch.ones_like(axes[0])
    low, high = [zero, *axes], [*pairs, one]
    found: list[list[Tensor]] = []
    # 0-2: below, the corner and axis c are closest. 3-5: the corner is not, axis c is farthest.
    for c in range(3):
        found.append(low + [axes[c] - axes[e] for e in range(3) if e != c])
    for c in range(3):
        found.append([*low, pairs[c], pairs[c] - axes[c]])
    # 6-8 and 9-11: the same seen from the opposite corner.
    for c in range(3):
        found.append(high + [pairs[c] + axes[e] for e in range(3) if e != c])
    for c in range(3):
        found.append([*high, axes[c], 2 * axes[c]])
    # 12-23: between; of the three axes one is ignored, the others say near (False) or far side.
    for c in range(3):
        i, j = (axis for axis in range(3) if axis != c)
        far = [pairs[i] - axes[i], 2 * axes[j]], [2 * axes[i], pairs[j] - axes[j]]
        for extra in ([zero, pairs[c] - axes[c]], far[1], far[0], [one, 2 * axes[c]]):
            found.append([*axes, *pairs, *extra])
    used = torch.tensor([[slot < len(points) for slot in range(_SLOTS)] for points in found])
    steps = torch.stack([torch.stack(points + [zero] * (_SLOTS - len(points))) for points in found])
    return steps.permute(2, 0, 1).contiguous(), used


@dataclass(frozen=True)
class _Map:
    """A linear map from the gradients of lattice points, of all octaves, to a field at given positions."""

    lattice: Tensor
    """(3, L) int64 lattice coordinates modulo 256."""
    matrix: Tensor
    """(P, 3 L) sparse CSR: what the x parts, then the y and z parts of the gradients add to a position."""

    def __call__(self, permutations: Tensor) -> Tensor:
        """(N, 256) permutations, N a multiple of 8 -> (P, N)."""
        x, y, z = self.lattice
        index = permutations[:, x]
        index = permutations.gather(1, (index + y) & 255)
        index = permutations.gather(1, (index + z) & 255) % 24
        gradients = torch.cat([part[index] for part in _GRADIENTS.to(self.matrix.dtype)], 1)
        # Blocks of one fixed width: the sums are then the same whatever the number of fields.
        blocks = gradients.unflatten(0, (-1, _COLUMNS)).mT.contiguous()
        return torch.cat([self.matrix @ block for block in blocks.unbind(0)], 1)


def _map(points: Tensor, gains: Tensor, dtype: torch.dtype) -> _Map:
    """The map to the sum over octaves of `gains` times noise.

    points: (3, P, octaves) float64, the position in each octave. gains: (octaves,) float64.
    """
    skewed = points + points.sum(0) * _STRETCH
    corner = skewed.floor()
    offset = points - (corner + corner.sum(0) * _SQUISH)
    case = _case(*(skewed - corner)).flatten()
    steps, used = _cases()
    vectors = steps + _SQUISH * steps.sum(0).double()
    away = [p.reshape(-1, 1) - v.index_select(0, case) for p, v in zip(offset, vectors, strict=True)]
    reach = 2 - (away[0].square() + away[1].square() + away[2].square())
    gain = (gains / _NORM).expand_as(corner[0]).reshape(-1, 1)
    weight = (reach * used.index_select(0, case)).clamp_(min=0).square_().square_().mul_(gain)
    lattice, number = _number(corner.long(), case, steps)
    # A slot that hears nothing keeps its entry, with weight 0: rows of equal length need no sorting.
    weights = torch.stack([part.mul_(weight).to(dtype) for part in away], 1).flatten()
    columns = torch.stack([number + i * lattice.shape[1] for i in range(3)], 1).flatten()
    rows = torch.arange(0, len(weights) + 1, 3 * _SLOTS * len(gains), dtype=torch.int32)
    with warnings.catch_warnings():
        # torch calls all of CSR beta, once per process.
        warnings.simplefilter("ignore")
        size = points.shape[1], 3 * lattice.shape[1]
        matrix = torch.sparse_csr_tensor(rows, columns, weights, size, check_invariants=False)
    return _Map(lattice, matrix)


def _case(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """The kind of position, as `_cases` counts them, from skewed coordinates inside the cell.

    Ties are broken as the published algorithm does: it ignores some weak neighbours, so that the noise
    jumps slightly where the kind changes, and pixel grids do sit on such borders.
    """
    height = x + y + z
    middle = torch.maximum(torch.minimum(x, y), torch.minimum(torch.maximum(x, y), z))

    def pick(condition: Tensor, yes: Tensor | int, no: Tensor | int) -> Tensor:
        return torch.where(condition, yes, no)

    # Below: which axis weighs most, which least.
    first = x >= y
    most = pick(first, pick(z > x, 2, 0), pick(z >= y, 2, 1))
    least = pick(first, pick(z > y, 1, 2), pick(z > x, 0, 2))
    below = pick(1 - height > middle, most, 3 + least)
    # Above: the roles of most and least swap.
    first = x <= y
    least = pick(first, pick(z < x, 2, 0), pick(z <= y, 2, 1))
    most = pick(first, pick(z < y, 1, 2), pick(z < x, 0, 2))
    above = pick(3 - height < middle, 6 + least, 9 + most)
    # Between: each axis compares the other two with the border between near and far.
    xy, xz, yz = x + y - 1, x + z - 1, y + z - 1
    a, b, c = xy.abs(), xz.abs(), yz.abs()
    ignored = pick(a <= b, pick(a < c, 2, 0), pick(b < c, 1, 0))
    side_x, side_y, side_z = yz > 0, xz > 0, xy > 0
    i = pick(ignored == 0, side_y, side_x)
    j = pick(ignored == 2, side_y, side_z)
    between = 12 + 4 * ignored + 2 * i + j
    return pick(height <= 1, below, pick(height >= 2, above, between))


def _number(corner: Tensor, case: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Give the distinct lattice points in reach of each octave consecutive numbers.

    corner: (3, P, octaves) and case: (P * octaves,), int64. Returns the lattice points modulo 256, (3, L)
    int64, and the number of each slot's point, (P * octaves, 8) int32.
    """
    low = corner.amin(1) + steps.amin((1, 2))[:, None]
    span = (corner.amax(1) + steps.amax((1, 2))[:, None] - low).amax(1) + 1
    width, height, depth = (int(s) for s in span)
    x, y, z = corner - low[:, None]
    home = ((torch.arange(low.shape[1]) * width + x) * height + y) * depth + z
    hop = (steps[0] * height + steps[1]) * depth + steps[2]
    key = home.reshape(-1, 1) + hop.index_select(0, case)
    present = torch.zeros(low.shape[1] * width * height * depth, dtype=torch.int32)
    present[key.flatten()] = 1
    found = present.nonzero()[:, 0]
    place = torch.stack((found // (height * depth) % width, found // depth % height, found % depth))
    number = present.cumsum(0, dtype=torch.int32) - 1
    return (place + low[:, found // (width * height * depth)]) & 255, number[key]


def octaves(
    permutations: Tensor, points: Tensor, octaves: int = 6, persistence: float = 0.8, wavelength: float = 64.0
) -> Tensor:
    """sum_i persistence^i S(points / w_i), w_i = wavelength / 2^i, S = OpenSimplex in about [-1, 1].

    permutations: (N, 256) from `tables`. points: (3, P) float64 positions x, y, z. Returns (N, P) float64.
    """
    return _apply(_maps(points, octaves, persistence, wavelength, torch.float64), permutations)


def _maps(points: Tensor, n: int, persistence: float, wavelength: float, dtype: torch.dtype) -> list[_Map]:
    """Maps to successive parts of the points, each small enough to be built in the processor's cache."""
    index = torch.arange(n, dtype=torch.float64)
    waves, gains = wavelength / 2**index, persistence**index
    return [_map(part[..., None] / waves, gains, dtype) for part in points.split(_PART, 1)]


def _apply(maps: Sequence[_Map], permutations: Tensor) -> Tensor:
    """(N, 256) permutations -> (N, P)."""
    n = len(permutations)
    padded = torch.nn.functional.pad(permutations, (0, 0, 0, -n % _COLUMNS))
    return torch.cat([part(padded) for part in maps]).T[:n]


@lru_cache(maxsize=4)
def _slice(height: int, width: int, level: float, law: Simplex, dtype: torch.dtype) -> list[_Map]:
    """The maps to a picture's pixels: x is the column, y the row, z the reference's index of the level."""
    row = torch.arange(height, dtype=torch.float64).repeat_interleave(width)
    column = torch.arange(width, dtype=torch.float64).repeat(height)
    points = torch.stack((column, row, torch.full_like(row, level - 1)))
    return _maps(points, law.octaves, law.persistence, law.wavelength, dtype)


@final
@dataclass(frozen=True)
class Simplex(Noise):
    """Octaves of OpenSimplex noise cut at height t: the noise of AnoDDPM (Wyatt et al. 2022, sec. 3.2).

        n(u, v) = sum_i persistence^i S(u / w_i, v / w_i, (t - 1) / w_i),   w_i = wavelength / 2^i pixels

    The reference counts levels from 0, hence t - 1. Every channel of every sample gets a permutation of its
    own at each draw. Deviations from it: batches of any size; a level per sample; the seed 0 is a seed.

    >>> hw.Simplex(octaves=3, wavelength=16.0).stream([7])(torch.empty(1, 1, 32, 32)).shape
    torch.Size([1, 1, 32, 32])
    """

    octaves: int = 6
    """Number of frequencies, each twice the one before."""
    persistence: float = 0.8
    """Amplitude of an octave relative to the one before."""
    wavelength: float = 64.0
    """Wavelength of the first octave in pixels (the paper's code calls it frequency)."""
    scale: Literal["raw", "unit"] = "raw"
    """As published ("raw", standard deviation about 0.5), or divided by the analytic root mean square over
    all positions ("unit"), which gives x_t its schedule's signal-to-noise ratio on average."""

    def __post_init__(self) -> None:
        check_octaves(self.octaves, self.persistence, self.wavelength)
        if self.scale not in ("raw", "unit"):
            raise ValueError(f"scale is {self.scale!r}: use 'raw' or 'unit'.")

    def draw(self, like: Tensor, generators: Sequence[torch.Generator], level: int | Tensor = 0) -> Tensor:
        """As `Noise.draw`, for pictures: like is (B, ..., H, W) with at least one axis between.

        A level per sample costs one map per distinct level, several milliseconds each at 64x64.
        """
        check_picture(like)
        check_batch(like, generators)
        batch, *lead, height, width = like.shape
        dtype = working(like.dtype)
        parts = [2, *lead] if dtype.is_complex else lead
        fields = math.prod(parts)
        seeds = torch.stack([torch.randint(2**63 - 1, (fields,), generator=g) for g in generators])
        permutations = tables(cast("list[int]", seeds.flatten().tolist())).view(batch, fields, 256)
        levels = cast("list[float]", torch.as_tensor(level).expand(batch).tolist())
        out = torch.empty(batch, fields, height * width, dtype=dtype.to_real())
        for value in sorted(set(levels)):
            here = [i for i, other in enumerate(levels) if other == value]
            drawn = _apply(_slice(height, width, value, self, out.dtype), permutations[here].flatten(0, 1))
            out[here] = drawn.unflatten(0, (len(here), fields))
        if self.scale == "unit":
            out /= math.sqrt(octave_variance(self.octaves, self.persistence))
        out = out.view(batch, *parts, height, width)
        if dtype.is_complex:
            out = torch.complex(out[:, 0], out[:, 1])
        return out.to(like.device, like.dtype)
