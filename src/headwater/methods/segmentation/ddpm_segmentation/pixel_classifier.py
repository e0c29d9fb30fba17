"""Pixel classifiers: an ensemble of small networks that read the features of one pixel at a time.

Features come as maps (N, C, h, w) at the resolution at which the prior computed them. The feature vector
of a pixel is every map, bilinearly resized (align_corners False), joined on channels: D numbers. It is
never stored for a whole picture. Training looks up its minibatches in the maps (`pixel_features`), and
prediction moves the resizing behind the first linear layer, which commutes with it:

    W resize(F) + b  =  sum over resolutions of resize(sum over maps of that resolution of W_m F_m) + b

so D channels at H x W become as many as the first hidden layer has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.methods.base import Labels, Map, Scores


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

    def logits(self, member: int, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """One member on whole pictures: maps (B, C, h, w) to (B, classes, *size), in evaluation mode.

        Holds the maps and about four hidden layers, B x 128 x H x W, at a time.
        """
        parts: dict[tuple[int, ...], Tensor] = {}
        columns = self.weights[0][member].T.split([m.shape[1] for m in maps], dim=1)
        for part, weight in zip(maps, columns, strict=True):
            value = F.conv2d(part, weight[:, :, None, None])
            where = tuple(part.shape[-2:])
            parts[where] = parts[where] + value if where in parts else value
        x = self.biases[0][member][:, None, None]
        for part in parts.values():
            x = x + _resize(part, size)
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


@dataclass(frozen=True)
class Segmentation:
    """What `DDPMSegmentation.apply` returns."""

    labels: Labels
    """Majority vote of the classifiers."""
    uncertainty: Map
    """Jensen-Shannon divergence of the classifiers, in nats; 0 where all agree."""
    score: Scores
    """Uncertainty of the picture: mean over its most uncertain tenth."""


@torch.inference_mode()
def predict(ensemble: PixelEnsemble, maps: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Majority vote and disagreement of the members on whole pictures.

    maps: (B, C, h, w) each. Returns labels int64 (B, H, W), the smallest one on ties, and the
    Jensen-Shannon divergence H(mean_k p_k) - mean_k H(p_k) in nats, float32 (B, 1, H, W).
    """
    votes = mean = entropy = torch.zeros(())
    for k in range(ensemble.members):
        logits = ensemble.logits(k, maps, size)
        votes = votes + F.one_hot(logits.argmax(1), ensemble.classes)
        p = logits.softmax(1)
        mean, entropy = mean + p / ensemble.members, entropy + _entropy(p) / ensemble.members
    return votes.argmax(-1), (_entropy(mean) - entropy).clamp(min=0)


def image_uncertainty(uncertainty: Tensor) -> Tensor:
    """Mean over the tenth of the pixels that is most uncertain: (B, 1, H, W) to (B,)."""
    flat = uncertainty.flatten(1)
    return flat.topk(max(1, flat.shape[1] // 10), dim=1).values.mean(1)


def _resize(value: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(value.shape[-2:]) == size:
        return value
    return F.interpolate(value, size=size, mode="bilinear", align_corners=False)


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(1, keepdim=True)
