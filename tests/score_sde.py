"""The reference arrays of Score-MRI (a score SDE that explodes), in one precision each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from arrays import Golden, close
from headwater.core import Diffusion
from headwater.nets.ncsnpp import NCSNpp, NCSNppConfig

LOW, HIGH = 0.01, 378.0


def sigma(t: Tensor) -> Tensor:
    return LOW * (HIGH / LOW) ** t


@dataclass
class Recorded:
    """One golden file in one precision: `out` in single, `out64` in double."""

    ref: Golden
    out: str

    @property
    def double(self) -> bool:
        return self.out == "out64"

    @property
    def real(self) -> torch.dtype:
        return torch.float64 if self.double else torch.float32

    def __getitem__(self, name: str) -> Tensor:
        value = self.ref[name]
        return value.to(self.real.to_complex() if value.is_complex() else self.real)

    def close(self, ours: Tensor, name: str, share: float | None = None) -> None:
        """Within a share of the largest value: 1e-10 in double precision, 1e-4 in single."""
        close(ours, self.ref[f"{self.out}/{name}"], share=share or (1e-10 if self.double else 1e-4))

    def tape(self, first: int) -> Iterator[Tensor]:
        """The noise that the reference drew, from one draw on."""
        return iter([draw.to(self.real) for draw in self.ref.under("noise").values()][first:])

    def network(self) -> NCSNpp:
        m = self.ref.config["model"]
        sizes = m["nf"], tuple(m["ch_mult"]), m["num_res_blocks"], tuple(m["attn_resolutions"])
        net = NCSNpp(NCSNppConfig(self.ref.config["image_size"], 1, *sizes))
        net.load_state_dict(self.ref.under("w"), strict=True)
        return net.eval().to(self.real)

    def process(self) -> Diffusion:
        """From the arrays: the reference computes its tables in float32 whatever the precision."""
        sigmas, times = self.ref[f"{self.out}/discrete_sigmas"], self.ref[f"{self.out}/timesteps"]
        return Diffusion.ve(sigmas.double(), sigma(times.double().flip(0)))
