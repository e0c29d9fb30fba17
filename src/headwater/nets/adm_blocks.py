"""Building blocks of guided diffusion's networks: embedding, residual block, attention, encoder.

Source: Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021,
arXiv 2105.05233, section 3. Parameter names follow openai/guided-diffusion (MIT).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from headwater.errors import UserError
from headwater.nets.upsampling import twice

GROUPS = 32
# Up to this many pixels plain products train a third faster than the fused kernel in bf16 on a CPU.
SHORT = 256
_M = TypeVar("_M", bound=nn.Module)


@dataclass(frozen=True)
class UNetArchitecture:
    """What one chooses of a U-Net, in guided-diffusion's vocabulary; the rest follows from the data."""

    model_channels: int = 32
    """Width of the finest level; a multiple of 32."""
    channel_mult: tuple[float, ...] = (1, 2, 4)
    """Width of each level as a multiple of model_channels, finest first."""
    num_res_blocks: int = 1
    """Residual blocks per level."""
    attention_resolutions: tuple[int, ...] = (4,)
    """Downsampling factors with attention: 4 means side / 4."""
    num_heads: int = 1
    """Attention heads, unless num_head_channels is given."""
    num_head_channels: int = -1
    """Channels per attention head; -1 means that num_heads counts."""
    dropout: float = 0.0
    """Probability that a feature is dropped."""
    use_scale_shift_norm: bool = True
    """Let the timestep scale and shift the normalised features."""
    resblock_updown: bool = False
    """Resample inside residual blocks."""
    conv_resample: bool = True
    """Convolve when resampling."""


@dataclass(frozen=True)
class EncoderConfig:
    """What the U-Net and the classifier share, in guided-diffusion's vocabulary.

    JSON-able: lists become tuples. Raises ValueError when a width is not a multiple of 32 (group
    norm) or cannot be split into the heads asked for.
    """

    in_channels: int
    model_channels: int
    out_channels: int
    num_res_blocks: int
    attention_resolutions: tuple[int, ...]
    """Downsampling FACTORS with attention: 8 means side / 8, not side 8."""
    dropout: float = 0.0
    channel_mult: tuple[float, ...] = (1, 2, 4, 8)
    conv_resample: bool = True
    """Convolve when resampling; without effect when `resblock_updown`."""
    num_heads: int = 1
    num_head_channels: int = -1
    """Channels per head; -1 means that `num_heads` counts."""
    use_scale_shift_norm: bool = False
    resblock_updown: bool = False
    use_new_attention_order: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "attention_resolutions", tuple(self.attention_resolutions))
        object.__setattr__(self, "channel_mult", tuple(self.channel_mult))
        if self.num_res_blocks < 1 or not self.channel_mult:
            raise UserError("choose at least one level and one residual block per level.")
        for width in self.widths:
            if width < GROUPS or width % GROUPS:
                raise UserError(
                    f"choose model_channels and channel_mult so that every level is a multiple of "
                    f"{GROUPS} channels wide; one level is {width}."
                )
        for width in self.attention_widths:
            for heads in self.head_counts(width):
                per_head = self.num_head_channels
                if heads < 1 or width % heads or (per_head != -1 and heads * per_head != width):
                    raise UserError(
                        f"choose num_heads or num_head_channels so that {width} channels split "
                        f"evenly into heads."
                    )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(int(mult * self.model_channels) for mult in self.channel_mult)

    @property
    def attention_widths(self) -> tuple[int, ...]:
        """Widths of the levels with attention, and of the middle, which always has it."""
        levels = enumerate(self.widths)
        return (*(w for i, w in levels if 2**i in self.attention_resolutions), self.widths[-1])

    @property
    def context_channels(self) -> int | None:
        """Channels of the tokens that attention reads beside the pixels; None where there are none."""
        return None

    @property
    def downsampling(self) -> int:
        """Height and width must be multiples of this."""
        return 2 ** (len(self.channel_mult) - 1)

    def heads(self, width: int, num_heads: int) -> int:
        """Number of attention heads at `width` channels."""
        if self.num_head_channels == -1:
            return num_heads
        return width // self.num_head_channels if self.num_head_channels > 0 else 0

    def head_counts(self, width: int) -> tuple[int, ...]:
        """Every head count in use at `width` channels."""
        return (self.heads(width, self.num_heads),)


