"""NCSN++ and DDPM++, parameter for parameter: the score networks of Song et al. and of Score-MRI.

Source: Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole, "Score-Based Generative Modeling through
Stochastic Differential Equations", ICLR 2021, arXiv 2011.13456, appendix H; the reference implementation
is yang-song/score_sde_pytorch (Apache-2.0), of which HJ-harry/score-MRI carries a copy. Module names and
their numbers follow it, so its state dicts load with `strict=True`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.nets.ncsnpp_blocks import Attention, Downsample, FourierFeatures, ResBlock, dense, group_norm


@dataclass(frozen=True)
class NCSNppConfig:
    """Architecture; the defaults are Score-MRI's (61.4 M parameters). `DDPMPP` is the other common one."""

    image_size: int = 320
    channels: int = 1
    """Of the picture, in and out."""
    nf: int = 128
    """Width at full resolution."""
    ch_mult: tuple[int, ...] = (1, 2, 2, 2)
    num_res_blocks: int = 4
    attn_resolutions: tuple[int, ...] = (16,)
    """Sides, in pixels, at which attention follows the blocks."""
    dropout: float = 0.0
    fir: bool = True
    """Resample by the filter 1 3 3 1 instead of by repeating and averaging pixels."""
    progressive_input: Literal["none", "residual"] = "residual"
    """Whether shrunk copies of the picture enter every level."""
    embedding: Literal["fourier", "positional"] = "fourier"
    """How the label is told: random Fourier features of log sigma, or sines of the step t."""
    fourier_scale: float = 16.0
    scale_by_sigma: bool = True
    """Divide the answer by the label, sigma: the network then answers the score itself."""
    centred: bool = False
    """Whether pictures come in [-1, 1]; otherwise in [0, 1], and 2 x - 1 is taken first."""
    num_scales: int = 2000
    """Length of the table `sigmas`, which checkpoints carry and no prediction uses."""

    def __post_init__(self) -> None:
        halvings = len(self.ch_mult) - 1
        if min(self.ch_mult, default=0) < 1 or self.nf < 4 or self.nf % 2 or self.num_res_blocks < 1:
            raise ValueError("NCSN++ needs an even width nf >= 4, multipliers >= 1 and blocks >= 1")
        if self.image_size % 2**halvings:
            raise ValueError(f"image_size {self.image_size} cannot be halved {halvings} times")
        if self.scale_by_sigma and self.embedding == "positional":
            raise ValueError("a network told steps does not know sigma: set scale_by_sigma to False")


DDPMPP = NCSNppConfig(
    image_size=32,
    channels=3,
    num_res_blocks=8,
    dropout=0.1,
    fir=False,
    progressive_input="none",
    embedding="positional",
    scale_by_sigma=False,
    centred=True,
    num_scales=1000,
)
"""DDPM++ cont. (deep) for CIFAR-10: answers noise times -1 scaled by the VP-SDE, told 999 t."""


