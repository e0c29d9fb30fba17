"""Features of single pixels: what a prior's decoder computes on the way, as maps at its own resolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from headwater.core.prediction import labels as network_labels
from headwater.errors import need
from headwater.methods.base import Images
from headwater.models import Prior
from headwater.nets.features import activations, block_names
from headwater.noise import Purpose, derive
from headwater.sampling import Run


def depth(prior: Prior) -> int:
    """Number of decoder blocks of the prior's network."""
    return sum(name.startswith("output_blocks") for name in block_names(prior.network))


def shared_noise(prior: Prior, image: Images, run: Run) -> Tensor:
    """The one field (1, C, H, W) that all images of that size are noised with: a function of run.seed."""
    like = torch.empty(1, *image.shape[1:], device=run.device)
    return prior.noise.stream([derive(run.seed, Purpose.FEATURE_FIELD)])(like)


@torch.no_grad()
def read_features(prior: Prior, image: Images, steps: Sequence[int], blocks: Sequence[int], noise: Tensor,
                  run: Run, stored: torch.dtype | None = None) -> list[Tensor]:  # fmt: skip
    """Outputs of decoder blocks, (N, channels, h, w) each, for t in steps, for b in ascending blocks.

    image: (N, C, H, W); noise: (1, C, H, W), added to every image. stored: type of the answer, the network's
    by default. One network call per step and batch. Memory: the answer and the maps of one batch.
    """
    process, count = prior.process, depth(prior)
    need(len(image) > 0, "there is no image to read features of: give some")
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
    need(not prior.config.classes, "this prior asks for the class of an image: use an unconditional one")
    found: list[Tensor] = []
    for batch in run.batches(len(image)):
        x0, maps = batch.take(image), []
        for t in steps:
            x = process.combine(x0, noise.to(x0).expand_as(x0), t + 1)
            label = network_labels(process.label, t + 1, x)
            maps += activations(prior.network, x, label, list(blocks)).values()
        if not found:
            # Channels last, as single pixels are looked up: no further copy is needed then.
            shapes = [(len(image), *m.shape[1:]) for m in maps]
            found = [
                torch.empty(s, dtype=stored or m.dtype, device=m.device, memory_format=torch.channels_last)
                for s, m in zip(shapes, maps, strict=True)
            ]
        for whole, rows in zip(found, maps, strict=True):
            whole[batch.rows] = rows
    return found


class PixelFeatures:
    """Looks feature vectors of single pixels up in maps, bilinearly, without resizing any map.

    maps: (N, C, h, w) each, in half precision if need be; size: (H, W) of the label maps. Answers are float32
    at least. Memory: the maps themselves where they are channels last, else a copy.
    """

    def __init__(self, maps: Sequence[Tensor], size: tuple[int, int]) -> None:
        self.size, self.dim = size, sum(m.shape[1] for m in maps)
        self.dtype = torch.promote_types(maps[0].dtype, torch.float32)
        self.maps = [((m.shape[2], m.shape[3]), m.permute(0, 2, 3, 1).flatten(0, 2)) for m in maps]
        self.axes = {(h, w): (_taps(h, size[0]), _taps(w, size[1])) for (h, w), _ in self.maps}

    def __call__(self, pixel: Tensor) -> Tensor:
        """Pixel numbers ((n H + y) W + x), any shape (...), to features (..., D)."""
        height, width = self.size
        n, y, x = pixel // (height * width), pixel // width % height, pixel % width
        found = []
        for (h, w), rows in self.maps:
            (top, bottom, down), (left, right, over) = (
                [v[i] for v in axis] for axis, i in zip(self.axes[h, w], (y, x), strict=True)
            )
            if (h, w) == self.size:
                found.append(rows[pixel].to(self.dtype))
                continue
            down, over = (v[..., None].to(rows.device, self.dtype) for v in (down, over))
            corners = [rows[(n * h + i) * w + j].to(self.dtype) for i in (top, bottom) for j in (left, right)]
            above, below = (torch.lerp(corners[i], corners[i + 1], over) for i in (0, 2))
            found.append(torch.lerp(above, below, down))
        return torch.cat(found, dim=-1)


def _taps(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """Per target index: both source indices and the weight of the second, (target,) each."""
    place = ((torch.arange(target, dtype=torch.float64) + 0.5) * source / target - 0.5).clamp(min=0)
    low = place.long()
    return low, (low + 1).clamp(max=source - 1), place - low
