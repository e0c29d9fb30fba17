"""The head that compares what a prior sees in two pictures, level by level of its decoder.

Sources: Bandara et al., arXiv 2206.11892, sec. 3, and wgcban/ddpm-cd (MIT), whose parameter names this has.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.errors import need
from headwater.models.config import MOST_CHANNELS, MOST_LEVELS

Maps = Sequence[Tensor]
"""Features at one noise level: a map (B, C, h, w) of each decoder block, deepest first."""
HIDDEN, CLASSES = 64, 2


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of the head."""

    widths: tuple[int, ...]
    """Channels of the decoder blocks that are read, deepest first."""
    levels: int
    """Number of noise levels at which they are read."""
    reference: bool = False
    """Leave the finest block out of the answer, as the reference code does."""

    def __post_init__(self) -> None:
        sane = 1 <= len(self.widths) <= MOST_LEVELS and all(2 <= w <= MOST_CHANNELS for w in self.widths)
        need(
            sane, f"widths are {self.widths}: give 1 to {MOST_LEVELS} blocks of 2 to {MOST_CHANNELS} channels"
        )
        need(1 <= self.levels <= MOST_CHANNELS, f"there are {self.levels} noise levels: give 1 or more")


class ChangeHead(nn.Module):
    """Logits of change (B, 2, H, W) from features of two dates.

    Features of all noise levels are mixed by a convolution of size 1, which is a sum over levels: so each is
    added (`add`) when it is read, and only the sums are held. Differences of the two dates go from the
    deepest block to the finest, larger from one to the next.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        parts: list[nn.Module] = []
        for width, finer in itertools.zip_longest(config.widths, config.widths[1:]):
            parts.append(Mixed(width, config.levels))
            if finer is not None:
                parts.append(Between(width, finer))
        self.decoder = nn.ModuleList(parts)
        self.clfr_stg1 = nn.Conv2d(config.widths[-1], HIDDEN, 3, padding=1)
        self.clfr_stg2 = nn.Conv2d(HIDDEN, CLASSES, 3, padding=1)

    def gather(self, read: Iterable[Maps]) -> list[Tensor]:
        """What is compared of one date, a map of each block, from its features at one level after another."""
        mixed, sums = [part for part in self.decoder if isinstance(part, Mixed)], list[Tensor]()
        for level, maps in enumerate(read):
            for i, (part, features) in enumerate(zip(mixed, maps, strict=True)):
                share = part.share(features, level)
                if level == 0:
                    sums.append(share)
                else:
                    sums[i].add_(share)
        return [part.finish(sums.pop(0)) for part in mixed]

    def compare(self, before: Maps, after: Maps) -> Tensor:
        """Logits at the size of the finest block, from what was gathered of both dates."""
        between, x = list(self.decoder[1::2]), torch.zeros(())
        for level, (a, b) in enumerate(zip(before, after, strict=True)):
            differs = (a - b).abs() + x
            if level < len(between):
                finer = before[level + 1].shape[-2:]
                x = F.interpolate(between[level](differs), finer, mode="bilinear", align_corners=False)
            elif not (self.config.reference and between):
                x = differs
        return self.clfr_stg2(F.relu(self.clfr_stg1(x)))

    def forward(self, before: Iterable[Maps], after: Iterable[Maps]) -> Tensor:
        """Features of both dates, level by level, to logits."""
        return self.compare(self.gather(before), self.gather(after))


class Mixed(nn.Module):
    """One block's features of all levels: a convolution of size 1 where there are several, then one of 3."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        mix = (
            [nn.Conv2d(levels * width, width, 1), nn.ReLU()] if levels > 1 else [nn.Identity(), nn.Identity()]
        )
        self.block = nn.Sequential(*mix, nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.width = width

    def share(self, features: Tensor, level: int) -> Tensor:
        """What the features of one level add to the sum."""
        mix = self.block[0]
        if not isinstance(mix, nn.Conv2d):
            return features
        columns = mix.weight[:, level * self.width : (level + 1) * self.width]
        return F.conv2d(features, columns, mix.bias if level == 0 else None)

    def finish(self, total: Tensor) -> Tensor:
        """What is compared, from the sum over all levels."""
        return self.block[1:](total)  # pyright: ignore[reportCallIssue]


class Between(nn.Module):
    """From the differences of one block to the channels of the next finer one."""

    def __init__(self, width: int, finer: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(width, finer, 3, padding=1), nn.ReLU(), SqueezeExcite(finer))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class SqueezeExcite(nn.Module):
    """Each channel weighed by what the mean of all says, plus each pixel by what its channels say
    (Roy et al. 2018, arXiv 1803.02579)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cSE, self.sSE = ChannelGate(channels), PixelGate(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.cSE(x) + self.sSE(x)


class ChannelGate(nn.Module):
    """Channels weighed, by two linear layers on their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, channels // 2), nn.Linear(channels // 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.fc2(F.relu(self.fc1(x.mean((2, 3))))).sigmoid()
        return x * weights[:, :, None, None]


class PixelGate(nn.Module):
    """Pixels weighed, by a convolution of size 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(x).sigmoid()


def infer_head(shapes: Mapping[str, Sequence[int]]) -> HeadConfig:
    """The sizes behind the names and shapes of the reference code, in whose answer the finest block is dead.

    Raises KeyError where these are not a head's.
    """
    count = 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("decoder."))
    widths = [int(shapes[f"decoder.{i}.block.2.weight"][0]) for i in range(0, count, 2)]
    mix = shapes.get("decoder.0.block.0.weight", (0, widths[0]))
    return HeadConfig(tuple(widths), int(mix[1]) // widths[0], reference=True)
