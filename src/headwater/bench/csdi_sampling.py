"""Draws of CSDI against PyPOTS' CSDI, with the same weights."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from headwater.bench.network import stirred
from headwater.bench.row import Row
from headwater.bench.surroundings import installed
from headwater.bench.timing import alternate, relative_agreement
from headwater.data.series import Table
from headwater.data.windows import Scale
from headwater.methods.series.csdi.method import CSDI, Chain, FittedCSDI, ImputerConfig
from headwater.nets.csdi import CSDIConfig, CSDINet
from headwater.noise import Stream, White, derive
from headwater.sampling import Run

TOLERANCE = 1e-5
"""Of the largest value walked to: through 50 levels an untrained network drives values to hundreds of
deviations, and their rounding with them. PyPOTS computes its tables in float32."""


@dataclass(frozen=True)
class CSDISampling:
    """`CSDI.apply` against `predict` of PyPOTS on the paper's network: windows in, draws of them out."""

    columns: int
    windows: int
    draws: int
    pairs: int
    length: int = 48
    layers: int = 4
    channels: int = 64
    T: int = 50

    def rows(self, run: Run) -> list[Row]:
        """Check that both draw the same from the same noise, then time them; without PyPOTS, time ours."""
        values = self._values()
        rows = np.arange(self.length, dtype=float)
        tables = [Table(v, rows, self._names, f"w{i}") for i, v in enumerate(values)]
        fitted, method = self._fitted(), CSDI(samples=self.draws, sampler="ancestral")
        quiet = Run(device="cpu", seed=0, batch_size=self.windows * self.draws, progress=False)

        def ours() -> Tensor:
            found = method.apply(tables, fitted, **quiet).samples
            return torch.cat([torch.from_numpy(s).flatten() for s in found])

        name = f"CSDI, {self.draws} draws"
        sizes = (
            f"seconds per draw of a window, {self.windows} windows of {self.length} x {self.columns}, half "
            f"of it empty, {self.draws} draws each, {self.T} levels, network of {self.channels} channels and "
            f"{self.layers} layers, fp32, the same weights, quantiles included in ours"
        )
        units = self.windows * self.draws, self.windows * self.draws
        version = installed("pypots")
        if not version:
            alone = alternate(ours, lambda: None, self.pairs, run, name, units)
            return [alone.row_alone(name, sizes=sizes, peer="not installed: `pip install pypots`")]
        model = self._peer(fitted)
        data = {"X": np.stack(values).astype(np.float32)}

        def peer() -> Tensor:
            found = model.predict(data, n_sampling_times=self.draws)["imputation"]
            empty = np.isnan(data["X"])
            drawn = [found[i][:, empty[i]] for i in range(self.windows)]
            return torch.cat([torch.from_numpy(np.ascontiguousarray(d)).flatten() for d in drawn])

        with self._same_noise():
            theirs = peer()
        equal = relative_agreement(ours(), theirs, TOLERANCE, "draws from the same noise and weights")
        times = alternate(ours, peer, self.pairs, run, name, units)
        return [
            times.row(
                name,
                sizes=sizes,
                peer=f"PyPOTS {version} CSDI.predict, {self.windows} windows a batch, draw after draw",
                equal=equal,
            )
        ]

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(f"x{i}" for i in range(self.columns))

    def _values(self) -> list[Any]:
        """Random windows (length, columns), every other cell empty."""
        random = np.random.default_rng(0)
        values = random.standard_normal((self.windows, self.length, self.columns))
        hidden = np.arange(self.length)[:, None] % 2 == np.arange(self.columns) % 2
        return list(np.where(hidden, np.nan, values))

    def _fitted(self) -> FittedCSDI:
        config = CSDIConfig(self.columns, layers=self.layers, channels=self.channels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = stirred(CSDINet(config)).eval().requires_grad_(False)
        scale = Scale(np.zeros(self.columns), np.ones(self.columns), 1.0)
        return FittedCSDI(network, ImputerConfig(config, self._names, scale, self.length, Chain(T=self.T)))

    def _peer(self, fitted: FittedCSDI) -> Any:
        """PyPOTS' model with our weights: its names are the reference's, but for two words."""
        # It greets on standard output, where --json has its rows, and asks for that output's encoding.
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")):
            from pypots.imputation import CSDI as Peer  # pyright: ignore[reportMissingImports]

            model: Any = Peer(
                n_steps=self.length,
                n_features=self.columns,
                n_layers=self.layers,
                n_heads=8,
                n_channels=self.channels,
                d_time_embedding=128,
                d_feature_embedding=16,
                d_diffusion_embedding=128,
                n_diffusion_steps=self.T,
                batch_size=self.windows,
                device="cpu",
                verbose=False,
            )
        state = {
            k.replace("diffmodel", "backbone.diff_model"): v for k, v in fitted.network.state_dict().items()
        }
        table = "backbone.alpha_torch"
        model.model.load_state_dict({**state, table: model.model.state_dict()[table]})
        return model

    @contextmanager
    def _same_noise(self) -> Iterator[None]:
        """PyPOTS draws by `torch.randn_like`, one draw of all windows after the other: give it ours."""
        streams = [
            Stream(White(), [derive(0, 0, table, 0, i) for table in range(self.windows)])
            for i in range(self.draws)
        ]
        calls = iter([stream for stream in streams for _ in range(self.T)])
        with mock.patch("torch.randn_like", lambda x: next(calls)(torch.empty(x.shape))):
            yield
