"""Draws of the empty cells of whole tables, window by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from headwater.controls import Clip, GivenRegion
from headwater.core import Control, Diffusion, NoiseSource
from headwater.core.transition import Level
from headwater.data.series import Array, Table
from headwater.methods.series.csdi.fitted import FittedCSDI
from headwater.methods.series.csdi.windows import Windows, cover, cut
from headwater.metrics.series import LEVELS, quantiles
from headwater.noise import Stream
from headwater.sampling import Run, Start, sample_batches, timesteps_of

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
    q, places = fitted.denoiser.process, list(_places(tables, fitted.config.length, how.overlap))
    found = [np.empty((how.samples, int(np.isnan(t.values).sum())), np.float32) for t in tables]
    fitted.network.eval()
    if run.device == "cpu":
        few = max(1, CELLS // (fitted.config.length * len(fitted.config.columns)))
        run = replace(run, batch_size=min(run.batch_size, few))

    @lru_cache(maxsize=1)
    def read(which: range) -> tuple[Windows, Sequence[Tensor]]:
        some = [(tables[places[i].table], places[i].start) for i in which]
        windows = cut(some, fitted.config.length, fitted.config.scale).to(run.device)
        return windows, fitted.network.side(windows.times, windows.observed)  # type: ignore[operator]

    done = sample_batches(
        fitted.denoiser, timesteps_of(q, how.steps), len(places),
        lambda batch: begin(fitted, *read(batch.items), batch.noise, how.bound), run, draws=how.samples,
        key=lambda i, draw: (0, run.first + places[i].table, places[i].number, draw), label="windows",
    )  # fmt: skip
    for batch, x in done if places else ():
        for i, window in zip(batch.items, x.unflatten(0, (len(batch.items), -1)), strict=True):
            at = places[i]
            _keep(found[at.table], tables[at.table], at, batch.draws, window, fitted)
    return [_joined(table, draws) for table, draws in zip(tables, found, strict=True)]


def _places(tables: Sequence[Table], length: int, overlap: int) -> Iterator[_Place]:
    for i, table in enumerate(tables):
        before = np.concatenate([[0], np.isnan(table.values).sum(1).cumsum()]).tolist()
        for j, (start, first, stop) in enumerate(cover(len(table), length, overlap)):
            if before[stop] > before[first]:
                yield _Place(i, j, start, first, stop, before[first])


def begin(
    fitted: FittedCSDI, windows: Windows, side: Sequence[Tensor], noise: Stream, bound: float | None = None
) -> Start:
    """The loop from pure noise to n draws of each whole window, (windows * n, K, L), normalised.

    noise: windows x n seeds, those of a window together. side: what `CSDINet.side` says of the windows.
    """
    q, n = fitted.denoiser.process, len(noise.generators) // len(windows.values)
    given, known = (v.repeat_interleave(n, 0) for v in (windows.values, windows.observed))
    controls: list[Control] = [] if bound is None else [Clip(-bound, bound)]
    if fitted.config.network.given == "pasted":
        controls.append(GivenRegion(given, known, q, forward_chain(q, given, noise)))
    return Start(noise(given, q.T), controls, {"side": side, "given": given, "known": known})


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
    values = values[:, : place.stop - place.first] * fitted.config.scale.std + fitted.config.scale.mean
    found = values[:, empty]
    draws[indices.start : indices.stop, place.begin : place.begin + found.shape[1]] = found


def _joined(table: Table, draws: Draws) -> Imputed:
    spread, values = quantiles(draws), table.values.copy()
    values[np.isnan(values)] = spread[LEVELS.index(0.5)]
    return Imputed(values, draws, spread)
