"""Plans: the list of levels that a walk visits, highest first, ending at 0 unless stopped earlier.

From one entry to the next a plan goes down (denoise), up (add noise again) or stays (correct).
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Literal

import torch
from torch import Tensor

from headwater.core.process import Diffusion


def descend(T: int, n: int | None = None) -> list[int]:
    """All levels T..0, or n even steps between the two (diffusers' `trailing`, without its offsets).

    Raises ValueError unless 1 <= n <= T.
    """
    steps = _count(T, T if n is None else n)
    return [round(i * T / steps) for i in range(steps, -1, -1)]


def spaced(T: int, n: int, spacing: Literal["leading", "trailing", "linspace"], offset: int = 0) -> list[int]:
    """n steps at the levels that diffusers' DDPM and DDIM schedulers would use, then 0.

    `leading` with offset 0 starts below T: it never sees pure noise. Raises ValueError unless 1 <= n <= T.
    """
    _count(T, n)
    if spacing == "leading":
        indices = [i * (T // n) + offset for i in range(n)]
    elif spacing == "trailing":
        indices = [round(T - i * T / n) - 1 for i in range(n)]
    else:
        stride = (T - 1) / max(n - 1, 1)
        indices = [round(i * stride) for i in range(n)]
    return [*sorted({i + 1 for i in indices}, reverse=True), 0]


def respaced(T: int, spec: str | int) -> list[int]:
    """OpenAI's respacing: "250", "10,15,20" (counts per equal section), "ddim50" or "fast27"; then 0.

    fast27 is GLIDE's "10,10,3,2,2", starting two levels lower.

    Raises ValueError where a section is shorter than its count or ddimN has no whole stride.
    """
    text = str(spec)
    if text == "fast27":
        top, *rest = respaced(T, "10,10,3,2,2")
        return [top - 2, *rest]
    if text.startswith("ddim"):
        wanted = int(text.removeprefix("ddim"))
        for stride in range(1, T):
            if len(range(0, T, stride)) == wanted:
                return [i + 1 for i in reversed(range(0, T, stride))] + [0]
        raise ValueError(f"no whole stride takes exactly {wanted} of {T} levels")
    counts = [int(part) for part in text.split(",")]
    size, extra = divmod(T, len(counts))
    levels, start = set[int](), 0
    for i, count in enumerate(counts):
        length = size + (i < extra)
        if count > length:
            raise ValueError(f"cannot take {count} of the {length} levels in section {i + 1}")
        stride = (length - 1) / (count - 1) if count > 1 else 1
        # A running sum, as in OpenAI's code: a product would round some halves the other way.
        levels |= {start + round(at) + 1 for at in accumulate([0.0] + [stride] * (count - 1))}
        start += length
    return [*sorted(levels, reverse=True), 0]


def log_snr(q: Diffusion, n: int) -> list[int]:
    """n steps, evenly spaced in log(alpha / sigma), from T to 1, then 0.

    Where the table is coarse, points fall on the same level; the spacing is then the widest that visits n
    different levels. A level T of pure noise, which has no such ratio, is visited and then left out of
    account. Raises ValueError unless 1 <= n <= T and each level has less noise than the next.
    """
    _count(q.T, n)
    if n == 1:
        return [q.T, 0]
    if q.half_log_snr[q.T].isneginf():
        return [q.T, *_even(q.half_log_snr[1:-1], n - 1), 0]
    return [*_even(q.half_log_snr[1:], n), 0]


def _even(half_log_snr: Tensor, n: int) -> list[int]:
    """n of the levels 1 .. T, highest first, that are even in what the falling table says of them."""
    T, rising = len(half_log_snr), half_log_snr.flip(0).contiguous()
    if not bool(torch.isfinite(rising).all() and (rising.diff() > 0).all()):
        raise ValueError("some level has no more noise than the one below it: space the steps in another way")

    def visited(points: int) -> list[int]:
        wanted = torch.linspace(float(rising[0]), float(rising[-1]), points, dtype=torch.float64)
        left = (torch.searchsorted(rising, wanted, right=True) - 1).clamp(0, max(T - 2, 0))
        right = (left + 1).clamp(max=T - 1)
        nearest = left.where(wanted - rising[left] < rising[right] - wanted, right)
        return sorted({T - int(i) for i in nearest}, reverse=True)

    enough = n
    while len(visited(enough)) < n:
        enough *= 2
    few = bisect.bisect_left(range(enough), n, lo=min(n, enough), key=lambda points: len(visited(points)))
    levels = visited(few)
    while len(levels) > n:  # one point more may visit two levels more
        gaps = rising[[T - t for t in levels]].diff()
        del levels[int((gaps[:-1] + gaps[1:]).argmin()) + 1]
    return levels


def below(plan: Sequence[int], level: int) -> list[int]:
    """The part of a descending plan below `level`, starting there (SDEdit, AnoDDPM, DiffPure).

    Raises ValueError when nothing is left to walk.
    """
    rest = [t for t in plan if t < level]
    if not rest:
        raise ValueError(f"a walk from level {level} has nowhere to go: start at 1 or above")
    return [level, *rest]


def jumps(
    T: int,
    *loops: tuple[int, int],
    repeat: int = 1,
    start: int | None = None,
) -> list[int]:
    """RePaint's walk over T levels that climbs and comes back (Lugmayr et al. 2022, Fig. 9 and code).

    loops: (length, times) of each kind of jump, outermost first: at every multiple of `length` the walk
        climbs `length` levels until it has passed there `times` times. An outer jump renews the inner ones.
    repeat: `n_sample` of the authors' code, times that each single step is taken.
    start: climb only at or below this level.
    """
    top = T if start is None else start
    for length, times in loops:
        if length < 1 or times < 1:
            raise ValueError(f"a jump needs length >= 1 and times >= 1, got ({length}, {times})")

    def fresh(loop: tuple[int, int]) -> dict[int, int]:
        return {j + 1: loop[1] - 1 for j in range(0, T - loop[0], loop[0])}

    left = [fresh(loop) for loop in loops]
    walk, t = [T], T
    while t > 1:
        t -= 1
        walk.append(t)
        if t + 1 < T and t <= top:
            walk += [t + 1, t] * (repeat - 1)
        for k in reversed(range(len(loops))):
            length = loops[k][0]
            if left[k].get(t, 0) > 0 and t <= top - length:
                left[k][t] -= 1
                walk += range(t + 1, t + length + 1)
                t += length
                left[k + 1 :] = [fresh(loop) for loop in loops[k + 1 :]]
    return [*walk, 0]


def through(walk: Sequence[int], levels: Sequence[int]) -> list[int]:
    """Map a walk over 0..n onto a descending plan of n steps: entry i becomes the i-th level from below."""
    ascending = levels[::-1]
    if max(walk) >= len(ascending):
        raise ValueError(f"the walk climbs to {max(walk)}, the plan has {len(ascending) - 1} steps")
    return [ascending[i] for i in walk]


def churned(levels: Sequence[int], climbs: dict[int, int]) -> list[int]:
    """Before leaving a level, climb to a higher one where `climbs` says so (Karras et al. 2022, Alg. 2)."""
    walk: list[int] = []
    for t in levels:
        walk += [t, climbs[t]] if t in climbs else [t]
    return walk


def network_calls(plan: Sequence[int]) -> int:
    """How often a walk calls the network: every step but the climbs."""
    return sum(s <= t for t, s in pairwise(plan))


def _count(T: int, n: int) -> int:
    if not 1 <= n <= T:
        raise ValueError(f"a plan over {T} levels has 1 to {T} steps, got {n}")
    return n
