"""The ADM U-Net over quantised pictures: numbers in, a logit per grey value out (Austin et al. 2021, B.2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.nets.adm import UNet


class PixelLogits(nn.Module):
    """K logits per pixel and channel: the network's own plus 1 at the value that the pixel has.

    unet answers channels * K channels. (B, C, H, W) int64, (B,) -> (B, C, H, W, K).
    """

    def __init__(self, unet: UNet, K: int) -> None:
        super().__init__()
        self.unet, self.K = unet, K

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        out = self.unet(centred(x, self.K), label)
        logits = out.unflatten(1, (x.shape[1], self.K)).movedim(2, -1)
        return logits + F.one_hot(x, self.K).to(logits)


class PixelLogistic(nn.Module):
    """The masses of a truncated logistic law on K bins; only its place and width are predicted.

    unet answers 2 * channels channels: location, then log scale. Shapes as `PixelLogits`.
    """

    def __init__(self, unet: UNet, K: int) -> None:
        super().__init__()
        self.unet, self.K = unet, K

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        scaled = centred(x, self.K)
        loc, log_scale = self.unet(scaled, label).chunk(2, dim=1)
        return logistic_logits((loc + scaled).tanh(), log_scale, self.K)


def centred(x: Tensor, K: int) -> Tensor:
    """Values 0 .. K-1 spread over [-1, 1], float32."""
    return x.float() * (2 / (K - 1)) - 1


def quantised(image: Tensor, K: int) -> Tensor:
    """Images in [-1, 1] as the nearest of K even values, int64 of the same shape; `centred` undoes it."""
    return ((image.clamp(-1, 1) + 1) * (K - 1) / 2).round().long()


def logistic_logits(loc: Tensor, log_scale: Tensor, K: int) -> Tensor:
    """ln of the mass of each bin under a logistic law, not normalised: (...) -> (..., K).

    Bins are 2 / (K - 1) wide and centred on K even values of [-1, 1]; the scale is exp(log_scale - 2). What
    lies outside the bins is cut off by the softmax that follows. As in the authors' code, each bin has at
    least 1e-6 of all that lies left of its right edge.
    """
    inverse = (2 - log_scale).exp().unsqueeze(-1)
    centres = torch.linspace(-1, 1, K, dtype=loc.dtype, device=loc.device) - loc.unsqueeze(-1)
    half = 1 / (K - 1)
    right, left = (inverse * (centres + edge) for edge in (half, -half))
    # sigma(r) - sigma(l) = sigma(r) (1 - exp(l - r)) sigma(-l): exact in both tails.
    log_mass = F.logsigmoid(right) + F.logsigmoid(-left) + (-torch.expm1(left - right)).log()
    return torch.logaddexp(log_mass, F.logsigmoid(right) + math.log(1e-6))
