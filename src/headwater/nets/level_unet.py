"""A U-Net that is told how much of the data is left: SR3's, which DDPM-CD and DARL share. DARL's is told the
timestep, a number from 0, in its stead.

Sources: Saharia et al. 2021, arXiv 2104.07636, sec. 2.1 and appendix A; for what the paper leaves open the
unofficial Janspiry/Image-Super-Resolution-via-Iterative-Refinement (Apache-2.0), whose parameter names this
network has, so that its checkpoints load.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.errors import need
from headwater.nets.upsampling import twice

TABLES = re.compile(r"(betas|(log_one_minus_|sqrt_\w*)?alphas_cumprod\w*|posterior_\w+)")
"""Names of what the reference codes' diffusions keep beside this network: tables that their settings say."""


@dataclass(frozen=True)
class LevelArchitecture:
    """What one chooses of the network, in guided-diffusion's vocabulary."""

    model_channels: int = 64
    """Width of the finest level."""
    channel_mult: tuple[int, ...] = (1, 2, 4, 8, 8)
    """Width of each level as a multiple of model_channels, finest first."""
    num_res_blocks: int = 2
    """Residual blocks per level; the decoder has one more."""
    attention_resolutions: tuple[int, ...] = (8,)
    """Downsampling factors with attention: 8 means side / 8. The middle always has it."""
    groups: int = 32
    """Groups of the group norms, of which every width is a multiple."""
    dropout: float = 0.0
    """Probability that a feature is dropped."""


@dataclass(frozen=True)
class LevelUNetConfig(LevelArchitecture):
    """Architecture and channels."""

    in_channels: int = 6
    """Channels of the picture that is seen, if any, and of the noisy one."""
    out_channels: int = 3
    told: Literal["level", "timestep"] = "level"
    """What the network is told: the level sqrt(abar), or the timestep, whose layers have other names and an
    activation before each block's."""

    def __post_init__(self) -> None:
        enough = self.num_res_blocks >= 1 and len(self.channel_mult) >= 1 and self.groups >= 1
        need(enough, "give one level, one residual block a level and one group or more")
        widths = [self.model_channels * m for m in self.channel_mult]
        wrong = next((w for w in widths if w < self.groups or w % self.groups), None)
        need(wrong is None, f"a level is {wrong} channels wide: give a multiple of {self.groups}, the groups")

    @property
    def downsampling(self) -> int:
        """Height and width must be multiples of this."""
        return 2 ** (len(self.channel_mult) - 1)


