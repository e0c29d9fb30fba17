"""The networks of TimeGrad: an RNN that reads the past, and a small noise predictor over the columns.

Source: Rasul, Seward, Schuster, Vollgraf, "Autoregressive Denoising Diffusion Models for Multivariate
Probabilistic Time Series Forecasting", 2021, arXiv 2101.12072, section 3; the reference implementation is
zalandoresearch/pytorch-ts (MIT), whose parameter names these modules have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.errors import need

SLOPE = 0.4
"""Of every leaky unit."""


@dataclass(frozen=True)
class TimeGradSizes:
    """Architecture; the defaults are the paper's. Raises UserError for sizes that cannot be."""

    columns: int
    """Columns D that are forecast."""
    lags: int
    """Earlier rows that the RNN reads of each column."""
    extra: int = 0
    """Further numbers that it reads of a row: of the clock, and columns known ahead."""
    rnn: Literal["LSTM", "GRU"] = "LSTM"
    rnn_layers: int = 2
    cells: int = 40
    dropout: float = 0.1
    """Between the layers of the RNN, while training."""
    condition: int = 100
    """Width of what the noise predictor is told of the past."""
    layers: int = 8
    channels: int = 8
    step_dim: int = 16
    """Sines, and as many cosines, that tell the timestep."""
    hidden: int = 64
    """Width of the embedding of the timestep."""
    cycle: int = 2
    """Layers in which dilations double before they begin anew at 1."""

    def __post_init__(self) -> None:
        sizes = (self.columns, self.lags, self.rnn_layers, self.cells, self.condition, self.layers)
        sizes += (self.channels, self.step_dim, self.hidden, self.cycle)
        need(all(1 <= n <= 1 << 16 for n in sizes), "a TimeGrad network needs sizes between 1 and 65536")
        need(self.cycle <= 16, "dilations double at most 16 times: give a smaller cycle")
        need(0 <= self.extra <= 1 << 16, "extra is a number of inputs from 0 to 65536")
        need(0 <= self.dropout < 1, "dropout lies from 0 to below 1")
        need(self.rnn in ("LSTM", "GRU"), "rnn is 'LSTM' or 'GRU'")

    @property
    def inputs(self) -> int:
        """Width of the RNN's input: of each column the lagged values and an embedding, and the rest."""
        return self.columns * (self.lags + 1) + self.extra


State = tuple[Tensor, ...]
"""Of the RNN between two rows: (layers, B, cells), twice for an LSTM."""


