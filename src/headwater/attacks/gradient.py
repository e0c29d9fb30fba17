"""How an attacker sees a model: which path the gradient takes, and averages over its randomness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwater.errors import UserError, need
from headwater.noise import derive

View = Literal["exact", "bpda", "classifier"]
"""exact: through everything. bpda: the purifier runs, its gradient is taken for the identity (Athalye et al.
2018). classifier: the attacker does not know of the purifier."""

Loss = Literal["ce", "dlr"]
"""Cross-entropy, or the difference of logits ratio, which ignores their scale (Croce & Hein 2020, eq. 6; with
a class to aim at, eq. 7)."""

Logits = Callable[[Tensor, Sequence[int]], Tensor]
"""(images (B, C, H, W), one seed per image) -> logits (B, K)."""


@runtime_checkable
class Seeded(Protocol):
    """A random model whose every draw for image i is a function of seeds[i]."""

    def seeded(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        ...


@runtime_checkable
class Defended(Seeded, Protocol):
    """A random model made of a purifier and a classifier, such as `Purified`."""

    classifier: nn.Module

    def purified(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """What the classifier is shown."""
        ...


def logits_of(model: nn.Module, view: View = "exact") -> Logits:
    """The model as the attacker differentiates it. Raises UserError for a view that it does not offer."""
    if view == "exact":
        return model.seeded if isinstance(model, Seeded) else lambda images, seeds: model(images)
    need(view in ("bpda", "classifier"), f"the view is {view!r}: choose exact, bpda or classifier")
    if not isinstance(model, Defended):
        raise UserError(f"{type(model).__name__} has no purifier to bypass: attack it with view exact")
    defended = model
    if view == "classifier":
        return lambda images, seeds: defended.classifier(images)

    def straight_through(images: Tensor, seeds: Sequence[int]) -> Tensor:
        with torch.no_grad():
            shown = defended.purified(images, seeds)
        return defended.classifier(shown + (images - images.detach()))

    return straight_through


def losses(logits: Tensor, labels: Tensor, kind: Loss, aims: Tensor | None = None) -> Tensor:
    """What the attacker wants large, (B,); `aims` (B,) are classes that the pictures shall be taken for.
    Raises UserError for dlr with fewer than 3 classes, or 4 where a class is aimed at."""
    need(kind in ("ce", "dlr"), f"the loss is {kind!r}: choose ce or dlr")
    if kind == "ce":
        wanted, sign = (labels, 1) if aims is None else (aims, -1)
        return sign * F.cross_entropy(logits, wanted, reduction="none")
    top = logits.sort(1).values
    true = logits.gather(1, labels[:, None])[:, 0]
    if aims is not None:
        need(logits.shape[1] >= 4, "the dlr loss that aims at a class compares four: use ce for fewer")
        aim = logits.gather(1, aims[:, None])[:, 0]
        return -(true - aim) / (top[:, -1] - (top[:, -3] + top[:, -4]) / 2 + 1e-12)
    need(logits.shape[1] >= 3, "the dlr loss compares three classes: use ce for two")
    rival = top[:, -1].where(true < top[:, -1], top[:, -2])
    return -(true - rival) / (top[:, -1] - top[:, -3] + 1e-12)


@dataclass(frozen=True, eq=False)
class Objective:
    """Loss and gradient at x, averaged over `draws` of the model's randomness (EOT, Athalye et al. 2018).

    fixed: the model is seen with `seeds` themselves at every step, instead of with fresh draws. part: draws
    that are computed at once, which bounds the memory; 0 is all of them. aims: classes aimed at, (B,).
    """

    logits: Logits
    labels: Tensor
    seeds: Sequence[int]
    loss: Loss = "ce"
    draws: int = 1
    fixed: bool = False
    part: int = 0
    aims: Tensor | None = None

    def __call__(self, x: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W) -> loss (B,), gradient (B, C, H, W). Raises UserError where there is none."""
        need(self.part >= 0, f"part is {self.part}: give the draws computed at once, or 0 for all")
        total = 1 if self.fixed else self.draws
        loss, gradient = x.new_zeros(len(x)), torch.zeros_like(x)
        for these in torch.arange(total).split(self.part or total):
            part, n = these.tolist(), len(these)
            seeds = list(self.seeds)
            if not self.fixed:
                seeds = [derive(seed, step, j) for seed in self.seeds for j in part]
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                logits = self.logits(x.repeat_interleave(n, 0), seeds)
                need(
                    logits.requires_grad,
                    "the model gives no gradient with respect to its input: remove no_grad from it, or "
                    "attack it with view bpda",
                )
                aims = None if self.aims is None else self.aims.repeat_interleave(n)
                found = losses(logits, self.labels.repeat_interleave(n), self.loss, aims)
                (slope,) = torch.autograd.grad(found.sum() / total, x)
            loss = loss + found.detach().reshape(-1, n).sum(1) / total
            gradient = gradient + slope
        return loss, gradient
