"""Dropout whose mask depends on the sample alone, so that processes and resume cannot change it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headwater.noise import derive


class SampleDropout(nn.Module):
    """Zero features with probability p and scale the rest by 1 / (1 - p), per sample key.

    The mask of feature n of a sample is a hash of (key, layer, n): murmur3's 64-bit finaliser.
    `keys` (B,) int64 is shared by all layers and must be set before each forward pass.
    """

    def __init__(self, p: float, layer: int, keys: Keys) -> None:
        super().__init__()
        self.p = p
        self.salt = derive(layer)
        self.shared = keys

    def forward(self, x: Tensor) -> Tensor:
        """x (B, ...) -> (B, ...); the identity outside training."""
        keys = self.shared.value
        if not self.training or keys is None:
            return x
        place = torch.arange(x[0].numel(), device=x.device) * 0x1D8E4E27C47D124F
        bits = keys[:, None] + self.salt + place
        for multiplier in (-0xAE502812AA7333, -0x3B314601E57A13AD):
            bits = (bits ^ ((bits >> 33) & 0x7FFFFFFF)) * multiplier
        bits = bits ^ ((bits >> 33) & 0x7FFFFFFF)
        keep = (bits & 0xFFFFFF) >= int(self.p * 2**24)
        return x * keep.view(x.shape) / (1 - self.p)


class Keys:
    """The keys of the batch under way, (B,) int64; None outside training."""

    value: Tensor | None = None


def install(network: nn.Module) -> Keys:
    """Replace every active nn.Dropout of a network; returns where the keys go."""
    keys = Keys()
    layer = 0
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Dropout) and child.p > 0:
                setattr(module, name, SampleDropout(child.p, layer, keys))
                layer += 1
    return keys
