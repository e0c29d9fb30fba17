"""Which levels a training looks at: those of large loss more often, at no bias."""

from __future__ import annotations

import torch
from torch import Tensor

from headwater.training.memory import Memory, Note


class LossSecondMoment(Memory):
    """Draw levels in proportion to sqrt(E[loss^2]) over the last losses seen there (Nichol & Dhariwal 2021).

        p_t = (1 - uniform) r_t / sum r + uniform / T,   r_t = sqrt(mean of the last `history` losses^2)

    Uniform until every level has a full history. A draw's loss weighs 1 / (T p_t), so that the mean is that
    of uniform draws. The history is in the module's buffers: a training that holds it as a submodule
    resumes it exactly, and shares it between processes when batches are told by `note`.
    """

    losses: Tensor
    """(T, history) float64: a ring of the last losses of each level 1 .. T."""
    seen: Tensor
    """(T,) int64: how many losses a level has had."""

    def __init__(self, T: int, history: int = 10, uniform: float = 0.001) -> None:
        super().__init__()
        self.uniform = uniform
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

    def take(self, note: Note) -> None:
        """A note is what `record` takes."""
        self.record(*note)

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