class Past(nn.Module):
    """The RNN: what is known before each row."""

    def __init__(self, sizes: TimeGradSizes) -> None:
        super().__init__()
        self.sizes = sizes
        kind = nn.LSTM if sizes.rnn == "LSTM" else nn.GRU
        dropout = sizes.dropout if sizes.rnn_layers > 1 else 0.0
        self.rnn = kind(sizes.inputs, sizes.cells, sizes.rnn_layers, dropout=dropout, batch_first=True)
        self.embed = nn.Embedding(sizes.columns, 1)
        self.condition = nn.Linear(sizes.cells, sizes.condition)

    def read(self, lagged: Tensor, extra: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """What is known before each row, (B, L, condition), and the state after the last.

        lagged (B, L, D, lags): the scaled values of rows before each row. extra (B, L, extra): what else is
        known of the row itself.
        """
        name = self.embed.weight[:, 0].expand(*lagged.shape[:2], -1)
        held: Any = state if state is None or len(state) > 1 else next(iter(state))
        out, after = self.rnn(torch.cat([lagged.flatten(2), name, extra], -1), held)
        return self.condition(out), after if isinstance(after, tuple) else (after,)


class TimeGradNet(Past):
    """The RNN, and the noise predictor that is told what it knows."""

    def __init__(self, sizes: TimeGradSizes) -> None:
        super().__init__(sizes)
        self.denoise_fn = EpsilonTheta(sizes)

    def forward(self, x: Tensor, label: Tensor, past: Tensor) -> Tensor:
        """The noise in x (B, 1, D) at timestep `label` (B,) from 0 on, after a past (B, 1, condition)."""
        return self.denoise_fn(x, label, past)


class EpsilonTheta(nn.Module):
    """Residual circular convolutions over the D columns, after DiffWave.

    The columns count as neighbours in their order, and the last as a neighbour of the first. Features lie in
    the last axis here, where a convolution of few channels is one matrix product.
    """

    def __init__(self, sizes: TimeGradSizes) -> None:
        super().__init__()
        self.input_projection = _Convolution(1, sizes.channels, 1)
        self.diffusion_embedding = _StepEmbedding(sizes.step_dim, sizes.hidden)
        self.cond_upsampler = _Upsampler(sizes.condition, sizes.columns)
        self.residual_layers = nn.ModuleList(
            [_Block(sizes.hidden, sizes.channels, 2 ** (i % sizes.cycle)) for i in range(sizes.layers)]
        )
        self.skip_projection = _Convolution(sizes.channels, sizes.channels, 3)
        self.output_projection = _Convolution(sizes.channels, 1, 3)
        nn.init.zeros_(self.output_projection.weight)

    def forward(self, x: Tensor, label: Tensor, past: Tensor) -> Tensor:
        around = torch.arange(-2, x.shape[-1] + 2, device=x.device) % x.shape[-1]
        h = F.leaky_relu(self.input_projection(x[:, 0, around, None]), SLOPE)
        told = self.cond_upsampler(past)[:, 0, around, None]
        step = self.diffusion_embedding(label)
        total = torch.zeros_like(h)
        for layer in self.residual_layers:
            h, skip = layer(h, told, step)
            total = total + skip
        y = self.skip_projection(_three(total / math.sqrt(len(self.residual_layers))))
        return self.output_projection(_three(F.leaky_relu(y, SLOPE))).transpose(1, 2)


class _Block(nn.Module):
    """One residual layer: (B, D + 4, C) -> the next h and its skip, both of that shape."""

    def __init__(self, hidden: int, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.dilated_conv = _Convolution(channels, 2 * channels, 3)
        self.diffusion_projection = nn.Linear(hidden, channels)
        self.conditioner_projection = _Convolution(1, 2 * channels, 1)
        self.output_projection = _Convolution(channels, 2 * channels, 1)

    def forward(self, h: Tensor, told: Tensor, step: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        embedded, which = step
        y = h + self.diffusion_projection(embedded)[which][:, None]
        y = torch.cat([y.roll(self.dilation, 1), y, y.roll(-self.dilation, 1)], -1)
        gate, value = (self.dilated_conv(y) + self.conditioner_projection(told)).chunk(2, -1)
        y = F.leaky_relu(self.output_projection(gate.sigmoid() * value.tanh()), SLOPE)
        residual, skip = y.chunk(2, -1)
        return (h + residual) / math.sqrt(2), skip


class _StepEmbedding(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.dim = dim
        self.projection1 = nn.Linear(2 * dim, hidden)
        self.projection2 = nn.Linear(hidden, hidden)

    def forward(self, label: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) -> an embedding of each timestep among them, and which is whose, (B,)."""
        steps, which = label.unique(return_inverse=True)
        table = step_table(steps.to(self.projection1.weight.dtype), self.dim)
        return F.silu(self.projection2(F.silu(self.projection1(table)))), which


class _Upsampler(nn.Module):
    def __init__(self, condition: int, columns: int) -> None:
        super().__init__()
        half = max(1, columns // 2)
        self.linear1 = nn.Linear(condition, half)
        self.linear2 = nn.Linear(half, columns)

    def forward(self, past: Tensor) -> Tensor:
        return F.leaky_relu(self.linear2(F.leaky_relu(self.linear1(past), SLOPE)), SLOPE)


class _Convolution(nn.Conv1d):
    """The reference's convolution as a matrix product over the last axis, (..., taps C) -> (..., C'), where
    the values under its taps lie side by side."""

    def __init__(self, inputs: int, outputs: int, taps: int) -> None:
        super().__init__(inputs, outputs, taps)
        nn.init.kaiming_normal_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight.transpose(1, 2).flatten(1), self.bias)


def _three(h: Tensor) -> Tensor:
    """Each value with both neighbours, (B, L, C) -> (B, L - 2, 3 C)."""
    return torch.cat([h[:, :-2], h[:, 1:-1], h[:, 2:]], -1)


def step_table(label: Tensor, dim: int) -> Tensor:
    """[sin, cos] of label * 10^(4 j / dim), (B, 2 dim).

    Arguments reach 5,600 times the label: in float32 the fine half is a fixed random-looking code of the
    step, so weights expect it computed in their own precision and in this order.
    """
    j = torch.arange(dim, dtype=label.dtype, device=label.device)
    angles = label[:, None] * 10.0 ** (j * 4.0 / dim)
    return torch.cat([angles.sin(), angles.cos()], 1)
