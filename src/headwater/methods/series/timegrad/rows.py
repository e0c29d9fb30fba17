"""Tables as TimeGrad's RNN reads them, row by row: lagged values, the clock, columns that are known ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from headwater.data.series import Array, Table
from headwater.data.windows import Scale

Step = Literal["minutes", "hours", "day", "weekday", "week", "month", "row"]
"""How far rows lie apart; "row" where times are no dates, or years apart."""

LAGS: dict[Step, tuple[int, ...]] = {
    "minutes": (1, 4, 12, 24, 48), "day": (1, 7, 14), "weekday": (1, 2), "month": (1, 12),
}  # fmt: skip
"""The reference's, in rows; for hours those that are a row, a day and a week ago, else the row before."""
CLOCK: dict[Step, tuple[str, ...]] = {
    "minutes": ("minute", "hour", "weekday"), "hours": ("hour", "weekday"), "day": ("weekday",),
    "weekday": ("weekday", "yearday"), "week": ("week",), "month": ("week",),
}  # fmt: skip
"""What is read of a date: a cosine and a sine of each."""
PERIOD = {"minute": 60, "hour": 24, "weekday": 7, "yearday": 367, "week": 54}


def step_of(tables: Sequence[Table], usual: float) -> Step:
    """How far the rows of tables lie apart, `usual` being the median in hours where times are dates."""
    if any(table.begin is None for table in tables):
        return "row"
    if usual < 1:
        return "minutes"
    if usual < 23:
        return "hours"
    if usual < 25:
        weekend = any(bool((_dates(t).astype("M8[D]").astype(int) % 7 == 2).any()) for t in tables)
        return "day" if weekend else "weekday"  # the epoch began on a Thursday
    return "week" if 160 < usual < 176 else "month" if 24 * 27 < usual < 24 * 32 else "row"


def lags_of(step: Step, usual: float) -> tuple[int, ...]:
    """Rows back that the RNN reads where nobody says which."""
    if step == "hours":
        return tuple(sorted({1, max(1, round(24 / usual)), max(1, round(168 / usual))}))
    return LAGS.get(step, (1,))


def season_of(step: Step, usual: float) -> int:
    """Rows after which values are likely to come again: a day, a week or a year; 1 where nothing is known."""
    if step in ("minutes", "hours"):
        return max(1, round(24 / usual))
    return {"day": 7, "weekday": 5, "week": 52, "month": 12}.get(step, 1)


def _dates(table: Table) -> np.ndarray[tuple[int, ...], np.dtype[np.datetime64]]:
    begin = table.begin
    assert begin is not None
    since = np.round((table.times - table.times[0]) * 3600).astype("m8[s]")
    return np.datetime64(begin.replace(tzinfo=None), "s") + since


def clock(table: Table, step: Step) -> Array:
    """Where in the hour, day, week or year the rows of a table lie, (L, numbers that `step` asks for)."""
    if not (wanted := CLOCK.get(step)):
        return np.zeros((len(table), 0))
    seconds = _dates(table)
    days = seconds.astype("M8[D]")
    yearday = (days - days.astype("M8[Y]")).astype(int)
    within = (seconds - days).astype(int)
    part = {
        "minute": within // 60 % 60, "hour": within // 3600, "weekday": (days.astype(int) + 3) % 7,
        "yearday": yearday + 1, "week": yearday // 7 + 1,
    }  # fmt: skip
    angles = [2 * np.pi * part[name] / PERIOD[name] for name in wanted]
    return np.stack([f(a) for a in angles for f in (np.cos, np.sin)], 1)


class Batch(NamedTuple):
    """Windows of L rows, scaled: values (B, L, D), what is drawn at each row, itself or its change; observed
    (B, L, D), lagged (B, L, D, lags), extra (B, L, F), and the scale (B, 1, D) by which values were divided
    beside that of the columns."""

    values: Tensor
    observed: Tensor
    lagged: Tensor
    extra: Tensor
    scale: Tensor

    def to(self, device: str) -> Batch:
        return Batch(*(part.to(device) for part in self))


@dataclass(frozen=True, eq=False)
class Rows:
    """One table: values (before + L, D) float32 in units of the columns, a missing one as the one before it
    in its column and 0 where there is none; which were observed; what else is read of each row (.., F)."""

    values: Tensor
    observed: Tensor
    extra: Tensor
    before: int
    """Rows of nothing before the first, so that windows and lags may reach there."""

    @classmethod
    def of(cls, table: Table, columns: int, scale: Scale, known: Scale, step: Step, before: int) -> Rows:
        """table: the columns that are forecast first, then those that are known ahead."""
        values = scale.normal(table.values[:, :columns])
        seen = np.isfinite(values)
        last = np.maximum.accumulate(np.where(seen, np.arange(len(values))[:, None], -1), 0)
        held = np.where(last < 0, 0.0, np.take_along_axis(values, np.maximum(last, 0), 0))
        ahead = np.nan_to_num(known.normal(table.values[:, columns:]))
        extra = np.concatenate([clock(table, step), ahead], 1)

        def padded(array: Array) -> Tensor:
            return torch.from_numpy(np.pad(array.astype(np.float32), ((before, 0), (0, 0))))

        return cls(padded(held), padded(seen) > 0, padded(extra), before)


def windows(
    places: Sequence[tuple[Rows, int]],
    length: int,
    context: int,
    lags: Sequence[int],
    mean: bool,
    pace: Tensor | None = None,
) -> Batch:
    """The windows of `length` rows that begin at the given rows, which may be negative.

    mean: divide each column of a window by the mean size of what was observed in its first `context` rows.
    pace: units (D,) of changes from row to row, where these are drawn.
    """
    reach = max(lags)
    spans = [(rows, slice(rows.before + s - reach, rows.before + s + length)) for rows, s in places]
    values = torch.stack([rows.values[span] for rows, span in spans])
    observed = torch.stack([rows.observed[span] for rows, span in spans])[:, reach:]
    extra = torch.stack([rows.extra[span] for rows, span in spans])[:, reach:]
    scale = mean_scale(values[:, reach : reach + context], observed[:, :context])
    scale = scale if mean else torch.ones_like(scale)
    values = values / scale
    lagged = torch.stack([values[:, reach - lag : reach - lag + length] for lag in lags], -1)
    drawn = values[:, reach:]
    if pace is not None:
        drawn = (drawn - values[:, reach - 1 : -1]) / pace
    return Batch(drawn, observed, lagged, extra, scale)


def mean_scale(values: Tensor, observed: Tensor, usual: Tensor | float = 1.0) -> Tensor:
    """Mean size of the observed values of each column, (B, 1, D); `usual` where none is, or all are 0."""
    total, count = (values.abs() * observed).sum(1, keepdim=True), observed.sum(1, keepdim=True)
    usual = torch.as_tensor(usual, dtype=values.dtype, device=values.device)
    return torch.where(total > 0, total / count.clamp(min=1), usual).clamp(min=1e-10)
