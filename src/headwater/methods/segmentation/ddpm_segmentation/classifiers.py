"""Pixel classifiers: an ensemble of small networks that read the features of one pixel at a time.

Features come as maps (N, C, h, w) at the resolution at which the prior computed them. The feature vector
of a pixel is every map, bilinearly resized (align_corners False), joined on channels: D numbers. It is
never stored for a whole image. Training looks up its minibatches in the maps (`PixelFeatures`), and
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

from headwater.errors import need
from headwater.methods.base import Labels, Map, Scores
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained


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


@dataclass(frozen=True)
class Segmentation:
    """What `DDPMSegmentation.apply` returns."""

    labels: Labels
    """Majority vote of the classifiers, the smallest label on ties."""
    uncertainty: Map
    """Jensen-Shannon divergence of the classifiers, H(mean_k p_k) - mean_k H(p_k), in nats."""
    score: Scores
    """Uncertainty of the image: mean over its most uncertain tenth."""


@torch.inference_mode()
def predict(ensemble: PixelEnsemble, maps: Sequence[Tensor], size: tuple[int, int]) -> Segmentation:
    """Majority vote and disagreement of the members on whole images. maps: (B, C, h, w) each."""
    votes = mean = entropy = torch.zeros(())
    for k in range(ensemble.members):
        logits = ensemble.logits(k, maps, size)
        votes = votes + F.one_hot(logits.argmax(1), ensemble.classes)
        p = logits.softmax(1)
        mean, entropy = mean + p / ensemble.members, entropy + _entropy(p) / ensemble.members
    uncertainty = (_entropy(mean) - entropy).clamp(min=0)
    pixels = uncertainty.flatten(1)
    score = pixels.topk(max(1, pixels.shape[1] // 10), dim=1).values.mean(1)
    return Segmentation(votes.argmax(-1), uncertainty, score)


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(1, keepdim=True)


@dataclass(frozen=True)
class PixelClassifiersConfig:
    """Sizes of the ensemble and the features that it reads."""

    members: int
    dim: int
    """Numbers that describe one pixel."""
    classes: int
    shape: tuple[int, int, int]
    """(C, H, W) of the images."""
    steps: tuple[int, ...]
    """As in `DDPMSegmentation`, and so are `blocks`, which ascend."""
    blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        sizes = (self.members, self.dim, self.classes, *self.shape)
        need(min(sizes) >= 1, "members, dim, classes and the sides of images are 1 or more")


@dataclass(frozen=True, eq=False)
class PixelClassifiers(Pretrained):
    """What `DDPMSegmentation.fit` returns: an ensemble, and the noise that its features are read with."""

    network: PixelEnsemble
    config: PixelClassifiersConfig
    noise: Tensor
    """(1, C, H, W), the one field that every image, training or new, is noised with."""

    kind = "ddpm-segmentation"
    tags = ("image-segmentation",)

    @classmethod
    def networks(cls, config: PixelClassifiersConfig) -> Parts:
        ensemble = PixelEnsemble(config.members, config.dim, config.classes)
        return {"network": ensemble, "noise": torch.zeros(1, *config.shape)}

    @classmethod
    def of(
        cls, ensemble: PixelEnsemble, noise: Tensor, steps: tuple[int, ...], blocks: tuple[int, ...]
    ) -> PixelClassifiers:
        """Those of an ensemble, whose sizes it takes."""
        _, C, H, W = noise.shape
        sizes = ensemble.members, ensemble.dim, ensemble.classes
        return cls(ensemble, PixelClassifiersConfig(*sizes, (C, H, W), steps, blocks), noise)
