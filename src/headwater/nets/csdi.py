"""The network of CSDI: attention over time within a feature, then over features within a time.

Source: Tashiro, Song, Song, Ermon, "CSDI: Conditional Score-based Diffusion Models for Probabilistic Time
Series Imputation", 2021, arXiv 2107.03502, section 4.2 and appendix; the reference implementation is
ermongroup/CSDI (MIT). Module names follow it, so the published checkpoint loads with `strict=True`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from headwater.errors import need


@dataclass(frozen=True)
class CSDIConfig:
    """Architecture; the defaults are the paper's. Raises UserError for sizes that cannot be."""

    features: int
    """Columns K of the series."""
    layers: int = 4
    channels: int = 64
    heads: int = 8
    step_dim: int = 128
    """Width of the embedding of the diffusion step."""
    time_dim: int = 128
    """Width of the embedding of the time stamp."""
    feature_dim: int = 16
    """Width of the learned embedding of a column."""
    dropout: float = 0.1
    """In the attention layers, while training."""
    given: Literal["input", "pasted"] = "input"
    """Whether the given cells are an input of the network, or only pasted into x (unconditional)."""
    calendar: int = 0
    """Numbers that say of each time where in the day, week and year it lies; the paper has none."""

    def __post_init__(self) -> None:
        sizes = (self.features, self.layers, self.channels, self.heads, self.feature_dim)
        need(all(1 <= n <= 1 << 16 for n in sizes), "a CSDI network needs sizes between 1 and 65536")
        need(self.channels % self.heads == 0, "channels must be a multiple of heads")
        even = all(2 <= n <= 1 << 12 and n % 2 == 0 for n in (self.step_dim, self.time_dim))
        need(even and self.step_dim >= 4, "step_dim and time_dim are even numbers, step_dim at least 4")
        need(0 <= self.calendar <= 64, "calendar is a number of channels from 0 to 64")
        need(0 <= self.dropout < 1, "dropout lies from 0 to below 1")
        need(self.given in ("input", "pasted"), "given is 'input' or 'pasted'")

    @property
    def side_dim(self) -> int:
        """Channels of the side information."""
        return self.time_dim + self.feature_dim + (self.given == "input") + self.calendar


