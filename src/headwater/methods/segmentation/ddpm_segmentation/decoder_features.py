"""What a prior's decoder computes on the way, as maps at its own resolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from headwater.core.prediction import labels as told
from headwater.errors import need
from headwater.methods.base import Images
from headwater.models import Prior
from headwater.nets.features import activations, block_names
from headwater.noise import derive
from headwater.sampling import Run


def depth(prior: Prior) -> int:
    """Number of decoder blocks of the prior's network."""
    return sum(name.startswith("output_blocks") for name in block_names(prior.network))


@torch.no_grad()
def read_features(prior: Prior, image: Images, steps: Sequence[int], blocks: Sequence[int], noise: Tensor,
                  run: Run, kept: torch.dtype | None = None) -> list[Tensor]:  # fmt: skip
    """Outputs of decoder blocks, (N, channels, h, w) each, for t in steps, for b in ascending blocks.

    image: (N, C, H, W); noise: (1, C, H, W), added to every picture. kept: type of the answer, the network's
    by default. One network call per step and batch. Memory: the answer and the maps of one batch.
    """
    process, count = prior.process, depth(prior)
    need(len(steps) > 0 and len(blocks) > 0, "give at least one step and one block")
    need(
        all(0 <= t < process.T for t in steps),
        f"this prior has {process.T} steps: choose from 0 to {process.T - 1}",
    )
    need(
        all(0 <= b < count for b in blocks),
        f"this network has {count} decoder blocks, not block "
        f"{max(blocks)}: choose blocks from 0 to {count - 1}",
    )
    need(not prior.config.classes, "this prior asks for the class of a picture: use an unconditional one")
    found: list[Tensor] = []
    for part in run.batches(len(image)):
        x0, batch = part.take(image), []
        for t in steps:
            x = process.combine(x0, noise.to(x0).expand_as(x0), t + 1)
            at = told(process.label, t + 1, x)
            batch += activations(prior.network, x, at, list(blocks)).values()
        if not found:
            # Channels last, as single pixels are looked up: no further copy is needed then.
            found = [
                torch.empty(
                    (len(image), *m.shape[1:]),
                    dtype=kept or m.dtype,
                    device=m.device,
                    memory_format=torch.channels_last,
                )
                for m in batch
            ]
        for whole, maps in zip(found, batch, strict=True):
            whole[part.rows] = maps
    return found


def shared_noise(prior: Prior, image: Images, run: Run) -> Tensor:
    """The one field (1, C, H, W) that all pictures of that size are noised with: a function of run.seed."""
    like = torch.empty(1, *image.shape[1:], device=run.device)
    return prior.noise.stream([derive(run.seed, _FIELD)])(like)


_FIELD = 0x4649454C44
