"""CLIP-Diffusion-LM's loss: word vectors at many levels at once, and the words themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.codecs import Embedding
from headwater.core import Denoises
from headwater.core.transition import NoiseSource


def l1(found: Tensor, wanted: Tensor) -> Tensor:
    """|found - wanted| of (B, L, d), summed over positions, mean over rows and channels."""
    return (found - wanted).abs().sum(1).mean()


def l2(found: Tensor, wanted: Tensor) -> Tensor:
    """Euclidean length of found - wanted over positions and channels, mean over rows."""
    return (found - wanted).flatten(1).norm(dim=1).mean()


@dataclass(frozen=True, eq=False)
class CaptionLosses:
    """The terms, each a scalar."""

    far: Tensor
    """Distance to the clean vectors at the sampled levels."""
    near: Tensor
    """The same at level 1."""
    far_words: Tensor
    """-log p(words) at the sampled levels, summed over positions, mean over rows."""
    near_words: Tensor
    """The same at level 1."""

    def total(self, rounding_weight: float) -> Tensor:
        """Distances, and words by their weight."""
        return self.far + self.near + rounding_weight * (self.far_words + self.near_words)


def losses(
    denoiser: Denoises,
    codec: Embedding,
    ids: Tensor,
    t: Tensor,
    noise: NoiseSource,
    told: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor] = l1,
    interval: int | None = None,
    **features: Tensor,
) -> CaptionLosses:
    """The loss of captions ids (B, L) at levels t (S,), every caption at every one of them.

    noise: asked once for the noise of x_t, shared by all levels as in the reference, and once for x_1's.
    told: whether text features are looked at, (S B,) level by level; at level 1 they never are.
    interval: the answer is x at that many levels below t, not x_0: the paper's ablation.
    features: (B, ..) conditions of the network.
    """
    q, x0 = denoiser.process, codec.encode(ids)
    many = len(t)

    def each(x: Tensor) -> Tensor:
        return x.repeat(many, *[1] * (x.ndim - 1))

    levels = t.repeat_interleave(len(ids))
    x = q.combine(each(x0), each(noise(x0, 0)), levels)
    wanted = x0
    if interval is not None:
        wanted = q.combine(each(x0), each(noise(x0, 0)), (levels - interval).clamp(min=0))
    far = denoiser(x, levels, None, told=told, **{k: each(v) for k, v in features.items()}).x0
    one = torch.ones(len(ids), dtype=torch.int64)
    untold = torch.zeros_like(told[: len(ids)])
    near = denoiser(q.combine(x0, noise(x0, 1), one), one, None, told=untold, **features).x0
    return CaptionLosses(
        distance(far, wanted if len(wanted) == len(far) else each(wanted)),
        distance(near, x0),
        _nats(codec, far, each(ids)),
        _nats(codec, near, ids),
    )


def _nats(codec: Embedding, x: Tensor, ids: Tensor) -> Tensor:
    nats = F.cross_entropy(codec.logits(x).flatten(0, 1), ids.flatten(), reduction="none")
    return nats.view_as(ids).sum(1).mean()
