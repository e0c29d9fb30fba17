"""A generator whose norms are switched: told a map they lay it out, told none they are plain instance norms.

Sources: Kim, Oh and Ye 2023, arXiv 2209.14566, sec. 3.2 and appendix A; Park et al. 2019, "Semantic Image
Synthesis with Spatially-Adaptive Normalization", sec. 3 and appendix A, for the layers; Miyato et al. 2018
for the spectral norm. Written from the papers; parameter names are those of bispl-kaist/DARL's checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.errors import need
from headwater.nets.spade import ReadsMap
from headwater.nets.upsampling import twice


@dataclass(frozen=True)
class SpadeArchitecture:
    """What one chooses of the network."""

    width: int = 64
    """Number of channels at full size; a half and a quarter of the size have two and four times as many."""
    hidden: int = 128
    """Number of channels of the layer that reads a map in each norm."""

    def __post_init__(self) -> None:
        enough = self.width >= 1 and self.hidden >= 1
        need(enough, f"width and hidden are {self.width} and {self.hidden}: give 1 or more of both")


class SwitchableSpade(ReadsMap):
    """norm(x) (1 + gamma(map)) + beta(map), or without a map w norm(x) + b, one of each a channel."""

    def __init__(self, channels: int, classes: int, hidden: int) -> None:
        super().__init__(channels, classes, hidden)
        self.param_norm = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor, chart: Tensor | None) -> Tensor:
        if chart is None:
            return self.param_norm(x)
        height, width = x.shape[-2:]
        gamma, beta = self.read(chart, (height, width)).chunk(2, dim=1)
        return F.instance_norm(x) * (1 + gamma) + beta


class SpectralConv2d(nn.Module):
    """A convolution whose weights, as a matrix, have a largest singular value of about 1.

    Each pass in training takes one step of the power iteration that finds that value.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, channels: int, out: int, kernel: int, bias: bool = True) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, out, kernel, bias=bias)
        self.padding = kernel // 2
        self.weight_orig, self.bias = conv.weight, conv.bias
        self.register_buffer("weight_u", F.normalize(torch.randn(out), dim=0))
        self.register_buffer("weight_v", F.normalize(torch.randn(channels * kernel**2), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        matrix = self.weight_orig.flatten(1)
        if self.training:
            with torch.no_grad():
                self.weight_v.copy_(F.normalize(matrix.mT @ self.weight_u, dim=0, eps=1e-12))
                self.weight_u.copy_(F.normalize(matrix @ self.weight_v, dim=0, eps=1e-12))
        # The vectors move again before this pass is differentiated, so that it keeps its own.
        u, v = self.weight_u.clone(), self.weight_v.clone()
        return F.conv2d(x, self.weight_orig / (u @ matrix @ v), self.bias, padding=self.padding)


class SpadeBlock(nn.Module):
    """Two convolutions, each after a switched norm, beside a direct way, convolved where widths differ."""

    def __init__(self, channels: int, out: int, classes: int, hidden: int) -> None:
        super().__init__()
        middle = min(channels, out)
        self.conv_0 = SpectralConv2d(channels, middle, 3)
        self.conv_1 = SpectralConv2d(middle, out, 3)
        self.norm_0 = SwitchableSpade(channels, classes, hidden)
        self.norm_1 = SwitchableSpade(middle, classes, hidden)
        self.widens = channels != out
        if self.widens:
            self.conv_s = SpectralConv2d(channels, out, 1, bias=False)
            self.norm_s = SwitchableSpade(channels, classes, hidden)

    def forward(self, x: Tensor, chart: Tensor | None) -> Tensor:
        beside = self.conv_s(self.norm_s(x, chart)) if self.widens else x
        h = self.conv_0(F.leaky_relu(self.norm_0(x, chart), 0.2))
        return beside + self.conv_1(F.leaky_relu(self.norm_1(h, chart), 0.2))


class SpadeGenerator(nn.Module):
    """(B, C, H, W) and a map (B, classes, H, W), or none, -> (B, out, H, W) in [-1, 1]."""

    FOLD = 4
    """Height and width are multiples of this."""

    def __init__(
        self, architecture: SpadeArchitecture, channels: int = 2, out: int = 1, classes: int = 2
    ) -> None:
        super().__init__()
        width, hidden = architecture.width, architecture.hidden

        def plain(reads: int, gives: int, kernel: int, stride: int) -> list[nn.Module]:
            padding = 0 if kernel == 7 else 1
            conv = nn.Conv2d(reads, gives, kernel, stride, padding)
            return [conv, nn.InstanceNorm2d(gives), nn.ReLU()]

        self.model = nn.Sequential(
            nn.ReflectionPad2d(3),
            *plain(channels, width, 7, 1),
            *plain(width, 2 * width, 3, 2),
            *plain(2 * width, 4 * width, 3, 2),
        )
        self.G_middle_0 = SpadeBlock(4 * width, 4 * width, classes, hidden)
        self.G_middle_1 = SpadeBlock(4 * width, 4 * width, classes, hidden)
        self.up_0 = SpadeBlock(4 * width, 2 * width, classes, hidden)
        self.up_1 = SpadeBlock(2 * width, width, classes, hidden)
        self.conv_img = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(width, out, 7))

    def forward(self, x: Tensor, chart: Tensor | None = None) -> Tensor:
        """H and W are multiples of `FOLD`."""
        h = self.G_middle_1(self.G_middle_0(self.model(x), chart), chart)
        h = self.up_1(twice(self.up_0(twice(h), chart)), chart)
        return self.conv_img(F.leaky_relu(h, 0.2)).tanh()


def infer_spade(shapes: Mapping[str, Sequence[int]]) -> SpadeArchitecture:
    """The sizes behind a generator's names and shapes. Raises KeyError where these are not its own."""
    hidden = shapes["up_1.norm_0.mlp_shared.0.weight"][0]
    return SpadeArchitecture(int(shapes["model.1.weight"][0]), int(hidden))
