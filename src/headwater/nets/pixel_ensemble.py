"""An ensemble of small networks that read the features of one pixel at a time.

Features come as maps (N, C, h, w) at the resolution at which a prior computed them. The feature vector of a
pixel is every map, bilinearly resized (align_corners False), joined on channels: D numbers. It is never
stored for a whole image. Training looks up its minibatches in the maps (`PixelFeatures`), and prediction
moves the resizing behind the first linear layer, which commutes with it:

    W resize(F) + b  =  sum over resolutions of resize(sum over maps of that resolution of W_m F_m) + b

so D channels at H x W become as many as the first hidden layer has.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PixelEnsemble(nn.Module):
    """`members` independent networks, dim -> 128 -> 32 -> classes (256 -> 128 from 30 classes on).

    Each hidden layer is linear, ReLU, then batch norm, as the reference has it. Parameters of all members
    lie side by side, (members, in, out) and (members, out), so that one product serves them all.
    """

    def __init__(self, members: int, dim: int, classes: int) -> None:
        super().__init__()
        self.members, self.dim, self.classes = members, dim, classes
        widths = (dim, *((128, 32) if classes < 30 else (256, 128)), classes)
        pairs = list(pairwise(widths))
        self.weights = nn.ParameterList([torch.zeros(members, *pair) for pair in pairs])
        self.biases = nn.ParameterList([torch.zeros(members, width) for _, width in pairs])
        self.norms = nn.ModuleList([nn.BatchNorm1d(members * width) for width in widths[1:-1]])

    def draw(self, generators: Sequence[torch.Generator]) -> None:
        """Weights from N(0, 0.02), biases 0; member k depends on generators[k] alone."""
        with torch.no_grad():
            for weight in self.weights:
                for row, generator in zip(weight, generators, strict=True):
                    row.normal_(0, 0.02, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Features (members, B, dim), a batch for each member, to logits (members, B, classes)."""
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if layer:
                rows = F.relu(x).transpose(0, 1)
                x = self.norms[layer - 1](rows.flatten(1)).view(rows.shape).transpose(0, 1)
            x = torch.baddbmm(bias[:, None], x, weight)
        return x

    def logits(self, member: int, maps: Sequence[Tensor], size: tuple[int, ...]) -> Tensor:
        """One member on whole images: maps (B, C, h, w) to (B, classes, *size), in evaluation mode.

        Holds the maps and about four hidden layers, B x 128 x H x W, at a time.
        """
        sums: dict[tuple[int, ...], Tensor] = {}
        columns = self.weights[0][member].T.split([m.shape[1] for m in maps], dim=1)
        for m, weight in zip(maps, columns, strict=True):
            value, where = F.conv2d(m, weight[:, :, None, None]), tuple(m.shape[-2:])
            sums[where] = sums[where] + value if where in sums else value
        x = self.biases[0][member][:, None, None]
        for where, value in sums.items():
            if where != size:
                value = F.interpolate(value, size=size, mode="bilinear", align_corners=False)
            x = x + value
        for weight, bias, norm in zip(self.weights[1:], self.biases[1:], self.norms, strict=True):
            scale, shift = self._affine(cast(nn.BatchNorm1d, norm), member)
            # The norm is folded into the next layer: W (s x + h) + b.
            folded = weight[member].T * scale
            x = F.conv2d(F.relu(x), folded[:, :, None, None], bias[member] + shift @ weight[member])
        return x

    def _affine(self, norm: nn.BatchNorm1d, member: int) -> tuple[Tensor, Tensor]:
        def own(v: Tensor | None) -> Tensor:
            return cast(Tensor, v).view(self.members, -1)[member]

        scale = own(norm.weight) / (own(norm.running_var) + norm.eps).sqrt()
        return scale, own(norm.bias) - own(norm.running_mean) * scale


class PixelFeatures:
    """Looks feature vectors of single pixels up in maps, bilinearly, without resizing any map.

    maps: (N, C, h, w) each, in half precision if need be; size: (H, W) of the label maps. Answers are float32
    at least. Memory: the maps themselves where they are channels last, else a copy.
    """

    def __init__(self, maps: Sequence[Tensor], size: tuple[int, ...]) -> None:
        self.size, self.dim = size, sum(m.shape[1] for m in maps)
        self.dtype = torch.promote_types(maps[0].dtype, torch.float32)
        self.maps = [((m.shape[2], m.shape[3]), m.permute(0, 2, 3, 1).flatten(0, 2)) for m in maps]
        where = (maps[0].device, self.dtype)
        self.axes = {
            (h, w): (_taps(h, size[0], *where), _taps(w, size[1], *where)) for (h, w), _ in self.maps
        }

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
            down, over = down[..., None], over[..., None]
            corners = [rows[(n * h + i) * w + j].to(self.dtype) for i in (top, bottom) for j in (left, right)]
            above, below = (torch.lerp(corners[i], corners[i + 1], over) for i in (0, 2))
            found.append(torch.lerp(above, below, down))
        return torch.cat(found, dim=-1)


def _taps(
    source: int, target: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Per target index: both source indices and the weight of the second, (target,) each."""
    place = ((torch.arange(target, dtype=torch.float64) + 0.5) * source / target - 0.5).clamp(min=0)
    low = place.long()
    return low.to(device), (low + 1).clamp(max=source - 1).to(device), (place - low).to(device, dtype)