class NCSNpp(nn.Module):
    """Score (or noise) network: (B, C, H, W), label (B,) -> (B, C, H, W).

    The label is sigma for the Fourier embedding and the step for the positional one. H and W are multiples
    of 2^(levels - 1); attention stays where `image_size` put it.
    """

    sigmas: Tensor

    def __init__(self, config: NCSNppConfig) -> None:
        super().__init__()
        self.config = c = config
        sigmas = torch.logspace(math.log10(0.01), math.log10(378), c.num_scales, dtype=torch.float64)
        self.register_buffer("sigmas", sigmas)
        self.all_modules = nn.ModuleList(_layers(c))

    def blocks(self) -> dict[str, nn.Module]:
        """The module that ends each block of the middle and the decoder, deepest first, named and counted as
        in guided diffusion: attention and resampling belong to the last block of their level."""
        layers, found = list(self.all_modules)[:-2], list[nn.Module]()  # the last two make the answer
        for level in range(len(self.config.ch_mult)):
            blocks = self.config.num_res_blocks + 1
            first = len(layers) - blocks - self._attends(level) - (level > 0)
            found = [*layers[first : first + blocks - 1], layers[-1], *found]
            del layers[first:]
        return {"middle_block": layers[-1]} | {f"output_blocks.{i}": m for i, m in enumerate(found)}

    def _attends(self, level: int) -> bool:
        return self.config.image_size // 2**level in self.config.attn_resolutions

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Raises ValueError for a picture of the wrong channels or a side that cannot be halved enough."""
        c = self.config
        levels = range(len(c.ch_mult))
        if x.ndim != 4 or x.shape[1] != c.channels or any(side % 2 ** levels[-1] for side in x.shape[2:]):
            raise ValueError(f"NCSN++ takes (B, {c.channels}, H, W), H and W multiples of {2 ** levels[-1]}")
        layer = iter(self.all_modules)
        time = self._time(layer, x, label)
        shrunk = x if c.centred else 2 * x - 1
        skips = [next(layer)(shrunk)]
        for level in levels:
            for _ in range(c.num_res_blocks):
                h = next(layer)(skips[-1], time)
                skips.append(next(layer)(h) if self._attends(level) else h)
            if level < levels[-1]:
                h = next(layer)(skips[-1], time)
                if c.progressive_input == "residual":
                    h = shrunk = (next(layer)(shrunk) + h) / math.sqrt(2)
                skips.append(h)
        h = next(layer)(skips[-1], time)
        h = next(layer)(h)
        h = next(layer)(h, time)
        for level in reversed(levels):
            for _ in range(c.num_res_blocks + 1):
                h = next(layer)(torch.cat([h, skips.pop()], 1), time)
            h = next(layer)(h) if self._attends(level) else h
            h = next(layer)(h, time) if level else h
        h = F.silu(next(layer)(h))
        h = next(layer)(h)
        return h / label.reshape(-1, 1, 1, 1).to(h) if c.scale_by_sigma else h

    def _time(self, layer: Iterator[nn.Module], x: Tensor, label: Tensor) -> Tensor:
        if self.config.embedding == "fourier":
            told = next(layer)(label.to(x.dtype).log())
        else:
            told = _sines(label.to(x.dtype), self.config.nf)
        told = next(layer)(told)
        return next(layer)(F.silu(told))


def _layers(c: NCSNppConfig) -> Iterator[nn.Module]:
    """All layers in the order of the reference's numbers."""
    emb = 4 * c.nf
    widths = [c.nf * m for m in c.ch_mult]
    attends = [c.image_size // 2**i in c.attn_resolutions for i in range(len(widths))]

    def block(into: int, out: int, resample: Literal["no", "up", "down"] = "no") -> ResBlock:
        return ResBlock(into, out, emb, c.dropout, c.fir, resample)

    if c.embedding == "fourier":
        yield FourierFeatures(c.nf, c.fourier_scale)
    yield dense(2 * c.nf if c.embedding == "fourier" else c.nf, emb)
    yield dense(emb, emb)
    yield _conv3(c.channels, c.nf)
    skips, now, picture = [c.nf], c.nf, c.channels
    for level, width in enumerate(widths):
        for _ in range(c.num_res_blocks):
            yield block(now, width)
            now = width
            if attends[level]:
                yield Attention(now)
            skips.append(now)
        if level < len(widths) - 1:
            yield block(now, now, "down")
            if c.progressive_input == "residual":
                yield Downsample(picture, now, c.fir)
                picture = now
            skips.append(now)
    yield block(now, now)
    yield Attention(now)
    yield block(now, now)
    for level, width in reversed(list(enumerate(widths))):
        for _ in range(c.num_res_blocks + 1):
            yield block(now + skips.pop(), width)
            now = width
        if attends[level]:
            yield Attention(now)
        if level:
            yield block(now, now, "up")
    yield group_norm(now)
    yield _conv3(now, c.channels, zero=True)


def _conv3(into: int, out: int, zero: bool = False) -> nn.Conv2d:
    conv = nn.Conv2d(into, out, 3, padding=1)
    (nn.init.zeros_ if zero else nn.init.xavier_uniform_)(conv.weight)
    nn.init.zeros_(conv.bias)  # pyright: ignore[reportArgumentType]
    return conv


def _sines(steps: Tensor, width: int) -> Tensor:
    """Sines and cosines of (B,) steps at `width` / 2 frequencies, from 1 to 1e-4: (B, width)."""
    half = width // 2
    rates = torch.exp(
        torch.arange(half, dtype=steps.dtype, device=steps.device) * (-math.log(1e4) / (half - 1))
    )
    angle = steps[:, None] * rates
    return torch.cat([angle.sin(), angle.cos()], 1)