class LevelUNet(nn.Module):
    """eps = f([picture, x], a): (B, C, H, W), signal levels a = sqrt(abar) or timesteps (B,), features
    (B, C', H, W)."""

    def __init__(self, config: LevelUNetConfig) -> None:
        super().__init__()
        self.config = c = config
        width, factor = c.model_channels, 1
        embedding = nn.Sequential(
            Sinusoids(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )
        if c.told == "level":
            self.noise_level_mlp = embedding
        else:
            self.time_mlp = embedding
        downs: list[nn.Module] = [nn.Conv2d(c.in_channels, width, 3, padding=1)]
        held, last, dim = [width], len(c.channel_mult) - 1, width
        for level, mult in enumerate(c.channel_mult):
            for _ in range(c.num_res_blocks):
                downs.append(Block(c, dim, width * mult, factor in c.attention_resolutions))
                dim = width * mult
                held.append(dim)
            if level != last:
                downs.append(Down(dim))
                held.append(dim)
                factor *= 2
        ups: list[nn.Module] = []
        self.mid = nn.ModuleList([Block(c, dim, dim, True), Block(c, dim, dim, False)])
        for level in reversed(range(len(c.channel_mult))):
            out = width * c.channel_mult[level]
            for _ in range(c.num_res_blocks + 1):
                ups.append(Block(c, dim + held.pop(), out, factor in c.attention_resolutions))
                dim = out
            if level:
                ups.append(Up(dim))
                factor //= 2
        self.downs, self.ups = nn.ModuleList(downs), nn.ModuleList(ups)
        self.final_conv = Normed(c.groups, dim, c.out_channels)

    def blocks(self) -> dict[str, nn.Module]:
        """The module that ends each block, in the order of computation, named and counted as in guided
        diffusion: attention belongs to its block, and making larger to the last block of a level."""
        decoder: list[nn.Module] = []
        for part in self.ups:
            decoder[len(decoder) - isinstance(part, Up) :] = [part]
        found: dict[str, nn.Module] = {f"input_blocks.{i}": part for i, part in enumerate(self.downs)}
        found["middle_block"] = self.mid[-1]
        return found | {f"output_blocks.{i}": part for i, part in enumerate(decoder)}

    def encode(self, image: Tensor) -> Tensor:
        """What `forward` takes as `features`: the picture itself, whose channels come first."""
        return image

    def forward(self, x: Tensor, level: Tensor, features: Tensor | None = None) -> Tensor:
        """One evaluation; H and W are multiples of `config.downsampling`."""
        *_, (_, last) = self.stages(x, level, features)
        return self.final_conv(last)

    def stages(
        self, x: Tensor, level: Tensor, features: Tensor | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """The same block by block: yields (name, output), `downs.0` ... `mid.1` ... `ups.N`."""
        fold = self.config.downsampling
        need(
            x.shape[-2] % fold == 0 and x.shape[-1] % fold == 0,
            f"pictures are {x.shape[-2]} x {x.shape[-1]}: resize them to multiples of {fold} pixels a side",
        )
        embedding = self.noise_level_mlp if self.config.told == "level" else self.time_mlp
        told = embedding(level.to(x.dtype))
        h = x if features is None else torch.cat([features.to(x.dtype), x], dim=1)
        held: list[Tensor] = []
        for i, part in enumerate(self.downs):
            h = part(h, told) if isinstance(part, Block) else part(h)
            held.append(h)
            yield f"downs.{i}", h
        for i, part in enumerate(self.mid):
            h = part(h, told)
            yield f"mid.{i}", h
        for i, part in enumerate(self.ups):
            h = part(torch.cat([h, held.pop()], 1), told) if isinstance(part, Block) else part(h)
            yield f"ups.{i}", h


class Sinusoids(nn.Module):
    """[sin(a f_k), cos(a f_k)], f_k = 10^(-4 k / half): (B,) -> (B, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, level: Tensor) -> Tensor:
        half = self.dim // 2
        places = torch.arange(half, dtype=level.dtype, device=level.device) / half
        angles = level[:, None] * torch.exp(-math.log(1e4) * places)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Normed(nn.Module):
    """Group norm, SiLU, dropout, 3 x 3 convolution."""

    def __init__(self, groups: int, channels: int, out: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Conv2d(channels, out, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class Told(nn.Module):
    """Adds what the level says to every pixel."""

    def __init__(self, told: int, channels: int) -> None:
        super().__init__()
        self.noise_func = nn.Sequential(nn.Linear(told, channels))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        return x + self.noise_func(told)[:, :, None, None]


class Residual(nn.Module):
    """Two convolutions beside a direct way, the level told between them."""

    def __init__(self, config: LevelUNetConfig, channels: int, out: int) -> None:
        super().__init__()
        if config.told == "level":
            self.noise_func = Told(config.model_channels, out)
        else:
            self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(config.model_channels, out))
        self.config = config
        self.block1 = Normed(config.groups, channels, out)
        self.block2 = Normed(config.groups, out, out, config.dropout)
        self.res_conv = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        h = self.block1(x)
        h = self.noise_func(h, told) if self.config.told == "level" else h + self.mlp(told)[:, :, None, None]
        return self.res_conv(x) + self.block2(h)


class Attention(nn.Module):
    """One head over all pixels, scaled by the square root of the channels, beside a direct way."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.flatten(2).mT[:, None] for part in self.qkv(self.norm(x)).chunk(3, dim=1))
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0].mT
        return x + self.out(mixed.reshape(x.shape))


class Block(nn.Module):
    """A residual block, then attention at some levels."""

    def __init__(self, config: LevelUNetConfig, channels: int, out: int, attends: bool) -> None:
        super().__init__()
        self.res_block = Residual(config, channels, out)
        self.attn = Attention(out, config.groups) if attends else nn.Identity()

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        return self.attn(self.res_block(x, told))


class Down(nn.Module):
    """Half the size, by a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Up(nn.Module):
    """Twice the size, by nearest neighbours and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(twice(x))


def seen_names(name: str) -> str:
    """A name in DDPM-CD's reference code, whose first convolution stands apart, as SR3's has it."""
    if name.startswith("init_conv."):
        return f"downs.0.{name.removeprefix('init_conv.')}"
    head, _, rest = name.removeprefix("downs.").partition(".")
    return f"downs.{int(head) + 1}.{rest}" if name.startswith("downs.") else name


def infer_level_unet(shapes: Mapping[str, Sequence[int]], groups: int = 32) -> LevelUNetConfig:
    """The sizes behind a checkpoint's names and shapes, which do not tell the groups of the norms.

    Raises ValueError where these are not such a network's.
    """
    embedded = {"noise_level_mlp.1.weight": "level", "time_mlp.1.weight": "timestep"}
    told = next((kind for name, kind in embedded.items() if name in shapes), None)
    if told is None or not {"downs.0.weight", "final_conv.block.3.weight"} <= shapes.keys():
        raise ValueError("these are not the names of a network that is told a noise level")
    width, reads = int(shapes["downs.0.weight"][0]), int(shapes["downs.0.weight"][1])
    widths: list[list[int]] = [[]]
    attends, i = set[int](), 1
    while True:
        block = f"downs.{i}.res_block.block1.block.3.weight"
        if f"downs.{i}.conv.weight" in shapes:
            widths.append([])
        elif block in shapes:
            widths[-1].append(int(shapes[block][0]))
            if f"downs.{i}.attn.qkv.weight" in shapes:
                attends.add(2 ** (len(widths) - 1))
        else:
            break
        i += 1
    if not all(widths):
        raise ValueError("a level of this network has no block")
    return LevelUNetConfig(
        model_channels=width,
        channel_mult=tuple(level[0] // width for level in widths),
        num_res_blocks=len(widths[0]),
        attention_resolutions=tuple(sorted(attends)),
        groups=groups,
        in_channels=reads,
        out_channels=int(shapes["final_conv.block.3.weight"][0]),
        told=told,  # pyright: ignore[reportArgumentType]
    )