def timestep_embedding(timesteps: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Sinusoids [cos(t f_k), sin(t f_k)], f_k = max_period^(-k / half): (B,) -> (B, dim), float32.

    An odd `dim` is padded with one zero.
    """
    half = dim // 2
    # float32 from the start: at t = 999 one ulp in f_k already moves the sinusoid by 6e-5.
    steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = timesteps.float()[:, None] * torch.exp(-math.log(max_period) * steps / half)
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=-1), (0, dim % 2))


class GroupNorm32(nn.GroupNorm):
    """Group norm computed in float32 whatever the dtype of its input; keeps that dtype."""

    def __init__(self, channels: int) -> None:
        super().__init__(GROUPS, channels)

    def forward(self, input: Tensor) -> Tensor:
        if input.dtype in (torch.float32, torch.float64):
            return super().forward(input)
        weight, bias = self.weight.float(), self.bias.float()
        normed = F.group_norm(input.float(), self.num_groups, weight, bias, self.eps)
        return normed.to(input.dtype)


class Upsample(nn.Module):
    """Nearest neighbour x 2, then a 3x3 convolution `conv` if asked: (B,C,H,W) -> (B,C,2H,2W)."""

    def __init__(self, channels: int, convolve: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if convolve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(twice(x))


class Downsample(nn.Module):
    """Stride-2 convolution or 2x2 mean: (B,C,H,W) -> (B,C,H/2,W/2)."""

    def __init__(self, channels: int, convolve: bool) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if convolve else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class ResBlock(nn.Module):
    """Residual block modulated by the timestep: (B,in,H,W), (B,E) -> (B,out,H',W').

    `resample` (a parameter-free Upsample or Downsample) acts on both branches.
    """

    def __init__(
        self,
        config: EncoderConfig,
        channels: int,
        out_channels: int,
        resample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.scale_shift = config.use_scale_shift_norm
        embedding = 4 * config.model_channels
        self.in_layers = nn.Sequential(
            GroupNorm32(channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.resample = resample if resample is not None else nn.Identity()
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(embedding, (1 + self.scale_shift) * out_channels)
        )
        self.out_layers = nn.Sequential(
            GroupNorm32(out_channels),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection = (
            nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm, act, conv = self.in_layers
        h = conv(self.resample(act(norm(x))))
        modulation = self.emb_layers(emb)[:, :, None, None]
        norm, act, drop, conv = self.out_layers
        if self.scale_shift:
            scale, shift = modulation.chunk(2, dim=1)
            h = norm(h) * (1 + scale) + shift
        else:
            h = norm(h + modulation)
        return self.skip_connection(self.resample(x)) + conv(drop(act(h)))


class AttentionBlock(nn.Module):
    """Residual self-attention over all pixels: (B,C,H,W) -> (B,C,H,W).

    The 3C channels of `qkv` hold (head, q|k|v, d) in the legacy order and (q|k|v, head, d) in the
    new one. With `context_channels` W, tokens (B,L,W) are further keys and values, before the pixels' own.
    """

    def __init__(
        self, channels: int, heads: int, new_order: bool, context_channels: int | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.order = "(qkv heads d)" if new_order else "(heads qkv d)"
        self.norm = GroupNorm32(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        if context_channels is not None:
            self.encoder_kv = nn.Conv1d(context_channels, 2 * channels, 1)
        self.proj_out = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        # Pixels as rows: a view in channels_last, and a matrix product beats a 1x1 convolution.
        rows = rearrange(self.norm(x), "b c h w -> b (h w) c")
        told = None if context is None else pointwise(self.encoder_kv, context)
        rows = self_attention(pointwise(self.qkv, rows), self.heads, self.order, told)
        rows = pointwise(self.proj_out, rows)
        return x + rearrange(rows, "b (h w) c -> b c h w", h=x.shape[2])


def self_attention(qkv: Tensor, heads: int, order: str, context: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v per head: (B, N, 3C) -> (B, N, C).

    context: (B, L, 2C), further keys and values in the same order without the q.
    """
    q, k, v = rearrange(qkv, f"b n {order} -> qkv b heads n d", qkv=3, heads=heads).unbind(0)
    if context is not None:
        told = rearrange(context, f"b n {order} -> qkv b heads n d", qkv=2, heads=heads)
        k, v = (torch.cat(pair, dim=2) for pair in zip(told, (k, v), strict=True))
    if q.shape[2] > SHORT:
        mixed = F.scaled_dot_product_attention(q, k, v)
    else:
        weights = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1)
        mixed = weights.to(v.dtype) @ v
    return rearrange(mixed, "b heads n d -> b n (heads d)")


