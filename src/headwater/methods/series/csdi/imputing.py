"""Draws of the empty cells of whole tables, window by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headwater.controls import Clip
from headwater.core import Control, Diffusion, NoiseSource, last, respaced, reverse
from headwater.core.transition import Level
from headwater.data.series import Array, Table
from headwater.methods.restoration.repaint.method import Known
from headwater.methods.series.csdi.fitted import FittedCSDI
from headwater.methods.series.csdi.windows import Windows, cover, cut
from headwater.metrics.series import LEVELS, quantiles
from headwater.noise import Stream, White, derive
from headwater.sampling import Run

CELLS = 27_000
"""Cells of a network call on a CPU: 16 windows of 48 x 35, of which a layer of 64 channels takes 7 MB. Forty
of them leave the cache and take 1.7 times as long each."""

Draws = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@dataclass(frozen=True, eq=False)
class Imputed:
    """One table's result, in its own units: values (L, K), and draws (S, M) of its M empty cells."""

    filled: Array
    samples: Draws
    quantiles: Array
    """(19, M)."""


@dataclass(frozen=True)
class _Place:
    """Window `number` of a table; it answers for the empty cells of rows first .. stop - 1."""

    table: int
    number: int
    start: int
    first: int
    stop: int
    begin: int
    """Number of its first empty cell among those of the table."""


@dataclass(frozen=True)
class Drawing:
    """Settings of `CSDI.apply`."""

    samples: int
    overlap: int = 0
    bound: float | None = None
    steps: int | None = None


def impute(tables: Sequence[Table], fitted: FittedCSDI, how: Drawing, run: Run) -> list[Imputed]:
    """Fill tables that have the fitted columns. Windows without an empty cell cost nothing."""
    samples = how.samples
    places = list(_places(tables, fitted.length, how.overlap))
    draws = [np.empty((samples, int(np.isnan(t.values).sum())), np.float32) for t in tables]
    fitted.network.to(run.device).eval()
    at_once = run.batch
    if run.device == "cpu":
        at_once = max(1, min(run.batch, CELLS // (fitted.length * len(fitted.columns))))
    side_by_side = max(1, at_once // samples)
    several = max(1, at_once // side_by_side)
    parts = [places[i : i + side_by_side] for i in range(0, len(places), side_by_side)]
    rounds = len(parts) * -(-samples // several)
    with torch.inference_mode():
        made = _rounds(tables, parts, fitted, how, several, run)
        for part, indices, x in run.watch(made, rounds, "windows"):
            for place, window in zip(part, x, strict=True):
                _keep(draws[place.table], tables[place.table], place, indices, window, fitted)
    return [_joined(table, drawn) for table, drawn in zip(tables, draws, strict=True)]


def _places(tables: Sequence[Table], length: int, overlap: int) -> Iterator[_Place]:
    for i, table in enumerate(tables):
        before = np.concatenate([[0], np.isnan(table.values).sum(1).cumsum()]).tolist()
        for j, (start, first, stop) in enumerate(cover(len(table), length, overlap)):
            if before[stop] > before[first]:
                yield _Place(i, j, start, first, stop, before[first])


def _rounds(
    tables: Sequence[Table],
    parts: Sequence[Sequence[_Place]],
    fitted: FittedCSDI,
    how: Drawing,
    several: int,
    run: Run,
) -> Iterator[tuple[Sequence[_Place], range, Tensor]]:
    """Windows, which of their draws, and these, (windows, draws, K, L)."""
    for part in parts:
        windows = cut([(tables[p.table], p.start) for p in part], fitted.length, fitted.scale).to(run.device)
        side = fitted.network.side(windows.times, windows.observed)  # type: ignore[operator]
        for begin in range(0, how.samples, several):
            indices = range(begin, min(begin + several, how.samples))
            seeds = [derive(run.seed, 0, run.first + p.table, p.number, i) for p in part for i in indices]
            yield part, indices, draw(fitted, windows, side, White().stream(seeds), how.bound, how.steps)


def draw(
    fitted: FittedCSDI,
    windows: Windows,
    side: Sequence[Tensor],
    noise: Stream,
    bound: float | None = None,
    steps: int | None = None,
) -> Tensor:
    """Walk from pure noise to draws of whole windows, (windows, n, K, L), normalised.

    noise: windows x n seeds, those of a window together. side: what `CSDINet.side` says of the windows.
    """
    q, n = fitted.denoiser.process, len(noise.generators) // len(windows.values)
    given, known = (v.repeat_interleave(n, 0) for v in (windows.values, windows.observed))
    controls: list[Control] = [] if bound is None else [Clip(-bound, bound)]
    if fitted.given == "pasted":
        controls.append(Known(q, given, known, forward_chain(q, given, noise)))
    x = noise(given, q.T)
    plan = respaced(q.T, steps or q.T)
    walk = reverse(fitted.denoiser, x, plan, None, controls, noise, side=side, given=given, known=known)
    return last(walk).unflatten(0, (-1, n))


def forward_chain(q: Diffusion, like: Tensor, noise: NoiseSource) -> NoiseSource:
    """The noise of one forward walk 0 .. T per sample: its levels belong together, as in the paper's code.

    Each level alone is N(0, 1). Memory: T fields like `like`.
    """
    held, fields = torch.zeros_like(like), [torch.zeros_like(like)]
    for t in range(1, q.T + 1):
        held = q.advance(held, t - 1, t, noise)
        fields.append(held / q.scales(t)[1])

    def at(like: Tensor, level: Level) -> Tensor:
        return fields[int(level)]

    return at


def _keep(
    draws: Draws, table: Table, place: _Place, indices: range, window: Tensor, fitted: FittedCSDI
) -> None:
    """Put the draws (n, K, L) of a window where those of its empty cells belong."""
    empty = np.isnan(table.values[place.first : place.stop])
    values = window.cpu().double().numpy().transpose(0, 2, 1)[:, place.first - place.start :]
    values = values[:, : place.stop - place.first] * fitted.scale.std + fitted.scale.mean
    found = values[:, empty]
    draws[indices.start : indices.stop, place.begin : place.begin + found.shape[1]] = found


def _joined(table: Table, draws: Draws) -> Imputed:
    spread, values = quantiles(draws), table.values.copy()
    values[np.isnan(values)] = spread[LEVELS.index(0.5)]
    return Imputed(values, draws, spread)
