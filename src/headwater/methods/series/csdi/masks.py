"""Which observed cells a training step hides: the self-supervision of CSDI (Tashiro et al. 2021, sec. 4.3).

Every strategy turns observed cells into the given ones, a subset; what is observed and not given is the
target. Masks are bool (B, K, L), True where a cell is observed or given.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from headwater.noise import Stream

Strategy = Literal["random", "historical", "mix", "test"]


def hide_random(observed: Tensor, keys: Tensor, ratio: Tensor) -> Tensor:
    """Hide the share `ratio` (B,) of each item's observed cells: those with the largest `keys` (B, K, L)."""
    flat = observed.flatten(1)
    count = (flat.sum(1) * ratio).round()
    order = keys.flatten(1).masked_fill(~flat, -1.0).argsort(1, descending=True)
    hidden = order.argsort(1) < count[:, None]
    return (flat & ~hidden).view_as(observed)


def hide_historical(observed: Tensor) -> Tensor:
    """Hide what is missing in the item before (the last, for the first): gaps shaped like real ones."""
    return observed & observed.roll(1, 0)


def hide_last(observed: Tensor, rows: int) -> Tensor:
    """Hide the last `rows` times: the pattern of a forecast."""
    given = observed.clone()
    given[..., observed.shape[-1] - rows :] = False
    return given


def hide(observed: Tensor, strategy: Strategy, horizon: int, draws: Stream) -> Tensor:
    """The given cells for a batch. `mix` tosses a coin per item between random and historical."""
    match strategy:
        case "test":
            return hide_last(observed, horizon)
        case "historical":
            return hide_historical(observed)
        case _:
            like = observed.float()
            random = hide_random(observed, draws.uniform(like), draws.uniform(like[:, 0, 0]))
    if strategy == "random":
        return random
    coin = draws.uniform(like[:, 0, 0]) > 0.5
    return random.where(coin[:, None, None], hide_historical(observed))
