"""CLIP-Diffusion-LM's loss: word vectors at many timesteps at once, and the words themselves."""

from __future__ import annotations

from collections.abc import Callable

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


def losses(
    denoiser: Denoises,
    codec: Embedding,
    ids: Tensor,
    t: Tensor,
    noise: NoiseSource,
    with_text: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor] = l1,
    interval: int | None = None,
    **features: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The terms of captions ids (B, L) at timesteps t (S,), every caption at every one of them; scalars.

    Distance to the clean vectors at t, and at timestep 1; -log p(words) at t, and at timestep 1, summed over
    positions, mean over rows.

    noise: asked once for the noise of x_t, shared by all timesteps as in the reference, and once for x_1's.
    with_text: whether text features are looked at, (S B,), all captions of the first timestep first; at
    timestep 1 they never are.
    interval: the answer is x so many timesteps below t, not x_0: the paper's ablation.
    features: (B, ..) conditions of the network.
    """
    q, x0 = denoiser.process, codec.encode(ids)

    def each(x: Tensor) -> Tensor:
        return x.repeat(len(t), *[1] * (x.ndim - 1))

    def nats(x: Tensor, ids: Tensor) -> Tensor:
        found = F.cross_entropy(codec.logits(x).flatten(0, 1), ids.flatten(), reduction="none")
        return found.view_as(ids).sum(1).mean()

    every = t.repeat_interleave(len(ids))
    x, wanted = q.combine(each(x0), each(noise(x0, 0)), every), each(x0)
    if interval is not None:
        wanted = q.combine(wanted, each(noise(x0, 0)), (every - interval).clamp(min=0))
    far = denoiser(x, every, None, with_text=with_text, **{k: each(v) for k, v in features.items()}).x0
    one = torch.ones(len(ids), dtype=torch.int64)
    without = torch.zeros_like(with_text[: len(ids)])
    near = denoiser(q.combine(x0, noise(x0, 1), one), one, None, with_text=without, **features).x0
    return distance(far, wanted), distance(near, x0), nats(far, each(ids)), nats(near, ids)
