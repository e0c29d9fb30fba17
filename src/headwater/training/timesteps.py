"""How a training draws timesteps: the one place for it.

keyed        one for each 63-bit key             1 + key mod T
uniform      independent                         t ~ U{1 .. T}
at           where places in [0, 1) lie          1 + floor(T u)
stratified   spread evenly over a batch          1 + floor(T ((u + i / n) mod 1))
between      continuous levels of a table        f_t-1 + u (f_t - f_t-1)
LossSecondMoment                                 more often where the loss is large
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def keyed(keys: Sequence[int], T: int) -> Tensor:
    """Timesteps of 1 .. T, one for each key (any split of a batch has the same), int64."""
    return torch.tensor([1 + key % T for key in keys])


def uniform(n: int, T: int, generator: torch.Generator | None = None) -> Tensor:
    """n independent timesteps of 1 .. T, (n,) int64."""
    return torch.randint(1, T + 1, (n,), generator=generator)


def at(place: Tensor, T: int) -> Tensor:
    """The timesteps of 1 .. T that lie at places of [0, 1], int64 of the same shape."""
    return 1 + (place * T).long().clamp(max=T - 1)


def stratified(n: int, T: int, place: Tensor) -> Tensor:
    """n timesteps of 1 .. T, one in each n-th of the range: the loss varies less (Kingma et al. 2021).

    place: uniform on [0, 1), one for the batch or (n,); each timestep is then uniform by itself. Divided
    by n, it gives the timesteps in rising order. Its dtype is that of the arithmetic. Returns (n,) int64.
    """
    return at((place + torch.arange(n, dtype=place.dtype) / n) % 1, T)


def between(table: Tensor, t: Tensor, place: Tensor) -> Tensor:
    """Continuous levels: at `place` in [0, 1), (n,), of the way from entry t - 1 of a table to entry t, (n,).

    table: (T + 1,) float64 of what networks of continuous levels are told, sqrt(abar) in SR3.
    """
    return torch.lerp(table[t - 1], table[t], place.to(table))


class LossSecondMoment(nn.Module):
    """Draw levels in proportion to sqrt(E[loss^2]) over the last losses seen there (Nichol & Dhariwal 2021).

        p_t = (1 - uniform) r_t / sum r + uniform / T,   r_t = sqrt(mean of the last `history` losses^2)

    Uniform until every level has a full history. A draw's loss weighs 1 / (T p_t), so that the mean is that
    of uniform draws. The history is in the module's buffers: a training that holds it as a submodule
    resumes it exactly. While a step goes on nothing changes: batches leave their losses by `note`, and when
    all are done the trainer records those of every process in the order of the batches.
    """

    losses: Tensor
    """(T, history) float64: a ring of the last losses of each level 1 .. T."""
    seen: Tensor
    """(T,) int64: how many losses a level has had."""

    def __init__(self, T: int, history: int = 10, uniform: float = 0.001) -> None:
        super().__init__()
        self.uniform = uniform
        self._notes: list[tuple[Tensor, Tensor]] = []
        self.register_buffer("losses", torch.zeros(T, history, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(T, dtype=torch.int64))

    def probabilities(self) -> Tensor:
        """p of levels 1 .. T, (T,) float64."""
        T, history = self.losses.shape
        flat = torch.full((T,), 1 / T, dtype=torch.float64, device=self.losses.device)
        if bool((self.seen < history).any()):
            return flat
        size = self.losses.square().mean(1).sqrt()
        return (1 - self.uniform) * size / size.sum() + self.uniform * flat

    def draw(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Levels (n,) int64 in 1 .. T and the weights (n,) float32 of their losses."""
        p = self.probabilities().cpu()
        index = torch.multinomial(p, n, replacement=True, generator=generator)
        return index + 1, (1 / (len(p) * p[index])).float()

    def note(self, t: Tensor, losses: Tensor) -> None:
        """Leave the unweighted losses (B,) of levels t (B,) of a batch for the end of the step."""
        self._notes.append((t.detach().cpu(), losses.detach().cpu()))

    def noted(self) -> list[tuple[Tensor, Tensor]]:
        """What was noted since the last call."""
        notes, self._notes = self._notes, []
        return notes

    @torch.no_grad()
    def record(self, t: Tensor, losses: Tensor) -> None:
        """Remember the unweighted losses (B,) of levels t (B,), in this order."""
        order = t.argsort(stable=True)
        level = (t[order] - 1).to(self.seen.device)
        counts = torch.bincount(level, minlength=len(self.seen))
        starts = counts.cumsum(0) - counts
        rank = torch.arange(len(level), device=level.device) - starts[level]
        history = self.losses.shape[1]
        place = (self.seen[level] + rank) % history
        kept = rank >= counts[level] - history  # of more than the ring holds, the last ones count
        values = losses.detach().to(self.losses)[order.to(losses.device)]
        self.losses[level[kept], place[kept]] = values[kept]
        self.seen += counts