class CSDINet(nn.Module):
    """Noise predictor for series x (B, K, L).

    What depends on the input alone and not on the diffusion step is computed once by `side` and handed to
    every call; B may be any multiple n of its windows, n samples of the first window coming first.
    """

    def __init__(self, config: CSDIConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_layer = nn.Embedding(config.features, config.feature_dim)
        self.diffmodel = _Residuals(config)

    def side_info(self, times: Tensor, known: Tensor, dates: Tensor | None = None) -> Tensor:
        """Time embedding, column embedding, mask and dates, (B, K, L, side_dim).

        times (B, L), in steps of the series, need not be even. known (B, K, L) bool: the given cells.
        dates (B, L, calendar): where in the day, week and year they lie, if the network reads that.
        """
        dtype = self.embed_layer.weight.dtype
        batch, features, length = known.shape
        time = sinusoids(times.to(dtype), self.config.time_dim)[:, None].expand(-1, features, -1, -1)
        column = self.embed_layer.weight[:, None].expand(batch, -1, length, -1)
        parts = [time, column]
        if self.config.given == "input":
            parts.append(known.to(dtype)[..., None])
        if dates is not None:
            parts.append(dates.to(dtype)[:, None].expand(-1, features, -1, -1))
        return torch.cat(parts, -1)

    def side(self, times: Tensor, known: Tensor, dates: Tensor | None = None) -> list[Tensor]:
        """What each layer adds because of the side information, (B, K, L, 2 channels) each."""
        info = self.side_info(times, known, dates)
        return [projection(info) for projection in self.diffmodel.projections()]

    def forward(
        self, x: Tensor, label: Tensor, side: Sequence[Tensor], given: Tensor, known: Tensor
    ) -> Tensor:
        """The noise in x (B, K, L) at diffusion step `label` (B,), counted from 0; (B, K, L).

        given (B, K, L): the values of the cells that are `known` (B, K, L) bool; ignored elsewhere.
        """
        if self.config.given == "input":
            zero = x.new_zeros(())
            shown = torch.stack([given.where(known, zero), x.where(~known, zero)], -1)
        else:
            shown = x[..., None]
        return self.diffmodel(shown, label, side)


class _Residuals(nn.Module):
    def __init__(self, config: CSDIConfig) -> None:
        super().__init__()
        self.diffusion_embedding = _StepEmbedding(config.step_dim)
        self.input_projection = _Pointwise(2 if config.given == "input" else 1, config.channels)
        self.residual_layers = nn.ModuleList([_Block(config) for _ in range(config.layers)])
        self.output_projection1 = _Pointwise(config.channels, config.channels)
        self.output_projection2 = _Pointwise(config.channels, 1)
        nn.init.zeros_(self.output_projection2.weight)

    def projections(self) -> list[_Pointwise]:
        """Those of the side information, layer by layer."""
        return [cast("_Block", block).cond_projection for block in self.residual_layers]

    def forward(self, shown: Tensor, label: Tensor, side: Sequence[Tensor]) -> Tensor:
        """shown (B, K, L, 1 or 2) -> (B, K, L)."""
        h = self.input_projection(shown).relu()
        step = self.diffusion_embedding(label)
        total = torch.zeros_like(h)
        for block, extra in zip(self.residual_layers, side, strict=True):
            h, skip = block(h, step, extra)
            total = total + skip
        y = self.output_projection1(total / math.sqrt(len(side))).relu()
        return self.output_projection2(y)[..., 0]


class _Block(nn.Module):
    """One residual layer: (B, K, L, C) -> the next h and its skip, both (B, K, L, C)."""

    def __init__(self, config: CSDIConfig) -> None:
        super().__init__()
        width = config.channels
        self.diffusion_projection = nn.Linear(config.step_dim, width)
        self.cond_projection = _Pointwise(config.side_dim, 2 * width)
        self.mid_projection = _Pointwise(width, 2 * width)
        self.output_projection = _Pointwise(width, 2 * width)
        self.time_layer = _Attention(width, config.heads, config.dropout)
        self.feature_layer = _Attention(width, config.heads, config.dropout)

    def forward(self, h: Tensor, step: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        batch, features, length, _ = h.shape
        y = h + self.diffusion_projection(step)[:, None, None]
        # A single time or column has nothing to attend to, and the reference skips it.
        if length > 1:
            y = self.time_layer(y.flatten(0, 1)).unflatten(0, (batch, features))
        if features > 1:
            rows = y.transpose(1, 2).flatten(0, 1)
            y = self.feature_layer(rows).unflatten(0, (batch, length)).transpose(1, 2)
        samples = self.mid_projection(y).unflatten(0, (len(extra), -1)) + extra[:, None]
        gate, value = samples.flatten(0, 1).chunk(2, -1)
        residual, skip = self.output_projection(gate.sigmoid() * value.tanh()).chunk(2, -1)
        return (h + residual) / math.sqrt(2), skip


class _Attention(nn.Module):
    """One transformer encoder layer, under the names of `nn.TransformerEncoder`: (N, length, C) -> same."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.TransformerEncoderLayer(width, heads, 64, dropout, "gelu", batch_first=True)]
        )

    def forward(self, rows: Tensor) -> Tensor:
        return self.layers[0](rows)


class _StepEmbedding(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.projection1 = nn.Linear(dim, dim)
        self.projection2 = nn.Linear(dim, dim)

    def forward(self, label: Tensor) -> Tensor:
        """(B,) -> (B, dim)."""
        table = step_table(label.to(self.projection1.weight.dtype), self.dim)
        y = nn.functional.silu(self.projection1(table))
        return nn.functional.silu(self.projection2(y))


def step_table(label: Tensor, dim: int) -> Tensor:
    """[sin, cos] of label * 10^(4 j / (dim/2 - 1)), (B, dim).

    The arguments reach 10^4 T: in float32 the fine half is a fixed random-looking code of the step, so
    weights expect it computed in their own precision and in this order.
    """
    half = torch.arange(dim // 2, dtype=label.dtype, device=label.device)
    angles = label[:, None] * 10.0 ** (half / (dim / 2 - 1) * 4.0)
    return torch.cat([angles.sin(), angles.cos()], 1)


def sinusoids(position: Tensor, dim: int) -> Tensor:
    """Sine (even) and cosine (odd) of position / 10000^(2 i / dim), (..., dim); Vaswani et al. 2017."""
    even = torch.arange(0, dim, 2, dtype=position.dtype, device=position.device)
    angles = position[..., None] * (1 / 10000.0 ** (even / dim))
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)


class _Pointwise(nn.Conv1d):
    """The reference's convolution of width 1 over the last axis: (..., C) -> (..., D).

    Channels last make it a matrix product without the copies around a convolution.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)
        nn.init.kaiming_normal_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight[..., 0], self.bias)