def pointwise(conv: nn.Conv1d, rows: Tensor) -> Tensor:
    """A kernel-size-1 convolution applied to the last dimension."""
    return F.linear(rows, conv.weight.squeeze(-1), conv.bias)


class Stage(nn.Sequential):
    """Layers in a row; only residual blocks read the timestep embedding, only attention the context."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, emb: Tensor, context: Tensor | None = None
    ) -> Tensor:
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            else:
                x = layer(x, context) if isinstance(layer, AttentionBlock) else layer(x)
        return x


def attention(config: EncoderConfig, channels: int, num_heads: int) -> AttentionBlock:
    """Attention over `channels`; `num_head_channels` overrules `num_heads`."""
    heads = config.heads(channels, num_heads)
    return AttentionBlock(channels, heads, config.use_new_attention_order, config.context_channels)


def time_mlp(channels: int) -> nn.Sequential:
    """Sinusoids to embedding: (B, channels) -> (B, 4 channels)."""
    return nn.Sequential(nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, 4 * channels))


def encoder(config: EncoderConfig) -> tuple[nn.ModuleList, list[int]]:
    """All input blocks, finest first, and the number of output channels of each."""
    width = config.widths[0]
    blocks = [Stage(nn.Conv2d(config.in_channels, width, 3, padding=1))]
    channels = [width]
    for level, out in enumerate(config.widths):
        for _ in range(config.num_res_blocks):
            block = Stage(ResBlock(config, width, out))
            if 2**level in config.attention_resolutions:
                block.append(attention(config, out, config.num_heads))
            blocks.append(block)
            channels.append(width := out)
        if level + 1 < len(config.widths):
            blocks.append(Stage(downsample(config, width)))
            channels.append(width)
    return nn.ModuleList(blocks), channels


def downsample(config: EncoderConfig, width: int) -> nn.Module:
    if config.resblock_updown:
        return ResBlock(config, width, width, Downsample(width, convolve=False))
    return Downsample(width, config.conv_resample)


Block = Callable[..., nn.Module]
"""`ResBlock`, or what takes its arguments and stands in its place."""


def middle(config: EncoderConfig, block: Block = ResBlock) -> Stage:
    """Residual block, attention, residual block at the coarsest level."""
    width = config.widths[-1]
    return Stage(
        block(config, width, width),
        attention(config, width, config.num_heads),
        block(config, width, width),
    )


def zeroed(module: _M) -> _M:
    """The same module with all parameters zero, so that its residual branch starts as nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def check_input(config: EncoderConfig, x: Tensor, timesteps: Tensor) -> None:
    """ValueError unless x is (B, in_channels, H, W) of a divisible size and timesteps is (B,)."""
    if x.ndim != 4 or x.shape[1] != config.in_channels:
        raise ValueError(f"pass x of shape (B, {config.in_channels}, H, W); it is {tuple(x.shape)}.")
    height, width = x.shape[2:]
    if height % config.downsampling or width % config.downsampling:
        raise ValueError(
            f"resize or pad to a multiple of {config.downsampling} pixels per side, the network's "
            f"total downsampling; x is {height}x{width}."
        )
    if timesteps.shape != x.shape[:1]:
        raise ValueError(
            f"pass one timestep per sample, shape ({x.shape[0]},); timesteps has shape "
            f"{tuple(timesteps.shape)}."
        )
